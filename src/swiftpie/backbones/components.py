"""The bundle of loaded networks that every pipeline function takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn

from swiftpie.backbones.preset import Capability, Preset
from swiftpie.errors import CapabilityError, InputError
from swiftpie.models.denoiser import Denoiser
from swiftpie.models.inversion import Inversion
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.text import PromptEncoder
from swiftpie.schedules import Schedule
from swiftpie.types import Autoencoder

MIN_SIDE_PX, MAX_SIDE_PX = 64, 2048


@dataclass(frozen=True, eq=False)
class Components:
    """Loaded networks with the settings that belong to them."""

    preset: Preset
    schedule: Schedule
    text: PromptEncoder
    image_encoder: nn.Module | None  # None where no adapter is loaded
    autoencoder: Autoencoder
    denoiser: Denoiser
    layout_predictor: LayoutPredictor | None  # None where the model does not place subjects
    inversion: Inversion | None  # None where the model cannot edit pictures yet
    fingerprint: str  # sha256 of all weights
    # What a session draws in, as whoever computes wants it.
    scope: Callable[[], AbstractContextManager[object]] = field(default=nullcontext, kw_only=True)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        weight: torch.Tensor = next(iter(self.denoiser.installation.unet.parameters()))
        return weight.device

    def cells_of(self, size_px: tuple[int, int] | None) -> tuple[int, int]:
        """Return latent rows and columns of a picture of (height, width); None = the preset's.

        Raises:
            InputError: The size is out of range or no multiple of what a latent cell needs.
        """
        side = self.preset.image_size_px
        height, width = size_px or (side, side)
        unit = 2 * self.preset.latent_cell_px  # so that the grid can be halved once
        fits = all(MIN_SIDE_PX <= one <= MAX_SIDE_PX and one % unit == 0 for one in (height, width))
        if not fits:
            raise InputError(
                f"A picture of {width}x{height} px was asked for; sides must be multiples of "
                f"{unit} from {MIN_SIDE_PX} to {MAX_SIDE_PX}."
            )
        return height // self.preset.latent_cell_px, width // self.preset.latent_cell_px

    def inverter(self) -> Inversion:
        """Return the inversion network.

        Raises:
            CapabilityError: The preset has none.
        """
        if self.inversion is None:
            raise CapabilityError(
                f"Preset {self.preset.name!r} has no inversion network, so it cannot "
                f"{Capability.EDIT}. Load it with `inversion=`, a folder with SwiftEdit's network."
            )
        return self.inversion

    def encoder_of_identity(self) -> nn.Module:
        """Return the image encoder.

        Raises:
            CapabilityError: No identity adapter is loaded.
        """
        if self.image_encoder is None:
            raise CapabilityError(
                f"Preset {self.preset.name!r} was loaded without an identity adapter, so it cannot "
                f"{Capability.PERSONALIZE}. Load it with `adapter=`."
            )
        return self.image_encoder
