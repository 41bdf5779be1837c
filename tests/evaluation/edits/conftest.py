import pytest

from swiftpie.data.subjects import sample_subjects
from swiftpie.evaluation.edits.benchmark import EditBenchmark
from swiftpie.evaluation.edits.case import DEAL_SIZE
from swiftpie.evaluation.edits.editor import SourceEditor, TargetEditor
from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.generate import generate

NUM_CASES = 6


@pytest.fixture(scope="package")
def edits():
    return EditBenchmark(sample_subjects())


@pytest.fixture(scope="package")
def dealt(edits):
    """One deal, which holds every kind of edit."""
    return edits.cases(DEAL_SIZE)


@pytest.fixture(scope="package")
def answers(edits, dealt):
    return {case.name: edits.answer(case) for case in dealt}


@pytest.fixture(scope="package")
def drawn(edits, tmp_path_factory):
    """A folder in which the exact target was the edit, and the source the baseline."""
    folder = EditFolder(tmp_path_factory.mktemp("edits"))
    cases = edits.cases(NUM_CASES)
    list(generate(TargetEditor(), edits, cases, folder=folder, baseline=SourceEditor()))
    return folder
