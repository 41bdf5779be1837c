"""Calls as jobs: the requests that they draw, checked before they wait."""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from swiftpie.backbones.presets import Capability
from swiftpie.config import Surface
from swiftpie.errors import ImageError
from swiftpie.imageio.images import alpha_of
from swiftpie.imageio.originals import OriginalPicture, losses_in
from swiftpie.library import Named, subject_library
from swiftpie.masks import Box, load_mask
from swiftpie.pipelines.identity_file import read_identity
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    IdentityRef,
    Pictures,
    Subject,
    drawing_of,
    near_size,
    seeds_from,
)
from swiftpie.pipelines.tasks import (
    TASKS,
    EditRequest,
    Request,
    RetouchRequest,
    change_of,
    for_seeds,
    with_seed,
)
from swiftpie.remedies import Tongue, said_of
from swiftpie.server.drawing import SUFFIXES, as_files
from swiftpie.server.errors import RequestError
from swiftpie.server.jobs import Job
from swiftpie.server.schemas import Drawing, OwnFields, SubjectIn, bytes_of_base64
from swiftpie.server.shared import Store, reached
from swiftpie.server.store import KEPT, Caller, Models, StoredIdentity

MOST_TIMES_OWN = 4  # the pixels of a model's own size; time grows by the square of more
FIELDS = {
    name: OwnFields.model_fields.keys() & task.options(Surface.HTTP).keys()
    for name, task in TASKS.items()
}


class JobBuilder:
    """Makes jobs of calls, with everything checked that needs no network."""

    def __init__(
        self, models: Models, *, identities: Store[StoredIdentity], pictures: Store[Image.Image]
    ) -> None:
        self._models, self._identities, self._pictures = models, identities, pictures

    async def jobs_of(
        self,
        body: Drawing,
        *,
        caller: Caller,
        images: Sequence[Image.Image] = (),
        mask: Image.Image | None = None,
        style: Image.Image | None = None,
        more: Sequence[Subject] = (),
        original: OriginalPicture | None = None,
        files: Sequence[bytes] = (),  # of identities, which are subjects
    ) -> list[Job]:
        """Return a job for each picture of a call; arguments are those of `requests_of`."""
        model, own, owner = self._models.named(body.model), body.swiftpie, caller.owner
        is_substitute = bool(body.model) and body.model != model
        size = size_for(body, self._models.served(model).facts, images, is_substitute=is_substitute)
        self._check_names_subject(body, model, (*images, *files))
        shown = [await self._subject(one, model, owner, files) for one in own.subjects]
        placed = {one.identity_file for one in own.subjects}
        rest = [data for number, data in enumerate(files) if str(number) not in placed]
        others = [Subject(await self.in_file(data, model)) for data in rest]
        subjects = (*more, *shown, *others)
        if own.box is not None and not images:
            subjects = (self._placed(subjects, body, model),)
        planning = partial(
            requests_of,
            body.model_copy(update={"size": size}),
            subjects=subjects,
            images=images,
            mask=mask,
            place=await self._kept(own.scene, owner) if own.scene.startswith(KEPT) else None,
            style=await self._kept(own.style_reference, owner) if own.style_reference else style,
        )
        requests = planning() if mask is None else await asyncio.to_thread(planning)
        group = (model, is_edit(body, images) and own.task, size, len(subjects), len(images))
        frames = own.animate.num_frames if own.animate else 1
        tries = own.best_of or 1
        megapixels = max(1.0, math.prod(images[0].size) / 2**20) if images else 1.0
        kind = (*group, frames, tries, round(math.log2(megapixels)))
        units = (1 + frames) / 2 * tries * megapixels  # frames share what is prepared
        sign = self._models.sign
        warnings = (*_substitutes(body, model, size, images), *_losses(body, original, sign))
        shared: Any = {"body": body, "subjects": subjects, "model": model, "original": original}
        finish = partial(as_files, **shared, sign=sign, warnings=warnings)
        return [Job(one, caller.key, model, group, units, kind, finish) for one in requests]

    async def _kept(self, name: str, owner: str) -> Image.Image:
        return await reached(self._pictures.find, name, owner=owner)

    def _check_names_subject(self, body: Drawing, model: str, images: Sequence[object]) -> None:
        """Raise UnknownSubjectError for a prompt without a subject before it waits."""
        session = self._models.loaded.get(model)
        if session is not None and not images and not body.swiftpie.subjects:
            components = session.components
            components.family.named_besides(body.prompt, components)

    def _placed(self, subjects: Sequence[Subject], body: Drawing, model: str) -> Subject:
        """Return the only subject of a new picture in the box that stands beside the prompt."""
        session = self._models.loaded.get(model)
        if session is not None and not subjects:
            components = session.components
            named = components.family.named_besides(body.prompt, components)
            subjects = [Subject(each, name=each.word) for each in named]
        if len(subjects) != 1 or subjects[0].box is not None:
            raise RequestError(
                f"'box' beside the prompt cannot be combined with {len(subjects)} subjects: it "
                "places one that has no box. Give each its own in swiftpie.subjects, as in "
                '{"library": "cat", "box": [0.25, 0.5, 0.75, 1]}.',
                param="swiftpie.box",
            )
        return replace(subjects[0], box=body.swiftpie.box)

    async def in_file(self, data: bytes, model: str) -> IdentityRef:
        """Return the subject of an identity file, which the drawing thread compares with models."""
        identity = await asyncio.to_thread(read_identity, data, "identity")
        if identity.is_face:
            check_knows_faces(self._models, model, "identity")
        return IdentityRef(identity)

    async def _subject(
        self, subject: SubjectIn, model: str, owner: str, files: Sequence[bytes]
    ) -> Subject:
        sources = {"identity_id", "library", "identity_file"}
        placed: dict[str, Any] = subject.model_dump(exclude=sources)
        if subject.identity_file:
            data = await asyncio.to_thread(_file_of, subject.identity_file, files)
            return Subject(await self.in_file(data, model), **placed)
        if subject.library:
            named = subject_library().find(subject.library)
            return Subject(named, **placed | {"name": subject.name or subject.library})
        known = await reached(self._identities.find, subject.identity_id, owner=owner)
        if known.model != model:
            raise RequestError(
                f"The identity {subject.identity_id} was encoded by {known.model!r}, and "
                f"{model!r} shall draw it. Encode its pictures with that model.",
                param="identity_id",
            )
        return Subject(IdentityRef(known.identity), **placed)


def check_knows_faces(models: Models, model: str, param: str) -> None:
    """Raise RequestError for a person where a model draws none."""
    if not models.served(model).facts.get("knows_faces"):
        message = (
            f"The model {model!r} draws no faces here. A full-size model with an adapter and a "
            "face encoder is needed; GET /v1/models says which know faces."
        )
        raise RequestError(message, code="faces_not_known", param=param)


def _file_of(text: str, files: Sequence[bytes]) -> bytes:
    """Return the file in base64, or the part of a form with that number."""
    try:
        return files[int(text)] if text.isdecimal() else bytes_of_base64(text)
    except (ValueError, IndexError) as error:
        raise RequestError(
            f"'identity_file' is neither a file in base64 nor the number of one of {len(files)} "
            "parts 'identity'. Send what GET /v1/identities/…/file answers with.",
            param="identity_file",
        ) from error


def requests_of(
    body: Drawing,
    *,
    subjects: tuple[Subject, ...],
    images: Sequence[Image.Image],
    mask: Image.Image | None,
    place: Image.Image | None = None,
    style: Image.Image | None = None,
) -> tuple[Request, ...]:
    """Return a request a picture, or one for the best; the first of `images` may be changed."""
    own, changes = body.swiftpie, is_edit(body, images)
    _check_animated(body, images)
    name = own.task if changes else "personalize" if own.animate is None else "animate"
    task = TASKS[name]
    _check_names(own, name)
    if not body.prompt and task.request is not RetouchRequest:
        message = f"prompt: The task {name!r} needs words that describe the picture. Send them."
        raise RequestError(message, code="invalid_value", param="prompt")
    given = {name: getattr(own, name) for name in FIELDS[name]}
    shared = {"prompt": body.prompt, "negative_prompt": body.negative_prompt}
    given |= {name: value for name, value in shared.items() if name not in task.without}
    if "style_reference" in given:
        given["style_reference"] = style
    seeds = seeds_from(body.seed, body.n)
    if changes:
        change = _change(body, given, subjects, images=images, mask=mask, seed=seeds[0])
        return for_seeds(change, seeds)
    shown = (*_pictured(images, given.pop("box")), *subjects)
    given |= {
        **({} if own.animate is None else own.animate.ends),
        **own.scales.model_dump(exclude_none=True),
        "scene": place or own.scene,
        "size_px": body.size_px,
    }
    # Without a folder: a file of the server is never read.
    first = seeds if given.get("best_of") else seeds[:1]
    made = drawing_of(task, given, subjects=shown, seeds=first, folder=None)
    return (made,) if first == seeds else tuple(with_seed(made, seed) for seed in seeds)


def _check_names(own: OwnFields, task: str) -> None:
    others = {name for names in FIELDS.values() for name in names} - FIELDS[task]
    for name in sorted(others & own.model_fields_set):
        if getattr(own, name) != OwnFields.model_fields[name].default:
            raise RequestError(
                f"{name!r} cannot be combined with the task {task!r}: it has no effect there. "
                "Leave it out, or send another task.",
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
) -> EditRequest | RetouchRequest:
    own, (image, *references) = body.swiftpie, images
    task, shown = TASKS[own.task], (*_pictured(references, None), *subjects)
    if own.task != "edit" and len(shown) > task.most_subjects:
        raise RequestError(
            f"The task {own.task!r} takes {task.most_subjects} subjects, not {len(shown)}. Send "
            "pictures of one subject after the photograph, or name one in swiftpie.subjects.",
            param="swiftpie.subjects",
        )
    for name in ("layers", "scale", "name") if shown else ():
        is_of_library = name == "name" and isinstance(shown[0].source, Named)
        if not is_of_library and getattr(shown[0], name) != getattr(Subject, name):
            raise RequestError(
                f"{name!r} cannot be combined with the task {own.task!r}: it has no effect there. "
                "Leave it out, or draw a new picture.",
                param="swiftpie.subjects",
            )
    strengths = own.scales.model_dump(exclude_none=True) | own.edit.model_dump(exclude_none=True)
    region = None if mask is None else _region(body, image, mask)
    source = shown[0].source if shown else None
    said = {**given, **strengths, "mask": region}
    made = change_of(task, said, image=image, source=source, seed=seed)
    if shown and isinstance(made, RetouchRequest):
        return replace(made, box=shown[0].box or made.box, view=shown[0].view)
    return made


def _pictured(images: Sequence[Image.Image], box: Box | None) -> tuple[Subject, ...]:
    return (Subject(Pictures(tuple(images)), box=box),) if images else ()


def _check_animated(body: Drawing, images: Sequence[Image.Image]) -> None:
    if body.swiftpie.animate is None:
        return
    if is_edit(body, images):
        raise RequestError(
            "'animate' cannot be combined with a change of a picture: only new pictures are "
            "animated. Leave it out, or send the task 'personalize'.",
            param="swiftpie.animate",
        )
    if body.output_format != "webp":
        raise RequestError(
            f"'animate' cannot be combined with the format {body.output_format!r}: it holds one "
            "picture. Send output_format 'webp'.",
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

    A photographed place is drawn in any size, as elsewhere. A program for OpenAI's models, with
    `is_substitute`, knows no other sizes than theirs: it gets that of the picture that it edits,
    or the nearest one that a model draws from words.

    Raises:
        RequestError: An edit is to have another size than its picture, or the size, or that at
            which an edit works, would take minutes.
    """
    side_px = facts["image_size_px"]
    most = MOST_TIMES_OWN * side_px**2
    edited_px = body.swiftpie.edit.size_px
    if edited_px is not None and edited_px**2 > most:
        message = (
            f"swiftpie.edit.size_px is {edited_px}. The model is made for {side_px} px, and edits "
            f"at most {2 * side_px} px at once here. Send {2 * side_px} or less."
        )
        raise RequestError(message, code="size_too_large", param="swiftpie.edit.size_px")
    if is_edit(body, images):
        own = "{}x{}".format(*images[0].size)
        if body.size not in {"auto", own} and not is_substitute:
            message = (
                f"size is {body.size}. An edit is as large as its picture. Send {own} or 'auto', "
                "and resize what comes."
            )
            raise RequestError(message, code="size_differs", param="size")
        return "auto"
    has_places = Capability.LAYOUT in facts["capabilities"]
    is_photographed = has_places and body.swiftpie.scene != WORDS_ALONE
    if body.size_px is None or math.prod(body.size_px) <= most or is_photographed:
        return body.size
    own_px = 2 * side_px if has_places else side_px
    height, width = near_size(body.size_px, side_px=own_px, unit_px=2 * facts["latent_cell_px"])
    if not is_substitute:
        message = (
            f"size is {body.size}. From words, the model draws at most {MOST_TIMES_OWN} times the "
            f"pixels that it is made for here. Send {width}x{height}, which is the nearest."
        )
        raise RequestError(message, code="size_too_large", param="size")
    return f"{width}x{height}"


def is_edit(body: Drawing, images: Sequence[object]) -> bool:
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
    except ImageError as error:
        message = said_of(error, Tongue.HTTP)
        raise RequestError(message, code="invalid_image", param="mask") from error


def _substitutes(
    body: Drawing, model: str, size: str, images: Sequence[Image.Image]
) -> Iterator[str]:
    """Yield a warning where another model or size is used than the request names."""
    if body.model and body.model != model:
        yield f"The model {body.model!r} stands for {model!r} here."
    if is_edit(body, images):
        own = "{}x{}".format(*images[0].size)
        if body.size not in {"auto", own}:
            yield f"The size {body.size} has no effect. An edit is as large as its picture, {own}."
    elif body.size != size:
        yield f"The size is {size}. The model {model!r} does not draw {body.size} well."


def _losses(body: Drawing, original: OriginalPicture | None, sign: Path | None) -> Iterator[str]:
    """Yield a warning where the file of an edit does not keep all of its picture."""
    suffix, is_signed = SUFFIXES[body.output_format], sign is not None
    if original and (losses := losses_in(original, suffix, is_signed=is_signed)):
        yield f"The edited picture does not keep {', '.join(losses)}."
