"""Denoiser and decoder as compiled graphs."""

from dataclasses import replace

from swiftpie.backbones.components import Components
from swiftpie.engine.autoencoders import joined
from swiftpie.engine.graphs import CompiledDecoder, CompiledDenoiser, Compiler
from swiftpie.engine.offload import Resting
from swiftpie.engine.transform import Transform, Turn
from swiftpie.errors import CapabilityError

RECORDED = "reduce-overhead"  # inductor's name for kernels recorded as CUDA graphs


def apply(components: Components) -> Components:
    """Return components whose denoiser and decoder are compiled at their first call.

    Identity, masks, scales, prompt and timestep are inputs of the graph: other values do not
    compile again, other sizes do. Text and image encoders stay as they are, because their results
    are kept for later calls.

    Raises:
        CapabilityError: The networks are offloaded.
    """
    if isinstance(components, Resting):
        raise CapabilityError(
            "'compile' and 'offload' were asked for together. Compiled graphs need weights that "
            "stay where they are. Leave one of the two out."
        )
    is_cuda = components.device.type == "cuda"
    return compiled(components, Compiler(mode=RECORDED if is_cuda else None))


def compiled(components: Components, compiler: Compiler) -> Components:
    """Return components whose denoiser and decoder `compiler` compiles."""
    autoencoder = components.autoencoder
    return replace(
        components,
        denoiser=CompiledDenoiser(components.denoiser, compiler),
        autoencoder=joined(autoencoder, CompiledDecoder(autoencoder, compiler)),
    )


TRANSFORM = Transform(
    summary="Denoiser and decoder compiled by PyTorch; the first call of each size takes minutes.",
    apply=apply,
    turn=Turn.CALLS,
)
