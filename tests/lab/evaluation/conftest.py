from dataclasses import dataclass

import pytest

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldKind
from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditBenchmark
from swiftpie_lab.evaluation.edits import NAIVE, EditBenchmark
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import FACTS, BenchmarkRun, Maker, Results, draw
from swiftpie_lab.judges import PictureReader, SubjectEmbedder
from swiftpie_world.captions import CLOSE_QUESTIONS, WHOLE_QUESTIONS

SIZE_PX = 128


@dataclass(frozen=True)
class TargetDrawer:
    """Draws edits without a flaw."""

    benchmark: EditBenchmark
    maker = Maker("exact target")

    def kinds(self, case):
        del case
        return (FACTS, NAIVE)

    def draw(self, case, missing):
        task = self.benchmark.task(case)
        if NAIVE in missing:
            yield NAIVE, task.source
        if FACTS in missing:
            yield from task.known.items()
            yield "edit", task.known["target"]
            yield "edit-mask", task.mask
            yield FACTS, {}


@pytest.fixture
def drawn(tmp_path):
    """Draws cases, and returns the folder."""

    def run(benchmark, cases, drawer):
        results = Results(tmp_path / benchmark.name)
        list(draw(benchmark, cases, drawer, results=results))
        return results

    return run


@pytest.fixture(scope="package")
def benchmark():
    return WorldBenchmark(sample_subjects(), size_px=SIZE_PX)


@pytest.fixture(scope="package")
def networks(benchmark):
    return Networks(panel=benchmark.panel())


@pytest.fixture(scope="package")
def edits():
    return WorldEditBenchmark(sample_subjects(), size_px=SIZE_PX)


@pytest.fixture(scope="package")
def world_judges(tmp_path_factory):
    folder, widths = tmp_path_factory.mktemp("judges"), (8, 8, 8, 8)
    counts = [
        {name: len(answers) for name, answers in questions.items()}
        for questions in (WHOLE_QUESTIONS, CLOSE_QUESTIONS)
    ]
    SubjectEmbedder(8, widths).save_pretrained(folder / "subject_embedder")
    PictureReader(*counts, widths).save_pretrained(folder / "picture_reader")
    return folder


@pytest.fixture
def case(benchmark):
    return next(iter(benchmark.deal(WorldKind.PLAIN, 1)))


@pytest.fixture
def run():
    return BenchmarkRun("world", version="1", preset="mini", weights="w", data="d", seed=0)
