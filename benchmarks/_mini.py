"""Mini under each engine: what it draws in benchmarks, how, and what engines change about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmarks._timing import DIGITS, Round, Sample, Spread, Tell, spread, timed
from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.pipelines.request import Subject
from swiftpie.types import Identity
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, expected_of, read_by
from swiftpie_lab.evaluation.case import METRICS, Evidence
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.metrics.pixels import psnr
from swiftpie_world.nouns import article_of
from swiftpie_world.places import PLACES

EAGER = "eager"
TOGETHER = "+"  # joins the transforms of one engine, as in folded-upsampling+compile
NUM_SPEED_CASES = 7  # subjects and prompts that timed calls take in turns
PLACES_AHEAD = (5, 9)  # of an edit and of the next one, from the place that a picture shows
TURNED_DEG = 20
JUDGED = ("setting-accuracy", "subject-recognition")


@dataclass(frozen=True)
class Load:
    """A call that is larger than the plain one in one respect."""

    axis: str
    size: int
    num_images: int = 1
    side_px: int | None = None
    num_references: int = 1
    num_subjects: int = 1


PLAIN = Load("plain", 1)


@dataclass(frozen=True, eq=False)
class Material:
    """Subjects, prompts and pictures."""

    benchmark: WorldBenchmark
    cases: Sequence[WorldCase]

    def picture(self, case: WorldCase) -> tuple[Image.Image, Image.Image]:
        """Return a reference and its mask, as a user would give them."""
        answer = self.benchmark.answer(case)
        return to_pil(answer.reference)[0], mask_to_pil(answer.reference_mask)[0]

    def views(self, case: WorldCase, count: int) -> tuple[list[Image.Image], list[Image.Image]]:
        """Return so many references of one subject with their masks: turned and mirrored ones."""
        pictures, masks = [], []
        for number in range(count):
            both = self.picture(case)
            if number % 2:
                both = (ImageOps.mirror(both[0]), ImageOps.mirror(both[1]))
            picture, mask = (image.rotate(TURNED_DEG * (number // 2)) for image in both)
            pictures.append(picture)
            masks.append(mask)
        return pictures, masks

    @cached_property
    def shown(self) -> list[Image.Image]:
        """A picture of each case that is timed, to be edited."""
        return [self.benchmark.known(case)["truth"] for case in self.cases[:NUM_SPEED_CASES]]


def with_engine(components: Components, engine: str) -> Components:
    """Return the components of one engine; weights are shared where they can."""
    return components if engine == EAGER else transform(components, engine.split(TOGETHER))


@dataclass(frozen=True, eq=False)
class Contender:
    """One engine, with the identities that it is given from the cache."""

    components: Components
    material: Material
    identities: Sequence[Identity]  # of the first cases

    @classmethod
    def of(cls, components: Components, material: Material) -> "Contender":
        """Encode the subjects that calls take in turns."""
        session = Session(components)
        pictures = [material.picture(case) for case in material.cases[:NUM_SPEED_CASES]]
        identities = [session.encode_identity(picture, masks=mask) for picture, mask in pictures]
        return cls(components, material, identities)

    def personalize(self, number: int) -> Round:
        """Draw one picture of a known subject, with a prompt that was not encoded before."""
        return {"personalize": self._draw(number, self._subjects(number, PLAIN), PLAIN)}

    def edit(self, number: int) -> Round:
        """Edit a picture that was never seen, and the same once more with another prompt."""
        place = number % len(self.material.shown)
        case, picture = self.material.cases[place], self.material.shown[place]
        session, found = Session(self.components), {}
        for operation, ahead in zip(("edit", "second_edit"), PLACES_AHEAD, strict=True):
            prompt = moved(case, ahead)
            change = partial(session.edit, picture, prompt, source_prompt=case.prompt)
            found[operation], _ = timed(change, self.components.device)
        return found

    def under(self, load: Load) -> Mapping[int, list[Subject]]:
        """Return the subjects of a load, by case; identities of several references are encoded."""
        return {
            number: self._subjects(number, load)
            for number in range(min(NUM_SPEED_CASES, len(self.material.cases)))
        }

    def draw_under(self, load: Load, subjects: Mapping[int, list[Subject]], number: int) -> Round:
        """Draw what a load asks for."""
        return {"personalize": self._draw(number, subjects[number % len(subjects)], load)}

    def _draw(self, number: int, subjects: list[Subject], load: Load) -> Sample:
        session = Session(self.components)  # a fresh one has encoded no prompt yet
        case = self.material.cases[number % NUM_SPEED_CASES]
        side = load.side_px or self.components.preset.image_size_px
        sample, _ = timed(
            lambda: session.personalize(
                subjects,
                case.prompt,
                seed=case.seed + number,
                num_images=load.num_images,
                size=(side, side),
            ),
            self.components.device,
        )
        return sample

    def _subjects(self, number: int, load: Load) -> list[Subject]:
        places = [(number + k) % len(self.identities) for k in range(load.num_subjects)]
        if load.num_references == 1:
            return [Subject(self.identities[place]) for place in places]
        session, found = Session(self.components), []
        for place in places:
            pictures, masks = self.material.views(self.material.cases[place], load.num_references)
            found.append(Subject(session.encode_identity(pictures, masks=masks)))
        return found


def moved(case: WorldCase, ahead: int) -> str:
    """Return a prompt that puts the subject of `case` into another place."""
    names = [place.name for place in PLACES]
    place = PLACES[(names.index(case.place) + ahead) % len(names)]
    return f"a photo of {article_of(case.subject)} {case.subject} {place.phrases[0]}"


@dataclass(frozen=True)
class Fidelity:
    """How pictures of one engine compare with those of plain PyTorch, case by case."""

    engine: str
    num_cases: int
    psnr_db: Spread | None  # against plain float32; None for that itself
    judged: Mapping[str, float]  # by metric, shares in [0, 1]
    changed_verdicts: Mapping[str, int]  # by metric, cases that plain float32 was judged other in


@dataclass(frozen=True, eq=False)
class _Judged:
    picture: Tensor  # (1, 3, H, W) in [-1, 1], through 8 bits
    verdicts: Mapping[str, float]


def compare_pictures(
    engines: Mapping[str, Components],
    material: Material,
    num_cases: int,
    *,
    tell: Tell = lambda _: None,
) -> list[Fidelity]:
    """Draw the first cases of `material` by every engine; each encodes the subjects itself."""
    benchmark = material.benchmark
    networks = Networks(panel=benchmark.panel())
    judged = {}
    for engine, components in engines.items():
        tell(f"judging {num_cases} pictures of {engine}")
        session = Session(components)
        judged[engine] = [
            _judge(session, material, case, networks) for case in material.cases[:num_cases]
        ]
    return [_summary(engine, judged[engine], judged[EAGER]) for engine in engines]


@torch.no_grad()
def _judge(session: Session, material: Material, case: WorldCase, networks: Networks) -> _Judged:
    reference, cover = material.picture(case)
    identity = session.encode_identity(reference, masks=cover)
    answer = material.benchmark.answer(case)
    size = (session.components.preset.image_size_px,) * 2
    drawn = session.personalize(identity, case.prompt, seed=case.seed, size=size)
    picture = to_tensor(drawn.images[0])
    truth, cut_out = answer.rendering, (answer.reference + 1) / 2 * answer.reference_mask
    shown = torch.cat([cut_out, answer.reference_mask], dim=1)
    expected = expected_of(case, truth.mask, case.code)
    evidence = Evidence(
        picture=picture,
        truth=truth.pixels,
        mask=truth.mask,
        expected=expected,
        reading=read_by(networks.panel, picture, expected, reference=shown),
        networks=networks,
    )
    verdicts = {name: METRICS.get(name).score(evidence) or 0.0 for name in JUDGED}
    return _Judged(picture, verdicts)


def _summary(engine: str, judged: Sequence[_Judged], plain: Sequence[_Judged]) -> Fidelity:
    pairs = list(zip(judged, plain, strict=True))
    distances = [psnr(drawing.picture, other.picture) for drawing, other in pairs]
    return Fidelity(
        engine,
        num_cases=len(judged),
        psnr_db=None if engine == EAGER else spread(distances),
        judged={
            name: round(sum(drawing.verdicts[name] for drawing in judged) / len(judged), DIGITS)
            for name in JUDGED
        },
        changed_verdicts={
            name: sum(drawing.verdicts[name] != other.verdicts[name] for drawing, other in pairs)
            for name in JUDGED
        },
    )
