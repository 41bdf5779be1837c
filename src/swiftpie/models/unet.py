"""A small U-Net whose levels attend to a text, its weights named as diffusers names them.

It computes what `UNet2DConditionModel` of diffusers does for one layer a level, without a middle
block, in the same order. The import of diffusers takes longer than a picture of `mini`.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.attention.processors import read_text

GROUPS = 8  # number of groups of channels, each normalised by itself
HIDDEN = -10000.0  # added to the logits of tokens that a mask leaves out


class Attention(nn.Module):
    """Attention of a picture to itself or to a text, as its `processor` computes it."""

    def __init__(self, width: int, *, heads: int, text_width: int | None = None) -> None:
        super().__init__()
        self.heads, self.inner_dim = heads, width
        self.is_cross_attention = text_width is not None
        source = text_width or width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(source, width, bias=False)
        self.to_v = nn.Linear(source, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.processor: Any = attend_plainly

    def forward(
        self,
        hidden_states: Tensor,
        text: Tensor | None,
        mask: Tensor | None,
        **condition: Any,  # noqa: ANN401 - as processors of diffusers take it
    ) -> Tensor:
        """Map (B, N, D) to the same shape; `mask` (B, 1, T) is added to the logits."""
        attended: Tensor = self.processor(self, hidden_states, text, mask, **condition)
        return attended

    def prepare_attention_mask(self, mask: Tensor, length: int, rows: int) -> Tensor:
        """Return a mask (B, 1, T) for each head, (B * heads, 1, T)."""
        del length, rows  # masks here are as long as their text
        return mask.repeat_interleave(self.heads, dim=0)


def attend_plainly(
    attn: Attention,
    hidden_states: Tensor,
    text: Tensor | None,
    mask: Tensor | None,
    **_condition: object,  # is for branches
) -> Tensor:
    """Return what a layer without any branch attends to, (B, N, D)."""
    source = hidden_states if text is None else text
    output: Tensor = attn.to_out[0](read_text(attn, hidden_states, source, mask).output)
    return output


class GatedLinear(nn.Module):
    """A linear layer of which one half gates the other."""

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner_width)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return (B, N, D') for (B, N, D)."""
        value, gate = self.proj(hidden_states).chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class TransformerBlock(nn.Module):
    """Attention to the picture and to the text, and a perceptron for each place."""

    def __init__(self, width: int, *, heads: int, text_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, heads=heads, text_width=text_width)
        self.norm3 = nn.LayerNorm(width)
        net = nn.Sequential(
            GatedLinear(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)
        )
        self.ff = nn.ModuleDict({"net": net})

    def forward(
        self, hidden: Tensor, text: Tensor, mask: Tensor | None, condition: Mapping[str, Any]
    ) -> Tensor:
        """Map (B, N, D) to the same shape."""
        hidden = self.attn1(self.norm1(hidden), None, None, **condition) + hidden
        hidden = self.attn2(self.norm2(hidden), text, mask, **condition) + hidden
        output: Tensor = self.ff["net"](self.norm3(hidden)) + hidden
        return output


class SpatialTransformer(nn.Module):
    """A transformer block over the places of a picture."""

    def __init__(self, width: int, *, heads: int, text_width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        block = TransformerBlock(width, heads=heads, text_width=text_width)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(
        self, hidden: Tensor, text: Tensor, mask: Tensor | None, condition: Mapping[str, Any]
    ) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        entering = self.proj_in(self.norm(hidden))
        size = entering.shape[2:]
        tokens = entering.permute(0, 2, 3, 1).flatten(1, 2)
        tokens = self.transformer_blocks[0](tokens, text, mask, condition)
        leaving = tokens.unflatten(1, size).permute(0, 3, 1, 2).contiguous()
        output: Tensor = self.proj_out(leaving) + hidden
        return output


class TimestepBlock(nn.Module):
    """Two convolutions with an embedding between them, added to their input."""

    def __init__(self, channels: int, width: int, *, embedding_width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding_width, width)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, width, 1) if channels != width else None

    def forward(self, entering: Tensor, embedding: Tensor) -> Tensor:
        """Return (B, D, h, w) for (B, C, h, w) and an embedding (B, E)."""
        hidden = self.conv1(F.silu(self.norm1(entering)))
        hidden = hidden + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        passed = entering if self.conv_shortcut is None else self.conv_shortcut(entering)
        output: Tensor = passed + hidden
        return output


class Upsampling(nn.Module):
    """Nearest-neighbour doubling and a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return (B, C, 2h, 2w) for (B, C, h, w)."""
        doubled: Tensor = self.conv(F.interpolate(hidden_states, scale_factor=2.0, mode="nearest"))
        return doubled


class Level(nn.Module):
    """The layers of one level on the way down or up; without `heads` they do not attend."""

    def __init__(
        self,
        entering: Sequence[int],
        width: int,
        *,
        heads: int,
        text_width: int,
        embedding_width: int,
    ) -> None:
        """Make a layer for each number of channels that is `entering`."""
        super().__init__()
        self.attentions, self.resnets = nn.ModuleList(), nn.ModuleList()
        for channels in entering:
            self.resnets.append(TimestepBlock(channels, width, embedding_width=embedding_width))
            if heads:
                transformer = SpatialTransformer(width, heads=heads, text_width=text_width)
                self.attentions.append(transformer)
        self.downsamplers, self.upsamplers = nn.ModuleList(), nn.ModuleList()

    def layer(self, index: int, hidden: Tensor, embedding: Tensor, *attended: Any) -> Tensor:  # noqa: ANN401 - see `SpatialTransformer`
        """Return the output (B, D, h, w) of one layer for (B, C, h, w)."""
        hidden = self.resnets[index](hidden, embedding)
        return self.attentions[index](hidden, *attended) if self.attentions else hidden


class UNet(nn.Module):
    """A U-Net with a level for each of `widths`; levels with `heads` attend to the text."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        heads: Sequence[int],
        text_width: int,
        embedding_width: int,
        class_width: int,
    ) -> None:
        """Make an untrained network; blocks also read the timestep and `class_width` numbers."""
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_embedding = _perceptron(widths[0], embedding_width)
        self.class_embedding = _perceptron(class_width, embedding_width)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        shared = {"text_width": text_width, "embedding_width": embedding_width}
        kept, last = [widths[0]], len(widths) - 1  # channels of what the way up reads again
        for index, (width, count) in enumerate(zip(widths, heads, strict=True)):
            level = Level(kept[-1:], width, heads=count, **shared)
            kept.append(width)
            if index < last:
                level.downsamplers.append(
                    nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, stride=2, padding=1)})
                )
                kept.append(width)
            self.down_blocks.append(level)
        below = widths[-1]
        for width, count in zip(reversed(widths), reversed(heads), strict=True):
            entering = (below + kept.pop(), width + kept.pop())
            level = Level(entering, width, heads=count, **shared)
            if kept:
                level.upsamplers.append(Upsampling(width))
            self.up_blocks.append(level)
            below = width
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[0])
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        return self.conv_in.weight.dtype

    @property
    def attn_processors(self) -> dict[str, Any]:
        """What attends in each layer, by module path."""
        return {f"{name}.processor": layer.processor for name, layer in self._attentions().items()}

    def set_attn_processor(self, processors: Mapping[str, Any]) -> None:
        for name, layer in self._attentions().items():
            del layer.processor  # a function cannot take the place of a module
            layer.processor = processors[f"{name}.processor"]

    def _attentions(self) -> dict[str, Attention]:
        return {name: part for name, part in self.named_modules() if isinstance(part, Attention)}

    def forward(
        self,
        sample: Tensor,
        timestep: float | Tensor,
        text: Tensor,
        *,
        class_labels: Tensor,
        text_mask: Tensor | None = None,
        condition: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Return (B, O, h, w) for `sample` (B, I, h, w), whose sides the levels can halve.

        Args:
            sample: The picture, with all that is known of its cells.
            timestep: One number, or one a row, (B,).
            text: Token states (B, T, D).
            class_labels: What all cells read besides, (B, E).
            text_mask: 1 for each token that is read, 0 for others, (B, T).
            condition: Further arguments of the attention processors.
        """
        times = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        waves = sinusoids(times, self.conv_in.out_channels).to(sample.dtype)
        embedding = self.time_embedding(waves)
        embedding = embedding + self.class_embedding(class_labels).to(sample.dtype)
        if text_mask is not None:
            text_mask = ((1 - text_mask.to(sample.dtype)) * HIDDEN).unsqueeze(1)
        read = (embedding, text, text_mask, condition or {})
        level: Any
        hidden = self.conv_in(sample)
        kept = [hidden]
        for level in self.down_blocks:
            hidden = level.layer(0, hidden, *read)
            kept.append(hidden)
            for halving in level.downsamplers:
                hidden = halving["conv"](hidden)
                kept.append(hidden)
        for level in self.up_blocks:
            for index in range(len(level.resnets)):
                hidden = level.layer(index, torch.cat([hidden, kept.pop()], dim=1), *read)
            for doubling in level.upsamplers:
                hidden = doubling(hidden)
        output: Tensor = self.conv_out(F.silu(self.conv_norm_out(hidden)))
        return output


def _perceptron(width: int, out: int) -> nn.Sequential:
    layers = {"linear_1": nn.Linear(width, out), "act": nn.SiLU(), "linear_2": nn.Linear(out, out)}
    return nn.Sequential(OrderedDict[str, nn.Module](layers))


def sinusoids(times: Tensor, width: int) -> Tensor:
    """Return cosines and sines (B, width) of times (B,), the frequencies from 1 down to 1e-4."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = times[:, None].float() * torch.exp(-math.log(10000) * steps / half)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
