"""The inversion network of a published one-step model, in both of SwiftEdit's stages."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.images import contact_sheet, to_pil
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.noise import draw_noise
from swiftpie.schedules import PredictionType, Step, add_noise
from swiftpie.training.scores import draw_levels
from swiftpie.training.stages.adapter.perceptual import Compare
from swiftpie.training.stages.inversion.figures import psnr_db
from swiftpie.training.stages.inversion.likeness import distance
from swiftpie.training.stages.inversion.losses import (
    FIRST_TIMESTEP,
    LAST_TIMESTEP,
    score_pull,
)
from swiftpie.training.stages.inversion.networks import (
    ImageBranch,
    InversionNetworks,
    denoise,
    save,
)
from swiftpie.training.stages.inversion.pictures import Pictures
from swiftpie.types import TextCondition

VALIDATION_DRAW = 2**31 - 1


@dataclass(frozen=True)
class Terms:
    """Weights of the loss; 0 leaves a term out, and what it costs."""

    noise: float = 1.0  # squared error of noise, where it is known
    latents: float = 1.0  # squared error of what comes back
    pixels: float = 0.0  # how different what comes back looks
    score: float = 0.0  # of the score regulariser, which needs a teacher


class Round(NamedTuple):
    """Pictures to invert."""

    noise: Tensor | None  # (B, C, h, w) what they were drawn from, if they were
    latents: Tensor  # (B, C, h, w)
    pixels: Tensor  # (B, 3, H, W) in [-1, 1]
    text: TextCondition


@dataclass(frozen=True)
class InversionStage:
    """Invert what the generator drew (stage 1) or photos (stage 2), and draw it again.

    From arXiv:2412.04301, with what enters the generator as in the released code: the latents of
    the picture, noised by what was inverted.
    """

    components: Components  # the generator, frozen
    encoder: ClipIdentityEncoder | None  # reads the picture to keep; None: text alone
    terms: Terms
    batch_size: int
    prompts: Sequence[str] = ()  # of pictures that the generator draws
    photos: Pictures | None = None  # invert these instead
    wrong_prompts: float = 0.0  # share of photos under another's prompt or none
    trains_image_branch: bool = True
    teacher: UNet2DConditionModel | None = None  # multi-step, frozen
    teacher_predicts: PredictionType = PredictionType.EPSILON
    compares: Sequence[Compare] = ()  # perceptual distances of the pixel term
    start: UNet2DConditionModel | None = None  # None: the generator's own weights
    size_px: int = 512
    checkpointing: bool = False  # of the inversion network: compute activations twice
    autocast: bool = False  # to bfloat16

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.batch_size

    @property
    def denoiser(self) -> UNetDenoiser:
        """The generator's U-Net."""
        assert isinstance(self.components.denoiser, UNetDenoiser)
        return self.components.denoiser

    @property
    def step(self) -> Step:
        """The only step of the generator."""
        return self.components.schedule.steps[0]

    def network(self) -> nn.Module:
        """Return copies of what training starts from."""
        unet = copy.deepcopy(self.start) if self.start is not None else self._plain_unet()
        unet.train().requires_grad_(requires_grad=True)
        if self.checkpointing:
            unet.enable_gradient_checkpointing()
        image = None
        if self.trains_image_branch and self.encoder is not None:
            image = ImageBranch(self.denoiser, self.encoder)
        return InversionNetworks(unet, image).to(self.components.device)

    def _plain_unet(self) -> UNet2DConditionModel:
        """Return a copy of the generator's U-Net without branches."""
        unet = self.denoiser.unet
        plain = UNet2DConditionModel.from_config(unet.config)
        weights = {n: one for n, one in unet.state_dict().items() if ".processor." not in n}
        plain.load_state_dict(weights)
        copied: UNet2DConditionModel = plain
        return copied

    def losses(self, network: nn.Module, draw: int) -> dict[str, Tensor]:
        """Return the terms that have a weight."""
        assert isinstance(network, InversionNetworks)
        terms, device = self.terms, self.components.device
        chance = torch.Generator().manual_seed(draw)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            now = self._pictures(draw)
            guess = UNetInversion(network.inversion)(now.latents, now.text)
            found: dict[str, Tensor] = {}
            if terms.latents or terms.pixels:
                again = self._again(network, now, guess)
                if terms.latents:
                    found["latents"] = terms.latents * F.mse_loss(again, now.latents)
                if terms.pixels:
                    pixels = self.components.autoencoder.decode(again)
                    found["pixels"] = terms.pixels * distance(pixels, now.pixels, self.compares)
        if terms.noise and now.noise is not None:
            found["noise"] = terms.noise * F.mse_loss(guess, now.noise)
        if terms.score:
            found["score"] = terms.score * self._score(now, guess, chance)
        return found

    @torch.no_grad()
    def _pictures(self, draw: int) -> Round:
        """Return pictures and what they are told to show."""
        random = Random(draw)
        if self.photos is not None:
            pixels, captions = self.photos.batch(self.batch_size, draw)
            pixels = pixels.to(self.components.device)
            latents = self.components.autoencoder.encode(pixels)
            told = mislead(captions, self.photos.captions, random, share=self.wrong_prompts)
            return Round(None, latents, pixels, self.components.text.encode(told))
        prompts = [random.choice(self.prompts) for _ in range(self.batch_size)]
        text = self.components.text.encode(prompts)
        noise = self._noise([random.randrange(2**63) for _ in prompts])
        schedule = self.components.schedule
        latents = self._draw(schedule.initial_latents(noise), text, tokens=None, image=None)
        pixels = self.components.autoencoder.decode(latents).clamp(-1, 1)
        return Round(noise, latents, pixels, text)

    def _noise(self, seeds: list[int]) -> Tensor:
        preset = self.components.preset
        side = self.size_px // preset.latent_cell_px
        return draw_noise(seeds, (preset.latent_channels, side, side)).to(self.components.device)

    def _again(self, network: InversionNetworks, now: Round, guess: Tensor) -> Tensor:
        """Return the latents (B, C, h, w) that come back from inverted noise."""
        tokens = None
        if self.encoder is not None and network.image is not None:
            tokens = network.image.tokens(self.encoder, now.pixels)
        elif self.encoder is not None:
            tokens = self.encoder(now.pixels, torch.ones_like(now.pixels[:, :1]))
        start = add_noise(now.latents, guess, self.step)
        return self._draw(start, now.text, tokens=tokens, image=network.image)

    def _draw(
        self,
        start: Tensor,
        text: TextCondition,
        *,
        tokens: Tensor | None,
        image: ImageBranch | None,
    ) -> Tensor:
        timestep = self.step.timestep
        raw = denoise(self.denoiser, start, timestep, text, tokens=tokens, image=image)
        return self.components.schedule.advance(start, raw, 0)

    def _score(self, now: Round, guess: Tensor, chance: torch.Generator) -> Tensor:
        assert self.teacher is not None, "a score term needs a teacher"
        teacher, states = self.teacher, now.text.hidden_states

        def teach(noisy: Tensor, timesteps: Tensor) -> Tensor:
            raw: Tensor = teacher(noisy, timesteps, states.to(noisy)).sample
            return raw

        levels = draw_levels(chance, like=now.latents, first=FIRST_TIMESTEP, last=LAST_TIMESTEP)
        with torch.autocast(guess.device.type, torch.bfloat16, enabled=self.autocast):
            return score_pull(
                teach,
                now.latents,
                guess,
                levels=levels,
                prediction_type=self.teacher_predicts,
            )

    @torch.no_grad()
    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Save pictures above what comes back; return how well they and their noise do."""
        assert isinstance(network, InversionNetworks)
        now = self._pictures(VALIDATION_DRAW)
        guess = UNetInversion(network.inversion)(now.latents, now.text)
        again = self.components.autoencoder.decode(self._again(network, now, guess)).clamp(-1, 1)
        contact_sheet([to_pil(now.pixels), to_pil(again)], cell_px=min(self.size_px, 256)).save(
            path
        )
        figures = {"psnr_db": psnr_db(again, now.pixels)}
        if now.noise is not None:
            figures["noise_error"] = float(F.mse_loss(guess, now.noise))
        return figures

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write what `swiftpie.load` takes as `inversion` and, if trained, as `adapter`."""
        assert isinstance(network, InversionNetworks)
        folder.mkdir(parents=True, exist_ok=True)
        save(network, folder)


def mislead(
    captions: Sequence[str], others: Sequence[str], random: Random, *, share: float
) -> list[str]:
    """Return captions of which a `share` is empty or one of `others`, half of it each.

    The mask of an edit comes from what the network says under two prompts, so it has to have met
    prompts that do not fit.
    """
    chances = [random.random() for _ in captions]
    wrong = ["" if chance < share / 2 else random.choice(others) for chance in chances]
    triples = zip(captions, wrong, chances, strict=True)
    return [bad if chance < share else good for good, bad, chance in triples]
