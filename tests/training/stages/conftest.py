"""What the tests of all distillation stages start from."""

import importlib.resources
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from swiftpie.training.context import Context
from swiftpie.training.loop import LoopConfig, fit
from swiftpie.training.stages.distillation import NOTHING_DROPPED, SceneSettings, encode, load_pair
from swiftpie.training.state import STATE_FILE

SCENES = SceneSettings(num_subjects=2, views=1, drops=NOTHING_DROPPED)
LOOP = LoopConfig(
    steps=2, learning_rate=1e-4, log_every=1, sample_every=2, save_every=1, uses_muon=False
)


@pytest.fixture(scope="package")
def context(tmp_path_factory):
    samples = importlib.resources.files("swiftpie") / "assets" / "samples"
    return Context(data=Path(str(samples)), runs=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture(scope="package")
def models(context):
    """The packaged weights as student and as teacher, on the subjects of the package."""
    pair = load_pair(context, student="mini", teacher="mini", scenes=SCENES)
    worlds = [replace(model.stage, world=model.stage.held_out) for model in pair]
    return tuple(model._replace(stage=stage) for model, stage in zip(pair, worlds, strict=True))


@pytest.fixture(scope="package")
def encoded(models):
    """A batch and what the teacher is told about it."""
    _, teacher = models
    batch = teacher.stage.world.batch(2, 1, seed=3)
    with torch.no_grad():
        return batch, encode(teacher.stage, teacher.networks, batch, drops=NOTHING_DROPPED, seed=0)


@pytest.fixture
def train(tmp_path):
    """Train a stage for some steps; return the events and the folder."""

    def run(stage, config=LOOP):
        return list(fit(stage, config, tmp_path / "run")), tmp_path / "run"

    return run


def changed_parts(folder, network):
    """Return the names of the weights in the state of `folder` that `network` has otherwise."""
    state = load_file(folder / STATE_FILE)
    pairs = {name: (w, state[f"network/network/{name}"]) for name, w in network.named_parameters()}
    return {name for name, (before, after) in pairs.items() if not torch.equal(before, after)}
