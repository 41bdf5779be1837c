"""The arguments of an editing call, the single edits in it, and what it answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swiftpie.backbones.preset import Preset
from swiftpie.errors import InputError
from swiftpie.images import to_tensor
from swiftpie.masks import Box, MaskRule, load_mask
from swiftpie.pipelines.edit import EditResult
from swiftpie.pipelines.hub.calling import Images, OnStepEnd, SwiftPiePipelineOutput, to_output
from swiftpie.pipelines.hub.pictures import Picture, to_picture
from swiftpie.pipelines.request import MAX_IMAGES, EditMode, EditSettings, Scales
from swiftpie.types import Identity

OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass(frozen=True, eq=False)
class EditCall:
    """What `SwiftEditPipeline` is called with; a list of prompts or pictures gives one edit each.

    Strengths that are None are those of the mode; see `Scales`.
    """

    prompt: str | list[str]
    image: Picture | list[Picture]
    mask_image: Picture | list[Picture] | None = None  # white may change; None: it is found
    num_inference_steps: int | None = None  # None: as many as the preset has
    guidance_scale: float = 1.0  # more than 1 has no effect on distilled weights
    negative_prompt: str | list[str] | None = None  # likewise
    output_type: str = "pil"
    return_dict: bool = True
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)
    _: KW_ONLY
    source_prompt: str | list[str] = ""
    keyword: str = ""  # what shall change, in a word; finds the mask
    box: Box | None = None  # in place of a mask
    identity: Identity | None = None  # who replaces the picture as image condition
    identity_scale: float | None = None
    background_scale: float | None = None
    text_scale: float | None = None
    mode: EditMode = EditMode.PAPER
    rule: MaskRule | None = None  # of a mask that has to be found; None: the best known
    seeds: Sequence[int] | None = None  # one an edit; all 0 if not given
    size_px: int | None = None
    keeps_outside: bool = True
    return_masks: bool = True

    @property
    def asks_for_guidance(self) -> bool:
        """Whether the picture shall be steered away from something."""
        return self.guidance_scale > 1 or self.negative_prompt is not None

    def settings(self, seed: int, preset: Preset) -> EditSettings:
        """Return how each picture is edited with the networks of `preset`."""
        own = Scales.for_edit(preset, mode=self.mode, has_reference=self.identity is not None)
        names = ("identity_scale", "background_scale", "text_scale")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return EditSettings(
            mode=self.mode,
            rule=self.rule,
            scales=replace(own, **given),
            seed=seed,
            size_px=self.size_px,
            keeps_outside=self.keeps_outside,
        )


@dataclass(frozen=True, eq=False)
class Edit:
    """One picture of a call."""

    image: Picture
    prompt: str
    source_prompt: str
    mask_image: Picture | None
    seed: int


def split(call: EditCall) -> list[Edit]:
    """Return the single edits of a call, what was given once repeated.

    Raises:
        InputError: Lists are of different lengths, or mask and box are given.
    """
    if call.mask_image is not None and call.box is not None:
        raise InputError("`mask_image` and `box` both say where the picture changes. Give one.")
    columns: dict[str, Any] = {
        "image": _rows(call.image),
        "prompt": call.prompt,
        "source_prompt": call.source_prompt,
        "mask_image": call.mask_image,
        "seed": 0 if call.seeds is None else list(call.seeds),
    }
    lengths = {name: len(one) for name, one in columns.items() if isinstance(one, list)}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count or not 1 <= count <= MAX_IMAGES:
            raise InputError(
                f"{name} has {length} entries, and {count} edits were asked for. Give one for all, "
                f"or one each, 1 to {MAX_IMAGES}."
            )
    rows = {name: one if isinstance(one, list) else [one] * count for name, one in columns.items()}
    return [Edit(**{name: row[index] for name, row in rows.items()}) for index in range(count)]


def _rows(pictures: object) -> object:
    """Return an array or tensor (B, …) as a list, anything else as it is."""
    is_batch = isinstance(pictures, Tensor | np.ndarray) and pictures.ndim == 4
    return list(pictures) if is_batch else pictures  # type: ignore[call-overload]  # see above


def read_mask(mask: Picture, size: tuple[int, int]) -> Tensor:
    """Return a mask (1, 1, H, W) for a picture of `size` (width, height)."""
    return load_mask(to_picture(mask), size)


def as_output(results: list[EditResult], call: EditCall) -> SwiftPiePipelineOutput:
    """Return all edits in the wanted form; times are sums.

    Raises:
        InputError: An array is wanted of pictures of several sizes.
    """
    images: Images = [one.image for one in results]
    if call.output_type != "pil":
        if len({one.image.size for one in results}) > 1:
            raise InputError(
                f"output_type={call.output_type!r} needs pictures of one size. Use 'pil', or call "
                "once for each."
            )
        pixels = torch.cat([to_tensor(one.image) for one in results])
        images = to_output(pixels, call.output_type)
    timings: Counter[str] = Counter()
    for one in results:
        timings.update(one.timings_ms)
    return SwiftPiePipelineOutput(
        images=images,
        masks=[one.region for one in results] if call.return_masks else None,
        seeds=tuple(one.seed for one in results),
        timings=dict(timings),
    )
