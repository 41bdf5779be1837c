"""A tiny autoencoder in place of Stable Diffusion's encoder."""

from dataclasses import replace

from swiftpie.backbones.components import Components
from swiftpie.engine.transform import Transform
from swiftpie.engine.transforms.tiny_decoder import needs, tiny_autoencoder
from swiftpie.engine.wrappers import JoinedAutoencoder


def apply(components: Components) -> Components:
    """Return components that encode with TAESD, and decode as before.

    For edits, whose pictures are encoded each: inverted noise and edit start from what it sees, so
    pictures change more than with 'tiny-decoder'.

    Raises:
        CapabilityError: The preset's own encoder is a tiny one already.
        WeightsError: TAESD is not on this machine, or damaged.
    """
    tiny = tiny_autoencoder(components, asked_by="tiny-encoder")
    return replace(components, autoencoder=JoinedAutoencoder(tiny, components.autoencoder))


TRANSFORM = Transform(
    summary="Pictures encoded by TAESD, for edits: much quicker, and less exact.",
    apply=apply,
    needs=needs,
)
