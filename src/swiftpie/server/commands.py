"""Commands of the queue: requests to draw, and smaller tasks, each for one model."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import near_size
from swiftpie.backbones.presets import Capability
from swiftpie.config import Surface, options_of
from swiftpie.engine.encoding import read_removal
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError, WeightsError
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.imageio.images import alpha_of
from swiftpie.library import scenes
from swiftpie.masks import Box, load_mask
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    EditRequest,
    IdentityRef,
    PersonalizeRequest,
    Pictures,
    RepaintRequest,
    Request,
    Source,
    Subject,
    with_seed,
    with_sources,
)
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.server.schemas import Drawing, OwnFields, RequestError
from swiftpie.types import Identity
from swiftpie.validation import seeds_from

MOST_TIMES_OWN = 4  # the pixels of a model's own size; time grows by the square of more


@dataclass(eq=False)
class Command:
    """A request to draw, or a task, for a model."""

    model: str  # empty: the first
    work: Request | Callable[[Session], Any]
    stage: str = "queue"  # that ended last

    def begin(self, session: Session) -> Any:  # noqa: ANN401 - of each task its own
        """Return the resolved request, or what the task gives."""
        if not isinstance(self.work, Request):
            return self.work(session)

        def encode(source: Source) -> Source:
            is_kept = isinstance(source, IdentityRef)
            return encode_kept(session, source) if is_kept else source

        return session.resolved(with_sources(self.work, encode))


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
    own = body.swiftpie
    _check_animated(body, images)
    if own.keep_pose and own.task != "replace":
        raise RequestError(
            f"'keep_pose' came with the task {own.task!r}. Send the task 'replace', or leave it "
            "out.",
            param="swiftpie.keep_pose",
        )
    kind: type[Request]
    if is_edit(body, images):
        if style is not None:
            raise RequestError(
                "'style_reference' came with a picture that is changed. Styles are for new "
                "pictures. Leave it out.",
                param="swiftpie",
            )
        kind = EditRequest if own.task == "edit" else RepaintRequest
        given = _change_of(body, subjects, images, mask)
    else:
        moves = {} if own.animate is None else own.animate.ends
        kind = AnimateRequest if moves else PersonalizeRequest
        scene = own.scene  # by its name: a file of the server is never read
        given = {
            **moves,
            "subjects": (*_pictured(images, own.box), *subjects),
            "scene": place or (scene if scene in {"", WORDS_ALONE} else scenes().find(scene)),
            "scales": _scales_of(body),
            "style_reference": style,
            "size_px": body.size_px,
        }
    known = options_of(kind, Surface.HTTP)
    own_fields = {name: getattr(own, name) for name in known if name in OwnFields.model_fields}
    fields = {"prompt": body.prompt, "negative_prompt": body.negative_prompt, "takes_named": True}
    seeds = seeds_from(body.seed, body.n)
    if issubclass(kind, PersonalizeRequest):
        fields["seeds"] = seeds[:1]
    else:
        fields["seed"] = seeds[0]
    made = kind(**own_fields | fields | given)
    return tuple(with_seed(made, seed) for seed in seeds)


def _scales_of(body: Drawing) -> Scales:
    return Scales(**body.swiftpie.scales.model_dump(exclude_none=True))


def _change_of(
    body: Drawing,
    subjects: Sequence[Subject],
    images: Sequence[Image.Image],
    mask: Image.Image | None,
) -> dict[str, Any]:
    """Return the fields of a change of a picture that are no plain options."""
    own, task, (image, *references) = body.swiftpie, body.swiftpie.task, images
    region = _region(body, image, mask)
    shown = (*_pictured(references, own.box if task == "insert" else None), *subjects)
    source = shown[0].source if shown else None
    given: dict[str, Any] = {"image": image, "source": source}
    if task == "edit":
        settings = EditSettings(**own.edit.model_dump(exclude_none=True), scales=_scales_of(body))
        return given | {"mask": region, "settings": settings}
    wanted = 0 if task == "remove" else 1
    if len(shown) > wanted:
        raise RequestError(
            f"The task {task!r} was given {len(shown)} subjects, and takes {wanted}. Send "
            "pictures of one subject after the photograph, or name one in swiftpie.subjects.",
            param="swiftpie.subjects",
        )
    given |= {"scales": _scales_of(body), "takes_named": bool(wanted)}
    given |= {} if wanted else {"prompt": ""}
    if task == "insert" and mask is not None:
        raise RequestError(
            "The task 'insert' was given a mask, and nothing is removed. Say where the subject "
            "comes by swiftpie.box, or ask for 'replace'.",
            param="mask",
        )
    if task == "insert":
        given["box"] = own.box
    elif region is not None or own.points or not own.keep_pose:
        given["mask"] = read_removal(region, own.points, image)
    return given | ({"box": shown[0].box, "view": shown[0].view} if shown else {})


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


def size_for(body: Drawing, facts: Mapping[str, Any], images: Sequence[Image.Image]) -> str:
    """Return the size of the pictures of a call, 'auto' for an edit, which keeps its picture's.

    A size of too many pixels for the model, as clients of larger ones send, becomes the nearest
    one that it draws well.

    Raises:
        RequestError: An edit at a working size would take minutes.
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
    if body.size_px is None or math.prod(body.size_px) <= most:
        return body.size
    own_px = 2 * side_px if Capability.LAYOUT in facts["capabilities"] else side_px
    height, width = near_size(body.size_px, side_px=own_px, unit_px=2 * facts["latent_cell_px"])
    return f"{width}x{height}"


def is_edit(body: Drawing, images: Sequence[object]) -> bool:
    """Whether a call changes its first picture."""
    return bool(images) and body.swiftpie.task != "personalize"


def _region(body: Drawing, image: Image.Image, mask: Image.Image | None) -> Tensor | Box | None:
    """Return where an edit may change its picture, None to find the region."""
    own = body.swiftpie
    if mask is None:
        return own.box
    if own.box is not None:
        raise RequestError("A mask and a box were given. Send one of the two.", param="mask")
    if own.mask_mode == "alpha" and alpha_of(mask) is None:
        what = "is opaque everywhere" if mask.mode == "RGBA" else "has no transparency"
        raise RequestError(
            f"The mask {what}, and transparency marks what may change. Send one that is "
            "transparent there, or one that is white there with swiftpie.mask_mode 'white'.",
            param="mask",
        )
    try:
        return load_mask(mask, image.size)
    except ImageError as error:
        raise RequestError(str(error), code="invalid_image", param="mask") from error
