"""Attention of a plain U-Net to fewer of its own tokens."""

from diffusers.models.attention_processor import Attention
from torch import Tensor

from swiftpie.attention.kernels import attend, merge_heads, split_heads, thin


class ThinnedAttention:
    """Serves all layers of transformer blocks, whose attention adds nothing and normalises nothing.

    Token downsampling (arXiv:2402.13573): on the finest grid keys and values are those of one of
    `stride` x `stride` tokens.
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(
        self,
        attn: Attention,
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
