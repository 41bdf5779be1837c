"""Metadata of picture files: prompt, preset, seed and settings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from swiftpie import __version__
from swiftpie.backbones.presets import Preset
from swiftpie.errors import InputError

if TYPE_CHECKING:
    from swiftpie.pipelines.request import Request
    from swiftpie.types import Cutout, EditResult, GenerationResult

ResultT = TypeVar("ResultT", bound="GenerationResult | EditResult")
MAX_STORED_PROMPT = 4000  # characters; no model reads as many
MAX_FACTS_BYTES = 2000  # limit of what a picture's record says besides prompts


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


def origin_of_result(
    preset: Preset, request: "Request", result: "GenerationResult | EditResult"
) -> dict[str, str]:
    """Return what the pictures of a request say; `seed` is that of the first."""
    from swiftpie.pipelines.request import EditRequest, RepaintRequest, texts_of
    from swiftpie.types import EditResult

    is_edit = isinstance(result, EditResult)
    texts = {"prompt": "; ".join(texts_of(request.prompt)), "branches": ", ".join(result.branches)}
    if result.cutouts or not is_edit:
        texts["cutouts"] = spell_cutouts(result.cutouts)
    if isinstance(request, EditRequest):
        texts |= {"source_prompt": request.source_prompt, "keyword": request.keyword}
        texts |= {name: str(value) for name, value in request.settings.own}
    scales = {} if isinstance(request, RepaintRequest) else result.scales
    seeds = (result.seed,) if isinstance(result, EditResult) else result.seeds
    texts |= {"seed": str(seeds[0])} if seeds else {}  # none of noise that was given
    return {
        **_cut({**texts, **result.origin}),
        "preset": preset.name,
        "swiftpie": __version__,
        **{name: str(value) for name, value in scales.items()},
    }


def recorded(preset: Preset, request: "Request", result: ResultT) -> ResultT:
    """Return a result whose pictures keep how they were made in the files that they become."""
    from swiftpie.imageio.writing import Recorded
    from swiftpie.types import EditResult

    record = origin_of_result(preset, request, result)
    if isinstance(result, EditResult):
        return replace(result, image=Recorded.of(result.image, record), record=record)
    own = [{"seed": str(seed)} for seed in result.seeds]
    own = own if len(own) == len(result.images) else [{}] * len(result.images)
    images = (
        Recorded.of(image, record | seed) for image, seed in zip(result.images, own, strict=True)
    )
    return replace(result, images=tuple(images), record=record)


def spell_cutouts(cutouts: "tuple[tuple[Cutout, ...], ...]") -> str:
    """Return how the pictures of each subject were cut out, as files keep it."""
    return "; ".join(", ".join(map(str, pictures)) or "unknown" for pictures in cutouts)


def _cut(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:MAX_STORED_PROMPT] for name, text in texts.items()}
