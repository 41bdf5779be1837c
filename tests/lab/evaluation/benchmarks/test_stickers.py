import dataclasses
from collections import Counter

import pytest
import torch

from swiftpie.geometry.layout import SUBJECT_FILL, Layout
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.scenes import paste
from swiftpie_lab.evaluation.benchmarks.stickers import ASKED, StickerBenchmark
from swiftpie_lab.stickers.scenes import SCENES

FIRST = [("0000-1f468-200d-1f692-lava", 0), ("0001-1f3e1-desert", 1)]


@pytest.fixture(scope="module")
def benchmark():
    return StickerBenchmark(sample_subjects())


def test_by_default_every_held_out_subject_comes_in_two_scenes(benchmark):
    cases = benchmark.cases()
    by_code = {
        code: {case.scene for case in cases if case.code == code} for code in benchmark.codes
    }
    assert len(benchmark.codes) == 12
    assert all(len(scenes) == 2 for scenes in by_code.values())
    assert len(cases) == 24


def test_all_cases_are_all_pairs_once(benchmark):
    cases = benchmark.cases(benchmark.num_pairs())
    pairs = {(case.code, case.scene) for case in cases}
    assert len(cases) == len(pairs) == len(benchmark.codes) * len(SCENES)
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == len(cases)


def test_a_longer_list_starts_with_the_shorter_one(benchmark):
    assert benchmark.cases(30)[:7] == benchmark.cases(7)


def test_another_seed_deals_other_pairs(benchmark):
    other = StickerBenchmark(benchmark.subjects, seed=1)
    assert [c.code for c in other.cases()] != [c.code for c in benchmark.cases()]


def test_the_prompt_names_subject_and_scene(benchmark):
    phrases = {scene.name: scene.phrases[0] for scene in SCENES}
    for case in benchmark.cases():
        assert case.prompt.endswith(f" {case.subject} {phrases[case.scene]}")


def test_plain_cases_stay_as_they_are_dealt(benchmark):
    names = [(case.name, case.seed) for case in benchmark.cases(2)]
    assert names == FIRST


def test_attributed_cases_ask_for_every_attribute_evenly(benchmark):
    cases = benchmark.attributed_cases()
    counts = Counter(case.attribute for case in cases)
    assert len(cases) == 120
    assert set(counts) == {*ASKED} - {""}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == 120
    assert benchmark.attributed_cases(5) == cases[:5]
    assert not {case.seed for case in cases} & {case.seed for case in benchmark.cases(288)}


def test_an_attributed_prompt_says_its_attribute(benchmark):
    for case in benchmark.attributed_cases():
        assert all(word in case.prompt.split() for word in case.attribute.split())
        assert case.subject in case.prompt


def test_the_truth_shows_what_was_asked_for(benchmark):
    cases = {case.attribute: case for case in reversed(benchmark.attributed_cases())}
    layouts = {word: benchmark.truth(case).layout for word, case in cases.items()}
    assert float(layouts["tiny"].scale) < 0.4 < 0.7 < float(layouts["huge"].scale)
    assert float(layouts["left"].centre[0, 0]) < 0.42
    assert float(layouts["right"].centre[0, 0]) > 0.58
    grey = benchmark.truth(cases["black and white"]).pixels
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    hatless = dataclasses.replace(cases["crown"], attribute="")
    crowned = benchmark.truth(cases["crown"])
    assert float((crowned.pixels - benchmark.truth(hatless).pixels).abs().max()) > 0.2


def test_truth_and_reference_repeat_exactly(benchmark):
    case = benchmark.cases(1)[0]
    assert torch.equal(benchmark.truth(case).pixels, benchmark.truth(case).pixels)
    for once, again in zip(benchmark.reference(case), benchmark.reference(case), strict=True):
        assert torch.equal(once, again)


def test_the_gallery_shows_every_subject_and_no_picture_of_a_case(benchmark):
    pictures, masks = benchmark.gallery()
    assert pictures.shape == (12, 4, 3, 128, 128)
    assert masks.shape == (12, 4, 1, 128, 128)
    assert bool((masks.flatten(2).amax(2) > 0.9).all())


def test_a_paste_puts_the_subject_where_the_layout_says_and_keeps_its_colour():
    reference = torch.ones(1, 3, 40, 40)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 10:30] = 1
    reference[..., 10:30, 10:30] = 0.5
    scenery = -torch.ones(1, 3, 64, 64)
    layout = Layout(
        centre=torch.tensor([[0.25, 0.75]]),
        scale=torch.tensor([0.25 / SUBJECT_FILL]),  # the square becomes 16 of 64 pixels
        rotation=torch.zeros(1),
        flip=torch.zeros(1),
        pose=torch.zeros(1, 4),
    )
    pasted = paste(reference, mask, scenery=scenery, layout=layout)
    assert float(pasted[..., 48, 16].mean()) == pytest.approx(0.5, abs=0.02)
    covered = pasted[0, 0] > -0.25
    rows, columns = covered.any(1).nonzero().flatten(), covered.any(0).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == pytest.approx((40, 55), abs=1)
    assert (int(columns.min()), int(columns.max())) == pytest.approx((8, 23), abs=1)
    assert torch.equal(pasted[..., :32, 32:], scenery[..., :32, 32:])


def test_a_paste_on_the_true_background_is_close_to_the_truth(benchmark):
    case = next(c for c in benchmark.cases(288) if c.scene == "white")
    truth = benchmark.truth(case)
    pasted = paste(*benchmark.reference(case), scenery=truth.background, layout=truth.layout)
    before = (truth.background - truth.pixels).abs().mean()
    assert float((pasted - truth.pixels).abs().mean()) < 0.5 * float(before)
