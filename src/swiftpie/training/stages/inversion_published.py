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
from torch.func import functional_call
from torch.nn import functional as F

from swiftpie.attention.condition import silent_condition
from swiftpie.backbones.checkpoints.ip_adapter import cross_attention
from swiftpie.backbones.checkpoints.safe import write_tensors
from swiftpie.backbones.components import Components
from swiftpie.data.photographs import WholePhotos
from swiftpie.images import contact_sheet, to_pil
from swiftpie.models.inversion import INVERSION_TIMESTEP, START, UNetInversion
from swiftpie.models.projection import image_proj_of
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.noise import draw_noise
from swiftpie.schedules import PredictionType, Step, add_noise
from swiftpie.training.losses import (
    FIRST_COMPARED,
    LAST_COMPARED,
    draw_levels,
    psnr_db,
    score_regulariser,
)
from swiftpie.training.perceptual import Compare, picture_distance
from swiftpie.training.stages.adapter_networks import attention_alone
from swiftpie.types import TextCondition

ADAPTER_FILE = "ip_adapter.safetensors"
INVERSION_FOLDER = "inversion"
VALIDATION_DRAW = 2**31 - 1


class ImageBranch(nn.Module):
    """Trained copies of the image projector and of the keys and values of its tokens."""

    def __init__(self, denoiser: UNetDenoiser, encoder: ClipIdentityEncoder) -> None:
        """Copy what training starts from."""
        super().__init__()
        installation = denoiser.installation
        self.paths = cross_attention(installation)
        self.projector = copy.deepcopy(encoder.projector)
        self.layers = nn.ModuleDict(
            {
                # Their public numbers, because names of modules hold no dots.
                str(number): copy.deepcopy(installation.semantic[path])
                for number, path in self.paths.items()
            }
        )
        self.requires_grad_(requires_grad=True)

    def tokens(self, encoder: ClipIdentityEncoder, pixels: Tensor) -> Tensor:
        """Return tokens (B, K, D) of whole pictures (B, 3, H, W), read by the frozen `encoder`."""
        weights = self.projector.named_parameters()
        worn: dict[str, Tensor] = {f"projector.{name}": one for name, one in weights}
        tokens: Tensor = functional_call(encoder, worn, (pixels, torch.ones_like(pixels[:, :1])))
        return tokens

    def denoiser_weights(self) -> dict[str, Tensor]:
        """Return the weights under the names that a `UNetDenoiser` has for its own."""
        return {
            f"unet.{path}.processor.{name}": one
            for number, path in self.paths.items()
            for name, one in self.layers[str(number)].named_parameters()
        }


class InversionNetworks(nn.Module):
    """The inversion network and, if it is trained along, the image branch of the generator."""

    def __init__(self, inversion: UNet2DConditionModel, image: ImageBranch | None) -> None:
        super().__init__()
        self.inversion = inversion
        self.image = image


def denoise(
    denoiser: UNetDenoiser,
    start: Tensor,
    timestep: float,
    text: TextCondition,
    *,
    tokens: Tensor | None,
    image: ImageBranch | None,
) -> Tensor:
    """Return the raw output (B, C, h, w) of the generator.

    Args:
        denoiser: The generator, frozen. Checkpointing must be off: recomputed layers would not see
            the weights of `image`.
        start: What enters it, (B, C, h, w).
        timestep: Of its first step.
        text: Prompts, B rows.
        tokens: Of the pictures that shall come back, (B, K, D); None for text alone.
        image: Weights to use instead of the denoiser's own.
    """
    attention = silent_condition(start, width=denoiser.installation.plan.token_width)
    if tokens is not None:
        everywhere = torch.ones_like(attention.identity_scale)
        attention = attention._replace(
            identity_tokens=tokens.unsqueeze(1).to(start), identity_scale=everywhere
        )
    condition = attention_alone(attention, start)
    worn = {} if image is None else image.denoiser_weights()
    prediction = functional_call(denoiser, worn, (start, timestep, text, condition, {}))
    sample: Tensor = prediction.sample
    return sample


def save(networks: InversionNetworks, folder: Path) -> None:
    """Write a U-Net folder and an IP-Adapter, both as `swiftpie.load` takes them.

    Raises:
        InputError: The folder cannot be written to.
    """
    half = copy.deepcopy(networks.inversion).half()
    # How it was trained; names with an underscore are for whoever looks, loaders skip them.
    half.register_to_config(_name_or_path="", _start=START, _timestep=INVERSION_TIMESTEP)
    half.save_pretrained(folder / INVERSION_FOLDER)
    if networks.image is None:
        return
    projector = image_proj_of(networks.image.projector)
    tensors = {f"image_proj.{name}": tensor for name, tensor in projector.items()}
    for number, layer in networks.image.layers.items():
        for name, weight in layer.named_parameters():
            tensors[f"ip_adapter.{number}.{name}"] = weight
    halves = {name: one.detach().half() for name, one in tensors.items()}
    write_tensors(folder / ADAPTER_FILE, halves, metadata={"format": "pt"}, force=True)


@dataclass(frozen=True)
class InversionWeights:
    """Weights of the loss; 0 leaves a term out, and what it costs."""

    noise: float = 1.0  # squared error of noise, where it is known
    latents: float = 1.0  # squared error of what comes back
    pixels: float = 0.0  # how different what comes back looks
    score: float = 0.0  # of the score regulariser, which needs a teacher


class InversionBatch(NamedTuple):
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
    terms: InversionWeights
    batch_size: int
    prompts: Sequence[str] = ()  # of pictures that the generator draws
    photos: WholePhotos | None = None  # invert these instead
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
                    found["pixels"] = terms.pixels * picture_distance(
                        pixels, now.pixels, self.compares
                    )
        if terms.noise and now.noise is not None:
            found["noise"] = terms.noise * F.mse_loss(guess, now.noise)
        if terms.score:
            found["score"] = terms.score * self._score(now, guess, chance)
        return found

    @torch.no_grad()
    def _pictures(self, draw: int) -> InversionBatch:
        """Return pictures and what they are told to show."""
        random = Random(draw)
        if self.photos is not None:
            pixels, captions = self.photos.batch(self.batch_size, draw)
            pixels = pixels.to(self.components.device)
            latents = self.components.autoencoder.encode(pixels)
            prompts = mismatch_prompts(
                captions, self.photos.captions, random, share=self.wrong_prompts
            )
            return InversionBatch(None, latents, pixels, self.components.text.encode(prompts))
        prompts = [random.choice(self.prompts) for _ in range(self.batch_size)]
        text = self.components.text.encode(prompts)
        noise = self._noise([random.randrange(2**63) for _ in prompts])
        schedule = self.components.schedule
        latents = self._draw(schedule.initial_latents(noise), text, tokens=None, image=None)
        pixels = self.components.autoencoder.decode(latents).clamp(-1, 1)
        return InversionBatch(noise, latents, pixels, text)

    def _noise(self, seeds: list[int]) -> Tensor:
        preset = self.components.preset
        side = self.size_px // preset.latent_cell_px
        return draw_noise(seeds, (preset.latent_channels, side, side)).to(self.components.device)

    def _again(self, network: InversionNetworks, now: InversionBatch, guess: Tensor) -> Tensor:
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

    def _score(self, now: InversionBatch, guess: Tensor, chance: torch.Generator) -> Tensor:
        assert self.teacher is not None, "a score term needs a teacher"
        teacher, states = self.teacher, now.text.hidden_states

        def teach(noisy: Tensor, timesteps: Tensor) -> Tensor:
            raw: Tensor = teacher(noisy, timesteps, states.to(noisy)).sample
            return raw

        levels = draw_levels(chance, like=now.latents, first=FIRST_COMPARED, last=LAST_COMPARED)
        with torch.autocast(guess.device.type, torch.bfloat16, enabled=self.autocast):
            return score_regulariser(
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


def mismatch_prompts(
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
