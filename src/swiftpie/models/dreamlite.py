"""DreamLite's U-Net as a denoiser whose picture is drawn beside the picture of a subject."""

from collections.abc import Sequence

import torch
from diffusers import DreamLiteUNetModel
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_dreamlite import DreamLiteAttnProcessor2_0
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import AttentionCondition, Notes, region_scale
from swiftpie.attention.kernels import MASKED, attend, merge_heads
from swiftpie.geometry.layout import Layout, fitted, to_affine, warp
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import Prediction, SubjectCondition, WholeDenoiser
from swiftpie.types import Autoencoder, TextCondition

CELL_PX = 8
LEAST = 1e-6  # a strength below this is none


class HalvesAttention(DreamLiteAttnProcessor2_0):
    """The network's own attention, where a bias may hide the reference's half from the other.

    diffusers makes a copy of a bias for each head, and this one none.
    """

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return the layer's output (B, N, D); `bias` (B, 1, N, N) is for layers without text."""
        if bias is None or encoder_hidden_states is not None:
            plain: Tensor = super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return plain
        width = attn.inner_dim // attn.heads
        query, key, value = (
            layer(hidden_states).unflatten(-1, (-1, width))
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        times = attn.heads // key.shape[2]  # that heads of keys are shared
        key, value = (part.repeat_interleave(times, dim=2) for part in (key, value))
        by_head = [part.transpose(1, 2) for part in (query, key, value)]
        attended = attend(by_head[0], by_head[1], by_head[2], bias.to(query.dtype))
        output: Tensor = attn.to_out[0](merge_heads(attended))
        return output


class DreamLiteDenoiser(WholeDenoiser):
    """The U-Net on latents of twice the width: the picture to draw, and to its right a reference.

    Without a subject that half is 0, as the network was trained to draw from text. The latents of
    references are its input, so nothing of them is projected or kept.
    """

    def __init__(self, unet: DreamLiteUNetModel, *, reads_references: bool) -> None:
        """Install attention on `unet` that computes the same and takes a bias."""
        processors = {name: HalvesAttention() for name in unet.attn_processors}
        super().__init__(unet, plain=processors, most_pictures=int(reads_references))
        unet.set_attn_processor(dict(processors))

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents minus noise (B, C, h, w) at one timestep or (B,); see `Denoiser`."""
        del notes  # its layers find nothing
        batch, _, rows, columns = latents.shape
        attention, network = condition.attention, self.network
        strongest = attention.detail_scale + attention.detail_background_scale
        is_shown = (strongest.amax(1) > 0).to(latents)[:, None, None, None]
        shown = condition.aligned[:, 0].to(latents)
        reference = is_shown * shown if shown.shape[1] else torch.zeros_like(latents)
        halves = torch.cat([latents, reference], dim=3)
        size = latents.new_tensor([[CELL_PX * columns, CELL_PX * rows]]).expand(batch, -1)
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        velocity = network(
            halves.to(network.dtype),
            times.expand(batch),
            text.hidden_states.to(network.dtype),
            encoder_attention_mask=text.attention_mask,
            added_cond_kwargs={"time_ids": size},
            cross_attention_kwargs={"bias": is_shown * self._bias(attention)},
            return_dict=False,
        )[0]
        sample = -velocity[..., :columns]
        return Prediction(sample, subject_mask=latents.new_zeros(batch, 1, 1, 1))

    def place_subjects(
        self,
        autoencoder: Autoencoder,
        frames: Sequence[Tensor],
        *,
        layouts: Sequence[Layout],
        present: Tensor,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the latents of a picture with the first subject in place, (B, 1, C, h, w).

        A frame fills the picture or, where that has another shape, all that it can without being
        stretched.
        """
        del present  # a row without it does not read these latents
        pixels, layout = frames[0][:, :3], layouts[0]  # grey outside of the subject already
        size = (CELL_PX * cells[0], CELL_PX * cells[1])
        if tuple(pixels.shape[2:]) != size:
            layout = fitted(layout, size) if layout.scale.ndim == 1 else layout
            side = round(float(layout.scale.flatten()[0]) * size[1])
            if side < pixels.shape[3]:  # or fine patterns would alias
                pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        placed = warp(pixels, to_affine(layout), size).clamp(-1, 1)
        return autoencoder.encode(placed).unsqueeze(1)

    def _bias(self, attention: AttentionCondition) -> Tensor:
        """Return what is added to the logits of self-attention, (B, 1, N, N).

        All of these layers are on the coarsest grid. On the logit of a target cell on a
        reference's cell comes `log(detail_scale)`, E3 of docs/concepts.md.
        """
        rows, columns = attention.region.shape[-2:]
        shrinks = 2 ** (len(self.network.down_blocks) - 1)
        down, across = (-(-side // shrinks) for side in (rows, 2 * columns))
        num_own = (columns + shrinks // 2) // shrinks  # one in the middle is not the reference's
        is_shown = torch.arange(across, device=attention.region.device) >= num_own
        own = resize_mask(attention.region * attention.detail_mask, (down, num_own))
        strength = region_scale(
            attention.detail_scale, attention.detail_background_scale, own.flatten(2)
        ).squeeze(-1)  # (B, S, n)
        seen = torch.where(strength > LEAST, strength.clamp_min(LEAST).log(), MASKED)[:, 0]
        by_cell = F.pad(seen.unflatten(1, (down, num_own)), (0, across - num_own)).flatten(1)
        return (by_cell[:, :, None] * is_shown.repeat(down).to(by_cell))[:, None]
