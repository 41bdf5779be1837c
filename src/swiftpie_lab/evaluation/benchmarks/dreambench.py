"""Photographed subjects by the prompts of DreamBench."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar

import typer
from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError, short_reason
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import mask_to_pil, plane, to_tensor
from swiftpie.masks import Box
from swiftpie.photo.cutout import cut_out
from swiftpie.photo.search import ANYWHERE, Search
from swiftpie.validation import check_box
from swiftpie_lab.data.photographs import mask_beside, photos_in
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.case import Evidence, ReferencePhoto, Row
from swiftpie_lab.evaluation.command import (
    BenchmarkCommand,
    DreamNetworks,
    Trial,
    drawer_of,
    open_model,
    open_networks,
)
from swiftpie_lab.evaluation.judges import Networks, SubjectJudge, shipped_embedder
from swiftpie_lab.evaluation.run import (
    File,
    LeftOut,
    Maker,
    OpenBenchmark,
    Results,
    maker_of,
    usable,
)

FirstSubjects = Annotated[
    int | None, typer.Option("--subjects", min=1, metavar="N", help="Only the first N by name.")
]
DreamFolder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The dataset's folder, with prompts_and_classes.txt and a folder of photographs for "
        "each subject. NAME.mask.png next to NAME.jpg is its mask.",
    ),
]
SubjectBoxes = Annotated[
    Path | None,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Where subjects are in their first photographs, if these have no masks: a JSON "
        'object such as {"dog": [0.1, 0.1, 0.9, 0.9]}.',
    ),
]
NumPrompts = Annotated[
    int | None, typer.Option("--prompts", min=1, metavar="N", help="Only the first N of each.")
]
NumSeeds = Annotated[
    int, typer.Option("--seeds", min=1, max=64, metavar="N", help="Pictures of each prompt.")
]

SHOWN_PX = 256  # side of references on a page
MOST_PX = 1024  # longer side of photographs
LISTS = "prompts_and_classes.txt"  # name of the file in DreamBench
MAX_TEXT_BYTES = 1 << 20
LIVE = frozenset({"cat", "dog"})  # classes that wear things instead of lying on some

_PROMPT = re.compile(r"^'(?P<text>[^']*\{1\}[^']*)'\.format\(", re.MULTILINE)
_SAFE = re.compile(r"\w[\w-]*", re.ASCII)  # names that may become names of files

METRICS = (
    *("dino", "dino-masked"),
    *("clip-i", "clip-i-masked"),
    *("clip-small", "clip-large", "masc-cp", "masc-pf"),
    *("likeness", "likeness-masked", "copied"),
)


@dataclass(frozen=True)
class DreamSubject:
    """What one or several photographs show, and the pictures that are requested of it."""

    name: str  # stem of its pictures
    noun: str  # by which prompts call it
    photos: tuple[Path, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class DreamCase:
    """One picture to draw."""

    name: str
    subject: str  # its name
    noun: str  # by which prompts call it
    prompt: str
    number: int  # number of the prompt, from 0
    seed: int


@dataclass(frozen=True, eq=False)
class DreamBench(OpenBenchmark[DreamCase]):
    """Every subject by every prompt of its kind with every seed, in the dataset's order."""

    subjects: tuple[DreamSubject, ...]
    seed: int = 0
    num_seeds: int = 4
    num_prompts: int | None = None  # the first ones; None is all
    boxes: Mapping[str, Box] = field(default_factory=dict)  # around subjects in first photographs

    name: ClassVar = "dreambench"
    title: ClassVar = "DreamBench"
    metrics: ClassVar = METRICS
    finds_subject: ClassVar = True
    candidates: ClassVar = MappingProxyType({"drawn": "drawn"})
    strip: ClassVar = MappingProxyType({"reference": "reference", "drawn": "drawn"})
    ranked_by: ClassVar = ("likeness-masked",)

    @cached_property
    def named(self) -> dict[str, DreamSubject]:
        """All subjects by name."""
        return {subject.name: subject for subject in self.subjects}

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for subject in self.subjects:
            words = (subject.name, subject.noun, subject.prompts, self.boxes.get(subject.name))
            digest.update(repr(words).encode())
            for photo in subject.photos:
                for path in (photo, mask_beside(photo)):
                    if path is not None:
                        name = f"{path.name}\0".encode()
                        digest.update(name + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def known(self, case: DreamCase) -> dict[str, File]:
        return {"reference": _shown(self.references[case.subject][0].image)}

    def cases(self) -> list[DreamCase]:
        return [case for name in self.references for case in self._cases_of(self.named[name])]

    @property
    def references(self) -> dict[str, tuple[ReferencePhoto, ...]]:
        """All photographs of each subject, the first of which shows it for certain."""
        return self._looked[0]

    @property
    def left_out(self) -> list[LeftOut]:
        return self._looked[1]

    @cached_property
    def _looked(self) -> tuple[dict[str, tuple[ReferencePhoto, ...]], list[LeftOut]]:
        counts = {name: len(self._cases_of(subject)) for name, subject in self.named.items()}
        return usable(counts, lambda name: self._photos_of(self.named[name]))

    def _photos_of(self, subject: DreamSubject) -> tuple[ReferencePhoto, ...]:
        """Return the photographs of a subject; those it cannot be found in have no mask."""
        first, *others = subject.photos
        references = [look_at(first, self.boxes.get(subject.name))]
        for path in others:
            try:
                references.append(look_at(path))
            except ImageError:
                references.append(ReferencePhoto(_opened(path).convert("RGB"), None))
        return tuple(references)

    def _cases_of(self, subject: DreamSubject) -> list[DreamCase]:
        name, noun = subject.name, subject.noun
        return [
            DreamCase(f"{name}-{number:02d}-{seed}", name, noun, prompt, number, seed)
            for number, prompt in enumerate(subject.prompts[: self.num_prompts])
            for seed in range(self.seed, self.seed + self.num_seeds)
        ]

    def evidence(
        self, case: DreamCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        yield (
            "drawn",
            Evidence(
                picture=to_tensor(results.read(case, "drawn")),
                claimed=results.read_mask(case, "model-mask"),
                prompt=case.prompt,
                noun=case.noun,
                references=self.references[case.subject],
                networks=networks,
            ),
        )

    def unit(self, case: DreamCase) -> str:
        return case.subject

    def words(self, case: DreamCase) -> list[str]:
        return [case.prompt, f"{case.subject}, seed {case.seed}"]

    def facts(self, rows: Sequence[Row[DreamCase]]) -> dict[str, object]:
        return {
            "num_subjects": len({row.case.subject for row in rows}),
            "num_drawn": len(rows),
            "num_failed": sum(subject.num_cases for subject in self.left_out),
            "boxes": {name: list(box) for name, box in self.boxes.items()},
            "left_out": self.left_out,
        }

    def sentences(self, rows: Sequence[Row[DreamCase]]) -> list[str]:
        facts = self.facts(rows)
        sentences = [
            f"{facts['num_drawn']} pictures of {facts['num_subjects']} subjects; "
            f"{facts['num_failed']} cases failed for want of a cut-out. Whole pictures are "
            "compared with all photographs of a subject; masked figures compare subjects on white. "
            "Figures are means over subjects, and brackets hold 95 % bootstrap intervals over them."
        ]
        if self.boxes:
            sentences.append(f"Boxes were given around {len(self.boxes)} subjects.")
        return [*sentences, *map(str, self.left_out)]


@dataclass(frozen=True, eq=False)
class DreamDrawer:
    """Draws subjects with a session: the reference, the picture and where the subject is in it."""

    benchmark: DreamBench
    session: Session

    @property
    def maker(self) -> Maker:
        return maker_of(self.session)

    def kinds(self, case: DreamCase) -> tuple[str, ...]:
        del case
        return ("reference", "drawn", "model-mask")

    def draw(self, case: DreamCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield all three; the session keeps a subject's identity for the next case."""
        del missing
        yield from self.benchmark.known(case).items()
        first = self.benchmark.references[case.subject][0]
        identity = self.session.encode_identity(first.image, masks=first.mask)
        result = self.session.personalize(identity, case.prompt, seed=case.seed)
        yield "drawn", result.images[0]
        yield "model-mask", plane(result.subject_masks[0])


def read_dreambench(
    root: Path,
    *,
    limit: int | None = None,
    num_prompts: int | None = None,
    num_seeds: int = 4,
    seed: int = 0,
    boxes: Path | None = None,
) -> DreamBench:
    """Return the cases of a copy of DreamBench, of the first `limit` subjects by name.

    `boxes` is a file for `read_boxes`; the other arguments are fields of `DreamBench`.

    Raises:
        InputError: Something of the dataset is missing, or the boxes are none.
    """
    subjects = read_subjects(root)
    found = {} if boxes is None else read_boxes(boxes, [subject.name for subject in subjects])
    chosen = tuple(subjects[:limit])
    around = {each.name: found[each.name] for each in chosen if each.name in found}
    return DreamBench(chosen, seed, num_seeds, num_prompts, around)


def read_subjects(root: Path) -> list[DreamSubject]:
    """Return the subjects of DreamBench (arXiv:2208.12242), github.com/google/dreambooth.

    A folder of photographs for each subject and `prompts_and_classes.txt`; subjects whose folder
    is not there are left out.

    Raises:
        InputError: The list or all photographs are missing.
    """
    nouns, objects, live = _read_lists(root / LISTS)
    found = []
    for name, noun in sorted(nouns.items()):
        photos = photos_in(root / name) if (root / name).is_dir() else []
        if photos:
            texts = live if noun in LIVE else objects
            prompts = tuple(text.replace("{}", noun) for text in texts)
            found.append(DreamSubject(name, noun, tuple(photos), prompts))
    if not found:
        raise InputError(
            f"'{root}' holds no photographs of subjects such as {next(iter(nouns))!r}. "
            "DreamBench's folder 'dataset' is needed. Check the path."
        )
    return found


def read_boxes(path: Path, names: Collection[str]) -> dict[str, Box]:
    """Return a box by subject from a JSON object of four numbers each."""
    try:
        with path.open("rb") as file:
            stored = json.loads(file.read(MAX_TEXT_BYTES))
        boxes = {name: _box(*map(float, numbers)) for name, numbers in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"'{path}' cannot be read ({short_reason(error)}). A JSON object with a box for each "
            'subject is needed, such as {"dog": [0.1, 0.1, 0.9, 0.9]}. Check the file.'
        ) from error
    if unknown := boxes.keys() - {*names}:
        raise InputError(
            f"'{path}' has a box for {min(unknown)!r}, which the dataset does not hold. Subjects "
            f"are called as {next(iter(names))!r} is. Check the name."
        )
    return boxes


def _box(left: float, top: float, right: float, bottom: float) -> Box:
    return check_box((left, top, right, bottom))


def _read_lists(path: Path) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Return classes by subject, and the prompts of objects and live ones with {} for the class."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES).decode("utf-8").replace("\r\n", "\n")
        classes, rest = text.split("Object Prompts", 1)
        objects, live = (_templates(part) for part in rest.split("Live Subject Prompts", 1))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be read as DreamBench's lists ({error}). The file with classes, "
            "object prompts and live subject prompts is needed. Copy it from the dataset."
        ) from error
    pairs = (line.split(",") for line in classes.splitlines() if line.count(",") == 1)
    nouns = {name.strip(): noun.strip() for name, noun in pairs if name != "subject_name"}
    unsafe = [name for name in nouns if not _SAFE.fullmatch(name)]
    if unsafe or not (nouns and objects and live):
        what = f"the name {unsafe[0]!r}" if unsafe else "no subjects or no prompts"
        raise InputError(
            f"'{path}' holds {what}. DreamBench's own lists are needed. Copy the file from the "
            "dataset."
        )
    return nouns, objects, live


def _templates(text: str) -> tuple[str, ...]:
    """Return the prompts of a list, without the rare word that tuned models are called by."""
    found = (match["text"] for match in _PROMPT.finditer(text))
    return tuple(text.replace("{0} ", "").replace("{1}", "{}") for text in found)


def look_at(path: Path, box: Box | None = None) -> ReferencePhoto:
    """Return a photograph with its mask, from its file or found, in the box if there is one."""
    image, given = _opened(path), mask_beside(path)
    if given is not None:
        mask = load_image(given).convert("L").resize(image.size, Image.Resampling.LANCZOS)
        return ReferencePhoto(image.convert("RGB"), mask)
    found = cut_out(image, ANYWHERE if box is None else Search(box=box))
    return ReferencePhoto(image.convert("RGB"), mask_to_pil(found.mask)[0])


def _opened(path: Path) -> Image.Image:
    """Return a photograph, shrunk where it is larger than any judge or model looks at."""
    image = load_image(path)
    image.thumbnail((MOST_PX, MOST_PX), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _shown(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
    return small


def open_dreambench(
    *,
    dataset: DreamFolder,
    boxes: SubjectBoxes = None,
    subjects: FirstSubjects = None,
    prompts: NumPrompts = None,
    seeds: NumSeeds = 4,
    files: DreamNetworks,
    results: given.Finished = None,
    loading: given.LoadedInSteps,
    seed: given.FirstSeed = 0,
) -> Trial[DreamCase]:
    """Draw photographed subjects by the prompts of DreamBench; bring the dataset yourself.

    DINO, CLIP-I and CLIP-T are computed as DreamBooth defines them and as later papers do, of whole
    pictures and of subjects cut out on white, and MaSC with masks. They take weights that you give,
    and are otherwise reported as not computed. The package's own judge of sprites compares colours
    and shapes without any. An interrupted run goes on where it stopped.
    """
    benchmark = read_dreambench(
        dataset, limit=subjects, num_prompts=prompts, num_seeds=seeds, seed=seed, boxes=boxes
    )
    networks = replace(open_networks(files, loading), subjects=SubjectJudge(shipped_embedder()))
    dealt = benchmark.cases()

    def own() -> DreamDrawer:
        return DreamDrawer(benchmark, open_model(loading))

    return Trial(benchmark, dealt, drawer_of(benchmark, dealt, results, loading, own), networks)


BENCHMARK = BenchmarkCommand(
    open_dreambench,
    (
        "swiftpie evaluate dreambench dreambooth/dataset",
        "swiftpie evaluate dreambench dreambooth/dataset --recipe sd-turbo "
        "--dino-small dino-vits16 --clip-small clip-vit-base-patch32",
        "swiftpie evaluate dreambench dreambooth/dataset --boxes boxes.json",
    ),
)
