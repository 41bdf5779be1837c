"""What the tests of all stages start from: the mini model, and a tiny random Stable Diffusion."""

import importlib.resources
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig
from swiftpie_lab.training.stages.one_step.networks import Sizes, new_networks, train_tokenizer
from swiftpie_lab.training.stages.one_step.stage import OneStepStage
from swiftpie_lab.training.state import read_state
from tests.cli.conftest import one_thread
from tests.lab.data.photos import make_folder
from tests.tiny.folders import make_pipeline

__all__ = ["one_thread"]

SIDE_PX = 64
# What settings a stage of published models takes to be exact and quick.
EXACT = {"size_px": SIDE_PX, "batch_size": 2, "checkpointing": False, "mixed_precision": False}
LOOP = LoopConfig(
    steps=16,
    learning_rate=1.5e-2,
    warmup_steps=1,
    log_every=1,
    sample_every=100,
    save_every=100,
    uses_muon=False,
)
SMALL = Sizes(
    width=40,
    text_layers=1,
    text_length=40,
    vocabulary=2048,
    widths=(16, 24),
    heads=(1, 1),
    identity_grid=4,
    identity_blocks=0,
)


@pytest.fixture(scope="package")
def context(tmp_path_factory):
    samples = importlib.resources.files("swiftpie") / "assets" / "samples"
    return Context(data=Path(str(samples)), runs=tmp_path_factory.mktemp("runs"), device="cpu")


def small_model(world, config):
    networks = new_networks(train_tokenizer(world.corpus(), SMALL), SMALL)
    autoencoder = PatchAutoencoder().eval().requires_grad_(False)
    return OneStepStage(world, world, autoencoder, networks, config=config)


def check_learning(stage, *, rate, draw=2):
    """Check what every plain stage promises, and return the names of the weights that learned.

    A draw decides its losses, all trained weights get a gradient and no other does, and a small
    step downhill lowers the loss.
    """
    network = stage.network()
    first, again, other = (stage.losses(network, number) for number in (draw, draw, draw + 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    before = sum(first.values())
    before.backward()
    weights = dict(network.named_parameters())
    learned = {name for name, weight in weights.items() if weight.grad is not None}
    assert learned == {name for name, weight in weights.items() if weight.requires_grad}
    torch.optim.SGD([weights[name] for name in learned], lr=rate).step()
    with torch.no_grad():
        assert sum(stage.losses(network, draw).values()) < before
    return learned


def check_goes_on(build, tmp_path, **changes):
    """Check that a run that stops after each step ends in the same bits; return its last event."""
    loop = replace(LOOP, **{"steps": 2, "sample_every": 9, "save_every": 9, **changes})
    *_, last = fit(build(), loop, tmp_path / "whole")
    for _ in range(loop.steps):
        assert [*fit(build(), loop, tmp_path / "parts", time_limit_s=0.0)]
    whole, parts = (read_state(tmp_path / name).tensors for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    differs = [name for name in whole if not torch.equal(whole[name], parts[name])]
    assert not differs, differs[:9]
    return last


def settings_in(place):
    """Return settings of any stage, exact and quick, that starts from what `fill` wrote."""
    return {"weights": place / "pipeline", "image_encoder": place / "encoder", **EXACT}


def fill(root):
    make_pipeline(root / "pipeline", "sd21")
    make_folder(root / "photos", views=2)
    return root


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    """A folder with all that a stage may be built of; not to be changed."""
    return fill(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="package")
def build(place):
    """Builds a stage, exact and quick by default; equal settings give the same one."""
    built = {}

    def build_stage(*, is_new=False, **changes):
        key = repr(sorted(changes.items()))
        if key in built and not is_new:
            return built[key]
        settings = {**settings_in(place), "data": place / "photos", "num_judged": 4}
        context = Context(data=place, runs=place, device="cpu")
        built[key] = AdapterConfig(**settings | changes).build(context)
        return built[key]

    return build_stage
