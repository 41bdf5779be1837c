import pytest
import torch
from diffusers import UNet2DConditionModel

from swiftpie.training.critics import RealismHead, middle_features, middle_of


def small_unet(middle):
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        mid_block_type=middle,
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    )


@pytest.mark.parametrize("middle", ["UNetMidBlock2DCrossAttn", None])
def test_the_narrowest_features_are_seen_and_nothing_stays_installed(middle):
    unet = small_unet(middle)
    inputs = (torch.randn(2, 4, 16, 16), 10, torch.randn(2, 3, 12))
    with middle_features(unet) as seen:
        unet(*inputs)
        unet(*inputs)
    unet(*inputs)
    assert [one.shape for one in seen] == [(2, 16, 8, 8)] * 2
    assert len(middle_of(unet)._forward_hooks) == 0


def test_the_head_gives_one_logit_a_picture_and_a_gradient_to_its_features():
    head = RealismHead(16)
    features = torch.randn(3, 16, 8, 8, requires_grad=True)
    logits = head(features)
    assert logits.shape == (3, 1)
    logits.sum().backward()
    assert float(features.grad.abs().sum()) > 0
    assert all(weight.grad is not None for weight in head.parameters())
