"""What the calls of both pipelines share: arguments, pictures, callbacks and guidance."""

import functools
import inspect
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from swiftpie.arguments import checked
from swiftpie.backbones.components import Components
from swiftpie.config import OptionField
from swiftpie.engine.session import Session
from swiftpie.errors import InputError, UnknownArgument
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.guidance import ClassifierFree, Guidance
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_tensor
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.photo.search import Search
from swiftpie.pipelines.identity import aligned_crop
from swiftpie.pipelines.request import Task, seeds_from
from swiftpie.pipelines.settings import IdentityGuidance, steering_of
from swiftpie.types import EditResult, GenerationResult, Identity, IdentityBranch
from swiftpie.validation import MAX_SEED

Result = TypeVar("Result")

File = str | Path | bytes | bytearray | BinaryIO
Picture = Image.Image | np.ndarray[Any, Any] | Tensor | File
Generators = torch.Generator | list[torch.Generator]
Images = list[Image.Image] | np.ndarray[Any, Any] | Tensor
OnStepEnd = Callable[[Any, int, float, dict[str, Tensor]], dict[str, Tensor]]

_TEXT = Path(__file__).with_name("instead.toml").read_text(encoding="utf-8")
INSTEAD: Mapping[str, Mapping[str, str]] = {
    table: {name: advice for names, advice in rows.items() for name in names.split()}
    for table, rows in tomllib.loads(_TEXT).items()
}
"""What to use in place of arguments and methods of diffusers, by table and name."""
GONE = INSTEAD["drawings"]
GONE_OF_EDITS = {**GONE, **INSTEAD["edits"]}
GONE_OF_LOADING, GONE_OF_ADAPTERS = INSTEAD["loading"], INSTEAD["adapters"]
ELSE = "It is not of SwiftPie's pipelines; load_lora_weights() and load_ip_adapter() read files."


def check_safe(options: dict[str, Any], name: str, method: str) -> None:
    """Take an option of diffusers out that asks for safetensors, or refuse one for other files."""
    if options.pop(name, None) is False:
        raise UnknownArgument(
            f"{method}() takes no `{name}=False`. Only safetensors are read and written. Leave it "
            "out."
        )


@dataclass
class SwiftPiePipelineOutput(BaseOutput):  # type: ignore[misc]  # diffusers is not annotated
    """Pictures and what is known about them."""

    # A list, an array (B, H, W, 3), a tensor (B, 3, H, W), or latents (B, C, h, w).
    images: Images
    masks: list[Image.Image]  # mode L, 255 = subject or edit
    seeds: tuple[int, ...] = ()  # empty where generators or latents were given
    timings: Mapping[str, float] = field(default_factory=dict)  # milliseconds by stage
    branches: tuple[IdentityBranch, ...] = ()  # active identity branches
    scores: tuple[Mapping[str, float], ...] = ()  # one each, where `best_of` chose them


@dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """The arguments of diffusers that the calls of both pipelines have; see `with_options`."""

    options: ClassVar[Mapping[str, OptionField]]  # by the fields of requests
    num_inference_steps: int | None = None  # None: as many as the preset has
    guidance_scale: float = 1.0  # more than 1 is classifier-free guidance
    guidance_rescale: float = 0.0  # share of the corrected deviation, with `guidance_scale`
    guidance: Guidance | None = None  # a method in place of `guidance_scale`
    generator: Generators | None = None  # one, or one a picture
    seeds: Sequence[int] | None = None  # one a picture; None: they are drawn
    output_type: str = "pil"
    return_dict: bool = True
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)

    @property
    def read_by_callback(self) -> Sequence[str]:
        callback = self.callback_on_step_end
        if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
            return tuple(callback.tensor_inputs)
        return self.callback_on_step_end_tensor_inputs

    @property
    def said(self) -> dict[str, Any]:
        """The options that were given, by the fields of requests."""
        given = {name: getattr(self, option.key) for name, option in self.options.items()}
        said = {name: value for name, value in given.items() if value is not None}
        for name in [name for name in said if self.options[name].repeated]:
            parts = [said[name]] if isinstance(said[name], str) else said[name]
            is_one = any(isinstance(part, float | int) for part in parts)  # a box or a view
            said[name] = (said[name],) if is_one else tuple(parts)
        return said


def with_options(call: type[Call], task: Task, *, without: Sequence[str]) -> Any:  # noqa: ANN401 - a class that is made
    """Return a class of calls that takes the options of a task as well; None is not given."""
    known = task.options(without=without)
    kinds = {
        option.key: option.type if option.repeated is None else option.repeated | option.type
        for option in known.values()
    }
    others = kinds.keys() - inspect.signature(call).parameters.keys()
    made = [(key, kinds[key], field(default=None, kw_only=True)) for key in kinds if key in others]
    own = {"options": known, "__doc__": call.__doc__, "__module__": call.__module__}
    return make_dataclass(call.__name__, made, bases=(call,), namespace=own, frozen=True, eq=False)


def spelled_as(
    arguments: Callable[..., Any], *, gone: Mapping[str, str] | None = None
) -> Callable[[Callable[[Any, Any], Result]], Callable[..., Result]]:
    """Give a method that takes one value the signature of the dataclass `arguments`.

    diffusers and users read signatures to know the modules and options of a pipeline. `gone` says
    what to use in place of arguments that it does not take; with it, values are checked.
    """
    made = arguments if gone is None else checked(arguments, name="pipe", gone=gone)

    def decorate(method: Callable[[Any, Any], Result]) -> Callable[..., Result]:
        @functools.wraps(method)
        def spelled(self: object, /, *args: object, **kwargs: object) -> Result:
            return method(self, made(*args, **kwargs))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = inspect.signature(arguments).parameters.values()
        spelled.__signature__ = inspect.Signature([own, *named])  # type: ignore[attr-defined]  # any function may have one
        spelled.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
        return spelled

    return decorate


def to_picture(value: Picture) -> Image.Image:
    """Return what `load_image` reads; also arrays (H, W, C) and tensors (C, H, W) in [0, 1]."""
    if isinstance(value, Tensor):
        rows = value[0] if value.ndim == 4 and len(value) == 1 else value
        value = rows.detach().float().cpu().movedim(0, -1 if rows.ndim == 3 else 0).numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
        if not (value.min() >= 0 and value.max() <= 1):  # nor NaN
            raise InputError(
                f"A picture has values from {value.min():.3g} to {value.max():.3g}; 0 to 1 are "
                "needed. Scale it."
            )
        value = (value * 255).round().astype(np.uint8)
    return load_image(value)


def identity_of(session: Session, pictures: Sequence[Picture], cutout: str | Search) -> Identity:
    """Return the subject of pictures, or the person if faces are read, or raise InputError."""
    shown = [to_picture(picture) for picture in pictures]
    reads_faces = isinstance(session.components.image_encoder, FaceIdentityEncoder)
    if cutout != "face" and not reads_faces:
        return session.encode_identity(shown, cutout=cutout)
    if session.face_encoder is None:
        raise InputError(
            "A photograph of a person needs a face encoder, which finds the face in it. Open one: "
            "pipe.face_encoder = FACE_ENCODERS.get('opencv').open(folder)."
        )
    faces = [choose_face(find_faces(session.face_encoder, picture)) for picture in shown]
    vectors = np.stack([each.face.embedding for each in faces])
    return session.encode_face(vectors, crop=[aligned_crop(each) for each in faces])


def rows_of(pictures: Any) -> Any:  # noqa: ANN401 - one picture, or any nesting of them
    """Return the pictures of a batch, an array or tensor of four dimensions, as a list."""
    is_batch = isinstance(pictures, Tensor | np.ndarray) and pictures.ndim == 4
    return list(pictures) if is_batch else pictures


def seeds_of(call: Call, count: int) -> tuple[int, ...]:
    """Return the seeds of `count` pictures: those of the call, of its generators, or new ones."""
    if call.seeds is None:
        return tuple(_drawn_seeds(call.generator, count))
    if call.generator is not None:
        raise InputError("`seeds` and `generator` both say what is random. Give one of them.")
    if len(call.seeds) != count:
        raise InputError(
            f"{len(call.seeds)} seeds were given for {count} pictures. Give one for each picture."
        )
    return tuple(call.seeds)


def check_generators(generator: Generators | None, count: int) -> None:
    """Refuse a list of generators of another length than the number of pictures."""
    if isinstance(generator, list) and len(generator) != count:
        raise InputError(
            f"{len(generator)} generators were given for {count} pictures. Give one, or one for "
            "each picture."
        )


def _drawn_seeds(generator: Generators | None, count: int) -> list[int]:
    """Return seeds from a generator, or from one each.

    A generator that nothing was drawn from stands for its own seed, as a session counts up from it.
    Without generators, `torch.manual_seed` makes the seeds repeatable.
    """
    if isinstance(generator, list):
        check_generators(generator, count)
        return [seed for source in generator for seed in _drawn_seeds(source, 1)]
    is_fresh, device, own = False, None, MAX_SEED
    if generator is not None:
        device, own = generator.device, generator.initial_seed()
        fresh = torch.Generator(device).manual_seed(own)
        is_fresh = torch.equal(fresh.get_state(), generator.get_state())
    # Drawn in any case, so that the next call with this generator gets others.
    drawn: list[int] = torch.randint(
        0, MAX_SEED, (count,), generator=generator, device=device
    ).tolist()
    return list(seeds_from(own, count)) if is_fresh and own + count <= MAX_SEED else drawn


def check_shared(call: Call, components: Components, *, outputs: Sequence[str]) -> None:
    """Refuse arguments that neither pipeline supports."""
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
    if unknown := sorted({*call.read_by_callback} - {"latents"}):
        raise InputError(
            f"The callback reads {unknown[0]!r}, and only 'latents' change from step to step. "
            "Leave the others out."
        )


def changed_by_callback(values: object, latents: Tensor) -> Tensor:
    """Return the latents to continue with after a callback returned `values`."""
    changed = values.get("latents", latents) if isinstance(values, Mapping) else None
    is_read = isinstance(values, Mapping) and {*values} <= {"latents"}
    if not is_read or not isinstance(changed, Tensor) or changed.shape != latents.shape:
        raise InputError(
            "The callback returned something other than a dict with 'latents' of shape "
            f"{tuple(latents.shape)}. Return its last argument, or an empty dict."
        )
    return changed.to(latents)


def guidance_of(call: Call, components: Components, *, is_negative: bool) -> Guidance | None:
    """Return the guidance of a call; `guidance_scale` above 1 is alike at every step."""
    num_steps = len(components.schedule.steps)
    style = call.said.get("identity_guidance", IdentityGuidance.PLAIN)
    named = {
        "guidance_scale": call.guidance_scale > 1,
        "guidance": call.guidance is not None,
        "identity_guidance": style is not IdentityGuidance.PLAIN,
    }
    if len(given := [name for name, is_given in named.items() if is_given]) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other. Give one of them.")
    scales = (call.guidance_scale,) * num_steps
    if call.guidance_rescale and call.guidance_scale <= 1:
        raise InputError(
            f"guidance_rescale={call.guidance_rescale} needs guidance_scale above 1, whose "
            "prediction it corrects. Give both, or leave it out."
        )
    by_scale = call.guidance_scale > 1
    found = ClassifierFree(scales, call.guidance_rescale) if by_scale else call.guidance
    if is_negative and found is None and steering_of(style, num_steps)["guidance"] is None:
        raise InputError(
            "A negative prompt needs guidance, which reads it. Give guidance_scale above 1 or "
            "`guidance`, or leave it out."
        )
    return found


def output_of(call: Call, drawn: Sequence[GenerationResult | EditResult]) -> SwiftPiePipelineOutput:
    """Return results in the form that a call asks for; InputError for an array of several sizes."""
    timings: Counter[str] = Counter()
    scores = tuple(score for each in drawn for score in each.scores)
    shown, masks, seeds, tensors = list[Any](), list[Any](), list[int](), list[Tensor]()
    for each in drawn:
        timings.update(each.timings_ms)
        rows: tuple[Iterable[Any], ...]
        if isinstance(each, EditResult):
            rows = ([each.image], [each.region], [each.seed])
        else:
            rows = (each.images, each.subject_masks, each.seeds)
            tensors += [] if each.tensor is None else [each.tensor]
        for column, row in zip((shown, masks, seeds), rows, strict=True):
            column.extend(row)
    images: Any = shown
    if call.output_type != "pil":
        if len({image.size for image in shown}) > 1:
            raise InputError(
                f"output_type={call.output_type!r} needs pictures of one size. Use 'pil', or call "
                "once for each."
            )
        images = torch.cat(tensors or [to_tensor(image) for image in shown])
    if call.output_type in {"np", "pt"}:
        images = VaeImageProcessor().postprocess(images.float(), call.output_type)
    branches = tuple(dict.fromkeys(branch for each in drawn for branch in each.branches))
    return SwiftPiePipelineOutput(images, masks, tuple(seeds), dict(timings), branches, scores)
