from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional as F

from swiftpie import ConfigError
from swiftpie.geometry.layout import from_box
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.masks import bounding_box
from swiftpie.pipelines.request import RepaintRequest
from swiftpie_lab.evaluation.benchmarks.insertions import (
    InsertionBenchmark,
    InsertionDrawer,
    exactly_drawn,
    open_backgrounds,
    poisson_blended,
)
from swiftpie_lab.evaluation.benchmarks.removals import RemovalBenchmark, RemovalDrawer, touched
from swiftpie_lab.evaluation.bounds import inpainted, paste
from swiftpie_lab.evaluation.case import METRICS
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.metrics.insertions import light_error
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


def test_other_photographs_are_another_benchmark(benchmark):
    other = InsertionBenchmark(benchmark.subjects, benchmark.photos[1:])
    assert other.fingerprint != benchmark.fingerprint


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


def test_more_light_from_the_same_side_is_an_error_in_proportion(evidence):
    for known in evidence:
        plain = known.unlit
        stronger = replace(known, picture=plain + 1.5 * (known.truth - plain))
        assert METRICS.get("light-error").score(stronger) == pytest.approx(0.5, abs=1e-3)


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


@pytest.mark.thorough
def test_a_session_and_its_baselines_draw_complete_cases(session, benchmark, removals, tmp_path):
    pytest.importorskip("cv2", reason=NEEDS_OPENCV)
    for drawer in (InsertionDrawer(session, benchmark), RemovalDrawer(session, removals)):
        (case,), folder = drawer.benchmark.cases(1), Results(tmp_path / drawer.benchmark.name)
        list(draw(drawer.benchmark, [case], drawer, results=folder))
        assert not folder.missing(case, (*drawer.kinds(case), *drawer.benchmark.candidates))
        pictures = {folder.read(case, kind).tobytes() for kind in drawer.benchmark.candidates}
        assert len(pictures) == len(drawer.benchmark.candidates)
        source, model = (to_tensor(folder.read(case, kind)) for kind in ("source", "model"))
        kept = folder.read_mask(case, "model-mask") == 0
        assert torch.equal((model * kept), (source * kept))


@pytest.mark.thorough
def test_joining_keeps_most_of_the_light_of_an_exact_drawing(session, benchmark):
    errors = []  # 1 is as good as no light; a model that reads light errs with what it reads
    for case in benchmark.cases(6):
        answer, unlit = benchmark.answer(case)
        shown = answer.rendering
        identity = session.encode_identity(
            to_pil(answer.reference)[0], masks=mask_to_pil(answer.reference_mask)[0]
        )
        request = RepaintRequest(
            image=to_pil(shown.background)[0],
            source=identity,
            box=bounding_box(shown.mask),
            seed=case.seed,
        )
        joined = to_tensor(exactly_drawn(session, request, shown))
        errors.append(light_error(joined, shown.pixels, 2 * unlit - 1, shown.mask))
    found = [error for error in errors if error is not None]
    assert sum(found) < 0.85 * len(found)


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


def test_inpainting_fills_the_mask_from_around_it(inserted):
    pytest.importorskip("cv2", reason=NEEDS_OPENCV)
    for insertion in inserted:
        photo, mask = insertion.answer.rendering.pixels, touched(insertion)
        filled = to_tensor(inpainted(to_pil(photo)[0], mask))
        assert torch.equal(filled[..., 0, :], to_tensor(to_pil(photo)[0])[..., 0, :])
        assert ((filled - photo).abs() * mask).amax() > 0.2
