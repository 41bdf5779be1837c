"""A network of ours comes back from its folder with its settings and its weights."""

import json

import torch

from swiftpie.models.autoencoder import PatchAutoencoder


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
