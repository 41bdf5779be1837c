"""Draws subjects into the scene of a prompt, as a diffusers pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from swiftpie.attention.layer_scales import LayerScales, divided, scales_of
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Capability, Preset
from swiftpie.diffusers.adapters import AdaptedPipeline
from swiftpie.diffusers.base import ENCODING
from swiftpie.diffusers.calls import (
    ENCODING_OPTIONS,
    TEXT_TO_IMAGE,
    Generators,
    Images,
    OnStepEnd,
    Picture,
    SwiftPiePipelineOutput,
    check_shared,
    refuse,
    rows_of,
    seeds_of,
    spelled_as,
    steering_for,
    to_output,
    to_picture,
)
from swiftpie.errors import InputError
from swiftpie.guidance import Guidance
from swiftpie.masks import Box
from swiftpie.models.cutout import Search, search_of
from swiftpie.noise import check_count
from swiftpie.pipelines.advice import advise
from swiftpie.pipelines.draw import draw, technique_for
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import (
    Output,
    PersonalizeRequest,
    Region,
    Subject,
    View,
    as_subjects,
    read_scene,
    region_of,
)
from swiftpie.pipelines.settings import MAX_SCALE, USUAL, IdentityGuidance, MaskSource, Scales
from swiftpie.types import Identity, Prompts, TextCondition

Pictures = Picture | Sequence[Picture | Sequence[Picture]]

OUTPUTS = {"pil": Output.PIL, "np": Output.PIXELS, "pt": Output.PIXELS, "latent": Output.LATENTS}
IMAGE_OPTIONS = (  # of `prepare_ip_adapter_image_embeds` in diffusers, in their order
    *("ip_adapter_image_embeds", "device", "num_images_per_prompt", "do_classifier_free_guidance"),
)
MASKS = "ip_adapter_masks"  # the only name in `cross_attention_kwargs` that means something here


@dataclass(frozen=True, eq=False)
class PersonalizeCall:
    """What `SwiftPiePipeline` is called with; names after `callback_on_step_end…` are ours."""

    prompt: str | list[str] | None = None
    height: int | None = None  # px; None: the preset's
    width: int | None = None
    num_inference_steps: int | None = None  # None: as many as the preset has
    timesteps: Sequence[int] | None = None  # diffusers has it; the preset's own are the only ones
    sigmas: Sequence[float] | None = None  # likewise
    guidance_scale: float = 1.0  # more than 1 is classifier-free guidance
    negative_prompt: str | list[str] | None = None  # what guidance leads away from
    num_images_per_prompt: int = 1
    eta: float = 0.0
    generator: Generators | None = None  # one, or one a picture
    latents: Tensor | None = None  # standard normal, (B, C, h, w)
    prompt_embeds: Tensor | None = None  # from `encode_prompt`, one row a prompt
    negative_prompt_embeds: Tensor | None = None  # likewise
    ip_adapter_image: Pictures | None = None  # one picture a subject, or a list of its pictures
    ip_adapter_image_embeds: Identity | Sequence[Identity] | None = None
    output_type: str = "pil"
    return_dict: bool = True
    cross_attention_kwargs: Mapping[str, Any] | None = None
    guidance_rescale: float = 0.0  # how far the guided result gets its former deviation
    clip_skip: int | None = None
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)
    _: KW_ONLY
    subjects: Identity | Sequence[Subject] | None = None
    scene: Picture = ""  # the place, as of `Session.personalize`
    cutout: str | Search = "auto"  # how `ip_adapter_image` are cut out
    mask: MaskSource | Region = MaskSource.NONE
    detail_mask: MaskSource | Region | None = None  # of the detail branch; None: the preset's
    box: Box | None = None
    view: View | None = None  # yaw and pitch in degrees
    scales: Scales = USUAL
    seeds: Sequence[int] | None = None  # one a picture
    guidance: Guidance | None = None  # a method in place of `guidance_scale`
    identity_guidance: IdentityGuidance = (
        IdentityGuidance.PLAIN
    )  # guidance and shaping by name, likewise
    pooled_prompt_embeds: Tensor | None = None  # Stable Diffusion XL only, with `prompt_embeds`
    negative_pooled_prompt_embeds: Tensor | None = None  # likewise
    return_masks: bool = True

    @property
    def num_images(self) -> int:
        """The number of pictures."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt or []
        rows = prompts if self.prompt_embeds is None else self.prompt_embeds
        return len(rows) * self.num_images_per_prompt


Strength = float | LayerScales


class SwiftPiePipeline(AdaptedPipeline):
    """Draws subjects into the scene of a prompt, in one denoising step (arXiv:2605.01510)."""

    # None: the preset's or recipe's own.
    _subject_scales: Strength | tuple[Strength, ...] | None = None

    @spelled_as(PersonalizeCall, instead=TEXT_TO_IMAGE)
    def __call__(self, call: PersonalizeCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Draw `num_images_per_prompt` pictures a prompt; see `PersonalizeCall` for the arguments.

        Subjects are given in one way of three: `subjects`, `ip_adapter_image` or
        `ip_adapter_image_embeds`. Presets that can draw `text` need none.

        Raises:
            InputError: Something is missing, does not fit, or cannot be honoured.
        """
        components = self.to_components()
        _check(call, components, self._callback_tensor_inputs)
        return self._answer(call, lambda: self._draw(call, components))

    def set_ip_adapter_scale(self, scale: Strength | Sequence[Strength]) -> None:
        """Set how strong the subjects of the calls to come are: one strength for all, or one each.

        As in diffusers, the number is the weight of the identity branch, in place of the one that
        the preset, the recipe, the adapter or `scales=` has. The other strengths of the subject
        follow in proportion: half of the weight halves its detail as well, and 0 is no subject.

        A dictionary has the weights by layer, as in `{"down": {"block_2": [0.0, 1.0]}}`; layers
        that it leaves out get 0. The detail branch stays as it is.

        Raises:
            InputError: It is something else than numbers of 0 or more, or a dictionary names what
                the U-Net lacks.
        """
        scales = tuple(scale) if isinstance(scale, Sequence) else (scale,)
        for number in scales:
            if isinstance(number, Mapping):
                scales_of(number, self.to_components().denoiser.installation.semantic)
            elif (
                isinstance(number, bool)
                or not isinstance(number, int | float)
                or not 0 <= number <= MAX_SCALE
            ):
                raise InputError(
                    f"set_ip_adapter_scale() got {number!r}; a number from 0 to {MAX_SCALE} is "
                    "needed, a dictionary of them by layer, or a list of one for each subject."
                )
        self._subject_scales = scales if isinstance(scale, Sequence) else scale

    def encode_prompt(
        self, prompt: str | list[str], *of_diffusers: object, **options: object
    ) -> tuple[Tensor, Tensor]:
        """Return `prompt_embeds` (P, T, D), 0 where a prompt has ended, and pooled ones (P, D).

        Raises:
            InputError: More is given, as diffusers' own take it.
        """
        refuse([*options, *(["device"] if of_diffusers else [])], ENCODING_OPTIONS)
        _take_no(options)
        self._wake("text_encoder")
        with torch.no_grad():
            text = self.to_components().text.encode([prompt] if isinstance(prompt, str) else prompt)
        return text.hidden_states * text.attention_mask[..., None].to(text.pooled), text.pooled

    def prepare_ip_adapter_image_embeds(
        self,
        ip_adapter_image: Pictures,
        *of_diffusers: object,
        masks: Tensor | list[Tensor] | None = None,
        cutout: str | Search = "auto",
        **options: object,
    ) -> list[Identity]:
        """Return the subjects of `ip_adapter_image`, encoded once for any number of calls.

        Raises:
            InputError: A picture cannot be used, a subject cannot be found in it, or more is given,
                as diffusers' own takes it.
        """
        names = [name for name, _ in zip(IMAGE_OPTIONS, of_diffusers, strict=False)]
        refuse([*names, *options], ENCODING_OPTIONS)
        _take_no(options)
        self._wake(*ENCODING)
        found = _pictured_subjects(self.to_components(), ip_adapter_image, masks, cutout)
        if not found:
            raise InputError("No picture was given to encode. Give one, or a list of some.")
        return [subject.identity for subject in found]

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
            images = to_output(drawn.tensor, call.output_type)
        return SwiftPiePipelineOutput(
            images=images,
            masks=list(drawn.subject_masks) if call.return_masks else None,
            seeds=drawn.seeds,
            timings=drawn.timings_ms,
            branches=drawn.branches,
        )

    def _scaled(self, request: PersonalizeRequest, preset: Preset) -> PersonalizeRequest:
        """Return the request with the strengths of `set_ip_adapter_scale`.

        Raises:
            InputError: The numbers of strengths and subjects differ.
        """
        given, count = self._subject_scales, len(request.subjects)
        if given is None:
            return request
        scales = given if isinstance(given, tuple) else (given,) * count
        if len(scales) != count:
            raise InputError(
                f"set_ip_adapter_scale() got {len(scales)} numbers, and the call has {count} "
                "subjects. Give one number for all, or one each."
            )
        own = request.scales.over(Scales.of(preset)).identity_scale or 1.0  # 0: only detail speaks
        pairs = zip(request.subjects, scales, strict=True)
        subjects = tuple(_strengthened(subject, scale, own) for subject, scale in pairs)
        return replace(request, subjects=subjects)


def _strengthened(subject: Subject, scale: Strength, own: float) -> Subject:
    """Return a subject of strength `own` with another one, or with one by layer."""
    if not isinstance(scale, Mapping):
        return replace(subject, scale=subject.scale * scale / own)
    return replace(subject, layers=divided(scale, own))


def request_of(call: PersonalizeCall, components: Components) -> PersonalizeRequest:
    """Return the request of a call; references are encoded.

    Raises:
        InputError: Something is missing, or does not fit.
    """
    steering = steering_for(
        len(components.schedule.steps),
        scale=call.guidance_scale,
        rescale=call.guidance_rescale,
        is_negative=not (call.negative_prompt is None and call.negative_prompt_embeds is None),
        guidance=call.guidance,
        identity_guidance=call.identity_guidance,
    )
    embeds = (call.prompt_embeds, call.pooled_prompt_embeds)
    negative = (call.negative_prompt_embeds, call.negative_pooled_prompt_embeds)
    steering["negative_prompt"] = _prompts_of(call, components, call.negative_prompt, negative)
    scene = call.scene if isinstance(call.scene, str | Path) else to_picture(call.scene)
    request = PersonalizeRequest(
        subjects=_subjects_of(call, components),
        prompt=_prompts_of(call, components, call.prompt, embeds),
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


def _take_no(options: Mapping[str, object]) -> None:
    """Refuse unknown arguments.

    Raises:
        TypeError: There is one.
    """
    for name in options:
        raise TypeError(f"there is no argument {name!r}")


def _check(call: PersonalizeCall, components: Components, tensor_inputs: Sequence[str]) -> None:
    check_shared(call, components, tensor_inputs, outputs=tuple(OUTPUTS))
    if call.clip_skip is not None:
        raise InputError(
            f"clip_skip={call.clip_skip} was given; preset {components.preset.name!r} reads "
            "prompts as its weights were trained with. Leave it out."
        )
    for name in ("timesteps", "sigmas", "eta"):
        value = getattr(call, name)
        if value is not None and not (name == "eta" and value == 0):
            raise InputError(
                f"{name}={value} was given; the steps of preset {components.preset.name!r} were "
                "fixed when it was distilled. Leave it out."
            )
    if unknown := sorted({*(call.cross_attention_kwargs or {})} - {MASKS}):
        raise InputError(
            f"cross_attention_kwargs has {unknown[0]!r}; only {MASKS!r} means something here. "
            "Strengths of subjects go into `scales=`, those of LoRAs into set_adapters()."
        )
    if (call.prompt is None) == (call.prompt_embeds is None):
        raise InputError("Exactly one of `prompt` and `prompt_embeds` is needed. Give one.")
    if call.negative_prompt is not None and call.negative_prompt_embeds is not None:
        raise InputError("`negative_prompt` and its embeddings were given. Give one of them.")
    check_count(call.num_images)


def _pictured_subjects(
    components: Components,
    pictures: Pictures,
    masks: Tensor | Sequence[Tensor] | None,
    cutout: str | Search,
) -> list[Subject]:
    # One subject an entry; a nested list is one subject's pictures. As in diffusers, a mask of n
    # layers (1, n, H, W) belongs to n pictures of one entry, which then are subjects of their own.
    entries = [[to_picture(picture) for picture in entry] for entry in _entries(pictures)]
    regions = None if masks is None else _split_masks(masks)
    if regions is not None and len(regions) == len(entries):
        layers = [region.shape[1] for region in regions]
        regions = [layer for region in regions for layer in region.split(1, dim=1)]
        entries = [
            group
            for entry, count in zip(entries, layers, strict=True)
            for group in ([entry] if count == 1 else [[picture] for picture in entry])
        ]
    search = search_of(cutout)
    identities = [
        encode_identity(components, entry, searches=[search] * len(entry)) for entry in entries
    ]
    return _with_masks([Subject(identity) for identity in identities], regions)


def _known_subjects(
    identities: Identity | Sequence[Identity], masks: Tensor | Sequence[Tensor] | None
) -> list[Subject]:
    entries = identities if isinstance(identities, list | tuple) else [identities]
    given = [identity for identity in entries if isinstance(identity, Identity)]
    if others := [entry for entry in entries if not isinstance(entry, Identity)]:
        raise InputError(
            f"ip_adapter_image_embeds holds a {type(others[0]).__name__}, which has nothing for "
            "the detail branch. Give the Identity that prepare_ip_adapter_image_embeds() returns."
        )
    regions = None if masks is None else _split_masks(masks)
    if regions is not None:
        regions = [layer for region in regions for layer in region.split(1, dim=1)]
    return _with_masks([Subject(identity) for identity in given], regions)


def _split_masks(masks: Tensor | Sequence[Tensor]) -> list[Tensor]:
    rows = list(masks.unsqueeze(1)) if isinstance(masks, Tensor) else list(masks)
    for row in rows:
        is_mask = isinstance(row, Tensor) and row.ndim == 4 and len(row) == 1
        if not is_mask or row.min() < 0 or row.max() > 1:
            raise InputError(
                "ip_adapter_masks are tensors (1, n, H, W) in [0, 1], one an entry of "
                "ip_adapter_image. Make them with IPAdapterMaskProcessor().preprocess(…)."
            )
    return rows


def _with_masks(subjects: list[Subject], regions: Sequence[Tensor] | None) -> list[Subject]:
    if regions is None:
        return subjects
    if len(regions) != len(subjects):
        raise InputError(
            f"{len(regions)} masks were given for {len(subjects)} subjects. Give one each."
        )
    return [
        replace(subject, mask=region.float().cpu())
        for subject, region in zip(subjects, regions, strict=True)
    ]


def _entries(pictures: Pictures) -> Iterable[Sequence[Picture]]:
    rows = rows_of(pictures)
    rows = rows if isinstance(rows, list | tuple) else [rows]
    return [entry if isinstance(entry, list | tuple) else [entry] for entry in rows]


def _subjects_of(call: PersonalizeCall, components: Components) -> tuple[Subject, ...]:
    pictures, identities = call.ip_adapter_image, call.ip_adapter_image_embeds
    count = sum(value is not None for value in (call.subjects, pictures, identities))
    masks = (call.cross_attention_kwargs or {}).get(MASKS)
    is_text = Capability.TEXT in components.preset.capabilities and masks is None
    if count != 1 and not (count == 0 and is_text):
        raise InputError(
            "A picture needs its subjects in one way: `ip_adapter_image`, "
            "`ip_adapter_image_embeds` or `subjects`. Give exactly one."
        )
    if masks is not None and (call.subjects is not None or isinstance(call.mask, Tensor)):
        raise InputError(
            f"{MASKS} came with `mask` or `subjects`, which also say where the subjects act. "
            "Give one of them."
        )
    places: dict[str, Any] = {"box": call.box, "view": call.view}
    if call.subjects is not None or count == 0:
        return as_subjects(call.subjects or (), **places)
    if pictures is not None:
        found = _pictured_subjects(components, pictures, masks, call.cutout)
    else:
        assert identities is not None, "one of three was given"
        found = _known_subjects(identities, masks)
    if len(found) == 1 and masks is None:
        return as_subjects(found[0].identity, **places)
    if len(found) == 1:
        (subject,) = as_subjects(found[0].identity, **places)
        return (replace(subject, mask=found[0].mask),)
    return as_subjects(found, **places)


def _size_of(call: PersonalizeCall, components: Components) -> tuple[int, int] | None:
    if call.height is None and call.width is None:
        return None
    side = components.preset.image_size_px
    return side if call.height is None else call.height, side if call.width is None else call.width


def _prompts_of(
    call: PersonalizeCall,
    components: Components,
    prompts: str | list[str] | None,
    embeds: tuple[Tensor | None, Tensor | None],  # states (P, T, D) and pooled ones (P, D)
) -> Prompts:
    times = call.num_images_per_prompt
    states, pooled = embeds
    if states is not None:
        text = _text_of(states, pooled, components)
        return TextCondition(*(tensor.repeat_interleave(times, dim=0) for tensor in text))
    if isinstance(prompts, str) or prompts is None:
        return prompts or ""
    return tuple(prompt for prompt in prompts for _ in range(times))


def _text_of(states: Tensor, pooled: Tensor | None, components: Components) -> TextCondition:
    if states.ndim != 3:
        raise InputError(
            f"prompt_embeds has shape {tuple(states.shape)}; (prompts, tokens, width) is needed."
        )
    states = states.to(components.device)
    mask = states.ne(0).any(-1).to(states.dtype)  # padding is where all of a state is 0
    if pooled is None and components.family.needs_pooled_text:
        raise InputError(
            "prompt_embeds came without pooled_prompt_embeds, which this preset's denoiser reads. "
            "Give both that `encode_prompt` returns."
        )
    if pooled is None:  # as `Pooling.MEAN` does it; other families do not read it
        pooled = states.sum(1) / mask.sum(1, keepdim=True).clamp_min(1).sqrt()
    return TextCondition(states, mask.long(), pooled.to(components.device))


def _with_noise(
    request: PersonalizeRequest, call: PersonalizeCall, components: Components
) -> PersonalizeRequest:
    """Return a request with the seeds of a call, or with its noise.

    A scene is chosen and lit by a seed, so a generator stands for its seed there.

    Raises:
        InputError: They are given in two ways, or their number or shape does not fit.
    """
    if call.seeds is not None and (call.generator is not None or call.latents is not None):
        raise InputError(
            "seeds came with a generator or latents; all of them say what the noise is. Give one."
        )
    if call.seeds is not None and len(call.seeds) != call.num_images:
        raise InputError(
            f"{len(call.seeds)} seeds were given for {call.num_images} pictures. Give one each."
        )
    if call.seeds is not None:
        return replace(request, seeds=tuple(call.seeds))
    by_seed = call.generator is None or technique_for(components, request).draws_by_seed
    if call.latents is None and by_seed:
        return replace(request, seeds=tuple(seeds_of(call.num_images, call.generator)))
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
    if isinstance(generator, list) and len(generator) != call.num_images:
        raise InputError(
            f"{len(generator)} generators were given for {call.num_images} pictures. Give one, or "
            "one a picture."
        )
    given = [] if call.latents is None else [call.latents.float().to(device)]
    count = components.schedule.num_draws - len(given)
    drawn = [randn_tensor(shape, generator=generator, device=device) for _ in range(count)]
    return torch.stack(given + drawn)
