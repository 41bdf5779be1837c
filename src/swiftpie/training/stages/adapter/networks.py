"""What an adapter trains, as one module apart from the frozen base, and how the base wears it."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import nn

from swiftpie.attention.detail import DetailAttention
from swiftpie.attention.semantic import SemanticAttention
from swiftpie.schedules import scaled_linear_step
from swiftpie.training.stages.adapter.base import Base
from swiftpie.training.stages.adapter.discriminator import Discriminator, widths_of

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class AdapterNetworks(nn.Module):
    """Every trained weight: projector, both branches, the discriminator and a fake score."""

    def __init__(self, base: Base, low_rank: Mapping[str, nn.Linear] | None = None) -> None:
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


def wear(base: Base, networks: AdapterNetworks, *, reference_timestep: int) -> None:
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
