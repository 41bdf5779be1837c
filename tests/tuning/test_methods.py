"""Every method begins as no change."""

import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie.tuning import METHODS, TuneSettings
from swiftpie.tuning.fit import start_of
from swiftpie.tuning.methods import features_of

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
    trained = [weight for weight in change.parameters() if weight.requires_grad]
    assert trained
    if name != "tokens":  # which trains the features that the file holds anyway
        assert sum(weight.numel() * 4 for weight in trained) < 2 * MIB


def test_equal_seeds_give_equal_weights(start):
    first, again, other = (
        torch.cat(
            [parameter.flatten() for parameter in made(start, "lora", seed=seed).parameters()]
        )
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("rank", 65), ("learning_rate", 2.0), ("num_scenes", 0)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        TuneSettings(**{name: value})
