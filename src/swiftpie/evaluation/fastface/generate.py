"""From people and prompts to pictures on disk; what is there already is kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from swiftpie.errors import ImageError
from swiftpie.evaluation.fastface.case import FaceCase, Task
from swiftpie.evaluation.fastface.folder import FaceFolder
from swiftpie.evaluation.folder import write_png
from swiftpie.faces.choose import ChosenFace, choose_face, find_faces
from swiftpie.faces.face import FaceEncoder
from swiftpie.files import load_image

Draw = Callable[[ChosenFace, str, int], Image.Image]
"""Draws the person of a face by a prompt and a seed."""


@dataclass(frozen=True, eq=False)
class Person:
    """Someone whose face was found."""

    name: str
    chosen: ChosenFace
    cases: tuple[FaceCase, ...]


@dataclass(frozen=True)
class Lost:
    """A photograph without a face that could be used; its cases are failures."""

    name: str
    reason: str
    num_cases: int


def find_people(task: Task, encoder: FaceEncoder) -> tuple[list[Person], list[Lost]]:
    """Return who is in the photographs, and which of them show nobody.

    Raises:
        ImageError: None shows a face.
    """
    people, lost = [], []
    for photo in task.photos:
        cases = tuple(task.cases_of(photo))
        try:
            found = find_faces(encoder, load_image(photo))
            people.append(Person(photo.name, choose_face(found, name=photo.name), cases))
        except ImageError as error:
            lost.append(Lost(photo.name, str(error), len(cases)))
    if not people:
        raise ImageError(
            f"None of {len(lost)} photographs shows a face that can be used. The first: "
            f"{lost[0].reason}"
        )
    return people, lost


def generate(people: list[Person], draw: Draw, *, folder: FaceFolder) -> Iterator[FaceCase]:
    """Draw every case that is not in `folder`, which was started; yield each when it is there."""
    for person in people:
        for case in person.cases:
            if not folder.has(case):
                write_png(folder.crop(case), person.chosen.face.crop)
                image = draw(person.chosen, case.prompt.text, case.seed)
                write_png(folder.picture(case), image)
            yield case
