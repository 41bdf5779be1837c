import pytest
import torch

import swiftpie
from swiftpie.data.subjects import sample_subjects
from swiftpie.evaluation.benchmarks.pairs import PairBenchmark
from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
from swiftpie.evaluation.case import Case
from swiftpie.evaluation.folder import Folder, Run
from swiftpie.evaluation.generate import generate
from swiftpie.evaluation.judges import load_panel
from swiftpie.evaluation.metric import Evidence

NUM_CASES, NUM_ATTRIBUTED, NUM_PAIRS = 3, 2, 2


@pytest.fixture(scope="package")
def benchmark():
    return StickerBenchmark(sample_subjects())


@pytest.fixture(scope="package")
def panel(benchmark):
    return load_panel(benchmark.codes, *benchmark.gallery())


@pytest.fixture(scope="package")
def session():
    return swiftpie.load("mini")


@pytest.fixture(scope="package")
def drawn(session, benchmark, tmp_path_factory):
    """A folder with all pictures of three plain and two attributed cases; do not change it."""
    folder = Folder(tmp_path_factory.mktemp("evaluation"))
    cases = [*benchmark.cases(NUM_CASES), *benchmark.attributed_cases(NUM_ATTRIBUTED)]
    list(generate(session, benchmark, cases, folder=folder))
    return folder


@pytest.fixture(scope="package")
def pairs():
    return PairBenchmark(sample_subjects())


@pytest.fixture(scope="package")
def drawn_pairs(session, pairs, tmp_path_factory):
    """A folder with all pictures of two pairs; do not change it."""
    folder = Folder(tmp_path_factory.mktemp("pairs"))
    list(generate(session, pairs, pairs.cases(NUM_PAIRS), folder=folder))
    return folder


@pytest.fixture
def case():
    return Case(
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
    return Evidence(
        case=case, code=case.code, picture=grey, truth=grey, mask=mask, found=None, panel=None
    )
