"""Metadata of picture files: prompt, preset, seed and settings."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from swiftpie import __version__
from swiftpie.backbones.presets import Preset
from swiftpie.errors import InputError

if TYPE_CHECKING:
    from swiftpie.pipelines.settings import EditSettings
    from swiftpie.types import Cutout, EditResult, GenerationResult

MAX_STORED_PROMPT = 4000  # characters; no model reads as many
MAX_FACTS_BYTES = 2000  # of what a picture says besides prompts


def check_texts(**texts: str) -> None:
    """Refuse prompts that pictures cannot keep, before anything is drawn.

    Raises:
        InputError: They are too long together.
    """
    from swiftpie.imageio.writing import MAX_METADATA_BYTES

    length, limit = len(json.dumps(_cut(texts))), MAX_METADATA_BYTES - MAX_FACTS_BYTES
    if length > limit:
        raise InputError(
            f"The prompts take {length} bytes in a picture, where other letters than English ones "
            f"take more. At most {limit} fit. Shorten them."
        )


def origin_of(preset: str, scales: Mapping[str, float], **texts: str) -> dict[str, str]:
    """Return what every picture says of its making: prompts and other words, preset and scales."""
    return {
        **_cut(texts),
        "preset": preset,
        "swiftpie": __version__,
        **{name: str(value) for name, value in scales.items()},
    }


def origin_of_drawing(preset: str, result: "GenerationResult", *, prompt: str) -> dict[str, str]:
    """Return what the pictures of a drawing say, all but their seeds."""
    branches, cutouts = ", ".join(result.branches), spell_cutouts(result.cutouts)
    texts = {"prompt": prompt, "branches": branches, "cutouts": cutouts, **result.origin}
    return origin_of(preset, result.scales, **texts)


def origin_of_edit(
    preset: Preset,
    settings: "EditSettings",
    result: "EditResult",
    *,
    prompt: str,
    source_prompt: str,
    keyword: str,
) -> dict[str, str]:
    """Return what an edited picture says."""
    return origin_of(
        preset.name,
        result.scales,
        prompt=prompt,
        source_prompt=source_prompt,
        keyword=keyword,
        mode=str(settings.in_mode_of(preset).mode),
        start=settings.start.value,
        rule="learned" if settings.rule is None else settings.rule.value,
        variation=str(settings.variation),
        branches=", ".join(result.branches),
        **({"cutouts": spell_cutouts(result.cutouts)} if result.cutouts else {}),
        seed=str(result.seed),
        **result.origin,
    )


def origin_of_repainting(preset: str, result: "EditResult", *, prompt: str) -> dict[str, str]:
    """Return what a photograph says into which something came, or from which it went."""
    return {
        **_cut({"prompt": prompt}),
        "preset": preset,
        "swiftpie": __version__,
        "branches": ", ".join(result.branches),
        **({"cutouts": spell_cutouts(result.cutouts)} if result.cutouts else {}),
        "seed": str(result.seed),
        **result.origin,
    }


def spell_cutouts(cutouts: "tuple[tuple[Cutout, ...], ...]") -> str:
    """Return how the pictures of each subject were cut out, as files keep it."""
    return "; ".join(", ".join(map(str, pictures)) or "unknown" for pictures in cutouts)


def _cut(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:MAX_STORED_PROMPT] for name, text in texts.items()}
