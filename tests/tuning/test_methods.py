"""Every method begins as no change, and changes weights by the formula of its paper."""

from itertools import pairwise

import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie.tuning import METHODS, TuneSettings
from swiftpie.tuning.change import features_of
from swiftpie.tuning.examples import start_of
from swiftpie.tuning.methods.orthogonal import basis_block
from swiftpie.tuning.methods.svdiff import SpectralLinear

MIB = 2**20


@pytest.fixture(scope="module")
def start(session, identity):
    return start_of(session.components, identity)


def made(start, name, **settings):
    return METHODS.get(name).make(start, TuneSettings(method=name, **settings))


@pytest.mark.parametrize("name", METHODS.names())
def test_nothing_changes_before_the_first_step(start, name):
    change = made(start, name)
    before, now = features_of(start.identity), change()
    torch.testing.assert_close(now.tokens, before.tokens)
    torch.testing.assert_close(now.pooled, before.pooled)
    for layer, keys in before.keys.items():
        torch.testing.assert_close(now.keys[layer], keys, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(now.values[layer], before.values[layer], rtol=1e-3, atol=1e-4)
    trained = [one for one in change.parameters() if one.requires_grad]
    assert trained
    if name != "tokens":  # which trains the features that the file holds anyway
        assert sum(one.numel() * 4 for one in trained) < 2 * MIB


def test_equal_seeds_give_equal_weights(start):
    first, again, other = (
        torch.cat([one.flatten() for one in made(start, "lora", seed=seed).parameters()])
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def projected(change, number, rows):
    """The rows by the change's projection of a number, and by the weight that it should be."""
    return change.projections[number](rows)


@torch.no_grad()
def test_kronecker_adds_the_product_of_two_small_matrices(start):
    change = made(start, "kronecker")
    layer = change.projections[0]
    first, second = layer.lokr_w1["default"], layer.lokr_w2["default"]
    first.copy_(torch.randn(first.shape, generator=torch.Generator().manual_seed(0)))
    rows = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(1))
    weight = layer.get_base_layer().weight.double() + torch.kron(first.double(), second.double())
    torch.testing.assert_close(
        projected(change, 0, rows), (rows.double() @ weight.T).float(), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_svdiff_shifts_singular_values_and_none_below_zero():
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    layer = SpectralLinear(weight)
    layer.shift.copy_(torch.tensor([0.5, -100.0, 0.0, 0.25]))
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    most = values[0]
    shifted = (values + torch.tensor([0.5, -float(most), 0.0, 0.25]).double()).clamp_min(0)
    wanted = left @ torch.diag(shifted) @ right
    torch.testing.assert_close(layer(torch.eye(4)).T, wanted.float(), rtol=1e-4, atol=1e-5)


def test_blocks_of_two_subjects_are_orthogonal():
    blocks = [basis_block(16, rank=4, number=number) for number in range(5)]
    torch.testing.assert_close(blocks[0].T @ blocks[0], torch.eye(4), rtol=0, atol=1e-5)
    for one, other in pairwise(blocks[:4]):
        assert float((one.T @ other).abs().max()) < 1e-5
    assert torch.equal(blocks[4], blocks[0])  # there are four


@torch.no_grad()
def test_orthogonal_changes_can_be_added(start):
    """A row in the block of one subject meets that subject's change alone."""
    one, other = (made(start, "orthogonal", seed=seed).projections[0] for seed in (0, 1))
    for layer, seed in ((one, 2), (other, 3)):
        generator = torch.Generator().manual_seed(seed)
        layer.change.copy_(torch.randn(layer.change.shape, generator=generator))
    row = one.block[:, :1].T
    both = one(row) + other(row) - one.linear(row)
    torch.testing.assert_close(both, one(row), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("rank", 65), ("learning_rate", 2.0), ("num_scenes", 0)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        TuneSettings(**{name: value})
