"""Edits pictures by prompts, as a diffusers pipeline."""

from dataclasses import dataclass, field
from typing import Any

from swiftpie.config import options_of
from swiftpie.diffusers import calls
from swiftpie.diffusers.calls import Call, Picture, SwiftPiePipelineOutput
from swiftpie.diffusers.loras import AdaptedPipeline
from swiftpie.engine.session import Session
from swiftpie.errors import InputError
from swiftpie.masks import load_mask
from swiftpie.photo.search import Search
from swiftpie.pipelines.request import check_count
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.pipelines.tasks import TASKS, EditRequest, change_of
from swiftpie.types import Identity
from swiftpie.validation import MAX_IMAGES

READ_APART = ("seed", "prompt", "source_prompt", "negative_prompt", "mask", *options_of(Scales))


@dataclass(frozen=True, eq=False)
class EditCall(Call):
    """What `SwiftEditPipeline` is called with; lists of prompts or pictures give an edit each."""

    prompt: str | list[str]
    image: Picture | list[Picture]
    mask_image: Picture | list[Picture] | None = None  # white may change; None: it is found
    source_prompt: str | list[str] = field(default="", kw_only=True)
    negative_prompt: str | list[str] | None = field(default=None, kw_only=True)
    # A subject in place of the picture's own look.
    ip_adapter_image: Picture | list[Picture] | None = field(default=None, kw_only=True)
    cutout: str | Search = field(default="auto", kw_only=True)  # as of SwiftPiePipeline
    identity: Identity | None = field(default=None, kw_only=True)  # the same, encoded
    settings: EditSettings | None = field(default=None, kw_only=True)
    num_images_per_prompt: int = field(default=1, kw_only=True)  # each of a seed of its own


WITH_OPTIONS = calls.with_options(EditCall, TASKS["edit"], without=READ_APART)


class SwiftEditPipeline(AdaptedPipeline):
    """Changes pictures by text in one step and leaves the rest alone (arXiv:2412.04301)."""

    @calls.spelled_as(WITH_OPTIONS, gone=calls.GONE_OF_EDITS)
    def __call__(self, call: EditCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Edit one picture for each prompt; `swiftpie edit --help` says what the options do."""
        return self._answer(call, requests_of, outputs=("pil", "np", "pt"))


def requests_of(call: EditCall, session: Session) -> list[EditRequest]:
    """Return the single edits of a call; InputError if lists or places do not fit."""
    said = {**call.said, "settings": call.settings}
    if "style_reference" in said:
        said["style_reference"] = calls.to_picture(said["style_reference"])
    if call.mask_image is not None and "box" in said:
        raise InputError("`mask_image` and `box` both say where the picture changes. Give one.")
    is_negative = call.negative_prompt is not None
    said["guidance"] = calls.guidance_of(call, session.components, is_negative=is_negative)
    columns: dict[str, Any] = {
        "image": calls.rows_of(call.image),
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
    times = call.num_images_per_prompt
    rows = [
        [value for value in whole for _ in range(times)]
        for whole in (
            each if isinstance(each, list) else [each] * count for each in columns.values()
        )
    ]
    check_count(count * times)
    source, requests = _identity_of(call, session), list[Any]()
    for seed, *row in zip(calls.seeds_of(call, count * times), *rows, strict=True):
        given = said | dict(zip(columns, row, strict=True))
        image, mask = calls.to_picture(given.pop("image")), given.pop("mask_image")
        given["mask"] = None if mask is None else load_mask(calls.to_picture(mask), image.size)
        requests.append(change_of(TASKS["edit"], given, image=image, source=source, seed=seed))
    return requests


def _identity_of(call: EditCall, session: Session) -> Identity | None:
    """Return the subject that replaces the picture's own look, if given; pictures are encoded."""
    if call.ip_adapter_image is None:
        return call.identity
    if call.identity is not None:
        raise InputError("`identity` and `ip_adapter_image` both show the subject. Give one.")
    rows = calls.rows_of(call.ip_adapter_image)
    return calls.identity_of(session, rows if isinstance(rows, list) else [rows], call.cutout)
