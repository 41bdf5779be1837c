"""Networks in main memory, or encoders on the disk, that come where they compute one at a time.

Pipelines offload by accelerate's hooks, in one fixed order. Sessions serve threads, whose networks
follow each other in any order, and accelerate neither locks nor cleans up after an error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any, Self

import torch
from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.backbones.weights import STORED, StoredWeights
from swiftpie.engine.transform import Transform, Turn
from swiftpie.engine.wrappers import WrappedDenoiser, shared_copy, with_networks, with_text_encoders
from swiftpie.errors import CapabilityError
from swiftpie.models.text import PromptEncoder
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.models.vocabulary import Vocabulary
from swiftpie.types import TextCondition

OFFLOAD_DEVICE = "cpu"
ENTRANCE_DEPTH = 2  # pipelines call networks, or parts of autoencoders one level further in


def apply(components: Components) -> Components:
    """Return components whose networks are on their device only while they run.

    On the processor itself these are the text and image encoders, which run once for a prompt and
    a reference; they are read from their files each time.

    Raises:
        CapabilityError: The networks are in main memory, and from no files that can be read again.
    """
    if components.device.type != "cpu":
        return offloaded(components, components.device)
    encoders = [one for one in _encoders_of(components) if _place_of(one) is not None]
    if not encoders:
        raise CapabilityError(
            f"'offload' was asked for on the CPU, where the networks of preset "
            f"{components.preset.name!r} are in main memory anyway. It needs a graphics card, or "
            "the large encoders of Stable Diffusion. Load with device='cuda', or leave it out."
        )
    slot = DeviceSlot(components.device)
    for encoder in encoders:
        _hook(encoder, slot, before=encoder)
    return components


def can_offload(components: Components) -> bool:
    """Whether networks rest on an accelerator, where nothing holds on to their place."""
    is_away = components.execution_device is not None or components.device.type == "cpu"
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
    denoiser: Any = made.denoiser
    installation = denoiser.installation
    for name, detail in installation.detail.items():  # references project from outside
        for projection in detail.projections(installation.network.get_submodule(name)):
            _hook(denoiser, slot, before=projection)
    return replace(made, text=text, execution_device=device)


class DeviceSlot:
    """The room for one network on the device, which goes back when the next one comes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = RLock()  # held while a network runs: threads take turns too
        self._network: nn.Module | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copy of a network around the same weights takes turns with it."""
        return self

    @contextmanager
    def hold(self, network: nn.Module) -> Iterator[None]:
        """Keep `network` on the device."""
        with self._lock:
            self._bring(network)
            yield

    def acquire(self, network: nn.Module) -> None:
        """Bring `network` to the device, and keep it there until `release`."""
        self._lock.acquire()
        self._bring(network)

    def release(self) -> None:
        """Let the next network have its turn."""
        self._lock.release()

    def _bring(self, network: nn.Module) -> None:
        if self._network is network:
            return
        if self._network is not None:
            _leave(self._network)
        self._network = None  # should the device have too little memory
        place = _place_of(network)
        if place is None:
            network.to(self.device)
        else:
            place.arrive(network)
        self._network = network


@dataclass(frozen=True)
class OffloadedText:
    """A prompt encoder whose networks come to the device together."""

    inner: PromptEncoder
    networks: nn.Module
    slot: DeviceSlot

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words that the encoder was taught."""
        return self.inner.vocabulary

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`."""
        with self.slot.hold(self.networks):
            return self.inner.encode(prompts)

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self.inner.find_words(prompt, names)


def _place_of(network: nn.Module) -> StoredWeights | None:
    """Return where the weights of `network` are while it does not run, None for main memory."""
    place: StoredWeights | None = network.__dict__.get(STORED)
    return place


def _leave(network: nn.Module) -> None:
    place = _place_of(network)
    if place is None:
        network.to(OFFLOAD_DEVICE)
    else:
        place.leave(network)


def _encoders_of(components: Components) -> list[nn.Module]:
    found: list[nn.Module] = []

    def noted(encoder: nn.Module) -> nn.Module:
        found.append(encoder)
        return encoder

    with_text_encoders(components.text, noted)
    if isinstance(components.image_encoder, ClipIdentityEncoder):
        found.append(components.image_encoder.tower)
    return found


def _offloaded(network: nn.Module, slot: DeviceSlot) -> nn.Module:
    network = network.to(OFFLOAD_DEVICE)
    for name, part in network.named_modules():
        if name.count(".") < ENTRANCE_DEPTH:
            _hook(network, slot, before=part)
    return network


def _hook(network: nn.Module, slot: DeviceSlot, *, before: nn.Module) -> None:
    """Keep `network` and the arguments of the call on the device while the part `before` runs."""

    def arrive(
        _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        slot.acquire(network)
        moved = {name: _to(one, slot.device) for name, one in named.items()}
        return tuple(_to(one, slot.device) for one in arguments), moved

    def leave(*_: object) -> None:
        slot.release()

    before.register_forward_pre_hook(arrive, with_kwargs=True)
    before.register_forward_hook(leave, always_call=True)


def _to(argument: Any, device: torch.device) -> Any:  # noqa: ANN401 - of any kind
    return argument.to(device) if isinstance(argument, Tensor) else argument


TRANSFORM = Transform(
    summary="Networks rest in main memory and take turns on the graphics card.",
    apply=apply,
    turn=Turn.PLACES,
)
