"""Networks that rest in main memory and take turns on the device where they run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Self

import torch
from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.engine.twin import module_of, twin, with_encoders
from swiftpie.models.text import PromptEncoder
from swiftpie.pipelines.hub.offload import Offloaded
from swiftpie.types import TextCondition

HOME = "cpu"
ENTRANCE_DEPTH = 2  # pipelines call networks, or parts of autoencoders one level further in


class Resting(Offloaded):
    """Components whose networks take turns."""


class Desk:
    """The place on the device. Whoever needs it takes it, and who had it goes home."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = RLock()  # held while a network runs: threads take turns too
        self._seated: nn.Module | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copy of a network around the same weights takes turns with it."""
        return self

    @contextmanager
    def seat(self, network: nn.Module) -> Iterator[None]:
        """Keep `network` on the device."""
        self.take(network)
        try:
            yield
        finally:
            self.leave()

    def take(self, network: nn.Module) -> None:
        """Bring `network` to the device, and keep it there until `leave`."""
        self._lock.acquire()
        if self._seated is network:
            return
        if self._seated is not None:
            self._seated.to(HOME)
        self._seated = None  # should the device have too little memory
        network.to(self.device)
        self._seated = network

    def leave(self) -> None:
        """Let the next one have its turn."""
        self._lock.release()


@dataclass(frozen=True)
class RestingText:
    """A prompt encoder whose networks come to the device together."""

    inner: PromptEncoder
    networks: nn.Module
    desk: Desk

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`."""
        with self.desk.seat(self.networks):
            return self.inner.encode(prompts)

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self.inner.find_words(prompt, names)


def rested(components: Components, device: torch.device) -> Resting:
    """Return components whose large networks come to `device` only while they run.

    The layout predictor is small and stays.
    """
    desk = Desk(device)
    encoders = nn.ModuleList()

    def collected(encoder: nn.Module) -> nn.Module:
        encoders.append(twin(encoder).to(HOME))
        return encoders[-1]

    text = with_encoders(components.text, collected)
    denoiser = _resting(module_of(components.denoiser), desk)
    for detail in denoiser.installation.detail.values():  # references are projected from outside
        for projection in (detail.to_k_ref, detail.to_v_ref):
            _bring(denoiser, desk, before=projection)
    encoder, inversion = components.image_encoder, components.inversion
    return Resting(
        preset=components.preset,
        schedule=components.schedule,
        text=RestingText(text, encoders, desk),
        image_encoder=None if encoder is None else _resting(encoder, desk),
        autoencoder=_resting(module_of(components.autoencoder), desk),
        denoiser=denoiser,
        layout_predictor=components.layout_predictor,
        inversion=_resting(inversion, desk) if isinstance(inversion, nn.Module) else inversion,
        fingerprint=components.fingerprint,
        execution_device=device,
    )


def _resting(network: nn.Module, desk: Desk) -> Any:  # noqa: ANN401 - the same kind of network
    """Return a twin of `network` at home, which comes whenever it or a part of it is called."""
    made = twin(network).to(HOME)
    for name, part in made.named_modules():
        if name.count(".") < ENTRANCE_DEPTH:
            _bring(made, desk, before=part)
    return made


def _bring(network: nn.Module, desk: Desk, *, before: nn.Module) -> None:
    """Keep `network` and the arguments of the call on the device while the part `before` runs."""

    def arrive(
        _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        desk.take(network)
        moved = {name: _to(one, desk.device) for name, one in named.items()}
        return tuple(_to(one, desk.device) for one in arguments), moved

    def go(*_: object) -> None:
        desk.leave()

    before.register_forward_pre_hook(arrive, with_kwargs=True)
    before.register_forward_hook(go, always_call=True)


def _to(argument: Any, device: torch.device) -> Any:  # noqa: ANN401 - of any kind
    return argument.to(device) if isinstance(argument, Tensor) else argument
