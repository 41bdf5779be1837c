"""The scene network: places from references, at any time and season, in any weather."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.models.autoencoder import PATCH, PatchAutoencoder
from swiftpie.places.scene_network import SceneCondition, SceneNetwork, scene_relighter
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_lab.training.losses import channel_weights, psnr_db, robust_and_squared
from swiftpie_world.air import SEASONS, Setting
from swiftpie_world.fields import read_fields
from swiftpie_world.places import PLACES, SCENE_PLACES, draw_places, is_held_out, settings

NOISE_CHANNELS = 32
CAST, EXPOSURE = 0.15, 0.35  # largest change of one colour and of all of them, as a share
GAMMA, SATURATION = 0.3, 0.4  # largest change of the tone curve, and of colourfulness, as a share
ZOOM, TILT = 1.8, 0.1  # closest view, and largest turn in radians
ROUGHEST = 0.25  # largest deviation of a texture, as a share of the light
COARSEST_PX = 8  # side of the noise of which a texture has its broadest spots
LEAST_KEPT = 0.3  # share of a texture kept under what is much brighter, such as snow
UNCOVERED = len(SEASONS)  # a fifth season: summer, of a reference in autumn or winter
COVERING = (SEASONS.index("autumn"), SEASONS.index("winter"))  # leaves or snow hide the ground


@dataclass(frozen=True)
class SceneConfig:
    """Settings of the stage."""

    start: str = ""  # go on from a run or a folder of exported weights; else from nothing
    autoencoder: str = "mini"  # weights whose autoencoder reads references
    size_px: int = 256
    batch_size: int = 4  # with as many pictures, 4 beat 24 by 1.6 to 2.5 dB
    batches_at_once: int = 1  # drawn together, a place in one go: about 16 keep a GPU busy
    missing_share: float = 0.15  # share of pictures without a reference: places from words alone
    same_noise_share: float = 0.3  # share of references that the noise of the picture draws, too
    unnamed_share: float = 0.5  # share of pictures with a reference whose place nothing names
    plain_share: float = 0.06  # share of pictures that show the reference unchanged
    cast_share: float = 0.4  # share of pictures with a colour cast and another tone curve
    zoom_share: float = 0.3  # share of pictures whose reference and truth are a closer, turned view
    # Share of pictures with a reference that are as rough as photographs.
    texture_share: float = 0.0
    # Share of pictures with a reference in autumn or winter, which is undone.
    covered_share: float = 0.25
    spectrum_weight: float = 0.25
    validation_pictures: int = 40

    def build(self, context: Context) -> "SceneStage":
        frozen = context.autoencoder(self.autoencoder)
        start = None
        if self.start:
            folder = context.weights_of(self.start)
            if folder is None:
                start = scene_relighter().network
            else:
                start = SceneNetwork.from_pretrained(folder / "scene")
        return SceneStage(frozen, self, context.device, start)


class SceneBatch(NamedTuple):
    """Places in settings, each with a reference picture of the same place in plain daylight.

    Where the season is `UNCOVERED`, references are in autumn or winter, and places show summer in
    the same light.
    """

    noise: Tensor  # (B, 32, R / 8, R / 8)
    reference: Tensor  # (B, 3, R, R) in [-1, 1], zeros where there is none
    condition: SceneCondition
    place: Tensor  # (B, 3, R, R) in [-1, 1], without rain, flakes and fog


@dataclass(frozen=True)
class SceneStage:
    """Draw places as references show them, in other light."""

    autoencoder: PatchAutoencoder
    config: SceneConfig
    device: str
    start: SceneNetwork | None = None
    _drawn: dict[int, list[SceneBatch]] = field(default_factory=dict)  # the latest, by its seed

    @property
    def samples_per_step(self) -> int:
        return self.config.batch_size

    def network(self) -> SceneNetwork:
        if self.start is not None:
            network = copy.deepcopy(self.start).float().train().requires_grad_(requires_grad=True)
        else:
            torch.manual_seed(0)
            network = SceneNetwork(num_places=len(PLACES), num_seasons=UNCOVERED + 1)
        return network.to(self.device).to(memory_format=torch.channels_last)

    def losses(self, network: SceneNetwork, step: int) -> dict[str, Tensor]:
        """Return how far places are off in pixels and in patch spectra."""
        batch = self._training_batch(step)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            drawn = self._draw(network, batch)
        return {
            "place": F.l1_loss(drawn.float(), batch.place),
            "spectrum": self.config.spectrum_weight * self.patch_spectrum(drawn, batch.place),
        }

    def _training_batch(self, number: int) -> SceneBatch:
        seed, part = divmod(number, self.config.batches_at_once)
        if seed not in self._drawn:
            self._drawn.clear()
            size = self.config.batch_size
            batch = self.batch(size * self.config.batches_at_once, seed=seed)
            self._drawn[seed] = _parts(batch, size)
        return self._drawn[seed][part]

    def patch_spectrum(self, drawn: Tensor, truth: Tensor) -> Tensor:
        """Return the distance of standardised principal components of 8 x 8 patches.

        Two lattices, half a patch apart, so that no border of patches is left out. Without this
        term, texture that the network cannot foresee becomes its mean.
        """
        weight, bias = self.autoencoder.linear_encoder.weight, self.autoencoder.linear_encoder.bias
        channels = channel_weights(self.autoencoder)
        total = drawn.new_zeros(())
        for shift in (0, PATCH // 2):
            both = torch.cat([drawn.float(), truth])
            side = both.shape[-1] - (PATCH if shift else 0)
            patches = F.pixel_unshuffle(
                both[..., shift : shift + side, shift : shift + side], PATCH
            )
            spectra = F.conv2d(patches, weight, bias)
            mine, other = ((spectra - self.autoencoder.shift) / self.autoencoder.scale).chunk(2)
            total = total + robust_and_squared(mine, other, channels)
        return total

    @torch.no_grad()
    def sample(self, network: SceneNetwork, path: Path) -> dict[str, float]:
        """Save references, truths and drawings; return figures of settings seen and never seen."""
        figures: dict[str, float] = {}
        shown: list[Tensor] = []
        kinds = [
            ("trained", False, False, False),
            ("held_out", True, False, False),
            ("words", False, True, False),
        ]
        if self.config.covered_share:
            kinds.append(("covered", False, False, True))
        for number, (name, held_out, missing, covered) in enumerate(kinds):
            batch = self.batch(
                self.config.validation_pictures,
                seed=VALIDATION_SEED - number,
                held_out=held_out,
                missing=missing,
                covered=covered,
                is_training=False,
            )
            parts = _parts(batch, self.config.batch_size)
            drawn = torch.cat([self._draw(network, part) for part in parts]).clamp(-1, 1)
            figures[f"{name}_psnr_db"] = psnr_db(drawn, batch.place)
            sharpness = contrast(drawn) / contrast(batch.place)
            figures[f"{name}_sharpness"] = float(sharpness.median())
            shown += [batch.reference[:10], batch.place[:10], drawn[:10]]
        contact_sheet([to_pil(row) for row in shown], cell_px=128).save(path)
        return figures

    def export(self, network: SceneNetwork, folder: Path) -> None:
        """Write the scene network in eight bits a weight."""
        network.save_in_eight_bits(folder / "scene")

    @torch.no_grad()
    def batch(
        self,
        count: int,
        *,
        seed: int,
        held_out: bool = False,
        missing: bool | None = None,
        covered: bool = False,
        is_training: bool = True,
    ) -> SceneBatch:
        """Draw `count` pictures; all randomness follows from `seed`.

        Args:
            count: How many.
            seed: The number of the batch.
            held_out: Whether settings are those that training leaves out.
            missing: Whether no picture has a reference, or each has; None: as training deals them.
            covered: Whether all references show autumn or winter, and the places summer.
            is_training: Whether some show the reference unchanged, or summer where it shows
                autumn or winter, or have a colour cast and another exposure, as photographs have,
                and places are all that the library holds; else all are named places under the sky.
        """
        config, generator = self.config, torch.Generator().manual_seed(seed)
        cells = config.size_px // 8
        shape = (count, NOISE_CHANNELS, cells, cells)
        noise, other = (torch.randn(shape, generator=generator) for _ in range(2))
        chance = torch.rand(count, 6, generator=generator)
        lacks = chance[:, 0] < config.missing_share
        if missing is not None:
            lacks = torch.full((count,), missing)
        is_own = lacks | (chance[:, 1] < config.same_noise_share)
        wanted = self._settings(lacks, generator, held_out=held_out, is_training=is_training)
        if is_training:
            wanted = [
                Setting(setting.place) if is_plain else setting
                for setting, is_plain in zip(
                    wanted, (chance[:, 2] < config.plain_share).tolist(), strict=True
                )
            ]
        share = 1.0 if covered else config.covered_share * is_training
        wanted, shown, read = self._uncovering(wanted, seed=seed, share=share, lacks=lacks)
        place_noise = torch.where(is_own.view(-1, 1, 1, 1), noise, other).to(self.device)
        noise = noise.to(self.device)
        fields = read_fields(place_noise, size_px=config.size_px)
        both = draw_places(fields.select([*range(count)] * 2), [*wanted, *shown]).pixels
        place, plain = both.chunk(2)
        if is_training:
            camera = self._cameras(count, generator, chance[:, 3] < config.cast_share)
            place, plain = camera(place), camera(plain)
            turns = (chance[:, 5] < config.zoom_share) & ~is_own
            view = self._views(count, generator, turns)
            place, plain = view(place), view(plain)
            if config.texture_share:
                place, plain = self._roughen(place, plain, seed=seed, applies=~lacks)
        numbers = torch.tensor([list(setting) for setting in read], device=self.device)
        is_unnamed = (chance[:, 4] < config.unnamed_share) & ~lacks
        numbers[is_unnamed.to(self.device), 0] = len(PLACES)
        numbers[:, 0].clamp_(max=len(PLACES))  # places of scenes alone have no name
        reference = (2 * plain - 1) * (~lacks).to(plain).view(-1, 1, 1, 1)
        return SceneBatch(noise, reference, SceneCondition(*numbers.T), 2 * place - 1)

    def _settings(
        self, lacks: Tensor, generator: torch.Generator, *, held_out: bool, is_training: bool
    ) -> list[Setting]:
        """Return settings, a place as often as any other.

        Rows without a reference, where `lacks` is true, get places with a name. Validation shows
        them, too, so that its figures do not depend on how many others there are.
        """
        has_rooms = is_training or bool(lacks.all())
        by_place: dict[int, list[Setting]] = {}
        for setting in settings(len(SCENE_PLACES)):
            is_wanted = has_rooms or SCENE_PLACES[setting.place].outdoors
            if is_wanted and is_held_out(setting) == held_out:
                by_place.setdefault(setting.place, []).append(setting)
        places = list(by_place)
        named = [place for place in places if place < len(PLACES)]
        chosen = torch.randint(2**31, (len(lacks), 2), generator=generator).tolist()
        found = []
        for (first, second), needs_name in zip(chosen, lacks.tolist(), strict=True):
            dealt = named if needs_name or not is_training else places
            those = by_place[dealt[first % len(dealt)]]
            found.append(those[second % len(those)])
        return found

    def _uncovering(
        self, wanted: list[Setting], *, seed: int, share: float, lacks: Tensor
    ) -> tuple[list[Setting], list[Setting], list[Setting]]:
        """Return settings of places, of references, and those that the network reads.

        A `share` of the references shows autumn or winter, half of them in plain light.
        """
        generator = torch.Generator().manual_seed(seed)
        covering = [
            setting
            for setting in settings(len(SCENE_PLACES))
            if setting.season in COVERING and not is_held_out(setting)
        ]
        dealt = torch.rand(len(wanted), 3, generator=generator).tolist()
        places, references, read = (
            list(wanted),
            [Setting(setting.place) for setting in wanted],
            list(wanted),
        )
        for row, (chance, which, light) in enumerate(dealt):
            if lacks[row] or chance >= share:
                continue
            cover = covering[int(which * len(covering))]
            if light < 0.5:
                cover = Setting(cover.place, season=cover.season)
            places[row], references[row] = cover._replace(season=0), cover
            read[row] = Setting(cover.place, season=UNCOVERED)
        return places, references, read

    def _cameras(
        self, count: int, generator: torch.Generator, applies: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """Return what changes colours of pictures (B, 3, H, W) in [0, 1] as cameras differ."""
        within = 2 * torch.rand(count, 6, generator=generator) - 1
        within = (within * applies[:, None]).to(self.device)[..., None, None]
        gain = (1 + CAST * within[:, :3]) * (1 + EXPOSURE * within[:, 3:4])
        gamma, saturation = 1 + GAMMA * within[:, 4:5], 1 + SATURATION * within[:, 5:6]

        def camera(pixels: Tensor) -> Tensor:
            changed = (pixels * gain).clamp(0, 1) ** gamma
            grey = changed.mean(dim=1, keepdim=True)
            changed = (grey + saturation * (changed - grey)).clamp(0, 1)
            return torch.where(applies.view(-1, 1, 1, 1).to(pixels.device), changed, pixels)

        return camera

    def _views(
        self, count: int, generator: torch.Generator, applies: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """Return what shows pictures (B, 3, H, W) from closer by and turned."""
        dealt = torch.rand(count, 4, generator=generator)
        scale = 1 / (1 + (ZOOM - 1) * dealt[:, 0])
        angle = TILT * (2 * dealt[:, 1] - 1)
        move = (2 * dealt[:, 2:] - 1) * ((1 - scale) * (1 - TILT))[:, None]
        across = torch.stack([scale * angle.cos(), -scale * angle.sin(), move[:, 0]], dim=1)
        down = torch.stack([scale * angle.sin(), scale * angle.cos(), move[:, 1]], dim=1)
        corners = torch.stack([across, down], dim=1).to(self.device)

        def view(pixels: Tensor) -> Tensor:
            grid = F.affine_grid(corners, list(pixels.shape), align_corners=False)
            closer = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
            return torch.where(applies.view(-1, 1, 1, 1).to(pixels.device), closer, pixels)

        return view

    def _roughen(
        self, place: Tensor, plain: Tensor, *, seed: int, applies: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return both pictures (B, 3, R, R) in [0, 1] with a texture of the same things."""
        generator = torch.Generator(self.device).manual_seed(seed)
        count, side = len(place), self.config.size_px
        dealt = torch.rand(count, 3, 1, 1, 1, device=self.device, generator=generator)
        texture, px = place.new_zeros(count, 1, side, side), side
        while px >= COARSEST_PX:
            spots = torch.randn(count, 1, px, px, device=self.device, generator=generator)
            louder = (side / px) ** dealt[:, 1]
            texture += louder * F.interpolate(spots, size=(side, side), mode="bilinear")
            px //= 2
        texture /= texture.std(dim=(2, 3), keepdim=True)
        is_rough = (dealt[:, 2] < self.config.texture_share) & applies.to(place.device).view(
            -1, 1, 1, 1
        )
        texture *= ROUGHEST * dealt[:, 0] * is_rough
        kept = ((plain + 0.05) / (place + 0.05)).mean(dim=1, keepdim=True).clamp(LEAST_KEPT, 1)
        rough, bare = place * (texture * kept).exp(), plain * texture.exp()
        return rough.clamp_(0, 1), bare.clamp_(0, 1)

    def _draw(self, network: SceneNetwork, batch: SceneBatch) -> Tensor:
        with torch.no_grad():
            is_there = (batch.reference != 0).flatten(1).any(dim=1).view(-1, 1, 1, 1)
            latents = self.autoencoder.encode(batch.reference) * is_there
        drawn: Tensor = network(batch.noise, batch.reference, latents, batch.condition)
        return drawn


def contrast(pixels: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels of each picture, (B,)."""
    across = pixels.diff(dim=-1).abs().mean((1, 2, 3))
    return (across + pixels.diff(dim=-2).abs().mean((1, 2, 3))) / 2


def _parts(batch: SceneBatch, size: int) -> list[SceneBatch]:
    return [
        SceneBatch(
            batch.noise[rows],
            batch.reference[rows],
            SceneCondition(*(number[rows] for number in batch.condition)),
            batch.place[rows],
        )
        for rows in (slice(first, first + size) for first in range(0, len(batch.noise), size))
    ]
