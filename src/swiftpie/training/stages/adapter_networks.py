"""The frozen networks that an adapter is trained for, and what is trained on them."""

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from diffusers import AutoencoderKL
from diffusers.models.embeddings import ImageProjection
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionModelWithProjection

from swiftpie.attention.condition import AttentionCondition, silent_condition
from swiftpie.attention.detail import DetailAttention
from swiftpie.attention.install import Plan
from swiftpie.attention.semantic import SemanticAttention
from swiftpie.backbones.adapters import install_adapter, open_adapter, wrap_image_encoder
from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.preset import PRESETS
from swiftpie.backbones.sources import locate_image_encoder
from swiftpie.backbones.weights import NetworkReader, read_image_encoder
from swiftpie.errors import CapabilityError
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.projection import Feature, Projector
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import scaled_linear_step
from swiftpie.training.critics import Discriminator, widths_of
from swiftpie.training.stages.adapter_settings import AdapterSettings

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices


CLIP_WIDTH = 1024  # of the vector of CLIP ViT-H, which new projectors read
FIRST_WEIGHTS = 1  # seed of a new projector
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class AdapterBase:
    """A published model with both branches installed, all of it frozen."""

    components: Components
    denoiser: UNetDenoiser
    autoencoder: LatentAutoencoder
    tower: CLIPVisionModelWithProjection
    projector: Projector  # with the weights that training starts from

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.components.device

    def reader(self, feature: Feature) -> ClipIdentityEncoder:
        """Return the image encoder without a projector: references to what a projector reads."""
        return ClipIdentityEncoder(self.tower, nn.Identity(), feature).to(self.device).eval()


def load_adapter_base(settings: AdapterSettings, device: str) -> AdapterBase:
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
    choices |= {"reference": settings.reference, "inversion": settings.inversion}
    components = load_components(preset, device=device, **choices)
    loaded = components.denoiser
    assert isinstance(loaded, UNetDenoiser)
    assert isinstance(components.autoencoder, LatentAutoencoder)
    loaded.installation.undo()
    denoiser, projector = _start(loaded, settings, family=preset.family)
    reader = NetworkReader(device=device, dtype=torch.float32, allow_pickle=False)
    tower = read_tower(projector, settings.image_encoder, reader)
    projector = projector or new_projector(
        tower.config.projection_dim,
        loaded.unet.config.cross_attention_dim,
        num_tokens=settings.num_tokens,
    )
    wrap_image_encoder(tower, projector)  # refuses a tower that the projector does not read
    denoiser.eval().requires_grad_(requires_grad=False)
    if settings.checkpointing:
        denoiser.unet.enable_gradient_checkpointing(checkpoint_block)
        if isinstance(components.autoencoder.network, AutoencoderKL):
            components.autoencoder.network.enable_gradient_checkpointing()
    return AdapterBase(
        components,
        denoiser=denoiser,
        autoencoder=components.autoencoder,
        tower=tower.eval().requires_grad_(requires_grad=False),
        projector=projector,
    )


def single_subject(
    latents: Tensor, tokens: Tensor, keys: dict[str, Tensor], values: dict[str, Tensor]
) -> AttentionCondition:
    """Return the condition of one subject a picture, everywhere and at full strength.

    Args:
        latents: What is denoised, (B, C, h, w).
        tokens: Identity tokens (B, K, D).
        keys: Reference features by layer, (B, N, D).
        values: The same.
    """
    return silent_condition(latents, width=tokens.shape[-1])._replace(
        identity_tokens=tokens[:, None],
        keys={name: rows[:, None] for name, rows in keys.items()},
        values={name: rows[:, None] for name, rows in values.items()},
    )


def attention_alone(attention: AttentionCondition, latents: Tensor) -> SubjectCondition:
    """Return `attention` as a denoiser takes it that reads nothing else of subjects."""
    empty = latents.new_zeros(len(latents), 1, 0)
    return SubjectCondition(attention, pooled=empty, aligned=empty)


def new_projector(feature_width: int, width: int, *, num_tokens: int) -> Projector:
    """Return a linear projector of CLIP's vector with random weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(FIRST_WEIGHTS)
        module = ImageProjection(feature_width, width, num_tokens)
    return Projector(module, Feature.EMBEDS, feature_width, num_tokens, width)


def checkpoint_block(block: Callable[..., Tensor], *inputs: object) -> Tensor:
    """Compute `block(*inputs)` now, and again when its gradient is asked for.

    The second time it sees the notes as they were the first time, not with what later layers
    have added to them.
    """
    before = [_copied_notes(one) for one in inputs]
    passes = itertools.count()

    def run(*given: object) -> Tensor:
        if next(passes) == 0:
            return block(*given)
        return block(*(_restored(old, new) for old, new in zip(before, given, strict=True)))

    result: Tensor = checkpoint(run, *inputs, use_reentrant=False)
    return result


def _copied_notes(one: object) -> object:
    if isinstance(one, dict) and "notes" in one:
        return {**one, "notes": dict(one["notes"])}
    return one


def _restored(old: object, new: object) -> object:
    return _copied_notes(old) if isinstance(old, dict) else new


def _start(
    loaded: UNetDenoiser, settings: AdapterSettings, *, family: str
) -> tuple[UNetDenoiser, Projector | None]:
    """Install the branches on a loaded U-Net, with the weights of an adapter if there is one."""
    adapter = None if settings.adapter is None else open_adapter(settings.adapter)
    width = loaded.unet.config.cross_attention_dim if adapter is None else adapter.plan.token_width
    plan = Plan(
        token_width=width,
        gate=settings.gate,
        semantic=frozenset(settings.semantic),
        detail=frozenset(settings.detail),
    )
    denoiser, projector = install_adapter(
        loaded.unet, adapter, family=family, plan=plan, reference=loaded.reference
    )
    _silence_inactive(denoiser)
    return denoiser, projector


@torch.no_grad()
def _silence_inactive(denoiser: UNetDenoiser) -> None:
    """Let inactive layers add nothing in programs that attend to identities everywhere."""
    for layer in denoiser.installation.semantic.values():
        if not layer.is_active:
            layer.to_k_ip.weight.zero_()
            layer.to_v_ip.weight.zero_()


def read_tower(
    projector: Projector | None, folder: Path | None, reader: NetworkReader
) -> CLIPVisionModelWithProjection:
    """Return CLIP's vision tower from `folder`, or the public one that `projector` reads.

    Without a projector that is the one whose vector new projectors read.
    """
    reads = projector or new_projector(CLIP_WIDTH, 1, num_tokens=1)
    choices: Choices = {"image_encoder": folder}
    return read_image_encoder(locate_image_encoder(reads, choices, prefers_half=False), reader)


class AdapterNetworks(nn.Module):
    """Every trained weight: projector, both branches, the discriminator and a fake score."""

    def __init__(self, base: AdapterBase, low_rank: Mapping[str, nn.Linear] | None = None) -> None:
        """Copy what training starts from.

        Args:
            base: What the adapter is for.
            low_rank: The fake score as a low-rank change of a teacher, if there is one.
        """
        super().__init__()
        installation = base.denoiser.installation
        active = {name: one for name, one in installation.semantic.items() if one.is_active}
        self.projector = copy.deepcopy(base.projector.module).to(base.device).train()
        self.semantic = _copies(active)
        self.detail = _copies(installation.detail_layers)
        if low_rank is not None:
            self.critic = _copies(low_rank)
        self.requires_grad_(requires_grad=True)
        for layer in self.detail_layers().values():
            layer.log_sharpness.requires_grad_(False)  # places are not known here
        widths = widths_of(base.denoiser.unet)
        self.discriminator = Discriminator(widths, subject=base.projector.width).to(base.device)

    def semantic_layers(self) -> dict[str, SemanticAttention]:
        """Return trained cross-attention by module path."""
        return {_path(name): one for name, one in _typed(self.semantic, SemanticAttention).items()}

    def detail_layers(self) -> dict[str, DetailAttention]:
        """Return trained self-attention by module path."""
        return {_path(name): one for name, one in _typed(self.detail, DetailAttention).items()}

    def critic_parts(self) -> dict[str, nn.Linear]:
        """Return the trained factors of the fake score by module path."""
        return {_path(name): one for name, one in _typed(self.critic, nn.Linear).items()}


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
        semantic=before.semantic | networks.semantic_layers(),
        detail=before.detail | networks.detail_layers(),
    )
    worn = {**after.semantic, **after.detail}
    denoiser.unet.set_attn_processor({f"{name}.processor": one for name, one in worn.items()})
    denoiser.installation = after
    denoiser.reference_step = scaled_linear_step(reference_timestep)


def _copies(layers: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Return copies under names that a module may have, which hold no dots."""
    return nn.ModuleDict({n.replace(".", "/"): copy.deepcopy(one) for n, one in layers.items()})


def _path(name: str) -> str:
    return name.replace("/", ".")


def _typed(layers: nn.ModuleDict, kind: type[ModuleT]) -> dict[str, ModuleT]:
    return {name: one for name, one in layers.items() if isinstance(one, kind)}
