"""What both pipelines share: their modules, saving, loading and sharing."""

from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import torch
from diffusers import DiffusionPipeline
from torch import nn

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.preset import PRESETS
from swiftpie.backbones.weights import own_memory, unknown_fingerprint
from swiftpie.errors import CapabilityError, InputError
from swiftpie.pipelines.hub.calling import CallingPipeline, spelled_as
from swiftpie.pipelines.hub.modules import (
    ADAPTER,
    OPTIONAL,
    SETTINGS,
    Modules,
    adopt,
    check_processors,
    check_scheduler,
    family_of,
    find_adapter,
    is_made_of,
    take_apart,
    write_folder,
)
from swiftpie.pipelines.hub.offload import Offloaded, keep_arguments, wake


class ModulesPipeline(CallingPipeline):
    """A diffusers pipeline around the networks of a preset."""

    model_cpu_offload_seq = (
        "text_encoder->text_encoder_2->layout_predictor->image_encoder->inversion_unet"
        "->reference_unet->unet->vae"
    )
    _optional_components: ClassVar[list[str]] = list(OPTIONAL)
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    @spelled_as(Modules)
    def __init__(self, modules: Modules) -> None:
        """Register `modules`; `from_preset` and `from_pretrained` find them for you."""
        super().__init__()
        given = dict(vars(modules))
        settings = {name: given.pop(name) for name in SETTINGS}
        self.register_modules(**given)
        self.register_to_config(**settings)
        self._loaded: Components | None = None

    @classmethod
    def from_components(cls, components: Components) -> Self:
        """Return a pipeline around loaded networks; nothing is copied."""
        pipeline = cls(**take_apart(components))
        pipeline._loaded = components
        return pipeline

    @classmethod
    def from_preset(
        cls, preset: str = "mini", *, device: str = "cpu", **choices: Unpack[Choices]
    ) -> Self:
        """Load a preset by name, as `swiftpie.load` does.

        Raises:
            ConfigError: No such preset, or it leaves no such choice.
            WeightsError: Weights are missing, damaged or do not fit.
        """
        return cls.from_components(load_components(PRESETS.get(preset), device=device, **choices))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:  # noqa: ANN401 - diffusers' options
        """Load a folder that `save_pretrained` wrote; `options` are those of diffusers.

        Raises:
            InputError: Other files than safetensors are asked for.
            ConfigError: Another program wrote the folder.
            WeightsError: The adapter is missing, or parts do not belong together.
        """
        if not options.setdefault("use_safetensors", True):
            raise InputError(
                "use_safetensors=False was given; SwiftPie never unpickles weights. Leave it out."
            )
        if options.keys() & {one.name for one in fields(Modules)} - SETTINGS:
            options.setdefault("fingerprint", unknown_fingerprint())
        pipeline: Self = super().from_pretrained(pretrained_model_name_or_path, **options)
        for module in pipeline.components.values():
            if isinstance(module, nn.Module):
                own_memory(module)
        current, adapter = pipeline._current(), None
        family = family_of(current)
        if family.is_for_adapter(current):
            adapter = find_adapter(pretrained_model_name_or_path, options)
        pipeline._loaded = family.from_folder(current, adapter)
        pipeline.image_encoder = pipeline._loaded.image_encoder
        pipeline.to_components()  # complains now rather than at the first call
        return pipeline

    @classmethod
    def from_pipe(
        cls,
        pipeline: DiffusionPipeline,
        *,
        preset: str | None = None,
        adapter: str | Path | None = None,
        **modules: Any,  # noqa: ANN401 - any network
    ) -> Self:
        """Return a pipeline of this class that shares the networks of `pipeline`.

        Args:
            pipeline: One of SwiftPie, or of diffusers for Stable Diffusion; it goes on working.
            preset: What the weights of a pipeline of diffusers are, and only then.
            adapter: File of an identity adapter for them, likewise.
            **modules: Modules to take instead, as `vae=…`.

        Raises:
            InputError: What is needed is not given, or there is no such module.
            WeightsError: The weights are not of the preset, or the adapter is for others.
        """
        is_own = isinstance(pipeline, ModulesPipeline)
        names = {one.name for one in fields(Modules)} - SETTINGS
        fits = (preset is None and adapter is None) if is_own else preset is not None
        if not isinstance(pipeline, DiffusionPipeline) or not fits or modules.keys() - names:
            raise InputError(
                f"from_pipe({type(pipeline).__name__}, {', '.join(modules)}) was called. A "
                "pipeline of SwiftPie is needed, or one of diffusers and `preset`, the name of "
                f"what its weights are; and any of {', '.join(sorted(names))}. Use from_preset() "
                "to load other weights."
            )
        if preset is not None:
            file = None if adapter is None else Path(adapter)
            return cls.from_components(adopt(pipeline, PRESETS.get(preset), file, modules))
        # Not as offloaded: that is each pipeline's own affair.
        made = cls.from_components(pipeline._at_rest())  # noqa: SLF001 - of this very class
        for name, module in modules.items():
            setattr(made, name, module)
        return made

    def save_pretrained(
        self,
        save_directory: str | Path,
        safe_serialization: bool = True,  # noqa: FBT001, FBT002 - diffusers' order
        **options: Any,  # noqa: ANN401 - diffusers' options
    ) -> None:
        """Write every module to a folder that `from_pretrained` reads; `options` as in diffusers.

        What diffusers knows is written as diffusers writes it, and the identity adapter beside it.

        Raises:
            InputError: Pickled weights are asked for.
            CapabilityError: The networks have no place in such a folder.
        """
        if not safe_serialization:
            raise InputError(
                "safe_serialization=False was given; pickled weights can run code when loaded, so "
                "only safetensors are written. Leave it out."
            )
        components = self.to_components()
        family = components.family
        plain = type(self)(**take_apart(components) | family.to_folder(components))
        options.setdefault("repo_id", Path(save_directory).name)  # for push_to_hub

        def write(folder: Path) -> None:
            family.write_adapter(folder / ADAPTER, components)
            super(ModulesPipeline, plain).save_pretrained(str(folder), **options)

        write_folder(Path(save_directory), write)

    def to_components(self) -> Components:
        """Return the networks as the rest of SwiftPie takes them, as in `Session(…)`.

        Raises:
            InputError: The scheduler was exchanged, or something of the U-Net.
            CapabilityError: The networks were converted to a type that they cannot work in.
        """
        loaded = self._at_rest()
        check_processors(loaded)
        check_scheduler(self.scheduler, loaded.preset)
        loaded.family.check_dtype(loaded.preset, self.unet.dtype)
        if getattr(self, "_all_hooks", None):
            return Offloaded(**vars(loaded), execution_device=self._execution_device)
        return loaded

    def enable_model_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Keep networks in main memory while they do not run; arguments as in diffusers."""
        super().enable_model_cpu_offload(gpu_id, device)
        for module in (self.unet, self.reference_unet):
            if module is not None:
                keep_arguments(module)

    def enable_sequential_cpu_offload(self, *_: object, **__: object) -> None:
        """Refuse: identities are read from inside of layers, where their weights would be away.

        Raises:
            CapabilityError: Always.
        """
        raise CapabilityError(
            "Single layers cannot be offloaded, because identities are read from inside of them. "
            "Use enable_model_cpu_offload()."
        )

    enable_group_offload = enable_sequential_cpu_offload

    def _at_rest(self) -> Components:
        """Return the networks where they are, put together again if one was exchanged."""
        current = self._current()
        if self._loaded is None or not is_made_of(self._loaded, current):
            self._loaded = family_of(current).from_modules(current, self._loaded)
        return self._loaded

    def _current(self) -> dict[str, Any]:
        """Return the fields of `Modules` as they are now."""
        return {**self.components, **{name: self.config[name] for name in SETTINGS}}

    def _wake(self, *names: str) -> None:
        """Bring offloaded modules to where they run, before they are used other than by a call."""
        for name in names:
            wake(getattr(self, name))
