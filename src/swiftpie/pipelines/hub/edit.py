"""A picture and a sentence to the edited picture, called as a diffusers pipeline."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.guidance.base import Guidance
from swiftpie.images import to_tensor
from swiftpie.masks import Box, load_mask
from swiftpie.noise import MAX_IMAGES
from swiftpie.pipelines.advice import advise
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.edit import EditResult
from swiftpie.pipelines.hub.base import (
    ENCODING,
    Images,
    ModulesPipeline,
    OnStepEnd,
    Picture,
    SwiftPiePipelineOutput,
    check_shared,
    drawn_seeds,
    rows_of,
    spelled_as,
    steering_for,
    to_output,
    to_picture,
)
from swiftpie.pipelines.request import EditRequest
from swiftpie.pipelines.settings import EditSettings
from swiftpie.types import Identity

OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass(frozen=True, eq=False)
class EditCall:
    """What `SwiftEditPipeline` is called with; lists of prompts or pictures give an edit each."""

    prompt: str | list[str]
    image: Picture | list[Picture]
    mask_image: Picture | list[Picture] | None = None  # white may change; None: it is found
    num_inference_steps: int | None = None  # None: as many as the preset has
    guidance_scale: float = 1.0  # more than 1 is classifier-free guidance
    negative_prompt: str | list[str] | None = None  # what guidance leads away from
    output_type: str = "pil"
    return_dict: bool = True
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)
    _: KW_ONLY
    source_prompt: str | list[str] = ""
    keyword: str = ""  # what shall change, in a word; finds the mask
    box: Box | None = None  # in place of a mask
    identity: Identity | None = None  # who replaces the picture as image condition
    settings: EditSettings = field(default_factory=EditSettings)
    seeds: Sequence[int] | None = None  # one an edit; None: they are drawn
    guidance: Guidance | None = None  # a method in place of `guidance_scale`
    return_masks: bool = True


class SwiftEditPipeline(ModulesPipeline):
    """Changes pictures by text in one step and leaves the rest alone (arXiv:2412.04301)."""

    @spelled_as(EditCall)
    def __call__(self, call: EditCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Edit one picture for each prompt; see `EditCall` for the arguments.

        Raises:
            CapabilityError: The preset has no inversion network, no image encoder or no such mode.
            InputError: Something is missing, does not fit, or cannot be honoured.
        """
        components = self.to_components()
        components.inverter()
        check_shared(call, components, self._callback_tensor_inputs, outputs=OUTPUT_TYPES)
        requests = requests_of(call, components)
        return self._answer(call, lambda: self._draw(call, components, requests))

    def _draw(
        self, call: EditCall, components: Components, requests: list[EditRequest]
    ) -> SwiftPiePipelineOutput:
        results = []
        with self._steps(call, len(requests) * len(components.schedule.steps)) as on_step:
            for request in requests:
                self._wake(*ENCODING)
                advise(components, request)
                drawn = draw(components, request, on_stage=self._on_stage, on_step=on_step)
                results.append(drawn)
        return _as_output(results, call)


def requests_of(call: EditCall, components: Components) -> list[EditRequest]:
    """Return the single edits of a call, what was given once repeated.

    Raises:
        InputError: Lists are of different lengths, or mask and box are given.
    """
    if call.mask_image is not None and call.box is not None:
        raise InputError("`mask_image` and `box` both say where the picture changes. Give one.")
    steering = steering_for(
        len(components.schedule.steps),
        scale=call.guidance_scale,
        is_negative=call.negative_prompt is not None,
        guidance=call.guidance,
    )
    columns: dict[str, Any] = {
        "image": rows_of(call.image),
        "prompt": call.prompt,
        "source_prompt": call.source_prompt,
        "mask_image": call.mask_image,
        "negative_prompt": call.negative_prompt or "",
        "seed": None if call.seeds is None else list(call.seeds),
    }
    lengths = {name: len(one) for name, one in columns.items() if isinstance(one, list)}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count or not 1 <= count <= MAX_IMAGES:
            raise InputError(
                f"{name} has {length} entries, and {count} edits were asked for. Give one for all, "
                f"or one each, 1 to {MAX_IMAGES}."
            )
    if call.seeds is None:
        columns["seed"] = drawn_seeds(count)
    rows = {name: one if isinstance(one, list) else [one] * count for name, one in columns.items()}
    requests = []
    for index in range(count):
        one = {name: row[index] for name, row in rows.items()}
        image, mask = to_picture(one.pop("image")), one.pop("mask_image")
        requests.append(
            EditRequest(
                **one,
                image=image,
                keyword=call.keyword,
                mask=call.box if mask is None else load_mask(to_picture(mask), image.size),
                identity=call.identity,
                settings=call.settings,
                **steering,
            )
        )
    return requests


def _as_output(results: list[EditResult], call: EditCall) -> SwiftPiePipelineOutput:
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
        branches=tuple(dict.fromkeys(branch for one in results for branch in one.branches)),
    )
