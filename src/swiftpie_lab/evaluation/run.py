"""One run of a benchmark: pictures are drawn, or taken from another program, and then judged."""

import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

from PIL import Image
from torch import Tensor

from swiftpie import __version__
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.atomic import write_file
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import mask_to_pil, plane
from swiftpie.photo.cutout import cut_out
from swiftpie_lab.evaluation.case import METRICS, Case, Evidence, Metric, Row
from swiftpie_lab.evaluation.judges import Networks

FACTS = "facts"  # what pictures cannot tell; written last where a case has it

_FILE_NAME = re.compile(rf"[\w-]+\.([\w+-]+\.png|{FACTS}\.json)")

File = Image.Image | Tensor | Mapping[str, float]
C = TypeVar("C", bound=Case)
T = TypeVar("T")
C_contra = TypeVar("C_contra", bound=Case, contravariant=True)


@dataclass(frozen=True)
class BenchmarkRun:
    """What all pictures of a folder have in common."""

    benchmark: str
    version: str  # version of SwiftPie
    preset: str
    weights: str  # sha256 of the weights
    data: str  # sha256 of the subjects
    seed: int
    num_steps: int = 1  # steps of denoising


@dataclass(frozen=True)
class Results:
    """Names and formats of the files."""

    root: Path

    def path(self, case: Case, kind: str) -> Path:
        """Return where the file of this kind is, or would be; kinds of masks end in "mask"."""
        ending = "json" if kind == FACTS else "png"
        return self.root / "images" / f"{case.name}.{kind}.{ending}"

    def has(self, case: Case, kind: str) -> bool:
        """Whether there is such a file; of facts, one that can be read."""
        if kind == FACTS:
            return self.read_facts(case) is not None
        return self.path(case, kind).is_file()

    def missing(self, case: Case, kinds: Iterable[str]) -> set[str]:
        """Return the kinds of files that are not there."""
        return {kind for kind in kinds if not self.has(case, kind)}

    def read(self, case: Case, kind: str) -> Image.Image:
        """Return a picture as RGB, or as L for masks."""
        image = load_image(self.path(case, kind))
        return image.convert("L" if kind.endswith("mask") else "RGB")

    def read_mask(self, case: Case, kind: str) -> Tensor:
        """Return a mask (1, 1, H, W) in [0, 1]; it may be empty."""
        return plane(self.read(case, kind))

    def read_facts(self, case: Case) -> dict[str, float] | None:
        """Return the milliseconds by stage, or None for a case that is not complete."""
        try:
            stored = json.loads(self.path(case, FACTS).read_text(encoding="utf-8"))
            return {str(stage): float(ms) for stage, ms in stored["timings_ms"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def write(self, case: Case, kind: str, file: File) -> None:
        """Write a picture, a mask or facts, whole or not at all."""
        if isinstance(file, Mapping):
            data = (json.dumps({"timings_ms": file}, allow_nan=False) + "\n").encode()
        else:
            buffer = io.BytesIO()
            image = mask_to_pil(file)[0] if isinstance(file, Tensor) else file
            image.save(buffer, "PNG")
            data = buffer.getvalue()
        write_file(self.path(case, kind), data, force=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        write_file(self.root / name, text.encode(), force=True)

    def write_lines(self, name: str, lines: Iterable[Mapping[str, object]]) -> None:
        """Write one JSON object a line."""
        self.write_text(name, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))

    def read_run(self) -> BenchmarkRun:
        return BenchmarkRun(**json.loads((self.root / "run.json").read_text(encoding="utf-8")))

    def start(self, run: BenchmarkRun, *, force: bool = False) -> None:
        """Create the folder, or get ready to go on in it; `force` removes earlier pictures.

        Raises:
            InputError: It is a file, or holds pictures of another run or files of other origin.
        """
        images = self.root / "images"
        try:
            images.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"'{self.root}' cannot be created ({error.strerror}). A writable folder is "
                "needed. Choose another one with --out."
            ) from error
        if force:
            for path in images.iterdir():
                if _FILE_NAME.fullmatch(path.name):
                    path.unlink()
        elif self._is_used() and not self._continues(run):
            raise InputError(
                f"'{self.root}' holds pictures of other weights, subjects, seeds or another "
                "version. Only pictures of one run can be compared. Choose another --out, or draw "
                "all anew with --force."
            )
        self.write_text("run.json", json.dumps(asdict(run), indent=2) + "\n")

    def _is_used(self) -> bool:
        return (self.root / "run.json").is_file() or any((self.root / "images").iterdir())

    def _continues(self, run: BenchmarkRun) -> bool:
        try:
            return self.read_run() == run
        except (OSError, ValueError, TypeError):
            return False


class Benchmark(ABC, Generic[C]):
    """Deals cases and knows all about them; never draws candidates, never judges."""

    name: ClassVar[str]
    title: ClassVar[str]  # title of its page
    metrics: ClassVar[tuple[str, ...]]  # listed in the order of the tables
    candidates: ClassVar[Mapping[str, str]]  # titles by kind; the one under test is the first
    bound: ClassVar[str] = ""  # the candidate that is the exact answer
    strip: ClassVar[Mapping[str, str]]  # titles of the pictures that a page shows, by kind
    ranked_by: ClassVar[tuple[str, ...]]  # metrics by which cases are the worst
    seed: int

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Return sha256 over all that cases are made of."""

    @abstractmethod
    def evidence(
        self, case: C, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield what there is to judge of each candidate, once for each of its subjects."""

    @abstractmethod
    def words(self, case: C) -> list[str]:
        """Return the request, in lines."""

    def unit(self, case: C) -> str:
        """Return what a case belongs to; figures are means over these, each of which counts once.

        Cases of one subject are alike, so that intervals over cases would be too narrow.
        """
        return case.name

    def groups(self, rows: Sequence[Row[C]]) -> Mapping[str, Sequence[Row[C]]]:
        """Return parts of the cases, by title, that are worth figures of their own."""
        del rows
        return {}

    def facts(self, rows: Sequence[Row[C]]) -> Mapping[str, object]:
        """Return what else the report holds."""
        del rows
        return {}

    def sentences(self, rows: Sequence[Row[C]]) -> list[str]:
        """Return what was judged, in sentences."""
        return [
            f"{len(rows)} cases. Brackets hold 95 % bootstrap intervals over cases; arrows point "
            "to the better side."
        ]

    def as_json(self, case: C) -> dict[str, object]:
        """Return a case as the manifest has it."""
        return asdict(case)


class Maker(NamedTuple):
    """What draws, as far as it decides about pictures."""

    name: str  # what reports call it, with every choice that matters
    fingerprint: str = ""  # sha256 of its weights; empty where it has none
    num_steps: int = 0  # steps of denoising; 0 where nothing is denoised


class CaseDrawer(Protocol[C_contra]):
    """Draws the pictures of a case; the same case gives the same pictures."""

    @property
    def maker(self) -> Maker:
        """What draws."""

    def kinds(self, case: C_contra) -> tuple[str, ...]:
        """Return the files that a complete case has."""

    def draw(self, case: C_contra, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield files by kind: those that are missing, and maybe what comes with them.

        Pictures are PIL images, masks tensors (1, 1, H, W), facts milliseconds by stage.
        """


def maker_of(session: Session, *choices: str) -> Maker:
    """Return a session as a maker, with the choices that belong into its name."""
    components = session.components
    name = ", ".join((components.preset.name, *choices))
    return Maker(name, components.fingerprint, len(components.schedule.steps))


def draw(
    benchmark: Benchmark[C],
    cases: Sequence[C],
    drawer: CaseDrawer[C],
    *,
    results: Results,
    force: bool = False,
) -> Iterator[C]:
    """Draw every file that is missing in `results`; yield each case when it is complete.

    The manifest comes at the end. `force` forgets what was drawn before.

    Raises:
        InputError: The folder holds pictures of another run.
    """
    maker = drawer.maker
    run = BenchmarkRun(
        benchmark=benchmark.name,
        version=__version__,
        preset=maker.name,
        weights=maker.fingerprint,
        data=benchmark.fingerprint,
        seed=benchmark.seed,
        num_steps=maker.num_steps,
    )
    results.start(run, force=force)
    for case in cases:
        kinds = drawer.kinds(case)
        missing = results.missing(case, kinds)
        if missing:
            for kind, file in drawer.draw(case, missing):
                if kind in missing or kind not in kinds:
                    results.write(case, kind, file)
        yield case
    results.write_lines("manifest.jsonl", (benchmark.as_json(case) for case in cases))


def score(
    benchmark: Benchmark[C], cases: Sequence[C], results: Results, networks: Networks
) -> Iterator[Row[C]]:
    """Judge every candidate of every case; yield the scores of each, means over its subjects."""
    metrics = metrics_of(benchmark)
    for case in cases:
        values: dict[str, dict[str, list[float]]] = {name: {} for name in metrics}
        for candidate, evidence in benchmark.evidence(case, results, networks):
            for name, metric in metrics.items():
                value = None if candidate in metric.leaves_out else metric.score(evidence)
                if value is not None:
                    values[name].setdefault(candidate, []).append(value)
        scores = {
            name: {candidate: fmean(some) for candidate, some in by_candidate.items()}
            for name, by_candidate in values.items()
            if by_candidate
        }
        yield Row(case, scores)


def metrics_of(benchmark: Benchmark[C]) -> dict[str, Metric]:
    """Return the metrics of a benchmark in the order of its tables, then those of plugins."""
    names = dict.fromkeys((*benchmark.metrics, *METRICS.offered()))
    return {name: METRICS.get(name) for name in names}


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


@dataclass(frozen=True)
class LeftOut:
    """A photograph that shows nothing that can be used; its cases are failures."""

    name: str
    reason: str
    num_cases: int

    def __str__(self) -> str:
        return f"Left out {self.name}, {self.num_cases} cases: {self.reason}"


def usable(
    counts: Mapping[str, int], look: Callable[[str], T]
) -> tuple[dict[str, T], list[LeftOut]]:
    """Return what `look` finds by name, and what it fails on; ImageError if on all."""
    found, left_out = {}, []
    for name, num_cases in counts.items():
        try:
            found[name] = look(name)
        except ImageError as error:
            left_out.append(LeftOut(name, str(error), num_cases))
    if not found:
        raise ImageError(
            f"None of {len(left_out)} photographs can be used. The first: {left_out[0].reason}"
        )
    return found, left_out


@dataclass(frozen=True, eq=False)
class FinishedPictures(Generic[C]):
    """Takes the pictures of cases from a folder; how they were drawn is not known."""

    benchmark: OpenBenchmark[C]
    folder: Path
    cases: Sequence[C]  # all of them

    @property
    def maker(self) -> Maker:
        """The folder, by what its pictures are; InputError if one is missing."""
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
        return cut_out(picture).mask
    except ImageError:
        return plane(Image.new("L", picture.size))
