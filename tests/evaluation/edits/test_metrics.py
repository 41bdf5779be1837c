"""Every metric of edits, on pictures whose scores are known."""

from dataclasses import replace

import pytest
import torch

from swiftpie.evaluation.edits.case import EditKind
from swiftpie.evaluation.edits.metric import CANDIDATES, EDIT_METRICS, EditEvidence

METRICS = EDIT_METRICS.all()
SUCCESS, KEPT = METRICS["edit-success"].score, METRICS["identity-kept"].score


@pytest.fixture
def evidence(dealt):
    """A grey picture, edited without a flaw: its left half is lighter."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    source = torch.zeros(1, 3, 32, 32)
    target = source + 0.5 * mask
    return EditEvidence(
        case=dealt[0],
        picture=target,
        source=source,
        target=target,
        mask=mask,
        before=mask,
        kept=mask,
        asked=mask,
        used=mask,
        reconstruction=source,
        from_noise=source,
        uncomposed=source,
        time_ms=3.0,
        panel=None,
        lpips=None,
    )


def score(name, evidence):
    return METRICS[name].score(evidence)


def test_a_perfect_edit_gets_perfect_scores(evidence):
    expected = {
        "outside-psnr": 60,
        "outside-mse": 0,
        "outside-ssim": 1,
        "inside-psnr": 60,
        "mask-iou": 1,
        "stray-pixels": 0,
        "reconstruction-psnr": 60,
        "time": 3,
    }
    for name, value in expected.items():
        assert score(name, evidence) == pytest.approx(value, abs=1e-4), name


def test_errors_are_counted_where_they_are_and_nowhere_else(evidence):
    outside = replace(evidence, picture=evidence.target + 0.2 * (1 - evidence.mask))
    assert score("outside-mse", outside) == pytest.approx(1e4 * 0.1**2, rel=1e-4)
    assert score("outside-psnr", outside) == pytest.approx(20, abs=1e-3)
    assert score("outside-ssim", outside) < 0.999
    assert score("inside-psnr", outside) == pytest.approx(60)
    inside = replace(evidence, picture=evidence.target - 0.2 * evidence.mask)
    assert score("inside-psnr", inside) == pytest.approx(20, abs=1e-3)
    assert score("outside-mse", inside) == 0


def test_a_mask_that_covers_all_leaves_nothing_to_preserve(evidence):
    everywhere = replace(evidence, mask=torch.ones_like(evidence.mask))
    for name in ("outside-psnr", "outside-mse", "outside-ssim"):
        assert score(name, everywhere) is None
    assert score("inside-psnr", replace(evidence, mask=torch.zeros_like(evidence.mask))) is None


def test_stray_pixels_are_counted_one_by_one(evidence):
    picture = evidence.picture.clone()
    picture[0, 1, 3, 20:23] += 1 / 255
    assert score("stray-pixels", replace(evidence, picture=picture)) == 3


def test_what_an_editor_does_not_tell_is_not_judged(evidence):
    silent = replace(
        evidence, used=None, reconstruction=None, from_noise=None, uncomposed=None, time_ms=None
    )
    for name in (
        "mask-iou",
        "stray-pixels",
        "reconstruction-psnr",
        "noise-psnr",
        "outside-psnr-drawn",
        "time",
        "outside-lpips",
    ):
        assert score(name, silent) is None


def test_what_was_drawn_is_judged_apart_from_what_was_put_back(evidence):
    drawn = replace(evidence, uncomposed=evidence.source + 0.2 * (1 - evidence.mask))
    assert score("outside-psnr-drawn", drawn) == pytest.approx(20, abs=1e-3)
    assert score("outside-psnr", drawn) == score("outside-psnr", evidence)


def test_what_comes_from_noise_alone_is_judged_apart(evidence):
    poor = replace(evidence, from_noise=evidence.source + 0.2)
    assert score("noise-psnr", poor) == pytest.approx(20, abs=1e-3)
    assert score("reconstruction-psnr", poor) > 40


def test_new_subjects_are_left_out_where_prompts_have_to_tell_everything(dealt, answers, panel):
    judge = METRICS["scene-attribute-success"].score
    for case in dealt:
        answer = answers[case.name]
        done = judge(rendered(case, answer, answer.target, panel))
        assert (done is None) == (case.kind in {"object", "second"})


def test_every_metric_judges_the_edit():
    assert len(METRICS) >= 10
    for metric in METRICS.values():
        assert "edit" in metric.candidates
        assert {*metric.candidates} <= {*CANDIDATES}


def rendered(case, answer, picture, panel):
    return EditEvidence(
        case=case,
        picture=picture,
        source=answer.source,
        target=answer.target,
        mask=answer.mask,
        before=answer.before,
        kept=answer.kept,
        asked=answer.asked,
        used=None,
        reconstruction=None,
        from_noise=None,
        uncomposed=None,
        time_ms=None,
        panel=panel,
        lpips=None,
    )


def test_judges_see_the_exact_target_as_done_and_the_source_as_not(dealt, answers, panel):
    done, undone = [], []
    for case in dealt:
        answer = answers[case.name]
        done.append(SUCCESS(rendered(case, answer, answer.target, panel)))
        undone.append(SUCCESS(rendered(case, answer, answer.source, panel)))
    assert sum(done) >= 0.8 * len(done)
    assert sum(undone) <= 0.1 * len(undone)


def test_the_subject_is_kept_in_the_target_and_lost_in_noise(dealt, answers, panel):
    kept, lost = [], []
    for case in dealt:
        answer = answers[case.name]
        value = KEPT(rendered(case, answer, answer.target, panel))
        if case.kind in {EditKind.OBJECT, EditKind.DELETE}:
            assert value is None
        elif value is not None:
            kept.append(value)
            noise = torch.rand(answer.source.shape, generator=torch.Generator().manual_seed(0))
            lost.append(KEPT(rendered(case, answer, 2 * noise - 1, panel)))
    assert len(kept) >= 10
    assert sum(kept) >= 0.8 * len(kept)
    assert sum(lost) <= 0.5 * len(lost)
