import subprocess
import sys
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from swiftpie.errors import ConfigError
from swiftpie.models.cutout import cutout_network
from swiftpie.models.cutout_net import CutoutNet
from swiftpie_lab.data.collages import draw_collages
from swiftpie_lab.training.stages.cutout import (
    CutoutConfig,
    CutoutStage,
    imagenet_encoder,
    outline,
    soft_iou_loss,
)
from tests.lab.collages import collection_of, write_pictures
from tests.lab.training.stages.conftest import check_learning

MAX_BYTES = 3.2 * 2**20
NUM = 2  # pictures in a batch


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    collection = collection_of(tmp_path_factory.mktemp("collection"))
    torch.manual_seed(0)
    draw = partial(draw_of, collection)
    return CutoutStage(draw, draw(0), NUM, "cpu", CutoutNet())


def draw_of(collection, seed):
    return draw_collages(collection, count=NUM, seed=seed)


@pytest.fixture(scope="module")
def network(stage):
    return stage.network()


@pytest.mark.thorough
def test_training_goes_on_from_the_packaged_network(context, tmp_path):
    photos = write_pictures(tmp_path / "photos", "RGB", count=4)
    cutouts = write_pictures(tmp_path / "cutouts", "RGBA", count=4)
    stage = CutoutConfig(photos=str(photos), cutouts=str(cutouts), start="mini").build(context)
    shipped, values = cutout_network().state_dict(), stage.network().state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in values.items())


def test_without_photographs_nothing_is_trained(context):
    with pytest.raises(ConfigError, match=r"stage\.photos"):
        CutoutConfig(cutouts="here").build(context)


def test_batch_norms_become_parts_of_the_convolutions_before_them():
    torch.manual_seed(0)
    encoder, weights = CutoutNet().encoder, {}

    def add(conv, norm, shape):
        weights[f"{conv}.weight"] = torch.randn(shape)
        for name in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{norm}.{name}"] = torch.rand(shape[0]) + 0.5

    add("_conv_stem", "_bn0", encoder.stem.conv.weight.shape)
    for number, block in enumerate(block for stage in encoder.stages for block in stage):
        if block.widen is not None:
            widen = f"_blocks.{number}._expand_conv"
            add(widen, f"_blocks.{number}._bn0", block.widen.weight.shape)
        look, narrow = f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._project_conv"
        add(look, f"_blocks.{number}._bn1", block.look.conv.weight.shape)
        add(narrow, f"_blocks.{number}._bn2", block.narrow.weight.shape)
    encoder.load_state_dict(imagenet_encoder(weights))
    pixels = torch.randn(1, 3, 64, 64)
    seen = F.conv2d(F.pad(pixels, (0, 1, 0, 1)), weights["_conv_stem.weight"], stride=2)
    names = ("running_mean", "running_var", "weight", "bias")
    seen = F.batch_norm(seen, *(weights[f"_bn0.{name}"] for name in names), eps=1e-3)
    torch.testing.assert_close(encoder.stem(pixels), F.relu6(seen), atol=1e-4, rtol=1e-4)


def disc(radius, side=32):
    grid = torch.arange(side) - side / 2 + 0.5
    return (torch.hypot(grid[:, None], grid) < radius).float()[None, None]


def test_a_right_guess_costs_nothing_and_a_wrong_one_nearly_all():
    mask = disc(10)
    assert soft_iou_loss(40 * mask - 20, mask) < 0.01
    assert soft_iou_loss(20 - 40 * mask, mask) > 0.99


def test_the_outline_is_a_band_on_both_sides():
    band = outline(disc(10))[0, 0, 16]
    assert band[16 - 10 + 1] == band[16 - 10 - 2] == 1
    assert band[16] == band[0] == 0


def test_the_decoder_learns_and_the_encoder_stays(stage):
    learned = check_learning(stage, rate=1e-3, draw=5)
    assert all(name.startswith("decoder.") for name in learned)


def test_the_exported_network_is_small_and_comes_back_as_it_was(stage, network, tmp_path):
    stage.export(network, tmp_path)
    (weights,) = tmp_path.rglob("*.safetensors")
    assert weights.stat().st_size <= MAX_BYTES
    pixels, _ = stage.draw(0).tensors()
    with torch.no_grad():
        found, expected = CutoutNet.from_pretrained(tmp_path / "cutout")(pixels), network(pixels)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.01)
    assert next(network.parameters()).dtype == torch.float32


# In a process of its own: PyTorch's loader ends one that has OpenVINO in it by a fault in memory.
DRAWS = """
import os
from swiftpie_lab.training.stages.cutout import Ahead

def square_and_process(number):
    return number**2, os.getpid()

def build():
    return square_and_process

if __name__ == "__main__":
    ahead = Ahead(build, 1)
    for numbers in ((4, 5), (2,)):
        drawn = [ahead(number) for number in numbers]
        assert [square for square, _ in drawn] == [number**2 for number in numbers]
        assert os.getpid() not in {process for _, process in drawn}
"""


@pytest.mark.thorough
def test_draws_are_those_of_their_numbers_and_made_elsewhere(tmp_path):
    program = tmp_path / "draws.py"
    program.write_text(DRAWS)
    done = subprocess.run([sys.executable, program], timeout=120, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
