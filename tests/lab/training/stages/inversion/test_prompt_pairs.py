import pytest
import torch

from swiftpie_lab.training.stages.inversion.prompt_pairs import SHARES, draw_changes
from swiftpie_world.captions import SceneSpec
from swiftpie_world.changes import WorldChange
from swiftpie_world.sampler import World


@pytest.fixture(scope="module")
def drawn(subjects):
    world = World(subjects, "held_out")
    drawn = world.batch(3, 4, seed=5)
    specs = [SceneSpec(spec.setting) if row % 2 else spec for row, spec in enumerate(drawn.specs)]
    batch = world.batch(3, 4, seed=5, specs=specs)
    return world, batch, [draw_changes(world, batch, seed=seed) for seed in range(3)]


def test_every_kind_of_change_has_a_share(drawn):
    assert set(SHARES) == set(WorldChange)
    assert sum(SHARES.values()) > 0
    *_, changes = drawn
    assert len({kind for each in changes for kind in each.kinds}) > 8


def test_changes_repeat_and_say_what_they_change(drawn):
    world, batch, every = drawn
    again = draw_changes(world, batch, seed=1)
    assert again[:3] == every[1][:3]
    assert torch.equal(again.mask, every[1].mask)
    others = {"subject", "removal", "word"}
    for changes in every:
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
