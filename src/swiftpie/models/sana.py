"""SANA-Sprint's transformer as a denoiser from words alone, and as the flow that it is."""

import torch
from torch import Tensor

from swiftpie.attention.condition import Notes
from swiftpie.models.denoiser import Prediction, SubjectCondition, WholeDenoiser
from swiftpie.schedules import TRAIN_TIMESTEPS
from swiftpie.types import TextCondition

GUIDANCE = 4.5  # which the student was taught to give in one pass, as its authors draw


class SanaDenoiser(WholeDenoiser):
    """The transformer as it is: linear attention has no softmax for keys of references.

    It was distilled at angles `a` (arXiv:2503.09641), where latents are `cos(a) clean + sin(a)
    noise`, and predicts the velocity of a flow at the time `sin / (cos + sin)`. In latents of that
    flow, `(1 - t) clean + t noise`, both agree on the clean ones: no change of variables is left.
    """

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
        network = self.network
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
