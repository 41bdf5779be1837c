import pytest
import torch

from swiftpie.errors import ConfigError, WeightsError
from swiftpie.mini.text_encoder import TextEncoder
from swiftpie_lab.training.stages.one_step.networks import (
    load_trained,
    nearest_tokens,
    new_networks,
    train_tokenizer,
    trainable,
)
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_world.sampler import World
from tests.lab.training.stages.conftest import SMALL, small_model

EXTRA = "_extra_state"  # PyTorch's name for what `get_extra_state` returns


@pytest.fixture(scope="module")
def tokenizer(subjects):
    return train_tokenizer(World(subjects).corpus(), SMALL)


def test_a_damaged_or_foreign_one_is_refused(tokenizer):
    networks = new_networks(tokenizer, SMALL)
    state = networks.state_dict()
    with pytest.raises(WeightsError, match="stored tokenizer cannot be read"):
        networks.load_state_dict(state | {EXTRA: state[EXTRA][:-9]})
    small = new_networks(tokenizer, SMALL)
    small.text_encoder = TextEncoder(100)
    with pytest.raises(WeightsError, match="the text encoder knows 100"):
        small.set_extra_state(state[EXTRA])


def test_an_export_with_a_damaged_tokenizer_is_refused(subjects, tmp_path):
    stage = small_model(World(subjects, "held_out"), OneStepConfig())
    stage.export(stage.network(), tmp_path)
    path = tmp_path / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(WeightsError, match="is damaged"):
        load_trained(tmp_path, device="cpu")
    path.unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer\.json"):
        load_trained(tmp_path, device="cpu")


def test_only_named_parts_go_on_training(tokenizer):
    networks = new_networks(tokenizer, SMALL)
    trained = trainable(networks, ["image_encoder", "to_k_ip"])
    for name, weight in trained.named_parameters():
        assert weight.requires_grad == ("image_encoder" in name or "to_k_ip" in name)
    with pytest.raises(ConfigError, match="to_k_pi"):
        trainable(networks, ["to_k_pi"])


def test_a_place_is_shown_by_the_tokens_around_it():
    places = torch.tensor([[[-0.75, 0.25], [0.0, -1.0], [1.0, 1.0]]])  # x and y
    shares = nearest_tokens(places, 4).unflatten(-1, (4, 4))[0]  # (N, rows, columns)
    assert torch.allclose(shares.sum((1, 2)), torch.ones(3))
    assert shares[0, 2, 0] == 1  # the middle of a token
    assert torch.equal(shares[1, 0], torch.tensor([0.0, 0.5, 0.5, 0.0]))  # between two, at the edge
    assert shares[2, 3, 3] == 1  # in the corner
