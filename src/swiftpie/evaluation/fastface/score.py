"""The figures of one picture, each about one thing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from PIL import Image

from swiftpie.evaluation.fastface.case import FaceCase
from swiftpie.evaluation.fastface.folder import FaceFolder
from swiftpie.evaluation.fastface.generate import Person
from swiftpie.evaluation.fastface.networks import Networks
from swiftpie.faces.choose import face_ratio
from swiftpie.faces.face import Face, FaceBox, FaceEncoder
from swiftpie.faces.likeness import likeness, see_again, shown_face


class Figure(NamedTuple):
    """One column of the tables."""

    title: str
    about: str  # the aspect that it measures
    higher_is_better: bool | None  # None: neither is better


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "identity": Figure("likeness to the person", "identity", True),
        "clip-large": Figure("CLIP ViT-L/14, prompt", "prompt", True),
        "clip-small": Figure("CLIP ViT-B/32, prompt", "prompt", True),
        "style": Figure("CLIP ViT-L/14, face and style", "style", True),
        "aesthetic": Figure("LAION aesthetic score", "image quality", True),
        "image-reward": Figure("ImageReward", "image quality", True),
        "face-ratio": Figure("face's share of the picture", "face ratio", None),
    }
)


@dataclass(frozen=True)
class FaceRow:
    """The figures of one case; what does not apply to it is absent."""

    name: str
    person: str
    prompt: str
    style: str
    has_face: bool
    scores: Mapping[str, float]


def score(
    folder: FaceFolder,
    people: Sequence[Person],
    networks: Networks,
    *,
    judge: FaceEncoder | None,
    detector: FaceEncoder,
) -> Iterator[FaceRow]:
    """Judge every case.

    Args:
        folder: With all pictures.
        people: With their cases.
        networks: What the user gave.
        judge: A face encoder that the generator did not use; without one there is no likeness.
        detector: Finds faces where there is no judge.
    """
    for person in people:
        reference = None if judge is None else see_again(judge, person.chosen)
        for case in person.cases:
            image = folder.read(folder.picture(case))
            face = shown_face(judge or detector, image)
            found = _scores(image, case, face, networks)
            identity = None if judge is None else likeness(reference, face)
            if identity is not None:
                found = {"identity": identity, **found}
            yield FaceRow(
                name=case.name,
                person=person.name,
                prompt=case.prompt.text,
                style=case.prompt.style,
                has_face=face is not None,
                scores=found,
            )


def crop_face(image: Image.Image, box: FaceBox) -> Image.Image:
    """Return what `box` covers of a picture, one pixel or more."""
    left, top = max(0, round(box.left)), max(0, round(box.top))
    right, bottom = min(image.width, round(box.right)), min(image.height, round(box.bottom))
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _scores(
    image: Image.Image, case: FaceCase, face: Face | None, networks: Networks
) -> dict[str, float]:
    found: dict[str, float] = {}
    prompt, clip = case.prompt, networks.clip
    if clip is not None:
        found["clip-large"] = clip.similarity(image, prompt.text)
        if prompt.style and face is not None:
            found["style"] = clip.similarity(crop_face(image, face.box), prompt.style)
        if networks.aesthetic is not None:
            found["aesthetic"] = networks.aesthetic(clip.picture(image))
    if networks.small_clip is not None:
        found["clip-small"] = networks.small_clip.similarity(image, prompt.text)
    if face is not None:
        found["face-ratio"] = face_ratio(face, image.size)
    return found
