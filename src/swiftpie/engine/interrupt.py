"""Reports each layer of networks that run eagerly, so that a listener can stop inside a step."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident

from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.pipelines.drawing.denoise import OnStage

LAYER = "layer"  # the name that a listener gets before each layer


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
