"""Tiny random U-Nets, plain and with our processors."""

import pytest
import torch

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import BranchPlan, install
from tests.tiny.networks import WIDTH, tiny_unet


@pytest.fixture
def unet():
    return tiny_unet("plain")


@pytest.fixture
def latents():
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def text():
    return torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def installation(unet):
    return install(unet, BranchPlan(token_width=WIDTH, gate=1.0))


@pytest.fixture
def condition(latents, installation):
    generator = torch.Generator().manual_seed(3)
    batch = len(latents)
    silent = silent_condition(latents, width=WIDTH)
    keys = {}
    for name, processor in installation.detail.items():
        width = processor.to_k_ref.in_features
        num_tokens = {"down_blocks.0": 256, "up_blocks.2": 256, "mid_block": 16}.get(
            ".".join(name.split(".")[: 1 if name.startswith("mid") else 2]), 64
        )
        keys[name] = torch.randn(batch, 1, num_tokens, width, generator=generator)
    ones = torch.ones(batch, 1)
    return silent._replace(
        identity_tokens=torch.randn(batch, 1, 4, WIDTH, generator=generator),
        keys=keys,
        values={name: torch.randn(k.shape, generator=generator) for name, k in keys.items()},
        coverage=torch.ones(batch, 1, 1, 16, 16),
        identity_scale=ones,
        identity_background_scale=ones,
        detail_scale=ones,
        detail_background_scale=ones,
    )


@pytest.fixture
def predict(unet, latents, text):
    def run(condition=None, notes=None, rows=slice(None)):
        keywords = {}
        if condition is not None:
            keywords = {"condition": condition, "notes": {} if notes is None else notes}
        return unet(latents[rows], 999, text[rows], cross_attention_kwargs=keywords).sample

    return run


@pytest.fixture
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
