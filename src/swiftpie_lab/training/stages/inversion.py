"""The inversion network of a one-step model, published or `mini`, in both of SwiftEdit's stages."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from swiftpie.attention.condition import silent_condition
from swiftpie.backbones.adapters import wrap_image_encoder
from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.load.ip_adapter import cross_attention
from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.safe import write_tensors
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.presets import PRESETS, Preset
from swiftpie.config import Prediction
from swiftpie.errors import CapabilityError, ConfigError, InputError
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.mini.denoiser import TinyDenoiser
from swiftpie.mini.inversion import TinyInversion
from swiftpie.models.denoiser import UNetDenoiser, module_of
from swiftpie.models.inversion import INVERSION_TIMESTEP, START, UNetInversion
from swiftpie.models.projection import image_proj_of
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.noise import COUPLED_CHANNELS, Step, add_noise, draw_noise
from swiftpie.pipelines.methods.inversion import EditStart
from swiftpie.pipelines.request import cells_of
from swiftpie.types import TextCondition
from swiftpie_lab.data.photographs import WholePhotos, open_whole_photos
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.dists import Dists
from swiftpie_lab.training.losses import draw_levels, psnr_db, score_regulariser
from swiftpie_lab.training.stages.adapter.networks import attention_alone, new_projector, read_tower
from swiftpie_lab.training.stages.one_step.tasks import absent_subject

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices

VALIDATION_DRAW = 2**31 - 1
ADAPTER_FILE = "ip_adapter.safetensors"
INVERSION_FOLDER = "inversion"


@dataclass(frozen=True)
class InversionWeights:
    """Weights of the loss; 0 leaves a term out, and what it costs."""

    noise: float = 1.0  # squared error of noise, where it is known
    latents: float = 1.0  # squared error of what comes back
    pixels: float = 0.0  # how different what comes back looks
    score: float = 0.0  # weight of the score regulariser, which needs a teacher


@dataclass(frozen=True)
class InversionConfig:
    """What is inverted, on which pictures, and how errors weigh."""

    preset: str = "swiftbrush-v2"  # the generator; one that takes one step
    weights: Path | None = None  # the same as `--weights` of other commands; None: the hub
    base: str | None = None  # the same as `--base` of other commands
    adapter: Path | None = None  # image branch to start from or to keep; a new one if none
    image_encoder: Path | None = None  # CLIP's vision tower; the public one if none
    inversion: Path | None = None  # network to train further; the generator's weights if none
    prompts: Path | None = None  # a text file of prompts to draw, one a line
    photos: Path | None = None  # a folder; invert these instead of what the generator draws
    teacher: Path | None = None  # folder of a multi-step U-Net, for the score term
    teacher_predicts: Prediction = "epsilon"
    dists: Path | None = None  # VGG16, for DISTS in the pixel term
    terms: InversionWeights = field(default_factory=InversionWeights)
    trains_image_branch: bool = True
    num_tokens: int = 4  # tokens of a new image branch
    start: EditStart = EditStart.MIXTURE  # what the generator draws from; NOISE is the paper's
    batch_size: int = 4
    size_px: int = 0  # 0 is the preset's
    checkpointing: bool = True
    mixed_precision: bool = True
    allow_pickle: bool = False

    def build(self, context: Context) -> "InversionStage":
        """Return the stage on the given device.

        Raises:
            CapabilityError: The generator takes several steps.
            ConfigError: A term lacks what it needs.
            WeightsError: A part is missing or does not fit the others.
        """
        if self.terms.score and self.teacher is None:
            raise ConfigError(
                "stage.terms.score is above 0 and there is no stage.teacher. The score term needs "
                "a multi-step U-Net. Set its folder, or set the weight to 0."
            )
        if self.terms.pixels and self.dists is None:
            raise ConfigError(
                "stage.terms.pixels is above 0 and there is no stage.dists. DISTS needs "
                "torchvision's VGG16, as vgg16-397923af.pth of download.pytorch.org/models. Set "
                "its file, or set the weight to 0."
            )
        reader = NetworkReader(context.device, torch.float32, allow_pickle=self.allow_pickle)
        components = self._generator(context.device)
        size_px = self.size_px or components.preset.image_size_px
        cells_of(components.preset, (size_px, size_px))
        return InversionStage(
            components,
            encoder=self._encoder(components, reader),
            config=self,
            size_px=size_px,
            prompts=[] if self.photos is not None else read_prompts(self.prompts),
            photos=None if self.photos is None else open_whole_photos(self.photos, size_px=size_px),
            teacher=_frozen_unet(self.teacher, reader, name="teacher"),
            dists=self._dists(context.device),
            start=_frozen_unet(self.inversion, reader, name="inversion")
            if components.family.takes_adapters
            else None,
        )

    def _generator(self, device: str) -> Components:
        preset = PRESETS.get(self.preset)
        family = FAMILIES.get(preset.family)
        is_small = family.sees_what_stays
        if not (family.takes_adapters or is_small) or len(preset.timesteps) != 1:
            raise CapabilityError(
                f"Preset {preset.name!r} cannot be inverted by this recipe, which is for Stable "
                "Diffusion models of one step, and for `mini`. Choose one of `swiftpie presets`."
            )
        if is_small:
            return self._small_generator(preset, device)
        choices: Choices = {"weights": self.weights, "base": self.base}
        choices |= {"adapter": self.adapter, "allow_pickle": self.allow_pickle}
        if self.adapter is not None:
            choices |= {"image_encoder": self.image_encoder}
        components = load_components(preset, device=device, **choices)
        assert isinstance(components.denoiser, UNetDenoiser)
        components.denoiser.requires_grad_(requires_grad=False)
        return components

    def _small_generator(self, preset: Preset, device: str) -> Components:
        """Return the small model, which draws from text alone here, and starts from its network."""
        if self.terms.score or self.adapter is not None:
            raise ConfigError(
                f"stage.terms.score and stage.adapter are for Stable Diffusion, and preset "
                f"{preset.name!r} has neither a teacher nor an adapter. Set the score to 0, and "
                "leave the adapter out."
            )
        choices: Choices = {"weights": self.weights, "inversion": self.inversion}
        components = load_components(preset, device=device, **choices)
        module_of(components.denoiser).requires_grad_(requires_grad=False)
        return components

    def _encoder(self, components: Components, reader: NetworkReader) -> ClipIdentityEncoder | None:
        if isinstance(components.image_encoder, ClipIdentityEncoder):
            return components.image_encoder
        if not self.trains_image_branch or not components.family.takes_adapters:
            return None
        tower = read_tower(None, self.image_encoder, reader)
        width = components.denoiser.installation.plan.token_width
        projector = new_projector(tower.config.projection_dim, width, num_tokens=self.num_tokens)
        encoder = wrap_image_encoder(tower, projector)
        encoder.requires_grad_(requires_grad=False)
        return encoder

    def _dists(self, device: str) -> Dists | None:
        if not self.terms.pixels or self.dists is None:
            return None
        return Dists.read(self.dists, allow_pickle=self.allow_pickle).to(device)


def read_prompts(path: Path | None) -> list[str]:
    """Return the prompts of a text file, one a line; ConfigError or InputError without any."""
    if path is None:
        raise ConfigError(
            "stage.prompts is not set. The recipe draws its own pictures by a text file with a "
            "prompt a line. Set its path; to invert photographs, set stage.photos instead."
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"The prompts in '{path}' cannot be read ({error}). A text file with a prompt a line "
            "is needed. Check the path."
        ) from error
    if not (prompts := [line.strip() for line in lines if line.strip()]):
        raise InputError(f"'{path}' is empty; a prompt a line is needed. Add some.")
    return prompts


class InversionBatch(NamedTuple):
    """Pictures to invert."""

    noise: Tensor | None  # (B, C, h, w) what they were drawn from, if they were
    latents: Tensor  # (B, C, h, w)
    pixels: Tensor  # (B, 3, H, W) in [-1, 1]
    text: TextCondition


class ImageBranch(nn.Module):
    """Trained copies of the image projector and of the keys and values of its tokens."""

    def __init__(self, denoiser: UNetDenoiser, encoder: ClipIdentityEncoder) -> None:
        """Copy what training starts from."""
        super().__init__()
        installation = denoiser.installation
        self.paths = cross_attention(installation)
        self.projector = copy.deepcopy(encoder.projector)
        # By their public numbers, because names of modules hold no dots.
        layers = {str(n): copy.deepcopy(installation.semantic[x]) for n, x in self.paths.items()}
        self.layers = nn.ModuleDict(layers)
        self.requires_grad_(requires_grad=True)

    def tokens(self, encoder: ClipIdentityEncoder, pixels: Tensor) -> Tensor:
        """Return tokens (B, K, D) of whole pictures (B, 3, H, W), read by the frozen `encoder`."""
        weights = self.projector.named_parameters()
        worn: dict[str, Tensor] = {f"projector.{name}": weight for name, weight in weights}
        tokens: Tensor = functional_call(encoder, worn, (pixels, torch.ones_like(pixels[:, :1])))
        return tokens

    def denoiser_weights(self) -> dict[str, Tensor]:
        """Return the weights under the names that a `UNetDenoiser` has for its own."""
        return {
            f"unet.{path}.processor.{name}": weight
            for number, path in self.paths.items()
            for name, weight in self.layers[str(number)].named_parameters()
        }


class InversionNetworks(nn.Module):
    """The inversion network and, if it is trained along, the image branch of the generator."""

    def __init__(
        self, inversion: UNet2DConditionModel | TinyInversion, image: ImageBranch | None
    ) -> None:
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
    """Return the raw output (B, C, h, w) of the frozen generator at `start`, of the same shape.

    Checkpointing must be off: recomputed layers would not see the weights of `image`, which are
    used instead of the denoiser's own. Without tokens (B, K, D) of pictures that shall come back
    it draws from text alone.
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


@dataclass(frozen=True)
class InversionStage:
    """Invert what the generator drew (stage 1) or photos (stage 2), and draw it again.

    From arXiv:2412.04301. By default the generator draws from the latents of the picture, noised by
    what was inverted, as the released code has it; its Eq. 4 draws from what was inverted alone.
    """

    components: Components  # the generator, frozen
    encoder: ClipIdentityEncoder | None  # reads the picture to keep; None: text alone
    config: InversionConfig
    size_px: int
    prompts: Sequence[str]  # prompts of pictures that the generator draws
    photos: WholePhotos | None  # invert these instead
    teacher: UNet2DConditionModel | None  # multi-step, frozen
    dists: Dists | None  # the pixel term
    start: UNet2DConditionModel | None  # None: the generator's own weights

    @property
    def samples_per_step(self) -> int:
        return self.config.batch_size

    @property
    def denoiser(self) -> UNetDenoiser:
        assert isinstance(self.components.denoiser, UNetDenoiser)
        return self.components.denoiser

    @property
    def step(self) -> Step:
        return self.components.schedule.steps[0]

    def network(self) -> InversionNetworks:
        if isinstance(self.components.denoiser, TinyDenoiser):
            small = copy.deepcopy(self.components.inverter())
            assert isinstance(small, TinyInversion), "the small model has no other"
            return InversionNetworks(small.train().requires_grad_(requires_grad=True), None)
        if self.start is not None:
            unet = copy.deepcopy(self.start)
        else:  # the generator's, without branches
            unet = UNet2DConditionModel.from_config(self.denoiser.unet.config)
            weights = self.denoiser.unet.state_dict().items()
            unet.load_state_dict({n: weight for n, weight in weights if ".processor." not in n})
        unet.train().requires_grad_(requires_grad=True)
        if self.config.checkpointing:
            unet.enable_gradient_checkpointing()
        image = None
        if self.config.trains_image_branch and self.encoder is not None:
            image = ImageBranch(self.denoiser, self.encoder)
        return InversionNetworks(unet, image).to(self.components.device)

    def losses(self, network: InversionNetworks, draw: int) -> dict[str, Tensor]:
        terms, device = self.config.terms, self.components.device
        chance = torch.Generator().manual_seed(draw)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            now = self._pictures(draw)
            guess = _inverted(network, now)
            found: dict[str, Tensor] = {}
            if terms.latents or terms.pixels:
                again = self._again(network, now, guess)
                if terms.latents:
                    found["latents"] = terms.latents * F.mse_loss(again, now.latents)
                if terms.pixels:
                    pixels = self.components.autoencoder.decode(again)
                    assert self.dists is not None, "a pixel term needs it"
                    found["pixels"] = terms.pixels * self.dists(pixels, now.pixels).mean()
        if terms.noise and now.noise is not None:
            known = slice(_channels_of_noise(network))
            found["noise"] = terms.noise * F.mse_loss(guess[:, known], now.noise[:, known])
        if terms.score:
            found["score"] = terms.score * self._score(now, guess, chance)
        return found

    @torch.no_grad()
    def _pictures(self, draw: int) -> InversionBatch:
        if self.photos is not None:
            pixels, captions = self.photos.batch(self.config.batch_size, draw)
            pixels = pixels.to(self.components.device)
            latents = self.components.autoencoder.encode(pixels)
            return InversionBatch(None, latents, pixels, self.components.text.encode(captions))
        random = Random(draw)
        prompts = [random.choice(self.prompts) for _ in range(self.config.batch_size)]
        text = self.components.text.encode(prompts)
        preset = self.components.preset
        side = self.size_px // preset.latent_cell_px
        seeds = [random.randrange(2**63) for _ in prompts]
        noise = draw_noise(seeds, (preset.latent_channels, side, side)).to(self.components.device)
        start = self.components.schedule.initial_latents(noise)
        latents = self._draw(start, text, tokens=None, image=None)
        pixels = self.components.autoencoder.decode(latents).clamp(-1, 1)
        return InversionBatch(noise, latents, pixels, text)

    def _again(self, network: InversionNetworks, now: InversionBatch, guess: Tensor) -> Tensor:
        tokens = None
        if self.encoder is not None and network.image is not None:
            tokens = network.image.tokens(self.encoder, now.pixels)
        elif self.encoder is not None:
            tokens = self.encoder(now.pixels, torch.ones_like(now.pixels[:, :1]))
        start = (
            self.components.schedule.initial_latents(guess)
            if self.config.start is EditStart.NOISE
            else add_noise(now.latents, guess, self.step)
        )
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
        if isinstance(self.components.denoiser, TinyDenoiser):
            absent = absent_subject(start, width=text.pooled.shape[1])
            drawn: Tensor = self.components.denoiser(start, timestep, text, absent, {}).sample
            return self.components.schedule.advance(start, drawn, 0)
        raw = denoise(self.denoiser, start, timestep, text, tokens=tokens, image=image)
        return self.components.schedule.advance(start, raw, 0)

    def _score(self, now: InversionBatch, guess: Tensor, chance: torch.Generator) -> Tensor:
        assert self.teacher is not None, "a score term needs a teacher"
        teacher, states = self.teacher, now.text.hidden_states

        def teach(noisy: Tensor, timesteps: Tensor) -> Tensor:
            raw: Tensor = teacher(noisy, timesteps, states.to(noisy)).sample
            return raw

        levels = draw_levels(chance, like=now.latents)
        with torch.autocast(guess.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            return score_regulariser(
                teach,
                now.latents,
                guess,
                levels=levels,
                prediction_type=self.config.teacher_predicts,
            )

    @torch.no_grad()
    def sample(self, network: InversionNetworks, path: Path) -> dict[str, float]:
        """Save pictures above what comes back; return how well they and their noise do."""
        now = self._pictures(VALIDATION_DRAW)
        guess = _inverted(network, now)
        again = self.components.autoencoder.decode(self._again(network, now, guess)).clamp(-1, 1)
        rows = [to_pil(now.pixels), to_pil(again)]
        contact_sheet(rows, cell_px=min(self.size_px, 256)).save(path)
        figures = {"psnr_db": psnr_db(again, now.pixels)}
        if now.noise is not None:
            known = slice(_channels_of_noise(network))
            figures["noise_error"] = float(F.mse_loss(guess[:, known], now.noise[:, known]))
        return figures

    def export(self, network: InversionNetworks, folder: Path) -> None:
        """Write what `swiftpie.load` takes as `inversion` and, if trained, as `adapter`."""
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(network.inversion, TinyInversion):
            network.inversion.save_in_eight_bits(folder / INVERSION_FOLDER)
            return
        half = copy.deepcopy(network.inversion).half()
        # How it was trained, for readers of the file; loaders skip names with an underscore.
        start = START if self.config.start is EditStart.MIXTURE else self.config.start.value
        half.register_to_config(_name_or_path="", _start=start, _timestep=INVERSION_TIMESTEP)
        half.save_pretrained(folder / INVERSION_FOLDER)
        if network.image is None:
            return
        projector = image_proj_of(network.image.projector)
        tensors = {f"image_proj.{name}": tensor for name, tensor in projector.items()}
        for number, layer in network.image.layers.items():
            for name, weight in layer.named_parameters():
                tensors[f"ip_adapter.{number}.{name}"] = weight
        halves = {name: tensor.detach().half() for name, tensor in tensors.items()}
        write_tensors(folder / ADAPTER_FILE, halves, metadata={"format": "pt"}, force=True)


def _inverted(network: InversionNetworks, now: InversionBatch) -> Tensor:
    """Return the noise that the network finds behind pictures."""
    if isinstance(network.inversion, TinyInversion):
        noise: Tensor = network.inversion(now.latents, now.text)
        return noise
    return UNetInversion(network.inversion)(now.latents, now.text)


def _channels_of_noise(network: InversionNetworks) -> int | None:
    """Return how many channels hold noise; the others of the small network say how prompts fit."""
    return COUPLED_CHANNELS if isinstance(network.inversion, TinyInversion) else None


def _frozen_unet(
    folder: Path | None, reader: NetworkReader, *, name: str
) -> UNet2DConditionModel | None:
    return None if folder is None else read_unet(folder, reader, name=name)
