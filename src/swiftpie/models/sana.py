"""SANA-Sprint's transformer as a denoiser from words alone, and as the flow that it is."""

import torch
from diffusers import SanaTransformer2DModel
from torch import Tensor, nn

from swiftpie.attention.condition import Notes
from swiftpie.attention.install import Installation, Plan
from swiftpie.geometry.layout import Layout
from swiftpie.models.denoiser import Prediction, SubjectCondition
from swiftpie.schedules import TRAIN_TIMESTEPS
from swiftpie.types import Autoencoder, TextCondition

GUIDANCE = 4.5  # which the student was taught to give in one pass, as its authors draw


class SanaDenoiser(nn.Module):
    """The transformer as it is; no layer of it reads references.

    It was distilled at angles `a` (arXiv:2503.09641), where latents are `cos(a) clean + sin(a)
    noise`, and predicts the velocity of a flow at the time `sin / (cos + sin)`. In latents of that
    flow, `(1 - t) clean + t noise`, both agree on the clean ones: no change of variables is left.
    """

    def __init__(self, transformer: SanaTransformer2DModel) -> None:
        """Wrap `transformer`; nothing is installed in it."""
        super().__init__()
        self.transformer = transformer
        own = dict(transformer.attn_processors)
        plan = Plan(
            token_width=1,  # nothing reads identity tokens
            own_projections=False,
            semantic=frozenset(),
            detail=frozenset(),
        )
        plain = {name.removesuffix(".processor"): one for name, one in own.items()}
        self.installation = Installation(
            transformer, plan, originals=own, semantic={}, detail={}, plain=plain
        )

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents minus noise (B, C, h, w) at one timestep or (B,); see `Denoiser`."""
        del condition, notes
        network = self.transformer
        words = text.hidden_states.to(network.dtype)
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        guidance = words.new_full((len(latents),), GUIDANCE)
        velocity = network(
            hidden_states=latents.to(network.dtype),
            encoder_hidden_states=words,
            encoder_attention_mask=text.attention_mask,
            timestep=times.expand(len(latents)) / TRAIN_TIMESTEPS,
            guidance=guidance * network.config.guidance_embeds_scale,
            return_dict=False,
        )[0]
        return Prediction(-velocity, subject_mask=latents.new_zeros(len(latents), 1, 1, 1))

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return the latents of references; see `Denoiser`."""
        del mask
        return autoencoder.encode(pixels)

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return nothing: linear attention has no softmax for keys of references."""
        del encoded, text
        return {}

    def place_subject(
        self,
        autoencoder: Autoencoder,
        pixels: Tensor,
        mask: Tensor,
        *,
        layout: Layout,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return nothing: it takes no aligned subject, (B, 0, h, w)."""
        del autoencoder, mask, layout
        return pixels.new_zeros(len(pixels), 0, *cells)
