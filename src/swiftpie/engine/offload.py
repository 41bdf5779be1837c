"""Networks in main memory, or encoders on the disk, that come where they compute one at a time.

Sessions serve threads, whose networks follow each other in any order; accelerate's hooks neither
lock nor clean up after an error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.backbones.load.weights import STORED, StoredWeights
from swiftpie.backbones.machine import NUMBERS_A_PIXEL, SPARE_BYTES, free_memory
from swiftpie.engine.wrappers import (
    JoinedAutoencoder,
    shared_copy,
    with_networks,
    with_text_encoders,
)
from swiftpie.errors import CapabilityError
from swiftpie.models.denoiser import Denoiser, WrappedDenoiser, module_of
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.text import PromptEncoder
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.types import TextCondition

if TYPE_CHECKING:
    from diffusers import ModelMixin

OFFLOAD_DEVICE = "cpu"
ENTRANCE_DEPTH = 2  # pipelines call networks, or parts of autoencoders one level further in


def apply(components: Components) -> Components:
    """Return components whose networks are on their device only while they run.

    On the processor itself they are read from their files again when they run: text and image
    encoders, which run once for a prompt and a reference, each time; U-Nets only if there was too
    little room for what came meanwhile. One that an engine has rebuilt stays.

    Raises:
        CapabilityError: The networks are in main memory, and from no files that can be read again.
    """
    from diffusers import ModelMixin

    if components.device.type != "cpu":
        return offloaded(components, components.device)
    found = [network for network in _networks_of(components) if _place_of(network) is not None]
    if not found:
        raise CapabilityError(
            "'offload' has no effect on the CPU: the networks of preset "
            f"{components.preset.name!r} are in main memory. It needs a graphics card, or "
            "the large encoders of Stable Diffusion. Load with device='cuda', or leave it out."
        )
    slot = DeviceSlot(components.device)
    denoiser = components.denoiser
    for network in found:
        place = _place_of(network)
        if place is not None and place.fits(network):
            _hook(network, slot, before=network)
            slot.note(network, place)
            if network is denoiser.installation.network:
                _hook_projections(denoiser, slot, network=network)
    for part in module_of(components.autoencoder).modules():
        if isinstance(part, ModelMixin) and "block_out_channels" in part.config:
            _hook_room(part, slot)
    return components


def can_offload(components: Components) -> bool:
    """Whether networks rest on an accelerator, where nothing holds on to their place."""
    is_away = components.engine.device is not None or components.device.type == "cpu"
    return not is_away and not isinstance(components.denoiser, WrappedDenoiser)


def offloaded(components: Components, device: torch.device) -> Components:
    """Return components whose large networks come to `device` only while they run.

    The layout predictor is small and stays.
    """
    slot = DeviceSlot(device)
    encoders = nn.ModuleList()

    def collected(encoder: nn.Module) -> nn.Module:
        encoders.append(shared_copy(encoder).to(OFFLOAD_DEVICE))
        return encoders[-1]

    text = OffloadedText(with_text_encoders(components.text, collected), encoders, slot)
    made = with_networks(components, lambda network: _offloaded(network, slot))
    _hook_projections(made.denoiser, slot, network=module_of(made.denoiser))
    return replace(made, text=text, engine=replace(components.engine, device=device))


class DeviceSlot:
    """The room for one network on the device, which goes back when the next one comes.

    Networks that can be read from their files again share what room is left: of them, those that
    stay leave only where the next has too little.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = RLock()  # held while a network runs: threads take turns too
        self._here: list[nn.Module] = []  # the one that ran last is the last

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copy of a network around the same weights takes turns with it."""
        return self

    @contextmanager
    def hold(self, network: nn.Module) -> Iterator[None]:
        with self._lock:
            self._bring(network)
            yield

    def acquire(self, network: nn.Module) -> None:
        """Bring `network` to the device, and keep it there until `release`."""
        self._lock.acquire()
        self._bring(network)

    def release(self) -> None:
        self._lock.release()

    def note(self, network: nn.Module, place: StoredWeights) -> None:
        """Take `network` in, whose weights can be read again, if it stays and is here."""
        if place.is_away(network):
            return
        if place.stays:
            self._here.append(network)
        else:
            place.leave(network)

    def make_room(self, num_bytes: int) -> None:
        """Let networks go, those that ran longest ago first, until there is so much room."""
        with self._lock:
            while self._here and free_memory(self.device) < num_bytes:
                self._offload(self._here[0])

    def _bring(self, network: nn.Module) -> None:
        for other in [
            candidate
            for candidate in self._here
            if candidate is not network and not getattr(_place_of(candidate), "stays", False)
        ]:
            self._offload(other)
        if network in self._here:
            self._here.remove(network)
        elif (place := _place_of(network)) is None:
            network.to(self.device)
        else:
            self.make_room(place.num_bytes + SPARE_BYTES)
            place.arrive(network)
        self._here.append(network)

    def _offload(self, network: nn.Module) -> None:
        self._here.remove(network)  # should the next one find too little memory
        place = _place_of(network)
        if place is None:
            network.to(OFFLOAD_DEVICE)
        else:
            place.leave(network)


@dataclass(frozen=True)
class OffloadedText:
    """A prompt encoder whose networks come to the device together."""

    inner: PromptEncoder
    networks: nn.Module
    slot: DeviceSlot

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`."""
        with self.slot.hold(self.networks):
            return self.inner.encode(prompts)

    def dropped(self, prompt: str) -> str:
        return self.inner.dropped(prompt)

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self.inner.find_words(prompt, names)


def _place_of(network: nn.Module) -> StoredWeights | None:
    """Return where the weights of `network` are while it does not run, None for main memory."""
    place: StoredWeights | None = network.__dict__.get(STORED)
    return place


def _networks_of(components: Components) -> list[nn.Module]:
    """Return the networks whose weights may be in files, encoders first."""
    found: list[nn.Module] = []

    def noted(encoder: nn.Module) -> nn.Module:
        found.append(encoder)
        return encoder

    with_text_encoders(components.text, noted)
    if isinstance(components.image_encoder, ClipIdentityEncoder):
        found.append(components.image_encoder.tower)
    found.append(components.denoiser.installation.network)
    if isinstance(reader := getattr(components.denoiser, "reference", None), nn.Module):
        found.append(reader)
    if isinstance(components.inversion, UNetInversion):
        found.append(components.inversion.unet)
    return found


def _hook_projections(denoiser: Denoiser, slot: DeviceSlot, *, network: nn.Module) -> None:
    """Keep `network` on the device while references are projected, which is done from outside."""
    installation = denoiser.installation
    for name, detail in installation.detail.items():
        for projection in detail.projections(installation.network.get_submodule(name)):
            _hook(network, slot, before=projection)


def _hook_room(autoencoder: "ModelMixin", slot: DeviceSlot) -> None:
    """Make room for what is computed in an autoencoder, which is much more than its weights."""
    shrinks = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    for part, side in ((autoencoder.encoder, 1), (autoencoder.decoder, shrinks)):

        def make_room(_: nn.Module, arguments: tuple[Any, ...], *, side: int = side) -> None:
            rows, _, height, width = arguments[0].shape
            num_pixels = rows * height * width * side**2
            slot.make_room(NUMBERS_A_PIXEL * num_pixels * arguments[0].element_size())

        part.register_forward_pre_hook(make_room)


def _offloaded(network: nn.Module, slot: DeviceSlot) -> nn.Module:
    network = network.to(OFFLOAD_DEVICE)
    # A joined one holds two, one level deeper.
    depth = ENTRANCE_DEPTH + isinstance(network, JoinedAutoencoder)
    for name, part in network.named_modules():
        if name.count(".") < depth:
            _hook(network, slot, before=part)
    return network


def _hook(network: nn.Module, slot: DeviceSlot, *, before: nn.Module) -> None:
    """Keep `network` and the arguments of the call on the device while the part `before` runs."""

    def arrive(
        _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        slot.acquire(network)
        moved = {name: _to(value, slot.device) for name, value in named.items()}
        return tuple(_to(argument, slot.device) for argument in arguments), moved

    def leave(*_: object) -> None:
        slot.release()

    before.register_forward_pre_hook(arrive, with_kwargs=True)
    before.register_forward_hook(leave, always_call=True)


def _to(argument: Any, device: torch.device) -> Any:  # noqa: ANN401 - of any kind
    return argument.to(device) if isinstance(argument, Tensor) else argument
