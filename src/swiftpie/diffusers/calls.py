"""What the calls of both pipelines share: their arguments, pictures, callbacks and guidance.

A call refuses each argument of diffusers that it does not take, and says what to use instead.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.guidance import Guidance
from swiftpie.guidance.cfg import ClassifierFree
from swiftpie.guidance.dcg import Decoupled
from swiftpie.imageio.decoding import load_image
from swiftpie.noise import MAX_SEED, seeds_from
from swiftpie.pipelines.settings import IdentityGuidance, Steering, steering_of
from swiftpie.types import IdentityBranch

P = ParamSpec("P")
Arguments = TypeVar("Arguments")
Owner = TypeVar("Owner")
Result = TypeVar("Result")

Picture = Image.Image | np.ndarray[Any, Any] | Tensor | str | Path
Generators = torch.Generator | list[torch.Generator]
Images = list[Image.Image] | np.ndarray[Any, Any] | Tensor
OnStepEnd = Callable[[Any, int, float, dict[str, Tensor]], dict[str, Tensor]]

NOTHING: Mapping[str, str] = MappingProxyType({})

DISTILLED = "The steps of a preset were fixed when it was distilled. Leave it out."
ONE_TEXT = "One prompt is read by all text encoders. Leave it out."
NO_SIZES = (
    "Stable Diffusion XL reads the size of the picture, and nothing is cropped. Leave it out."
)
NO_CHECKER = "No pipeline here has one, so nothing is checked. Leave it out."
BY_PRESET = "A preset and its dtype say which files are read. Leave it out, or pass `dtype=`."
VAE = "The autoencoder has it: `pipe.vae.enable_{0}()`, where it is one of diffusers."
REPEATED = "A call repeats subjects and brings them to its device. Leave it out."

METHODS: Mapping[str, str] = {
    "enable_vae_tiling": VAE.format("tiling"),
    "enable_vae_slicing": VAE.format("slicing"),
    "enable_freeu": "Nothing rebalances skip connections here. Strengths are set by `scales=`.",
    "fuse_qkv_projections": (
        "Identities are read from inside of attention, whose layers stay as they are. "
        "swiftpie.load(…, engine=…) makes drawing quicker."
    ),
    "load_textual_inversion": "Learned words are not read. Show the subject: `ip_adapter_image=`.",
    "encode_image": "A subject is encoded by prepare_ip_adapter_image_embeds(picture).",
    "enable_lora_hotswap": "A LoRA is part of the weights. Call load_lora_weights() again.",
    "save_lora_weights": "A LoRA is part of the weights. save_pretrained() writes all of them.",
}

SHARED: Mapping[str, str] = {
    "callback": "Pass `callback_on_step_end=`, which is called after every step.",
    "callback_steps": "Pass `callback_on_step_end=`, which is called after every step.",
    "prompt_2": ONE_TEXT,
    "negative_prompt_2": ONE_TEXT,
    "original_size": NO_SIZES,
    "target_size": NO_SIZES,
    "crops_coords_top_left": NO_SIZES,
    "denoising_start": DISTILLED,
    "denoising_end": DISTILLED,
}
"""Arguments of calls."""

TEXT_TO_IMAGE: Mapping[str, str] = {
    **SHARED,
    "image": "Pictures are edited by SwiftEditPipeline.from_pipe(pipe)(prompt, image).",
    "mask_image": (
        "Pictures are edited by SwiftEditPipeline.from_pipe(pipe)(prompt, image, mask_image); "
        "where a subject is drawn is `box=` or `mask=`."
    ),
    "strength": "A picture is drawn from noise alone. Strengths of subjects are `scales=`.",
}

EDITS: Mapping[str, str] = {
    **SHARED,
    "strength": (
        "An edit starts from the noise that the picture itself gives, not from a noisy picture. "
        "How much of that noise is new is `settings=EditSettings(variation=…)`, how strongly the "
        "picture or the prompt speaks `settings=EditSettings(scales=…)`."
    ),
    **dict.fromkeys(
        ("height", "width"),
        "An edit is as large as its picture; `settings=EditSettings(size_px=…)` is where it works.",
    ),
    **dict.fromkeys(("timesteps", "sigmas", "eta"), DISTILLED),
    "clip_skip": "Prompts are read as the weights were trained with. Leave it out.",
    "latents": "An edit starts from the noise that the picture itself gives. Pass `seeds=`.",
    "masked_image_latents": "The picture is encoded by the call. Leave it out.",
    "padding_mask_crop": "Cut the picture yourself, or set `settings=EditSettings(size_px=…)`.",
    **dict.fromkeys(
        ("prompt_embeds", "negative_prompt_embeds"), "Edits read prompts as text. Pass `prompt=`."
    ),
    "cross_attention_kwargs": "Strengths of an edit are `settings=EditSettings(scales=…)`.",
    "guidance_rescale": "Pass `guidance=Decoupled(…, rescale=…)`.",
}

EDIT_METHODS: Mapping[str, str] = {
    **METHODS,
    "set_ip_adapter_scale": "Strengths of an edit are `settings=EditSettings(scales=…)`.",
}

LOADING: Mapping[str, str] = {
    "torch_dtype": "It is called `dtype=` here.",
    **dict.fromkeys(("safety_checker", "requires_safety_checker", "feature_extractor"), NO_CHECKER),
    **dict.fromkeys(("variant", "use_safetensors"), BY_PRESET),
    "device_map": "Pass `device=`, or call enable_model_cpu_offload().",
}
"""Options of `from_preset` and `from_recipe`."""

SHARING: Mapping[str, str] = {
    **dict.fromkeys(
        ("dtype", "torch_dtype"),
        "Networks are shared, so both pipelines have one type. Call to(dtype) on either.",
    ),
    **dict.fromkeys(("safety_checker", "requires_safety_checker", "feature_extractor"), NO_CHECKER),
    **dict.fromkeys(
        ("custom_pipeline", "custom_revision", "trust_remote_code"),
        "No code is downloaded. Import the class, and call its from_pipe().",
    ),
}
"""Options of `from_pipe`."""

ENCODING_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("device", "num_images_per_prompt", "do_classifier_free_guidance"), REPEATED),
    "ip_adapter_image_embeds": "What is encoded already needs no encoding. Leave it out.",
    **dict.fromkeys(
        ("negative_prompt", "prompt_embeds", "negative_prompt_embeds"),
        "Encode each prompt by a call of its own. Leave it out.",
    ),
    **dict.fromkeys(("prompt_2", "negative_prompt_2"), ONE_TEXT),
    "lora_scale": "Strengths of LoRAs are set by set_adapters().",
    "clip_skip": "Prompts are read as the weights were trained with. Leave it out.",
}
"""Arguments of `encode_prompt` and `prepare_ip_adapter_image_embeds`."""


@dataclass
class SwiftPiePipelineOutput(BaseOutput):  # type: ignore[misc]  # diffusers is not annotated
    """Pictures and what is known about them; everything is empty after an interrupt."""

    # A list, an array (B, H, W, 3), a tensor (B, 3, H, W), or latents (B, C, h, w).
    images: Images = field(default_factory=list)
    # Mode L, 255 = subject or edit; None without `return_masks`.
    masks: list[Image.Image] | None = field(default_factory=list)
    seeds: tuple[int, ...] = ()  # empty where generators or latents were given
    timings: Mapping[str, float] = field(default_factory=dict)  # milliseconds by stage
    branches: tuple[IdentityBranch, ...] = ()  # active identity branches


class Call(Protocol):
    """The arguments that the calls of both pipelines have."""

    @property
    def num_inference_steps(self) -> int | None:
        """The number of steps; None is the preset's."""

    @property
    def output_type(self) -> str:
        """In which form pictures are returned."""

    @property
    def return_dict(self) -> bool:
        """Whether to return an output object instead of a tuple."""

    @property
    def callback_on_step_end(self) -> OnStepEnd | None:
        """Called after each step."""

    @property
    def callback_on_step_end_tensor_inputs(self) -> Sequence[str]:
        """The tensors that the callback reads."""


def spelled_as(
    arguments: Callable[P, Arguments], *, instead: Mapping[str, str] = NOTHING
) -> Callable[[Callable[[Owner, Arguments], Result]], Callable[Concatenate[Owner, P], Result]]:
    """Give a method that takes one value the signature of the dataclass `arguments`.

    diffusers and users read signatures to know the modules and options of a pipeline. `instead`
    maps each refused argument to a sentence that says what to use.
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
        spelled.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
        return spelled

    return decorate


def refuse(given: Collection[str], instead: Mapping[str, str]) -> None:
    """Refuse arguments of diffusers; the error says what to use instead.

    Raises:
        InputError: One of `instead` was given.
    """
    if found := sorted({*given} & instead.keys()):
        raise InputError(f"`{found[0]}=` was given, which this does not take. {instead[found[0]]}")


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
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise InputError(
            f"A picture was given as {type(value).__name__}{shape}. A PIL image, a path, an array "
            "(H, W, 3) or a tensor (3, H, W) is needed."
        )
    if value.dtype != np.uint8:
        if not (value.min() >= 0 and value.max() <= 1):  # nor NaN
            raise InputError(
                f"A picture has values from {value.min():.3g} to {value.max():.3g}; 0 to 1 are "
                "needed. Scale it."
            )
        value = (value * 255).round().astype(np.uint8)
    return load_image(Image.fromarray(value[:, :, 0] if value.shape[2] == 1 else value))


def rows_of(pictures: Any) -> Any:  # noqa: ANN401 - one picture, or any nesting of them
    """Return the pictures of a batch, an array or tensor of four dimensions, as a list."""
    is_batch = isinstance(pictures, Tensor | np.ndarray) and pictures.ndim == 4
    return list(pictures) if is_batch else pictures


def seeds_of(count: int, generator: Generators | None = None) -> list[int]:
    """Return seeds for a call without any, from a generator, or one each.

    A generator that nothing was drawn from stands for its own seed, as a session counts up from it.
    Without generators, `torch.manual_seed` makes the seeds repeatable.

    Raises:
        InputError: There are generators, and not as many.
    """
    if isinstance(generator, list):
        if len(generator) != count:
            raise InputError(
                f"{len(generator)} generators were given for {count} pictures. Give one, or one a "
                "picture."
            )
        return [seed for source in generator for seed in seeds_of(1, source)]
    own = None if generator is None else _unused_seed(generator)
    device = None if generator is None else generator.device
    # Drawn in any case, so that the next call with this generator gets others.
    drawn = torch.randint(0, MAX_SEED, (count,), generator=generator, device=device)
    if own is not None and own + count <= MAX_SEED:
        return list(seeds_from(own, count))
    seeds: list[int] = drawn.tolist()
    return seeds


def _unused_seed(generator: torch.Generator) -> int | None:
    """Return what a generator was seeded with; None if numbers were drawn from it since."""
    seed = generator.initial_seed()
    fresh = torch.Generator(generator.device).manual_seed(seed)
    return seed if torch.equal(fresh.get_state(), generator.get_state()) else None


def to_output(pixels: Tensor, output_type: str) -> Tensor | np.ndarray[Any, Any]:
    """Return `pixels` (B, 3, H, W) in [-1, 1] as a tensor or array (B, H, W, 3) in [0, 1]."""
    scaled = (pixels.float().clamp(-1, 1) + 1) / 2
    if output_type == "pt":
        return scaled
    return torch.movedim(scaled, 1, -1).cpu().numpy()


def check_shared(
    call: Call, components: Components, tensor_inputs: Sequence[str], *, outputs: Sequence[str]
) -> None:
    """Refuse arguments that neither pipeline supports.

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
    if unknown := sorted({*wanted_by_callback(call)} - {*tensor_inputs}):
        raise InputError(
            f"The callback asks for {unknown[0]!r}; it can have {', '.join(tensor_inputs)}. The "
            "text of a call is encoded once for all of its steps. Leave the others out."
        )


def wanted_by_callback(call: Call) -> Sequence[str]:
    """Return the names of the tensors that the callback of a call reads."""
    callback = call.callback_on_step_end
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):  # these know their tensors
        return tuple(callback.tensor_inputs)
    return call.callback_on_step_end_tensor_inputs


def changed_by_callback(values: object, latents: Tensor) -> Tensor:
    """Return the latents to continue with after a callback returned `values`.

    Raises:
        InputError: The callback returned something else than diffusers expects.
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
    identity_guidance: IdentityGuidance = IdentityGuidance.PLAIN,
) -> Steering:
    """Return the guidance of a call, given by arguments of diffusers or of SwiftPie.

    A scale above 1 is classifier-free guidance, alike at every step; `rescale` says how far its
    result gets the deviation of the prediction (arXiv:2305.08891).

    Raises:
        InputError: There are several of them, or something without guidance to serve it.
    """
    named = {
        "guidance_scale": scale > 1,
        "guidance": guidance is not None,
        "identity_guidance": identity_guidance is not IdentityGuidance.PLAIN,
    }
    if len(given := [name for name, is_given in named.items() if is_given]) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other. Give one of them.")
    if rescale and scale <= 1:
        raise InputError(
            f"guidance_rescale={rescale} was given with guidance_scale={scale}, which is no "
            "guidance. Give a scale above 1, or leave it out."
        )
    steering = steering_of(identity_guidance, num_steps)
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
