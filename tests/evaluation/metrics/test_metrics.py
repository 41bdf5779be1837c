import dataclasses
from types import SimpleNamespace

import pytest
import torch

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.metric import METRICS
from swiftpie.evaluation.metrics.lighting_error import lit_scenes

ALL = [
    "attribute-accuracy",
    "leakage",
    "lighting-error",
    "mask-iou",
    "psnr",
    "scene-accuracy",
    "sharpness",
    "sharpness-background",
    "sharpness-subject",
    "subject-psnr",
    "subject-retrieval",
]


def panel_that_says(code="", scene=0, attributes=()):
    return SimpleNamespace(
        nearest=lambda *_: code, scene=lambda *_: scene, attributes=lambda *_: frozenset(attributes)
    )


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


def noisy(evidence, size):
    generator = torch.Generator().manual_seed(0)
    return evidence.truth + size * torch.randn(evidence.truth.shape, generator=generator)


def test_the_folder_holds_these_metrics():
    assert list(METRICS.names()) == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_metric_says_what_it_judges(name):
    metric = METRICS.get(name)
    assert metric.title
    assert "model" in metric.candidates


def test_retrieval_and_scene_follow_the_judges(evidence):
    night = [scene.name for scene in SCENES].index("night")
    right, wrong = panel_that_says("1f980", night), panel_that_says("1f439", night - 1)
    for name in ("subject-retrieval", "scene-accuracy"):
        assert score(name, evidence, panel=right) == 1
        assert score(name, evidence, panel=wrong) == 0


def test_an_attribute_is_right_if_it_is_among_the_answers(evidence):
    asked = dataclasses.replace(evidence.case, attribute="top hat")
    for answers, share in ({"tiny", "top hat"}, 1), ({"tiny", "crown"}, 0):
        panel = panel_that_says(attributes=answers)
        assert score("attribute-accuracy", evidence, case=asked, panel=panel) == share


def test_leakage_is_finding_the_other_subject_of_the_pair_and_no_third(evidence):
    pair = dataclasses.replace(evidence.case, other_code="1f439")
    for found, share in ("1f439", 1), ("1f980", 0), ("1f600", 0):
        panel = panel_that_says(found)
        assert score("leakage", evidence, case=pair, panel=panel) == share
    assert score("leakage", evidence, case=pair, code="1f439", panel=panel_that_says("1f980")) == 1


def test_a_metric_applies_to_some_kind_of_case():
    by_kind = {
        kind: {name for name, metric in METRICS.all().items() if kind in metric.applies_to}
        for kind in CaseKind
    }
    assert by_kind[CaseKind.ATTRIBUTED] == {"attribute-accuracy"}
    assert by_kind[CaseKind.PLAIN] == {*ALL} - {"attribute-accuracy", "leakage"}
    assert {"leakage", "subject-retrieval", "scene-accuracy"} <= by_kind[CaseKind.PAIR]


def test_mask_iou_compares_masks_and_skips_pictures_without_one(evidence):
    half = evidence.mask.clone()
    half[..., 16:, :] = 0
    assert score("mask-iou", evidence, found=half) == pytest.approx(0.5)
    assert score("mask-iou", evidence) is None


def test_psnr_of_a_known_error(evidence):
    brighter = evidence.truth + 0.2  # a tenth of the range
    assert score("psnr", evidence, picture=brighter) == pytest.approx(20, abs=1e-3)
    assert score("psnr", evidence) == pytest.approx(60)


def test_psnr_of_the_subject_ignores_the_background(evidence):
    picture = evidence.truth + 0.2 * evidence.mask + (1 - evidence.mask)
    assert score("subject-psnr", evidence, picture=picture) == pytest.approx(20, abs=1e-3)
    assert score("subject-psnr", evidence, mask=torch.zeros_like(evidence.mask)) is None


def test_sharpness_is_the_ratio_of_gradients_in_its_own_region(evidence):
    truth = noisy(evidence, 0.1)
    sharper_subject = truth * (1 + evidence.mask)
    changes = {"truth": truth, "picture": sharper_subject}
    assert score("sharpness-subject", evidence, **changes) == pytest.approx(2, rel=1e-4)
    assert score("sharpness-background", evidence, **changes) == pytest.approx(1, rel=1e-4)


def test_sharpness_of_the_whole_picture_is_its_mean_step(evidence):
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)  # steps of 2 / 31 across, none down
    assert score("sharpness", evidence, picture=ramp) == pytest.approx(1 / 31)
    assert score("sharpness", evidence, picture=ramp / 2) == pytest.approx(0.5 / 31)


def test_sharpness_does_not_apply_where_the_truth_is_smooth(evidence):
    assert score("sharpness-background", evidence, picture=noisy(evidence, 0.1)) is None


def test_lighting_error_is_the_error_of_the_mean_colour_in_levels(evidence):
    redder = evidence.truth.clone()
    redder[:, 0] += 6 / 127.5
    assert score("lighting-error", evidence, picture=redder) == pytest.approx(2, rel=1e-4)
    assert score("lighting-error", evidence) == 0


def test_lighting_is_judged_only_where_light_is_coloured(evidence):
    plain = dataclasses.replace(evidence.case, scene="white")
    assert score("lighting-error", evidence, case=plain) is None
    assert {"night", "sunset", "underwater"} <= lit_scenes()
    assert lit_scenes().isdisjoint({"white", "pink", "city"})
