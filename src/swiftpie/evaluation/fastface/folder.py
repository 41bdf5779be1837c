"""The folder of one evaluation of faces: pictures, crops of the people, rows and report."""

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from swiftpie.evaluation.fastface.case import FaceCase
from swiftpie.evaluation.folder import Folder, Run
from swiftpie.files import load_image

_FILE_NAME = re.compile(r"\d+-(\d+\.drawn|person)\.png")


@dataclass(frozen=True)
class FaceFolder:
    """Names and formats of the files."""

    root: Path

    @property
    def base(self) -> Folder:
        """The files that all evaluations have."""
        return Folder(self.root)

    def picture(self, case: FaceCase) -> Path:
        """Return where the picture of a case is, or would be."""
        return self.root / "images" / f"{case.name}.drawn.png"

    def crop(self, case: FaceCase) -> Path:
        """Return where the aligned face of the case's person is, or would be."""
        return self.root / "images" / f"{case.name.partition('-')[0]}-person.png"

    def has(self, case: FaceCase) -> bool:
        """Whether the case was drawn; files are whole or not there."""
        return self.picture(case).is_file()

    def read(self, path: Path) -> Image.Image:
        """Return a picture, RGB."""
        return load_image(path).convert("RGB")

    def start(self, run: Run, *, force: bool = False) -> None:
        """Create the folder, or get ready to go on in it.

        Raises:
            InputError: It holds pictures of another run, or other people's files.
        """
        self.base.start_with(_FILE_NAME, run, force=force)
