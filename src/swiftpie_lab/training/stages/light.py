"""The network of light: what a place's light does to a thing, and a thing to the place's light."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import ConfigError
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.models.light import LightNetwork, light_maps, light_numbers
from swiftpie_lab.data.light_pairs import THINGS_A_SCENE, Pair, mix, read_scene
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_world import cones

GAINS = 1 / 16, 8.0  # logarithms beyond are cut off
NEAR = 2.5  # heights of a thing from its foot: ground that is judged


@dataclass(frozen=True)
class Batch:
    """Inputs and truth of B pairs."""

    maps: Tensor  # (B, 17, S, S)
    numbers: Tensor  # (B, 106)
    truth: Tensor  # (B, 7, S, S), as the network returns it, but a share for the logit
    alpha: Tensor  # (B, 1, S, S)
    near: Tensor  # (B, 1, S, S), ground whose light is judged
    kinds: list[str]


def batch_of(pairs: Sequence[Pair], *, withheld: Sequence[bool], device: str = "cpu") -> Batch:
    """Put pairs together, some with their probe withheld."""

    def stacked(name: str) -> Tensor:
        arrays = [np.asarray(getattr(pair, name), np.float32) for pair in pairs]
        stack = torch.from_numpy(np.stack(arrays)).to(device)
        return stack.permute(0, 3, 1, 2) if stack.ndim == 4 else stack

    gains = [stacked(name).clamp(*GAINS).log() for name in ("ground_gain", "thing_gain")]
    names = "hidden", "alpha", "is_ground", "place", "own", "ground"
    pixels = cones.patches(torch.cat([*gains, *map(stacked, names)], 1), stacked("alpha"))
    truth, alpha, is_ground, place, own, ground = pixels.split([7, 1, 1, 3, 3, 2], 1)
    is_ground, ground = (is_ground > 0.99).float(), cones.from_foot(ground, alpha)
    known = 1 - torch.tensor(withheld, device=device).float()[:, None]
    panorama, sun = stacked("panorama") * known[..., None, None], stacked("sun") * known
    left = cones.light_left(alpha, ground, panorama, sun) * is_ground
    maps = light_maps(place, own, alpha, ground, is_ground, left)
    near = is_ground * (alpha < 0.02) * (ground.norm(dim=1, keepdim=True) < NEAR)
    numbers = light_numbers(panorama, sun) * known
    return Batch(maps, numbers, truth, alpha, near, [pair.kind for pair in pairs])


@dataclass(frozen=True)
class LightPairsConfig:
    """Settings of the stage."""

    pairs: str = ""  # the folder that `swiftpie data light` lets grow
    batch_size: int = 4
    withheld_share: float = 0.25  # share of pairs without a probe, as photographs have none
    validation_scenes: int = 48

    def build(self, context: Context) -> "LightPairsStage":
        if not [*Path(self.pairs).glob("training/*.npz")] or not self.pairs:
            raise ConfigError(
                f"There are no pairs in {self.pairs!r}. Make some with "
                "`swiftpie data light DIR`, and name the folder: --set stage.pairs=DIR."
            )
        return LightPairsStage(self, context.device)


@dataclass(frozen=True)
class LightPairsStage:
    """Draw what light does to a thing and to the ground beside it; its folder may grow."""

    config: LightPairsConfig
    device: str
    _files: list[Path] = field(default_factory=list)

    @property
    def samples_per_step(self) -> int:
        return self.config.batch_size

    def network(self) -> LightNetwork:
        torch.manual_seed(0)
        return LightNetwork().to(self.device).to(memory_format=torch.channels_last)

    def losses(self, network: LightNetwork, draw: int) -> dict[str, Tensor]:
        """Return the errors of the place's light, of the thing's, and of what hides it."""
        if draw % 100 == 0 or not self._files:
            self._files[:] = sorted(Path(self.config.pairs).glob("training/*.npz"))
        deal = np.random.default_rng(draw)
        dealt = deal.integers((len(self._files), THINGS_A_SCENE), size=(self.config.batch_size, 2))
        pairs = [mix(read_scene(self._files[file]), thing, deal) for file, thing in dealt]
        withheld = deal.random(len(pairs)) < self.config.withheld_share
        batch = batch_of(pairs, withheld=withheld.tolist(), device=self.device)
        drawn = network(batch.maps.to(memory_format=torch.channels_last), batch.numbers)
        # All of a place counts, and what is near the thing and can be seen of it counts most.
        beside, inside = 0.2 * (1 - batch.alpha) + batch.near, batch.alpha * (batch.alpha > 0.9)
        ground, thing = (drawn - batch.truth)[:, :6].chunk(2, 1)
        ground = ground.abs() + 2 * ground.square()  # medians of deep shadows and light have none
        # How bright all of a thing is depends on its exposure, which is the picture's.
        sums = [part.sum((1, 2, 3), keepdim=True) for part in (thing * inside, 3 * inside)]
        thing = (thing - sums[0] / sums[1].clamp_min(1)).abs()
        hidden = F.binary_cross_entropy_with_logits(
            drawn[:, 6:], batch.truth[:, 6:], weight=batch.alpha, reduction="sum"
        )
        return {
            "ground": (ground * beside).sum() / (3 * beside.sum()),
            "thing": 0.5 * (thing * inside).sum() / (3 * inside.sum()).clamp_min(1),
            "hidden": 0.1 * hidden / batch.alpha.sum().clamp_min(1),
        }

    @torch.no_grad()
    def sample(self, network: LightNetwork, path: Path) -> dict[str, float]:
        """Save places with things; return errors of logarithms by kind of light.

        `none` is without any shadow, `blind` without a probe; those of `thing` leave exposure out.
        """
        files = sorted(Path(self.config.pairs).glob("evaluation/*.npz"))
        deal = np.random.default_rng(VALIDATION_SEED)
        scenes = [read_scene(file) for file in files[: self.config.validation_scenes]]
        pairs = [mix(scene, row, deal) for scene in scenes for row in range(THINGS_A_SCENE)]
        squares: dict[str, list[Tensor]] = defaultdict(list)
        rows: list[Tensor] = []
        for part in (pairs[begin : begin + 16] for begin in range(0, len(pairs), 16)):
            batch = batch_of(part, withheld=[False] * len(part), device=self.device)
            blind = batch_of(part, withheld=[True] * len(part), device=self.device)
            drawn, guess = (network(given.maps, given.numbers) for given in (batch, blind))
            nothing = torch.zeros_like(drawn)
            for name, answer in (("none", nothing), ("blind", guess), ("drawn", drawn)):
                for row, kind in enumerate(batch.kinds):
                    off = answer[row] - batch.truth[row]
                    ground = off[:3, batch.near[row, 0] > 0].square().flatten()
                    thing = off[3:6, batch.alpha[row, 0] > 0.9]
                    squares[name].append(ground)
                    squares[f"{name}_{kind}"].append(ground)
                    squares[f"{name}_thing"].append((thing - thing.mean()).square().flatten())
            if len(rows) < 3:
                rows = [cones.lit(batch.maps, gain)[:12] for gain in (nothing, batch.truth, drawn)]
        contact_sheet([to_pil(2 * row.clamp(0, 1) - 1) for row in rows], cell_px=128).save(path)
        return {name: float(torch.cat(parts).mean().sqrt()) for name, parts in squares.items()}

    def export(self, network: LightNetwork, folder: Path) -> None:
        network.save_in_eight_bits(folder / "light")
