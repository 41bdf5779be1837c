"""From PIE-Bench's entries to edited pictures on disk, and editors that others have run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from swiftpie.errors import InputError
from swiftpie.evaluation.edits.editor import Edited, Editor, Task
from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.generate import run_of, write_edit
from swiftpie.evaluation.edits.pie.dataset import PICTURES, PieCase, PieFolder, task_of
from swiftpie.files import load_image

NAME = "pie"


def generate(
    editor: Editor, pie: PieFolder, *, folder: EditFolder, force: bool = False
) -> Iterator[PieCase]:
    """Edit every entry that is not complete in `folder`; yield each when it is.

    Raises:
        InputError: The folder holds pictures of another run, or a picture or mask is broken.
    """
    folder.start(run_of(editor, NAME, data=pie.fingerprint, seed=0), force=force)
    for case in pie.cases:
        if folder.read_facts(case) is None:
            task = task_of(case)
            edited = editor(task)
            if edited.image.size != task.source.size:
                raise InputError(
                    f"The edit of {case.name!r} has {edited.image.size} px and its source "
                    f"{task.source.size}. Equal sizes are needed. Resize the edit."
                )
            folder.write(case, "source", task.source)
            folder.write_mask(case, "mask", task.mask)
            write_edit(folder, case, edited)
        yield case


@dataclass(frozen=True)
class ResultsEditor:
    """Pictures that another program has edited, named as the pictures of the dataset."""

    root: Path  # the folder that holds `annotation_images` of the results
    pie: PieFolder
    fingerprint: str = ""
    num_steps: int = 0

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"results in {self.root.name}"

    def __call__(self, task: Task) -> Edited:
        """Read the picture; of strips, the last square counts."""
        base = (self.pie.root / PICTURES).resolve()
        case = next(case for case in self.pie.cases if case.name == task.name)
        image = load_image(self.root / PICTURES / case.picture.relative_to(base)).convert("RGB")
        return Edited(last_square(image, size=task.source.size))


def last_square(image: Image.Image, *, size: tuple[int, int]) -> Image.Image:
    """Return the lower right part of `size` of a picture that is not square; others as they are."""
    if image.width == image.height:
        return image
    return image.crop((image.width - size[0], image.height - size[1], image.width, image.height))
