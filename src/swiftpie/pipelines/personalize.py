"""SwiftPie: one subject and a sentence to a new picture, in one denoising step."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from swiftpie.attention.condition import AttentionCondition, silent_condition
from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.images import mask_to_pil, to_pil
from swiftpie.layout import Layout, from_box, to_affine
from swiftpie.masks import box_mask, resize_mask
from swiftpie.models.alignment import align
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.layout_predictor import subject_extent
from swiftpie.noise import draw_noise
from swiftpie.pipelines.denoise import decode, denoise
from swiftpie.types import GenerationResult, Identity, TextCondition

MAX_IMAGES = 64
MAX_SCALE = 4.0  # far above what keeps pictures natural; larger values only overflow
BOX_FEATHER = 0.06  # a box's soft edge, as a share of the picture
Box = tuple[float, float, float, float]


class MaskSource(StrEnum):
    """Where the region for mask-guided rescaling comes from."""

    NONE = "none"  # the whole picture
    INLINE = "inline"  # found from attention during the one call of the denoiser
    BOX = "box"


@dataclass(frozen=True)
class Strength:
    """The factors of mask-guided rescaling; each branch inside and outside of the mask."""

    identity: float = 1.0
    detail: float = 1.0
    leak: float = 0.0  # both identity branches outside of the mask
    text: float = 1.0
    context: float = 1.0  # text outside of the mask

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= MAX_SCALE:
                raise InputError(
                    f"The {name} scale is {value}; it must lie between 0 (off) and {MAX_SCALE}."
                )


@torch.no_grad()
def personalize(
    components: Components,
    identity: Identity,
    prompt: str,
    *,
    seeds: Sequence[int] = (0,),
    strength: Strength | None = None,
    mask: Tensor | MaskSource = MaskSource.NONE,
    box: Box | None = None,
) -> GenerationResult:
    """Draw one picture a seed. From arXiv:2605.01510.

    Args:
        components: The loaded networks.
        identity: The subject, from `encode_identity` with the same components.
        prompt: What the picture shows; not empty.
        seeds: One picture each, independent of the others in the batch.
        strength: Scales of the branches; the preset's defaults if not given.
        mask: Region of the subject for rescaling, (1, 1, H, W) in [0, 1], or where to get it.
        box: Left, top, right and bottom in [0, 1] that the subject shall fill; by default noise
            and prompt decide.

    Raises:
        InputError: The prompt is empty, no seed or too many were given, or a scale is out of range.
    """
    _check_request(prompt, seeds)
    clock = _Clock()
    text = _repeat_text(components.text.encode([prompt]), len(seeds))
    clock.lap("text")
    shape = (components.preset.latent_channels, *components.cells)
    noise = draw_noise(seeds, shape).to(components.device)
    layout = _place(components, identity, noise, text=text, box=box)
    region = _region(components, mask, box).to(noise)
    condition = subject_condition(
        components,
        identity,
        layout,
        strength=strength or _default_strength(components),
        region=region,
        is_inline=mask is MaskSource.INLINE,
    )
    clock.lap("place")
    denoised = denoise(components, noise, text, condition)
    clock.lap("denoise")
    images = to_pil(decode(components, denoised.latents))
    clock.lap("decode")
    found = resize_mask(denoised.mask, (images[0].height, images[0].width))
    return GenerationResult(
        images=tuple(images),
        masks=tuple(mask_to_pil(found)),
        seeds=tuple(seeds),
        layout=layout,
        timings_ms=clock.timings(),
    )


def subject_condition(
    components: Components,
    identity: Identity,
    layout: Layout,
    *,
    strength: Strength,
    region: Tensor,
    is_inline: bool = False,
) -> SubjectCondition:
    """Return everything the denoiser reads of a subject, for as many rows as `layout` has.

    Args:
        components: The loaded networks.
        identity: The subject.
        layout: Where it goes, B rows.
        strength: Scales of the branches.
        region: Mask for rescaling, (1, 1, h, w).
        is_inline: Whether attention replaces `region` during the call.
    """
    attention = silent_condition(
        region.new_empty(len(layout.scale), components.preset.latent_channels, *components.cells),
        width=identity.tokens.shape[-1],
    )
    aligned = align(
        components.autoencoder,
        _rows(identity.pixels[:1], layout),
        _rows(identity.mask[:1], layout),
        layout=layout,
        cells=components.cells,
    )
    coverage = resize_mask(identity.mask, components.cells).transpose(0, 1)  # (1, R, h, w)
    attention = attention._replace(
        identity_tokens=_rows(identity.tokens, layout),
        keys={name: _rows(one, layout) for name, one in identity.keys.items()},
        values={name: _rows(one, layout) for name, one in identity.values.items()},
        coverage=_rows(coverage, layout),
        affine=to_affine(layout),
        has_layout=torch.ones_like(attention.has_layout),
        mask=_rows(region, layout),
        is_inline=torch.full_like(attention.is_inline, float(is_inline)),
    )
    return SubjectCondition(
        attention=_scaled(attention, strength),
        pooled=_rows(identity.pooled, layout),
        aligned=aligned,
    )


def _scaled(attention: AttentionCondition, strength: Strength) -> AttentionCondition:
    """Return `attention` with the six factors of mask-guided rescaling."""

    def filled(scale: float) -> Tensor:
        return torch.full_like(attention.identity_scale, scale)

    return attention._replace(
        identity_scale=filled(strength.identity),
        identity_leak=filled(strength.leak),
        detail_scale=filled(strength.detail),
        detail_leak=filled(strength.leak),
        text_scale=filled(strength.text),
        context_scale=filled(strength.context),
    )


def _rows(one: Tensor, layout: Layout) -> Tensor:
    """Repeat the single row of `one` for every row of `layout`."""
    return one.expand(len(layout.scale), *one.shape[1:])


def _place(
    components: Components,
    identity: Identity,
    noise: Tensor,
    *,
    text: TextCondition,
    box: Box | None,
) -> Layout:
    """Return the layout that the box, or else noise, prompt and shape of the subject ask for."""
    batch = len(noise)
    if box is not None:
        return Layout(*(one.expand(batch, *one.shape[1:]).to(noise) for one in from_box(box)))
    extent = subject_extent(identity.mask[:1]).expand(batch, -1)
    return components.layout_predictor(noise, text.pooled, extent).layout


def _region(components: Components, mask: Tensor | MaskSource, box: Box | None) -> Tensor:
    """Return the region for rescaling (1, 1, h, w).

    Raises:
        InputError: A box is asked for and there is none.
    """
    rows, columns = components.cells
    if isinstance(mask, Tensor):
        return resize_mask(mask, (rows, columns))
    match mask:
        case MaskSource.BOX:
            if box is None:
                raise InputError("mask='box' needs a box. Give one, as in 0.2,0.4,0.8,0.9.")
            return box_mask(box, height=rows, width=columns, feather=BOX_FEATHER)
        case MaskSource.NONE | MaskSource.INLINE:
            return torch.ones(1, 1, rows, columns)


def _check_request(prompt: str, seeds: Sequence[int]) -> None:
    if not prompt.strip():
        raise InputError("The prompt is empty. Say what the picture shows: 'a dog at sunset'.")
    if not 1 <= len(seeds) <= MAX_IMAGES:
        raise InputError(f"{len(seeds)} pictures were asked for; 1 to {MAX_IMAGES} are possible.")


def _default_strength(components: Components) -> Strength:
    defaults = components.preset.defaults
    return Strength(identity=defaults["identity_scale"], detail=defaults["detail_scale"])


def _repeat_text(text: TextCondition, batch: int) -> TextCondition:
    return TextCondition(*(one.expand(batch, *one.shape[1:]) for one in text))


class _Clock:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End the stage `name`."""
        now = time.perf_counter()
        self._laps[name] = (now - self._last) * 1000
        self._last = now

    def timings(self) -> dict[str, float]:
        """Return all stages and their total."""
        return {**self._laps, "total": (self._last - self._started) * 1000}
