"""The arguments of a personalizing call, in the order of diffusers, and what they ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.masks import Box
from swiftpie.noise import MAX_SEED
from swiftpie.pipelines.hub.calling import OnStepEnd, check_shared
from swiftpie.pipelines.hub.pictures import Pictures, known_subjects, pictured_subjects
from swiftpie.pipelines.personalize import draw_start, num_draws
from swiftpie.pipelines.request import MAX_IMAGES, MaskSource, Scales, Subject, as_subjects
from swiftpie.types import Identity, TextCondition

Generators = torch.Generator | list[torch.Generator]

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
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
    guidance_scale: float = 1.0  # more than 1 has no effect on distilled weights
    negative_prompt: str | list[str] | None = None  # likewise
    num_images_per_prompt: int = 1
    eta: float = 0.0
    generator: Generators | None = None  # one, or one a picture
    latents: Tensor | None = None  # standard normal, (B, C, h, w)
    prompt_embeds: Tensor | None = None  # from `encode_prompt`, one row a prompt
    negative_prompt_embeds: Tensor | None = None
    ip_adapter_image: Pictures | None = None  # one picture a subject, or a list of its pictures
    ip_adapter_image_embeds: Identity | Sequence[Identity] | None = None
    output_type: str = "pil"
    return_dict: bool = True
    cross_attention_kwargs: Mapping[str, Any] | None = None
    guidance_rescale: float = 0.0
    clip_skip: int | None = None
    callback_on_step_end: OnStepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)
    _: KW_ONLY
    subjects: Identity | Sequence[Subject] | None = None
    mask: Tensor | MaskSource = MaskSource.NONE
    box: Box | None = None
    scales: Scales | None = None
    seeds: Sequence[int] | None = None  # one a picture
    pooled_prompt_embeds: Tensor | None = None  # Stable Diffusion XL only, with `prompt_embeds`
    return_masks: bool = True

    @property
    def asks_for_guidance(self) -> bool:
        """Whether the pictures shall be steered away from something."""
        negatives = (self.negative_prompt, self.negative_prompt_embeds)
        is_negative = any(one is not None for one in negatives)
        return is_negative or self.guidance_scale > 1 or self.guidance_rescale > 0

    @property
    def num_prompts(self) -> int:
        """How many prompts there are."""
        if self.prompt_embeds is not None:
            return len(self.prompt_embeds)
        return 1 if isinstance(self.prompt, str) else len(self.prompt or [])

    @property
    def num_images(self) -> int:
        """How many pictures are asked for."""
        return self.num_prompts * self.num_images_per_prompt


def check(call: PersonalizeCall, components: Components, tensor_inputs: Sequence[str]) -> None:
    """Refuse what would otherwise be ignored, and counts that do not fit.

    Raises:
        InputError: Something cannot be honoured.
    """
    check_shared(call, components, tensor_inputs, output_types=OUTPUT_TYPES)
    for name in ("timesteps", "sigmas", "eta", "clip_skip"):
        value = getattr(call, name)
        if value is not None and not (name == "eta" and value == 0):
            raise InputError(
                f"{name}={value} was given; the steps of preset {components.preset.name!r} were "
                "fixed when it was distilled. Leave it out."
            )
    if unknown := sorted({*(call.cross_attention_kwargs or {})} - {MASKS}):
        raise InputError(
            f"cross_attention_kwargs has {unknown[0]!r}; only {MASKS!r} means something here. "
            "Scales go into `scales`."
        )
    if (call.prompt is None) == (call.prompt_embeds is None):
        raise InputError("Exactly one of `prompt` and `prompt_embeds` is needed. Give one.")
    prompts = [call.prompt] if isinstance(call.prompt, str) else call.prompt or []
    if not all(isinstance(one, str) and one.strip() for one in prompts):
        raise InputError("A prompt is empty. Say what the picture shows: 'a dog at sunset'.")
    if not 1 <= call.num_images <= MAX_IMAGES:
        raise InputError(
            f"{call.num_images} pictures were asked for; 1 to {MAX_IMAGES} are possible."
        )


def subjects_of(call: PersonalizeCall, components: Components) -> list[Subject]:
    """Return who shall appear.

    Raises:
        InputError: Nobody, or in two ways at once.
    """
    pictures, identities = call.ip_adapter_image, call.ip_adapter_image_embeds
    if sum(one is not None for one in (call.subjects, pictures, identities)) != 1:
        raise InputError(
            "A picture needs its subjects in one way: `ip_adapter_image`, "
            "`ip_adapter_image_embeds` or `subjects`. Give exactly one."
        )
    masks = (call.cross_attention_kwargs or {}).get(MASKS)
    if masks is not None and (call.subjects is not None or isinstance(call.mask, Tensor)):
        raise InputError(
            f"{MASKS} came with `mask` or `subjects`, which also say where the subjects act. "
            "Give one of them."
        )
    if call.subjects is not None:
        return list(as_subjects(call.subjects, mask=_mask_of(call), box=call.box))
    if pictures is not None:
        found = pictured_subjects(components, pictures, masks)
    else:
        assert identities is not None, "one of three was given"
        found = known_subjects(identities, masks)
    if len(found) == 1 and masks is None:
        return list(as_subjects(found[0].identity, mask=_mask_of(call), box=call.box))
    if len(found) == 1:
        return [replace(found[0], box=call.box)]
    return list(as_subjects(found, mask=_mask_of(call), box=call.box))


def size_of(call: PersonalizeCall, components: Components) -> tuple[int, int]:
    """Return latent rows and columns.

    Raises:
        InputError: The size is not possible.
    """
    side = components.preset.image_size_px
    height = side if call.height is None else call.height
    return components.cells_of((height, side if call.width is None else call.width))


def read_text(
    call: PersonalizeCall, components: Components, names: Sequence[str]
) -> tuple[TextCondition, Tensor]:
    """Return the prompts, a row a picture, and the words that name each subject, (B, S, T).

    Raises:
        InputError: Embeddings are incomplete or misshapen.
    """
    if call.prompt_embeds is None:
        prompts = [call.prompt] if isinstance(call.prompt, str) else list(call.prompt or [])
        text = components.text.encode(prompts)
    else:
        prompts = [""] * len(call.prompt_embeds)
        text = _text_of(call.prompt_embeds, call.pooled_prompt_embeds, components)
    words = torch.stack([components.text.find_words(one, names) for one in prompts])
    times = call.num_images_per_prompt
    rows = TextCondition(*(one.repeat_interleave(times, dim=0) for one in text))
    return rows, words.repeat_interleave(times, dim=0)


def _text_of(states: Tensor, pooled: Tensor | None, components: Components) -> TextCondition:
    """Return prompts from states (P, T, D); padding is where all of a state is 0.

    Raises:
        InputError: The shape is another, or the pooled states are missing.
    """
    if states.ndim != 3:
        raise InputError(
            f"prompt_embeds has shape {tuple(states.shape)}; (prompts, tokens, width) is needed."
        )
    states = states.to(components.device)
    mask = states.ne(0).any(-1).to(states.dtype)
    if pooled is None and components.family.needs_pooled_text:
        raise InputError(
            "prompt_embeds came without pooled_prompt_embeds, which this preset's "
            "denoiser reads. Give both that `encode_prompt` returns."
        )
    if pooled is None:  # as `Pooling.MEAN` does it; other families do not read it
        pooled = states.sum(1) / mask.sum(1, keepdim=True).clamp_min(1).sqrt()
    return TextCondition(states, mask.long(), pooled.to(components.device))


def draw(
    call: PersonalizeCall, components: Components, cells: tuple[int, int]
) -> tuple[Tensor, tuple[int, ...]]:
    """Return noise (n, B, C, h, w) and the seeds that it is from; none of generators or latents.

    Raises:
        InputError: There are too many sources of noise, or too few rows.
    """
    shape = (call.num_images, components.preset.latent_channels, *cells)
    if call.seeds is not None:
        return draw_start(components, _check_seeds(call), cells), tuple(call.seeds)
    if call.latents is not None and call.latents.shape != shape:
        raise InputError(
            f"latents has shape {tuple(call.latents.shape)}; {shape} is needed. Give a row a "
            "picture."
        )
    if call.generator is not None or call.latents is not None:
        return _draw_by_generator(call, components, shape), ()
    # From the global state of PyTorch, so that torch.manual_seed makes a script repeatable.
    seeds = tuple(torch.randint(0, MAX_SEED, (call.num_images,)).tolist())
    return draw_start(components, seeds, cells), seeds


def _draw_by_generator(
    call: PersonalizeCall, components: Components, shape: tuple[int, ...]
) -> Tensor:
    """Return noise (n, B, C, h, w), given latents in place of its first draw.

    Raises:
        InputError: There are more or fewer generators than pictures.
    """
    generator, device = call.generator, components.device
    if isinstance(generator, list) and len(generator) != call.num_images:
        raise InputError(
            f"{len(generator)} generators were given for {call.num_images} pictures. Give one, or "
            "one a picture."
        )
    given = [] if call.latents is None else [call.latents.float().to(device)]
    count = num_draws(components) - len(given)
    drawn = [randn_tensor(shape, generator=generator, device=device) for _ in range(count)]
    return torch.stack(given + drawn)


def _check_seeds(call: PersonalizeCall) -> Sequence[int]:
    """Return the seeds of a call.

    Raises:
        InputError: They are too many, too few, out of range, or not alone.
    """
    assert call.seeds is not None, "asked only for calls with seeds"
    if call.generator is not None or call.latents is not None:
        raise InputError(
            "seeds came with a generator or latents; all of them say what the noise is. Give one."
        )
    if len(call.seeds) != call.num_images:
        raise InputError(
            f"{len(call.seeds)} seeds were given for {call.num_images} pictures. Give one each."
        )
    if not all(0 <= seed <= MAX_SEED for seed in call.seeds):
        raise InputError(f"A seed is out of range; it must lie between 0 and {MAX_SEED}.")
    return call.seeds


def _mask_of(call: PersonalizeCall) -> Tensor | None:
    return call.mask if isinstance(call.mask, Tensor) else None
