"""What the calls of all pipelines share: how they are spelled, checked and answered."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.images import to_pil
from swiftpie.pipelines.denoise import OnStep, decode

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Arguments = TypeVar("Arguments")
Owner = TypeVar("Owner")
Result = TypeVar("Result")

Images = list[Image.Image] | np.ndarray[Any, Any] | Tensor
OnStepEnd = Callable[[Any, int, float, dict[str, Tensor]], dict[str, Tensor]]


class AnyCall(Protocol):
    """What the calls of all pipelines have."""

    @property
    def num_inference_steps(self) -> int | None:
        """How many steps are asked for."""

    @property
    def return_dict(self) -> bool:
        """Whether the answer is an output and not a tuple."""

    @property
    def output_type(self) -> str:
        """The form of the pictures."""

    @property
    def callback_on_step_end(self) -> OnStepEnd | None:
        """What wants to be called after a step."""

    @property
    def callback_on_step_end_tensor_inputs(self) -> Sequence[str]:
        """What it wants to see."""

    @property
    def asks_for_guidance(self) -> bool:
        """Whether the pictures shall be steered away from something."""


@dataclass
class SwiftPiePipelineOutput(BaseOutput):  # type: ignore[misc]  # diffusers is not annotated
    """Pictures and what is known about them; everything is empty after an interrupt."""

    images: Images  # a list, an array (B, H, W, 3), a tensor (B, 3, H, W), or latents (B, C, h, w)
    masks: list[Image.Image] | None  # mode L, 255 = subject or edit; None if not asked for
    seeds: tuple[int, ...]  # empty where generators or latents were given
    timings: Mapping[str, float]  # milliseconds by stage


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The call was asked to stop."""


class CallingPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is not annotated
    """A diffusers pipeline whose calls report their steps and can be interrupted."""

    _interrupt = False
    _has_warned = False

    @property
    def interrupt(self) -> bool:
        """Whether the calls in progress shall end without a picture; set `_interrupt` to ask so."""
        return self._interrupt

    def _answer(
        self, call: AnyCall, work: Callable[[], SwiftPiePipelineOutput]
    ) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Do the work of a call unless it is interrupted; return its output in the wanted form."""
        self._interrupt = False
        self._warn_of_guidance(call)
        try:
            with torch.no_grad():
                output = work()
        except Interrupted:
            output = nothing()
        finally:
            self.maybe_free_model_hooks()
        return output if call.return_dict else output.to_tuple()

    def _on_step(self, call: AnyCall, tick: Callable[[], object]) -> OnStep:
        """Return what happens after a step: the callback, the progress bar, perhaps the end."""
        callback, names = call.callback_on_step_end, wanted_by_callback(call)

        def on_step(index: int, timestep: float, latents: Tensor) -> Tensor:
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


def nothing() -> SwiftPiePipelineOutput:
    """Return the output of an interrupted call."""
    return SwiftPiePipelineOutput(images=[], masks=[], seeds=(), timings={})


def finish(
    latents: Tensor, components: Components, output_type: str
) -> tuple[Images, tuple[int, int]]:
    """Return the pictures in the wanted form, and their height and width."""
    cell_px = components.preset.latent_cell_px
    size = (cell_px * latents.shape[2], cell_px * latents.shape[3])
    if output_type == "latent":
        return latents, size
    pixels = decode(components, latents)
    return to_pil(pixels) if output_type == "pil" else to_output(pixels, output_type), size


def to_output(pixels: Tensor, output_type: str) -> Tensor | np.ndarray[Any, Any]:
    """Return `pixels` (B, 3, H, W) in [-1, 1] as a tensor or array (B, H, W, 3) in [0, 1]."""
    scaled = (pixels.float().clamp(-1, 1) + 1) / 2
    if output_type == "pt":
        return scaled
    array: np.ndarray[Any, Any] = torch.movedim(scaled, 1, -1).cpu().numpy()
    return array


def check_shared(
    call: AnyCall,
    components: Components,
    tensor_inputs: Sequence[str],
    *,
    output_types: Sequence[str],
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
    if call.output_type not in output_types:
        raise InputError(
            f"output_type={call.output_type!r} was given; {', '.join(output_types)} are possible."
        )
    if unknown := sorted({*wanted_by_callback(call)} - {*tensor_inputs}):
        raise InputError(
            f"The callback asks for {unknown[0]!r}; it can have {', '.join(tensor_inputs)}."
        )


def wanted_by_callback(call: AnyCall) -> Sequence[str]:
    """Return the names of what the callback wants to see; diffusers' own callbacks know it."""
    callback = call.callback_on_step_end
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        return tuple(callback.tensor_inputs)
    return call.callback_on_step_end_tensor_inputs


def spelled_as(
    arguments: Callable[P, Arguments],
) -> Callable[[Callable[[Owner, Arguments], Result]], Callable[Concatenate[Owner, P], Result]]:
    """Let a method be called with the fields of the dataclass `arguments`, in their order.

    diffusers reads signatures to know a pipeline's modules and options, and so do people; the
    method itself gets one value.
    """

    def decorate(
        method: Callable[[Owner, Arguments], Result],
    ) -> Callable[Concatenate[Owner, P], Result]:
        def spelled(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            return method(self, arguments(*args, **kwargs))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = inspect.signature(arguments).parameters.values()
        functools.update_wrapper(spelled, method)
        spelled.__signature__ = inspect.Signature([own, *named])  # type: ignore[attr-defined]  # any function may have one
        spelled.__annotations__ = {one.name: one.annotation for one in named}
        return spelled

    return decorate
