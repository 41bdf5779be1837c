"""Engines, steps and scenes in turns on the same cases: what each costs, and what it draws."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from swiftpie.engine.session import Session
from swiftpie.pipelines.drawing.request import Subject
from swiftpie.scenes import WORDS_ALONE
from swiftpie_lab.evaluation.benchmarks.world import SceneSource, WorldCase, draw_own
from swiftpie_lab.evaluation.case import Evidence
from swiftpie_lab.evaluation.compare import FinishedRun
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.report import Interval, Table, as_json, format_interval
from swiftpie_lab.evaluation.run import File, Maker, Results, draw, maker_of, score
from swiftpie_lab.evaluation.variants import VariedScenes

WALL, PROCESSOR = "wall", "processor"
NO_ENGINE = "plain"
SENTENCE = (
    "{} cases with subjects held out from training, drawn by all in turns. Brackets hold 95 % "
    "bootstrap intervals over cases. Processor time is that of all threads together."
)


@dataclass(frozen=True, eq=False)
class TimedScenes(VariedScenes):
    """Subjects in trained settings, judged beside the time that each picture took."""

    name = "turns"
    title = "Speed and quality"
    metrics = (
        *("time", "processor-time"),
        *("subject-recognition", "setting-accuracy", "subject-psnr", "psnr"),
    )

    def evidence(
        self, case: WorldCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the model's picture with its times."""
        times = results.read_facts(case) or {}
        for kind, one in super().evidence(case, results, networks):
            yield (kind, replace(one, time_ms=times.get(WALL), processor_ms=times.get(PROCESSOR)))


@dataclass(frozen=True, eq=False)
class TimedDrawer:
    """Draws each case twice, and measures the second time."""

    session: Session
    benchmark: TimedScenes
    engine: str  # as users name it
    scenes: SceneSource

    @property
    def maker(self) -> Maker:
        """The preset, its engine and where places come from."""
        return maker_of(self.session, self.engine, self.scenes)

    @property
    def folder(self) -> str:
        """The name of its results."""
        return f"{self.engine}-{self.maker.num_steps}-{self.scenes}"

    def kinds(self, case: WorldCase) -> tuple[str, ...]:
        """Return the picture, where its subject is, and the times."""
        del case
        return ("model", "model-mask", "facts")

    def draw(self, case: WorldCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield all three."""
        del missing
        shown = self.benchmark.views(case, 1)[0]
        identity = self.session.encode_identity(shown.image, masks=shown.mask)
        scene = WORDS_ALONE if self.scenes is SceneSource.WORDS else ""
        for _ in range(2):  # weights and threads of the one before are out of the way then
            started, spent = time.perf_counter(), time.process_time()
            result = draw_own(
                Session(self.session.components),  # a fresh one has encoded no prompt yet
                [Subject(identity)],
                case.prompt,
                seed=case.seed,
                scene=scene,
            )
            took = {
                WALL: 1000 * (time.perf_counter() - started),
                PROCESSOR: 1000 * (time.process_time() - spent),
            }
        yield "model", result.images[0]
        yield "model-mask", result.subject_masks[0]
        yield "facts", took


def take_turns(
    drawers: Sequence[TimedDrawer], cases: Sequence[WorldCase], folders: Mapping[str, Results]
) -> Iterator[WorldCase]:
    """Draw every case with all drawers, each time another one first; yield it then.

    Raises:
        InputError: A folder holds pictures of another run.
    """
    for number, case in enumerate(cases):
        first = number % len(drawers)
        for drawer in (*drawers[first:], *drawers[:first]):
            for _ in draw(drawer.benchmark, [case], drawer, results=folders[drawer.folder]):
                pass
        yield case


def judge(
    drawer: TimedDrawer,
    cases: Sequence[WorldCase],
    results: Results,
    networks: Networks,
    *,
    command: str = "",
) -> None:
    """Write scores, report and page of a drawer whose pictures are all there."""
    for _ in draw(drawer.benchmark, cases, drawer, results=results):  # lists all cases
        pass
    rows = list(score(drawer.benchmark, cases, results, networks))
    write_report(drawer.benchmark, rows, results, networks, command=command)


def table_of(runs: Sequence[FinishedRun]) -> Table:
    """Return a line a run, and a column a figure."""
    lines = []
    for run in runs:
        title = f"{run.run.preset}, {run.run.num_steps} step{'s' * (run.run.num_steps > 1)}"
        cells = [
            format_interval(Interval(one.value, one.low, one.high, one.num_cases), unit=one.unit)
            for one in run.figures
        ]
        lines.append([title, *cells])
    return ["", *(figure.label for figure in runs[0].figures)], lines


def as_one_json(runs: Sequence[FinishedRun]) -> str:
    """Return the figures of all runs as one JSON object."""
    return as_json(
        {"runs": [{"run": asdict(run.run), "figures": [*map(asdict, run.figures)]} for run in runs]}
    )
