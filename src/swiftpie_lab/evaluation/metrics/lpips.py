"""LPIPS (arXiv:1801.03924) by SqueezeNet 1.1, as PIE-Bench has it.

The packages lpips and torchmetrics take torchvision along, of exactly one release for each of
PyTorch, and fetch weights by themselves; this reads files that the user has.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from swiftpie.backbones.load.safe import read_tensors
from swiftpie.config import Option
from swiftpie.errors import WeightsError
from swiftpie_lab.evaluation.case import Metric, judged_by
from swiftpie_lab.evaluation.judges import Judge

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
TINY = 1e-8  # under the root of a length
FIRES = {  # by place in SqueezeNet 1.1: channels in, squeezed, and of each half that comes out
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
TAPS = {1: 64, 4: 128, 7: 256, 9: 384, 10: 384, 11: 512, 12: 512}  # compared layers: channels
# Layers are called `features.3.…` by torchvision, `net.slice2.3.…` by lpips and `net.slices.1.3.…`
# by torchmetrics; the weights of their differences `lin0.model.1.…` or `lins.0.model.1.…`.
LAYER = re.compile(r"(?:features|net\.slices?\.?\d)\.(\d+\..+)")
WEIGHT = re.compile(r"lins?\.?(\d)\.model\.\d\.(weight)")
NEEDED = (
    "A file with the state of LPIPS(net='squeeze') of the package lpips is needed, or a folder "
    "with its weights/v0.1/squeeze.pth and torchvision's squeezenet1_1-b8a52dc0.pth; pickles need "
    "--allow-pickle"
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
        self.weights = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in TAPS.values())

    @torch.no_grad()
    def distance(self, first: Tensor, second: Tensor) -> float:
        """Return the distance of pictures (1, 3, H, W) in [-1, 1]."""
        pairs = zip(self._features(first), self._features(second), self.weights, strict=True)
        return sum(float(weight((one - other).square()).mean()) for one, other, weight in pairs)

    def _features(self, pixels: Tensor) -> list[Tensor]:
        """Return what is compared, as vectors of length 1 a place."""
        shift, scale = (pixels.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (SHIFT, SCALE))
        hidden, compared = (pixels - shift) / scale, []
        for place, layer in self.layers.items():
            hidden = layer(hidden)
            if int(place) in TAPS:
                compared.append(hidden / (hidden.square().sum(1, keepdim=True) + TINY).sqrt())
        return compared


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


def read_lpips(place: Path, _given: Mapping[str, object], *, allow_pickle: bool = False) -> Lpips:
    """Read the weights from one file, or from all in a folder, or raise WeightsError."""
    files = (
        sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
    )
    network, state = Lpips(), {}
    for file in files:
        for name, tensor in read_tensors(file, allow_pickle=allow_pickle).items():
            if found := LAYER.fullmatch(name):
                state[f"layers.{found[1]}"] = tensor
            elif found := WEIGHT.fullmatch(name):
                state[f"weights.{found[1]}.weight"] = tensor
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"'{place}' does not hold LPIPS with SqueezeNet. {NEEDED}. Check --lpips."
        ) from error
    return network.float().eval().requires_grad_(requires_grad=False)


def unedited_lpips(lpips: Lpips, first: Tensor, second: Tensor, kept: Tensor) -> float:
    """Return a thousand times the distance; all but `kept` (1, 1, H, W) is black in both."""
    return 1e3 * lpips.distance(*((pixels + 1) * kept - 1 for pixels in (first, second)))


JUDGE = Judge(
    Option("LPIPS with SqueezeNet: a file, or a folder of both published ones.", "PATH"),
    "needs the weights of LPIPS; give them with --lpips PATH",
    read_lpips,
)
METRICS = {
    "unedited-lpips": Metric(
        "LPIPS, unedited part",
        judged_by("lpips", unedited_lpips, "source", "picture", "unedited"),
        "1e-3",
        higher_is_better=False,
        needs="lpips",
    )
}
