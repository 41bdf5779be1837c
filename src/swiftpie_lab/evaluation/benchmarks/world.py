"""The larger world: held-out subjects in settings, views, light, looks, art, poses and pairs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
import typer
from PIL import Image
from torch import Tensor

from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import Layout, from_box, seen_view
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.lexicon import TEXTURED
from swiftpie.masks import Box
from swiftpie.mini.scene import UNSEEN_ARTS
from swiftpie.noise import draw_noise
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject, read_scene
from swiftpie.pipelines.settings import MaskSource
from swiftpie.types import GenerationResult, Picture
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.bounds import (
    NO_SUBJECT,
    REFERENCES,
    SUBJECT_MASKS,
    check_noise,
    paste_all,
)
from swiftpie_lab.evaluation.case import Case, Evidence, Expected, Row
from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial, open_model, open_pack, side_of
from swiftpie_lab.evaluation.judges import JudgeReading, Networks, Panel, load_panel
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, Results, maker_of
from swiftpie_world.air import SEASONS, TIMES, WEATHERS, Setting
from swiftpie_world.captions import (
    ATTRIBUTE_QUESTIONS,
    CLOSE_QUESTIONS,
    POSE_PHRASES,
    POSES,
    VIEWS,
    WHOLE_QUESTIONS,
    SceneSpec,
    draw_caption,
    draw_pair_caption,
    right_answers,
)
from swiftpie_world.compositor import GroundTruth, PlacedSprite, Rendering
from swiftpie_world.fields import read_fields
from swiftpie_world.frames import lowest_point, pose_subjects
from swiftpie_world.placement import place
from swiftpie_world.places import PLACES, draw_places, is_held_out, settings
from swiftpie_world.sampler import CELL_PX, LEAST_SEEN, NOISE_CHANNELS, World
from swiftpie_world.subjects import Subjects

Scenes = Annotated[
    Literal["rendering", "words"],
    typer.Option(
        "--scenes",
        help="Where places come from: pictures of them that training does not hold, or the "
        "model's words alone.",
    ),
]
KindNames = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        metavar="A,B",
        help="Only cases of these kinds, named as in the report, such as look,pose; by default "
        "all.",
    ),
]

SIZE_PX = 256  # by default, as mini draws
CASES_A_KIND = 20  # by default; all of them take some minutes on a laptop
# Distances of seeds, all below 2**32: of larger ones PyTorch's generator reads the low half alone.
KIND_SEED = 2**24  # between two kinds
SCENERY_SEED = 2**33  # far from the seeds of cases, training and library
NEXT_SEED = 2**16  # step to the next seed, where noise gives too small a turn
REFERENCE_SEED = 2**30  # what decides a reference does not decide the picture
GALLERY_SEED = 2**31  # far from all cases
WIDE_YAW = 30.0  # degrees; turns by value are no smaller, where they are to a side

# Backdrops of the gallery.
BACKDROPS = ("white backdrop", "blue backdrop", "green backdrop", "pink backdrop")
PLACE_NAMES = tuple(place.name for place in PLACES)

T = TypeVar("T")

# Boxes of two subjects side by side, in sides of the picture.
CENTRES = (0.26, 0.74)  # across the picture
SIDE = 0.43  # side of each box; the two do not touch
SHIFT = 0.03  # boxes move by up to so much across
HEIGHT, HEIGHT_RANGE = 0.35, 0.3  # height of the centres of things that float


class WorldKind(StrEnum):
    """What a case tries."""

    PLAIN = "trained setting"
    COMPOSED = "new setting"
    VIEW = "view in words"
    TURN = "view by value"
    LIGHT = "other light"
    LOOK = "look"
    ART = "rendition"
    POSE = "pose"
    PAIR = "two subjects"


K = TypeVar("K", bound=StrEnum)


def read_kinds(names: str | None, kinds: Iterable[K]) -> list[K]:
    """Return the kinds with these `names`, separated by commas; all of them without any."""
    known = {kind.value: kind for kind in kinds}
    chosen = [*known] if names is None else [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in known:
            raise ConfigError(
                f"There are no cases of the kind {name!r}. Known are {', '.join(known)}. Choose "
                "among those, with commas between them."
            )
    return [kind for name, kind in known.items() if name in chosen]


WISHES: Mapping[WorldKind, Sequence[tuple[str, str]]] = MappingProxyType(
    {
        **dict.fromkeys(WorldKind, (("", ""),)),
        WorldKind.VIEW: [("view", view) for view in VIEWS],
        WorldKind.TURN: [("view", view) for view in VIEWS if view != "front"],
        WorldKind.LOOK: [
            (name, look)
            for name in ("colour", "material")
            for look in CLOSE_QUESTIONS[name][1:]
            if look not in TEXTURED
        ],
        WorldKind.ART: [
            ("rendition", name)
            for name in WHOLE_QUESTIONS["rendition"][1:]
            if name not in UNSEEN_ARTS
        ],
        WorldKind.POSE: [("pose", name) for name in tuple(POSE_PHRASES)[1:]],
    }
)
"""What a case of each kind may ask for besides its setting, as question and answer."""

USES: Mapping[str, WorldKind] = MappingProxyType(
    {
        "in a place": WorldKind.PLAIN,
        "from a side": WorldKind.VIEW,
        "in a colour, of a material": WorldKind.LOOK,
        "as art": WorldKind.ART,
    }
)
"""What a subject is wanted for, and the cases that try it."""


def setting_of(place: str, time: str, weather: str, season: str) -> Setting:
    """Return a setting in words as the renderer takes it."""
    return Setting(
        PLACE_NAMES.index(place), TIMES.index(time), WEATHERS.index(weather), SEASONS.index(season)
    )


@dataclass(frozen=True)
class WorldCase:
    """Subject, setting, at most one wish, and the seed: together they have one right picture."""

    name: str
    kind: WorldKind
    code: str  # the subject in its pack
    subject: str  # its name in words
    prompt: str
    seed: int
    place: str
    time: str  # like weather and season, said only where the place has any
    weather: str
    season: str
    wish: str = ""  # a question
    answer: str = ""  # what is wished
    view: tuple[float, float] | None = None  # yaw and pitch in degrees that the wish comes to
    other_code: str = ""  # the right one of two subjects
    other_subject: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """The subjects, from left to right."""
        return (self.code, self.other_code) if self.other_code else (self.code,)

    @property
    def requested(self) -> SceneSpec:
        """The same as the renderer takes it."""
        setting = setting_of(self.place, self.time, self.weather, self.season)
        return SceneSpec(setting, **({self.wish: self.answer} if self.wish else {}))

    @property
    def given_view(self) -> tuple[float, float] | None:
        """The view that models get as a value; None leaves it to words and noise."""
        return self.view if self.kind is WorldKind.TURN else None


@dataclass(frozen=True, eq=False)
class WorldBenchmark(Benchmark[WorldCase]):
    """Deals cases of every kind and draws their references and right answers."""

    subjects: Subjects
    seed: int = 0  # decides all cases
    size_px: int = SIZE_PX  # side of all pictures

    name = "world"
    title = "The larger world"
    metrics = (
        "subject-recognition",
        "subject-mistaken",
        "setting-accuracy",
        "wish-accuracy",
        *(f"{name}-accuracy" for name in (*Setting._fields, *ATTRIBUTE_QUESTIONS)),
        "yaw-error",
        "pitch-error",
        "lighting-error",
        "mask-iou",
        "psnr",
        "sharpness-background",
        "sharpness-subject",
        "subject-psnr",
    )
    candidates = MappingProxyType(
        {
            "model": "model",
            "truth": "truth",
            "text": "text only",
            "paste": "naive paste",
            "turned": "turned paste",
        }
    )
    bound = "truth"
    strip = MappingProxyType({"reference": "reference", **candidates})
    ranked_by: ClassVar[tuple[str, ...]] = ("subject-psnr",)

    @cached_property
    def world(self) -> World:
        """The held-out half of the subjects."""
        return World(self.subjects, "held_out", size_px=self.size_px)

    @property
    def fingerprint(self) -> str:
        return sha256(f"{self.subjects.fingerprint} {self.size_px}".encode()).hexdigest()

    def noise(self, *seeds: int) -> Tensor:
        """Draw the noise (B, C, h, w) of pictures."""
        cells = self.size_px // CELL_PX
        return draw_noise(seeds, (NOISE_CHANNELS, cells, cells))

    def cases(self, count: int = CASES_A_KIND) -> list[WorldCase]:
        """Deal `count` cases of each kind; subjects, places and wishes come evenly.

        Of each kind a longer list starts with the shorter one.
        """
        return [case for kind in WorldKind for case in self.deal(kind, count)]

    def uses(self, count: int) -> list[list[WorldCase]]:
        """Deal `count` subjects, each one case of every use in `USES`."""
        dealt = [self.deal(kind, count) for kind in USES.values()]
        rows = []
        for number, cases in enumerate(zip(*dealt, strict=True)):
            row = self.subjects.index(cases[0].code)  # all cases take the row of the first one
            rows.append(
                [
                    self._case(
                        case.kind, number, row, case.requested.setting, (case.wish, case.answer)
                    )
                    for case in cases
                ]
            )
        return rows

    def draw_uses(
        self, session: Session, rows: Sequence[Sequence[WorldCase]]
    ) -> Iterator[list[Image.Image]]:
        """Yield each row of `uses` when it is drawn: the reference, then a picture a case."""
        for cases in rows:
            known = self.known(cases[0])
            identity = session.encode_identity(known["reference"], masks=known["reference-mask"])
            drawn = [
                draw_own(session, [Subject(identity)], case.prompt, seed=case.seed)
                for case in cases
            ]
            yield [known["reference"], *(result.images[0] for result in drawn)]

    def answer(self, case: WorldCase) -> GroundTruth:
        return self.world.answer(
            self.noise(case.seed),
            [self.subjects.index(case.code)],
            [case.requested],
            numbers=self._numbers(case, 1),
            opposed=case.kind is WorldKind.LIGHT,
        )

    def boxes(self, case: WorldCase) -> tuple[Box | None, ...]:
        """Return the box of each subject; a single one has none, the model places it."""
        if not case.other_code:
            return (None,)
        return self._two_boxes(case, self._figures(case)[0])

    def layouts(self, case: WorldCase) -> tuple[Layout, ...]:
        """Return where each subject is in the truth."""
        figures, _ = self._figures(case)
        if not case.other_code:
            return (figures.layout,)
        return tuple(from_box(box) for box in self._two_boxes(case, figures))

    def posture(self, case: WorldCase) -> dict[str, Any]:
        """Return what requests ask for so that the one subject leans and faces as in the truth.

        Pictures for users are upright and not mirrored, whatever their noise says. A model turns
        a subject by itself where the prompt asks for it.
        """
        if case.other_code:
            return {}
        (layout,) = self.layouts(case)
        is_turned = case.wish == "pose" and POSES[case.answer][0] > 0
        tilt = 0.0 if is_turned else math.degrees(float(layout.rotation))
        return {"flip": bool(layout.flip > 0), "tilt": tilt}

    def pair(self, case: WorldCase) -> tuple[Rendering, tuple[Tensor, Tensor]]:
        """Draw two subjects side by side, and their references (2, 3, H, W) with masks."""
        both, numbers = self._figures(case)
        left, right = (
            PlacedSprite(both.frames[i : i + 1], both.relief[i : i + 1], from_box(box))
            for i, box in enumerate(self._two_boxes(case, both))
        )
        noise = self.noise(case.seed)
        rendering = self.world.draw(noise, left, [case.requested], companion=right)
        rows = [self.subjects.index(code) for code in case.codes]
        return rendering, self.world.references(rows, numbers)

    def scenery(self, case: WorldCase) -> Image.Image:
        """Return the place of a case in plain daylight, drawn from noise of its own."""
        fields = read_fields(self.noise(SCENERY_SEED + case.seed), size_px=self.size_px)
        plain = Setting(case.requested.setting.place)
        return to_pil(2 * draw_places(fields, [plain]).pixels - 1)[0]

    def standing(self, case: WorldCase, layout: Layout) -> Rendering:
        """Draw the answer with its subject where `layout` has it, as a model may place it."""
        subject = self._figures(case)[0]._replace(layout=layout)
        return self.world.draw(self.noise(case.seed), subject, [case.requested])

    def seen_from(self, case: WorldCase, pose: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return a reference in `pose` (1, 4), before a wall by `numbers` (1, 16)."""
        subject, _ = self._figures(case)
        return self.world.seen_in(pose, subject.frames, subject.relief, numbers)

    def _numbers(self, case: WorldCase, count: int) -> Tensor:
        """Return what decides roundness, and the wall and light of references, (count, 16)."""
        generator = torch.Generator().manual_seed(case.seed + REFERENCE_SEED)
        return torch.rand(count, 16, generator=generator)

    def _figures(self, case: WorldCase) -> tuple[PlacedSprite, Tensor]:
        """Return the subjects of a case where its noise places them, and their numbers."""
        count, numbers = len(case.codes), self._numbers(case, len(case.codes))
        rows = [self.subjects.index(code) for code in case.codes]
        noise = self.noise(case.seed).expand(count, -1, -1, -1)
        return self.world.figures(noise, rows, [case.requested] * count, numbers=numbers), numbers

    def _two_boxes(self, case: WorldCase, figures: PlacedSprite) -> tuple[Box, ...]:
        spot = PLACES[case.requested.setting.place]
        floor = spot.floor if spot.grounded else None
        return boxes_side_by_side(figures.frames, Random(case.seed), floor=floor)

    def known(self, case: WorldCase) -> dict[str, Image.Image]:
        if case.other_code:
            truth, (pixels, covers) = self.pair(case)
            shown = [*zip(pixels.split(1), covers.split(1), strict=True)]
        else:
            answer = self.answer(case)
            truth, shown = answer.rendering, [(answer.reference, answer.reference_mask)]
        masks = zip(SUBJECT_MASKS, (truth.mask, truth.companion_mask)[: len(shown)], strict=False)
        pictures = {"truth": to_pil(truth.pixels)[0]}
        pictures |= {kind: mask_to_pil(mask)[0] for kind, mask in masks}
        for kind, (pixels, mask) in zip(REFERENCES, shown, strict=False):
            pictures[kind] = to_pil(pixels)[0]
            pictures[f"{kind}-mask"] = mask_to_pil(mask)[0]
        return pictures

    def panel(self, folder: Path | None = None) -> Panel:
        """Read judges, by default the package's, and show them every held-out subject."""
        codes = [self.subjects.codes[row] for row in self.world.pool]
        return load_panel(codes, self.gallery(), folder=folder)

    def gallery(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pictures (V, 3, H, W) and masks (V, 1, H, W) of each held-out subject."""
        requested = [SceneSpec(Setting(PLACE_NAMES.index(name))) for name in BACKDROPS]
        views = len(requested)
        for number, row in enumerate(self.world.pool):
            seeds = [GALLERY_SEED + number * views + view for view in range(views)]
            noise = self.noise(*seeds)
            generator = torch.Generator().manual_seed(seeds[0] + REFERENCE_SEED)
            numbers = torch.rand(views, 16, generator=generator)
            rendering = self.world.answer(
                noise, [row] * views, requested, numbers=numbers
            ).rendering
            yield rendering.pixels, rendering.mask

    def evidence(
        self, case: WorldCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the model's picture, the truth and the bounds that the case has."""
        truth = to_tensor(results.read(case, "truth"))
        for code, kind, mask_kind in zip(case.codes, REFERENCES, SUBJECT_MASKS, strict=False):
            mask, shown = results.read_mask(case, mask_kind), shown_reference(case, results, kind)
            expected = expected_of(case, mask, code)
            claims = self.claims(case, results, mask)
            for candidate in self.candidates:
                if not results.has(case, candidate):
                    continue
                picture = to_tensor(results.read(case, candidate))
                reading = read_by(networks.panel, picture, expected, reference=shown)
                yield (
                    candidate,
                    Evidence(
                        picture=picture,
                        truth=truth,
                        mask=mask,
                        claimed=claims.get(candidate),
                        prompt=case.prompt,
                        expected=expected,
                        reading=reading,
                        networks=networks,
                    ),
                )

    def claims(self, case: WorldCase, results: Results, mask: Tensor) -> dict[str, Tensor]:
        """Return masks (1, 1, H, W) by candidate; of two subjects the model's is the first's."""
        if case.other_code:
            return {}
        return {"model": results.read_mask(case, "model-mask"), "truth": mask}

    def words(self, case: WorldCase) -> list[str]:
        view = case.given_view
        return [
            case.prompt,
            *([] if view is None else [f"yaw {view[0]:.0f}°, pitch {view[1]:.0f}°"]),
        ]

    def groups(self, rows: Sequence[Row[WorldCase]]) -> dict[str, list[Row[WorldCase]]]:
        kinds: defaultdict[str, list[Row[WorldCase]]] = defaultdict(list)
        for row in rows:
            kinds[row.case.kind.value].append(row)
        return dict(kinds)

    def facts(self, rows: Sequence[Row[WorldCase]]) -> dict[str, object]:
        return {
            "num_subjects": len({code for row in rows for code in row.case.codes}),
            "num_places": len({row.case.place for row in rows}),
            "gallery_size": len(self.world.pool),  # subjects that the right one is one of
        }

    def sentences(self, rows: Sequence[Row[WorldCase]]) -> list[str]:
        facts = self.facts(rows)
        return [
            f"{len(rows)} cases with {facts['num_subjects']} subjects never seen in training, in "
            f"{facts['num_places']} places; the right subject is one of {facts['gallery_size']}. "
            "Brackets hold 95 % bootstrap intervals over cases; arrows point to the better side."
        ]

    def deal(self, kind: WorldKind, number: int) -> Iterator[WorldCase]:
        """Yield `number` cases of one kind; of a longer list the first ones are the same."""
        random = Random(f"{self.seed}:{kind.name}")
        fitting = [setting for setting in settings() if _fits(kind, setting)]
        order = deal_evenly(random, self.world.pool, fitting)
        wishes = random.sample(WISHES[kind], len(WISHES[kind]))
        for i, (subject, setting) in zip(range(number), order, strict=False):
            yield self._case(kind, i, subject, setting, wishes[i % len(wishes)])

    def _case(
        self, kind: WorldKind, number: int, row: int, setting: Setting, wish: tuple[str, str]
    ) -> WorldCase:
        code, name = self.subjects.codes[row], self.subjects.names[row]
        index = list(WorldKind).index(kind)
        case = WorldCase(
            name=f"{kind.name.lower()}-{number:04d}-{code}",
            kind=kind,
            code=code,
            subject=name,
            prompt="",
            seed=self.seed + KIND_SEED * (1 + index) + number,
            place=PLACE_NAMES[setting.place],
            time=TIMES[setting.time],
            weather=WEATHERS[setting.weather],
            season=SEASONS[setting.season],
            wish=wish[0],
            answer=wish[1],
        )
        if kind is WorldKind.PAIR:
            return self._with_another(case, number)
        said = (
            replace(case.requested, view=SceneSpec.view)
            if kind is WorldKind.TURN
            else case.requested
        )
        case = replace(case, prompt=draw_caption(FirstPhrase(), said, name=name))
        return self._viewed(case) if case.wish == "view" else case

    def _with_another(self, case: WorldCase, number: int) -> WorldCase:
        """Return the case with a second subject, each time another one."""
        pool = self.world.pool
        first, lap = pool.index(self.subjects.index(case.code)), number // len(pool)
        row = pool[(first + 1 + lap % (len(pool) - 1)) % len(pool)]
        code, names = self.subjects.codes[row], (case.subject, self.subjects.names[row])
        prompt = draw_pair_caption(FirstPhrase(), case.requested, names=names)
        return replace(
            case, name=f"{case.name}-{code}", prompt=prompt, other_code=code, other_subject=names[1]
        )

    def _viewed(self, case: WorldCase) -> WorldCase:
        """Return the case with the view that its noise gives, and noise that turns it enough."""
        frames = frames_of(self.subjects, [case.code])
        is_wide = case.kind is WorldKind.TURN and case.answer in {"left", "right"}
        for seed in count(case.seed, NEXT_SEED):
            layout = place(self.noise(seed), frames, [case.requested])
            yaw, pitch = torch.rad2deg(seen_view(layout)[0]).tolist()
            if not is_wide or abs(yaw) >= WIDE_YAW:
                break
        return replace(case, seed=seed, view=(yaw, pitch))


@dataclass(frozen=True, eq=False)
class WorldDrawer:
    """Draws cases with a session, and what bounds its pictures."""

    session: Session
    benchmark: WorldBenchmark
    scenes: Literal["rendering", "words"] = "rendering"  # where places come from

    def __post_init__(self) -> None:
        check_noise(self.session.components, side_px=self.benchmark.size_px)

    @property
    def maker(self) -> Maker:
        others = [] if self.scenes == "rendering" else [f"places from {self.scenes}"]
        return maker_of(self.session, *others)

    def kinds(self, case: WorldCase) -> tuple[str, ...]:
        references = REFERENCES[: len(case.codes)]
        masks = [*SUBJECT_MASKS[: len(case.codes)], *(f"{kind}-mask" for kind in references)]
        drawn = ["model", "model-mask", "text", "paste"]
        if case.view is not None:
            drawn.append("turned")
        return (*references, "truth", *masks, *drawn)

    def draw(self, case: WorldCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        known = self.benchmark.known(case)
        yield from known.items()
        if not missing - {*known}:
            return
        subjects = [
            Subject(
                self.session.encode_identity(known[kind], masks=known[f"{kind}-mask"]),
                box=box,
                view=case.given_view,
            )
            for kind, box in zip(REFERENCES, self.benchmark.boxes(case), strict=False)
        ]
        shown: dict[str, Any] = {"seed": case.seed, "scene": self._scene(case)}
        shown |= self.benchmark.posture(case)
        if missing & {"model", "model-mask"}:
            # A box keeps each of two subjects to its own place; a single one has all.
            source = MaskSource.BOX if case.other_code else MaskSource.NONE
            result = draw_own(self.session, subjects, case.prompt, mask=source, **shown)
            yield "model", result.images[0]
            yield "model-mask", result.subject_masks[0]
        if missing & {"text", "paste", "turned"}:
            plain = draw_own(
                self.session,
                subjects,
                case.prompt,
                seed=case.seed,
                scene=WORDS_ALONE,
                scales=NO_SUBJECT,
            )
            scenery = plain.images[0]
            yield "text", scenery
            layouts = self.benchmark.layouts(case)
            for kind in missing & {"paste", "turned"}:
                yield kind, paste_all(known, layouts, scenery=scenery, is_turned=kind == "turned")

    def _scene(self, case: WorldCase) -> Any:  # noqa: ANN401 - as sessions take it
        has_no_place = self.scenes == "words" or case.kind in {WorldKind.ART, WorldKind.POSE}
        return WORDS_ALONE if has_no_place else self.benchmark.scenery(case)


def draw_own(
    session: Session,
    subjects: Sequence[Subject],
    prompt: str,
    *,
    seed: int,
    scene: Picture = "",
    **options: Any,  # noqa: ANN401 - fields of the request
) -> GenerationResult:
    """Draw a prompt of the benchmark's own, whose words are no mistake of a user to warn of.

    Pictures are as large as the renderings that they are compared with.
    """
    side = session.components.preset.image_size_px
    request = PersonalizeRequest(
        subjects=tuple(subjects),
        prompt=prompt,
        seeds=(seed,),
        scene=read_scene(scene),
        size_px=(side, side),
        **options,
    )
    (result,) = session.draw_together([request])
    assert isinstance(result, GenerationResult), "the request is no edit"
    return result


def shown_reference(case: Case, results: Results, kind: str = REFERENCES[0]) -> Tensor:
    """Return the reference of a case as judges read it, premultiplied, (1, 4, H, W) in [0, 1]."""
    mask = results.read_mask(case, f"{kind}-mask")
    pixels = to_tensor(results.read(case, kind)) / 2 + 0.5
    return torch.cat([pixels * mask, mask], dim=1)


def read_by(
    panel: Panel | None, picture: Tensor, expected: Expected, *, reference: Tensor
) -> JudgeReading | None:
    """Return what the judges, if there are any, see where the subject should be."""
    if panel is None:
        return None
    return panel.read(picture, expected.where, reference, finds_pose=expected.has_pose)


def expected_of(case: WorldCase, mask: Tensor, code: str) -> Expected:
    """Return what judges should see of one subject; one hidden by its place answers nothing.

    Args:
        case: What was requested.
        mask: The subject in the truth, (1, 1, H, W) in [0, 1].
        code: The subject.
    """
    is_seen = float(mask.mean()) > LEAST_SEEN
    requested = {
        *Setting._fields,
        *({case.wish} if is_seen or case.wish in WHOLE_QUESTIONS else ()),
    }
    return Expected(
        where=mask,
        subject=code if is_seen else "",
        others=frozenset(case.codes) - {code} if is_seen else frozenset(),
        answers={
            name: answer
            for name, answer in right_answers(case.requested).items()
            if name in requested
        },
        view=case.view if is_seen else None,
        is_lit=case.wish in {"", "view", "pose"},  # the others change colours by themselves
    )


def _fits(kind: WorldKind, setting: Setting) -> bool:
    if kind is WorldKind.LIGHT:  # under clouds it comes from everywhere
        is_sunny = WEATHERS[setting.weather] == "clear"
        return PLACES[setting.place].outdoors and is_sunny and not is_held_out(setting)
    return is_held_out(setting) == (kind is WorldKind.COMPOSED)


def deal_evenly(
    random: Random, subjects: Sequence[int], chosen: Sequence[Setting]
) -> Iterator[tuple[int, Setting]]:
    """Return subjects in settings without end; every subject and every place comes as often."""
    by_place = defaultdict(list)
    for setting in chosen:
        by_place[setting.place].append(setting)
    first, second = (random.sample(some, len(some)) for some in (subjects, [*by_place]))
    return (
        (first[i % len(first)], random.choice(by_place[second[i % len(second)]])) for i in count()
    )


class FirstPhrase(Random):
    """Says everything by the first words of its table, the subject by its name, in one order."""

    def random(self) -> float:
        """Return what makes no rare choice."""
        return 1.0

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]  # of sequences alone
        """Return the first that is not empty, if any."""
        return next((words for words in seq if words), seq[0])

    def shuffle(self, x: MutableSequence[object]) -> None:
        """Leave the order."""


def boxes_side_by_side(
    frames: Tensor, random: Random, *, floor: tuple[float, float] | None
) -> tuple[Box, ...]:
    """Return boxes side by side, for two subjects `frames` (2, 4, H, W).

    Subjects stand between the ends of the `floor`; without one they float.
    """
    half, boxes = SIDE / 2, []
    for row, centre in enumerate(CENTRES):
        x = centre + SHIFT * random.uniform(-1, 1)
        height = random.random()
        y = HEIGHT + HEIGHT_RANGE * height
        if floor is not None:
            upright = from_box((x - half, 0.0, x + half, SIDE))
            reach = float(lowest_point(frames[row : row + 1], upright))
            y = min(floor[0] + (floor[1] - floor[0]) * height - reach, 1 - half)
        boxes.append((x - half, y - half, x + half, y + half))
    return tuple(boxes)


def frames_of(subjects: Subjects, codes: Sequence[str]) -> Tensor:
    """Return subjects as they are, as reference frames (G, 4, 128, 128)."""
    still = torch.zeros(len(codes))
    tiles = subjects.tiles[[subjects.index(code) for code in codes]]
    return pose_subjects(tiles, rotation=still, flip=still, hue=still)


def open_world(
    *,
    judges: given.WorldJudges = None,
    loading: given.LoadedInSizes,
    data: DataPath = None,
    cases: given.CasesAKind = CASES_A_KIND,
    kinds: KindNames = None,
    scenes: Scenes = "rendering",
    seed: given.Seed = 0,
) -> Trial[WorldCase]:
    """Judge a preset with subjects that it was not trained on.

    Settings, also such as were never trained on, views in words and by value, light, looks, art
    and poses: each picture has an exact answer, drawn from the same noise. An
    interrupted run goes on where it stopped.
    """
    chosen, pack = read_kinds(kinds, WorldKind), open_pack(data)
    benchmark = WorldBenchmark(pack, seed=seed, size_px=side_of(loading))
    dealt = [case for kind in chosen for case in benchmark.deal(kind, cases)]
    drawer = WorldDrawer(open_model(loading), benchmark, scenes)
    return Trial(benchmark, dealt, drawer, Networks(panel=benchmark.panel(judges)))


BENCHMARK = BenchmarkCommand(
    open_world,
    (
        "swiftpie evaluate world",
        "swiftpie evaluate world --cases 4 --weights runs/mini_world/export --out out/mine --json",
        "swiftpie evaluate world --size 128 --out out/small",
        "swiftpie evaluate world --kinds look,pose --cases 60 --out out/wishes",
    ),
)
