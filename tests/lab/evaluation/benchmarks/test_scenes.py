import dataclasses

import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.scenes import CaseKind
from swiftpie_lab.evaluation.benchmarks.stickers import StickerBenchmark


def test_no_subject_of_training_is_listed():
    subjects = sample_subjects()
    codes = StickerBenchmark(subjects).codes
    assert len(codes) == 12
    assert not {"1f451", "1f3a9"} & {*codes}  # crown and top hat


def test_the_fingerprint_follows_the_subjects_and_not_the_seed():
    subjects = sample_subjects()
    renamed = dataclasses.replace(subjects, names=("other", *subjects.names[1:]))
    found = StickerBenchmark(subjects).fingerprint
    assert StickerBenchmark(subjects, seed=5).fingerprint == found
    assert StickerBenchmark(renamed).fingerprint != found


def test_frames_come_in_the_order_of_the_codes():
    held_out = StickerBenchmark(sample_subjects())
    first, second = held_out.codes[:2]
    forth, back = held_out.frames([first, second]), held_out.frames([second, first])
    assert torch.equal(forth, back.flip(0))
    assert forth.shape == (2, 4, 128, 128)


def test_the_kind_follows_from_what_is_asked_for(case):
    assert case.kind is CaseKind.PLAIN
    assert dataclasses.replace(case, attribute="tiny").kind is CaseKind.ATTRIBUTED
    assert dataclasses.replace(case, other_code="1f439").kind is CaseKind.PAIR


def test_codes_go_from_left_to_right(case):
    assert case.codes == ("1f980",)
    assert dataclasses.replace(case, other_code="1f439").codes == ("1f980", "1f439")
