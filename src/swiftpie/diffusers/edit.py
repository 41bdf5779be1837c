"""Edits pictures by prompts, as a diffusers pipeline."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch

from swiftpie.backbones.components import Components
from swiftpie.diffusers.adapters import AdaptedPipeline
from swiftpie.diffusers.base import ENCODING
from swiftpie.diffusers.calls import (
    EDIT_METHODS,
    EDITS,
    Generators,
    Images,
    OnStepEnd,
    Picture,
    SwiftPiePipelineOutput,
    check_shared,
    rows_of,
    seeds_of,
    spelled_as,
    steering_for,
    to_output,
    to_picture,
)
from swiftpie.engine.session import Session
from swiftpie.errors import InputError
from swiftpie.guidance import Guidance
from swiftpie.imageio.images import to_tensor
from swiftpie.library import log_named
from swiftpie.masks import Box, load_mask
from swiftpie.noise import MAX_IMAGES, check_count
from swiftpie.pipelines.advice import advise
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import EditRequest
from swiftpie.pipelines.settings import EditSettings
from swiftpie.types import EditResult, Identity

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
    num_images_per_prompt: int = 1  # alike, but where `settings.variation` asks for new noise
    generator: Generators | None = None  # of seeds: one, or one an edit
    ip_adapter_image: Picture | list[Picture] | None = (
        None  # a subject in place of the picture's own look
    )
    ip_adapter_image_embeds: Identity | list[Identity] | None = None  # likewise, encoded
    output_type: str = "pil"
    return_dict: bool = True
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)
    _: KW_ONLY
    source_prompt: str | list[str] = ""
    keyword: str = ""  # what shall change, in a word; finds the mask
    box: Box | None = None  # in place of a mask
    identity: Identity | None = None  # a subject in place of the picture as image condition
    settings: EditSettings = field(default_factory=EditSettings)
    seeds: Sequence[int] | None = None  # one an edit; None: they are drawn
    guidance: Guidance | None = None  # a method in place of `guidance_scale`
    return_masks: bool = True


class SwiftEditPipeline(AdaptedPipeline):
    """Changes pictures by text in one step and leaves the rest alone (arXiv:2412.04301)."""

    _instead = EDIT_METHODS

    @spelled_as(EditCall, instead=EDITS)
    def __call__(self, call: EditCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Edit one picture for each prompt; see `EditCall` for the arguments.

        Raises:
            CapabilityError: The preset has no inversion network, no image encoder or no such mode.
            InputError: Something is missing, does not fit, or cannot be honoured.
        """
        components = self.to_components()
        components.inverter()
        check_shared(call, components, self._callback_tensor_inputs, outputs=OUTPUT_TYPES)
        if call.ip_adapter_image is not None:
            self._wake(*ENCODING)
        requests = requests_of(call, components)
        return self._answer(call, lambda: self._draw(call, components, requests))

    def _draw(
        self, call: EditCall, components: Components, requests: list[EditRequest]
    ) -> SwiftPiePipelineOutput:
        session, results = Session(components, cache_mib=0), []
        with self._steps(call, components, len(requests)) as on_step:
            for given in requests:
                self._wake(*ENCODING)
                request = session.resolved(given)
                if request.identity is not None:
                    log_named([request.identity.named])
                advise(components, request)
                drawn = draw(components, request, on_stage=self._on_stage, on_step=on_step)
                results.append(drawn)
        return _as_output(results, call)


def requests_of(call: EditCall, components: Components) -> list[EditRequest]:
    """Return the single edits of a call; single values apply to all of them.

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
    if call.seeds is not None and call.generator is not None:
        raise InputError("seeds came with a generator; both say what is random. Give one.")
    identity = _identity_of(call, components)
    columns: dict[str, Any] = {
        "image": rows_of(call.image),
        "prompt": call.prompt,
        "source_prompt": call.source_prompt,
        "mask_image": call.mask_image,
        "negative_prompt": call.negative_prompt or "",
        "seeds": None if call.seeds is None or call.num_images_per_prompt > 1 else list(call.seeds),
    }
    lengths = {name: len(column) for name, column in columns.items() if isinstance(column, list)}
    count = max(lengths.values(), default=1)
    times = call.num_images_per_prompt
    for name, length in lengths.items():
        if length != count or not 1 <= count <= MAX_IMAGES:
            raise InputError(
                f"{name} has {length} entries for {count} edits. Give one for all, or one each, "
                f"1 to {MAX_IMAGES}."
            )
    check_count(count * times)
    rows = {
        name: column if isinstance(column, list) else [column] * count
        for name, column in columns.items()
    }
    rows = {name: [value for value in row for _ in range(times)] for name, row in rows.items()}
    count *= times
    rows["seed"], _ = _seeds_of(call, count), rows.pop("seeds")
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
                source=identity,
                takes_named=True,
                settings=call.settings,
                **steering,
            )
        )
    return requests


def _seeds_of(call: EditCall, count: int) -> list[int]:
    if call.seeds is None:
        return seeds_of(count, call.generator)
    if len(call.seeds) != count:
        raise InputError(f"{len(call.seeds)} seeds were given for {count} edits. Give one each.")
    return list(call.seeds)


def _identity_of(call: EditCall, components: Components) -> Identity | None:
    """Return the subject that replaces the picture's own look, if given; pictures are encoded.

    Raises:
        InputError: Several subjects are given, or one in several ways.
    """
    pictures, embeds = call.ip_adapter_image, call.ip_adapter_image_embeds
    given = [value for value in (call.identity, pictures, embeds) if value is not None]
    if len(given) > 1 or (isinstance(embeds, list) and len(embeds) != 1):
        raise InputError(
            "An edit takes one subject, in one way: `identity`, `ip_adapter_image` or "
            "`ip_adapter_image_embeds`. Give one of them."
        )
    if pictures is not None:
        rows = rows_of(pictures)
        entries = rows if isinstance(rows, list) else [rows]
        return encode_identity(components, [to_picture(entry) for entry in entries])
    known = embeds[0] if isinstance(embeds, list) else embeds or call.identity
    if not isinstance(known, Identity | None):
        raise InputError(
            f"A subject was given as {type(known).__name__}; it is an Identity, as "
            "SwiftPiePipeline.prepare_ip_adapter_image_embeds() returns them. Give that."
        )
    return known


def _as_output(results: list[EditResult], call: EditCall) -> SwiftPiePipelineOutput:
    images: Images = [result.image for result in results]
    if call.output_type != "pil":
        if len({result.image.size for result in results}) > 1:
            raise InputError(
                f"output_type={call.output_type!r} needs pictures of one size. Use 'pil', or call "
                "once for each."
            )
        pixels = torch.cat([to_tensor(result.image) for result in results])
        images = to_output(pixels, call.output_type)
    timings: Counter[str] = Counter()
    for result in results:
        timings.update(result.timings_ms)
    return SwiftPiePipelineOutput(
        images=images,
        masks=[result.region for result in results] if call.return_masks else None,
        seeds=tuple(result.seed for result in results),
        timings=dict(timings),
        branches=tuple(dict.fromkeys(branch for result in results for branch in result.branches)),
    )
