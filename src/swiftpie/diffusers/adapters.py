"""Loads and unloads IP-Adapters and LoRAs by the methods of diffusers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from swiftpie.backbones.adapters import peek_adapter
from swiftpie.backbones.components import Components
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.ip_adapter import fuse_lora_file
from swiftpie.backbones.load.networks import read_image_encoder
from swiftpie.backbones.load.safe import check_safetensors
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

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices

ENCODER = "image_encoder"  # where repositories of IP-Adapters keep what the adapters read
MAX_LORA_SCALE = 4.0  # either way; far above what keeps pictures natural


@dataclass(frozen=True)
class Lora:
    """A file of a LoRA, and its strength."""

    path: Path
    scale: float = 1.0


@dataclass(frozen=True)
class Loras:
    """The LoRAs of a pipeline, and which of them are drawn, as diffusers has it."""

    by_name: Mapping[str, Lora] = field(default_factory=dict)
    active: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()  # drawn in place of the active ones
    kept: tuple[Lora, ...] = ()  # without a name any more, and drawn for good
    is_on: bool = True

    @property
    def drawn(self) -> tuple[Lora, ...]:
        """The LoRAs that are part of the denoiser's weights."""
        names = (self.fused or self.active) if self.is_on else ()
        return (*self.kept, *(self.by_name[name] for name in names))

    def scaled(self, scales: Mapping[str, float]) -> "Loras":
        """Return the same with other strengths by name."""
        return replace(
            self,
            by_name={
                name: replace(lora, scale=scales.get(name, lora.scale))
                for name, lora in self.by_name.items()
            },
        )


class AdaptedPipeline(ModulesPipeline):
    """A pipeline that loads adapters and LoRAs later.

    Networks shared with other pipelines do not change: this pipeline gets a second U-Net around
    the same weights, and new weights for the layers that a LoRA changes.
    """

    _loras = Loras()
    _plain: Components | None = None  # the networks without LoRAs, if there are some

    def load_ip_adapter(
        self,
        pretrained_model_name_or_path_or_dict: str | Path,
        subfolder: str = "",
        weight_name: str | None = None,
        image_encoder_folder: str | None = ENCODER,
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
            CapabilityError: The preset's identity branches are no adapter.
            InputError: The file name is missing, or the pipeline is offloaded.
            WeightsError: A file cannot be had, or is for other networks.
        """
        plain = self._changeable()
        _check_takes_adapters(plain)
        source = _Source(
            pretrained_model_name_or_path_or_dict, subfolder, revision, is_here=local_files_only
        )
        path = source.fetch("adapter", weight_name)
        modules = plain.family.to_folder(plain)
        if modules["image_encoder"] is None or image_encoder_folder not in {ENCODER, None}:
            place = source.encoder(image_encoder_folder or ENCODER)
            modules["image_encoder"] = _read_encoder(plain, path, place, is_here=local_files_only)
        self._exchange(plain, modules, path)

    def unload_ip_adapter(self) -> None:
        """Take the identity adapter out of the U-Net; prompts alone are drawn by diffusers' own.

        Raises:
            CapabilityError: The preset's identity branches are no adapter.
            InputError: The pipeline is offloaded.
        """
        plain = self._changeable()
        _check_takes_adapters(plain)
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
        """Draw with a LoRA, in place of those that were active; arguments as in diffusers.

        Raises:
            CapabilityError: There are no LoRAs for the preset's networks.
            InputError: The file name is missing, the LoRA's name is taken, or the pipeline is
                offloaded.
            MissingExtra: peft is not installed.
            WeightsError: A file cannot be had, or is for other networks.
        """
        loras = self._loras
        free = (f"default_{number}" for number in count(len(loras.by_name)))
        name = adapter_name or next(name for name in free if name not in loras.by_name)
        if name in loras.by_name:
            raise InputError(
                f"There is a LoRA {name!r} already. Choose another `adapter_name=`, or call "
                f"delete_adapters({name!r}) before."
            )
        self._check_loras()
        source = _Source(
            pretrained_model_name_or_path_or_dict, subfolder, revision, is_here=local_files_only
        )
        by_name = {**loras.by_name, name: Lora(source.fetch("weights", weight_name))}
        self._fuse(replace(loras, by_name=by_name, active=(name,), fused=()))

    def unload_lora_weights(self) -> None:
        """Take all LoRAs off again, but for those that fuse_lora() was called for."""
        loras = self._loras
        self._fuse(Loras(kept=loras.drawn if loras.fused else loras.kept))

    def set_adapters(
        self,
        adapter_names: str | Sequence[str],
        adapter_weights: float | Sequence[float | None] | None = None,
    ) -> None:
        """Draw with these LoRAs alone, of one strength or one each; None is 1.

        Raises:
            InputError: There is no such LoRA, or numbers are missing or out of range.
        """
        names = self._known(adapter_names)
        given = (
            adapter_weights
            if isinstance(adapter_weights, Sequence)
            else [adapter_weights] * len(names)
        )
        scales = [1.0 if scale is None else scale for scale in given]
        if len(scales) != len(names):
            raise InputError(
                f"{len(scales)} weights were given for {len(names)} LoRAs. Give one for all, or "
                "one each."
            )
        for scale in scales:
            if not (isinstance(scale, int | float) and abs(scale) <= MAX_LORA_SCALE):
                raise InputError(
                    f"The weight {scale!r} was given for a LoRA; a number from {-MAX_LORA_SCALE} "
                    f"to {MAX_LORA_SCALE} is needed, for all of its layers alike."
                )
        scaled = self._loras.scaled(dict(zip(names, scales, strict=True)))
        self._fuse(replace(scaled, active=tuple(names)))

    def get_active_adapters(self) -> list[str]:
        """Return the names of the LoRAs that are drawn with while LoRAs are on."""
        return list(self._loras.active)

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Return the names of all LoRAs, by the network that they change."""
        return {"unet": list(self._loras.by_name)} if self._loras.by_name else {}

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Take LoRAs off for good; if no active one is left, the first of the others is active.

        Raises:
            InputError: There is no such LoRA.
        """
        names, loras = self._known(adapter_names), self._loras
        rest = {name: lora for name, lora in loras.by_name.items() if name not in names}
        active, fused = (
            tuple(name for name in chosen if name in rest) for chosen in (loras.active, loras.fused)
        )
        self._fuse(replace(loras, by_name=rest, active=active or tuple(rest)[:1], fused=fused))

    def disable_lora(self) -> None:
        """Draw without LoRAs until enable_lora() is called."""
        self._fuse(replace(self._loras, is_on=False))

    def enable_lora(self) -> None:
        """Draw with the active LoRAs again."""
        self._fuse(replace(self._loras, is_on=True))

    def fuse_lora(
        self,
        components: Sequence[str] = ("unet",),
        lora_scale: float = 1.0,
        *,
        adapter_names: Sequence[str] | None = None,
    ) -> None:
        """Draw with these LoRAs alone, times `lora_scale`; unload_lora_weights() keeps them then.

        Raises:
            InputError: There is no such LoRA, or LoRAs of other networks are meant.
        """
        if {*components} != {"unet"}:
            raise InputError(
                f"components={list(components)} was given; LoRAs are added to the U-Net only. "
                "Leave it out."
            )
        names = self._known(adapter_names or self.get_active_adapters())
        loras = self._loras.scaled(
            {name: self._loras.by_name[name].scale * lora_scale for name in names}
        )
        self._fuse(replace(loras, fused=tuple(names)))

    def unfuse_lora(self, components: Sequence[str] = ("unet",)) -> None:
        """Draw with the active LoRAs again, which unload_lora_weights() takes off."""
        del components  # none but the U-Net has any
        self._fuse(replace(self._loras, fused=()))

    def _known(self, names: str | Sequence[str]) -> list[str]:
        given, known = [names] if isinstance(names, str) else list(names), self._loras.by_name
        if unknown := [name for name in given if name not in known]:
            raise InputError(
                f"There is no LoRA {unknown[0]!r} in this pipeline; there are "
                f"{', '.join(map(repr, known)) or 'none'}. Call load_lora_weights() before."
            )
        return given

    def _changeable(self) -> Components:
        """Return the networks without LoRAs.

        Raises:
            InputError: They are offloaded, and hooks would stay on replaced networks.
        """
        if getattr(self, "_all_hooks", None):
            raise InputError(
                "The pipeline is offloaded, and new networks would not be. Load adapters and LoRAs "
                "before enable_model_cpu_offload()."
            )
        loaded = self._at_rest()
        if self._plain is None:
            return loaded
        plain = self._plain
        return replace(loaded, denoiser=plain.denoiser, fingerprint=plain.fingerprint)

    def _check_loras(self) -> None:
        loaded = self._at_rest()
        if loaded.family.lora_loader is None:
            raise CapabilityError(
                f"There are no LoRAs for the networks of preset {loaded.preset.name!r}. Load one "
                "of Stable Diffusion (`swiftpie presets`)."
            )

    def _fuse(self, loras: Loras) -> None:
        """Give the denoiser these LoRAs, all or, if one does not fit, none of the change."""
        if loras == self._loras:
            return
        plain = self._changeable()
        made, active = plain, [lora for lora in loras.drawn if lora.scale]
        if active:
            assert isinstance(plain.denoiser, UNetDenoiser), "only these have LoRAs"
            loader = plain.family.lora_loader
            assert loader is not None, "checked when the LoRA was loaded"
            denoiser = sharing_weights(plain.denoiser)
            for lora in active:
                fuse_lora_file(
                    denoiser.unet,
                    lora.path,
                    family=plain.family.name,
                    loader=loader,
                    scale=lora.scale,
                )
            files = {f"lora {number}": lora.path for number, lora in enumerate(active)}
            scales = " ".join(str(lora.scale) for lora in active)
            fingerprint = fingerprint_files(files, settings=f"{plain.fingerprint} {scales}")
            made = replace(plain, denoiser=denoiser, fingerprint=fingerprint)
        self._take(made)
        self._loras, self._plain = loras, plain if active else None

    def _exchange(
        self, plain: Components, modules: Mapping[str, object], adapter: Path | None
    ) -> None:
        """Take networks with another adapter, and put the LoRAs into them again."""
        settings = {"fingerprint": unknown_fingerprint(), "dtype": ""}
        preset = plain.preset
        if preset.name in PRESETS.names():  # without what the adapter before recommended
            preset = replace(preset, defaults=PRESETS.get(preset.name).defaults)
        described = {"preset": describe(preset)}
        made = plain.family.from_folder({**modules, **settings, **described}, adapter)
        self._take(made)
        loras, self._loras, self._plain = self._loras, Loras(), None
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
    is_here: bool  # whether downloads are forbidden

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
        if name is None and not own.is_file():
            raise InputError(
                f"'{self.place}' may hold several files. Pass `weight_name=`, the name of a file "
                "that ends in .safetensors."
            )
        if PurePosixPath(name or own.name).suffix != ".safetensors":
            raise InputError(
                f"'{name or own}' may run code when it is loaded, as pickles do, so only "
                "safetensors are read. Take the file of that kind, which is usually beside it."
            )
        chosen: str | Path = own
        if name is not None:
            below = PurePosixPath(self.subfolder, name)
            chosen = own / below if own.is_dir() else self._reference(str(below))
        choices: Choices = {"offline": self.is_here}
        part = PartFinder(choices, WeightFormats(prefers_half=False, allow_pickle=False)).find(
            option, option, chosen, FileSelection()
        )
        DownloadPlan((part,)).fetch()
        return part.path

    def encoder(self, folder: str) -> str | None:
        """Return where the image encoder is; None: with the public ones."""
        below = PurePosixPath(folder) if "/" in folder else PurePosixPath(self.subfolder, folder)
        if Path(folder).is_dir():
            return folder
        if Path(self.place).is_dir():
            own = Path(self.place) / below
            return str(own) if folder != ENCODER or own.is_dir() else None
        return None if folder == ENCODER else self._reference(str(below))

    def _reference(self, path: str) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{self.place}:{path}{revision}"


def _read_encoder(plain: Components, adapter: Path, place: str | None, *, is_here: bool) -> object:
    """Return the image encoder that `adapter` reads, from `place` or where it is published."""
    network = plain.denoiser.installation.network
    _, projector = peek_adapter(adapter, check_safetensors(adapter))
    formats = WeightFormats(prefers_half=network.dtype in HALVES, allow_pickle=False)
    part = plan_image_encoder(projector, {"image_encoder": place, "offline": is_here}, formats)
    DownloadPlan((part,)).fetch()
    reader = NetworkReader(device=str(plain.device), dtype=network.dtype, allow_pickle=False)
    return read_image_encoder(part.path, reader)


def _check_takes_adapters(components: Components) -> None:
    if not components.family.takes_adapters:
        raise CapabilityError(
            f"Preset {components.preset.name!r} has its identity branches in its own weights; "
            "there are no adapters for it. Load one of Stable Diffusion (`swiftpie presets`)."
        )
