"""Critics of a student: a low-rank change of its teacher, and a discriminator of latents."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.attention.condition import silent_condition
from swiftpie.errors import check_installed
from swiftpie.models.denoiser import added_conditions
from swiftpie.types import TextCondition

ADAPTED = ("to_q", "to_v")  # the layers that are changed, as in arXiv:2312.05239
LOW_RANK_SEED = 1  # of the first weights
NUM_SCALES = 3  # the coarsest ones of the way down, and the middle
HEAD_WIDTH = 64
GROUPS = 8
R1 = 1e-5  # weight of the squared gradient at photos


def add_low_rank(unet: UNet2DConditionModel, *, rank: int, alpha: int) -> None:
    """Add a trainable change of zero to the queries and values of `unet`, and freeze the rest.

    Raises:
        MissingExtra: peft is not installed.
    """
    check_installed("peft", extra="lora", use="A recipe that adds a LoRA to a U-Net")
    from peft import LoraConfig

    unet.requires_grad_(requires_grad=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(LOW_RANK_SEED)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(ADAPTED)))


@contextmanager
def without_low_rank(unet: UNet2DConditionModel) -> Iterator[None]:
    """Make `unet` the teacher again inside the `with` block."""
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()


def low_rank_parts(unet: UNet2DConditionModel) -> dict[str, nn.Linear]:
    """Return every trained factor of the change that `unet` has, by module path."""
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear) and {"lora_A", "lora_B"} & {*path.split(".")}
    }


def use_low_rank(unet: UNet2DConditionModel, parts: Mapping[str, nn.Linear]) -> None:
    """Let `unet` change by the factors in `parts`; they take the place of earlier ones."""
    for path, part in parts.items():
        unet.set_submodule(path, part)


class ScaleHead(nn.Module):
    """Scores every cell of one scale."""

    def __init__(self, width: int, subject: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, HEAD_WIDTH, 1)
        self.norm = nn.GroupNorm(GROUPS, HEAD_WIDTH)
        self.subject = nn.Linear(subject, HEAD_WIDTH)
        self.mix = nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, padding=1)
        self.score = nn.Conv2d(HEAD_WIDTH, 1, 1)

    def forward(self, features: Tensor, subject: Tensor) -> Tensor:
        """Return scores (B, 1, h, w) of features (B, C, h, w) for subjects (B, D)."""
        hidden = self.norm(self.narrow(features)) + self.subject(subject)[:, :, None, None]
        scores: Tensor = self.score(F.silu(self.mix(F.silu(hidden))))
        return scores


class Discriminator(nn.Module):
    """One head a scale."""

    def __init__(self, widths: Sequence[int], *, subject: int) -> None:
        """Build the heads, always with the same weights."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.heads = nn.ModuleList(ScaleHead(width, subject) for width in widths)

    def forward(self, features: Sequence[Tensor], subject: Tensor) -> Tensor:
        """Return one score a sample (B,), higher for photos."""
        pairs = zip(self.heads, features, strict=True)
        return torch.stack([head(cells, subject).mean((1, 2, 3)) for head, cells in pairs]).mean(0)


def widths_of(unet: UNet2DConditionModel) -> list[int]:
    """Return the channels of what `features_of` returns."""
    channels = list(unet.config.block_out_channels)
    return [*channels, channels[-1]][-NUM_SCALES:]


def features_of(
    unet: UNet2DConditionModel, latents: Tensor, timestep: int, text: TextCondition, *, width: int
) -> list[Tensor]:
    """Run the way down and the middle of an installed U-Net, its identity branches silent.

    Takes noisy latents (B, C, h, w) and the `width` of an identity token; returns features
    (B, C, h, w) of the coarsest scales, fine to coarse.
    """
    states = text.hidden_states.to(latents)
    embedded = unet.time_embedding(
        unet.get_time_embed(sample=latents, timestep=timestep).to(latents.dtype)
    )
    added = unet.get_aug_embed(embedded, states, added_conditions(unet, latents, text) or {})
    embedded = embedded if added is None else embedded + added
    kwargs = {"condition": silent_condition(latents, width=width), "notes": {}}
    attends = {"encoder_hidden_states": states, "cross_attention_kwargs": kwargs}
    hidden = unet.conv_in(latents)
    features = []
    for block in unet.down_blocks:
        crosses = getattr(block, "has_cross_attention", False)
        hidden, _ = block(hidden, embedded, **(attends if crosses else {}))
        features.append(hidden)
    features.append(unet.mid_block(hidden, embedded, **attends))
    return features[-NUM_SCALES:]


def discriminator_terms(
    discriminator: Discriminator, real: Sequence[Tensor], fake: Sequence[Tensor], *, subject: Tensor
) -> dict[str, Tensor]:
    """Return the hinge loss and R1, the squared gradient with respect to a photo's features.

    R1 is taken at the features, not at the latents: fused attention has no second derivative.
    """
    leaves = [features.detach().requires_grad_(True) for features in real]
    on_real = discriminator(leaves, subject)
    on_fake = discriminator([features.detach() for features in fake], subject)
    slopes = torch.autograd.grad(on_real.sum(), leaves, create_graph=True)
    steepness = torch.stack([slope.square().sum((1, 2, 3)) for slope in slopes]).sum(0)
    return {
        "hinge": F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean(),
        "r1": R1 / 2 * steepness.mean(),
    }
