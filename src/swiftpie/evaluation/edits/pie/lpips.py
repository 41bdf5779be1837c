"""LPIPS with SqueezeNet 1.1 (arXiv:1801.03924), from a file of weights that the user gives."""

from pathlib import Path

import torch
from torch import Tensor, nn

from swiftpie.backbones.checkpoints.safe import read_tensors
from swiftpie.errors import WeightsError

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
FIRES = {  # place in the network: channels in, squeezed, and of each half that comes out
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}
POOLS = (2, 5, 8)
TAPS = (1, 4, 7, 9, 10, 11, 12)  # layers whose output is compared
WIDTHS = (64, 128, 256, 384, 384, 512, 512)
TINY = 1e-10

HOW = (
    "the state of LPIPS(net='squeeze') of the package lpips, saved as safetensors, is read with "
    "--lpips FILE"
)


class Lpips(nn.Module):
    """Perceptual distance of two pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"0": nn.Conv2d(3, 64, 3, stride=2), "1": nn.ReLU()})
        for place in range(2, max(TAPS) + 1):
            self.layers[str(place)] = (
                nn.MaxPool2d(3, stride=2, ceil_mode=True)
                if place in POOLS
                else _Fire(*FIRES[place])
            )
        self.weights = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in WIDTHS)

    @torch.no_grad()
    def distance(self, first: Tensor, second: Tensor) -> float:
        """Return the distance of pictures (1, 3, H, W) in [-1, 1]."""
        total = 0.0
        pairs = zip(self._features(first), self._features(second), self.weights, strict=True)
        for one, other, weight in pairs:
            difference = (_normalised(one) - _normalised(other)).square()
            total += float(weight(difference).mean())
        return total

    def _features(self, pixels: Tensor) -> list[Tensor]:
        shift, scale = (pixels.new_tensor(one).view(1, 3, 1, 1) for one in (SHIFT, SCALE))
        hidden, found = (pixels - shift) / scale, []
        for place, layer in self.layers.items():
            hidden = layer(hidden)
            if int(place) in TAPS:
                found.append(hidden)
        return found


def load_lpips(path: Path) -> Lpips:
    """Read the weights as the package lpips names them.

    Raises:
        WeightsError: They are missing, damaged or of another network.
    """
    stored = read_tensors(path)
    network = Lpips()
    try:
        network.load_state_dict(
            {_ours(name): one for name, one in stored.items() if name.startswith(("net.", "lin"))}
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"'{path}' does not hold the weights of LPIPS with SqueezeNet. Needed: {HOW}. Save it "
            "again."
        ) from error
    return network.eval().requires_grad_(False)


class _Fire(nn.Module):
    """Squeeze channels, then expand them by small and large convolutions side by side."""

    def __init__(self, channels: int, squeezed: int, half: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, half, 1)
        self.expand3x3 = nn.Conv2d(squeezed, half, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (B, 2 * half, h, w)."""
        small = self.squeeze(hidden).relu()
        return torch.cat([self.expand1x1(small), self.expand3x3(small)], dim=1).relu()


def _normalised(features: Tensor) -> Tensor:
    """Return features whose vector at each place has length 1."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + TINY)


def _ours(name: str) -> str:
    """Turn the package's names into those of `Lpips`.

    They are like `net.slice2.3.squeeze.weight` and, for the same layer, `lin0.model.1.weight` or
    `lins.0.model.1.weight`.
    """
    first, *rest = name.split(".")
    if first == "net":
        return ".".join(["layers", *rest[1:]])
    return f"weights.{int(rest[0] if first == 'lins' else first.removeprefix('lin'))}.weight"
