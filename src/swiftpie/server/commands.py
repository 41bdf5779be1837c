"""Commands to models: complete values, so that any process carries them out alike."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import near_size
from swiftpie.backbones.presets import Capability
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError, NobodyNamed, WeightsError
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.imageio.images import alpha_of
from swiftpie.masks import Box, hole_of, load_mask
from swiftpie.models.cutout import CutOut, Search, cut_out
from swiftpie.noise import seeds_from
from swiftpie.pipelines.draw import find_region
from swiftpie.pipelines.drawing.request import (
    EditRequest,
    PersonalizeRequest,
    RepaintRequest,
    Request,
    Subject,
)
from swiftpie.pipelines.drawing.settings import (
    USUAL,
    EditSettings,
    IdentityGuidance,
    MaskSource,
    Scales,
    StyleBy,
)
from swiftpie.pipelines.finding import Found, with_place_found
from swiftpie.scenes import WORDS_ALONE
from swiftpie.scenes import packaged as packaged_scenes
from swiftpie.server.schemas import Drawing, RequestError
from swiftpie.types import Identity

MOST_TIMES_OWN = 4  # the pixels of a model's own size; time grows by the square of more


@dataclass(frozen=True, eq=False, kw_only=True)
class Ask(ABC):
    """Something to make of a model."""

    model: str  # empty: whichever was used last

    @abstractmethod
    def make(self, session: Session) -> Any:  # noqa: ANN401 - of each kind its own
        """Return the result, or the request to draw for it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Encode(Ask):
    """A subject for later pictures."""

    images: tuple[Image.Image, ...]
    masks: tuple[Image.Image, ...]  # one each, or none at all

    def make(self, session: Session) -> Identity:
        """Return the subject."""
        return session.encode_identity(list(self.images), masks=list(self.masks) or None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Keep(Ask):
    """A subject of an identity file, for later pictures."""

    identity: Identity

    def make(self, session: Session) -> Identity:
        """Return the subject where the networks are.

        Raises:
            RequestError: The networks cannot use it.
        """
        return _fitted(session, self.identity, param="identity")


class FoundPerson(NamedTuple):
    """A person by the face, and what the user should know about the photograph."""

    identity: Identity
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodeFace(Ask):
    """A person for later pictures."""

    photo: Image.Image
    face_number: int | None  # from the left; None: the largest or most central

    def make(self, session: Session) -> FoundPerson:
        """Return the person.

        Raises:
            RequestError: There is no such face, or it cannot be used.
        """
        encoder = session.face_encoder
        assert encoder is not None, "models without one are refused before"
        try:
            found = find_faces(encoder, self.photo)
            chosen = choose_face(found, number=self.face_number, name="face")
        except ImageError as error:
            raise RequestError(
                _in_fields(str(error)), code="face_not_found", param="face"
            ) from error
        notes = tuple(_in_fields(f"{note[0].upper()}{note[1:]}.") for note in chosen.notes)
        return FoundPerson(session.encode_face(chosen), notes)


def _in_fields(text: str) -> str:
    return text.replace("`number=`", "'face_number'")


@dataclass(frozen=True, eq=False, kw_only=True)
class Find(Ask):
    """Where the subject of a picture is."""

    model: str = ""  # as none of them looks
    image: Image.Image
    search: Search

    def make(self, session: Session) -> CutOut:  # noqa: ARG002 - as all asks
        """Return its mask, and how that was found."""
        return cut_out(self.image, self.search)


@dataclass(frozen=True, eq=False, kw_only=True)
class Words(Ask):
    """The words that a model was taught."""

    def make(self, session: Session) -> Any:  # noqa: ANN401 - JSON
        """Return them as JSON; None for a model that reads anything."""
        words = session.components.text.vocabulary
        return None if words is None else words.to_json()


@dataclass(frozen=True)
class ByName:
    """A subject of the library, of which every process has its own copy."""

    word: str
    placed: Mapping[str, Any]  # the other fields of its `Subject`


def shown_by(session: Session, subject: Subject | ByName) -> Subject:
    """Return a subject where the networks are.

    Raises:
        RequestError: Other weights encoded it.
    """
    if isinstance(subject, ByName):
        return Subject(session.named(subject.word), **subject.placed)
    identity = _fitted(session, subject.identity, param="identity_id")
    return replace(subject, identity=identity)


@dataclass(frozen=True, eq=False, kw_only=True)
class FindSubject(Ask):
    """Where a subject is in another picture."""

    image: Image.Image
    subject: Subject | ByName
    is_there: bool = False

    def make(self, session: Session) -> Found:
        """Return its mask, and how alike they look.

        Raises:
            NoSubject: Nothing in the picture looks like the subject.
        """
        sought = shown_by(session, self.subject).identity
        return session.find(self.image, sought, is_there=self.is_there)


@dataclass(frozen=True, eq=False, kw_only=True)
class Draw(Ask):
    """One picture."""

    prompt: str
    seed: int
    subjects: tuple[Subject | ByName, ...]
    references: tuple[Image.Image, ...] = ()  # of one more subject, which comes first
    box: Box | None = None  # where that one shall be
    scales: Scales = USUAL
    identity_guidance: IdentityGuidance = IdentityGuidance.PLAIN
    negative_prompt: str = ""

    @abstractmethod
    def make(self, session: Session) -> Request:
        """Return what is to be drawn."""

    def all_subjects(self, session: Session) -> tuple[Subject, ...]:
        """Return the subjects where the networks are, with that of the references, encoded."""
        known = [shown_by(session, subject) for subject in self.subjects]
        if not self.references:
            return tuple(known)
        pictured = session.encode_identity(list(self.references))
        return (Subject(pictured, box=self.box), *known)


@dataclass(frozen=True, eq=False, kw_only=True)
class Personalize(Draw):
    """Subjects in a new scene."""

    mask: MaskSource
    scene: str | Image.Image  # a name of the library, words alone, a picture, or nothing
    style_reference: Image.Image | None
    style_by: StyleBy | None
    style_scale: float
    flip: bool
    tilt: float
    size_px: tuple[int, int] | None

    def make(self, session: Session) -> Request:
        """Return what is to be drawn."""
        return PersonalizeRequest(
            subjects=session.with_named(self.prompt, self.all_subjects(session)),
            prompt=self.prompt,
            seeds=(self.seed,),
            scales=self.scales,
            mask=self.mask,
            scene=self.scene,
            style_reference=self.style_reference,
            style_by=self.style_by,
            style_scale=self.style_scale,
            flip=self.flip,
            tilt=self.tilt,
            size_px=self.size_px,
            identity_guidance=self.identity_guidance,
            negative_prompt=self.negative_prompt,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit(Draw):
    """A picture changed by words."""

    image: Image.Image
    region: Tensor | Box | None  # that may change; None: found
    where: Subject | ByName | None  # instead: what changes is found where that is
    source_prompt: str
    keyword: str
    settings: EditSettings

    def make(self, session: Session) -> Request:
        """Return what is to be drawn."""
        new, *_ = (*self.all_subjects(session), None)
        identity = None if new is None else new.identity
        request = EditRequest(
            image=self.image,
            prompt=self.prompt,
            seed=self.seed,
            source_prompt=self.source_prompt,
            keyword=self.keyword,
            mask=self.region,
            where=None if self.where is None else shown_by(session, self.where).identity,
            identity=identity,
            settings=replace(self.settings, scales=self.scales),
            identity_guidance=self.identity_guidance,
            negative_prompt=self.negative_prompt,
        )
        return session.with_face_region(session.with_newcomer(request))


@dataclass(frozen=True, eq=False, kw_only=True)
class FindRegion(Ask):
    """What an edit may change."""

    edit: Edit

    def make(self, session: Session) -> Image.Image:
        """Return it, white in mode L."""
        request = self.edit.make(session)
        assert isinstance(request, EditRequest), "edits by words are such"
        return find_region(session.components, with_place_found(request))


@dataclass(frozen=True, eq=False, kw_only=True)
class Repaint(Draw):
    """A photograph into which a subject comes, from which something goes, or both."""

    image: Image.Image
    gone: Tensor | Box | Search | None
    brings: bool  # a subject
    where: Subject | ByName | None  # instead of `gone`: what goes is found where that is

    def make(self, session: Session) -> Request:
        """Return what is to be drawn.

        Raises:
            NobodyNamed: A subject shall come, and none is given or named.
        """
        newcomers = self.all_subjects(session)
        if self.brings and not newcomers:
            named = session.with_named(self.prompt)
            if not named:
                raise NobodyNamed("No picture of a subject to insert was given.")
            newcomers = (replace(named[0], box=self.box),)
        comes = newcomers[0] if newcomers else None
        return RepaintRequest(
            image=self.image,
            seed=self.seed,
            identity=None if comes is None else comes.identity,
            prompt="" if comes is None else self.prompt,
            box=None if comes is None else comes.box,
            view=None if comes is None else comes.view,
            mask=self.gone,
            where=None if self.where is None else shown_by(session, self.where).identity,
            scales=self.scales,
            identity_guidance=self.identity_guidance,
            negative_prompt=self.negative_prompt,
        )


def _fitted(session: Session, identity: Identity, *, param: str) -> Identity:
    """Return an identity that comes from wherever it was kept.

    Raises:
        RequestError: The networks cannot use it.
    """
    try:
        return session.fitted(identity, name="The identity")
    except (InputError, WeightsError) as error:
        raise RequestError(str(error), code="identity_of_others", param=param) from error


def commands_of(
    body: Drawing,
    *,
    model: str,
    subjects: tuple[Subject | ByName, ...],
    images: Sequence[Image.Image],
    mask: Image.Image | None,
    place: Image.Image | None = None,
    style: Image.Image | None = None,
    where: Subject | ByName | None = None,
) -> tuple[Draw, ...]:
    """Return what a call asks for, a picture each; `place` is shown by the scene, if it is kept.

    `style` is the picture of its style, and `where` what changes.

    Raises:
        InputError: A setting is out of range.
        RequestError: Mask, box and `where` do not go together, or not with the task.
    """
    own = body.swiftpie
    seeds = seeds_from(body.seed, body.n)
    shared: dict[str, Any] = {
        "model": model,
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "subjects": subjects,
        "box": own.box,
        "scales": Scales(**own.scales.model_dump(exclude_none=True)),
        "identity_guidance": own.identity_guidance,
    }
    if not is_edit(body, images):
        shared |= {"mask": own.mask, "size_px": body.size_px, "references": tuple(images)}
        shared |= {"scene": place or _scene_named(own.scene)}
        shared |= {"style_reference": style, "style_by": own.style_by}
        shared |= {"style_scale": own.style_scale, "flip": own.flip, "tilt": own.tilt}
        _check_where(where, others=(), task="personalize")
        return tuple(Personalize(seed=seed, **shared) for seed in seeds)
    if style is not None:
        raise RequestError(
            "'style_reference' came with a picture that is changed. Styles are for new pictures. "
            "Leave it out.",
            param="swiftpie",
        )
    image, *references = images
    shared |= {"image": image, "references": tuple(references)}
    region = _region(body, image, mask)
    _check_where(where, others=(mask, own.box, own.points or None), task=own.task)
    shared["where"] = where
    if own.task != "edit":
        shared |= _repainting(body, image, region, num_newcomers=len(subjects) + bool(references))
        return tuple(Repaint(seed=seed, **shared) for seed in seeds)
    shared |= {
        "region": region,
        "source_prompt": own.source_prompt,
        "keyword": own.keyword,
        "settings": EditSettings(**own.edit.model_dump(exclude_none=True)),
    }
    return tuple(Edit(seed=seed, **shared) for seed in seeds)


def _check_where(where: Subject | ByName | None, *, others: tuple[object, ...], task: str) -> None:
    if where is None:
        return
    if task in {"insert", "personalize"}:
        raise RequestError(
            f"'where' came with the task {task!r}, which changes nothing that is there. Leave it "
            "out.",
            param="swiftpie.where",
        )
    if any(other is not None for other in others):
        raise RequestError(
            "'where' came with a mask, a box or points, and each says what changes. Send one.",
            param="swiftpie.where",
        )


def _scene_named(scene: str) -> str:
    """Return the scene of the library with a name; a file of the server is never read.

    Raises:
        InputError: There is none.
    """
    return scene if scene in {"", WORDS_ALONE} else packaged_scenes().find(scene)


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


def _repainting(
    body: Drawing, image: Image.Image, region: Tensor | Box | None, *, num_newcomers: int
) -> dict[str, Any]:
    """Return where of a photograph something goes, and where a subject comes.

    Raises:
        RequestError: The task needs another number of subjects, or another place.
    """
    task = body.swiftpie.task
    wanted = 0 if task == "remove" else 1
    if num_newcomers > wanted:
        raise RequestError(
            f"The task {task!r} was given {num_newcomers} subjects, and takes {wanted}. Send "
            "pictures of one subject after the photograph, or name one in swiftpie.subjects.",
            param="swiftpie.subjects",
        )
    if task == "insert":
        if isinstance(region, Tensor):
            raise RequestError(
                "The task 'insert' was given a mask, and nothing goes. Say where the subject "
                "comes by swiftpie.box, or ask for 'replace'.",
                param="mask",
            )
        return {"gone": None, "brings": True}
    gone: Tensor | Box | Search | None = region
    if points := body.swiftpie.points:
        if isinstance(region, Tensor):
            raise RequestError(
                "A mask and swiftpie.points were given. Send one of the two.", param="mask"
            )
        gone = Search(box=region, points=tuple(points))
    if gone is None and not body.swiftpie.where:
        gone = hole_of(image)
    if gone is None and not body.swiftpie.where:
        raise RequestError(
            f"The task {task!r} needs to know what to remove. Send a mask, swiftpie.box "
            "or swiftpie.points.",
            param="mask",
        )
    return {"gone": gone, "box": None, "brings": bool(wanted)}


def _region(body: Drawing, image: Image.Image, mask: Image.Image | None) -> Tensor | Box | None:
    """Return where an edit may change its picture, None where that shall be found.

    Raises:
        RequestError: A mask and a box came, or the mask marks nothing.
    """
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
