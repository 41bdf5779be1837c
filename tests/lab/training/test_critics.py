import copy

import pytest
import torch
from diffusers import UNet2DConditionModel

from swiftpie_lab.training.critics import (
    add_low_rank,
    low_rank_parts,
    use_low_rank,
    without_low_rank,
)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


@torch.no_grad()
def test_a_change_starts_at_nothing_and_can_be_turned_off(unet):
    inputs = (torch.randn(1, 4, 8, 8), 10, torch.randn(1, 3, 12))
    before = unet(*inputs).sample
    state = torch.random.get_rng_state()
    add_low_rank(unet, rank=2, alpha=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(unet(*inputs).sample, before)
    trained = {name: weight for name, weight in unet.named_parameters() if weight.requires_grad}
    assert {name.split(".")[-4] for name in trained} == {"to_q", "to_v"}
    for name, weight in trained.items():
        if "lora_B" in name:
            weight.normal_()
    assert not torch.allclose(unet(*inputs).sample, before, atol=1e-3)
    with without_low_rank(unet):
        torch.testing.assert_close(unet(*inputs).sample, before)
    assert not torch.allclose(unet(*inputs).sample, before, atol=1e-3)
    assert all(weight.requires_grad for weight in trained.values())


def test_factors_of_others_are_worn_and_trained(unet):
    inputs = (torch.randn(1, 4, 8, 8), 10, torch.randn(1, 3, 12))
    add_low_rank(unet, rank=2, alpha=4)
    own = low_rank_parts(unet)
    trained = {name for name, weight in unet.named_parameters() if weight.requires_grad}
    assert {f"{path}.weight" for path in own} == trained
    before = unet(*inputs).sample
    others = copy.deepcopy(own)
    for path, part in others.items():
        if "lora_B" in path:
            torch.nn.init.normal_(part.weight)
    use_low_rank(unet, others)
    with without_low_rank(unet):
        torch.testing.assert_close(unet(*inputs).sample, before)
    worn = unet(*inputs).sample
    assert not torch.allclose(worn, before, atol=1e-3)
    worn.sum().backward()
    assert all(part.weight.grad is not None for part in others.values())
    assert all(part.weight.grad is None for part in own.values())
    use_low_rank(unet, own)
    torch.testing.assert_close(unet(*inputs).sample, before)
