"""What both pipelines share: their modules, saving, loading and sharing, and how calls go."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, Self, TypeVar, Unpack

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor, nn

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.load.weights import align_memory, unknown_fingerprint
from swiftpie.backbones.preset import PRESETS
from swiftpie.backbones.recipe import RECIPES, Recipe
from swiftpie.backbones.resolve import settle
from swiftpie.errors import CapabilityError, InputError
from swiftpie.guidance import Guidance, Steering
from swiftpie.guidance.cfg import ClassifierFree
from swiftpie.guidance.dcg import Decoupled
from swiftpie.imageio.images import load_image
from swiftpie.noise import MAX_SEED
from swiftpie.pipelines.diffusers.habits import LOADING, METHODS, refuse
from swiftpie.pipelines.diffusers.modules import (
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
    keep_arguments,
    replaced_folder,
    take_apart,
    wake,
)
from swiftpie.pipelines.drawing.denoise import OnStep
from swiftpie.pipelines.drawing.settings import Style, steering_of
from swiftpie.types import IdentityBranch

P = ParamSpec("P")
Arguments = TypeVar("Arguments")
Owner = TypeVar("Owner")
Result = TypeVar("Result")

Picture = Image.Image | np.ndarray[Any, Any] | Tensor | str | Path
Generators = torch.Generator | list[torch.Generator]
Images = list[Image.Image] | np.ndarray[Any, Any] | Tensor
OnStepEnd = Callable[[Any, int, float, dict[str, Tensor]], dict[str, Tensor]]

DENOISERS = ("unet", "transformer")  # a pipeline has one of them

NOTHING: Mapping[str, str] = MappingProxyType({})

# What the stage after this one uses of networks other than by a call, so that hooks do not see it,
# and what encoding a picture so uses.
WOKEN = {"text": ("vae", *DENOISERS), "denoise": ("vae",)}
ENCODING = ("text_encoder", "vae", *DENOISERS)


@dataclass
class SwiftPiePipelineOutput(BaseOutput):  # type: ignore[misc]  # diffusers is not annotated
    """Pictures and what is known about them; everything is empty after an interrupt."""

    # A list, an array (B, H, W, 3), a tensor (B, 3, H, W), or latents (B, C, h, w).
    images: Images = field(default_factory=list)
    # Mode L, 255 = subject or edit; None if not asked for.
    masks: list[Image.Image] | None = field(default_factory=list)
    seeds: tuple[int, ...] = ()  # empty where generators or latents were given
    timings: Mapping[str, float] = field(default_factory=dict)  # milliseconds by stage
    branches: tuple[IdentityBranch, ...] = ()  # of subjects, those that spoke


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The call was asked to stop."""


class _Call(Protocol):
    """What the calls of all pipelines have."""

    @property
    def num_inference_steps(self) -> int | None: ...
    @property
    def output_type(self) -> str: ...
    @property
    def return_dict(self) -> bool: ...
    @property
    def callback_on_step_end(self) -> OnStepEnd | None: ...
    @property
    def callback_on_step_end_tensor_inputs(self) -> Sequence[str]: ...


def spelled_as(
    arguments: Callable[P, Arguments], *, instead: Mapping[str, str] = NOTHING
) -> Callable[[Callable[[Owner, Arguments], Result]], Callable[Concatenate[Owner, P], Result]]:
    """Let a method be called with the fields of the dataclass `arguments`, in their order.

    diffusers reads signatures to know a pipeline's modules and options, and so do people; the
    method itself gets one value. `instead` says what to use for arguments that it does not take.
    """

    def decorate(
        method: Callable[[Owner, Arguments], Result],
    ) -> Callable[Concatenate[Owner, P], Result]:
        @functools.wraps(method)
        def spelled(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            refuse(kwargs, instead)
            return method(self, arguments(*args, **kwargs))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = inspect.signature(arguments).parameters.values()
        spelled.__signature__ = inspect.Signature([own, *named])  # type: ignore[attr-defined]  # any function may have one
        spelled.__annotations__ = {one.name: one.annotation for one in named}
        return spelled

    return decorate


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
        preset, merged = settle(None, recipe, choices)
        return cls.from_components(load_components(preset, device=device, **merged))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:  # noqa: ANN401 - diffusers' options
        """Load a folder that `save_pretrained` wrote; `options` are those of diffusers.

        Raises:
            InputError: Other files than safetensors are asked for, or a preset or recipe is named.
            ConfigError: Another program wrote the folder.
            WeightsError: The adapter is missing, or parts do not belong together.
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
        if options.keys() & {one.name for one in fields(Modules)} - SETTINGS:
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
        pipeline.to_components()  # complains now rather than at the first call
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
            CapabilityError: It is asked for.
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
            CapabilityError: It is asked for.
        """
        del attention_op
        if valid:
            raise CapabilityError(
                "Attention slicing and xFormers put other processors in the place of the identity "
                "branches, whose attention is as short of memory as PyTorch has it. For less "
                "memory call enable_model_cpu_offload() or, where it has that, "
                "pipe.vae.enable_tiling()."
            )

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        """Say what to use in place of a method of diffusers' pipelines that is not here.

        Raises:
            AttributeError: It is one, or nothing at all; so `hasattr` tells the truth.
        """
        if name in self._instead:
            raise AttributeError(f"{type(self).__name__} has no {name}(). {self._instead[name]}")
        return super().__getattr__(name)

    def _at_rest(self) -> Components:
        # The networks where they are, put together again if one was exchanged.
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
        """Whether the calls in progress shall end without a picture; set `_interrupt` to ask so."""
        return self._interrupt

    def _answer(
        self, call: _Call, draw: Callable[[], SwiftPiePipelineOutput]
    ) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Return what `draw` returns in the form that the call wants; empty if interrupted."""
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
    def _steps(self, call: _Call, count: int) -> Iterator[OnStep]:
        """Yield what to do after each of `count` steps."""
        callback, names = call.callback_on_step_end, _wanted_by_callback(call)

        def on_step(index: int, timestep: float, latents: Tensor) -> Tensor:
            if callback is not None:
                changed = callback(self, index, timestep, dict.fromkeys(names, latents))
                latents = _changed_by_callback(changed, latents)
            bar.update()
            self._on_stage("step")
            return latents

        with self.progress_bar(total=count) as bar:
            yield on_step


def to_picture(value: Picture) -> Image.Image:
    """Return a picture from a PIL image, a path, an array (H, W, C) or a tensor (C, H, W).

    Arrays of floats and tensors are in [0, 1], arrays of bytes in [0, 255]; (H, W) is grey.

    Raises:
        InputError: It is none of these.
    """
    if isinstance(value, Image.Image | str | Path):
        return load_image(value)
    if isinstance(value, Tensor):
        rows = value[0] if value.ndim == 4 and len(value) == 1 else value
        value = rows.detach().float().cpu().movedim(0, -1 if rows.ndim == 3 else 0).numpy()
    if isinstance(value, np.ndarray) and value.ndim == 2:
        value = value[:, :, None]
    if not isinstance(value, np.ndarray) or value.ndim != 3 or value.shape[2] not in {1, 3, 4}:
        shape = getattr(value, "shape", "")
        raise InputError(
            f"A picture was given as {type(value).__name__} {shape}. A PIL image, a path, an array "
            "(H, W, 3) or a tensor (3, H, W) is needed."
        )
    if value.dtype != np.uint8:
        if not (value.min() >= 0 and value.max() <= 1):  # nor NaN
            raise InputError(
                f"A picture has values from {value.min():.3g} to {value.max():.3g}; 0 to 1 are "
                "needed. Scale it."
            )
        value = (value * 255).round().astype(np.uint8)
    return Image.fromarray(value[:, :, 0] if value.shape[2] == 1 else value)


def rows_of(pictures: Any) -> Any:  # noqa: ANN401 - one picture, or any nesting of them
    """Return the pictures of a batch, an array or tensor of four dimensions, as a list."""
    is_batch = isinstance(pictures, Tensor | np.ndarray) and pictures.ndim == 4
    return list(pictures) if is_batch else pictures


def drawn_seeds(count: int, generator: Generators | None = None) -> list[int]:
    """Return seeds for a call without any, from a generator, or one each.

    Without, they are from the one that `torch.manual_seed` makes repeatable.

    Raises:
        InputError: There are generators, and not as many.
    """
    if isinstance(generator, list):
        if len(generator) != count:
            raise InputError(
                f"{len(generator)} generators were given for {count} pictures. Give one, or one a "
                "picture."
            )
        return [seed for one in generator for seed in drawn_seeds(1, one)]
    device = None if generator is None else generator.device
    drawn = torch.randint(0, MAX_SEED, (count,), generator=generator, device=device)
    seeds: list[int] = drawn.tolist()
    return seeds


def to_output(pixels: Tensor, output_type: str) -> Tensor | np.ndarray[Any, Any]:
    """Return `pixels` (B, 3, H, W) in [-1, 1] as a tensor or array (B, H, W, 3) in [0, 1]."""
    scaled = (pixels.float().clamp(-1, 1) + 1) / 2
    if output_type == "pt":
        return scaled
    return torch.movedim(scaled, 1, -1).cpu().numpy()


def check_shared(
    call: _Call, components: Components, tensor_inputs: Sequence[str], *, outputs: Sequence[str]
) -> None:
    """Refuse what no pipeline can honour.

    Raises:
        InputError: The number of steps is not the preset's, or a name is unknown.
    """
    own = len(components.schedule.steps)
    if call.num_inference_steps not in {None, own}:
        raise InputError(
            f"num_inference_steps={call.num_inference_steps} was given; preset "
            f"{components.preset.name!r} takes {own}. Leave it out, or choose another preset "
            "(`swiftpie presets`)."
        )
    if call.output_type not in outputs:
        raise InputError(
            f"output_type={call.output_type!r} was given; {', '.join(outputs)} are possible."
        )
    if unknown := sorted({*_wanted_by_callback(call)} - {*tensor_inputs}):
        raise InputError(
            f"The callback asks for {unknown[0]!r}; it can have {', '.join(tensor_inputs)}."
        )


def _wanted_by_callback(call: _Call) -> Sequence[str]:
    callback = call.callback_on_step_end
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):  # these know it themselves
        return tuple(callback.tensor_inputs)
    return call.callback_on_step_end_tensor_inputs


def _changed_by_callback(values: object, latents: Tensor) -> Tensor:
    """Return the latents that go on after a callback answered with `values`.

    Raises:
        InputError: It answered with something else than diffusers' callbacks do.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"The callback returned {type(values).__name__}; a dict is needed, empty if nothing "
            "changed. Let it return its last argument."
        )
    if unread := sorted({*values} - {"latents"}):
        raise InputError(
            f"The callback returned {unread[0]!r}; nothing but 'latents' is read. Leave it out."
        )
    changed = values.get("latents", latents)
    if not isinstance(changed, Tensor) or changed.shape != latents.shape:
        shape = tuple(getattr(changed, "shape", ()))
        raise InputError(
            f"The callback returned latents as {type(changed).__name__} {shape}; a tensor "
            f"{tuple(latents.shape)} is needed. Change the one that it was given."
        )
    return changed.to(latents)


def steering_for(
    num_steps: int,
    *,
    scale: float,
    rescale: float = 0.0,
    is_negative: bool,
    guidance: Guidance | None = None,
    style: Style = Style.PLAIN,
) -> Steering:
    """Return the guidance that a call asks for, in the words of diffusers or in ours.

    A scale above 1 is classifier-free guidance, alike at every step; `rescale` says how far its
    result gets the deviation of the prediction (arXiv:2305.08891).

    Raises:
        InputError: There are several of them, or something without guidance to serve it.
    """
    named = {
        "guidance_scale": scale > 1,
        "guidance": guidance is not None,
        "style": style is not Style.PLAIN,
    }
    if len(given := [name for name, is_given in named.items() if is_given]) > 1:
        raise InputError(
            f"{' and '.join(given)} came together; each says how to guide. Give one of them."
        )
    if rescale and scale <= 1:
        raise InputError(
            f"guidance_rescale={rescale} was given with guidance_scale={scale}, which is no "
            "guidance. Give a scale above 1, or leave it out."
        )
    steering = steering_of(style, num_steps)
    if scale > 1:
        scales = (scale,) * num_steps
        steering["guidance"] = (  # with equal scales the identity has no term of its own
            Decoupled(scales, scales, rescale=rescale) if rescale else ClassifierFree(scales)
        )
    elif guidance is not None:
        steering["guidance"] = guidance
    if is_negative and steering["guidance"] is None:
        raise InputError(
            "A negative prompt was given without guidance, which alone reads it. Give "
            "guidance_scale above 1 or `guidance`, or leave it out."
        )
    return steering
