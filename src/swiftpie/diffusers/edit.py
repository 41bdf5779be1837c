"""Edits pictures by prompts, as a diffusers pipeline."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor

from swiftpie.backbones.components import Components
from swiftpie.diffusers.adapters import AdaptedPipeline
from swiftpie.diffusers.calls import (
    GONE_OF_EDITS,
    Call,
    Images,
    Picture,
    SwiftPiePipelineOutput,
    check_shared,
    rows_of,
    seeds_of,
    spelled_as,
    steering_for,
    to_picture,
)
from swiftpie.engine.origin import recorded
from swiftpie.engine.session import Session
from swiftpie.errors import InputError
from swiftpie.imageio.images import to_tensor
from swiftpie.library import log_named
from swiftpie.masks import Box, load_mask
from swiftpie.pipelines.advice import advise
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import EditRequest
from swiftpie.pipelines.settings import EditSettings
from swiftpie.types import EditResult, Identity
from swiftpie.validation import MAX_IMAGES

OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass(frozen=True, eq=False)
class EditCall(Call):
    """What `SwiftEditPipeline` is called with; lists of prompts or pictures give an edit each.

    diffusers and its users read this signature; an `EditRequest` is one edit, without generators.
    """

    prompt: str | list[str]
    image: Picture | list[Picture]
    mask_image: Picture | list[Picture] | None = None  # white may change; None: it is found
    negative_prompt: str | list[str] | None = field(default=None, kw_only=True)
    # A subject in place of the picture's own look.
    ip_adapter_image: Picture | list[Picture] | None = field(default=None, kw_only=True)
    identity: Identity | None = field(default=None, kw_only=True)  # likewise, encoded
    source_prompt: str | list[str] = field(default="", kw_only=True)
    keyword: str = field(default="", kw_only=True)  # what changes, in a word; finds the mask
    box: Box | None = field(default=None, kw_only=True)  # in place of a mask
    settings: EditSettings = field(default_factory=EditSettings, kw_only=True)


class SwiftEditPipeline(AdaptedPipeline):
    """Changes pictures by text in one step and leaves the rest alone (arXiv:2412.04301)."""

    @spelled_as(EditCall, gone=GONE_OF_EDITS)
    def __call__(self, call: EditCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Edit one picture for each prompt; see `EditCall` for the arguments."""
        components = self.to_components()
        check_shared(call, components, outputs=OUTPUT_TYPES)
        requests = requests_of(call, components)
        return self._answer(call, lambda: self._draw(call, components, requests))

    def _draw(
        self, call: EditCall, components: Components, requests: list[EditRequest]
    ) -> SwiftPiePipelineOutput:
        session, results = Session(components, cache_mib=0), []
        with self._steps(call, components, len(requests)) as on_step:
            for given in requests:
                request = session.resolved(given)
                if request.identity is not None:
                    log_named([request.identity.named])
                advise(components, request)
                drawn = draw(components, request, on_step=on_step)
                results.append(recorded(components.preset, request, drawn))
        return _as_output(results, call)


def requests_of(call: EditCall, components: Components) -> list[EditRequest]:
    """Return the single edits of a call; single values apply to all of them.

    Raises:
        InputError: Lists are of different lengths, or mask and box are given.
    """
    if call.mask_image is not None and call.box is not None:
        raise InputError("`mask_image` and `box` both say where the picture changes. Give one.")
    steering = steering_for(
        call, len(components.schedule.steps), is_negative=call.negative_prompt is not None
    )
    columns: dict[str, Any] = {
        "image": rows_of(call.image),
        "prompt": call.prompt,
        "source_prompt": call.source_prompt,
        "mask_image": call.mask_image,
        "negative_prompt": call.negative_prompt or "",
    }
    lengths = {name: len(column) for name, column in columns.items() if isinstance(column, list)}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count or not 1 <= count <= MAX_IMAGES:
            raise InputError(
                f"{name} has {length} entries for {count} edits. Give one for all, or one each, "
                f"1 to {MAX_IMAGES}."
            )
    rows = [column if isinstance(column, list) else [column] * count for column in columns.values()]
    identity, requests = _identity_of(call, components), []
    for seed, *row in zip(seeds_of(call, count), *rows, strict=True):
        given = dict(zip(columns, row, strict=True))
        image, mask = to_picture(given.pop("image")), given.pop("mask_image")
        requests.append(
            EditRequest(
                image=image,
                mask=call.box if mask is None else load_mask(to_picture(mask), image.size),
                seed=seed,
                keyword=call.keyword,
                source=identity,
                finds_face=True,
                settings=call.settings,
                **given,
                **steering,
            )
        )
    return requests


def _identity_of(call: EditCall, components: Components) -> Identity | None:
    """Return the subject that replaces the picture's own look, if given; pictures are encoded."""
    if call.ip_adapter_image is None:
        return call.identity
    if call.identity is not None:
        raise InputError("`identity` and `ip_adapter_image` both show the subject. Give one.")
    rows = rows_of(call.ip_adapter_image)
    pictures = rows if isinstance(rows, list) else [rows]
    return encode_identity(components, [to_picture(picture) for picture in pictures])


def _as_output(results: list[EditResult], call: EditCall) -> SwiftPiePipelineOutput:
    images: Images = [result.image for result in results]
    if call.output_type != "pil":
        if len({result.image.size for result in results}) > 1:
            raise InputError(
                f"output_type={call.output_type!r} needs pictures of one size. Use 'pil', or call "
                "once for each."
            )
        pixels = torch.cat([to_tensor(result.image) for result in results])
        images = VaeImageProcessor().postprocess(pixels, call.output_type)
    timings: Counter[str] = Counter()
    for result in results:
        timings.update(result.timings_ms)
    return SwiftPiePipelineOutput(
        images=images,
        masks=[result.region for result in results],
        seeds=tuple(result.seed for result in results),
        timings=dict(timings),
        branches=tuple(dict.fromkeys(branch for result in results for branch in result.branches)),
    )
