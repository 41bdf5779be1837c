"""Properties of reshaped identity maps; the numbers are compared in tests/parity."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from swiftpie import ConfigError
from swiftpie.attention.condition import Block, Kind
from swiftpie.attention.manipulate import (
    AM1,
    AM2,
    STABLE_AM2,
    Shaping,
    attend_reshaped,
    fixed_soft_mask,
    power,
    reshape_map,
    scale,
    soft_mask,
)
from tests.quick import thorough_but

UP = Block.UP


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def states():
    """Query (B, heads, N, d), keys and values (B, S, heads, K, d) of two references."""
    return draw(3, 2, 20, 8), draw(3, 2, 2, 8, 8, seed=1), draw(3, 2, 2, 8, 8, seed=2)


def reshaping_of(*transforms, step=0, batch=3, **settings):
    return Shaping({UP: transforms}, **settings).at(step, like=torch.ones(batch))[UP.value]


def softmax(*shape):
    return (2 * draw(*shape)).softmax(dim=-1)


def test_a_scaled_map_keeps_its_ceiling():
    found = reshape_map(softmax(3, 1, 2, 20, 4), reshaping_of(scale(30.0)), num_views=1)
    assert found.max() == 10


def test_released_statistics_are_those_of_the_batch():
    maps, strength, level = softmax(3, 2, 2, 20, 4), 12.5, 0.4
    reshaping = reshaping_of(fixed_soft_mask(strength, level=level), spans_batch=True)

    def stretched(values):
        low, high = (end(values, (0, 2, 3), keepdims=True) for end in (np.min, np.max))
        return (values - low) / (high - low)

    steep = 1 / (1 + np.exp(-strength * (stretched(maps.double().numpy()) - level)))
    found = reshape_map(maps, reshaping, num_views=1)
    assert found.numpy() == pytest.approx(stretched(steep), abs=1e-5)
    alone = reshape_map(
        maps[:1], reshaping_of(fixed_soft_mask(strength, level=level), batch=1), num_views=1
    )
    assert (found[:1] - alone).abs().max() > 1e-3


def test_a_flat_map_gives_numbers():
    flat = torch.full((1, 1, 2, 20, 4), 0.25)
    found = reshape_map(flat, reshaping_of(soft_mask(12.5), batch=1), num_views=1)
    assert found.isfinite().all()


def test_half_precision_logits_beyond_its_range_give_numbers():
    query, key = 300 * torch.ones(1, 1, 4, 8).half(), 300 * torch.ones(1, 1, 1, 4, 8).half()
    reshaping = reshaping_of(soft_mask(5.0), batch=1, share=0.7)
    assert attend_reshaped(query, key, key, reshaping, num_views=1).isfinite().all()


def test_a_single_token_is_not_stabilised():
    states = draw(1, 2, 20, 8), draw(1, 1, 2, 1, 8), draw(1, 1, 2, 1, 8)
    reshaping = reshaping_of(scale(1.5), batch=1, share=0.7)
    assert attend_reshaped(*states, reshaping, num_views=1).isfinite().all()


@pytest.mark.parametrize("preset", thorough_but([AM1, AM2, STABLE_AM2], [AM2]), ids=str)
@pytest.mark.usefixtures("_fresh_compiler")
def test_new_numbers_need_no_new_graph(states, preset):
    backend = CompileCounter()
    compiled = torch.compile(attend_reshaped, fullgraph=True, backend=backend)
    outputs = []
    for step in range(3):
        reshaping = preset.at(step, like=torch.ones(3))["up_blocks"]
        scaled = [
            operation._replace(strength=operation.strength * (1 + 0.1 * step))
            for operation in reshaping.operations
        ]
        reshaping = reshaping._replace(operations=tuple(scaled))
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            outputs.append(compiled(*states, reshaping, num_views=2))
        expected = attend_reshaped(*states, reshaping, num_views=2)
        assert (outputs[-1] - expected).abs().max() < 1e-5
    assert backend.frame_count == 1
    assert (outputs[0] - outputs[1]).abs().max() > 0.01


ROWS = torch.ones(2)


def numbers(shaping, step, part="up_blocks"):
    return [
        (
            operation.kind,
            round(operation.strength[0].item(), 4),
            round(operation.level[0].item(), 4),
        )
        for operation in shaping.at(step, like=ROWS)[part].operations
    ]


def test_presets_hold_the_published_numbers():
    assert numbers(AM1, 0, "down_blocks") == [(Kind.POWER, 1.3, 0), (Kind.SCALE, 1.55, 0)]
    assert numbers(AM1, 3) == [(Kind.POWER, 1.3, 0), (Kind.SCALE, 1.45, 0)]
    masks = [numbers(AM2, step)[0] for step in range(4)]
    assert masks == [(Kind.SOFT_MASK, k, 0.65) for k in (7.5, 5, 5, 5)]
    scales = [numbers(AM2, step)[1][1] for step in range(4)]
    assert scales == [1.0, 1.55, 1.55, 1.55]
    assert STABLE_AM2.share == 0.7
    assert AM2.at(0, like=ROWS)["up_blocks"].share is None
    assert not AM1.inverts_first
    assert AM2.inverts_first


def test_the_last_strength_serves_all_later_steps():
    assert numbers(AM2, 7) == numbers(AM2, 3)


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
        lambda: soft_mask(5.0, quantile=1.5),
        lambda: fixed_soft_mask(5.0, level=-0.5),
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
