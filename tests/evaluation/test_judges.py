import importlib.resources

import pytest
import torch

from swiftpie.evaluation.judges import gallery_of, nearest_row
from swiftpie.models.judges import ATTRIBUTES

MAX_BYTES = 2**20


def test_the_nearest_row_points_the_same_way():
    gallery = torch.eye(3)
    assert nearest_row(torch.tensor([[0.1, 0.9, 0.3]]), gallery) == 1
    assert nearest_row(torch.tensor([[0.1, 0.2, 0.3]]), gallery) == 2


def test_a_gallery_holds_the_direction_of_the_mean_view():
    views = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    half = 0.5**0.5
    torch.testing.assert_close(gallery_of(views), torch.tensor([[half, half], [1.0, 0.0]]))


@pytest.mark.parametrize("judge", ["subject_embedder", "scene_classifier", "attribute_classifier"])
def test_shipped_judges_are_small(judge):
    folder = importlib.resources.files("swiftpie") / "assets" / "judges" / judge
    data = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    assert 0 < len(data) <= MAX_BYTES


def test_the_panel_recognises_true_renderings(benchmark, panel):
    right_subjects, right_scenes = [], []
    for case in benchmark.cases(24):
        truth = benchmark.truth(case)
        right_subjects.append(panel.nearest(truth.pixels, truth.mask) == case.code)
        right_scenes.append(panel.scene(truth.pixels))
    assert sum(right_subjects) >= 22
    assert len(set(right_scenes)) >= 22  # the cases show all 24 scenes


def test_the_panel_tells_one_subject_from_another(benchmark, panel):
    first, second = benchmark.cases(2)
    truth = benchmark.truth(first)
    assert panel.nearest(truth.pixels, truth.mask) != second.code


def test_the_panel_sees_the_attributes_of_true_renderings(benchmark, panel):
    cases = benchmark.attributed_cases(42)
    truths = [benchmark.truth(case) for case in cases]
    seen = [panel.attributes(truth.pixels, truth.mask) for truth in truths]
    assert all(len(answers) == len(ATTRIBUTES) for answers in seen)
    right = sum(case.attribute in answers for case, answers in zip(cases, seen, strict=True))
    assert right >= 38  # judges that say the same of all pictures are right in 24 at most
