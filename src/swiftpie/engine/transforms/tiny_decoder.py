"""A tiny autoencoder, TAESD, in place of Stable Diffusion's decoder."""

from dataclasses import replace
from pathlib import Path

from diffusers import AutoencoderTiny
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.backbones.weights import NetworkReader
from swiftpie.engine.transform import Transform
from swiftpie.engine.wrappers import JoinedAutoencoder, module_of
from swiftpie.errors import CapabilityError, WeightsError
from swiftpie.models.autoencoder import LatentAutoencoder

FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def apply(components: Components) -> Components:
    """Return components that decode with TAESD, and encode as before.

    Raises:
        CapabilityError: The preset's own decoder is a tiny one already.
        WeightsError: TAESD is not in the cache, or damaged.
    """
    tiny = tiny_autoencoder(components, asked_by="tiny-decoder")
    return replace(components, autoencoder=JoinedAutoencoder(components.autoencoder, tiny))


def tiny_autoencoder(components: Components, *, asked_by: str) -> LatentAutoencoder:
    """Return TAESD for the latents of `components`, in their type and where they are.

    It is read from the hub's cache on this machine and never fetched, as a transform does not know
    whether it may. `asked_by` is the transform that needs it.

    Raises:
        CapabilityError: The preset's own autoencoder is a tiny one already.
        WeightsError: TAESD is not in the cache, or damaged.
    """
    preset, autoencoder = components.preset, module_of(components.autoencoder)
    repository = components.family.tiny_autoencoder
    if repository is None or getattr(autoencoder, "is_tiny", False):
        raise CapabilityError(
            f"Preset {preset.name!r} was loaded with {asked_by!r}, and its own autoencoder is a "
            "tiny one already. A preset with Stable Diffusion's is needed. Leave it out."
        )
    weight = next(autoencoder.parameters())
    reader = NetworkReader(device=str(weight.device), dtype=weight.dtype, allow_pickle=False)

    def build(folder: Path) -> nn.Module:
        return AutoencoderTiny.from_config(AutoencoderTiny.load_config(folder))

    folder = _locate(repository, asked_by)
    return LatentAutoencoder(reader.read("tiny autoencoder", folder, build))


def _locate(repository: str, asked_by: str) -> Path:
    try:
        folder = snapshot_download(repository, allow_patterns=list(FILES), local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{asked_by!r} needs {repository!r} (MIT licence), which is not in the hub's cache "
            f"on this machine. Fetch it once: hf download {repository} {' '.join(FILES)}"
        ) from error
    return Path(folder)


TRANSFORM = Transform(
    summary="Stable Diffusion's latents decoded by TAESD: much quicker, slightly softer.",
    apply=apply,
)
