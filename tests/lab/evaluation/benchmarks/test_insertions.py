from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional as F

from swiftpie.geometry.layout import from_box
from swiftpie.imageio.images import bounding_box, to_pil, to_tensor
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
from swiftpie_world.photographs import Photograph

NUM_DRAWN = 2


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


@pytest.fixture(scope="module")
def trials(subjects, tmp_path_factory):
    """Insertions and removals, and a folder of exact pictures of each."""
    first, *_, last = open_backgrounds(None)
    insertions = InsertionBenchmark(subjects, (first, Photograph(last.pixels)))
    both = []
    for benchmark in (insertions, RemovalBenchmark(subjects, insertions.photos)):
        results = Results(tmp_path_factory.mktemp(benchmark.name))
        cases = benchmark.cases(NUM_DRAWN)
        list(draw(benchmark, cases, Exact(benchmark), results=results))
        both.append((benchmark, cases, results))
    return both


@pytest.fixture(scope="module")
def truths(trials):
    return [
        [dict(benchmark.evidence(case, results, Networks()))["truth"] for case in cases]
        for benchmark, cases, results in trials
    ]


def blurred(one):
    soft = F.avg_pool2d(F.pad(one.truth, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    return torch.where(one.truth == one.source, one.truth, soft)


def unlit(one):
    """Return the subject in its place, without light or shadow."""
    return one.source * (1 - one.mask) + (one.unlit + 1) - one.mask


def shadow(one):
    return (one.truth - one.source) * (one.mask <= 0)


def mirrored_shadow(one):
    left, _, right, _ = bounding_box(one.mask)
    middle = round((left + right - 1) * one.mask.shape[-1])
    return one.source + shadow(one).flip(-1).roll(middle, -1)


def another_ground(one):
    return torch.where(one.mask > 0, one.truth.flip(-1), one.truth)


TRUTH = {
    0: {"subject-psnr": 60, "ring-psnr": 60, "light-error": 0, "shadow-error": 0, "seam": 1},
    1: {"seam": 1, "ghost": 0, "sharpness-inside": 1},
}
INSERTED, REMOVED = range(2)


@pytest.mark.parametrize(
    ("trial", "name", "picture", "low", "high"),
    [
        *(
            (trial, name, lambda one: one.truth, value, value)
            for trial, values in TRUTH.items()
            for name, value in values.items()
        ),
        (INSERTED, "light-error", blurred, 0, 0.5),
        (INSERTED, "light-error", unlit, 0.98, 1.02),
        (INSERTED, "shadow-error", blurred, 0, 0.25),
        (INSERTED, "shadow-error", unlit, 0.999, 1.001),
        (INSERTED, "shadow-error", lambda one: one.source + 2 * shadow(one), 0.33, 0.34),
        (INSERTED, "shadow-error", mirrored_shadow, 0.2, 1),
        (REMOVED, "ghost", lambda one: (one.source + one.truth) / 2, 0.4999, 0.5001),
        (REMOVED, "ghost", lambda one: one.source, 0.9999, 1.0001),
        (REMOVED, "ghost", another_ground, 0.05, 9),
        (REMOVED, "ghost", blurred, 0, 0.2),
        (REMOVED, "sharpness-inside", blurred, 0, 0.9),
        (REMOVED, "seam", lambda one: one.truth + 0.5 * (one.mask > 0), 1.2, 99),
        (REMOVED, "seam", blurred, 0, 0.999),
    ],
)
def test_a_metric_says_how_wrong_a_picture_is(truths, trial, name, picture, low, high):
    for known in truths[trial]:
        found = METRICS.get(name).score(replace(known, picture=picture(known)))
        assert found is None or low <= found <= high


def test_light_from_elsewhere_is_worse_than_none(trials, truths):
    (benchmark, cases, _), _ = trials
    for case, one in zip(cases, truths[INSERTED], strict=True):
        answer, layout = benchmark.answer(case).answer, from_box(bounding_box(one.mask))
        drawn = paste(answer.reference, answer.reference_mask, scenery=one.source, layout=layout)
        assert METRICS.get("light-error").score(replace(one, picture=drawn)) > 1.02


def test_a_longer_list_starts_with_the_shorter_one_and_a_case_has_three_subjects(trials):
    (benchmark, *_), _ = trials
    cases = benchmark.cases(30)
    assert benchmark.cases(5) == cases[:5]
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == 30
    pool = {benchmark.subjects.codes[row] for row in benchmark.world.pool}
    assert {case.code for case in cases[:12]} == pool
    assert {len({case.code, *case.neighbours}) for case in cases} == {3}
    assert InsertionBenchmark(benchmark.subjects, benchmark.photos, seed=1).cases(5) != cases[:5]


@pytest.mark.thorough
def test_reports_tell_whether_the_model_is_better_than_its_baselines(trials):
    networks = Networks(panel=trials[INSERTED][0].panel())
    known = (
        ({"subject-psnr of paste"}, "subject-retrieval"),
        ({"ghost of inpainted"}, "subject-remains"),
    )
    for (trial, cases, folder), (better, found) in zip(trials, known, strict=True):
        rows = list(score(trial, cases, folder, networks))
        report = write_report(trial, rows, folder, networks)
        assert {name for name, part in report.facts["better"].items() if part.mean == 1} >= better
        assert sum("100.0 [100.0, 100.0] %" in said for said in report.sentences) >= len(better)
        for name in ("seam", found):
            assert report.metrics[name].candidates.keys() == trial.candidates.keys()


def test_poisson_blending_changes_the_subject_alone_and_keeps_it_in_its_place(trials):
    pytest.importorskip("cv2", reason="needs swiftpie-lab[evaluate]")
    (benchmark, cases, _), _ = trials
    for answer in (benchmark.answer(case).answer for case in cases):
        photo, box = to_pil(answer.rendering.background)[0], bounding_box(answer.rendering.mask)
        reference = (answer.reference, answer.reference_mask)
        blended = to_tensor(poisson_blended(photo, *reference, layout=from_box(box)))
        change = (blended - to_tensor(photo)).abs().amax(1, keepdim=True)
        assert change[answer.rendering.mask == 0].mean() < 0.02
        assert change[answer.rendering.mask > 0.9].mean() > 0.05
