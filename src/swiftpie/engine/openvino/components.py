"""A preset's networks to OpenVINO."""

from dataclasses import replace
from pathlib import Path

from swiftpie.backbones.components import Components
from swiftpie.engine.openvino.encoders import OpenvinoEncoder, openvino_image_encoder
from swiftpie.engine.openvino.export import digest_of
from swiftpie.engine.openvino.fitted import fitted
from swiftpie.engine.openvino.int8.quantizer import Quantizer
from swiftpie.engine.openvino.networks import (
    OpenvinoDenoiser,
    openvino_autoencoder,
    openvino_inversion,
)
from swiftpie.engine.openvino.runtime import Precision
from swiftpie.engine.openvino.store import Store, default_folder
from swiftpie.engine.openvino.workshop import Workshop
from swiftpie.engine.twin import module_of, with_encoders
from swiftpie.errors import CapabilityError


def to_openvino(
    components: Components,
    *,
    quantizes: bool = False,
    precision: Precision | None = None,
    folder: Path | None = None,
) -> Components:
    """Return components whose networks compute in OpenVINO; the given ones are not changed.

    A network is exported at its first call and kept on disk, so this returns at once. The layout
    predictor of `mini` stays with torch.

    Args:
        components: Networks on the CPU.
        quantizes: Whether denoiser, inversion network, autoencoder and CLIP's image tower compute
            in whole numbers of 8 bits, and text encoders hold their weights in them.
        precision: What all else is computed in; None for what the processor does best.
        folder: Where exported networks are kept; see `default_folder`.

    Raises:
        CapabilityError: The networks are elsewhere, or quantised already.
        MissingExtra: OpenVINO, or NNCF for whole numbers, is not installed.
    """
    if components.device.type != "cpu":
        raise CapabilityError(
            f"The networks are on {components.device}, and SwiftPie uses OpenVINO on the CPU. Load "
            "the preset with device='cpu'."
        )
    workshop = Workshop(
        Store(folder or default_folder()),
        settings=components.fingerprint,
        change=Quantizer(components) if quantizes else None,
        precision=precision,
    )
    denoiser = fitted(module_of(components.denoiser))
    encoder, inversion = components.image_encoder, components.inversion
    return replace(
        components,
        text=with_encoders(components.text, lambda one: OpenvinoEncoder(one, workshop)),
        autoencoder=openvino_autoencoder(fitted(module_of(components.autoencoder)), workshop),
        denoiser=OpenvinoDenoiser(denoiser, workshop, weights=digest_of(denoiser)),
        image_encoder=None if encoder is None else openvino_image_encoder(encoder, workshop),
        inversion=None
        if inversion is None
        else openvino_inversion(fitted(module_of(inversion)), workshop),
        scope=workshop.threads.for_openvino,
    )
