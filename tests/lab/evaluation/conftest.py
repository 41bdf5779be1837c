import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.edit_cases import DEAL_SIZE
from swiftpie_lab.evaluation.benchmarks.edits import EditBenchmark
from swiftpie_lab.evaluation.benchmarks.pairs import PairBenchmark
from swiftpie_lab.evaluation.benchmarks.scenes import StickerCase, SubjectDrawer
from swiftpie_lab.evaluation.benchmarks.stickers import StickerBenchmark
from swiftpie_lab.evaluation.case import Evidence, Expected
from swiftpie_lab.evaluation.editors import EditDrawer, SourceEditor, TargetEditor
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Results, Run, draw
from swiftpie_lab.judges import PictureReader, SubjectEmbedder
from swiftpie_lab.world.captions import CLOSE_QUESTIONS, WHOLE_QUESTIONS

NUM_CASES, NUM_ATTRIBUTED, NUM_PAIRS, NUM_EDITS = 3, 2, 2, 6


@pytest.fixture(scope="package")
def benchmark():
    return StickerBenchmark(sample_subjects())


@pytest.fixture(scope="package")
def networks(benchmark):
    return Networks(panel=benchmark.panel())


@pytest.fixture(scope="package")
def dealt(benchmark):
    """Three plain and two attributed cases."""
    return [*benchmark.cases(NUM_CASES), *benchmark.attributed_cases(NUM_ATTRIBUTED)]


@pytest.fixture(scope="package")
def drawn(session, benchmark, dealt, tmp_path_factory):
    """A folder with all pictures of these; do not change it."""
    results = Results(tmp_path_factory.mktemp("evaluation"))
    list(draw(benchmark, dealt, SubjectDrawer(session, benchmark), results=results))
    return results


@pytest.fixture(scope="package")
def pairs():
    return PairBenchmark(sample_subjects())


@pytest.fixture(scope="package")
def drawn_pairs(session, pairs, tmp_path_factory):
    """A folder with all pictures of two pairs; do not change it."""
    results = Results(tmp_path_factory.mktemp("pairs"))
    drawer = SubjectDrawer(session, pairs)
    list(draw(pairs, pairs.cases(NUM_PAIRS), drawer, results=results))
    return results


@pytest.fixture(scope="package")
def edits():
    return EditBenchmark(sample_subjects())


@pytest.fixture(scope="package")
def dealt_edits(edits):
    """One deal, which holds every kind of edit."""
    return edits.cases(DEAL_SIZE)


@pytest.fixture(scope="package")
def answers(edits, dealt_edits):
    return {case.name: edits.answer(case) for case in dealt_edits}


@pytest.fixture(scope="package")
def drawn_edits(edits, tmp_path_factory):
    """A folder in which the exact target was the edit, and the source the baseline."""
    results = Results(tmp_path_factory.mktemp("edits"))
    drawer = EditDrawer(TargetEditor(), edits, SourceEditor())
    list(draw(edits, edits.cases(NUM_EDITS), drawer, results=results))
    return results


@pytest.fixture(scope="package")
def world_judges(tmp_path_factory):
    """Judges of the larger world that have learned nothing."""
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
    return StickerCase(
        name="0000-1f980-night",
        code="1f980",
        subject="crab",
        scene="night",
        prompt="a photo of a crab under a night sky",
        seed=0,
    )


@pytest.fixture
def run():
    return Run("stickers", version="1", preset="mini", weights="w", data="d", seed=0)


@pytest.fixture
def evidence(case):
    """A grey picture that agrees with the truth; a square in its middle is the subject."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    grey = torch.zeros(1, 3, 32, 32)
    expected = Expected(where=mask, subject=case.code, scene=case.scene)
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
        reconstruction=source,
        from_noise=source,
        uncomposed=source,
        time_ms=3.0,
    )
