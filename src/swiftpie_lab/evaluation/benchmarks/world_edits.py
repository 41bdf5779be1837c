"""Rendered edits of the larger world: restyle, relight, turn, recolour, add, remove, replace."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice
from random import Random
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

from swiftpie.cli.options import DataPath
from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import Layout, seen_view
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.pipelines.settings import Scales
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks.world import (
    KIND_SEED,
    NEXT_SEED,
    PLACE_NAMES,
    REFERENCE_SEED,
    SIZE_PX,
    FirstPhrase,
    WorldBenchmark,
    deal_evenly,
    frames_of,
    read_by,
    read_kinds,
    setting_of,
    shown_reference,
)
from swiftpie_lab.evaluation.case import Evidence, Expected, Kept, Row
from swiftpie_lab.evaluation.command import (
    BenchmarkCommand,
    Trial,
    changed,
    drawer_of,
    open_model,
    open_pack,
    side_of,
)
from swiftpie_lab.evaluation.edits import EditBenchmark, EditDrawer, EditTask, MaskChoice, with_edit
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Results
from swiftpie_world.air import SEASONS, TIMES, WEATHERS, Setting
from swiftpie_world.captions import (
    WHOLE_QUESTIONS,
    SceneSpec,
    draw_caption,
    draw_empty_caption,
    draw_pair_caption,
)
from swiftpie_world.changes import (
    ANSWERS,
    EditSpec,
    WorldChange,
    alternatives,
    redraw,
    stand_aside,
    with_answer,
)
from swiftpie_world.placement import place
from swiftpie_world.places import PLACES, is_held_out
from swiftpie_world.sampler import LEAST_SEEN
from swiftpie_world.subjects import Subjects

EditKinds = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        metavar="NAMES",
        help="Only edits of these kinds, such as pose,colour; by default of all.",
    ),
]
CASES_A_KIND = 20  # by default
EDIT_SEED = 2**29  # their noise is that of no case of `world`
OTHER_SEED = 2**28  # added for what places the second subject
# Least distance from the middle, as a share of the side: a second subject needs room.
LEAST_ASIDE = 0.12

TITLES: Mapping[WorldChange, str] = MappingProxyType(
    {
        WorldChange.RENDITION: "restyle",
        WorldChange.TIME: "relight: time of day",
        WorldChange.WEATHER: "relight: weather",
        WorldChange.SEASON: "change season",
        WorldChange.PLACE: "change place",
        WorldChange.VIEW: "turn",
        WorldChange.POSE: "change pose",
        WorldChange.COLOUR: "recolour",
        WorldChange.MATERIAL: "change material",
        WorldChange.PUT_ON: "add accessory",
        WorldChange.SECOND: "add subject",
        WorldChange.TAKE_OFF: "remove accessory",
        WorldChange.REMOVAL: "remove subject",
        WorldChange.SUBJECT: "replace subject",
    }
)
"""What the kinds of cases are called; no judge sees how large a subject is, or on which side."""

OTHER_COMES = frozenset({WorldChange.SUBJECT, WorldChange.SECOND})
GONE = frozenset({WorldChange.SUBJECT, WorldChange.REMOVAL})


class EditAnswer(NamedTuple):
    """Everything that is known about a case; pixels lie in [-1, 1]."""

    source: Tensor  # (1, 3, H, W)
    target: Tensor  # (1, 3, H, W)
    mask: Tensor  # (1, 1, H, W), 0 or 1: where the pictures differ, and all of moved subjects
    before: Tensor  # (1, 1, H, W) the first subject in the source
    kept: Tensor  # (1, 1, H, W) the first subject in the target; 0 where it is gone
    requested: Tensor  # (1, 1, H, W) where the judge looks for the change


@dataclass(frozen=True)
class WorldEditCase:
    """A picture of the larger world, and one of the same noise in which one thing is otherwise."""

    name: str
    kind: WorldChange
    code: str  # the subject before
    seed: int
    source_prompt: str
    target_prompt: str
    place: str  # before, as all of the setting
    time: str
    weather: str
    season: str
    before: str = ""  # the answer to the question that the kind asks
    after: str = ""
    other_code: str = ""  # the subject that comes; empty where none does
    view: tuple[float, float] | None = None  # requested yaw and pitch in degrees
    has_reference: bool = False  # a picture of the new subject is given

    @property
    def question(self) -> str:
        """What is answered otherwise afterwards; empty where subjects come or go."""
        if self.kind in ANSWERS:
            return ANSWERS[self.kind][0]
        return self.kind.value if self.kind.value in Setting._fields else ""

    @property
    def requested(self) -> SceneSpec:
        """What the picture shows before."""
        plain = SceneSpec(setting_of(self.place, self.time, self.weather, self.season))
        return with_answer(plain, self.question, self.before) if self.kind in ANSWERS else plain

    @property
    def wanted(self) -> SceneSpec:
        """What it shows afterwards."""
        if self.kind in ANSWERS:
            return with_answer(self.requested, self.question, self.after)
        if not self.question:
            return self.requested
        index = WHOLE_QUESTIONS[self.question].index(self.after)
        return SceneSpec(self.requested.setting._replace(**{self.question: index}))


@dataclass(frozen=True, eq=False)
class WorldEditBenchmark(EditBenchmark[WorldEditCase]):
    """Deals edits of held-out subjects in the larger world and draws them."""

    subjects: Subjects
    seed: int = 0
    size_px: int = SIZE_PX

    name = "world-edits"
    title = "Edits of the larger world"
    metrics = (
        "wish-success",
        "wish-success-in-words",
        "recognition-kept",
        "inside-psnr",
        "mask-iou",
        "outside-psnr",
        "pitch-error",
        "stray-pixels",
        "time",
        "yaw-error",
    )
    ranked_by = ("wish-success", "inside-psnr")

    candidates = MappingProxyType(
        {
            "edit": "edit",
            "naive": "naive paste",
            "target": "exact target",
            "source": "untouched source",
        }
    )
    bound = "target"
    strip = MappingProxyType(
        {
            "source": "before",
            "edit": "after",
            "target": "target",
            "mask": "true mask",
            "edit-mask": "used mask",
            "naive": "naive paste",
            "reference": "reference",
        }
    )

    @cached_property
    def plain(self) -> WorldBenchmark:
        return WorldBenchmark(self.subjects, seed=self.seed, size_px=self.size_px)

    @property
    def fingerprint(self) -> str:
        return self.plain.fingerprint

    def cases(
        self, count: int = CASES_A_KIND, *, kinds: Collection[str] = ()
    ) -> list[WorldEditCase]:
        """Deal `count` cases of each kind; subjects, places and answers come evenly.

        Of each kind a longer list starts with the shorter one. Settings are such as training knows.
        Without `kinds` all are dealt.

        Raises:
            ConfigError: The pack holds out fewer than two subjects.
        """
        if len(self.plain.world.pool) < 2:  # a subject and the one that replaces it
            raise ConfigError(
                f"The pack has {len(self.plain.world.pool)} held-out subjects; an edit takes two. "
                "Use the full pack of `swiftpie data prepare`."
            )
        chosen = [kind for kind in TITLES if not kinds or kind in kinds]
        return [case for kind in chosen for case in islice(self._deal(kind), count)]

    def answer(self, case: WorldEditCase) -> EditAnswer:
        world, noise = self.plain.world, self.plain.noise(case.seed)
        # A subject makes room for what it will wear, which must not count as a change of its own.
        placed_as = case.wanted if case.kind is WorldChange.PUT_ON else case.requested
        subject, other = (
            world.figures(noise, [row], [placed_as], numbers=_numbers(case))
            for row in (self.subjects.index(code) for code in (case.code, self._judged(case)))
        )
        first = world.draw(noise, subject, [case.requested])
        aside = self.plain.noise(case.seed + OTHER_SEED)
        drawn = redraw(
            world,
            noise,
            first,
            subject,
            [EditSpec(case.kind, case.wanted)],
            others=stand_aside(aside, subject, other, [case.requested]),
        )
        requested = {WorldChange.REMOVAL: first.mask, WorldChange.SECOND: drawn.second}
        return EditAnswer(
            source=first.pixels,
            target=drawn.pixels,
            mask=drawn.mask,
            before=first.mask,
            kept=torch.zeros_like(first.mask) if case.kind in GONE else drawn.subject,
            requested=requested.get(case.kind, drawn.subject),
        )

    def task(self, case: WorldEditCase) -> EditTask:
        """Return the case with all that is known of it, through 8 bits as files are.

        Judges look at the reference; the drawer gets it only where the case has one.
        """
        answer, (pixels, cover) = self.answer(case), self.reference(case)
        source, reference = to_pil(answer.source)[0], to_pil(pixels)[0]
        mask = mask_to_pil(cover)[0]
        return EditTask(
            name=case.name,
            source=source,
            source_prompt=case.source_prompt,
            target_prompt=case.target_prompt,
            mask=answer.mask,
            seed=case.seed,
            reference=reference if case.has_reference else None,
            reference_mask=mask if case.has_reference else None,
            known={
                "source": source,
                "target": to_pil(answer.target)[0],
                "mask": answer.mask,
                "before-mask": answer.before,
                "kept-mask": answer.kept,
                "requested-mask": answer.requested,
                "reference": reference,
                "reference-mask": mask,
            },
        )

    def reference(self, case: WorldEditCase) -> tuple[Tensor, Tensor]:
        """Return a picture of the subject that judges look for, and its mask."""
        row = self.subjects.index(self._judged(case))
        return self.plain.world.references([row], _numbers(case))

    def evidence(
        self, case: WorldEditCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        source, target = (to_tensor(results.read(case, kind)) for kind in ("source", "target"))
        mask, before, kept, requested = (
            results.read_mask(case, kind)
            for kind in ("mask", "before-mask", "kept-mask", "requested-mask")
        )
        expected = self.expected(case, requested=requested)
        shown = shown_reference(case, results)
        is_free = case.kind is WorldChange.SECOND  # words do not say where it goes
        known = Evidence(
            picture=source,
            truth=target,
            source=source,
            mask=None if is_free else mask,
            prompt=case.target_prompt,
            expected=expected,
            kept=Kept(code=case.code, before=before, after=kept),
            networks=networks,
        )
        for candidate in self.candidates:
            if candidate == "edit":
                one = with_edit(known, case, results)
            elif results.has(case, candidate):
                one = replace(known, picture=to_tensor(results.read(case, candidate)))
            else:
                continue
            looked_for = expected
            if is_free and one.claimed is not None and bool(one.claimed.any()):
                looked_for = replace(expected, where=one.claimed)
            reading = read_by(networks.panel, one.picture, looked_for, reference=shown)
            yield candidate, replace(one, expected=looked_for, reading=reading)

    def words(self, case: WorldEditCase) -> list[str]:
        return [case.source_prompt, f"→ {case.target_prompt}"]

    def expected(self, case: WorldEditCase, *, requested: Tensor) -> Expected:
        """Return what judges should see; a subject hidden by its place answers nothing."""
        is_seen = float(requested.mean()) > LEAST_SEEN
        match case.kind:
            case WorldChange.SUBJECT | WorldChange.SECOND:
                return Expected(where=requested, subject=case.other_code if is_seen else "")
            case WorldChange.REMOVAL:
                gone, answers = case.code if is_seen else "", {"place": case.place}
                return Expected(where=requested, gone=gone, answers=answers)
            case WorldChange.VIEW:
                return Expected(where=requested, view=case.view if is_seen else None)
            case _:
                is_answered = is_seen or case.question in WHOLE_QUESTIONS
                answers = {case.question: case.after} if is_answered else {}
                return Expected(where=requested, answers=answers)

    def groups(self, rows: Sequence[Row[WorldEditCase]]) -> dict[str, list[Row[WorldEditCase]]]:
        found = {
            title: [row for row in rows if row.case.kind is kind] for kind, title in TITLES.items()
        }
        return {title: chosen for title, chosen in found.items() if chosen}

    def _judged(self, case: WorldEditCase) -> str:
        return case.other_code or case.code

    def _deal(self, kind: WorldChange) -> Iterator[WorldEditCase]:
        random = Random(f"{self.seed}:edit:{kind.name}")
        known = [setting for setting in self.plain.world.settings if not is_held_out(setting)]
        order = deal_evenly(
            random, self.plain.world.pool, [setting for setting in known if _fits(kind, setting)]
        )
        dealt, numbers = Counter[str](), count()
        for row, setting in order:
            first = SceneSpec(setting)
            if kind is WorldChange.TAKE_OFF:
                first = random.choice(alternatives(first, WorldChange.PUT_ON, known))
            ways = {
                _answer(kind, alternative): alternative
                for alternative in alternatives(first, kind, known)
            }
            ways.pop("front", None)  # most subjects are seen so anyway
            if not ways:  # what this place could be like else is all held out
                continue
            said = min(ways, key=lambda answer: (dealt[answer], random.random()))
            dealt[said] += 1
            before = _answer(kind, first)
            yield self._case(
                kind, next(numbers), row, wishes=(first, ways[said]), said=(before, said)
            )

    def _case(
        self,
        kind: WorldChange,
        number: int,
        row: int,
        *,
        wishes: tuple[SceneSpec, SceneSpec],
        said: tuple[str, str],
    ) -> WorldEditCase:
        random = Random(f"{self.seed}:edit:{kind.name}:{number}")
        (first, wanted), code, name = wishes, self.subjects.codes[row], self.subjects.names[row]
        other = ""
        if kind in OTHER_COMES:
            names = self.subjects.names
            pool = [row for row in self.plain.world.pool if names[row] != name]
            other = self.subjects.codes[random.choice(pool)]
        place_index, time, weather, season = first.setting
        case = WorldEditCase(
            name=f"{kind.value.replace('_', '-')}-{number:04d}-{code}",
            kind=kind,
            code=code,
            seed=EDIT_SEED + self.seed + KIND_SEED * [*TITLES].index(kind) + number,
            source_prompt=draw_caption(FirstPhrase(), first, name=name),
            target_prompt=self._target_prompt(kind, wanted, name, other),
            place=PLACE_NAMES[place_index],
            time=TIMES[time],
            weather=WEATHERS[weather],
            season=SEASONS[season],
            before=said[0],
            after=said[1],
            other_code=other,
            has_reference=kind is WorldChange.SUBJECT and number % 2 == 1,
        )
        return self._settled(case)

    def _target_prompt(self, kind: WorldChange, wanted: SceneSpec, name: str, other: str) -> str:
        come = self.subjects.names[self.subjects.index(other)] if other else name
        match kind:
            case WorldChange.REMOVAL:
                return draw_empty_caption(FirstPhrase(), wanted.setting)
            case WorldChange.SECOND:
                return draw_pair_caption(FirstPhrase(), wanted, names=(name, come))
            case _:
                return draw_caption(FirstPhrase(), wanted, name=come)

    def _settled(self, case: WorldEditCase) -> WorldEditCase:
        """Return the case with noise that leaves room for a second subject, and with its view."""
        match case.kind:
            case WorldChange.SECOND:
                seeds = count(case.seed, NEXT_SEED)
                return replace(
                    case, seed=next(seed for seed in seeds if self._has_room(case, seed))
                )
            case WorldChange.VIEW:
                yaw, pitch = torch.rad2deg(seen_view(self._layout(case, case.seed))[0]).tolist()
                return replace(case, view=(yaw, pitch))
            case _:
                return case

    def _has_room(self, case: WorldEditCase, seed: int) -> bool:
        return abs(float(self._layout(case, seed).centre[0, 0]) - 0.5) > LEAST_ASIDE

    def _layout(self, case: WorldEditCase, seed: int) -> Layout:
        frames = frames_of(self.subjects, [case.code])
        return place(self.plain.noise(seed), frames, [case.wanted])


def _fits(kind: WorldChange, setting: Setting) -> bool:
    """Whether the place can change in this way."""
    spot = PLACES[setting.place]
    match kind:
        case WorldChange.TIME | WorldChange.WEATHER:
            return spot.outdoors
        case WorldChange.SEASON:
            return spot.has_seasons
        case WorldChange.SECOND:
            return spot.foreground is None
        case _:
            return True


def _answer(kind: WorldChange, requested: SceneSpec) -> str:
    """Return the requested answer as judges spell it; empty where subjects come or go."""
    if kind in ANSWERS:
        return str(getattr(requested, ANSWERS[kind][0]))
    if kind.value in Setting._fields:
        return WHOLE_QUESTIONS[kind.value][getattr(requested.setting, kind.value)]
    return ""


def _numbers(case: WorldEditCase) -> Tensor:
    """Return what decides roundness, and the reference's wall and light, (1, 16)."""
    return torch.rand(1, 16, generator=torch.Generator().manual_seed(case.seed + REFERENCE_SEED))


def open_world_edits(
    *,
    judges: given.WorldJudges = None,
    mask: given.MaskName = "found",
    results: given.Finished = None,
    cases: given.CasesAKind = CASES_A_KIND,
    kinds: EditKinds = None,
    scales: given.EditScales,
    rules: given.EditRules,
    loading: given.LoadedToEditInSizes,
    data: DataPath = None,
    seed: given.Seed = 0,
) -> Trial[WorldEditCase]:
    """Judge edits with subjects that no model was trained on.

    Restyled, relit, turned, recoloured, added, removed, replaced: one noise is drawn twice, before
    and after, so the answer and its mask are exact. The answer, the untouched source and a naive
    paste are judged as well. An interrupted run goes on where it stopped.
    """
    size_px = side_of(loading, own_px=None if results is None else SIZE_PX)
    benchmark = WorldEditBenchmark(open_pack(data), seed=seed, size_px=size_px)
    dealt = benchmark.cases(cases, kinds=read_kinds(kinds, TITLES))

    def own() -> EditDrawer[WorldEditCase]:
        return EditDrawer(
            benchmark,
            open_model(loading),
            MaskChoice(mask),
            replace(rules, scales=Scales(**scales)),
            draws_naive=True,
        )

    choices = {"mask": mask != "found"} | dict.fromkeys(scales, True)
    choices |= changed(rules)
    drawer = drawer_of(benchmark, dealt, results, loading, own, **choices)
    return Trial(benchmark, dealt, drawer, Networks(panel=benchmark.plain.panel(judges)))


BENCHMARK = BenchmarkCommand(
    open_world_edits,
    (
        "swiftpie evaluate world-edits",
        "swiftpie evaluate world-edits --weights runs/mini_world/export --out out/mine",
        "swiftpie evaluate world-edits --kinds pose,put_on --cases 6 --by-name --out out/poses",
    ),
)
