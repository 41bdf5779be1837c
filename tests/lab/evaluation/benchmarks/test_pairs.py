import dataclasses
from collections import Counter

import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.pairs import PairBenchmark
from swiftpie_lab.stickers.scenes import SCENES

GROUNDED = {scene.name for scene in SCENES if scene.grounded}


@pytest.fixture(scope="module")
def benchmark():
    return PairBenchmark(sample_subjects())


def test_by_default_every_subject_comes_once_on_each_side(benchmark):
    cases = benchmark.cases()
    assert Counter(case.code for case in cases) == dict.fromkeys(benchmark.codes, 1)
    assert Counter(case.other_code for case in cases) == dict.fromkeys(benchmark.codes, 1)


def test_a_subject_is_never_beside_itself_and_meets_every_other(benchmark):
    cases = benchmark.cases(12 * 11)
    pairs = {case.codes for case in cases}
    assert len(pairs) == len(cases)
    assert all(first != second for first, second in pairs)


def test_a_longer_list_starts_with_the_shorter_one(benchmark):
    cases = benchmark.cases(30)
    assert cases[:7] == benchmark.cases(7)
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == 30


def test_no_noise_is_that_of_a_case_with_one_subject(benchmark):
    alone = [*benchmark.singles.cases(288), *benchmark.singles.attributed_cases()]
    assert not {case.seed for case in alone} & {case.seed for case in benchmark.cases(288)}


def test_the_prompt_names_both_subjects_and_the_scene(benchmark):
    phrases = {scene.name: scene.phrases[0] for scene in SCENES}
    for case in benchmark.cases():
        assert case.prompt.startswith("a photo of a")
        assert f" {case.subject} and a" in case.prompt
        assert case.prompt.endswith(f" {case.other_subject} {phrases[case.scene]}")


def test_boxes_lie_inside_and_apart_left_before_right(benchmark):
    for case in benchmark.cases(48):
        left, right = benchmark.boxes(case)
        assert left[2] <= right[0]
        assert min(*left, *right) >= 0
        assert max(*left, *right) <= 1


def test_each_subject_is_inside_its_box_in_the_truth(benchmark):
    for case in benchmark.cases(6):
        truth = benchmark.truth(case)
        masks = (truth.mask, truth.companion_mask)
        for mask, box in zip(masks, benchmark.boxes(case), strict=True):
            left, top, right, bottom = (round(128 * edge) for edge in box)
            inside = mask[..., max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2]
            assert float(mask.sum()) > 200
            assert float(inside.sum()) == pytest.approx(float(mask.sum()))


def test_grounded_subjects_stand_and_others_float(benchmark):
    cases = benchmark.cases(24)
    assert {case.scene in GROUNDED for case in cases} == {True, False}
    for case in cases:
        bottoms = [box[3] for box in benchmark.boxes(case)]
        if case.scene in GROUNDED:
            assert min(bottoms) > 0.8
        else:
            assert min(bottoms) < 0.87


def test_everything_known_repeats_exactly_and_the_references_differ(benchmark):
    case = benchmark.cases(1)[0]
    first, again = benchmark.known(case), benchmark.known(case)
    assert {kind: image.tobytes() for kind, image in first.items()} == {
        kind: image.tobytes() for kind, image in again.items()
    }
    assert first["reference"].tobytes() != first["other-reference"].tobytes()


def test_the_gallery_is_that_of_single_subjects(benchmark):
    pictures, _ = benchmark.gallery()
    assert torch.equal(pictures, benchmark.singles.gallery()[0])
    assert benchmark.fingerprint == benchmark.singles.fingerprint


def test_a_single_held_out_subject_makes_no_pair(benchmark):
    subjects = benchmark.subjects
    only = torch.zeros_like(subjects.held_out)
    only[subjects.index(benchmark.codes[0])] = True
    with pytest.raises(ConfigError, match="takes two"):
        PairBenchmark(dataclasses.replace(subjects, held_out=only)).cases()
