"""Draws subjects into the scene of a prompt, as a diffusers pipeline."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from swiftpie.arguments import checked
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Capability, Preset
from swiftpie.config import options_of
from swiftpie.diffusers import calls
from swiftpie.diffusers.calls import Call, Picture, SwiftPiePipelineOutput
from swiftpie.diffusers.loras import AdaptedPipeline
from swiftpie.engine.session import Session
from swiftpie.errors import InputError
from swiftpie.models.text import TextTower, TwoTextTowers
from swiftpie.photo.search import Search
from swiftpie.pipelines.animation import AnimateRequest, Film
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.layers import LayerScales, divided, scales_of
from swiftpie.pipelines.request import (
    Output,
    PersonalizeRequest,
    Subject,
    as_subjects,
    cells_of,
    check_count,
    drawing_of,
)
from swiftpie.pipelines.settings import MAX_SCALE, USUAL, Scales
from swiftpie.pipelines.tasks import TASKS
from swiftpie.types import Identity, Prompts, TextCondition

Pictures = Picture | Sequence[Picture | Sequence[Picture]]

Strength = float | LayerScales

OUTPUTS = {"pil": Output.PIL, "np": Output.PIXELS, "pt": Output.PIXELS, "latent": Output.LATENTS}
MOTION = ("to", "to_boxes", "to_views", "num_frames")  # options by which a call is an animation
PLAIN = ("prompt", "negative_prompt", "seeds", "size_px")  # as diffusers spells them
READ_APART = (*PLAIN, *options_of(Scales), *options_of(Film))


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonalizeCall(Call):
    """What `SwiftPiePipeline` is called with: arguments of diffusers, and some of ours."""

    prompt: str | list[str] | None = field(default=None, kw_only=False)
    height: int | None = None  # px; None: the preset's
    width: int | None = None
    negative_prompt: str | list[str] | None = None  # what guidance leads away from
    num_images_per_prompt: int = 1
    clip_skip: int | None = None  # how many last layers of the text encoders are not read
    cross_attention_kwargs: Mapping[str, Any] | None = None  # `ip_adapter_masks` alone
    latents: Tensor | None = None  # standard normal, (B, C, h, w)
    prompt_embeds: Tensor | None = None  # from `encode_prompt`, one row a prompt
    pooled_prompt_embeds: Tensor | None = None  # with them, for Stable Diffusion XL
    negative_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None
    ip_adapter_image: Pictures | None = None  # one picture a subject, or a list of its pictures
    ip_adapter_image_embeds: Identity | Sequence[Identity] | None = None
    cutout: str | Search = "auto"  # how `ip_adapter_image` are cut out; "face": a person's face
    subjects: Identity | Sequence[Identity | Subject] | None = None
    scales: Scales = USUAL
    best_of: int | None = None  # so many seeds are drawn, and the best pictures kept

    @property
    def num_images(self) -> int:
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt or []
        rows = prompts if self.prompt_embeds is None else self.prompt_embeds
        return len(rows) * self.num_images_per_prompt


WITH_OPTIONS = calls.with_options(PersonalizeCall, TASKS["animate"], without=READ_APART)


class SwiftPiePipeline(AdaptedPipeline):
    """Draws subjects into the scene of a prompt, in one denoising step (arXiv:2605.01510)."""

    # None: the preset's or recipe's own.
    _subject_scales: Strength | tuple[Strength, ...] | None = None

    @calls.spelled_as(WITH_OPTIONS, gone=calls.GONE)
    def __call__(self, call: PersonalizeCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Draw `num_images_per_prompt` pictures a prompt, or the frames of an animation.

        Subjects are given in one way of three: `subjects`, `ip_adapter_image` or
        `ip_adapter_image_embeds`. Presets that can draw `text` need none. `to`, `to_box`,
        `to_view` or `num_frames` ask for an animation; `swiftpie animate --help` says what the
        options do.

        Raises:
            InputError: Something is missing, does not fit, or cannot be honoured.
        """

        def requests_of(call: PersonalizeCall, session: Session) -> list[PersonalizeRequest]:
            return [self._scaled(request_of(call, session), session.components.preset)]

        return self._answer(call, requests_of, outputs=tuple(OUTPUTS))

    def set_ip_adapter_scale(
        self, scale: Strength | Sequence[Strength | Sequence[Strength]]
    ) -> None:
        """Set how strong the subjects of the calls to come are: one strength for all, or one each.

        As in diffusers, the number is the weight of the identity branch, in place of the one that
        the preset, the recipe, the adapter or `scales=` has. The other strengths of the subject
        follow in proportion: half of the weight halves its detail as well, and 0 is no subject.

        A dictionary has the weights by block, as in `{"up": {"block_0": [0.0, 1.0, 0.0]}}`; blocks
        that it leaves out get 0. The detail branch stays unchanged.

        Raises:
            InputError: It is neither a number of 0 or more nor such a dictionary.
        """
        scales = tuple(_flat(scale))
        for number in scales:
            if isinstance(number, Mapping):
                scales_of(number, self.to_components().denoiser.installation.semantic)
                continue
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if not (is_number and 0 <= number <= MAX_SCALE):
                raise InputError(
                    f"set_ip_adapter_scale() got {number!r}; a number from 0 to {MAX_SCALE} is "
                    "needed, a dictionary of them by block, or a list of one for each subject."
                )
        self._subject_scales = scales if isinstance(scale, Sequence) else scale

    @checked
    def encode_prompt(self, prompt: str | list[str]) -> tuple[Tensor, Tensor]:
        """Return `prompt_embeds` (P, T, D), 0 where a prompt has ended, and pooled ones (P, D)."""
        with torch.no_grad():
            text = self.to_components().text.encode([prompt] if isinstance(prompt, str) else prompt)
        return text.hidden_states * text.attention_mask[..., None].to(text.pooled), text.pooled

    def prepare_ip_adapter_image_embeds(
        self, ip_adapter_image: Pictures, *, cutout: str | Search = "auto"
    ) -> list[Identity]:
        """Return the subjects of `ip_adapter_image`, encoded once for any number of calls.

        Raises:
            InputError: A picture cannot be used, or a subject cannot be found in it.
        """
        with torch.no_grad():
            return _encoded(self._session(self.to_components()), ip_adapter_image, cutout)

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
            replace(subject, layers=divided(scale, own))
            if isinstance(scale, Mapping)
            else replace(subject, scale=subject.scale * scale / own)
            for subject, scale in pairs
        )
        return replace(request, subjects=subjects)


def request_of(call: PersonalizeCall, session: Session) -> PersonalizeRequest:
    """Return the request of a call, its references encoded, or raise InputError."""
    if (call.prompt is None) == (call.prompt_embeds is None):
        raise InputError("Exactly one of `prompt` and `prompt_embeds` is needed. Give one.")
    if call.negative_prompt is not None and call.negative_prompt_embeds is not None:
        raise InputError("`negative_prompt` and its embeddings were given. Give one of them.")
    check_count(call.num_images)
    if call.clip_skip is not None and call.prompt is None:
        raise InputError("`clip_skip` cannot be combined with encoded prompts. Pass text instead.")
    is_negative = not (call.negative_prompt is None and call.negative_prompt_embeds is None)
    said = call.said
    components = session.components
    moves, side = any(name in said for name in MOTION), components.preset.image_size_px
    sides = [side if given is None else given for given in (call.height, call.width)]
    placed = {name: said.pop(name, None) for name in ("box", "view")}
    placed["layers"] = said.pop("layers", "")
    subjects = _masked(call, _subjects_of(call, session, **placed))
    for name in {"scene", "style_reference"} & said.keys():
        is_named = name == "scene" and isinstance(said[name], str | Path)
        said[name] = said[name] if is_named else calls.to_picture(said[name])
    said |= {
        "prompt": _prompts_of(call, components),
        "negative_prompt": _prompts_of(call, components, "negative_"),
        "guidance": calls.guidance_of(call, components, is_negative=is_negative),
        "size_px": None if call.height is call.width is None else tuple(sides),
        "scales": call.scales,
        "best_of": call.best_of,
        "adds_named_subjects": False,
        "in_one_piece": any(subject.samples_mask for subject in subjects),
        "output": OUTPUTS["pil" if moves and call.output_type != "latent" else call.output_type],
    }
    task, seeds = TASKS["animate" if moves else "personalize"], range(call.num_images)
    request = drawing_of(task, said, subjects=subjects, seeds=seeds)
    return _with_noise(request, call, components)


def _encoded(session: Session, pictures: Pictures, cutout: str | Search) -> list[Identity]:
    """Return one identity for each entry; a nested list shows one subject."""
    rows = calls.rows_of(pictures)
    entries = rows if isinstance(rows, list | tuple) else [rows]
    views = ([*entry] if isinstance(entry, list | tuple) else [entry] for entry in entries)
    return [calls.identity_of(session, shown, cutout) for shown in views]


def _subjects_of(
    call: PersonalizeCall,
    session: Session,
    **places: Any,  # noqa: ANN401 - box, view and layers
) -> tuple[Subject, ...]:
    pictures, known = call.ip_adapter_image, call.ip_adapter_image_embeds
    count = sum(value is not None for value in (call.subjects, pictures, known))
    if count != 1 and not (
        count == 0 and Capability.TEXT in session.components.preset.capabilities
    ):
        raise InputError(
            "A picture needs its subjects in one way: `ip_adapter_image`, "
            "`ip_adapter_image_embeds` or `subjects`. Give exactly one."
        )
    if pictures is None and known is None:
        return as_subjects(call.subjects or (), **places)
    if pictures is not None and call.cross_attention_kwargs:  # there is a mask a picture
        pictures = _flat(calls.rows_of(pictures))
    if pictures is not None:
        known = _encoded(session, pictures, call.cutout)
    entries: list[Any] = [*known] if isinstance(known, list | tuple) else [known]
    if others := [entry for entry in entries if not isinstance(entry, Identity)]:
        raise InputError(
            f"ip_adapter_image_embeds holds a {type(others[0]).__name__}. Give the Identity that "
            "prepare_ip_adapter_image_embeds() returns, which the detail branch reads too."
        )
    return as_subjects(entries[0] if len(entries) == 1 else entries, **places)


def _flat(entries: Any) -> list[Any]:  # noqa: ANN401 - one, or any nesting
    """Return the entries of a list and of the lists in it."""
    if not isinstance(entries, list | tuple):
        return [entries]
    return [each for entry in entries for each in _flat(entry)]


def _masked(call: PersonalizeCall, subjects: tuple[Subject, ...]) -> tuple[Subject, ...]:
    """Return subjects with the `ip_adapter_masks` of a call, as diffusers has them."""
    others = dict(call.cross_attention_kwargs or {})
    masks = others.pop("ip_adapter_masks", None)
    if others:
        raise InputError(
            f"cross_attention_kwargs has {next(iter(others))!r}, and 'ip_adapter_masks' alone is "
            "read. Strengths of LoRAs are set by set_adapters(), of subjects by "
            "`scales=Scales(…)`."
        )
    if masks is None:
        return subjects
    given = masks if isinstance(masks, Tensor | list | tuple) else [masks]
    tensors = [mask for mask in given if isinstance(mask, Tensor)]
    rows = [row for mask in tensors for row in mask.float().reshape(-1, 1, 1, *mask.shape[-2:])]
    if len(tensors) < len(given) or len(rows) != len(subjects):
        raise InputError(
            f"{len(rows)} tensors as ip_adapter_masks cannot be combined with {len(subjects)} "
            "subjects. Give one for each entry of `ip_adapter_image`, as IPAdapterMaskProcessor "
            "makes them."
        )
    return tuple(
        replace(subject, mask=mask.clamp(0, 1), samples_mask=True)
        for subject, mask in zip(subjects, rows, strict=True)
    )


def _skipping(components: Components, skip: int, prompts: list[str]) -> TextCondition:
    """Return what the text encoders read of prompts without their last layers."""
    text, is_clip = components.text, components.family.takes_adapters
    if isinstance(text, TextTower | TwoTextTowers) and is_clip and skip >= 0:
        with suppress(IndexError):
            return replace(text, skip=skip).encode(prompts)
    raise InputError(
        f"clip_skip={skip} cannot be combined with preset {components.preset.name!r}: it has no "
        "such layer of CLIP's text encoders. Give a smaller number, or leave it out."
    )


def _prompts_of(call: PersonalizeCall, components: Components, kind: str = "") -> Prompts:
    """Return the prompts of a call, or its negative ones, one a picture."""
    times, prompts = call.num_images_per_prompt, getattr(call, f"{kind}prompt")
    states = getattr(call, f"{kind}prompt_embeds")  # (P, T, D), and pooled ones (P, D)
    if states is not None:
        text = _text_of(states, getattr(call, f"{kind}pooled_prompt_embeds"), components)
    elif call.clip_skip is not None and not kind:
        words = [prompts] if isinstance(prompts, str) else list(prompts or ())
        text = _skipping(components, call.clip_skip, words)
    elif isinstance(prompts, str) or prompts is None:
        return prompts or ""
    else:
        return tuple(prompt for prompt in prompts for _ in range(times))
    return TextCondition(*(tensor.repeat_interleave(times, dim=0) for tensor in text))


def _text_of(states: Tensor, pooled: Tensor | None, components: Components) -> TextCondition:
    if states.ndim != 3:
        raise InputError(
            f"prompt_embeds has shape {tuple(states.shape)}; (prompts, tokens, width) is needed."
        )
    states = states.to(components.device)
    mask = states.ne(0).any(-1).to(states.dtype)  # padding is where all of a state is 0
    if pooled is None and components.family.needs_pooled_text:
        raise InputError(
            "prompt_embeds needs pooled_prompt_embeds, which this preset's denoiser reads. Give "
            "both, as `encode_prompt` returns them."
        )
    if pooled is None:  # as mini does it; other families do not read it
        pooled = states.sum(1) / mask.sum(1, keepdim=True).clamp_min(1).sqrt()
    return TextCondition(states, mask.long(), pooled.to(components.device))


def _with_noise(
    request: PersonalizeRequest, call: PersonalizeCall, components: Components
) -> PersonalizeRequest:
    """Return a request with the seeds of a call or its noise; a generator is a seed for a scene."""
    if call.seeds is not None and call.latents is not None:
        raise InputError("`seeds` and `latents` both say what the noise is. Give one of them.")
    is_drawn = call.seeds is None and call.generator is not None
    moves = isinstance(request, AnimateRequest)
    by_seed = not is_drawn or moves or request.best_of
    by_seed = by_seed or choose(components, request).technique.draws_by_seed
    if call.latents is None and by_seed:
        return replace(request, seeds=calls.seeds_of(call, call.num_images))
    cells = cells_of(components.preset, request.size_px)
    shape = (call.num_images, components.preset.latent_channels, *cells)
    given, device = [], components.device
    if call.latents is not None:
        if call.latents.shape != shape:
            raise InputError(
                f"latents has shape {tuple(call.latents.shape)}; {shape} is needed. Give a row a "
                "picture."
            )
        given = [call.latents.float().to(device)]
    calls.check_generators(call.generator, call.num_images)
    count = components.schedule.num_draws - len(given)
    drawn = [randn_tensor(shape, generator=call.generator, device=device) for _ in range(count)]
    # Given latents are drawn as diffusers draws them: whole, whatever their size.
    noise, is_whole = torch.stack(given + drawn), call.latents is not None or request.in_one_piece
    return replace(request, seeds=(), noise=noise, in_one_piece=is_whole)
