"""Subjects of photographs by the prompts of DreamBench (arXiv:2208.12242), with masks beside."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from PIL import Image
from torch import Tensor

from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import mask_to_pil, plane, to_tensor
from swiftpie.models.cutout import subject_mask
from swiftpie.types import Identity
from swiftpie_lab.evaluation.benchmarks.photos import mask_beside, photos_in
from swiftpie_lab.evaluation.case import Evidence, Reference, Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, PageLimits, Results, maker_of

LISTS = "prompts_and_classes.txt"  # as the dataset has it
MAX_LISTS_BYTES = 1 << 20
SHOWN_PX = 256  # of references on a page
MOST_PX = 1024  # longer side of photographs
LIVE = frozenset({"cat", "dog"})  # classes that wear things instead of lying on some
NUM_CONTEXTS = 10  # first prompts, which both kinds of subjects share
NUM_PROPERTIES = 5  # last ones

_PROMPT = re.compile(r"^'(?P<text>[^']*\{1\}[^']*)'\.format\(", re.MULTILINE)


@dataclass(frozen=True)
class DreamCase:
    """One picture to draw."""

    name: str
    subject: str  # its folder
    noun: str  # its class, by which prompts call it
    prompt: str
    number: int  # of the prompt, from 0
    seed: int


class Prompts(NamedTuple):
    """What the dataset's list says."""

    noun_of: MappingProxyType[str, str]  # class by subject
    objects: tuple[str, ...]  # with {} where the class goes
    live: tuple[str, ...]

    def of(self, subject: str) -> list[str]:
        """Return the prompts of a subject."""
        noun = self.noun_of[subject]
        return [text.format(noun) for text in (self.live if noun in LIVE else self.objects)]


class LeftOut(NamedTuple):
    """A subject that no photograph shows in a way that can be cut out; its cases are failures."""

    name: str
    reason: str
    num_cases: int


@dataclass(frozen=True, eq=False)
class DreamBench(Benchmark[DreamCase]):
    """Every subject by every prompt of its kind with every seed, in the dataset's order."""

    root: Path
    prompts: Prompts
    subjects: tuple[str, ...]
    seed: int = 0
    num_seeds: int = 4
    num_prompts: int | None = None  # the first ones; None is all

    name: ClassVar = "dreambench"
    title: ClassVar = "DreamBench"
    metrics: ClassVar = (
        *("dino", "dino-masked", "clip-i", "clip-i-masked", "clip-i-large"),
        *("clip-small", "clip-large"),
        *("likeness", "likeness-masked", "copied", "diversity"),
    )
    candidates: ClassVar = MappingProxyType({"drawn": "drawn"})
    strip: ClassVar = MappingProxyType({"reference": "reference", "drawn": "drawn"})
    shown: ClassVar = PageLimits(worst=12, best=12, sample=48)
    ranked_by: ClassVar = ("likeness-masked",)
    headline: ClassVar = ("dino", "clip-i", "clip-small", "likeness-masked", "copied")

    @cached_property
    def fingerprint(self) -> str:
        """Return sha256 over photographs, masks and prompts."""
        digest = hashlib.sha256(repr(self.prompts).encode())
        for subject in self.subjects:
            for path in sorted((self.root / subject).iterdir()):
                if path.is_file():
                    name = f"{subject}/{path.name}\0".encode()
                    digest.update(name + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def cases(self) -> list[DreamCase]:
        """Return the cases of all subjects that could be cut out."""
        return [case for name in self.references for case in self._cases_of(name)]

    @property
    def references(self) -> dict[str, tuple[Reference, ...]]:
        """All photographs of each subject, the first of which shows it for certain.

        Raises:
            ImageError: None of the subjects can be cut out.
        """
        found, left_out = self._looked
        if not found:
            raise ImageError(
                f"None of {len(left_out)} subjects can be cut out. The first: {left_out[0].reason}"
            )
        return found

    @property
    def left_out(self) -> list[LeftOut]:
        """The subjects that are not drawn."""
        return self._looked[1]

    @cached_property
    def _looked(self) -> tuple[dict[str, tuple[Reference, ...]], list[LeftOut]]:
        found: dict[str, tuple[Reference, ...]] = {}
        left_out = []
        for subject in self.subjects:
            try:
                first, *others = photos_in(self.root / subject)
                references = [_looked_at(first)]
            except ImageError as error:
                left_out.append(LeftOut(subject, str(error), len(self._cases_of(subject))))
                continue
            for path in others:
                try:
                    references.append(_looked_at(path))
                except ImageError:  # scores of whole pictures count it, those of subjects do not
                    references.append(Reference(_opened(path).convert("RGB"), None))
            found[subject] = tuple(references)
        return found, left_out

    def _cases_of(self, subject: str) -> list[DreamCase]:
        prompts = self.prompts.of(subject)[: self.num_prompts]
        noun = self.prompts.noun_of[subject]
        return [
            DreamCase(f"{subject}-{number:02d}-{seed}", subject, noun, prompt, number, seed)
            for number, prompt in enumerate(prompts)
            for seed in range(self.seed, self.seed + self.num_seeds)
        ]

    def evidence(
        self, case: DreamCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the picture beside all photographs of its subject and those of earlier seeds."""
        earlier = range(self.seed, case.seed)
        twins = [case.name.rsplit("-", 1)[0] + f"-{seed}" for seed in earlier]
        yield (
            "drawn",
            Evidence(
                picture=to_tensor(results.read(case, "drawn")),
                claimed=results.read_mask(case, "model-mask"),
                prompt=case.prompt,
                references=self.references[case.subject],
                twins=tuple(
                    to_tensor(results.read(replace(case, name=twin), "drawn")) for twin in twins
                ),
                networks=networks,
            ),
        )

    def words(self, case: DreamCase) -> list[str]:
        """Return the prompt and the subject's folder."""
        return [case.prompt, f"{case.subject}, seed {case.seed}"]

    def groups(self, rows: Sequence[Row[DreamCase]]) -> dict[str, list[Row[DreamCase]]]:
        """Return live subjects and objects, and what prompts ask for."""
        parts: dict[str, list[Row[DreamCase]]] = {}
        for row in rows:
            is_live = row.case.noun in LIVE
            parts.setdefault("live subjects" if is_live else "objects", []).append(row)
            parts.setdefault(self._kind(row.case, is_live=is_live), []).append(row)
        return parts if len(parts) > 1 else {}

    def _kind(self, case: DreamCase, *, is_live: bool) -> str:
        texts = self.prompts.live if is_live else self.prompts.objects
        if case.number >= len(texts) - NUM_PROPERTIES:
            return "properties"
        return "outfits" if is_live and case.number >= NUM_CONTEXTS else "places"

    def facts(self, rows: Sequence[Row[DreamCase]]) -> dict[str, object]:
        """Return how much was drawn, and who could not be."""
        return {
            "num_subjects": len({row.case.subject for row in rows}),
            "num_drawn": len(rows),
            "num_failed": sum(one.num_cases for one in self.left_out),
            "left_out": [one._asdict() for one in self.left_out],
        }

    def sentences(self, rows: Sequence[Row[DreamCase]]) -> list[str]:
        """Return what was judged and what was not."""
        facts = self.facts(rows)
        return [
            f"{facts['num_drawn']} pictures of {facts['num_subjects']} subjects; "
            f"{facts['num_failed']} cases failed for want of a cut-out. Whole pictures are "
            "compared with all photographs of a subject; masked figures compare subjects on white.",
            *(f"Left out {one.name}, {one.num_cases} cases: {one.reason}" for one in self.left_out),
        ]


@dataclass(frozen=True, eq=False)
class _Drawer(ABC):
    """Gives the files of a case: the reference, the picture and where the subject is in it."""

    benchmark: DreamBench

    @abstractmethod
    def picture(self, case: DreamCase) -> tuple[Image.Image, Tensor]:
        """Return the picture and its mask (1, 1, H, W)."""

    def kinds(self, case: DreamCase) -> tuple[str, ...]:
        """Return all three."""
        del case
        return ("reference", "drawn", "model-mask")

    def draw(self, case: DreamCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield all three."""
        del missing
        yield "reference", _shown(self.benchmark.references[case.subject][0].image)
        picture, mask = self.picture(case)
        yield "drawn", picture
        yield "model-mask", mask


@dataclass(frozen=True, eq=False)
class DreamDrawer(_Drawer):
    """Draws subjects with a session."""

    session: Session
    uses_all: bool = False  # photographs; else the first one

    @property
    def maker(self) -> Maker:
        """The preset, and how many photographs it sees."""
        return maker_of(self.session, "all references" if self.uses_all else "one reference")

    def picture(self, case: DreamCase) -> tuple[Image.Image, Tensor]:
        """Return what the session draws."""
        result = self.session.personalize(self._identity(case.subject), case.prompt, seed=case.seed)
        return result.images[0], plane(result.subject_masks[0])

    def _identity(self, subject: str) -> Identity:
        """Return the identity, which the session keeps for the next case."""
        references = self.benchmark.references[subject]
        usable = [reference for reference in references if reference.mask is not None]
        chosen = usable if self.uses_all else usable[:1]
        masks = [reference.mask for reference in chosen]
        return self.session.encode_identity([each.image for each in chosen], masks=masks)


@dataclass(frozen=True, eq=False)
class DreamResults(_Drawer):
    """Pictures that another program has drawn: `SUBJECT-PROMPT-SEED.png` as cases are named."""

    folder: Path

    @property
    def maker(self) -> Maker:
        """The folder, by what its pictures are."""
        digest = hashlib.sha256()
        for case in self.benchmark.cases():
            digest.update(hashlib.sha256(self._path(case).read_bytes()).digest())
        return Maker(f"pictures of {self.folder.name}", digest.hexdigest())

    def picture(self, case: DreamCase) -> tuple[Image.Image, Tensor]:
        """Return the picture; where nothing can be cut out of it, the mask is empty."""
        picture = load_image(self._path(case)).convert("RGB")
        try:
            return picture, subject_mask(picture)
        except ImageError:
            return picture, plane(Image.new("L", picture.size))

    def _path(self, case: DreamCase) -> Path:
        path = self.folder / f"{case.name}.png"
        if not path.is_file():
            raise InputError(
                f"'{path}' is missing. Each case of the benchmark needs a picture, for {case.name} "
                f"one of {case.prompt!r} with seed {case.seed}. Draw it, or choose fewer cases."
            )
        return path


def read_dreambench(
    root: Path,
    *,
    limit: int | None = None,
    num_prompts: int | None = None,
    num_seeds: int = 4,
    seed: int = 0,
) -> DreamBench:
    """Return what a copy of the dataset asks for.

    Args:
        root: Holds a folder for each subject and `prompts_and_classes.txt`; subjects whose folder
            is not there are left out of the benchmark.
        limit: Only the first subjects by name.
        num_prompts: Only the first prompts of each.
        num_seeds: Pictures of each prompt.
        seed: The first seed; the others count up.

    Raises:
        InputError: The list or all photographs are missing.
    """
    prompts = _read_lists(root / LISTS)
    there = [name for name in sorted(prompts.noun_of) if _has_photo(root / name)]
    if not there:
        raise InputError(
            f"'{root}' holds no photographs of subjects such as {next(iter(prompts.noun_of))!r}. "
            "DreamBench's folder 'dataset' is needed. Check the path."
        )
    return DreamBench(root, prompts, tuple(there[:limit]), seed, num_seeds, num_prompts)


def _has_photo(folder: Path) -> bool:
    return folder.is_dir() and bool(photos_in(folder))


def _read_lists(path: Path) -> Prompts:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LISTS_BYTES).decode("utf-8").replace("\r\n", "\n")
        classes, rest = text.split("Object Prompts", 1)
        objects, live = (_templates(one) for one in rest.split("Live Subject Prompts", 1))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be read as DreamBench's lists ({error}). The file with classes, "
            "object prompts and live subject prompts is needed. Copy it from the dataset."
        ) from error
    pairs = (line.split(",") for line in classes.splitlines() if line.count(",") == 1)
    nouns = {name.strip(): noun.strip() for name, noun in pairs if name != "subject_name"}
    unsafe = [name for name in nouns if not re.fullmatch(r"\w[\w-]*", name)]
    if unsafe or not (nouns and objects and live):
        what = f"the name {unsafe[0]!r}" if unsafe else "no subjects or no prompts"
        raise InputError(
            f"'{path}' holds {what}. DreamBench's own lists are needed. Copy the file from the "
            "dataset."
        )
    return Prompts(MappingProxyType(nouns), objects, live)


def _templates(text: str) -> tuple[str, ...]:
    """Return the prompts of a list, without the rare word that tuned models are called by."""
    found = (match["text"] for match in _PROMPT.finditer(text))
    return tuple(one.replace("{0} ", "").replace("{1}", "{}") for one in found)


def _looked_at(path: Path) -> Reference:
    """Return a photograph with its mask, given beside it or found.

    Raises:
        ImageError: The subject cannot be found.
    """
    image = _opened(path)
    given = mask_beside(path)
    if given is None:
        mask = mask_to_pil(subject_mask(image))[0]
    else:
        mask = load_image(given).convert("L").resize(image.size, Image.Resampling.LANCZOS)
    return Reference(image.convert("RGB"), mask)


def _opened(path: Path) -> Image.Image:
    """Return a photograph, shrunk where it is larger than any judge or model looks at."""
    image = load_image(path)
    image.thumbnail((MOST_PX, MOST_PX), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _shown(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
    return small
