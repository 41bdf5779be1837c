"""What jobs do: requests to draw, as a call has them, and smaller tasks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import near_size
from swiftpie.backbones.presets import Capability
from swiftpie.config import Surface
from swiftpie.engine.session import Session
from swiftpie.errors import AmbiguousMask, ImageError, InputError, WeightsError
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.imageio.images import alpha_of
from swiftpie.masks import Box, load_mask
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    IdentityRef,
    Pictures,
    RepaintRequest,
    Request,
    Source,
    Subject,
    with_seed,
    with_sources,
)
from swiftpie.pipelines.tasks import TASKS, change_of, drawing_of
from swiftpie.server.errors import RequestError
from swiftpie.server.schemas import Drawing, OwnFields
from swiftpie.types import Identity
from swiftpie.validation import seeds_from

MOST_TIMES_OWN = 4  # the pixels of a model's own size; time grows by the square of more
FIELDS = {
    name: OwnFields.model_fields.keys() & task.options(Surface.HTTP).keys()
    for name, task in TASKS.items()
}


def begun(session: Session, work: Request | Callable[[Session], Any]) -> Any:  # noqa: ANN401 - of each task its own
    """Return a resolved request, or what a task gives."""
    if not isinstance(work, Request):
        return work(session)

    def encode(source: Source) -> Source:
        is_kept = isinstance(source, IdentityRef)
        return encode_kept(session, source) if is_kept else source

    return session.resolved(with_sources(work, encode))


def encode_kept(session: Session, source: Source, *, param: str = "identity_id") -> Identity:
    """Return a stored identity on the device of the networks."""
    try:
        return session.identity_of(source)
    except (InputError, WeightsError) as error:
        raise RequestError(str(error), code="identity_of_others", param=param) from error


def encode_face(
    session: Session, photo: Image.Image, *, face_number: int | None = None
) -> tuple[Identity, tuple[str, ...]]:
    """Return a person, and warnings; faces count from the left, None is the largest."""
    encoder = session.face_encoder
    assert encoder is not None, "models without one are refused before"
    try:
        found = find_faces(encoder, photo)
        chosen = choose_face(found, number=face_number, name="face")
    except ImageError as error:
        raise RequestError(_in_fields(str(error)), code="face_not_found", param="face") from error
    notes = tuple(_in_fields(f"{note[0].upper()}{note[1:]}.") for note in chosen.notes)
    return session.encode_face(chosen), notes


def _in_fields(text: str) -> str:
    return text.replace("`number=`", "'face_number'")


def requests_of(
    body: Drawing,
    *,
    subjects: tuple[Subject, ...],
    images: Sequence[Image.Image],
    mask: Image.Image | None,
    place: Image.Image | None = None,
    style: Image.Image | None = None,
) -> tuple[Request, ...]:
    """Return what a call draws, a request a picture.

    The first of `images` is the picture to change, if one is; the others show one more subject.

    Raises:
        RequestError: Mask, box and task do not go together.
    """
    own, changes = body.swiftpie, is_edit(body, images)
    _check_animated(body, images)
    name = own.task if changes else "personalize" if own.animate is None else "animate"
    task = TASKS[name]
    _check_names(own, name)
    if not body.prompt and task.request is not RepaintRequest:
        raise RequestError(
            f"prompt: The task {name!r} needs words that describe the picture. Send them.",
            code="invalid_value",
            param="prompt",
        )
    given = {name: getattr(own, name) for name in FIELDS[name]}
    shared = {"prompt": body.prompt, "negative_prompt": body.negative_prompt}
    given |= {name: value for name, value in shared.items() if name not in task.without}
    seeds = seeds_from(body.seed, body.n)
    if changes:
        made = _change(body, given, subjects, images=images, mask=mask, seed=seeds[0])
    else:
        shown = (*_pictured(images, given.pop("box")), *subjects)
        given |= {
            **({} if own.animate is None else own.animate.ends),
            **own.scales.model_dump(exclude_none=True),
            "scene": place or own.scene,
            "style_reference": style,
            "size_px": body.size_px,
        }
        # Without a folder: a file of the server is never read.
        made = drawing_of(task, given, subjects=shown, seeds=seeds[:1], folder=None)
    return tuple(with_seed(made, seed) for seed in seeds)


def _check_names(own: OwnFields, task: str) -> None:
    others = {name for names in FIELDS.values() for name in names} - FIELDS[task]
    for name in sorted(others & own.model_fields_set):
        if getattr(own, name) != OwnFields.model_fields[name].default:
            raise RequestError(
                f"{name!r} came with the task {task!r}, which has no use for it. Leave it out, or "
                "send another task.",
                param=f"swiftpie.{name}",
            )


def _change(
    body: Drawing,
    given: Mapping[str, Any],
    subjects: Sequence[Subject],
    *,
    images: Sequence[Image.Image],
    mask: Image.Image | None,
    seed: int,
) -> Request:
    """Return the request of a task that changes the first picture."""
    own, (image, *references) = body.swiftpie, images
    task, shown = TASKS[own.task], (*_pictured(references, None), *subjects)
    if own.task != "edit" and len(shown) > task.most_subjects:
        raise RequestError(
            f"The task {own.task!r} was given {len(shown)} subjects, and takes "
            f"{task.most_subjects}. Send pictures of one subject after the photograph, or name one "
            "in swiftpie.subjects.",
            param="swiftpie.subjects",
        )
    strengths = own.scales.model_dump(exclude_none=True) | own.edit.model_dump(exclude_none=True)
    region = None if mask is None else _region(body, image, mask)
    source = shown[0].source if shown else None
    said = {**given, **strengths, "mask": region}
    made = change_of(task, said, image=image, source=source, seed=seed)
    if shown and isinstance(made, RepaintRequest):
        return replace(made, box=shown[0].box or made.box, view=shown[0].view)
    return made


def _pictured(images: Sequence[Image.Image], box: Box | None) -> tuple[Subject, ...]:
    """Return the subject that pictures of a call show, if there are any."""
    return (Subject(Pictures(tuple(images)), box=box),) if images else ()


def _check_animated(body: Drawing, images: Sequence[Image.Image]) -> None:
    if body.swiftpie.animate is None:
        return
    if is_edit(body, images):
        raise RequestError(
            "'animate' came with a picture that is changed, and new pictures are animated. Leave "
            "it out, or send the task 'personalize'.",
            param="swiftpie.animate",
        )
    if body.output_format != "webp":
        raise RequestError(
            f"'animate' came with the format {body.output_format!r}, which holds one picture. Send "
            "output_format 'webp'.",
            param="output_format",
        )


def size_for(
    body: Drawing,
    facts: Mapping[str, Any],
    images: Sequence[Image.Image],
    *,
    is_substitute: bool = False,
) -> str:
    """Return the size of the pictures of a call, 'auto' for an edit, which keeps its picture's.

    A photographed place is drawn in any size, as elsewhere. What a model draws from words in too
    many pixels for it gets the nearest size for `is_substitute`, a program for OpenAI's models,
    which knows no other sizes.

    Raises:
        RequestError: The size, or that at which an edit works, would take minutes.
    """
    side_px = facts["image_size_px"]
    most = MOST_TIMES_OWN * side_px**2
    edited_px = body.swiftpie.edit.size_px
    if edited_px is not None and edited_px**2 > most:
        raise RequestError(
            f"swiftpie.edit.size_px is {edited_px}. The model is made for {side_px} px, and edits "
            f"at most {2 * side_px} px at once here. Send {2 * side_px} or less.",
            code="size_too_large",
            param="swiftpie.edit.size_px",
        )
    if is_edit(body, images):
        return "auto"
    has_places = Capability.LAYOUT in facts["capabilities"]
    is_photographed = has_places and body.swiftpie.scene != WORDS_ALONE
    if body.size_px is None or math.prod(body.size_px) <= most or is_photographed:
        return body.size
    own_px = 2 * side_px if has_places else side_px
    height, width = near_size(body.size_px, side_px=own_px, unit_px=2 * facts["latent_cell_px"])
    if not is_substitute:
        raise RequestError(
            f"size is {body.size}. From words, the model draws at most {MOST_TIMES_OWN} times the "
            f"pixels that it is made for here. Send {width}x{height}, which is the nearest.",
            code="size_too_large",
            param="size",
        )
    return f"{width}x{height}"


def is_edit(body: Drawing, images: Sequence[object]) -> bool:
    """Whether a call changes its first picture."""
    return bool(images) and body.swiftpie.task != "personalize"


def _region(body: Drawing, image: Image.Image, mask: Image.Image) -> Tensor:
    by_white = body.swiftpie.mask_mode == "white"
    if not by_white and alpha_of(mask) is None:
        what = "is opaque everywhere" if mask.mode == "RGBA" else "has no transparency"
        raise RequestError(
            f"The mask {what}, and transparency marks what may change. Send one that is "
            "transparent there, or one that is white there with swiftpie.mask_mode 'white'.",
            param="mask",
        )
    try:
        return load_mask(mask, image.size, by_white=by_white)
    except AmbiguousMask as error:
        remedy = "Send swiftpie.mask_mode 'white' for the first, or paint the white part black."
        detail = f"{error.found} {remedy}"
        raise RequestError(detail, code="invalid_image", param="mask") from error
    except ImageError as error:
        raise RequestError(str(error), code="invalid_image", param="mask") from error
