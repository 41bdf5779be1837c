"""The folder of one evaluation: pictures, manifest, rows and report."""

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from swiftpie.errors import InputError
from swiftpie.evaluation.case import Case, CaseKind
from swiftpie.files import load_image, write_file

KINDS = (
    "reference",
    "reference-mask",
    "truth",
    "truth-mask",
    "model",
    "model-mask",
    "text",  # the model without a subject: the lower bound
    "paste",  # the reference laid on the text-only picture: what the model has to beat
)
OTHER_KINDS = ("other-reference", "other-reference-mask", "other-truth-mask")  # second subjects

_FILE_NAME = re.compile(rf"[\w-]+\.({'|'.join((*KINDS, *OTHER_KINDS))})\.png")


@dataclass(frozen=True)
class Run:
    """What all pictures of a folder have in common."""

    benchmark: str
    version: str  # of SwiftPie
    preset: str
    weights: str  # sha256 of the weights
    data: str  # sha256 of the subjects
    seed: int
    num_steps: int = 1  # of denoising


def kinds_of(case: Case) -> tuple[str, ...]:
    """Return the pictures that a complete case has."""
    return (*KINDS, *OTHER_KINDS) if case.kind is CaseKind.PAIR else KINDS


@dataclass(frozen=True)
class Folder:
    """Names and formats of the files."""

    root: Path

    def picture(self, case: Case, kind: str) -> Path:
        """Return where the picture of this kind is."""
        assert kind in kinds_of(case)
        return self.root / "images" / f"{case.name}.{kind}.png"

    def read(self, case: Case, kind: str) -> Image.Image:
        """Return a picture as RGB, or as L for masks."""
        image = load_image(self.picture(case, kind))
        return image.convert("L") if kind.endswith("-mask") else image

    def write(self, case: Case, kind: str, image: Image.Image) -> None:
        """Write a picture, whole or not at all."""
        write_png(self.picture(case, kind), image)

    def missing(self, case: Case) -> set[str]:
        """Return the kinds of pictures that are not there."""
        return {kind for kind in kinds_of(case) if not self.picture(case, kind).is_file()}

    def start(self, run: Run, *, force: bool = False) -> None:
        """Create the folder, or get ready to go on in it.

        Args:
            run: What is about to be drawn.
            force: Remove the pictures of whatever was drawn before.

        Raises:
            InputError: It holds pictures of another run, or other people's files.
        """
        try:
            (self.root / "images").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"'{self.root}' cannot be created ({error.strerror}). A writable folder is "
                "needed. Choose another one with --out."
            ) from error
        if force:
            _remove(self.root / "images", _FILE_NAME)
        elif self._is_used() and not self._continues(run):
            raise InputError(
                f"'{self.root}' holds pictures of other weights, subjects, seeds or another "
                "version. Only pictures of one run can be compared. Choose another --out, or draw "
                "all anew with --force."
            )
        self.write_text("run.json", json.dumps(asdict(run), indent=2) + "\n")

    def write_rows(self, name: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Write one JSON object a line."""
        self.write_text(name, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))

    def read_cases(self) -> list[Case]:
        """Return the cases in the manifest."""
        lines = (self.root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        return [Case(**json.loads(line)) for line in lines]

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        write_file(self.root / name, text.encode(), force=True)

    def read_run(self) -> Run:
        """Return what the pictures have in common."""
        return Run(**json.loads((self.root / "run.json").read_text(encoding="utf-8")))

    def start_with(self, names: re.Pattern[str], run: Run, *, force: bool = False) -> None:
        """Do as `start` for a folder whose own pictures have other names.

        Args:
            names: What `force` removes besides.
            run: What is about to be drawn.
            force: Remove the pictures of whatever was drawn before.

        Raises:
            InputError: It is a file, or holds pictures of another run or other people's files.
        """
        images = self.root / "images"
        if force and images.is_dir():
            _remove(images, names)
        if self.root.exists() and not self.root.is_dir():
            raise InputError(
                f"'{self.root}' is a file. A folder is needed. Choose another one with --out."
            )
        self.start(run, force=force)

    def _is_used(self) -> bool:
        return (self.root / "run.json").is_file() or any((self.root / "images").iterdir())

    def _continues(self, run: Run) -> bool:
        try:
            return self.read_run() == run
        except (OSError, ValueError, TypeError):
            return False


def write_png(path: Path, image: Image.Image) -> None:
    """Write a picture, whole or not at all."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_file(path, buffer.getvalue(), force=True)


def _remove(folder: Path, names: re.Pattern[str]) -> None:
    for path in folder.iterdir():
        if names.fullmatch(path.name):
            path.unlink()
