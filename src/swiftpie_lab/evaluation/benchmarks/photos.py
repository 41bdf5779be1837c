"""Real photographs as subjects, and how much of their identity is kept beside that of sprites."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.cutout import DOUBTFUL
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import alpha_of, to_pil, to_tensor
from swiftpie.imageio.writing import FORMAT_OF_SUFFIX
from swiftpie.models.cutout import confidence_with, packaged
from swiftpie_lab.evaluation.benchmarks.sprites import SpritesInPlaces, prompt_of
from swiftpie_lab.evaluation.portraits import Portraitist, Sitting
from swiftpie_lab.evaluation.provenance import Provenance, provenance_of
from swiftpie_lab.evaluation.report import (
    Interval,
    Values,
    as_json,
    format_interval,
    interval,
    share,
)
from swiftpie_lab.evaluation.run import Maker
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
    data: str  # sha256 of photographs, masks and sprites
    seed: int
    places: tuple[str, ...]
    subjects: tuple[str, ...]
    left_out: tuple[PhotoWithoutSubject, ...]
    doubtful: tuple[Doubt, ...]  # drawn all the same
    likeness: Likeness
    provenance: Provenance
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


def fingerprint_of(subjects: Sequence[PhotoSubject], placed: SpritesInPlaces) -> str:
    """Return sha256 over photographs, their masks and the pack of sprites."""
    digest = hashlib.sha256(placed.subjects.fingerprint.encode())
    for subject in subjects:
        for path in (subject.photo, subject.mask):
            if path is not None:
                digest.update(f"{subject.name}\0{path.name}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def mask_beside(photo: Path) -> Path | None:
    """Return the file with the mask of a picture, if there is one."""
    mask = photo.with_name(photo.stem + MASK_SUFFIX)
    return mask if mask.is_file() else None


def _first(folder: Path) -> PhotoSubject | None:
    photos = photos_in(folder)
    return PhotoSubject(folder.name, photos[0], mask_beside(photos[0])) if photos else None


def finished_names(
    subjects: Sequence[PhotoSubject], placed: SpritesInPlaces, count: int, places: Sequence[str]
) -> tuple[str, ...]:
    """Return what finished pictures of all subjects and `count` sprites are called."""
    names = [subject.name for subject in subjects] + [*map(_sprite, placed.codes[:count])]
    return tuple(_finished_name(name, place) for name in names for place in places)


def _sprite(code: str) -> str:
    return f"sprite-{code}"


def _finished_name(name: str, place: str) -> str:
    return f"{name}-{place.replace(' ', '-')}.png"


def draw_photos(
    portraitist: Portraitist,
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
        try:
            reference = load_image(subject.photo)
            sitting = portraitist.look_at(reference, subject.mask)
        except ImageError as error:
            yield PhotoWithoutSubject(subject.name, str(error))
            continue
        requests = [
            _Request(
                prompt_of(noun or subject.words, place),
                seed + number * len(places) + column,
                _finished_name(subject.name, place),
            )
            for column, place in enumerate(places)
        ]
        drawn = _portrait(embedder, subject.name, reference, sitting, requests)
        is_found = subject.mask is None and alpha_of(reference) is None
        sure = confidence_with(packaged(), reference) if is_found else None
        yield replace(drawn, confidence=sure)


def draw_sprites(
    portraitist: Portraitist,
    embedder: SubjectEmbedder,
    placed: SpritesInPlaces,
    *,
    num_subjects: int,
    places: Sequence[str],
) -> Iterator[Portrait]:
    """Yield held-out sprites in the same places, as far as there are so many."""
    for cases in placed.rows(min(num_subjects, len(placed.codes)), places):
        reference, mask = placed.show(cases[0].code)
        requests = [
            _Request(case.prompt, case.seed, _finished_name(_sprite(case.code), case.place))
            for case in cases
        ]
        sitting = portraitist.look_at(reference, mask)
        yield _portrait(embedder, cases[0].subject, reference, sitting, requests)


class _Request(NamedTuple):
    prompt: str
    seed: int
    finished_name: str


@torch.no_grad()
def _portrait(
    embedder: SubjectEmbedder,
    name: str,
    reference: Image.Image,
    sitting: Sitting,
    requests: Sequence[_Request],
) -> Portrait:
    results = [sitting.draw(*request) for request in requests]
    seen = [embedder(cut(to_tensor(one.image), subject_crops(one.mask))) for one in results]
    return Portrait(
        name=name,
        reference=reference,
        cutout=to_pil(sitting.pixels)[0],
        pictures=tuple(one.image for one in results),
        wanted=embedder(cut(sitting.pixels, subject_crops(sitting.mask))),
        seen=torch.cat(seen),
    )


def summarise(
    maker: Maker,
    drawn: Sequence[Portrait | PhotoWithoutSubject],
    sprites: Sequence[Portrait],
    *,
    places: Sequence[str],
    seed: int,
    data: str = "",
    command: str = "",
) -> PhotoReport:
    """Return the report on photographs that were `drawn` and held-out `sprites` beside them.

    `data` is sha256 over both, and `command` what asked for the report.

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
        preset=maker.name,
        weights=maker.fingerprint,
        num_steps=maker.num_steps,
        data=data,
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
        provenance=provenance_of(command, {}),
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
