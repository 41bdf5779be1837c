"""Finished pictures of other programs, which benchmarks judge as they judge SwiftPie's own."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic

from PIL import Image
from torch import Tensor

from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import plane
from swiftpie.models.cutout import subject_mask
from swiftpie_lab.evaluation.run import Benchmark, C, File, Maker

SOURCE = "source"  # what a picture is made from, and as large as
SUBJECT_MASK = "model-mask"  # where the subject of a drawn picture is


class OpenBenchmark(Benchmark[C]):
    """A benchmark that programs besides SwiftPie can take part in."""

    finds_subject: ClassVar[bool] = False  # cuts the subject out of what was drawn

    @abstractmethod
    def known(self, case: C) -> dict[str, File]:
        """Return what is known of a case before it is drawn, by kind of file."""

    def finished_name(self, case: C) -> str:
        """Return where a folder of finished pictures has that of a case."""
        return f"{case.name}.png"

    def as_drawn(self, picture: Image.Image, size: tuple[int, int] | None) -> Image.Image:
        """Return what counts of a finished picture, where judges need `size` if there is one."""
        del size
        return picture


@dataclass(frozen=True, eq=False)
class FinishedPictures(Generic[C]):
    """Takes the pictures of cases from a folder; how they were drawn is not known."""

    benchmark: OpenBenchmark[C]
    folder: Path
    cases: Sequence[C]  # all of them

    @property
    def maker(self) -> Maker:
        """The folder, by what its pictures are.

        Raises:
            InputError: One is missing.
        """
        digest = hashlib.sha256()
        for case in self.cases:
            path = self.folder / self.benchmark.finished_name(case)
            if not path.is_file():
                raise InputError(
                    f"'{path}' is missing. Each case of the benchmark needs a picture. Draw it, "
                    "or choose fewer cases."
                )
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return Maker(f"pictures of {self.folder.name}", digest.hexdigest())

    def kinds(self, case: C) -> tuple[str, ...]:
        """Return the picture, and where its subject is if that counts."""
        del case
        more = (SUBJECT_MASK,) if self.benchmark.finds_subject else ()
        return (next(iter(self.benchmark.candidates)), *more)

    def draw(self, case: C, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is known of the case, the picture and its subject's mask.

        Raises:
            ImageError: The picture cannot be read.
            InputError: It has another size than judges need.
        """
        del missing
        judged, *more = self.kinds(case)
        known, name = self.benchmark.known(case), self.benchmark.finished_name(case)
        source = known.get(SOURCE)
        size = source.size if isinstance(source, Image.Image) else None
        yield from known.items()
        picture = load_image(self.folder / name).convert("RGB")
        picture = self.benchmark.as_drawn(picture, size)
        if size is not None and picture.size != size:
            raise InputError(
                f"'{name}' has {picture.size} px and the case {size}. Equal sizes are needed. "
                "Resize the picture."
            )
        yield judged, picture
        if more:
            yield SUBJECT_MASK, _found_mask(picture)


def _found_mask(picture: Image.Image) -> Tensor:
    """Return where the subject is; empty where none is found."""
    try:
        return subject_mask(picture)
    except ImageError:
        return plane(Image.new("L", picture.size))
