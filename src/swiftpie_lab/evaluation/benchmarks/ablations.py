"""The parts of the method one by one, on subjects in trained settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.choices import schedule_of, with_steps
from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.imageio.images import bounding_box, mask_to_pil, to_pil
from swiftpie.masks import load_mask
from swiftpie.pipelines.request import WORDS_ALONE, ConditionPart, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import (
    IdentityGuidance,
    MaskSource,
    ResolvedScales,
    Scales,
    steering_of,
)
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks.world import (
    CASES_A_KIND,
    WorldBenchmark,
    WorldCase,
    WorldKind,
)
from swiftpie_lab.evaluation.bounds import check_noise
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial, open_model, open_pack, side_of
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import File, Maker, Results, maker_of

EVERYTHING = "everything"
GUIDED_STEPS = 4  # what the schedules of identity guidance are made for
MANY_REFERENCES = 3
TURN = 0.15  # radians; about as far as two photographs of an upright thing differ
VIEW_SEED = 2**28  # far from the seeds of cases; the generator reads 32 bits of a seed

TRUE, FILE = (
    "true",
    "file",
)  # the renderer's own mask, which no user has; what a first picture saved

TITLES = MappingProxyType(
    {
        EVERYTHING: "everything",
        "text-only": "text only",
        "semantic": "semantic branch",
        "detail": "detail branch",
        "skip": "aligned detail",
        "branches": "both branches, nothing aligned",
        "no-prior": "geometric prior off",
        "no-prior-branches": "geometric prior off, nothing aligned",
        "uncut": "references not cut out",
        "uncut-rescaled": "references not cut out, rescaling by the true mask",
        "references": "three references",
        **{f"steps-{name}": f"4 steps, {name}" for name in IdentityGuidance},
    }
)


@dataclass(frozen=True)
class Setup:
    """One way to draw the cases: which parts work, where, how strongly."""

    scales: Scales
    has_detail: bool = True  # reference features in self-attention
    has_aligned: bool = True  # the aligned subject as input and through the output gate
    knows_place: bool = True  # the geometric prior, and position codes in the reference frame
    num_references: int = 1
    is_cut_out: bool = True  # references show the subject alone; else all that is around it too
    region: str = MaskSource.NONE  # where rescaling takes it from: a `MaskSource`, TRUE or FILE
    num_steps: int | None = None  # None: those the weights were loaded with
    identity_guidance: IdentityGuidance = IdentityGuidance.PLAIN


def setups(base: ResolvedScales, step_counts: Sequence[int]) -> dict[str, Setup]:
    """Return every row of `TITLES` that can be drawn with these scales and numbers of steps."""
    plain = replace(base, identity_scale=0.0)  # without the semantic branch
    uncut = Setup(base, has_aligned=False, is_cut_out=False)
    rows = {
        EVERYTHING: Setup(base),
        "text-only": Setup(replace(plain, detail_scale=0.0)),
        "semantic": Setup(base, has_detail=False, has_aligned=False),
        "detail": Setup(plain, has_aligned=False),
        "skip": Setup(plain, has_detail=False),
        "branches": Setup(base, has_aligned=False),
        "no-prior": Setup(base, knows_place=False),
        "no-prior-branches": Setup(base, has_aligned=False, knows_place=False),
        "uncut": uncut,
        "uncut-rescaled": replace(uncut, region=TRUE),
        "references": Setup(base, num_references=MANY_REFERENCES),
    }
    if GUIDED_STEPS in step_counts:
        rows |= {
            f"steps-{method}": Setup(base, num_steps=GUIDED_STEPS, identity_guidance=method)
            for method in IdentityGuidance
        }
    return rows


@dataclass(frozen=True, eq=False)
class Ablations(WorldBenchmark):
    """Subjects in trained settings, drawn once for each row."""

    name = "ablations"
    title = "Ablations"
    metrics = ("subject-recognition", "setting-accuracy", "subject-psnr", "psnr", "mask-iou")
    candidates = TITLES
    bound = ""
    strip = MappingProxyType({"reference": "reference", "truth": "truth", **TITLES})

    def cases(self, count: int = CASES_A_KIND) -> list[WorldCase]:
        """Deal `count` cases; a longer list starts with the shorter one."""
        return list(self.deal(WorldKind.PLAIN, count))

    def setups(self, session: Session) -> dict[str, Setup]:
        """Return the rows that a session can draw, by kind of picture."""
        preset = session.components.preset
        return setups(Scales.of(preset), preset.step_counts)

    def claims(self, case: WorldCase, results: Results, mask: Tensor) -> dict[str, Tensor]:
        del mask
        drawn = [kind for kind in self.candidates if results.has(case, kind)]
        return {kind: results.read_mask(case, f"{kind}-mask") for kind in drawn}

    def groups(self, rows: Sequence[Row[WorldCase]]) -> dict[str, list[Row[WorldCase]]]:
        del rows
        return {}

    def views(self, case: WorldCase, count: int) -> list[tuple[Image.Image, Image.Image]]:
        """Return `count` pictures of the subject with their masks, mode L.

        The first is the benchmark's own; the others are turned to either side, before other walls
        and in other light.
        """
        answer = self.answer(case)
        shown = [(answer.reference, answer.reference_mask)]
        for number in range(1, count):
            generator = torch.Generator().manual_seed(case.seed + VIEW_SEED + number)
            pose = torch.tensor([[TURN if number % 2 else -TURN, 0.0, 0.0, 0.0]])
            numbers = torch.rand(1, 16, generator=generator)
            shown.append(self.seen_from(case, pose, numbers))
        return [(to_pil(pixels)[0], mask_to_pil(mask)[0]) for pixels, mask in shown]


@dataclass(frozen=True, eq=False)
class AblationDrawer:
    """Draws cases in every setup, places from words alone."""

    session: Session
    benchmark: Ablations

    def __post_init__(self) -> None:
        check_noise(self.session.components, side_px=self.benchmark.size_px)

    @property
    def maker(self) -> Maker:
        return maker_of(self.session)

    @cached_property
    def setups(self) -> dict[str, Setup]:
        return self.benchmark.setups(self.session)

    @cached_property
    def sessions(self) -> dict[int | None, Session]:
        """The same networks with the schedules that setups need, by number of steps."""
        components, found = self.session.components, {}
        for count in {setup.num_steps for setup in self.setups.values()}:
            preset = with_steps(components.preset, count)
            stepped = replace(components, preset=preset, schedule=schedule_of(preset))
            found[count] = Session(stepped)
        return found

    def kinds(self, case: WorldCase) -> tuple[str, ...]:
        """Return reference and answer, and the picture and the subject's mask of each row."""
        del case
        drawn = [name for kind in self.setups for name in (kind, f"{kind}-mask")]
        return ("reference", "reference-mask", "truth", "truth-mask", *drawn)

    def draw(self, case: WorldCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        known = self.benchmark.known(case)
        yield from known.items()
        region = load_mask(known["truth-mask"], known["truth-mask"].size)
        for kind, setup in self.setups.items():
            if missing & {kind, f"{kind}-mask"}:
                session = self.sessions[setup.num_steps]
                request = self.request(session, case, setup, region)
                if setup.region == FILE:
                    (saved,) = session.draw(request).subject_masks
                    mask = load_mask(saved, saved.size)
                    request = replace(request, subjects=(replace(request.subjects[0], mask=mask),))
                result = session.draw(request)
                yield kind, result.images[0]
                yield f"{kind}-mask", result.subject_masks[0]

    def request(
        self, session: Session, case: WorldCase, setup: Setup, region: Tensor
    ) -> PersonalizeRequest:
        """Return the request of one setup; `region` (1, 1, H, W) is the subject in the truth."""
        views = self.benchmark.views(case, setup.num_references)
        whole = Image.new("L", views[0][0].size, 255)
        identity = session.encode_identity(
            [image for image, _ in views],
            masks=[mask if setup.is_cut_out else whole for _, mask in views],
        )
        without = {
            ConditionPart.ALIGNED: not setup.has_aligned,
            ConditionPart.PLACE: not setup.knows_place,
        }
        return PersonalizeRequest(
            subjects=(
                Subject(
                    identity if setup.has_detail else identity.without_detail(),
                    mask=region if setup.region == TRUE else None,
                    box=bounding_box(region) if setup.region == MaskSource.BOX else None,
                ),
            ),
            prompt=case.prompt,
            seeds=(case.seed,),
            scene=WORDS_ALONE,
            scales=setup.scales,
            mask=MaskSource.NONE if setup.region in {TRUE, FILE} else MaskSource(setup.region),
            without=frozenset(part for part, is_out in without.items() if is_out),
            **self.benchmark.posture(case),
            **steering_of(setup.identity_guidance, len(session.components.schedule.steps)),
        )


def open_ablations(
    *,
    loading: given.LoadedInSizes,
    data: DataPath = None,
    cases: given.NumCases = 48,
    seed: given.Seed = 0,
) -> Trial[WorldCase]:
    """Measure the parts of the method one by one, on subjects in trained settings.

    Branches, geometric prior, rescaling, numbers of references and identity guidance: every column
    draws the same cases. An interrupted run goes on where it stopped.
    """
    benchmark = Ablations(open_pack(data), seed=seed, size_px=side_of(loading))
    drawer = AblationDrawer(open_model(loading), benchmark)
    return Trial(benchmark, benchmark.cases(cases), drawer, Networks(panel=benchmark.panel()))


BENCHMARK = BenchmarkCommand(
    open_ablations,
    (
        "swiftpie evaluate ablations --size 128 --cases 200 --out out/ablations-200 --json",
        "swiftpie evaluate ablations --weights runs/mini_world/export --out out/mine",
    ),
)
