"""What both pipelines share: their modules, loading, saving, sharing, and the course of a call."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.load.weights import align_memory, unknown_fingerprint
from swiftpie.backbones.presets import PRESETS, RECIPES, Recipe
from swiftpie.backbones.resolve import resolve
from swiftpie.diffusers.calls import (
    LOADING,
    METHODS,
    SHARING,
    Call,
    SwiftPiePipelineOutput,
    changed_by_callback,
    refuse,
    spelled_as,
    wanted_by_callback,
)
from swiftpie.diffusers.modules import (
    ADAPTER,
    OPTIONAL,
    SETTINGS,
    Modules,
    adopt,
    check_origin,
    check_processors,
    check_scheduler,
    family_of,
    find_adapter,
    is_made_of,
    keep_arguments,
    known_as,
    latent_factors,
    replaced_folder,
    take_apart,
    wake,
)
from swiftpie.errors import CapabilityError, InputError
from swiftpie.pipelines.denoise import OnStep

DENOISERS = ("unet", "transformer")  # a pipeline has one of them

# Networks that the stage after a key, or encoding, uses without calling them, so that offloading
# hooks do not run.
WOKEN = {"text": ("vae", *DENOISERS), "denoise": ("vae",)}
ENCODING = ("text_encoder", "vae", *DENOISERS)


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The caller requested an interrupt."""


class ModulesPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is not annotated
    """A diffusers pipeline around the networks of a preset."""

    model_cpu_offload_seq = (
        "text_encoder->text_encoder_2->layout_predictor->image_encoder->inversion_unet"
        "->reference_unet->unet->transformer->vae"
    )
    _optional_components: ClassVar[list[str]] = list(OPTIONAL)
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _instead: ClassVar[Mapping[str, str]] = METHODS
    _interrupt = False

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
            InputError: diffusers has such an option, and this does not.
            WeightsError: Weights are missing, damaged or do not fit.
        """
        refuse(choices, LOADING)
        return cls.from_components(load_components(PRESETS.get(preset), device=device, **choices))

    @classmethod
    def from_recipe(
        cls, recipe: str | Recipe, *, device: str = "cpu", **choices: Unpack[Choices]
    ) -> Self:
        """Load a recipe, by name or as a value; `choices` are taken instead of its own.

        Raises:
            ConfigError: No such recipe, or its preset leaves no such choice.
            InputError: diffusers has such an option, and this does not.
            WeightsError: Weights are missing, damaged or do not fit.
        """
        refuse(choices, LOADING)
        preset, merged = resolve(None, recipe, choices)
        return cls.from_components(load_components(preset, device=device, **merged))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:  # noqa: ANN401 - diffusers' options
        """Load a folder that `save_pretrained` wrote; `options` are those of diffusers.

        Raises:
            InputError: `use_safetensors` is False, or the name is that of a preset or recipe.
            ConfigError: Another program wrote the folder.
            WeightsError: There is no pipeline, the adapter is missing, or parts do not belong
                together.
        """
        if not options.setdefault("use_safetensors", True):
            raise InputError(
                "use_safetensors=False was given; SwiftPie never unpickles weights. Leave it out."
            )
        name = str(pretrained_model_name_or_path)
        for method, known in (("preset", PRESETS), ("recipe", RECIPES)):
            if name in known.names() and not Path(name).exists():
                raise InputError(
                    f"{name!r} is a {method}, and no folder of that name is here. Call "
                    f"{cls.__name__}.from_{method}({name!r})."
                )
        check_origin(pretrained_model_name_or_path, options, wanted=cls)
        if options.keys() & {field.name for field in fields(Modules)} - SETTINGS:
            options.setdefault("fingerprint", unknown_fingerprint())
        pipeline: Self = super().from_pretrained(pretrained_model_name_or_path, **options)
        for module in pipeline.components.values():
            if isinstance(module, nn.Module):
                align_memory(module)
        current, adapter = pipeline._current(), None
        family = family_of(current)
        if family.is_for_adapter(current):
            adapter = find_adapter(pretrained_model_name_or_path, options)
        pipeline._loaded = family.from_folder(current, adapter)
        pipeline.image_encoder = pipeline._loaded.image_encoder
        pipeline.to_components()  # raises now rather than at the first call
        return pipeline

    @classmethod
    def from_single_file(cls, pretrained_model_link_or_path: str | Path, **_: object) -> Self:
        """Refuse: such a file does not say which preset its weights are.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"'{pretrained_model_link_or_path}' is one file, and its networks are needed by name. "
            f"Open it with a pipeline of diffusers, and pass that to {cls.__name__}.from_pipe(…, "
            "preset=…); a U-Net alone is from_preset(…, weights=…)."
        )

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

        That may be one of SwiftPie, or of diffusers for Stable Diffusion, and goes on working. For
        one of diffusers, `preset` names its weights and `adapter` is a file of an identity adapter
        for them. `modules` are taken instead of its own, as `vae=…`.

        Raises:
            InputError: What is needed is not given, or there is no such module.
            WeightsError: The weights are not of the preset, or the adapter is for others.
        """
        refuse(modules, SHARING)
        _check_sharing(pipeline, preset=preset, adapter=adapter, wanted=cls)
        names = {field.name for field in fields(Modules)} - SETTINGS
        if unknown := sorted(modules.keys() - names):
            raise InputError(
                f"from_pipe(…, {unknown[0]}=…) was called, and pipelines here have no such module. "
                f"Leave it out, or pass any of {', '.join(sorted(names))}."
            )
        if preset is not None:
            file = None if adapter is None else Path(adapter)
            return cls.from_components(adopt(pipeline, PRESETS.get(preset), file, modules))
        # Offloading is not shared between pipelines.
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
            InputError: `safe_serialization` is False.
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
        with replaced_folder(Path(save_directory)) as folder:
            family.write_adapter(folder / ADAPTER, components)
            super(ModulesPipeline, plain).save_pretrained(str(folder), **options)

    def to_components(self) -> Components:
        """Return the networks as the rest of SwiftPie takes them, as in `Session(…)`.

        Raises:
            InputError: The scheduler was exchanged, or something of the denoiser.
            CapabilityError: The networks were converted to a type that they cannot work in.
        """
        loaded = self._at_rest()
        check_processors(loaded)
        check_scheduler(self.scheduler, loaded.preset)
        loaded.family.check_dtype(loaded.preset, loaded.denoiser.installation.network.dtype)
        is_offloaded = bool(getattr(self, "_all_hooks", None))
        device = self._execution_device if is_offloaded else loaded.execution_device
        # Without what was derived from the modules, as they may have changed since the last call.
        return replace(loaded, execution_device=device)

    def enable_model_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Keep networks in main memory while they do not run; arguments as in diffusers."""
        super().enable_model_cpu_offload(gpu_id, device)
        for name in (*DENOISERS, "reference_unet"):
            if (module := getattr(self, name)) is not None:
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

    def set_attention_slice(self, slice_size: str | int | None) -> None:
        """Refuse: such attention has no identity branches; None leaves what is not sliced.

        Raises:
            CapabilityError: Always, unless it turns such attention off.
        """
        if slice_size is not None:
            self.set_use_memory_efficient_attention_xformers(valid=True)

    def set_use_memory_efficient_attention_xformers(
        self,
        valid: bool,  # noqa: FBT001 - diffusers' order
        attention_op: object = None,
    ) -> None:
        """Refuse: such attention has no identity branches; False leaves what is none.

        Raises:
            CapabilityError: Always, unless it turns such attention off.
        """
        del attention_op
        if valid:
            raise CapabilityError(
                "Attention slicing and xFormers would replace the identity branches, which use "
                "PyTorch's memory-efficient attention already. To save memory, call "
                "enable_model_cpu_offload() or, if the autoencoder supports it, "
                "pipe.vae.enable_tiling()."
            )

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        """Name the replacement of a method of diffusers that this pipeline does not have.

        Raises:
            AttributeError: Always for such methods and unknown names.
        """
        if name in self._instead:
            raise AttributeError(f"{type(self).__name__} has no {name}(). {self._instead[name]}")
        return super().__getattr__(name)

    def _at_rest(self) -> Components:
        # Rebuilt if a module was replaced.
        current = self._current()
        if self._loaded is None or not is_made_of(self._loaded, current):
            self._loaded = family_of(current).from_modules(current, self._loaded)
        return self._loaded

    def _current(self) -> dict[str, Any]:
        return {**self.components, **{name: self.config[name] for name in SETTINGS}}

    def _wake(self, *names: str) -> None:
        for name in names:
            wake(getattr(self, name))

    @property
    def interrupt(self) -> bool:
        """Whether calls in progress end without a picture; set `_interrupt` to request it."""
        return self._interrupt

    def _answer(
        self, call: Call, draw: Callable[[], SwiftPiePipelineOutput]
    ) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Return the output of `draw` in the form of the call; empty if interrupted."""
        self._interrupt, output = False, SwiftPiePipelineOutput()
        try:
            with torch.no_grad():
                output = draw()
        except Interrupted:
            pass
        finally:
            self.maybe_free_model_hooks()
        return output if call.return_dict else output.to_tuple()

    def _on_stage(self, stage: str) -> None:
        if self._interrupt:
            raise Interrupted
        self._wake(*WOKEN.get(stage, ()))

    @contextmanager
    def _steps(self, call: Call, components: Components, calls: int = 1) -> Iterator[OnStep]:
        """Yield the callback for each step of several `calls` of the core, with a progress bar."""
        callback, names = call.callback_on_step_end, wanted_by_callback(call)
        factors = latent_factors(components.preset, components.schedule)

        def on_step(index: int, timestep: float, latents: Tensor) -> Tensor:
            if callback is not None:
                shown = latents * factors[index]
                changed = callback(self, index, timestep, dict.fromkeys(names, shown))
                latents = changed_by_callback(changed, shown) / factors[index]
            bar.update()
            self._on_stage("step")
            return latents

        with self.progress_bar(total=calls * len(factors)) as bar:
            yield on_step


def _check_sharing(
    pipeline: object, *, preset: str | None, adapter: object, wanted: type[ModulesPipeline]
) -> None:
    """Check that `from_pipe` knows the weights of a pipeline.

    Raises:
        InputError: It is none, its preset is not said, or is said twice.
    """
    if not isinstance(pipeline, DiffusionPipeline):
        raise InputError(
            f"from_pipe() got a {type(pipeline).__name__}, and a loaded pipeline is needed, of "
            f"SwiftPie or of diffusers. Load a preset by {wanted.__name__}.from_preset(PRESET), a "
            "folder by from_pretrained(FOLDER)."
        )
    is_own = isinstance(pipeline, ModulesPipeline)
    if is_own and not (preset is None and adapter is None):
        raise InputError(
            f"from_pipe() got a {type(pipeline).__name__}, which knows its preset and has its own "
            "adapter. Leave `preset` and `adapter` out; load_ip_adapter() changes the adapter, "
            "from_preset() loads other weights."
        )
    if not is_own and preset is None:
        raise InputError(
            f"A {type(pipeline).__name__} does not say which preset its weights are. Add "
            f"`preset`: {wanted.__name__}.from_pipe(pipeline, preset=…), "
            f"{known_as(pipeline.name_or_path)}."
        )
