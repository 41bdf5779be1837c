import dataclasses

import torch

from swiftpie.data.subjects import sample_subjects
from swiftpie.evaluation.benchmarks.held_out import HeldOut


def test_no_subject_of_training_is_listed():
    subjects = sample_subjects()
    codes = HeldOut(subjects).codes
    assert len(codes) == 12
    assert not {"1f451", "1f3a9"} & {*codes}  # crown and top hat


def test_the_fingerprint_follows_the_subjects_and_not_the_seed():
    subjects = sample_subjects()
    renamed = dataclasses.replace(subjects, names=("other", *subjects.names[1:]))
    found = HeldOut(subjects).fingerprint
    assert HeldOut(subjects, seed=5).fingerprint == found
    assert HeldOut(renamed).fingerprint != found


def test_frames_come_in_the_order_of_the_codes():
    held_out = HeldOut(sample_subjects())
    first, second = held_out.codes[:2]
    forth, back = held_out.frames([first, second]), held_out.frames([second, first])
    assert torch.equal(forth, back.flip(0))
    assert forth.shape == (2, 4, 128, 128)
