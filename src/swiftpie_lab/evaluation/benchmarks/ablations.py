"""The parts of the method one by one, on subjects in trained settings."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.imageio.images import mask_to_pil, plane, to_pil, to_tensor
from swiftpie.masks import load_mask, resize_mask
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
    expected_of,
    read_by,
)
from swiftpie_lab.evaluation.bounds import check_noise
from swiftpie_lab.evaluation.case import Evidence
from swiftpie_lab.evaluation.command import BenchmarkCommand, open_model, open_pack, side_of
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import File, Maker, Results, maker_of
from swiftpie_lab.evaluation.study import Study, Variant

EVERYTHING = "everything"
BRANCHES, PLACE, STEPS = "branches", "place", "steps"
RESCALING = "rescaling, true mask"
IDENTITY_SWEEP, DETAIL_SWEEP = "identity scale", "detail scale"
GUIDED = "identity guidance, 4 steps"
GUIDED_ALONE = f"{GUIDED}, semantic branch alone"
HALF_BRANCHES = "branches at half scale, no skip"  # where no single branch does everything
UNCUT = "rescaling, references not cut out, no skip"
STRONG = "rescaling, scales tripled, no skip"  # where branches overwhelm the scene
BRANCH_SWEEP = "both scales, no skip"  # what the branches do where nothing is aligned

SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)
BACKGROUND_SCALES = (0.0, 0.1, 0.25, 0.5)
WIDE_TEXT = 1.25
MANY_REFERENCES = 3
STRONG_SCALE = 3.0
GUIDED_STEPS = 4  # what the schedules of identity guidance are made for

SCENE_COLUMNS = (
    "subject-recognition",
    "setting-accuracy",
    "subject-psnr",
    "psnr",
    "mask-iou",
    "region-iou",
)
TURN = 0.15  # radians; about what people's second picture of an upright thing differs by
VIEW_SEED = 2**28  # far from the seeds of cases; the generator reads 32 bits of a seed


class Region(StrEnum):
    """Where mask-guided rescaling gets the subject's region from."""

    NONE = "none"  # the whole picture
    INLINE = "inline"
    TWO_PASS = "two-pass"
    PREDICTED = "predicted"  # what the network itself says after a first call
    TRUE = "true"  # the renderer's own mask, which no user has


SOURCES = {Region.INLINE: MaskSource.INLINE, Region.TWO_PASS: MaskSource.TWO_PASS}
FOUND_REGIONS = {Region.INLINE, Region.TWO_PASS, Region.PREDICTED}


@dataclass(frozen=True)
class DrawingSetup:
    """One way to draw the cases: which parts work, where, how strongly."""

    group: str
    title: str
    scales: Scales
    region: Region = Region.NONE
    has_detail: bool = True  # reference features in self-attention
    has_aligned: bool = True  # the aligned subject as input and through the output gate
    knows_place: bool = True  # the geometric prior, and position codes in the reference frame
    num_references: int = 1
    is_cut_out: bool = True  # references show the subject alone; else all that is around it too
    num_steps: int | None = None  # None: those the weights were loaded with
    identity_guidance: IdentityGuidance = (
        IdentityGuidance.PLAIN
    )  # guidance and reshaping of the semantic branch's attention

    @property
    def key(self) -> str:
        """A name of what is switched; networks and their schedule have names of their own."""
        switched = replace(self, group="", title="", num_steps=None)
        return hashlib.sha256(repr(switched).encode()).hexdigest()[:16]


class ReferencePicture(NamedTuple):
    """A picture a user would give."""

    image: Image.Image
    mask: Image.Image  # mode L


@dataclass(frozen=True, eq=False)
class VariedScenes(WorldBenchmark):
    """Subjects in trained settings, of which the model's pictures alone are drawn and judged."""

    _truths: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _views: dict[tuple[str, int], list[ReferencePicture]] = field(default_factory=dict)

    metrics = (*WorldBenchmark.metrics, "region-iou")
    candidates = MappingProxyType({"model": "model"})

    def cases(self, count: int = CASES_A_KIND) -> list[WorldCase]:
        """Deal `count` cases; a longer list starts with the shorter one."""
        return list(self.deal(WorldKind.PLAIN, count))

    def truth_of(self, case: WorldCase) -> tuple[Tensor, Tensor]:
        """Return pixels and mask through 8 bits, as the pictures on disk that others judge."""
        if case.name not in self._truths:
            truth = self.answer(case).rendering
            mask = mask_to_pil(truth.mask)[0]
            pixels = to_tensor(to_pil(truth.pixels)[0])
            self._truths[case.name] = (pixels, load_mask(mask, mask.size))
        return self._truths[case.name]

    def views(self, case: WorldCase, count: int) -> list[ReferencePicture]:
        """Return `count` pictures of the subject; the first is the benchmark's own.

        The others are turned to either side, before other walls and in other light.
        """
        key = (case.name, count)
        if key not in self._views:
            answer = self.answer(case)
            others = (self._other_view(case, number) for number in range(1, count))
            pairs = [(answer.reference, answer.reference_mask), *others]
            self._views[key] = [
                ReferencePicture(to_pil(one)[0], mask_to_pil(mask)[0]) for one, mask in pairs
            ]
        return self._views[key]

    def evidence(
        self, case: WorldCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the model's picture; folders of variants hold no truth."""
        truth, mask = self.truth_of(case)
        shown = self.views(case, 1)[0]
        cover = load_mask(shown.mask, shown.mask.size)
        reference = torch.cat([(to_tensor(shown.image) / 2 + 0.5) * cover, cover], dim=1)
        expected = expected_of(case, mask, case.code)
        picture = to_tensor(results.read(case, "model"))
        has_region = results.has(case, "region-mask")
        yield (
            "model",
            Evidence(
                picture=picture,
                truth=truth,
                mask=mask,
                claimed=results.read_mask(case, "model-mask"),
                region=results.read_mask(case, "region-mask") if has_region else None,
                prompt=case.prompt,
                expected=expected,
                reading=read_by(networks.panel, picture, expected, reference=reference),
                networks=networks,
            ),
        )

    def _other_view(self, case: WorldCase, number: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(case.seed + VIEW_SEED + number)
        pose = torch.tensor([[TURN if number % 2 else -TURN, 0.0, 0.0, 0.0]])
        return self.seen_from(case, pose, torch.rand(1, 16, generator=generator))


@dataclass(frozen=True, eq=False)
class SettingDrawer:
    """Draws cases in one setting."""

    session: Session  # with as many steps as the setting asks for
    setting: DrawingSetup
    benchmark: VariedScenes

    @property
    def maker(self) -> Maker:
        """The preset and what is switched."""
        return maker_of(self.session, f"setting {self.setting.key}")

    def kinds(self, case: WorldCase) -> tuple[str, ...]:
        """Return the picture, its subject's mask, and the region if one has to be found."""
        del case
        region = ("region-mask",) if self.setting.region in FOUND_REGIONS else ()
        return ("model", "model-mask", *region)

    def draw(self, case: WorldCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield picture and masks, even if only some are missing."""
        del missing
        setting = self.setting
        region: Tensor | None = None
        if setting.region is Region.TRUE:
            region = self.benchmark.truth_of(case)[1]
        if setting.region is Region.PREDICTED:
            region = plane(self.session.draw(self.request(case)).subject_masks[0])
        result = self.session.draw(self.request(case, region=region))
        yield "model", result.images[0]
        yield "model-mask", result.subject_masks[0]
        if setting.region in FOUND_REGIONS:
            height, width = self.benchmark.truth_of(case)[1].shape[-2:]
            yield "region-mask", resize_mask(result.regions, (height, width))

    def request(self, case: WorldCase, *, region: Tensor | None = None) -> PersonalizeRequest:
        """Return the request, with the subject in `region` (1, 1, H, W) if that is known."""
        setting = self.setting
        views = self.benchmark.views(case, setting.num_references)
        whole = Image.new("L", views[0].image.size, 255)
        identity = self.session.encode_identity(
            [view.image for view in views],
            masks=[view.mask if setting.is_cut_out else whole for view in views],
        )
        if not setting.has_detail:
            identity = identity.without_detail()
        parts = {
            ConditionPart.ALIGNED: setting.has_aligned,
            ConditionPart.PLACE: setting.knows_place,
        }
        return PersonalizeRequest(
            subjects=(Subject(identity, mask=region),),
            prompt=case.prompt,
            seeds=(case.seed,),
            scene=WORDS_ALONE,
            scales=setting.scales,
            mask=SOURCES.get(setting.region, MaskSource.NONE),
            without=frozenset(part for part, is_in in parts.items() if not is_in),
            **steering_of(setting.identity_guidance, self.maker.num_steps),
        )


def open_ablations(
    *,
    loading: given.LoadedInSizes,
    data: DataPath = None,
    cases: given.NumCases = 48,
    seed: given.Seed = 0,
) -> Study[WorldCase]:
    """Measure the parts of the method one by one, on subjects in trained settings.

    Branches, geometric prior, masks, rescaling, numbers of references, scales and steps: every row
    draws the same cases. Rows that are drawn already are kept, unless weights, subjects, seed or
    version differ.
    """
    varied = VariedScenes(open_pack(data), seed=seed, size_px=side_of(loading))
    return scene_study(open_model(loading), varied, num_cases=cases)


def scene_study(session: Session, benchmark: VariedScenes, *, num_cases: int) -> Study[WorldCase]:
    """Return the study of one set of weights on the world.

    Raises:
        CapabilityError: The preset starts from other noise than the renderer.
    """
    check_noise(session.components, side_px=benchmark.size_px)
    preset = session.components.preset
    settings = all_settings(Scales.of(preset), step_counts=preset.step_counts)
    sessions = {
        count: Session(_stepped(session.components, count))
        for count in {setting.num_steps for setting in settings}
    }
    return Study(
        variants=[
            Variant(row.group, row.title, SettingDrawer(sessions[row.num_steps], row, benchmark))
            for row in settings
        ],
        benchmark=benchmark,
        cases=benchmark.cases(num_cases),
        networks=Networks(panel=benchmark.panel()),
        truth=lambda case: to_pil(benchmark.truth_of(case)[0])[0],
        columns=SCENE_COLUMNS,
    )


def all_settings(base: ResolvedScales, *, step_counts: Sequence[int]) -> list[DrawingSetup]:
    """Return every row.

    Args:
        base: The preset's own scales.
        step_counts: How many steps the weights were trained to take.
    """
    rows = [
        *_branches(base),
        *(DrawingSetup("masks", region.value, base, region=region) for region in Region),
        *_rescaling(base),
        *(DrawingSetup("references", str(n), base, num_references=n) for n in (1, MANY_REFERENCES)),
        *(DrawingSetup(IDENTITY_SWEEP, f"{x:g}", replace(base, identity_scale=x)) for x in SWEEP),
        *(DrawingSetup(DETAIL_SWEEP, f"{x:g}", replace(base, detail_scale=x)) for x in SWEEP),
    ]
    for x in SWEEP:
        both = replace(base, identity_scale=x, detail_scale=x)
        rows.append(DrawingSetup(BRANCH_SWEEP, f"{x:g}", both, has_aligned=False))
    if GUIDED_STEPS in step_counts:  # identity guidance, with all parts and with what it reshapes
        guided = [
            DrawingSetup(GUIDED, method, base, num_steps=GUIDED_STEPS, identity_guidance=method)
            for method in IdentityGuidance
        ]
        rows += guided
        rows += [
            replace(row, group=GUIDED_ALONE, has_detail=False, has_aligned=False) for row in guided
        ]
    return [
        *rows,
        *(DrawingSetup(STEPS, str(count), base, num_steps=count) for count in step_counts),
    ]


def _branches(base: ResolvedScales) -> list[DrawingSetup]:
    plain = replace(base, identity_scale=0.0)  # without the semantic branch
    half = replace(base, identity_scale=base.identity_scale / 2, detail_scale=base.detail_scale / 2)
    half_semantic, half_detail = replace(half, detail_scale=0.0), replace(half, identity_scale=0.0)
    return [
        DrawingSetup(BRANCHES, EVERYTHING, base),
        DrawingSetup(BRANCHES, "text only", replace(plain, detail_scale=0.0)),
        DrawingSetup(BRANCHES, "semantic", base, has_detail=False, has_aligned=False),
        DrawingSetup(BRANCHES, "detail", plain, has_aligned=False),
        DrawingSetup(BRANCHES, "skip", plain, has_detail=False),
        DrawingSetup(BRANCHES, "semantic, detail", base, has_aligned=False),
        DrawingSetup(BRANCHES, "semantic, skip", base, has_detail=False),
        DrawingSetup(BRANCHES, "detail, skip", plain),
        DrawingSetup(HALF_BRANCHES, "semantic", half_semantic, has_aligned=False),
        DrawingSetup(HALF_BRANCHES, "detail", half_detail, has_aligned=False),
        DrawingSetup(HALF_BRANCHES, "semantic, detail", half, has_aligned=False),
        DrawingSetup(PLACE, "prior off", base, knows_place=False),
        DrawingSetup(PLACE, "prior off, no skip", base, has_aligned=False, knows_place=False),
    ]


def _rescaling(base: ResolvedScales) -> list[DrawingSetup]:
    """Return rows with the true mask, so that what a mask gets wrong does not count."""
    strong = replace(
        base,
        identity_scale=STRONG_SCALE * base.identity_scale,
        detail_scale=STRONG_SCALE * base.detail_scale,
    )
    scales = [
        *_off_and_on(base),
        (f"text outside {WIDE_TEXT:g}", replace(base, text_background_scale=WIDE_TEXT)),
        *((f"background {x:g}", replace(base, background_scale=x)) for x in BACKGROUND_SCALES),
    ]
    rows = [DrawingSetup(RESCALING, name, one) for name, one in scales]
    uncut = DrawingSetup(UNCUT, "", base, has_aligned=False, is_cut_out=False)
    rows += [replace(uncut, title=name, scales=one) for name, one in _off_and_on(base)]
    rows += [
        DrawingSetup(STRONG, name, one, has_aligned=False) for name, one in _off_and_on(strong)
    ]
    return [replace(row, region=Region.TRUE) for row in rows]


def _off_and_on(base: ResolvedScales) -> tuple[tuple[str, Scales], ...]:
    everywhere = base.identity_scale
    off = replace(base, background_scale=everywhere, text_scale=1.0, text_background_scale=1.0)
    return ("off", off), ("on", base)


def _stepped(components: Components, num_steps: int | None) -> Components:
    preset = with_steps(components.preset, num_steps)
    return replace(components, preset=preset, schedule=schedule_of(preset))


BENCHMARK = BenchmarkCommand(
    open_ablations,
    (
        "swiftpie evaluate ablations --size 128 --cases 200 --out out/ablations-200 --json",
        "swiftpie evaluate ablations --weights runs/mini_world/export --out out/mine",
    ),
)
