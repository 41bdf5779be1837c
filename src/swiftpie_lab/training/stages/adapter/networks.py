"""How an adapter is trained, the frozen networks it is for, and what is trained on them."""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionModelWithProjection

from swiftpie.attention.condition import AttentionCondition, Block
from swiftpie.attention.install import BranchPlan, Installation
from swiftpie.attention.processors import DetailAttention, SemanticAttention
from swiftpie.backbones.adapters import check_image_encoder, install_adapter, open_adapter
from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.load.networks import read_image_encoder
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.presets import PRESETS
from swiftpie.backbones.sources import WeightsResolver, plan_image_encoder
from swiftpie.config import Prediction
from swiftpie.errors import CapabilityError
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import SubjectCondition, UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder, Feature, Projector
from swiftpie.noise import scaled_linear_step
from swiftpie.types import TextCondition
from swiftpie_lab.data.photographs import Augmentation

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices


CLIP_WIDTH = 1024  # width of the vector of CLIP ViT-H, which new projectors read
FIRST_WEIGHTS = 1  # seed of a new projector
NUM_SCALES = 3  # the discriminator sees the coarsest maps of the way down, and the middle
HEAD_WIDTH = 64
GROUPS = 8
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; 0 leaves a term out, and what it costs."""

    subject: float = 1.0  # perceptual distance on the subject
    whole: float = 0.1  # perceptual distance anywhere
    identity: float = 0.5  # one minus the cosine of image-encoder vectors of the subject
    maps: float = 0.05  # identity attention that misses the subject
    adversarial: float = 0.1  # weight of the discriminator in latents
    teacher: float = 0.0  # latents off what a multi-step teacher makes of them


@dataclass(frozen=True)
class AdapterDrops:
    """How often a sample lacks a condition, and how often its scales are random."""

    semantic: float = 0.10
    detail: float = 0.30
    both: float = 0.05
    text: float = 0.05
    rescaled: float = 0.30


@dataclass(frozen=True)
class AdapterStageSettings:
    """What is trained, on what and how."""

    data: Path = Path("photos")  # a folder a subject inside
    preset: str = "sd-turbo"
    weights: Path | None = None  # the same as `--weights` of other commands; None: the hub
    base: str | None = None  # the same as `--base` of other commands
    adapter: Path | None = None  # where training starts: SwiftPie's own or an IP-Adapter
    image_encoder: Path | None = None  # CLIP's vision tower; the public one if none
    reference: str | None = None  # a U-Net that reads references; None: the student itself
    dists: Path | None = None  # VGG16: DISTS takes the place of the autoencoder's features
    teacher: Path | None = None  # folder of a multi-step U-Net, for `loss.teacher`
    teacher_predicts: Prediction = "epsilon"
    teacher_guidance: float = 4.5  # classifier-free, of the teacher
    allow_pickle: bool = False  # of `dists`
    size_px: int = 0  # side of pictures and references; 0 is the preset's
    batch_size: int = 4
    pixel_samples: int = 2  # pictures of a batch that are decoded for losses in pixels
    num_judged: int = 16  # examples that tell with each sheet whether the branches learn
    num_tokens: int = 4  # identity tokens of a new projector
    gate: float = 0.1  # initial weight of the detail branch; 0 would teach its keys nothing
    semantic: tuple[Block, ...] = (Block.MIDDLE, Block.UP)  # where identity tokens are attended to
    detail: tuple[Block, ...] = (Block.UP,)  # where reference features are attended to
    cross_view: float = 0.5  # share of references that are another photo of the subject
    cache_mib: int = 1024  # room for decoded photos
    checkpointing: bool = True  # compute activations twice instead of keeping them
    mixed_precision: bool = True  # products of frozen networks in bfloat16, all else in float32
    loss: LossWeights = field(default_factory=LossWeights)
    drops: AdapterDrops = field(default_factory=AdapterDrops)
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, eq=False)
class AdapterBase:
    """A published model with both branches installed, all of it frozen."""

    components: Components
    denoiser: UNetDenoiser
    installation: Installation  # the denoiser's, with the weights where training starts
    autoencoder: LatentAutoencoder
    tower: CLIPVisionModelWithProjection
    projector: Projector  # the projector, with the weights where training starts

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.components.device

    def reader(self, feature: Feature) -> ClipIdentityEncoder:
        """Return the image encoder without a projector: references to what a projector reads."""
        return ClipIdentityEncoder(self.tower, nn.Identity(), feature).to(self.device).eval()

    @cached_property
    def empty_text(self) -> TextCondition:
        """The empty prompt, one row."""
        return self.components.text.encode([""])

    def autocast(self, network: nn.Module | None = None) -> AbstractContextManager[object]:
        """Return a context in which layers multiply as a frozen network does, by default CLIP."""
        weights = (network or self.tower).parameters()
        is_mixed = any(weight.dtype is torch.bfloat16 for weight in weights)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_mixed)


def load_adapter_base(settings: AdapterStageSettings, device: str) -> AdapterBase:
    """Load a preset and start both branches: from an adapter, or from the base's own weights.

    Raises:
        CapabilityError: The preset has no such branches to train.
        WeightsError: A part is missing or does not fit the others.
    """
    preset = PRESETS.get(settings.preset)
    if not FAMILIES.get(preset.family).takes_adapters:
        raise CapabilityError(
            f"Preset {preset.name!r} has no adapter: its branches are part of it. A Stable "
            "Diffusion preset is needed. Choose one of `swiftpie presets`."
        )
    choices: Choices = {"weights": settings.weights, "base": settings.base}
    if settings.reference is not None:
        choices |= {"reference": settings.reference, "detail": "joint"}  # until branches are put in
    components = load_components(preset, device=device, **choices)
    loaded = components.denoiser
    assert isinstance(loaded, UNetDenoiser)
    assert isinstance(components.autoencoder, LatentAutoencoder)
    loaded.installation.undo()
    denoiser, projector = _start(loaded, settings, family=preset.family)
    denoiser.eval().requires_grad_(requires_grad=False)
    if settings.mixed_precision:
        for module in FAMILIES.get(preset.family).to_modules(components).values():
            # On a processor a U-Net gains little, and gradients lose most of their closeness.
            is_kept = device == "cpu" and isinstance(module, UNet2DConditionModel)
            if isinstance(module, nn.Module) and not is_kept:
                shorten_frozen(module)
    reader = NetworkReader(device=device, dtype=torch.float32, allow_pickle=False)
    tower = read_tower(projector, settings.image_encoder, reader)
    tower.eval().requires_grad_(requires_grad=False)
    if settings.mixed_precision:
        shorten_frozen(tower)
    projector = projector or new_projector(
        tower.config.projection_dim,
        loaded.unet.config.cross_attention_dim,
        num_tokens=settings.num_tokens,
    )
    check_image_encoder(projector, tower.config)
    if settings.checkpointing:
        denoiser.unet.enable_gradient_checkpointing(checkpoint_block)
        if not components.autoencoder.is_tiny:
            components.autoencoder.network.enable_gradient_checkpointing()
    return AdapterBase(
        components,
        denoiser=denoiser,
        installation=denoiser.installation,
        autoencoder=components.autoencoder,
        tower=tower,
        projector=projector,
    )


def shorten_frozen(network: nn.Module) -> None:
    """Turn matrices and convolutions that get no gradient into bfloat16.

    Autocast alone converts them at every use, and keeps each copy until gradients are computed.
    Norms and embeddings stay, and with them sums over layers, which rounding would harm most.
    """
    for layer in network.modules():
        for weight in layer.parameters(recurse=False):
            if isinstance(layer, nn.Linear | nn.Conv2d) and not weight.requires_grad:
                weight.data = weight.data.bfloat16()


def attention_alone(attention: AttentionCondition, latents: Tensor) -> SubjectCondition:
    """Return `attention` as a denoiser takes it that reads nothing else of subjects."""
    empty = latents.new_zeros(len(latents), 1, 0)
    as_it_is = latents.new_zeros(len(latents), 1, 4)
    return SubjectCondition(attention, pooled=empty, aligned=empty, pose=as_it_is)


def new_projector(feature_width: int, width: int, *, num_tokens: int) -> Projector:
    """Return a linear projector of CLIP's vector with random weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(FIRST_WEIGHTS)
        module = ImageProjection(feature_width, width, num_tokens)
    return Projector(module, Feature.EMBEDS, feature_width, num_tokens, width)


def checkpoint_block(block: Callable[..., Tensor], *inputs: object) -> Tensor:
    """Compute `block(*inputs)` now, and again when its gradient is computed.

    The second time it sees the notes as they were the first time, not with what later layers
    have added to them.
    """
    before = [_copied_notes(value) for value in inputs]
    passes = itertools.count()

    def run(*given: object) -> Tensor:
        if next(passes) == 0:
            return block(*given)
        pairs = zip(before, given, strict=True)
        return block(*(_copied_notes(a) if isinstance(a, dict) else b for a, b in pairs))

    result: Tensor = checkpoint(run, *inputs, use_reentrant=False)
    return result


def _copied_notes(one: object) -> object:
    if isinstance(one, dict) and "notes" in one:
        return {**one, "notes": dict(one["notes"])}
    return one


def _start(
    loaded: UNetDenoiser, settings: AdapterStageSettings, *, family: str
) -> tuple[UNetDenoiser, Projector | None]:
    adapter = None if settings.adapter is None else open_adapter(settings.adapter)
    width = loaded.unet.config.cross_attention_dim if adapter is None else adapter.plan.token_width
    semantic, detail = frozenset(settings.semantic), frozenset(settings.detail)
    plan = BranchPlan(width, settings.gate, semantic=semantic, detail=detail)
    denoiser, projector = install_adapter(
        loaded.unet, adapter, family=family, plan=plan, reference=loaded.reference
    )
    with torch.no_grad():
        for layer in denoiser.installation.semantic.values():
            if not layer.is_active:  # adds nothing in programs that attend to identities everywhere
                layer.to_k_ip.weight.zero_()
                layer.to_v_ip.weight.zero_()
    return denoiser, projector


def read_tower(
    projector: Projector | None, folder: Path | None, reader: NetworkReader
) -> CLIPVisionModelWithProjection:
    """Return CLIP's vision tower from `folder`, or the public one that `projector` reads.

    Without a projector that is the one whose vector new projectors read.
    """
    reads = projector or new_projector(CLIP_WIDTH, 1, num_tokens=1)
    choices: Choices = {"image_encoder": folder}
    part = plan_image_encoder(reads, WeightsResolver(choices))
    DownloadList((part,)).fetch()
    return read_image_encoder(part.path, reader)


class ScaleHead(nn.Module):
    """Scores every cell of one scale."""

    def __init__(self, width: int, subject: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, HEAD_WIDTH, 1)
        self.norm = nn.GroupNorm(GROUPS, HEAD_WIDTH)
        self.subject = nn.Linear(subject, HEAD_WIDTH)
        self.mix = nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, padding=1)
        self.score = nn.Conv2d(HEAD_WIDTH, 1, 1)

    def forward(self, features: Tensor, subject: Tensor) -> Tensor:
        """Return scores (B, 1, h, w) of features (B, C, h, w) for subjects (B, D)."""
        hidden = self.norm(self.narrow(features)) + self.subject(subject)[:, :, None, None]
        scores: Tensor = self.score(F.silu(self.mix(F.silu(hidden))))
        return scores


class Discriminator(nn.Module):
    """One head a scale of the U-Net's way down and middle."""

    def __init__(self, unet: UNet2DConditionModel, *, subject: int) -> None:
        """Build the heads, always with the same weights."""
        super().__init__()
        channels = list(unet.config.block_out_channels)
        widths = [*channels, channels[-1]][-NUM_SCALES:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.heads = nn.ModuleList(ScaleHead(width, subject) for width in widths)

    def forward(self, features: Sequence[Tensor], subject: Tensor) -> Tensor:
        """Return one score a sample (B,), higher for photos."""
        pairs = zip(self.heads, features, strict=True)
        return torch.stack([head(cells, subject).mean((1, 2, 3)) for head, cells in pairs]).mean(0)


class AdapterNetworks(nn.Module):
    """Every trained weight: projector, both branches and the discriminator."""

    def __init__(self, base: AdapterBase) -> None:
        """Copy what training starts from."""
        super().__init__()
        installation = base.installation
        active = {name: layer for name, layer in installation.semantic.items() if layer.is_active}
        self.projector = copy.deepcopy(base.projector.module).float().to(base.device).train()
        self.semantic = copied_layers(active)
        self.detail = copied_layers(installation.detail)
        self.requires_grad_(requires_grad=True)
        for layer in self.detail_layers().values():
            layer.log_sharpness.requires_grad_(False)  # places are not known here
        discriminator = Discriminator(base.denoiser.unet, subject=base.projector.width)
        self.discriminator = discriminator.to(base.device)

    def detail_layers(self) -> dict[str, DetailAttention]:
        """Return trained self-attention by module path."""
        return layers_by_path(self.detail, DetailAttention)


def use_trained_layers(
    base: AdapterBase, networks: AdapterNetworks, *, reference_timestep: int
) -> None:
    """Let the base attend with the layers of `networks`; they take the place of earlier ones.

    The base belongs to its stage alone, and every call of the stage begins with this.
    """
    denoiser = base.denoiser
    before = denoiser.installation
    after = replace(
        before,
        semantic=before.semantic | layers_by_path(networks.semantic, SemanticAttention),
        detail=before.detail | networks.detail_layers(),
    )
    worn = {f"{name}.processor": processor for name, processor in after.processors.items()}
    denoiser.unet.set_attn_processor(worn)
    denoiser.installation = after
    denoiser.reference_step = scaled_linear_step(reference_timestep)


def copied_layers(layers: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Return copies under names that a module may have, which hold no dots."""
    return nn.ModuleDict({n.replace(".", "/"): copy.deepcopy(layer) for n, layer in layers.items()})


def layers_by_path(layers: nn.ModuleDict, kind: type[ModuleT]) -> dict[str, ModuleT]:
    """Return the layers that `copied_layers` took, by their module paths."""
    return {n.replace("/", "."): layer for n, layer in layers.items() if isinstance(layer, kind)}
