"""The network that guesses which pixels of a picture are its subject."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.models.network import Network, keep_settings

STAGES = (  # EfficientNet-Lite0: blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
)
LEVELS = (0, 1, 2, 4, 5)  # stages whose features the decoder reads: 1/2, 1/4 ... of each side
CELLS = 8  # along a side of the coarsest level, for pictures of 256 px


class CutoutNet(Network):
    """Pictures (B, 3, 256, 256) in [-1, 1] to logits (B, 1, 128, 128) of the subject's mask.

    The encoder is EfficientNet-Lite0 (arXiv:1905.11946, without squeeze and excitation), whose
    batch norms are part of its convolutions. Which of several things is the subject is decided on
    the coarsest level, where attention sees the whole picture.
    """

    @keep_settings
    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()
        self.encoder = CutoutEncoder()
        self.decoder = CutoutDecoder(widths)

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Return the encoder's features (B, C, h, w) at 1/2 to 1/32 of each side."""
        levels: list[Tensor] = self.encoder(pixels)
        return levels

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, 1, 128, 128)."""
        logits: Tensor = self.decoder(self.encoder(pixels))
        return logits


class CutoutEncoder(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] to features at 1/2, 1/4, 1/8, 1/16 and 1/32 of each side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 3, stride=2)
        widths = (32, *(channels for *_, channels in STAGES))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    _Block(before if block == 0 else after, after, kernel, step, expansion)
                    for block in range(count)
                    for step in [stride if block == 0 else 1]
                )
            )
            for (before, after), (count, kernel, stride, expansion, _) in zip(
                pairwise(widths), STAGES, strict=True
            )
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return features (B, C, h, w), the finest first."""
        hidden, levels = self.stem(pixels), []
        for stage in self.stages:
            hidden = stage(hidden)
            levels.append(hidden)
        return [levels[number] for number in LEVELS]


class CutoutDecoder(nn.Module):
    """Features of the encoder to logits (B, 1, h, w) at half of the picture's sides."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        channels = [STAGES[number][-1] for number in LEVELS]
        self.skips = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(channels, widths, strict=True)
        )
        self.middle = nn.Sequential(_Mixing(widths[-1]), _Attention(widths[-1]))
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.mixing = nn.ModuleList(_Mixing(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return logits (B, 1, h, w)."""
        skips = [skip(level) for skip, level in zip(self.skips, levels, strict=True)]
        hidden = self.middle(skips.pop())
        for up, mix in zip(reversed(self.ups), reversed(self.mixing), strict=True):
            skip = skips.pop()
            hidden = mix(skip + F.interpolate(up(hidden), skip.shape[2:], mode="bilinear"))
        logits: Tensor = self.head(F.relu(hidden)).float()
        return logits


class _Conv(nn.Module):
    """A convolution and ReLU6, padded as TensorFlow's SAME: an odd pixel goes right and below."""

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        low, odd = divmod(kernel - stride, 2)
        self.conv = nn.Conv2d(before, after, kernel, stride, 0 if odd else low, groups=groups)
        self.padding = (low, low + 1) * 2 if odd else None

    def forward(self, hidden: Tensor) -> Tensor:
        if self.padding is not None:
            hidden = F.pad(hidden, self.padding)
        return F.relu6(self.conv(hidden), inplace=True)


class _Block(nn.Module):
    """An inverted residual: widen, look around in each channel, narrow."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * before
        self.widen = nn.Conv2d(before, wide, 1) if expansion > 1 else None
        self.look = _Conv(wide, wide, kernel, stride=stride, groups=wide)
        self.narrow = nn.Conv2d(wide, after, 1)
        self.is_residual = stride == 1 and before == after

    def forward(self, hidden: Tensor) -> Tensor:
        wide = hidden if self.widen is None else F.relu6(self.widen(hidden), inplace=True)
        narrow: Tensor = self.narrow(self.look(wide))
        return hidden + narrow if self.is_residual else narrow


class _Mixing(nn.Module):
    """Two 3 x 3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(F.relu(self.norm(hidden)))))
        return hidden + added


class _Attention(nn.Module):
    """Attention among the 8 x 8 cells, which know their place."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(4, channels)
        self.place = nn.Parameter(torch.zeros(1, channels, CELLS, CELLS))
        self.read = nn.Conv2d(channels, 3 * channels, 1)
        self.write = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        parts = self.read(self.norm(hidden) + self.place).flatten(2)
        query, key, value = parts.unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(-1, -2)
        added: Tensor = hidden + self.write(mixed.flatten(1, 2).unflatten(2, hidden.shape[2:]))
        return added
