from dataclasses import dataclass

import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.world import (
    WorldBenchmark,
    WorldCase,
    WorldDrawer,
    WorldKind,
)
from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditBenchmark
from swiftpie_lab.evaluation.case import Evidence, Expected
from swiftpie_lab.evaluation.edits import NAIVE, EditBenchmark
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import FACTS, BenchmarkRun, Maker, Results, draw
from swiftpie_lab.judges import PictureReader, SubjectEmbedder
from swiftpie_world.captions import CLOSE_QUESTIONS, WHOLE_QUESTIONS

NUM_CASES, NUM_EDITS, SIZE_PX = 3, 6, 128


@dataclass(frozen=True)
class TargetDrawer:
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


@pytest.fixture(scope="package")
def benchmark():
    return WorldBenchmark(sample_subjects(), size_px=SIZE_PX)


@pytest.fixture(scope="package")
def networks(benchmark):
    return Networks(panel=benchmark.panel())


@pytest.fixture(scope="package")
def dealt(benchmark):
    return list(benchmark.deal(WorldKind.PLAIN, NUM_CASES))


@pytest.fixture(scope="package")
def drawn(session, benchmark, dealt, tmp_path_factory):
    """A folder with all pictures of these, from words alone; do not change it."""
    results = Results(tmp_path_factory.mktemp("evaluation"))
    drawer = WorldDrawer(session, benchmark, "words")
    list(draw(benchmark, dealt, drawer, results=results))
    return results


@pytest.fixture(scope="package")
def edits():
    return WorldEditBenchmark(sample_subjects(), size_px=SIZE_PX)


@pytest.fixture(scope="package")
def dealt_edits(edits):
    return edits.cases(1)


@pytest.fixture(scope="package")
def answers(edits, dealt_edits):
    return {case.name: edits.answer(case) for case in dealt_edits}


@pytest.fixture(scope="package")
def drawn_edits(edits, dealt_edits, tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("edits"))
    list(draw(edits, dealt_edits[:NUM_EDITS], TargetDrawer(edits), results=results))
    return results


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
def case():
    return WorldCase(
        name="plain-0000-1f980",
        kind=WorldKind.PLAIN,
        code="1f980",
        subject="crab",
        prompt="a photo of a crab in a park at night",
        seed=0,
        place="park",
        time="night",
        weather="clear",
        season="summer",
    )


@pytest.fixture
def run():
    return BenchmarkRun("world", version="1", preset="mini", weights="w", data="d", seed=0)


@pytest.fixture
def evidence(case):
    """A grey picture that agrees with the truth; a square in its middle is the subject."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    grey = torch.zeros(1, 3, 32, 32)
    expected = Expected(where=mask, subject=case.code)
    return Evidence(picture=grey, truth=grey, mask=mask, expected=expected)


@pytest.fixture
def edit_evidence():
    """A grey picture, edited without a flaw: its left half is lighter."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    source = torch.zeros(1, 3, 32, 32)
    target = source + 0.5 * mask
    return Evidence(
        picture=target,
        source=source,
        truth=target,
        mask=mask,
        claimed=mask,
        uncomposed=source,
        time_ms=3.0,
    )
