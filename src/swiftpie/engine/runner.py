"""Runs requests on loaded networks: cached, several in one pass, offloaded if memory is short."""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import get_ident
from typing import TypeVar

from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.engine.cache import (
    Cache,
    CachedAutoencoder,
    cached_image_encoder,
    cached_inversion,
    cached_prompts,
)
from swiftpie.engine.transforms.offload import can_offload, offloaded
from swiftpie.errors import OutOfMemory
from swiftpie.pipelines.denoise import OnStage, OnStep
from swiftpie.pipelines.draw import draw, draw_together, free_unused_memory
from swiftpie.pipelines.request import EditRequest, RepaintRequest, Request
from swiftpie.types import EditResult, GenerationResult

logger = logging.getLogger(__name__)

Drawn = TypeVar("Drawn")

LAYER = "layer"  # the name that a listener gets before each layer


class Runner:
    """Loaded networks, with the cache that they share. Threads may share a runner."""

    def __init__(self, components: Components, cache: Cache) -> None:
        self.cache = cache
        self._sizes: dict[Hashable, set[int]] = {}  # how many requests of a kind shared a pass
        self._use(components)

    def _use(self, components: Components) -> None:
        self.components = components
        known = (self.cache, components.fingerprint)
        encoder, inversion = components.image_encoder, components.inversion
        self.cached = replace(components, text=cached_prompts(components.text, *known))
        self.editing = replace(  # a second edit of one picture reuses the first one's encodings
            self.cached,
            image_encoder=None if encoder is None else cached_image_encoder(encoder, *known),
            autoencoder=CachedAutoencoder(components.autoencoder, *known),
            inversion=None if inversion is None else cached_inversion(inversion, *known),
        )

    def draw(
        self, request: Request, *, on_stage: OnStage | None, on_step: OnStep | None
    ) -> GenerationResult | EditResult:
        """Draw one request; see `Session.draw`."""

        def compute() -> GenerationResult | EditResult:
            with self.components.scope(), reporting_layers(self.components, on_stage):
                networks = self._networks_for(request)
                return draw(networks, request, on_stage=on_stage, on_step=on_step)

        return self._with_room(compute)

    def draw_together(
        self, requests: Sequence[Request], *, on_stage: OnStage | None, makes_ready: bool
    ) -> list[GenerationResult | EditResult]:
        """Draw requests of one kind and shape in one pass; see `Session.draw_together`."""
        split = None  # networks of any size take all requests in one pass
        if makes_ready:
            split = self._learn_size
        elif self.components.has_fixed_sizes:
            split = self._known_sizes
        kinds: dict[int, list[int]] = {}
        for number, request in enumerate(requests):
            kinds.setdefault(id(self._networks_for(request)), []).append(number)
        results: dict[int, GenerationResult | EditResult] = {}
        for numbers in kinds.values():
            together = [requests[number] for number in numbers]

            def compute(
                together: Sequence[Request] = together,
            ) -> list[GenerationResult | EditResult]:
                with self.components.scope(), reporting_layers(self.components, on_stage):
                    networks = self._networks_for(together[0])
                    return draw_together(networks, together, on_stage=on_stage, split=split)

            results.update(zip(numbers, self._with_room(compute), strict=True))
        return [results[number] for number in range(len(requests))]

    def _networks_for(self, request: Request) -> Components:
        is_edit = isinstance(request, EditRequest | RepaintRequest)
        return self.editing if is_edit else self.cached

    def _learn_size(self, kind: Hashable, count: int) -> Sequence[int]:
        """Let `count` requests of `kind` share a pass, now and later."""
        self._sizes.setdefault(kind, {1}).add(count)
        return [count]

    def _known_sizes(self, kind: Hashable, count: int) -> Sequence[int]:
        """Return prepared sizes that sum to `count`, the largest first."""
        known, parts = self._sizes.get(kind, {1}), []
        while count:
            parts.append(max(size for size in known if size <= count))
            count -= parts[-1]
        return parts

    def _with_room(self, compute: Callable[[], Drawn]) -> Drawn:
        """Return what `compute` returns; where memory is short, offload networks and try again.

        Raises:
            OutOfMemory: Memory is too little even so.
        """
        try:
            return compute()
        except OutOfMemory as error:
            device = self.components.device
            if not can_offload(self.components):
                raise
            logger.warning("%s From now on networks take turns on %s.", error, device)
        self._use(offloaded(self.components, device))
        free_unused_memory()
        return compute()


@contextmanager
def reporting_layers(components: Components, on_stage: OnStage | None) -> Iterator[None]:
    """Call `on_stage` before each layer that this thread runs in the block; it may raise to stop.

    Engines of fixed sizes run a network as one graph, in which nothing can be reported.
    """
    if on_stage is None or components.has_fixed_sizes:
        yield
        return
    thread, is_over = get_ident(), False

    def report(*_: object) -> None:
        # Other threads share the layers. Copies made in the block keep this hook.
        if not is_over and get_ident() == thread:
            on_stage(LAYER)

    with ExitStack() as stack:
        for layer in _layers(components):
            stack.callback(layer.register_forward_pre_hook(report).remove)
        try:
            yield
        finally:
            is_over = True


def _layers(components: Components) -> Iterator[nn.Module]:
    """Yield each module without parts once."""
    networks = (
        *(components.denoiser, components.autoencoder),
        *(components.image_encoder, components.inversion),
    )
    seen: set[int] = set()
    for network in networks:
        for module in network.modules() if isinstance(network, nn.Module) else ():
            if id(module) not in seen and next(module.children(), None) is None:
                seen.add(id(module))
                yield module
