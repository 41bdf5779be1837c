"""The networks of a subject's tuning: a frozen student and teacher, and all that is trained."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.presets import PRESETS
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import UNetDenoiser, added_conditions
from swiftpie.models.projection import Feature
from swiftpie.models.text import PromptEncoder, TextTower, TwoTextTowers
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import PredictionType, predict_clean
from swiftpie.types import TextCondition
from swiftpie_lab.data.photographs import Augmentation, PhotoViews, open_photos
from swiftpie_lab.training.critics import (
    Discriminator,
    add_low_rank,
    low_rank_parts,
    use_low_rank,
    widths_of,
)
from swiftpie_lab.training.stages.adapter.networks import (
    CLIP_WIDTH,
    copied_layers,
    layers_by_path,
    read_tower,
)
from swiftpie_lab.training.stages.adapter.teacher import check_family

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices

KEYS_AND_VALUES = r".*attn2\.to_[kv]"  # cross-attention, as Custom Diffusion trains it


@dataclass(frozen=True)
class SubjectWeights:
    """Factors of the loss terms."""

    prior: float = 1.0  # of pictures of the class, which should stay
    background: float = 0.1  # of photos outside of the subject; on it, it is 1
    identity: float = 1.0  # one minus the cosine of image-encoder vectors
    latents: float = 1.0  # squared difference of the student's and the teacher's latents
    look: float = 1.0  # perceptual distance of the two
    adversarial: float = 0.1  # of the discriminator


@dataclass(frozen=True)
class EchoSettings:
    """Pictures of the subject that the student draws, as further data of both networks."""

    first_step: int = 500
    echo_every: int = 250  # steps after which they are drawn anew
    num_pictures: int = 64
    share: float = 0.5  # of a batch

    def is_due(self, step: int) -> bool:
        """Whether they are drawn before this step."""
        since = step - self.first_step
        return since >= 0 and since % self.echo_every == 0


@dataclass(frozen=True)
class SubjectSettings:
    """What is tuned to what."""

    adversarial_steps: int = 100  # over which the weight of the discriminator rises
    loss: SubjectWeights = field(default_factory=SubjectWeights)
    echo: EchoSettings = field(default_factory=EchoSettings)

    data: Path = Path("photos")  # of one subject
    noun: str = "toy"  # what it is
    word: str = "<subject>"  # its new name
    preset: str = "sd-turbo"  # the one-step student; text encoder and autoencoder serve both
    weights: Path | None = None  # as `--weights` of other commands; the hub if none
    base: str | None = None  # as `--base`
    unet: Path | None = None  # folder of a multi-step U-Net of the preset's family
    predicts: PredictionType = PredictionType.EPSILON  # that U-Net
    image_encoder: Path | None = None  # CLIP's vision tower; the public one if none
    rank: int = 8
    size_px: int = 0  # of pictures; 0 is the preset's
    batch_size: int = 2  # photos, and as many pictures of the class
    augmentation: Augmentation = field(default_factory=Augmentation)
    cache_mib: int = 1024
    mixed_precision: bool = True


@dataclass(frozen=True, eq=False)
class SubjectBase:
    """Frozen networks; both U-Nets have a low-rank change of zero, which a network owns."""

    components: Components
    student: UNet2DConditionModel
    teacher: UNet2DConditionModel
    autoencoder: LatentAutoencoder
    judge: ClipIdentityEncoder  # of what the student draws
    views: PhotoViews
    size_px: int

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of latents."""
        cells = self.components.cells_of((self.size_px, self.size_px))
        return (self.components.preset.latent_channels, *cells)


def load_subject_base(settings: SubjectSettings, device: str) -> SubjectBase:
    """Load a one-step preset, a multi-step teacher and photos.

    Raises:
        CapabilityError: The preset is not one-step, or no Stable Diffusion.
        ConfigError: No teacher is named, or it predicts what has no levels of noise.
        InputError: There are no photos.
        MissingExtra: peft is not installed.
        WeightsError: A part is missing or does not fit the others.
    """
    preset = PRESETS.get(settings.preset)
    if not FAMILIES.get(preset.family).takes_adapters or len(preset.timesteps) != 1:
        raise CapabilityError(
            f"Preset {preset.name!r} cannot be tuned by this recipe, which is for Stable Diffusion "
            "models of one step. Choose one of `swiftpie presets`; for mini there is `swiftpie "
            "tune`."
        )
    if settings.unet is None:
        raise ConfigError(
            "stage.unet is not set. Tuning needs the folder of a multi-step U-Net of the preset's "
            "family, such as that of Stable Diffusion 2.1 for sd-turbo. Set it."
        )
    if settings.predicts is PredictionType.FLOW:
        raise ConfigError("stage.predicts is flow, which has no levels of noise. Set another one.")
    choices: Choices = {"weights": settings.weights, "base": settings.base}
    components = load_components(preset, device=device, **choices)
    loaded = components.denoiser
    assert isinstance(loaded, UNetDenoiser)
    assert isinstance(components.autoencoder, LatentAutoencoder)
    loaded.installation.undo()
    reader = NetworkReader(device=device, dtype=torch.float32, allow_pickle=False)
    teacher = read_unet(settings.unet, reader, name="teacher")
    check_family(teacher, loaded.unet, folder=settings.unet, setting="unet")
    for unet in (loaded.unet, teacher):
        add_low_rank(unet.eval(), rank=settings.rank, alpha=settings.rank, layers=KEYS_AND_VALUES)
    for tower in towers_of(components.text):
        tower.requires_grad_(requires_grad=False)
    size_px = settings.size_px or preset.image_size_px
    components.cells_of((size_px, size_px))  # refuses what the networks cannot draw
    photos = open_photos(settings.data, size_px=size_px, cache_mib=settings.cache_mib)
    photos.check()
    return SubjectBase(
        components,
        student=loaded.unet,
        teacher=teacher,
        autoencoder=components.autoencoder,
        judge=_judge(settings, reader),
        views=PhotoViews(photos, settings.augmentation),
        size_px=size_px,
    )


def _judge(settings: SubjectSettings, reader: NetworkReader) -> ClipIdentityEncoder:
    tower = read_tower(None, settings.image_encoder, reader).requires_grad_(requires_grad=False)
    return ClipIdentityEncoder(tower, nn.Identity(), Feature.EMBEDS).eval()


class SubjectNetworks(nn.Module):
    """Every trained weight, and the pictures that the student has drawn as data."""

    echoes: Tensor  # latents (E, C, h, w)
    echo_places: Tensor  # (E,) long, of the places that prompts name
    num_echoes: Tensor  # () long

    def __init__(self, base: SubjectBase, settings: SubjectSettings) -> None:
        super().__init__()
        device = base.components.device
        self.word = Word(base.components.text, settings.word).to(device)
        self.teacher = copied_layers(low_rank_parts(base.teacher))
        self.student = copied_layers(low_rank_parts(base.student))
        width = int(base.judge.tower.config.projection_dim or CLIP_WIDTH)
        self.discriminator = Discriminator(widths_of(base.teacher), subject=width).to(device)
        count = settings.echo.num_pictures
        self.register_buffer("echoes", torch.zeros(count, *base.latent_shape, device=device))
        self.register_buffer("echo_places", torch.zeros(count, dtype=torch.long, device=device))
        self.register_buffer("num_echoes", torch.zeros((), dtype=torch.long, device=device))
        self.requires_grad_(requires_grad=True)


def use_trained(base: SubjectBase, networks: SubjectNetworks) -> None:
    """Let the base draw with the changes of `networks`; they take the place of earlier ones."""
    use_low_rank(base.teacher, layers_by_path(networks.teacher, nn.Linear))
    use_low_rank(base.student, layers_by_path(networks.student, nn.Linear))


def predict(
    unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor | float, text: TextCondition
) -> Tensor:
    """Return the raw output of `unet` for latents (B, C, h, w), in float32."""
    sample: Tensor = unet(
        latents,
        timesteps,
        text.hidden_states,
        added_cond_kwargs=added_conditions(unet, latents, text),
    ).sample
    return sample.float()


def draw_once(base: SubjectBase, noise: Tensor, text: TextCondition) -> Tensor:
    """Return the student's clean latents (B, C, h, w) in one step."""
    schedule = base.components.schedule
    latents, step = schedule.initial_latents(noise), schedule.steps[0]
    raw = predict(base.student, latents, step.timestep, text)
    return predict_clean(latents, raw, step, schedule.prediction_type)


def adapter_tensors(parts: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """Return trained factors by the names that diffusers and peft give them in a file."""
    return {
        f"unet.{path.removesuffix('.default')}.weight": part.weight.detach()
        for path, part in parts.items()
    }


SPEED = 50.0  # a word learns 50 times as fast as weights: 5e-4 and 1e-5


class Word(nn.Module):
    """What each text tower reads for the pieces of a word; it begins as they are."""

    def __init__(self, text: PromptEncoder, name: str) -> None:
        super().__init__()
        self.name = name
        changes = []
        for number, (tower, ids) in enumerate(_pieces(text, name)):
            start = tower.get_input_embeddings()(ids.to(tower.device)).detach().clone()
            self.register_buffer(f"start_{number}", start)
            changes.append(nn.Parameter(torch.zeros_like(start)))
        self.changes = nn.ParameterList(changes)

    def vectors(self) -> list[Tensor]:
        """Return the vectors (K, D) of each tower."""
        starts = [self.get_buffer(f"start_{number}") for number in range(len(self.changes))]
        return [start + SPEED * change for start, change in zip(starts, self.changes, strict=True)]


def towers_of(text: PromptEncoder) -> list[PreTrainedModel]:
    """Return the networks of a text encoder, in the order of its tokens."""
    if isinstance(text, TwoTextTowers):
        return [text.first.encoder, text.second]
    assert isinstance(text, TextTower), "families of Stable Diffusion have one or two towers"
    return [text.encoder]


def encode_with(text: PromptEncoder, word: Word, prompts: Sequence[str]) -> TextCondition:
    """Return `prompts` as `text` reads them, with the vectors of `word` where they say it."""
    where = torch.cat([text.find_words(prompt, [word.name]) for prompt in prompts]).bool()
    with ExitStack() as hooks:
        for tower, vectors in zip(towers_of(text), word.vectors(), strict=True):
            hooks.enter_context(_spoken(tower, where.to(vectors.device), vectors))
        return text.encode(list(prompts))


@contextmanager
def _spoken(tower: PreTrainedModel, where: Tensor, vectors: Tensor) -> Iterator[None]:
    """Let `tower` read `vectors` (K, D) where prompts say the word, K tokens of each (B, T)."""
    order = (where.cumsum(1) - 1).clamp_min(0)

    def put(_module: nn.Module, _inputs: object, states: Tensor) -> Tensor:
        return torch.where(where[..., None], vectors[order].to(states), states)

    handle = tower.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def _pieces(text: PromptEncoder, name: str) -> Iterator[tuple[PreTrainedModel, Tensor]]:
    """Yield each tower with the ids (K,) of the word's pieces."""
    assert isinstance(text, TextTower | TwoTextTowers), "others have no tokens of their own"
    where = text.find_words(name, [name])[0].bool()
    for tower, ids in zip(towers_of(text), text.tokenize([name]), strict=False):
        yield tower, ids[0][where]
