"""A style picture in attention to text, by the feature aggregation of RB-Modulation.

`out = (Attn(q, k, v) + Attn(q, k_s, v_s) + Attn(q, [k, k_s], [v, v_s])) / 3`: text alone, style
alone, and both in one softmax, so that neither takes the place of the other (arXiv:2405.17401,
attention feature aggregation). Nothing of it depends on the number of steps.
Differs from the released code: the style's keys and values are those that an adapter makes of its
tokens, not those of the text's projections, and its tokens are not replaced by their mean.
"""

import torch
from torch import Tensor

from swiftpie.attention.kernels import attend, merge_heads, split_heads


def aggregate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    text: Tensor,
    text_mask: Tensor | None,
    style: tuple[Tensor, Tensor],
    scale: Tensor,
) -> Tensor:
    """Return attention to text on the way to the aggregation, (B, N, D); all of it at scale 1.

    Shapes: query (B, heads, N, d), key and value of the text (B, heads, T, d), `text` what the
    layer attends to without a style (B, N, D), text_mask (B, heads, 1, T) added to logits, keys and
    values of the style (B, K, D), scale (B,), where 0 would change nothing.
    """
    style_key, style_value = (split_heads(x, query.shape[1]) for x in style)
    mask = None
    if text_mask is not None:
        seen = torch.zeros_like(text_mask[..., :1]).expand(-1, -1, -1, style_key.shape[2])
        mask = torch.cat([text_mask, seen], dim=3)
    keys, values = torch.cat([key, style_key], dim=2), torch.cat([value, style_value], dim=2)
    alone = merge_heads(attend(query, style_key, style_value))
    both = merge_heads(attend(query, keys, values, mask))
    return torch.lerp(text, (text + alone + both) / 3, scale[:, None, None].to(text))
