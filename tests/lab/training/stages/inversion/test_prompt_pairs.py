"""Prompts that change a picture, and where they do."""

from collections import defaultdict

import pytest
import torch

from swiftpie_lab.training.stages.inversion.prompt_pairs import SHARES, draw_changes
from swiftpie_world.captions import SceneSpec
from swiftpie_world.changes import WorldChange
from swiftpie_world.sampler import World


@pytest.fixture(scope="module")
def world(subjects):
    return World(subjects, "held_out")


@pytest.fixture(scope="module")
def batch(world):
    return world.batch(6, 4, seed=5)


@pytest.fixture(scope="module")
def rows(world, batch):
    """Source, target, mask, subject mask and whether it stays, by kind of change."""
    found = defaultdict(list)
    for seed in range(6):
        changes = draw_changes(world, batch, seed=seed)
        for row, kind in enumerate(changes.kinds):
            texts = changes.source[row], changes.target[row]
            same = bool(changes.same_subject[row])
            found[kind].append((*texts, changes.mask[row], batch.mask[row], same))
    return found


def test_a_removal_changes_the_subject_and_its_prompt_has_none(rows):
    for _, target, mask, subject, _ in rows[WorldChange.REMOVAL]:
        assert bool((mask >= (subject > 0.5)).all())
        assert target == target.strip()


def test_who_goes_to_the_other_side_changes_both_places(rows):
    for _, _, mask, subject, _ in rows[WorldChange.SIDE]:
        assert bool((mask >= subject).all())


def test_another_subject_changes_all_of_the_old_one(rows):
    for source, target, mask, subject, _ in rows[WorldChange.SUBJECT]:
        assert source != target
        assert bool((mask >= subject).all())
        assert mask.mean() < 1


@pytest.fixture(scope="module")
def larger(subjects):
    """Pictures, half of which ask for nothing but their place, and changes."""
    world = World(subjects, "held_out")
    drawn = world.batch(3, 4, seed=5)
    specs = [SceneSpec(spec.setting) if row % 2 else spec for row, spec in enumerate(drawn.specs)]
    batch = world.batch(3, 4, seed=5, specs=specs)
    return world, batch, [draw_changes(world, batch, seed=seed) for seed in range(3)]


def test_every_kind_of_change_has_a_share_in_the_larger_world(larger):
    assert set(SHARES) == set(WorldChange)
    assert sum(SHARES.values()) > 0
    _, _, drawn = larger
    assert len({kind for changes in drawn for kind in changes.kinds}) > 8


def test_changes_of_the_larger_world_repeat_and_say_what_they_change(larger):
    world, batch, drawn = larger
    again = draw_changes(world, batch, seed=1)
    assert again[:3] == drawn[1][:3]
    assert torch.equal(again.mask, drawn[1].mask)
    others = {"subject", "removal", "word"}
    for changes in drawn:
        for row, kind in enumerate(changes.kinds):
            assert bool(changes.same_subject[row]) == (kind not in others)
            assert changes.target[row] == changes.target[row].strip()
            changed = kind is not WorldChange.NOTHING
            assert bool(changes.mask[row].any()) == changed or kind is WorldChange.WORD
            if changed:
                assert changes.source[row] != changes.target[row]
            if kind is WorldChange.WORD:
                mask = batch.mask[row]
                assert changes.source[row] == ""
                assert torch.equal(changes.mask[row], mask) ^ torch.equal(
                    changes.mask[row], 1 - mask
                )
