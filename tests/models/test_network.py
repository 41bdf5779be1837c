import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from swiftpie import WeightsError
from swiftpie.backbones.load.weights import load_network
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.network import LEVELS, SCALES, read_weights
from swiftpie.models.vision import ConvImageEncoder

NAME = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ConvImageEncoder()


def build(folder):
    return ConvImageEncoder.built(folder)


def test_weights_come_back_within_half_a_level_of_their_channel(network, tmp_path):
    network.save_in_eight_bits(tmp_path)
    read = load_network(build, tmp_path).state_dict()
    assert read.keys() == network.state_dict().keys()
    for name, weight in network.state_dict().items():
        error = (read[name] - weight).flatten(1) if weight.ndim > 1 else read[name] - weight
        if weight.ndim > 1:
            top = weight.flatten(1).abs().amax(dim=1, keepdim=True)
            assert (error.abs() <= 0.6 * top / LEVELS).all(), name
        else:
            assert torch.equal(read[name], weight.half().float()), name
    size = sum(value.numel() for value in read.values())
    assert (tmp_path / NAME).stat().st_size < 1.05 * size


def test_a_network_that_was_read_is_written_as_it_was(network, tmp_path):
    network.save_in_eight_bits(tmp_path)
    first = (tmp_path / NAME).read_bytes()
    load_network(build, tmp_path).save_in_eight_bits(tmp_path)
    assert (tmp_path / NAME).read_bytes() == first
    assert all(
        torch.equal(weight.half().float(), weight)
        for weight in read_weights(tmp_path / NAME).values()
    )


def test_channels_of_zeros_stay_zeros(network, tmp_path):
    torch.nn.init.zeros_(network.stem[1].weight)
    network.save_in_eight_bits(tmp_path)
    assert not load_network(build, tmp_path).stem[1].weight.any()


@pytest.mark.parametrize(
    "scales", [torch.ones(10**6), torch.ones(1), torch.full((160,), float("nan")), None]
)
def test_scales_that_do_not_fit_are_refused(network, tmp_path, scales):
    network.save_in_eight_bits(tmp_path)
    tensors = load_file(tmp_path / NAME)
    name = next(name for name in tensors if name.endswith(SCALES) and len(tensors[name]) == 160)
    tensors |= {name: scales} if scales is not None else {}
    if scales is None:
        del tensors[name]
    save_file(tensors, tmp_path / NAME)
    with pytest.raises(WeightsError):
        load_network(build, tmp_path)


def test_settings_and_weights_come_back(tmp_path):
    torch.manual_seed(0)
    network = PatchAutoencoder(8, wide=16, narrow=8)
    network.save_pretrained(tmp_path)
    again = PatchAutoencoder.from_pretrained(tmp_path)
    assert vars(again.config) == {"latent_channels": 8, "narrow": 8, "wide": 16}
    weights = again.state_dict()
    assert all(torch.equal(weights[name], own) for name, own in network.state_dict().items())
    assert not again.training


def test_settings_of_others_are_left(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"latent_channels": 4, "_diffusers_version": "0.42", "model": 1}))
    assert PatchAutoencoder.built(tmp_path).config.latent_channels == 4
