"""Draws subjects into the scene of a prompt, and edits pictures, as pipelines of diffusers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Capability, Preset
from swiftpie.diffusers.base import ENCODING, ModulesPipeline
from swiftpie.diffusers.calls import (
    Call,
    Images,
    Picture,
    SwiftPiePipelineOutput,
    check_generators,
    check_shared,
    rows_of,
    seeds_of,
    spelled_as,
    steering_for,
    to_picture,
)
from swiftpie.engine.session import Session
from swiftpie.errors import InputError
from swiftpie.imageio.images import to_tensor
from swiftpie.library import log_named
from swiftpie.masks import Box, load_mask
from swiftpie.models.cutout import Search, search_of
from swiftpie.pipelines.advice import advise
from swiftpie.pipelines.draw import draw, technique_for
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import (
    EditRequest,
    Output,
    PersonalizeRequest,
    Region,
    Subject,
    View,
    as_subjects,
    read_scene,
    region_of,
)
from swiftpie.pipelines.settings import (
    MAX_SCALE,
    USUAL,
    EditSettings,
    IdentityGuidance,
    MaskSource,
    Scales,
)
from swiftpie.types import EditResult, Identity, Prompts
from swiftpie.validation import MAX_IMAGES, check_count

Pictures = Picture | Sequence[Picture | Sequence[Picture]]

OUTPUTS = {"pil": Output.PIL, "np": Output.PIXELS, "pt": Output.PIXELS, "latent": Output.LATENTS}
EDIT_OUTPUTS = ("pil", "np", "pt")


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonalizeCall(Call):
    """What `SwiftPiePipeline` is called with: arguments of diffusers, and below them ours.

    diffusers and its users read this signature; a `PersonalizeRequest` has no lists of prompts, or
    generators.
    """

    prompt: str | list[str] = field(kw_only=False)
    height: int | None = None  # px; None: the preset's
    width: int | None = None
    negative_prompt: str | list[str] | None = None  # what guidance leads away from
    num_images_per_prompt: int = 1
    latents: Tensor | None = None  # standard normal, (B, C, h, w)
    ip_adapter_image: Pictures | None = None  # one picture a subject, or a list of its pictures
    ip_adapter_image_embeds: Identity | Sequence[Identity] | None = None

    subjects: Identity | Sequence[Subject] | None = None
    scene: Picture = ""  # the place, as of `Session.personalize`
    cutout: str | Search = "auto"  # how `ip_adapter_image` are cut out
    mask: MaskSource | Region = MaskSource.NONE
    detail_mask: MaskSource | Region | None = None  # of the detail branch; None: the preset's
    box: Box | None = None
    view: View | None = None  # yaw and pitch in degrees
    scales: Scales = USUAL
    identity_guidance: IdentityGuidance = IdentityGuidance.PLAIN  # guidance and shaping by name

    @property
    def num_images(self) -> int:
        """The number of pictures."""
        count = 1 if isinstance(self.prompt, str) else len(self.prompt)
        return count * self.num_images_per_prompt


class SwiftPiePipeline(ModulesPipeline):
    """Draws subjects into the scene of a prompt, in one denoising step (arXiv:2605.01510)."""

    # None: the preset's or recipe's own.
    _subject_scales: float | tuple[float, ...] | None = None

    @spelled_as(PersonalizeCall)
    def __call__(self, call: PersonalizeCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Draw `num_images_per_prompt` pictures a prompt; see `PersonalizeCall` for the arguments.

        Subjects are given in one way of three: `subjects`, `ip_adapter_image` or
        `ip_adapter_image_embeds`. Presets that can draw `text` need none.

        Raises:
            InputError: Something is missing, does not fit, or cannot be honoured.
        """
        components = self.to_components()
        check_shared(call, components, outputs=tuple(OUTPUTS))
        check_count(call.num_images)
        return self._answer(call, lambda: self._draw(call, components))

    def set_ip_adapter_scale(self, scale: float | Sequence[float]) -> None:
        """Set how strong the subjects of the calls to come are: one strength for all, or one each.

        As in diffusers, the number is the weight of the identity branch, in place of the one that
        the preset, the recipe, the adapter or `scales=` has. The other strengths of the subject
        follow in proportion: half of the weight halves its detail as well, and 0 is no subject.

        Raises:
            InputError: It is something else than numbers of 0 or more.
        """
        scales = tuple(scale) if isinstance(scale, Sequence) else (scale,)
        for number in scales:
            if (
                isinstance(number, bool)
                or not isinstance(number, int | float)
                or not 0 <= number <= MAX_SCALE
            ):
                raise InputError(
                    f"set_ip_adapter_scale() got {number!r}; a number from 0 to {MAX_SCALE} is "
                    "needed, or a list of one for each subject. By layer, give "
                    "subjects=[Subject(identity, layers=…)]."
                )
        self._subject_scales = scales if isinstance(scale, Sequence) else scale

    def prepare_ip_adapter_image_embeds(
        self, ip_adapter_image: Pictures, *, cutout: str | Search = "auto"
    ) -> list[Identity]:
        """Return the subjects of `ip_adapter_image`, encoded once for any number of calls.

        Raises:
            InputError: A picture cannot be used, or a subject cannot be found in it.
        """
        self._wake(*ENCODING)
        return _encoded(self.to_components(), ip_adapter_image, cutout)

    def _draw(self, call: PersonalizeCall, components: Components) -> SwiftPiePipelineOutput:
        if call.ip_adapter_image is not None:
            self._wake(*ENCODING)
        request = self._scaled(request_of(call, components), components.preset)
        advise(components, request)
        self._wake("text_encoder")
        with self._steps(call, components) as on_step:
            drawn = draw(components, request, on_stage=self._on_stage, on_step=on_step)
        images: Images = list(drawn.images) if drawn.tensor is None else drawn.tensor
        if drawn.tensor is not None and request.output is Output.PIXELS:
            images = VaeImageProcessor().postprocess(drawn.tensor.float(), call.output_type)
        return SwiftPiePipelineOutput(
            images=images,
            masks=list(drawn.subject_masks),
            seeds=drawn.seeds,
            timings=drawn.timings_ms,
            branches=drawn.branches,
        )

    def _scaled(self, request: PersonalizeRequest, preset: Preset) -> PersonalizeRequest:
        """Return the request with the strengths of `set_ip_adapter_scale`."""
        given, count = self._subject_scales, len(request.subjects)
        if given is None:
            return request
        scales = given if isinstance(given, tuple) else (given,) * count
        if len(scales) != count:
            raise InputError(
                f"set_ip_adapter_scale() got {len(scales)} numbers, and the call has {count} "
                "subjects. Give one number for all, or one each."
            )
        own = request.scales.over(Scales.of(preset)).identity_scale or 1.0  # 0: detail alone
        pairs = zip(request.subjects, scales, strict=True)
        subjects = tuple(
            replace(subject, scale=subject.scale * scale / own) for subject, scale in pairs
        )
        return replace(request, subjects=subjects)


def request_of(call: PersonalizeCall, components: Components) -> PersonalizeRequest:
    """Return the request of a call; references are encoded.

    Raises:
        InputError: Something is missing, or does not fit.
    """
    steering = steering_for(
        call,
        len(components.schedule.steps),
        is_negative=call.negative_prompt is not None,
        identity_guidance=call.identity_guidance,
    )
    steering["negative_prompt"] = _prompts_of(call, call.negative_prompt or "")
    scene = call.scene if isinstance(call.scene, str | Path) else to_picture(call.scene)
    request = PersonalizeRequest(
        subjects=_subjects_of(call, components),
        prompt=_prompts_of(call, call.prompt),
        seeds=tuple(range(call.num_images)),
        size_px=_size_of(call, components),
        scene=read_scene(scene),
        scales=call.scales,
        mask=region_of(call.mask),
        detail_mask=None if call.detail_mask is None else region_of(call.detail_mask),
        output=OUTPUTS[call.output_type],
        **steering,
    )
    request = request.opened(components.preset.image_size_px)
    return _with_noise(request, call, components)


def _encoded(components: Components, pictures: Pictures, cutout: str | Search) -> list[Identity]:
    """Return one identity for each entry; a nested list shows one subject."""
    rows, search = rows_of(pictures), search_of(cutout)
    identities = []
    for entry in rows if isinstance(rows, list | tuple) else [rows]:
        views = entry if isinstance(entry, list | tuple) else [entry]
        shown = [to_picture(view) for view in views]
        identities.append(encode_identity(components, shown, searches=[search] * len(shown)))
    return identities


def _subjects_of(call: PersonalizeCall, components: Components) -> tuple[Subject, ...]:
    pictures, known = call.ip_adapter_image, call.ip_adapter_image_embeds
    count = sum(value is not None for value in (call.subjects, pictures, known))
    if count != 1 and not (count == 0 and Capability.TEXT in components.preset.capabilities):
        raise InputError(
            "A picture needs its subjects in one way: `ip_adapter_image`, "
            "`ip_adapter_image_embeds` or `subjects`. Give exactly one."
        )
    places: dict[str, Any] = {"box": call.box, "view": call.view}
    if pictures is None and known is None:
        return as_subjects(call.subjects or (), **places)
    if pictures is not None:
        known = _encoded(components, pictures, call.cutout)
    entries: list[Any] = [*known] if isinstance(known, list | tuple) else [known]
    if others := [entry for entry in entries if not isinstance(entry, Identity)]:
        raise InputError(
            f"ip_adapter_image_embeds holds a {type(others[0]).__name__}. Give the Identity that "
            "prepare_ip_adapter_image_embeds() returns, which the detail branch reads too."
        )
    if len(entries) == 1:
        return as_subjects(entries[0], **places)
    return as_subjects([Subject(identity) for identity in entries], **places)


def _size_of(call: PersonalizeCall, components: Components) -> tuple[int, int] | None:
    if call.height is None and call.width is None:
        return None
    side = components.preset.image_size_px
    return side if call.height is None else call.height, side if call.width is None else call.width


def _prompts_of(call: PersonalizeCall, prompts: str | list[str]) -> Prompts:
    if isinstance(prompts, str):
        return prompts
    return tuple(prompt for prompt in prompts for _ in range(call.num_images_per_prompt))


def _with_noise(
    request: PersonalizeRequest, call: PersonalizeCall, components: Components
) -> PersonalizeRequest:
    """Return a request with the seeds of a call, or with its noise.

    A scene is chosen and lit by a seed, so a generator stands for its seed there.

    Raises:
        InputError: They are given in two ways, or their number or shape does not fit.
    """
    if call.seeds is not None and call.latents is not None:
        raise InputError("`seeds` and `latents` both say what the noise is. Give one of them.")
    is_drawn = call.seeds is None and call.generator is not None
    by_seed = not is_drawn or technique_for(components, request).draws_by_seed
    if call.latents is None and by_seed:
        return replace(request, seeds=seeds_of(call, call.num_images))
    cells = components.cells_of(request.size_px)
    shape = (call.num_images, components.preset.latent_channels, *cells)
    if call.latents is not None and call.latents.shape != shape:
        raise InputError(
            f"latents has shape {tuple(call.latents.shape)}; {shape} is needed. Give a row a "
            "picture."
        )
    return replace(request, seeds=(), noise=_draw_by_generator(call, components, shape))


def _draw_by_generator(
    call: PersonalizeCall, components: Components, shape: tuple[int, ...]
) -> Tensor:
    generator, device = call.generator, components.device
    check_generators(generator, call.num_images)
    given = [] if call.latents is None else [call.latents.float().to(device)]
    count = components.schedule.num_draws - len(given)
    drawn = [randn_tensor(shape, generator=generator, device=device) for _ in range(count)]
    return torch.stack(given + drawn)


@dataclass(frozen=True, eq=False)
class EditCall(Call):
    """What `SwiftEditPipeline` is called with; lists of prompts or pictures give an edit each.

    diffusers and its users read this signature; an `EditRequest` is one edit, without generators.
    """

    prompt: str | list[str]
    image: Picture | list[Picture]
    mask_image: Picture | list[Picture] | None = None  # white may change; None: it is found
    negative_prompt: str | list[str] | None = field(default=None, kw_only=True)
    # A subject in place of the picture's own look.
    ip_adapter_image: Picture | list[Picture] | None = field(default=None, kw_only=True)
    identity: Identity | None = field(default=None, kw_only=True)  # likewise, encoded
    source_prompt: str | list[str] = field(default="", kw_only=True)
    keyword: str = field(default="", kw_only=True)  # what changes, in a word; finds the mask
    box: Box | None = field(default=None, kw_only=True)  # in place of a mask
    settings: EditSettings = field(default_factory=EditSettings, kw_only=True)


class SwiftEditPipeline(ModulesPipeline):
    """Changes pictures by text in one step and leaves the rest alone (arXiv:2412.04301)."""

    @spelled_as(EditCall)
    def __call__(self, call: EditCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Edit one picture for each prompt; see `EditCall` for the arguments."""
        components = self.to_components()
        components.inverter()
        check_shared(call, components, outputs=EDIT_OUTPUTS)
        if call.ip_adapter_image is not None:
            self._wake(*ENCODING)
        requests = edits_of(call, components)
        return self._answer(call, lambda: self._draw(call, components, requests))

    def _draw(
        self, call: EditCall, components: Components, requests: list[EditRequest]
    ) -> SwiftPiePipelineOutput:
        session, results = Session(components, cache_mib=0), []
        with self._steps(call, components, len(requests)) as on_step:
            for given in requests:
                self._wake(*ENCODING)
                request = session.resolved(given)
                if request.identity is not None:
                    log_named([request.identity.named])
                advise(components, request)
                drawn = draw(components, request, on_stage=self._on_stage, on_step=on_step)
                results.append(drawn)
        return _as_output(results, call)


def edits_of(call: EditCall, components: Components) -> list[EditRequest]:
    """Return the single edits of a call; single values apply to all of them.

    Raises:
        InputError: Lists are of different lengths, or mask and box are given.
    """
    if call.mask_image is not None and call.box is not None:
        raise InputError("`mask_image` and `box` both say where the picture changes. Give one.")
    steering = steering_for(
        call, len(components.schedule.steps), is_negative=call.negative_prompt is not None
    )
    columns: dict[str, Any] = {
        "image": rows_of(call.image),
        "prompt": call.prompt,
        "source_prompt": call.source_prompt,
        "mask_image": call.mask_image,
        "negative_prompt": call.negative_prompt or "",
    }
    lengths = {name: len(column) for name, column in columns.items() if isinstance(column, list)}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count or not 1 <= count <= MAX_IMAGES:
            raise InputError(
                f"{name} has {length} entries for {count} edits. Give one for all, or one each, "
                f"1 to {MAX_IMAGES}."
            )
    rows = [column if isinstance(column, list) else [column] * count for column in columns.values()]
    identity, requests = _identity_of(call, components), []
    for seed, *row in zip(seeds_of(call, count), *rows, strict=True):
        given = dict(zip(columns, row, strict=True))
        image, mask = to_picture(given.pop("image")), given.pop("mask_image")
        requests.append(
            EditRequest(
                image=image,
                mask=call.box if mask is None else load_mask(to_picture(mask), image.size),
                seed=seed,
                keyword=call.keyword,
                source=identity,
                takes_named=True,
                settings=call.settings,
                **given,
                **steering,
            )
        )
    return requests


def _identity_of(call: EditCall, components: Components) -> Identity | None:
    """Return the subject that replaces the picture's own look, if given; pictures are encoded."""
    if call.ip_adapter_image is None:
        return call.identity
    if call.identity is not None:
        raise InputError("`identity` and `ip_adapter_image` both show the subject. Give one.")
    rows = rows_of(call.ip_adapter_image)
    pictures = rows if isinstance(rows, list) else [rows]
    return encode_identity(components, [to_picture(picture) for picture in pictures])


def _as_output(results: list[EditResult], call: EditCall) -> SwiftPiePipelineOutput:
    images: Images = [result.image for result in results]
    if call.output_type != "pil":
        if len({result.image.size for result in results}) > 1:
            raise InputError(
                f"output_type={call.output_type!r} needs pictures of one size. Use 'pil', or call "
                "once for each."
            )
        pixels = torch.cat([to_tensor(result.image) for result in results])
        images = VaeImageProcessor().postprocess(pixels, call.output_type)
    timings: Counter[str] = Counter()
    for result in results:
        timings.update(result.timings_ms)
    return SwiftPiePipelineOutput(
        images=images,
        masks=[result.region for result in results],
        seeds=tuple(result.seed for result in results),
        timings=dict(timings),
        branches=tuple(dict.fromkeys(branch for result in results for branch in result.branches)),
    )
