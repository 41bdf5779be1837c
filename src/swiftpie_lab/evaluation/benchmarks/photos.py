"""Real photographs as subjects, and how much of their identity is kept beside that of sprites."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.cutout import DOUBTFUL
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import alpha_of, plane, to_pil, to_tensor
from swiftpie.imageio.writing import FORMAT_OF_SUFFIX
from swiftpie.models.cutout import confidence_with, packaged
from swiftpie.types import Identity
from swiftpie_lab.evaluation.benchmarks.sprites import SpritesInPlaces, prompt_of
from swiftpie_lab.evaluation.report import (
    Interval,
    Values,
    as_json,
    format_interval,
    interval,
    share,
)
from swiftpie_lab.judges import SubjectEmbedder, cut, subject_crops

MASK_SUFFIX = ".mask.png"  # NAME.mask.png is the mask of NAME.jpg

WHAT_IT_SAYS = (
    "Cosine similarity of the subject as drawn, around the model's own mask, and its cut-out on "
    "white; the mean over places, then over subjects, with 95 % bootstrap intervals over subjects. "
    "The judge was trained on rendered sprites alone: it compares colours and shapes, and knows no "
    "photographs. It says whether photographs keep as much of what it sees as sprites do, and not "
    "whether a person would call it the same thing. A cut-out that missed the subject is compared "
    "with pictures of that cut-out, so its faults do not count here. Look at the sheet for both."
)


@dataclass(frozen=True)
class PhotoSubject:
    """One subject: its name, its first picture, and the mask if there is one."""

    name: str  # of its folder
    photo: Path
    mask: Path | None

    @property
    def words(self) -> str:
        """What prompts call it: the folder's name without numbers and underscores."""
        return " ".join(re.sub(r"[\d_-]+", " ", self.name).lower().split()) or "object"


@dataclass(frozen=True, eq=False)
class Portrait:
    """One subject in every place, as pictures and as the judge sees them."""

    name: str
    reference: Image.Image
    cutout: Image.Image  # what the networks are given of it, on white
    pictures: tuple[Image.Image, ...]  # one a place
    wanted: Tensor  # (1, D) unit vector of the cut-out
    seen: Tensor  # (places, D) unit vectors of the subject as drawn
    confidence: float | None = None  # of the cut-out, where it was made here


@dataclass(frozen=True)
class PhotoWithoutSubject:
    """A photograph in which no subject could be found."""

    name: str
    reason: str


@dataclass(frozen=True)
class Doubt:
    """A photograph whose subject may be cut out badly."""

    name: str
    confidence: float  # as `swiftpie.models.cutout` has it, in [0, 1]


@dataclass(frozen=True)
class Similarities:
    """Similarities of one kind of subject."""

    same: Interval  # to the subject's own reference
    other: Interval | None  # to those of the others, the lower bound; None with one subject


@dataclass(frozen=True)
class Likeness:
    """Photographs beside held-out sprites in the same places."""

    photos: Similarities
    sprites: Similarities
    share: Interval  # photos over sprites
    share_above_bound: Interval | None  # the same of what exceeds each one's lower bound


@dataclass(frozen=True)
class PhotoReport:
    """Everything the command found."""

    preset: str
    weights: str
    num_steps: int
    seed: int
    places: tuple[str, ...]
    subjects: tuple[str, ...]
    left_out: tuple[PhotoWithoutSubject, ...]
    doubtful: tuple[Doubt, ...]  # drawn all the same
    likeness: Likeness
    what_it_says: str = WHAT_IT_SAYS

    def to_json(self) -> str:
        """Return one JSON object."""
        return as_json(asdict(self))


def find_subjects(root: Path, *, limit: int) -> list[PhotoSubject]:
    """Return the first subjects by name, each with its first picture by name.

    Raises:
        InputError: There is no such folder, or no picture one folder below it.
    """
    if not root.is_dir():
        raise InputError(
            f"'{root}' is no folder. One with a folder of photographs for each subject is needed. "
            "Check the path."
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    found = [subject for folder in folders if (subject := _first(folder)) is not None]
    if not found:
        raise InputError(
            f"There is no photograph in any folder of '{root}'. Each subject needs a folder with "
            f"pictures ({', '.join(FORMAT_OF_SUFFIX)}). Sort them into folders."
        )
    return found[:limit]


def photos_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder by name, masks left out."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in FORMAT_OF_SUFFIX
        and path.is_file()
        and not path.name.endswith(MASK_SUFFIX)
    ]


def mask_beside(photo: Path) -> Path | None:
    """Return the file with the mask of a picture, if there is one."""
    mask = photo.with_name(photo.stem + MASK_SUFFIX)
    return mask if mask.is_file() else None


def _first(folder: Path) -> PhotoSubject | None:
    photos = photos_in(folder)
    return PhotoSubject(folder.name, photos[0], mask_beside(photos[0])) if photos else None


def draw_photos(
    session: Session,
    embedder: SubjectEmbedder,
    subjects: Sequence[PhotoSubject],
    *,
    places: Sequence[str],
    seed: int,
    noun: str = "",
) -> Iterator[Portrait | PhotoWithoutSubject]:
    """Yield each subject when it is drawn, or why it cannot be.

    The first picture has `seed`, and the others count up. Prompts call every subject by `noun`, or
    by the name of its folder.
    """
    for number, subject in enumerate(subjects):
        prompts = [prompt_of(noun or subject.words, place) for place in places]
        try:
            reference = load_image(subject.photo)
            identity = session.encode_identity(reference, masks=subject.mask)
        except ImageError as error:
            yield PhotoWithoutSubject(subject.name, str(error))
            continue
        first = seed + number * len(places)
        drawn = _portrait(session, embedder, subject.name, reference, identity, prompts, seed=first)
        is_found = subject.mask is None and alpha_of(reference) is None
        sure = confidence_with(packaged(), reference) if is_found else None
        yield replace(drawn, confidence=sure)


def draw_sprites(
    session: Session,
    embedder: SubjectEmbedder,
    placed: SpritesInPlaces,
    *,
    num_subjects: int,
    places: Sequence[str],
) -> Iterator[Portrait]:
    """Yield held-out sprites in the same places, as far as there are so many."""
    for cases in placed.rows(min(num_subjects, len(placed.codes)), places):
        shown, prompts = placed.show(session, cases[0].code), [case.prompt for case in cases]
        name, seed = cases[0].subject, cases[0].seed
        yield _portrait(session, embedder, name, *shown, prompts, seed=seed)


@torch.no_grad()
def _portrait(
    session: Session,
    embedder: SubjectEmbedder,
    name: str,
    reference: Image.Image,
    identity: Identity,
    prompts: Sequence[str],
    *,
    seed: int,
) -> Portrait:
    results = [
        session.personalize(identity, prompt, seed=seed + number)
        for number, prompt in enumerate(prompts)
    ]
    mask = identity.mask[:1].cpu()
    cutout = identity.pixels[:1].cpu() + 1 - mask  # the frame is 0 outside of the subject
    seen = [
        embedder(cut(to_tensor(one.images[0]), subject_crops(plane(one.subject_masks[0]))))
        for one in results
    ]
    return Portrait(
        name=name,
        reference=reference,
        cutout=to_pil(cutout)[0],
        pictures=tuple(one.images[0] for one in results),
        wanted=embedder(cut(cutout, subject_crops(mask))),
        seen=torch.cat(seen),
    )


def summarise(
    components: Components,
    drawn: Sequence[Portrait | PhotoWithoutSubject],
    sprites: Sequence[Portrait],
    *,
    places: Sequence[str],
    seed: int,
) -> PhotoReport:
    """Return the report on photographs that were `drawn` and held-out `sprites` beside them.

    Raises:
        ImageError: No subject was found in any photograph.
    """
    portraits = [one for one in drawn if isinstance(one, Portrait)]
    if not portraits:
        raise ImageError(
            f"No subject was found in any of {len(drawn)} photographs. Subjects on plain grounds, "
            "or masks beside the photographs, are needed. Add NAME.mask.png for each NAME.jpg."
        )
    return PhotoReport(
        preset=components.preset.name,
        weights=components.fingerprint,
        num_steps=len(components.schedule.steps),
        seed=seed,
        places=tuple(places),
        subjects=tuple(one.name for one in portraits),
        left_out=tuple(one for one in drawn if isinstance(one, PhotoWithoutSubject)),
        doubtful=tuple(
            Doubt(one.name, round(one.confidence, 3))
            for one in portraits
            if one.confidence is not None and one.confidence < DOUBTFUL
        ),
        likeness=compare(portraits, sprites),
    )


def compare(photos: Sequence[Portrait], sprites: Sequence[Portrait]) -> Likeness:
    """Return the figures of at least one subject of each kind."""
    ours, theirs = _similarities(photos), _similarities(sprites)
    has_bounds = len(photos) > 1 and len(sprites) > 1
    above = share(ours[0] - ours[1], theirs[0] - theirs[1]) if has_bounds else None
    return Likeness(_group(*ours), _group(*theirs), share(ours[0], theirs[0]), above)


def describe(found: Likeness) -> list[str]:
    """Return the figures, a sentence each."""
    lines = []
    for name, group in (("photographs", found.photos), ("held-out sprites", found.sprites)):
        bound = "" if group.other is None else f"; to other subjects {format_interval(group.other)}"
        lines.append(f"{name}: similarity {format_interval(group.same)}{bound}")
    lines.append(f"photographs keep {format_interval(found.share)} of what sprites do")
    if found.share_above_bound is not None:
        lines.append(f"of what exceeds the lower bound, {format_interval(found.share_above_bound)}")
    return lines


def _similarities(portraits: Sequence[Portrait]) -> tuple[Values, Values]:
    wanted = torch.cat([one.wanted for one in portraits])
    to_all = np.array([(one.seen @ wanted.T).mean(0).double().tolist() for one in portraits])
    same = to_all.diagonal()
    others = (to_all.sum(axis=1) - same) / max(1, len(portraits) - 1)
    return same, others


def _group(same: Values, other: Values) -> Similarities:
    return Similarities(interval(list(same)), interval(list(other)) if len(same) > 1 else None)
