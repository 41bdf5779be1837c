"""Subjects that a reference finds in other pictures: exact renderings, and photographs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from PIL import Image

from swiftpie import scenes
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.models.cutout import find, subject_mask
from swiftpie.pipelines.finding import LEAST_ALIKE, most_alike
from swiftpie_lab.data.subjects import Subjects
from swiftpie_lab.evaluation.benchmarks.photos import photos_in
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind
from swiftpie_lab.evaluation.case import Evidence, Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import format_interval, interval
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, Results, maker_of

NUM_CASES = 24  # of each kind
PHOTO_PX = 512  # longer side of photographs
SCENE_PX = (512, 384)  # width and height of pictures with two cut-outs
CENTRES, WIDEST, TALL = (0.26, 0.74), 0.44, (0.4, 0.7)  # of these, in shares of its sides
MASKS = ("model-mask", "alike-mask", "plain-mask")
FLOOR = (0.85, 0.98)  # where they stand, in shares of the height


class FindingKind(StrEnum):
    """What the picture shows."""

    PAIR = "rendered pair"
    STRANGERS = "rendered pair without it"
    BESIDE = "cut-outs side by side"
    PHOTO = "another photograph"
    STRANGER = "a photograph without it"


@dataclass(frozen=True)
class FindingCase:
    """A subject that is looked for in a picture."""

    name: str
    kind: FindingKind
    subject: str
    seed: int
    sought: WorldCase | None = None  # whose subject is looked for
    shown: WorldCase | None = None  # what is looked at
    number: int = 0  # of the subject in `sought`
    reference: str = ""  # photographs below the folder
    photo: str = ""
    other: str = ""  # of what stands beside it

    @property
    def is_there(self) -> bool:
        """Whether the picture shows the subject."""
        return self.kind not in {FindingKind.STRANGERS, FindingKind.STRANGER}


class Scene(NamedTuple):
    """What a search gets, and the right answer, mode L; None if the subject is not there."""

    reference: Image.Image
    reference_mask: Image.Image
    picture: Image.Image
    mask: Image.Image | None


@dataclass(frozen=True, eq=False)
class FindingBenchmark(Benchmark[FindingCase]):
    """Deals renderings with exact masks, and photographs if there is a folder of them.

    Nobody drew masks of the photographs. The reference's is the automatic cut-out, as users get it.
    Of another photograph of the subject the automatic cut-out stands in for the truth, so there the
    plain cut-out is right by definition. Side by side in a scene of the library, cut-outs have
    known masks.
    """

    subjects: Subjects
    photos: Path | None = None  # a folder for each subject
    seed: int = 0

    name: ClassVar = "finding"
    title: ClassVar = "Finding a subject by one reference"
    metrics: ClassVar = ("mask-iou", "says-present")
    candidates: ClassVar = MappingProxyType(
        {"model": "find", "alike": "find --is-there", "plain": "plain cut-out"}
    )
    strip: ClassVar = MappingProxyType(
        {"reference": "reference", "source": "picture", "mask": "truth"}
        | {"model-mask": "find", "alike-mask": "find --is-there", "plain-mask": "plain cut-out"}
    )
    ranked_by: ClassVar = ("mask-iou",)
    headline: ClassVar = ("mask-iou", "says-present")

    @cached_property
    def world(self) -> WorldBenchmark:
        """Draws the renderings."""
        return WorldBenchmark(self.subjects, seed=self.seed)

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """Photographs of each subject by its folder's name.

        Raises:
            InputError: A folder was given, and holds fewer than two subjects with two each.
        """
        if self.photos is None:
            return {}
        every = sorted(path for path in self.photos.glob("*") if path.is_dir())
        found = {
            folder.name: [f"{folder.name}/{path.name}" for path in photos_in(folder)]
            for folder in every
        }
        found = {name: paths for name, paths in found.items() if len(paths) > 1}
        if len(found) < 2:
            raise InputError(
                f"'{self.photos}' has {len(found)} folders with two photographs or more. A folder "
                "for each of two subjects is needed."
            )
        return found

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names, sprites and names of photographs."""
        return sha256(f"{self.world.fingerprint} {self.folders}".encode()).hexdigest()

    def cases(self, count: int = NUM_CASES) -> list[FindingCase]:
        """Deal `count` cases of each kind."""
        pairs = list(self.world.deal(WorldKind.PAIR, count + 1))
        dealt = []
        for number, shown in enumerate(pairs[:count]):
            dealt.append(_rendered(FindingKind.PAIR, shown, shown, number % 2))
            dealt.append(_rendered(FindingKind.STRANGERS, pairs[number + 1], shown, 1))
        return [*dealt, *self._photographs(count)]

    def _photographs(self, count: int) -> Iterator[FindingCase]:
        names = sorted(self.folders)
        for number in range(count if names else 0):
            random = Random(f"{self.seed}:{number}")
            name = names[number % len(names)]
            # Several of one kind are told apart by a digit: dog, dog2. Too like to be strangers.
            kind = name.rstrip("0123456789")
            stranger = random.choice([one for one in names if not one.startswith(kind)])
            reference, photo = random.sample(self.folders[name], 2)
            other = random.choice(self.folders[stranger])
            for what, shown in (
                (FindingKind.BESIDE, photo),
                (FindingKind.PHOTO, photo),
                (FindingKind.STRANGER, other),
            ):
                label = f"{what.name.lower()}-{number:04d}-{name}"
                words = name.replace("_", " ")
                seed = self.seed + number
                yield FindingCase(
                    *(label, what, words, seed), reference=reference, photo=shown, other=other
                )

    def unit(self, case: FindingCase) -> str:
        """Return the subject; photographs of one are alike."""
        return case.subject if case.reference else case.name

    def scene(self, case: FindingCase) -> Scene:
        """Return what the search gets, and the right answer.

        Raises:
            ImageError: A photograph cannot be read or cut out.
        """
        if case.sought is None or case.shown is None:
            return self._photographed(case)
        sought, shown = self.world.pair(case.sought), self.world.pair(case.shown)
        row = slice(case.number, case.number + 1)
        masks = (shown.rendering.mask, shown.rendering.companion_mask)
        return Scene(
            to_pil(sought.pixels[row])[0],
            mask_to_pil(sought.mask[row])[0],
            to_pil(shown.rendering.pixels)[0],
            mask_to_pil(masks[case.number])[0] if case.is_there else None,
        )

    def _photographed(self, case: FindingCase) -> Scene:
        assert self.photos is not None, "photographs are cases of a folder"
        reference, photo = (_cut(self.photos / path) for path in (case.reference, case.photo))
        if case.kind is FindingKind.BESIDE:
            other = _cut(self.photos / case.other)
            return Scene(*reference, *_side_by_side(photo, other, Random(case.seed)))
        return Scene(*reference, photo[0], photo[1] if case.is_there else None)

    def evidence(
        self, case: FindingCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the mask that each candidate claims."""
        picture = to_tensor(results.read(case, "source"))
        truth = results.read_mask(case, "mask") if case.is_there else None
        for candidate in self.candidates:
            claimed = results.read_mask(case, f"{candidate}-mask")
            yield (
                candidate,
                Evidence(picture=picture, claimed=claimed, mask=truth, networks=networks),
            )

    def words(self, case: FindingCase) -> list[str]:
        """Return what is looked for, and where."""
        return [case.subject, case.kind.value]

    def groups(self, rows: Sequence[Row[FindingCase]]) -> Mapping[str, Sequence[Row[FindingCase]]]:
        """Return the cases by kind."""
        kinds = {kind.value: [row for row in rows if row.case.kind is kind] for kind in FindingKind}
        return {kind: some for kind, some in kinds.items() if some}

    def sentences(self, rows: Sequence[Row[FindingCase]]) -> list[str]:
        """Return how much is found, and how often what is not there."""
        lines = super().sentences(rows)
        for kind, some in self.groups(rows).items():
            told = format_interval(interval([row.scores["says-present"]["model"] for row in some]))
            if not some[0].case.is_there:
                lines.append(f"{kind}: found all the same {told}, {len(some)} cases.")
                continue
            sure, unsure = (
                format_interval(interval([row.scores["mask-iou"][candidate] for row in some]))
                for candidate in ("alike", "model")
            )
            lines.append(
                f"{kind}: IoU {sure} if it is known to be there, else {unsure}; found {told}, "
                f"{len(some)} cases."
            )
        return lines


@dataclass(frozen=True, eq=False)
class FindingDrawer:
    """Searches with a session, and cuts out plainly."""

    session: Session
    benchmark: FindingBenchmark

    @property
    def maker(self) -> Maker:
        """The preset, and from which likeness on it finds."""
        return maker_of(self.session, f"from {LEAST_ALIKE}")

    def kinds(self, case: FindingCase) -> tuple[str, ...]:
        """Return the pictures and all masks."""
        truth = ("mask",) if case.is_there else ()
        return ("reference", "reference-mask", "source", *truth, *MASKS)

    def draw(self, case: FindingCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield all of them."""
        del missing
        scene = self.benchmark.scene(case)
        yield "reference", scene.reference
        yield "reference-mask", scene.reference_mask
        yield "source", scene.picture
        if scene.mask is not None:
            yield "mask", scene.mask
        identity = self.session.encode_identity(scene.reference, masks=scene.reference_mask)
        found = most_alike(identity, scene.picture)
        nothing = torch.zeros(1, 1, scene.picture.height, scene.picture.width)
        is_sure = found is not None and found.likeness >= LEAST_ALIKE
        yield "alike-mask", nothing if found is None else found.mask
        yield "model-mask", found.mask if found is not None and is_sure else nothing
        yield "plain-mask", find(scene.picture)


def _rendered(kind: FindingKind, sought: WorldCase, shown: WorldCase, number: int) -> FindingCase:
    subject = sought.other_subject if number else sought.subject
    name = f"{kind.name.lower()}-{number}-{shown.name}"
    return FindingCase(name, kind, subject, shown.seed, sought, shown, number)


@cache
def _cut(path: Path) -> tuple[Image.Image, Image.Image]:
    """Return a photograph and its automatic cut-out.

    Raises:
        ImageError: It cannot be read, or shows no subject.
    """
    image = load_image(path).convert("RGB")
    image.thumbnail((PHOTO_PX, PHOTO_PX))
    try:
        return image, mask_to_pil(subject_mask(image))[0]
    except ImageError as error:
        raise ImageError(f"{path.name} cannot be cut out: {error}") from error


def _side_by_side(
    first: tuple[Image.Image, Image.Image], second: tuple[Image.Image, Image.Image], random: Random
) -> tuple[Image.Image, Image.Image]:
    """Return two cut-outs in a scene of the library, and the mask of the first."""
    known = scenes.packaged()
    width, height = SCENE_PX
    name = random.choice(sorted(known.names()))
    picture = known.dealt(name, random.random(), SCENE_PX).convert("RGB")
    first_mask = Image.new("L", SCENE_PX)
    centres = random.sample(CENTRES, 2)
    for (image, mask), centre in zip((first, second), centres, strict=True):
        cutout = image.copy()
        cutout.putalpha(mask)
        cutout = cutout.crop(mask.point(lambda level: 255 * (level > 127)).getbbox())
        tall = height * random.uniform(*TALL)
        scale = min(tall / cutout.height, WIDEST * width / cutout.width)
        size = (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale)))
        cutout = cutout.resize(size, Image.Resampling.LANCZOS)
        floor = round(height * random.uniform(*FLOOR))
        corner = (round(width * centre - size[0] / 2), max(0, floor - size[1]))
        picture.paste(cutout, corner, cutout)
        if image is first[0]:
            first_mask.paste(cutout.getchannel("A"), corner)
    return picture, first_mask
