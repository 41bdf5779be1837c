"""Files of IP-Adapters and LoRAs, as the methods of diffusers name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from swiftpie.backbones.adapters import peek_adapter
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.ip_adapter import fuse_lora_file
from swiftpie.backbones.load.networks import read_image_encoder
from swiftpie.backbones.load.weights import HALVES, NetworkReader, fingerprint_files
from swiftpie.backbones.sources import FileSelection, PartFinder, WeightFormats, plan_image_encoder
from swiftpie.errors import InputError
from swiftpie.models.denoiser import UNetDenoiser, sharing_weights

MAX_LORA_SCALE = 4.0  # either way; far above what keeps pictures natural


@dataclass(frozen=True)
class Lora:
    """A file of a LoRA, and its strength; at 0 it is not drawn."""

    path: Path
    scale: float = 1.0


def chosen_loras(
    loras: Mapping[str, Lora],
    adapter_names: str | Sequence[str],
    adapter_weights: float | Sequence[float | None] | None,
) -> dict[str, Lora]:
    """Return all LoRAs, those with these names in their strengths and the others silent."""
    names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
    weights = adapter_weights
    given = list(weights) if isinstance(weights, Sequence) else [weights] * len(names)
    scales = [1.0 if scale is None else scale for scale in given]
    if unknown := [name for name in names if name not in loras]:
        raise InputError(
            f"There is no LoRA {unknown[0]!r} in this pipeline; there are "
            f"{', '.join(map(repr, loras)) or 'none'}. Call load_lora_weights() before."
        )
    in_range = (isinstance(scale, int | float) and abs(scale) <= MAX_LORA_SCALE for scale in scales)
    if len(scales) != len(names) or not all(in_range):
        raise InputError(
            f"The weights {scales} were given for {len(names)} LoRAs. Give one number for all, "
            f"or one each, from {-MAX_LORA_SCALE} to {MAX_LORA_SCALE}."
        )
    chosen = dict(zip(names, scales, strict=True))
    return {name: Lora(lora.path, chosen.get(name, 0.0)) for name, lora in loras.items()}


def fused(plain: Components, loras: Sequence[Lora]) -> Components:
    """Return networks whose denoiser has these LoRAs; `plain` stays as it is."""
    loader = plain.family.lora_loader
    assert isinstance(plain.denoiser, UNetDenoiser), "only these have LoRAs"
    assert loader is not None, "checked before"
    denoiser, family = sharing_weights(plain.denoiser), plain.family.name
    for lora in loras:
        fuse_lora_file(denoiser.unet, lora.path, family=family, loader=loader, scale=lora.scale)
    files = {f"lora {number}": lora.path for number, lora in enumerate(loras)}
    scales = " ".join(str(lora.scale) for lora in loras)
    fingerprint = fingerprint_files(files, settings=f"{plain.fingerprint} {scales}")
    return replace(plain, denoiser=denoiser, fingerprint=fingerprint)


@dataclass(frozen=True)
class Source:
    """The location of files as given by the user."""

    place: str | Path
    subfolder: str
    revision: str | None
    choices: Choices

    def fetch(self, option: str, name: str | None) -> Path:
        """Return the file `name`, or the one that the place itself is.

        Raises:
            InputError: It is not said which one, or it is a pickle.
            WeightsError: It cannot be had.
        """
        if not isinstance(self.place, str | Path):
            raise InputError(
                f"Weights were given as {type(self.place).__name__}. A file, a folder or "
                "OWNER/REPO is needed. Save them as safetensors."
            )
        own = Path(self.place)
        chosen: str | Path = (
            own if name is None else self._below(str(PurePosixPath(self.subfolder, name)))
        )
        if not str(chosen).partition("@")[0].endswith(".safetensors"):
            raise InputError(
                f"'{name or own}' is no safetensors file, and only these are read: others may run "
                "code. Pass `weight_name=`, the name of a file that ends in .safetensors."
            )
        finder = PartFinder(self.choices, WeightFormats(prefers_half=False, allow_pickle=False))
        part = finder.find(option, option, chosen, FileSelection())
        DownloadPlan((part,)).fetch()
        return part.path

    def read_encoder(self, plain: Components, adapter: Path, folder: str | None) -> object:
        """Return the image encoder that `adapter` reads, in `folder` or where it is published."""
        place: str | Path | None = folder
        if folder is not None and not Path(folder).is_dir():
            inside = folder if "/" in folder else str(PurePosixPath(self.subfolder, folder))
            place = self._below(inside)
        network = plain.denoiser.installation.network
        formats = WeightFormats(prefers_half=network.dtype in HALVES, allow_pickle=False)
        choices: Choices = {**self.choices, "image_encoder": place}
        part = plan_image_encoder(peek_adapter(adapter).projector, choices, formats)
        DownloadPlan((part,)).fetch()
        reader = NetworkReader(device=str(plain.device), dtype=network.dtype, allow_pickle=False)
        return read_image_encoder(part.path, reader)

    def _below(self, path: str) -> str | Path:
        if Path(self.place).is_dir():
            return Path(self.place) / path
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{self.place}:{path}{revision}"
