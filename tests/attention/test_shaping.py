"""Settings of attention manipulation, and what installed layers make of them."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from swiftpie import ConfigError
from swiftpie.attention.install import Block
from swiftpie.attention.manipulate import Kind
from swiftpie.attention.shaping import AM1, AM2, STABLE_AM2, Shaping, power, scale, soft_mask

ROWS = torch.ones(2)


def numbers(shaping, step, part="up_blocks"):
    """Kind, strength and level of each change of a part."""
    return [
        (one.kind, round(one.strength[0].item(), 4), round(one.level[0].item(), 4))
        for one in shaping.at(step, like=ROWS)[part].operations
    ]


def test_presets_hold_the_published_numbers():
    assert numbers(AM1, 0, "down_blocks") == [(Kind.POWER, 1.3, 0), (Kind.SCALE, 1.55, 0)]
    assert numbers(AM1, 3) == [(Kind.POWER, 1.3, 0), (Kind.SCALE, 1.45, 0)]
    masks = [numbers(AM2, step)[0] for step in range(4)]
    assert masks == [(Kind.ADAPTIVE_SOFT_MASK, k, 0.65) for k in (7.5, 5, 5, 5)]
    scales = [numbers(AM2, step)[1][1] for step in range(4)]
    assert scales == [1.0, 1.55, 1.55, 1.55]
    assert STABLE_AM2.share == 0.7
    assert AM2.at(0, like=ROWS)["up_blocks"].share is None
    assert not AM1.inverts_first
    assert AM2.inverts_first


@pytest.mark.parametrize("preset", [AM1, AM2, STABLE_AM2])
def test_presets_leave_the_middle_block_alone(preset):
    assert set(preset.at(0, like=ROWS)) == {"down_blocks", "up_blocks"}


def test_the_last_strength_serves_all_later_steps():
    assert numbers(AM2, 7) == numbers(AM2, 3)


def test_chosen_steps_alone_are_reshaped():
    shaping = Shaping({Block.UP: (power(1.3),)}, steps=frozenset({1}))
    assert [bool(shaping.at(step, like=ROWS)) for step in range(3)] == [False, True, False]


def test_settings_cannot_be_changed_afterwards():
    parts = {Block.UP: (power(1.3),)}
    shaping = Shaping(parts)
    parts.clear()
    assert shaping.parts
    with pytest.raises(FrozenInstanceError):
        shaping.share = 0.5
    with pytest.raises(TypeError):
        shaping.parts[Block.DOWN] = ()


@pytest.mark.parametrize(
    "build",
    [
        power,
        lambda: scale(-1.0),
        lambda: scale(float("nan")),
        lambda: soft_mask(5.0, level=1.5),
        lambda: Shaping({}, share=1.5),
    ],
)
def test_numbers_out_of_range_are_refused(build):
    with pytest.raises(ConfigError, match=r"needed|must lie"):
        build()


@torch.no_grad()
def test_reshaping_of_a_part_changes_that_part_alone(installation, condition, predict):
    seen = {}
    for name in installation.semantic:
        layer = installation.network.get_submodule(name)
        layer.register_forward_hook(
            lambda _, __, output, name=name: seen.setdefault(name, []).append(output)
        )
    shaping = Shaping({Block.MIDDLE: (scale(2.0),)})
    plain = predict(condition)
    reshaped = predict(condition._replace(reshaping=shaping.at(0, like=condition.text_scale)))
    assert (plain - reshaped).abs().max() > 1e-3
    down = [pair for name, pair in seen.items() if name.startswith("down")]
    middle = [pair for name, pair in seen.items() if name.startswith("mid")]
    assert down
    assert middle
    assert all(torch.equal(*pair) for pair in down)
    assert not any(torch.equal(*pair) for pair in middle)
