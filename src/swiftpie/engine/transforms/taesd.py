"""TAESD, a tiny autoencoder, in place of Stable Diffusion's decoder or encoder.

Loads no tensor library, as lists of transforms are asked for before anything is loaded.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.hub import PINS, RepoReference
from swiftpie.backbones.sources import FileSelection, WeightsResolver
from swiftpie.engine.transforms import Transform
from swiftpie.errors import CapabilityError, WeightsError

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices
    from swiftpie.backbones.components import Components, Family
    from swiftpie.models.autoencoder import LatentAutoencoder

FILES = ("config.json", "diffusion_pytorch_model.safetensors")
PART = "tiny autoencoder"


def with_tiny(components: "Components", *, decodes: bool) -> "Components":
    """Return components that decode with TAESD, or encode with it, and do the other as before.

    Encoding makes edits quicker, which encode a picture each. Inverted noise and edit start from
    what the encoder sees, so pictures change more than by decoding.

    Raises:
        CapabilityError: The preset's own autoencoder is a tiny one already.
        WeightsError: TAESD is not on this machine, or damaged.
    """
    from swiftpie.engine.wrappers import JoinedAutoencoder

    tiny = _tiny_autoencoder(components, transform="tiny-decoder" if decodes else "tiny-encoder")
    own = components.autoencoder
    joined = JoinedAutoencoder(own, tiny) if decodes else JoinedAutoencoder(tiny, own)
    return replace(components, autoencoder=joined)


def needs(family: "Family", choices: "Choices") -> "DownloadList":
    """Return where TAESD for the latents of `family` is or will be, or raise WeightsError."""
    repository = family.tiny_autoencoder
    if repository is None:
        return DownloadList()
    resolver = WeightsResolver(choices)
    place = RepoReference(repository, None, PINS.get(repository))
    return DownloadList((resolver.find(PART, "weights", str(place), FileSelection(("",))),))


def _tiny_autoencoder(components: "Components", *, transform: str) -> "LatentAutoencoder":
    """Return TAESD for the latents of `components`, in their type and where they are.

    TAESD has to be on this machine; loading fetches what a transform `needs` before applying it.

    Raises:
        CapabilityError: The preset's own autoencoder is a tiny one already.
        WeightsError: TAESD is not on this machine, or damaged.
    """
    from diffusers import AutoencoderTiny

    from swiftpie.backbones.load.networks import built
    from swiftpie.backbones.load.weights import NetworkReader
    from swiftpie.models.autoencoder import LatentAutoencoder
    from swiftpie.models.denoiser import module_of

    preset, autoencoder = components.preset, module_of(components.autoencoder)
    repository = components.family.tiny_autoencoder
    if repository is None or getattr(autoencoder, "is_tiny", False):
        raise CapabilityError(
            f"{transform!r} cannot be combined with preset {preset.name!r}: it needs a preset "
            "with the full autoencoder of Stable Diffusion. Leave it out."
        )
    weight = next(autoencoder.parameters())
    reader = NetworkReader(device=str(weight.device), dtype=weight.dtype, allow_pickle=False)
    folder = _locate(components.family, transform)
    return LatentAutoencoder(reader.read(PART, folder, partial(built, AutoencoderTiny)))


def _locate(family: "Family", transform: str) -> Path:
    try:
        return needs(family, {"offline": True})[PART].path
    except WeightsError as error:
        name = family.tiny_autoencoder or ""
        raise WeightsError(
            f"{transform!r} needs {name!r} (MIT licence), which is not on this machine. "
            f"`swiftpie.load(engine={transform!r})` fetches it, or do it once: hf download {name} "
            f"{' '.join(FILES)} --revision {PINS.get(name, 'main')}"
        ) from error


TRANSFORMS = {
    "tiny-decoder": Transform(
        summary="Stable Diffusion's latents decoded by TAESD: much quicker, slightly softer.",
        apply=partial(with_tiny, decodes=True),
        needs=needs,
    ),
    "tiny-encoder": Transform(
        summary="Pictures encoded by TAESD, for edits: much quicker, and less exact.",
        apply=partial(with_tiny, decodes=False),
        needs=needs,
    ),
}
