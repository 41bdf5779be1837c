from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional as F

from swiftpie import ConfigError
from swiftpie.geometry.layout import from_box
from swiftpie.imageio.images import to_pil, to_tensor
from swiftpie.masks import bounding_box
from swiftpie_lab.evaluation.benchmarks.insertions import (
    InsertionBenchmark,
    open_backgrounds,
    poisson_blended,
)
from swiftpie_lab.evaluation.benchmarks.removals import RemovalBenchmark
from swiftpie_lab.evaluation.bounds import paste
from swiftpie_lab.evaluation.case import METRICS
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import write_report
from swiftpie_lab.evaluation.run import Maker, Results, draw, score

NUM_DRAWN = 2
NEEDS_OPENCV = "needs swiftpie-lab[evaluate]"


@pytest.fixture(scope="module")
def benchmark(subjects):
    (dark,) = open_backgrounds(None)
    return InsertionBenchmark(subjects, (255 - dark, dark))


@pytest.fixture(scope="module")
def removals(benchmark):
    return RemovalBenchmark(benchmark.subjects, benchmark.photos)


@pytest.fixture(scope="module")
def inserted(benchmark):
    return [benchmark.answer(case) for case in benchmark.cases(NUM_DRAWN)]


@dataclass(frozen=True)
class Exact:
    benchmark: InsertionBenchmark
    maker = Maker("exact")

    def kinds(self, case):
        del case
        return (*self.benchmark.candidates, "model-mask")

    def draw(self, case, missing):
        del missing
        known = self.benchmark.seen(self.benchmark.answer(case))
        yield from dict.fromkeys(self.benchmark.candidates, known["source"]).items()
        yield from known.items()
        yield "model", known["truth"]
        yield "model-mask", known.get("mask", known.get("truth-mask"))


def drawn(benchmark, folder):
    results = Results(folder)
    list(draw(benchmark, benchmark.cases(NUM_DRAWN), Exact(benchmark), results=results))
    return results


def truths(benchmark, results):
    cases = benchmark.cases(NUM_DRAWN)
    return [dict(benchmark.evidence(case, results, Networks()))["truth"] for case in cases]


@pytest.fixture(scope="module")
def results(benchmark, tmp_path_factory):
    return drawn(benchmark, tmp_path_factory.mktemp("insertions"))


@pytest.fixture(scope="module")
def removed(removals, tmp_path_factory):
    return drawn(removals, tmp_path_factory.mktemp("removals"))


@pytest.fixture(scope="module")
def evidence(benchmark, results):
    return truths(benchmark, results)


@pytest.fixture(scope="module")
def removal_evidence(removals, removed):
    return truths(removals, removed)


def values(name, evidence, changed):
    return [METRICS.get(name).score(changed(known)) for known in evidence]


def blurred(one):
    soft = F.avg_pool2d(F.pad(one.truth, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    return replace(one, picture=torch.where(one.truth == one.source, one.truth, soft))


def unlit(one):
    """Return the subject in its place, without light or shadow."""
    return replace(one, picture=one.source * (1 - one.mask) + (one.unlit + 1) - one.mask)


def same(one):
    return one


def test_a_longer_list_starts_with_the_shorter_one_and_a_case_has_three_subjects(benchmark):
    cases = benchmark.cases(30)
    assert benchmark.cases(5) == cases[:5]
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == 30
    assert {case.code for case in cases[:12]} == {
        benchmark.subjects.codes[row] for row in benchmark.world.pool
    }
    for case in cases:
        assert len({case.code, *case.neighbours}) == 3
    assert InsertionBenchmark(benchmark.subjects, benchmark.photos, seed=1).cases(5) != cases[:5]


def test_a_folder_without_a_photograph_for_judging_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="one in five"):
            open_backgrounds(folder)


@pytest.mark.thorough
def test_the_truth_is_perfect_by_every_measure(evidence, removal_evidence):
    for name in ("subject-psnr", "ring-psnr"):
        assert values(name, evidence, same) == [60] * NUM_DRAWN
    for name in ("light-error", "shadow-error"):
        assert {*values(name, evidence, same)} <= {0.0, None}
    assert (
        values("seam", evidence, same) == values("seam", removal_evidence, same) == [1] * NUM_DRAWN
    )
    assert values("ghost", removal_evidence, same) == [0] * NUM_DRAWN
    assert values("sharpness-inside", removal_evidence, same) == [1] * NUM_DRAWN


def test_right_light_out_of_focus_is_better_than_none_and_other_light_is_worst(inserted, evidence):
    pasted = iter(inserted)

    def lit_otherwise(one):
        answer = next(pasted).answer
        reference = (answer.reference, answer.reference_mask)
        drawn = paste(*reference, scenery=one.source, layout=from_box(bounding_box(one.mask)))
        return replace(one, picture=drawn)

    soft, none, other = (
        values("light-error", evidence, how) for how in (blurred, unlit, lit_otherwise)
    )
    assert none == pytest.approx([1] * NUM_DRAWN, abs=0.02)
    for good, plain, bad in zip(soft, none, other, strict=True):
        assert good < 0.5 * plain < 0.5 * bad


def test_a_soft_shadow_is_better_than_none_one_too_dark_or_one_on_the_wrong_side(evidence):
    for known, soft, none in zip(
        evidence,
        values("shadow-error", evidence, blurred),
        values("shadow-error", evidence, unlit),
        strict=True,
    ):
        shadow = (known.truth - known.source) * (known.mask <= 0)
        left, _, right, _ = bounding_box(known.mask)
        mirrored = shadow.flip(-1).roll(round((left + right - 1) * shadow.shape[-1]), -1)
        darker, turned = (
            METRICS.get("shadow-error").score(replace(known, picture=known.source + each))
            for each in (2 * shadow, mirrored)
        )
        assert none == pytest.approx(1, abs=1e-3)
        assert darker == pytest.approx(1, abs=1e-3)
        assert soft < 0.3 < turned


def test_what_shows_through_and_a_wrong_ground_are_ghosts(removal_evidence):
    def half(one):
        return replace(one, picture=(one.source + one.truth) / 2)

    def nothing(one):
        return replace(one, picture=one.source)

    assert values("ghost", removal_evidence, half) == pytest.approx([0.5] * NUM_DRAWN, abs=1e-4)
    assert values("ghost", removal_evidence, nothing) == pytest.approx([1] * NUM_DRAWN)
    for known in removal_evidence:
        other = torch.where(known.mask > 0, known.truth.flip(-1), known.truth)
        assert METRICS.get("ghost").score(replace(known, picture=other)) > 0.1
        assert METRICS.get("ghost").score(blurred(known)) < 0.2
        assert METRICS.get("sharpness-inside").score(blurred(known)) < 0.9


def test_a_step_at_the_border_is_a_seam_and_a_blur_washes_it_out(removal_evidence):
    for known in removal_evidence:
        lighter = replace(known, picture=known.truth + 0.5 * (known.mask > 0))
        assert METRICS.get("seam").score(lighter) > 1.2
        assert METRICS.get("seam").score(blurred(known)) < 1


@pytest.mark.thorough
def test_reports_tell_whether_the_model_is_better_than_its_baselines(
    benchmark, results, removals, removed
):
    networks = Networks(panel=benchmark.panel())
    for trial, folder, better in (
        (benchmark, results, {"subject-psnr of paste"}),
        (removals, removed, {"ghost of inpainted"}),
    ):
        rows = list(score(trial, trial.cases(NUM_DRAWN), folder, networks))
        report = write_report(trial, rows, folder, networks)
        assert {name for name, part in report.facts["better"].items() if part.mean == 1} >= better
        assert sum("100.0 [100.0, 100.0] %" in said for said in report.sentences) >= len(better)
        assert {*report.metrics["seam"].candidates} == {*trial.candidates}
        found = "subject-retrieval" if trial is benchmark else "subject-remains"
        assert report.metrics[found].candidates.keys() == trial.candidates.keys()
        assert (folder.root / "index.html").stat().st_size > 0


def test_poisson_blending_changes_the_subject_alone_and_keeps_it_in_its_place(inserted):
    pytest.importorskip("cv2", reason=NEEDS_OPENCV)
    for insertion in inserted:
        answer = insertion.answer
        photo, box = to_pil(answer.rendering.background)[0], bounding_box(answer.rendering.mask)
        blended = to_tensor(
            poisson_blended(photo, answer.reference, answer.reference_mask, layout=from_box(box))
        )
        change = (blended - to_tensor(photo)).abs().amax(1, keepdim=True)
        assert change[answer.rendering.mask == 0].mean() < 0.02
        assert change[answer.rendering.mask > 0.9].mean() > 0.05
