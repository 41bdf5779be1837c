"""Loads and unloads IP-Adapters and LoRAs by the methods of diffusers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from swiftpie.backbones.adapters import peek_adapter
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.ip_adapter import fuse_lora_file
from swiftpie.backbones.load.networks import read_image_encoder
from swiftpie.backbones.load.weights import (
    HALVES,
    NetworkReader,
    fingerprint_files,
    unknown_fingerprint,
)
from swiftpie.backbones.presets import PRESETS, describe
from swiftpie.backbones.sources import FileSelection, PartFinder, WeightFormats, plan_image_encoder
from swiftpie.diffusers.base import ModulesPipeline
from swiftpie.diffusers.modules import take_apart
from swiftpie.errors import CapabilityError, InputError
from swiftpie.models.denoiser import UNetDenoiser, sharing_weights

MAX_LORA_SCALE = 4.0  # either way; far above what keeps pictures natural


@dataclass(frozen=True)
class Lora:
    """A file of a LoRA, and its strength; at 0 it is not drawn."""

    path: Path
    scale: float = 1.0


class AdaptedPipeline(ModulesPipeline):
    """A pipeline that loads adapters and LoRAs later.

    Networks shared with other pipelines do not change: this pipeline gets a second U-Net around
    the same weights, and new weights for the layers that a LoRA changes.
    """

    _loras: Mapping[str, Lora] = MappingProxyType({})
    _plain: Components | None = None  # the networks without LoRAs, if there are some

    def load_ip_adapter(
        self,
        pretrained_model_name_or_path_or_dict: str | Path,
        subfolder: str = "",
        weight_name: str | None = None,
        image_encoder_folder: str | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Put an identity adapter into the U-Net, in place of the one that is there.

        Args:
            pretrained_model_name_or_path_or_dict: A file, a folder, or OWNER/REPO on the hub.
            subfolder: Where in it the file is.
            weight_name: The file, a safetensors one, of SwiftPie or of IP-Adapter's layout.
            image_encoder_folder: What the adapter reads; by default what is loaded or, if there is
                none, the public encoder that fits.
            revision: Commit, branch or tag of the repository.
            local_files_only: Whether nothing may be downloaded.

        Raises:
            CapabilityError: There are no adapters for the preset.
            InputError: The file name is missing.
            WeightsError: A file cannot be had, or is for other networks.
        """
        plain = self._changeable(plain_family="takes_adapters")
        source = _Source(
            pretrained_model_name_or_path_or_dict,
            subfolder,
            revision,
            {"offline": local_files_only},
        )
        path = source.fetch("adapter", weight_name)
        modules = plain.family.to_folder(plain)
        if modules["image_encoder"] is None or image_encoder_folder is not None:
            modules["image_encoder"] = source.read_encoder(plain, path, image_encoder_folder)
        self._exchange(plain, modules, path)

    def unload_ip_adapter(self) -> None:
        """Take the identity adapter out of the U-Net.

        Raises:
            CapabilityError: There are no adapters for the preset.
        """
        plain = self._changeable(plain_family="takes_adapters")
        self._exchange(plain, {**plain.family.to_folder(plain), "image_encoder": None}, None)

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path,
        adapter_name: str | None = None,
        *,
        weight_name: str | None = None,
        subfolder: str = "",
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Draw with a LoRA, in place of those that were drawn; arguments as in diffusers.

        Raises:
            CapabilityError: There are no LoRAs for the preset's networks.
            InputError: The file name is missing, or the LoRA's name is taken.
            MissingExtra: peft is not installed.
            WeightsError: A file cannot be had, or is for other networks.
        """
        name = adapter_name or f"default_{len(self._loras)}"
        if name in self._loras:
            raise InputError(
                f"There is a LoRA {name!r} already. Choose another `adapter_name=`, or call "
                "unload_lora_weights() before."
            )
        self._changeable(plain_family="lora_loader")
        source = _Source(
            pretrained_model_name_or_path_or_dict,
            subfolder,
            revision,
            {"offline": local_files_only},
        )
        lora = Lora(source.fetch("weights", weight_name))
        silent = {other: replace(known, scale=0.0) for other, known in self._loras.items()}
        self._fuse({**silent, name: lora})

    def unload_lora_weights(self) -> None:
        """Take all LoRAs off again."""
        self._fuse({})

    def set_adapters(
        self,
        adapter_names: str | Sequence[str],
        adapter_weights: float | Sequence[float | None] | None = None,
    ) -> None:
        """Draw with these LoRAs alone, of one strength or one each; None is 1.

        Raises:
            InputError: There is no such LoRA, or numbers are missing or out of range.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        weights = adapter_weights
        given = list(weights) if isinstance(weights, Sequence) else [weights] * len(names)
        scales = [1.0 if scale is None else scale for scale in given]
        if unknown := [name for name in names if name not in self._loras]:
            raise InputError(
                f"There is no LoRA {unknown[0]!r} in this pipeline; there are "
                f"{', '.join(map(repr, self._loras)) or 'none'}. Call load_lora_weights() before."
            )
        in_range = (
            isinstance(scale, int | float) and abs(scale) <= MAX_LORA_SCALE for scale in scales
        )
        if len(scales) != len(names) or not all(in_range):
            raise InputError(
                f"The weights {scales} were given for {len(names)} LoRAs. Give one number for all, "
                f"or one each, from {-MAX_LORA_SCALE} to {MAX_LORA_SCALE}."
            )
        chosen = dict(zip(names, scales, strict=True))
        self._fuse(
            {name: Lora(lora.path, chosen.get(name, 0.0)) for name, lora in self._loras.items()}
        )

    def _changeable(self, *, plain_family: str) -> Components:
        """Return the networks without LoRAs, of a family with the attribute `plain_family`."""
        loaded, plain = self._at_rest(), self._plain
        if not getattr(loaded.family, plain_family):
            raise CapabilityError(
                f"There are no adapters and LoRAs for the networks of preset "
                f"{loaded.preset.name!r}. Load one of Stable Diffusion (`swiftpie presets`)."
            )
        if plain is None:
            return loaded
        return replace(loaded, denoiser=plain.denoiser, fingerprint=plain.fingerprint)

    def _fuse(self, loras: Mapping[str, Lora]) -> None:
        """Give the denoiser these LoRAs, all or, if one does not fit, none of the change."""
        if loras == self._loras:
            return
        plain = self._changeable(plain_family="lora_loader")
        made, drawn = plain, [lora for lora in loras.values() if lora.scale]
        if drawn:
            assert isinstance(plain.denoiser, UNetDenoiser), "only these have LoRAs"
            loader = plain.family.lora_loader
            assert loader is not None, "checked above"
            denoiser = sharing_weights(plain.denoiser)
            for lora in drawn:
                fuse_lora_file(
                    denoiser.unet,
                    lora.path,
                    family=plain.family.name,
                    loader=loader,
                    scale=lora.scale,
                )
            files = {f"lora {number}": lora.path for number, lora in enumerate(drawn)}
            scales = " ".join(str(lora.scale) for lora in drawn)
            fingerprint = fingerprint_files(files, settings=f"{plain.fingerprint} {scales}")
            made = replace(plain, denoiser=denoiser, fingerprint=fingerprint)
        self._take(made)
        self._loras, self._plain = loras, plain if drawn else None

    def _exchange(
        self, plain: Components, modules: Mapping[str, object], adapter: Path | None
    ) -> None:
        """Take networks with another adapter, and put the LoRAs into them again."""
        settings = {"fingerprint": unknown_fingerprint(), "dtype": ""}
        preset = plain.preset
        if preset.name in PRESETS.names():  # without what the adapter before recommended
            preset = replace(preset, defaults=PRESETS.get(preset.name).defaults)
        described = {"preset": describe(preset)}
        self._take(plain.family.from_folder({**modules, **settings, **described}, adapter))
        loras, self._loras, self._plain = self._loras, {}, None
        self._fuse(loras)

    def _take(self, components: Components) -> None:
        for name, value in take_apart(components).items():
            if name in self.components and name != "scheduler":
                if getattr(self, name) is not value:
                    setattr(self, name, value)
            elif name != "scheduler":
                self.register_to_config(**{name: value})
        self._loaded = components


@dataclass(frozen=True)
class _Source:
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
        _, projector = peek_adapter(adapter)
        formats = WeightFormats(prefers_half=network.dtype in HALVES, allow_pickle=False)
        choices: Choices = {**self.choices, "image_encoder": place}
        part = plan_image_encoder(projector, choices, formats)
        DownloadPlan((part,)).fetch()
        reader = NetworkReader(device=str(plain.device), dtype=network.dtype, allow_pickle=False)
        return read_image_encoder(part.path, reader)

    def _below(self, path: str) -> str | Path:
        if Path(self.place).is_dir():
            return Path(self.place) / path
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{self.place}:{path}{revision}"
