"""One-step inversion: clean latents to the noise that a one-step generator would make them from."""

from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from swiftpie.attention.condition import attend, merge_heads, split_heads, thin
from swiftpie.models.denoiser import added_conditions
from swiftpie.types import TextCondition

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention

INVERSION_TIMESTEP = 500  # the constant timestep input of SwiftEdit's network
START = "noised"  # the generator starts from the picture's latents plus the inverted noise


Call = tuple[Tensor, TextCondition]  # the inputs of an inversion network, a batch of any size


class Inversion(Protocol):
    """Predicts the noise behind a picture."""

    def __call__(self, latents: Tensor, text: TextCondition, /) -> Tensor:
        """Return noise (B, C, h, w) of about unit variance for clean `latents` (B, C, h, w)."""


def finds_noise_alone(inversion: object) -> bool:
    """Whether noise is all that an inversion network finds, so that engines may wrap it."""
    return inversion is not None and not hasattr(inversion, "read")


class DownsampledAttention:
    """Attention with token downsampling (arXiv:2402.13573).

    On the finest grid, keys and values come from one of `stride` x `stride` tokens. It fits layers
    without residual connection and without normalisation.
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the layer's output (B, N, D); `cells` are rows and columns of the latents."""
        assert attention_mask is None, "inversion networks read whole prompts"
        is_own = encoder_hidden_states is None
        seen = thin(hidden_states, cells, self.stride) if is_own else encoder_hidden_states
        query, key, value = (
            split_heads(part, attn.heads)
            for part in (attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen))
        )
        output: Tensor = attn.to_out[0](merge_heads(attend(query, key, value)))
        return output


class UNetInversion(nn.Module):
    """SwiftEdit's inversion network: a U-Net that reads clean latents (arXiv:2412.04301)."""

    def __init__(self, unet: "UNet2DConditionModel", *, stride: int | None = None) -> None:
        """Wrap `unet`; a `stride` exchanges its attention for `DownsampledAttention`."""
        super().__init__()
        self.unet = unet
        self.is_thinned = stride is not None
        if stride is not None:
            unet.set_attn_processor(DownsampledAttention(stride))

    def forward(self, latents: Tensor, text: TextCondition) -> Tensor:
        latents = latents.to(self.unet.dtype)
        noise: Tensor = self.unet(
            latents,
            INVERSION_TIMESTEP,
            text.hidden_states.to(latents.dtype),
            added_cond_kwargs=added_conditions(self.unet, latents, text),
            cross_attention_kwargs={"cells": tuple(latents.shape[-2:])}
            if self.is_thinned
            else None,
        ).sample
        return noise.float()
