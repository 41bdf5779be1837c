import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from swiftpie.photo.cutout_net import CutoutNet
from swiftpie_lab.training.stages.cutout import imagenet_encoder, outline, soft_iou_loss


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


def test_a_right_guess_costs_nothing_and_a_wrong_one_nearly_all():
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 6:26, 6:26] = 1
    assert soft_iou_loss(40 * mask - 20, mask) < 0.01
    assert soft_iou_loss(20 - 40 * mask, mask) > 0.99
    band = outline(mask)[0, 0, 16]
    assert band[6 - 1] == band[6] == band[26] == 1
    assert band[16] == band[0] == 0


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
