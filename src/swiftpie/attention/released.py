"""SwiftEdit's attention as its released code computes it, to repeat that code's pictures."""

from dataclasses import replace

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import AttentionCondition, Block, Notes
from swiftpie.attention.install import Installation, block_of
from swiftpie.attention.kernels import attend, merge_heads, split_heads, token_grid
from swiftpie.attention.semantic import SemanticAttention, per_head_mask

CONTROLLED = Block.UP  # the only layers that the released code rescales


class ReleasedAttention:
    """Cross-attention to text and image, for half of the rows to keep a picture and half to edit.

    Differs from arXiv:2412.04301, Eq. 9, which `SemanticAttention` computes: because of how the
    code masks its logits, all image tokens count alike inside of the mask; outside, the edit gets
    the image attention of its source row; the text scale acts everywhere, and 0 leaves the text
    as it is. Layers that are not controlled add image attention unscaled.
    """

    def __init__(self, semantic: SemanticAttention, *, is_controlled: bool) -> None:
        """Use the projections of `semantic`; nothing of it is changed."""
        self.semantic = semantic
        self.is_controlled = is_controlled

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (2B, N, D) for `hidden_states` (2B, N, D)."""
        del notes  # masks are known beforehand
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key = split_heads(attn.to_k(encoder_hidden_states), attn.heads)
        value = split_heads(attn.to_v(encoder_hidden_states), attn.heads)
        text_mask = per_head_mask(attn, attention_mask, key.shape[2], len(query))
        text = merge_heads(attend(query, key, value, text_mask))
        tokens = condition.identity_tokens[:, 0]
        image_key = split_heads(self.semantic.to_k_ip(tokens), attn.heads)
        image_value = self.semantic.to_v_ip(tokens)
        image = merge_heads(attend(query, image_key, split_heads(image_value, attn.heads)))
        if self.is_controlled:
            text, image = _controlled(text, image, image_value, condition)
        output: Tensor = attn.to_out[0]((text + image).to(hidden_states.dtype))
        return output


def install_released(installation: Installation) -> Installation:
    """Replace the semantic branch of an installed U-Net; its weights go on serving.

    While it lasts, every call needs an even number of rows and one subject.
    """
    unet = installation.network
    originals = dict(unet.attn_processors)
    released = {
        f"{name}.processor": ReleasedAttention(semantic, is_controlled=block_of(name) is CONTROLLED)
        for name, semantic in installation.semantic.items()
    }
    unet.set_attn_processor({**originals, **released})
    return replace(installation, originals=originals)


def _controlled(
    text: Tensor, image: Tensor, image_value: Tensor, condition: AttentionCondition
) -> tuple[Tensor, Tensor]:
    """Return text and image attention (2B, N, D) after rescaling the second half of the rows."""
    half = len(text) // 2
    mask = condition.region[half:]  # to the layer without averaging, as released
    grid = token_grid(text.shape[1], mask.shape[2], mask.shape[3])
    mask = F.interpolate(mask, size=grid, mode="nearest").flatten(2).transpose(1, 2)
    inside = condition.identity_scale[half:, :, None]
    outside = condition.identity_background_scale[half:, :, None]
    strength = condition.text_scale[half:, None, None]
    uniform = image_value[half:].mean(dim=1, keepdim=True)
    edited = inside * mask * uniform + outside * (1 - mask) * image[:half]
    scaled = torch.where(strength == 0, 1.0, strength) * text[half:]
    return torch.cat([text[:half], scaled]), torch.cat([image[:half], edited])
