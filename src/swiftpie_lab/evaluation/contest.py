"""Cases as any program can draw them: a pipeline of diffusers, or pictures that lie in a folder."""

import hashlib
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Generic, NamedTuple, Protocol

from PIL import Image
from torch import Tensor

from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import plane
from swiftpie.models.cutout import subject_mask
from swiftpie_lab.evaluation.run import FACTS, Benchmark, C, File, Maker

TIME = "time"  # the metric that needs to know how long an edit took
SUBJECT_MASK = "model-mask"  # where the subject of a drawn picture is


class Ability(StrEnum):
    """What a program has to be able to do for a benchmark."""

    DRAW = "draws pictures from words"
    CHANGE = "changes a picture by words"
    FILL = "fills a part of a picture"


@dataclass(frozen=True, eq=False)
class RivalTask:
    """A case as any program gets it."""

    prompt: str
    seed: int
    references: tuple[Image.Image, ...] = ()  # RGB, whole pictures of the subject
    source: Image.Image | None = None  # RGB, what is to be changed
    mask: Image.Image | None = None  # L, where it is to be changed
    instruction: str = ""  # what to do to the source, where the benchmark says it so
    size: tuple[int, int] | None = None  # that judges need; None takes any
    files: Mapping[str, File] = field(default_factory=lambda: MappingProxyType({}))  # by kind


class OpenBenchmark(Benchmark[C]):
    """A benchmark that programs besides SwiftPie can take part in."""

    needs: ClassVar[Ability] = Ability.DRAW
    shows_subject: ClassVar[bool] = True  # in pictures, which an adapter reads
    finds_subject: ClassVar[bool] = False  # cuts the subject out of what was drawn

    @abstractmethod
    def rival_task(self, case: C) -> RivalTask:
        """Return a case with all that is known of it before anybody draws."""

    @property
    def rival_choices(self) -> tuple[str, ...]:
        """What reports have to tell of how cases are shown."""
        return ()

    def finished_name(self, case: C) -> str:
        """Return where a folder of finished pictures has that of a case."""
        return f"{case.name}.png"

    def as_drawn(self, picture: Image.Image, task: RivalTask) -> Image.Image:
        """Return what counts of a finished picture."""
        del task
        return picture


class Painter(Protocol):
    """Draws cases one by one; nothing of SwiftPie is in its path."""

    @property
    def maker(self) -> Maker:
        """Who it is."""

    @property
    def is_timed(self) -> bool:
        """Whether it draws at once, so that the time it takes means something."""

    def picture(self, task: RivalTask, *, name: str) -> Image.Image:
        """Return the picture of a case, whose finished picture has this `name`, in RGB."""


class FinishedPictures(NamedTuple):
    """Pictures that another program has drawn already."""

    folder: Path
    names: tuple[str, ...]  # of all cases

    @property
    def maker(self) -> Maker:
        """The folder, by what its pictures are.

        Raises:
            InputError: One is missing.
        """
        digest = hashlib.sha256()
        for name in self.names:
            path = self.folder / name
            if not path.is_file():
                raise InputError(
                    f"'{path}' is missing. Each case of the benchmark needs a picture. Draw it, "
                    "or choose fewer cases."
                )
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return Maker(f"pictures of {self.folder.name}", digest.hexdigest())

    @property
    def is_timed(self) -> bool:
        """They are there already."""
        return False

    def picture(self, task: RivalTask, *, name: str) -> Image.Image:
        """Return the picture of this name.

        Raises:
            ImageError: It cannot be read.
        """
        del task
        return load_image(self.folder / name).convert("RGB")


@dataclass(frozen=True, eq=False)
class RivalDrawer(Generic[C]):
    """Has a painter draw the cases of a benchmark."""

    benchmark: OpenBenchmark[C]
    painter: Painter

    @property
    def maker(self) -> Maker:
        """The painter, and what it is shown."""
        maker = self.painter.maker
        if not self.painter.is_timed:  # nobody knows what those pictures were drawn from
            return maker
        return maker._replace(name=", ".join((maker.name, *self.benchmark.rival_choices)))

    def kinds(self, case: C) -> tuple[str, ...]:
        """Return the picture, where its subject is if that counts, and the time if that does."""
        del case
        is_timed = self.painter.is_timed and TIME in self.benchmark.metrics
        more = (SUBJECT_MASK,) * self.benchmark.finds_subject + (FACTS,) * is_timed
        return (next(iter(self.benchmark.candidates)), *more)

    def draw(self, case: C, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is known, the picture, and what is to be told of it.

        Raises:
            InputError: A finished picture has another size than judges need.
        """
        del missing
        judged, *more = self.kinds(case)
        task, name = self.benchmark.rival_task(case), self.benchmark.finished_name(case)
        yield from task.files.items()
        started = time.perf_counter()
        picture = self.painter.picture(task, name=name)
        took = 1000 * (time.perf_counter() - started)
        picture = self._of_right_size(self.benchmark.as_drawn(picture, task), task, name)
        yield judged, picture
        if SUBJECT_MASK in more:
            yield SUBJECT_MASK, found_mask(picture)
        if FACTS in more:
            yield FACTS, {"total": took}

    def _of_right_size(self, picture: Image.Image, task: RivalTask, name: str) -> Image.Image:
        if task.size is None or picture.size == task.size:
            return picture
        if not self.painter.is_timed:
            raise InputError(
                f"'{name}' has {picture.size} px and the case {task.size}. Equal sizes are "
                "needed. Resize the picture."
            )
        return picture.resize(task.size, Image.Resampling.LANCZOS)


def found_mask(picture: Image.Image) -> Tensor:
    """Return where the subject of somebody else's picture is; empty where none is found."""
    try:
        return subject_mask(picture)
    except ImageError:
        return plane(Image.new("L", picture.size))
