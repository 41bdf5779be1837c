"""How well light and shadow are drawn: `python -m benchmarks.light PAIRS [--network DIR] [-o DIR]`.

PAIRS is a folder of `swiftpie data light`, whose evaluation scenes show things and places that are
never trained: animals, furniture and cut-outs under suns, skies, windows and lamps, by Cycles.
Printed is the error of the logarithm of light, by kind of light: on the ground near a thing, and on
the thing, whose exposure is left out. `none` draws no light, `now` is what the package does if it
knows the direction and the share of the strongest light, and the network is one of
`swiftpie train world-light-pairs`, with the panorama of the place and `blind`, without it. The
scenes are dealt by a seed; the sheets of DIR show no light, the truth, and what was drawn.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.geometry import shading
from swiftpie.geometry.layout import SUBJECT_FILL, whole_frame
from swiftpie.geometry.shading import Illumination
from swiftpie.imageio.images import bounding_box
from swiftpie.models.light import LightNetwork
from swiftpie_lab.training.stages.light import LightPairsConfig, LightPairsStage
from swiftpie_world import cones

KINDS = ("", "_sun", "_sky", "_panorama", "_window", "_lamp", "_thing")
DRAWN_PX, GAMMA = 256, 2.2  # side at which light is drawn now; exponent from pixels to light


class LightOfToday(nn.Module):
    """The formulas of the package behind the interface of the network of light."""

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        """Return what `LightNetwork` returns, (B, 7, S, S), for what it takes."""
        rows = zip(maps.split(1), numbers.split(1), strict=True)
        return torch.cat([_drawn(*row) for row in rows])


def _drawn(maps: Tensor, numbers: Tensor) -> Tensor:
    size = (DRAWN_PX, DRAWN_PX)
    opacity = F.interpolate(maps[:, 6:7], size, mode="bilinear")
    left, top, right, foot = bounding_box(opacity)
    scale = max(right - left, foot - top) / SUBJECT_FILL
    layout = whole_frame(opacity)._replace(scale=torch.tensor([scale]))
    light = strongest_light(numbers)
    lost = shading.cast_on_ground(opacity, layout, shading.usual_shadow(light))
    ground = (1 - lost).expand(-1, 3, -1, -1).clone()
    normal = F.interpolate(shading.soften(maps[:, 8:11]), size, mode="bilinear")
    thing = shading.brightness(normal, light)
    shading.contact_shadow(thing, ground, opacity, layout, DRAWN_PX)
    # Both multiply values of pixels, which are no light.
    gains = F.interpolate(torch.cat([ground, thing], 1), maps.shape[2:], mode="area") ** GAMMA
    return torch.cat([gains.clamp_min(1 / 16).log(), torch.zeros_like(gains[:, :1])], 1)


def strongest_light(numbers: Tensor) -> Illumination:
    """Return the strongest light of `light_numbers` (1, 106) as one from a side, by its share."""
    light = (2 * numbers[:, :102]).exp() - 0.02
    ways, facing = cones.cells(like=light)
    falling = (light[0, :96].view(3, -1).mean(0) * facing).view(cones.ROWS, cones.COLUMNS)
    sun = light[0, 99:102].mean() * numbers[0, 104].clamp_min(0)
    whole = falling.sum() + sun
    # A window or a lamp fills some cells: those beside the brightest belong to the same light.
    padded = F.pad(F.pad(falling[None, None], (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
    beside = F.avg_pool2d(padded, 3, 1)[0, 0] * 9
    row, column = divmod(int(beside.argmax()), cones.COLUMNS)
    share, way = beside[row, column] / whole, ways[row * cones.COLUMNS + column]
    if sun > beside[row, column]:
        share, way = sun / whole, numbers[0, 102:105]
    share, (right, away, up) = share.clamp(max=1).expand(1, 3), F.normalize(way, dim=0)
    return Illumination(1 - share, share, torch.stack([right, -up, -away])[None])


def main() -> None:
    """Print a row a way of drawing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", type=Path, help="a folder of `swiftpie data light`")
    parser.add_argument("--network", type=Path, help="a folder that training exported")
    parser.add_argument("--scenes", type=int, default=64, help="at most so many")
    parser.add_argument("-o", "--out", type=Path, help="where sheets are written")
    given = parser.parse_args()
    config = LightPairsConfig(str(given.pairs), validation_scenes=given.scenes)
    stage = LightPairsStage(config, "cpu")
    ways: dict[str, nn.Module] = {"now": LightOfToday()}
    if given.network:
        ways["network"] = LightNetwork.from_pretrained(given.network).eval()
    rows: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for name, network in ways.items():
            errors = stage.sample(cast("LightNetwork", network), out / f"{name}.png")
            known = [kind for kind in KINDS if f"none{kind}" in errors]
            rows["none"] = {kind: errors[f"none{kind}"] for kind in known}
            rows[name] = {kind: errors[f"drawn{kind}"] for kind in rows["none"]}
            if name == "network":
                rows["blind"] = {kind: errors[f"blind{kind}"] for kind in rows["none"]}
    titles = [kind.removeprefix("_") or "ground" for kind in rows["none"]]
    sys.stdout.write(f"{'':8}" + "".join(f"{title:>10}" for title in titles) + "\n")
    for name, errors in rows.items():
        cells = "".join(f"{error:10.3f}" for error in errors.values())
        sys.stdout.write(f"{name:8}{cells}\n")


if __name__ == "__main__":
    main()
