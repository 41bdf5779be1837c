"""What both pipelines share: their modules, saving, loading and sharing."""

import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components
from swiftpie.backbones.loading import load_components
from swiftpie.backbones.preset import PRESETS, Family
from swiftpie.backbones.weights import own_memory
from swiftpie.errors import CapabilityError, InputError
from swiftpie.pipelines.denoise import OnStep
from swiftpie.pipelines.hub.call import AnyCall, wanted_by_callback
from swiftpie.pipelines.hub.modules import (
    OPTIONAL,
    SETTINGS,
    Modules,
    Offloaded,
    check_processors,
    check_scheduler,
    is_made_of,
    put_together,
    take_apart,
    unknown_fingerprint,
)
from swiftpie.pipelines.hub.spelling import spelled_as

logger = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The call was asked to stop."""


class ModulesPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is not annotated
    """A diffusers pipeline around the networks of a preset."""

    model_cpu_offload_seq = (
        "text_encoder->text_encoder_2->layout_predictor->image_encoder->inversion_unet->vae"
    )
    # Layers write notes into a dict that they are given; offloading hands them a copy.
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["unet", "reference_unet"]
    _optional_components: ClassVar[list[str]] = list(OPTIONAL)
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _interrupt: bool
    _has_warned = False

    @spelled_as(Modules)
    def __init__(self, modules: Modules) -> None:
        """Register `modules`; `from_preset` and `from_pretrained` find them for you."""
        super().__init__()
        given = dict(vars(modules))
        settings = {name: given.pop(name) for name in SETTINGS}
        self.register_modules(**given)
        self.register_to_config(**settings)
        self._interrupt = False
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
        pipeline.to_components()  # complains now rather than at the first call
        return pipeline

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **options: Any) -> Self:  # noqa: ANN401 - diffusers' options
        """Return a pipeline of this class that shares the networks of `pipeline`.

        Args:
            pipeline: Another pipeline of SwiftPie.
            **options: Modules to take instead, as `vae=…`.

        Raises:
            InputError: `pipeline` is of another kind, or there is no such module.
        """
        names = {one.name for one in fields(Modules)} - SETTINGS
        if not isinstance(pipeline, ModulesPipeline) or options.keys() - names:
            raise InputError(
                f"from_pipe({type(pipeline).__name__}, {', '.join(options)}) was called. A "
                f"pipeline of SwiftPie is needed, and any of {', '.join(sorted(names))}. Use "
                "from_preset() to load other weights."
            )
        # Not as offloaded: that is each pipeline's own affair.
        made = cls.from_components(pipeline._at_rest())  # noqa: SLF001 - of this very class
        for name, module in options.items():
            setattr(made, name, module)
        return made

    def save_pretrained(
        self,
        save_directory: str | Path,
        safe_serialization: bool = True,  # noqa: FBT001, FBT002 - diffusers' order
        **options: Any,  # noqa: ANN401 - diffusers' options
    ) -> None:
        """Write every module to a folder that `from_pretrained` reads; `options` as in diffusers.

        Raises:
            InputError: Pickled weights are asked for.
            CapabilityError: The preset's identity adapter has no place in such a folder.
        """
        if not safe_serialization:
            raise InputError(
                "safe_serialization=False was given; pickled weights can run code when loaded, so "
                "only safetensors are written. Leave it out."
            )
        preset = self.to_components().preset
        if preset.family is not Family.TINY:
            raise CapabilityError(
                f"Preset {preset.name!r} is made of weights that others publish, and a folder of "
                "diffusers has no place for its identity adapter. Load it with from_preset(…, "
                "adapter=…), as this pipeline was."
            )
        super().save_pretrained(str(save_directory), safe_serialization=True, **options)

    def to_components(self) -> Components:
        """Return the networks as the rest of SwiftPie takes them, as in `Session(…)`.

        Raises:
            InputError: The scheduler was exchanged, or something of the U-Net.
            CapabilityError: The networks were converted to a type that they cannot work in.
        """
        loaded = self._at_rest()
        check_processors(loaded)
        check_scheduler(self.scheduler, loaded.preset)
        if loaded.preset.family is Family.TINY and self.unet.dtype is not torch.float32:
            raise CapabilityError(
                f"Preset {loaded.preset.name!r} was converted to {self.unet.dtype}; it computes in "
                "float32 only. Call pipe.to(torch.float32), or load it again."
            )
        if getattr(self, "_all_hooks", None):
            return Offloaded(**vars(loaded), execution_device=self._execution_device)
        return loaded

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

    @property
    def interrupt(self) -> bool:
        """Whether the calls in progress shall end without a picture; set `_interrupt` to ask so."""
        return self._interrupt

    def _at_rest(self) -> Components:
        """Return the networks where they are, put together again if one was exchanged."""
        current = {**self.components, **{name: self.config[name] for name in SETTINGS}}
        if self._loaded is None or not is_made_of(self._loaded, current):
            self._loaded = put_together(current, self._loaded)
        return self._loaded

    def _wake(self, *names: str) -> None:
        """Bring offloaded modules to where they run, before they are used other than by a call."""
        for name in names:
            module = getattr(self, name)
            hook = getattr(module, "_hf_hook", None)
            if hook is not None:
                hook.pre_forward(module)

    def _on_step(self, call: AnyCall, tick: Callable[[], object]) -> OnStep:
        """Return what happens after a step: the callback, the progress bar, perhaps the end."""
        callback, names = call.callback_on_step_end, wanted_by_callback(call)

        def on_step(index: int, timestep: int, latents: Tensor) -> Tensor:
            if callback is not None:
                changed = callback(self, index, timestep, dict.fromkeys(names, latents))
                latents = changed.get("latents", latents)
            tick()
            self._stop_if_asked()
            return latents

        return on_step

    def _stop_if_asked(self) -> None:
        """End the call if `_interrupt` was set.

        Raises:
            Interrupted: It was.
        """
        if self._interrupt:
            raise Interrupted

    def _warn_of_guidance(self, call: AnyCall) -> None:
        """Say once a pipeline that distilled weights are not steered by a negative prompt."""
        if call.asks_for_guidance and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "This model was distilled to work without guidance, so guidance_scale, "
                "guidance_rescale and negative prompts have no effect."
            )
