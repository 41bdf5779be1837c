"""SwiftPie: subjects in a new picture, drawn from noise; and what a denoiser reads of subjects."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from swiftpie.attention.condition import ENERGY, AttentionCondition, silent_condition
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import Components, Placement
from swiftpie.backbones.presets import Capability, Preset
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.layout import Layout, from_box, to_affine, whole_frame
from swiftpie.geometry.shading import Lighting, lit, without_light
from swiftpie.guidance import Plain, branches_of
from swiftpie.masks import Box, box_mask, resize_mask, subject_extent
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.choose import Choice, Clock, Technique, resolved_scales
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.layers import scales_of
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    ConditionPart,
    Drawable,
    PersonalizeRequest,
    Subject,
    cells_of,
    texts_of,
)
from swiftpie.pipelines.settings import (
    BALANCE_OF_IDENTITY,
    BALANCE_OF_TEXT,
    FOUND,
    MaskSource,
    ResolvedScales,
)
from swiftpie.pipelines.style import with_style
from swiftpie.types import Identity, Prompts, TextCondition

BOX_FEATHER = 0.06  # a box's soft edge, as a share of the picture
FAR = 100.0  # frame coordinate of every cell for an absent subject


Place = Callable[[Components, PersonalizeRequest, Tensor, TextCondition], Placement]
"""Returns where subjects go in the pictures of noise (B, C, h, w) and as many rows of text."""


def claims(components: Components, request: PersonalizeRequest) -> bool:
    """Whether a request is for a picture without a scene of its own."""
    del components
    return request.scene in ("", WORDS_ALONE)


def prepare_picture(choice: Choice[PersonalizeRequest], *, place: Place | None = None) -> Plan:
    """Read the prompts and place the subjects, by default as the family does."""
    components, request = choice.components, choice.request
    check_subjects(components, request)
    start = prepare_subjects(components, request, choice.clock, place=place)
    return Plan(request, lambda drawn: drawn, start)


def in_boxes(subjects: Sequence[Subject], noise: Tensor) -> Placement:
    """Return subjects in their boxes in pictures of noise (B, C, h, w).

    One without a box has an open place: its frame is all of the picture.
    """
    layouts = []
    for subject in subjects:
        layout = whole_frame(noise)
        if subject.box is not None:
            extent = subject_extent(subject.identity.mask[:1])
            size = (noise.shape[2], noise.shape[3])
            boxed = from_box(subject.box, size=size, extent=extent)
            rows = (value.to(noise).expand(len(noise), *value.shape[1:]) for value in boxed)
            layout = Layout(*rows)
        layouts.append(layout)
    return Placement(tuple(subjects), layouts, (None,) * len(layouts))


@torch.no_grad()
def prepare_subjects(
    components: Components, request: PersonalizeRequest, clock: Clock, *, place: Place | None = None
) -> Prepared:
    """Read the prompts and place the subjects, by default as the family does."""
    subjects, source = request.subjects, request.mask
    assert isinstance(source, MaskSource), "`Session.resolved` gives regions to subjects"
    detail_source = source_of_detail(request, components.preset)
    _check_sources(components, subjects, {"mask": source, "detail_mask": detail_source})
    noise = request.noise
    if noise is None:
        shape = (components.preset.latent_channels, *cells_of(components.preset, request.size_px))
        noise = draw_step_noise(request.seeds, shape, count=components.schedule.num_draws)
    cells, rows = (noise.shape[3], noise.shape[4]), noise.shape[1]
    if components.family.shifts_times:
        components = components.sized(cells)
    scales = resolved_scales(components.preset, request)
    text = read_prompts(components, request.prompt, rows=rows)
    noise = noise.to(text.pooled.device)
    null_text = read_null_text(components, request, rows=rows)
    clock.end_stage("text")
    if (place := place or components.family.place) is None:
        placed = in_boxes(subjects, noise[0])
    else:
        placed = place(components, request, noise[0], text)
    subjects, layouts, lights = placed
    if not subjects:
        condition = text_condition(components, noise[0], scales=scales)
    else:
        condition = subject_condition(
            components,
            [subject.identity for subject in subjects],
            layouts,
            lights=lights,
            regions=[
                _region(subject.mask, subject.box, source, cells).to(noise) for subject in subjects
            ],
            detail_regions=[
                _region(subject.detail_mask, subject.box, detail_source, cells).to(noise)
                for subject in subjects
            ],
            class_tokens=find_words(
                components, request.prompt, [subject.name for subject in subjects]
            ),
            scales=scales,
            shares=[subject.scale for subject in subjects],
            is_inline=source is MaskSource.INLINE,
            detail_is_inline=detail_source is MaskSource.INLINE,
        )
        condition = _sampled(_by_layer(condition, components, subjects), subjects)
    if request.style_reference is not None:
        condition = with_style(condition, components, request)
    latents = components.schedule.initial_latents(noise[0])
    condition = _without(condition, request.without)
    clock.end_stage("place")
    return Prepared(
        *(components, latents, text, null_text, condition),
        fresh=noise[1:],
        layouts=tuple(layouts),
        lights=lights,
    )


def check_subjects(components: Components, request: PersonalizeRequest) -> None:
    """Refuse a request that needs a subject and has none, and turns that cannot be drawn."""
    turns = (request.flip, request.tilt, *(subject.view for subject in request.subjects))
    if not components.preset.predicts_layout and any(turns):
        raise CapabilityError(
            f"Preset {components.preset.name!r} cannot turn subjects. Describe the view in the "
            "prompt, or give a picture with that view."
        )
    if request.subjects:
        return
    if request.scene not in ("", WORDS_ALONE):
        raise InputError(
            "`scene=` needs a subject: it says where subjects stand. Leave it out, or give a "
            "subject."
        )
    if Capability.TEXT not in components.preset.capabilities:
        raise CapabilityError(
            f"No subject was given, and preset {components.preset.name!r} draws those that it is "
            "shown. Give a picture of one, or load a model that draws from words alone, as by "
            "the recipe sdxs."
        )


def _check_sources(
    components: Components, subjects: Sequence[Subject], sources: Mapping[str, MaskSource]
) -> None:
    """Refuse regions that are to be found where some are given, or where no layer finds any."""
    for name, chosen in sources.items():
        if chosen in FOUND and any(getattr(subject, name) is not None for subject in subjects):
            raise InputError(
                f"{name}={chosen.value!r} finds the regions of all subjects, but some have a mask. "
                "Leave one of the two out."
            )
        if chosen is MaskSource.LAYOUT_FIRST and components.preset.predicts_layout:
            raise CapabilityError(
                f"{name}='layout-first' asks the words where a subject goes, and preset "
                f"{components.preset.name!r} places subjects before it draws. Give 'two-pass', "
                "'inline' or a box."
            )
        if chosen in FOUND and not components.denoiser.installation.finds_regions:
            raise CapabilityError(
                f"{name}={chosen.value!r} needs layers that find where a subject is, and preset "
                f"{components.preset.name!r} has none. Give a box or a mask, or leave it out."
            )


def _without(condition: SubjectCondition, parts: frozenset[ConditionPart]) -> SubjectCondition:
    if ConditionPart.PLACE in parts:
        attention = condition.attention
        nowhere = attention._replace(has_layout=torch.zeros_like(attention.has_layout))
        condition = condition._replace(attention=nowhere)
    if ConditionPart.ALIGNED in parts:
        condition = condition._replace(aligned=torch.zeros_like(condition.aligned))
    return condition


def source_of_detail(request: PersonalizeRequest, preset: Preset) -> MaskSource:
    """Return where the masks of the detail branch come from.

    The preset's default applies only if the request has no masks at all.
    """
    if request.detail_mask is not None:
        assert isinstance(request.detail_mask, MaskSource), "as above"
        return request.detail_mask
    has_masks = request.mask is not MaskSource.NONE or any(
        subject.mask is not None or subject.detail_mask is not None for subject in request.subjects
    )
    return MaskSource.NONE if has_masks else MaskSource(preset.detail_mask or MaskSource.NONE)


def _region(
    mask: Tensor | None, box: Box | None, source: MaskSource, cells: tuple[int, int]
) -> Tensor:
    if mask is not None:
        return resize_mask(mask, cells)
    if source is MaskSource.BOX:
        if box is None:
            raise InputError("mask='box' needs a box. Give one, as in 0.2,0.4,0.8,0.9.")
        return box_mask(box, height=cells[0], width=cells[1], feather=BOX_FEATHER)
    return torch.ones(1, 1, *cells)


def read_prompts(components: Components, prompts: Prompts, *, rows: int) -> TextCondition:
    """Return `rows` rows of text; equal prompts are encoded once."""
    if isinstance(prompts, TextCondition):
        return prompts if len(prompts.pooled) == rows else prompts.repeat(rows)
    given = texts_of(prompts)
    distinct = list(dict.fromkeys(given))
    text = components.text.encode(distinct)
    if len(distinct) == 1:
        return text.repeat(rows)
    order = torch.tensor([distinct.index(name) for name in given], device=text.pooled.device)
    return TextCondition(*(tensor[order] for tensor in text))


def read_null_text(components: Components, request: Drawable, *, rows: int) -> TextCondition | None:
    """Return the text of rows without the prompt; None if guidance has no such rows."""
    negative = request.negative_prompt
    used = branches_of(request.guidance or Plain(), len(components.schedule.steps))
    if all(branch.has_text for branch in used):
        return None
    if negative == "":  # not every model was trained with an empty prompt as null text
        return components.family.null_text(components.text).repeat(rows)
    return read_prompts(components, negative, rows=rows)


def find_words(components: Components, prompts: Prompts, names: Sequence[str]) -> Tensor:
    """Mark the tokens that name each subject, (S, T) or (B, S, T); 0 for encoded prompts."""
    if isinstance(prompts, TextCondition):
        prompts = ""
    if isinstance(prompts, str):
        return components.text.find_words(prompts, names)
    return torch.stack([components.text.find_words(prompt, names) for prompt in prompts])


def subject_condition(
    components: Components,
    identities: Sequence[Identity],
    layouts: Sequence[Layout],
    *,
    regions: Sequence[Tensor],
    class_tokens: Tensor,
    scales: ResolvedScales,
    shares: Sequence[float],
    is_inline: bool = False,
    detail_regions: Sequence[Tensor] = (),
    detail_is_inline: bool = False,
    lights: Sequence[Lighting | None] = (),
) -> SubjectCondition:
    """Return everything that the denoiser reads of S subjects, for B rows.

    Args:
        components: The networks.
        identities: The subjects.
        layouts: Where each subject goes, B rows each.
        regions: The mask of each subject for rescaling, (1, 1, h, w).
        class_tokens: The tokens that name each subject, (S, T) or (B, S, T), 1 or 0.
        scales: Strengths of the branches.
        shares: Factor of each subject on identity and detail scales.
        is_inline: Whether attention finds masks that replace `regions`.
        detail_regions: Masks of the detail branch, (1, 1, h, w); it acts where both masks do.
            Everywhere if empty.
        detail_is_inline: Whether attention finds masks that replace `detail_regions`.
        lights: The light of each subject before it is placed; None keeps that of the reference.
    """
    batch, cell_px = len(layouts[0].scale), components.preset.latent_cell_px
    cells = (regions[0].shape[-2], regions[0].shape[-1])
    shape = (batch, components.preset.latent_channels, *cells)
    silent = silent_condition(
        regions[0].new_empty(shape),
        width=identities[0].tokens.shape[-1],
        num_subjects=len(identities),
    )
    has_layout = float(components.preset.predicts_layout)
    attention = silent._replace(
        identity_tokens=_stack([identity.tokens for identity in identities], batch),
        keys=_stack_layers([identity.keys for identity in identities], batch),
        values=_stack_layers([identity.values for identity in identities], batch),
        coverage=_stack(  # the subject's share of each reference cell, (1, R, h, w)
            [_cells_covered(identity, cell_px) for identity in identities], batch
        ),
        affine=torch.stack([to_affine(layout) for layout in layouts], dim=1),
        has_layout=torch.full_like(silent.has_layout, has_layout),
        region=torch.cat(list(regions), dim=1).expand(batch, -1, -1, -1),
        is_inline=torch.full_like(silent.is_inline, float(is_inline)),
        detail_is_inline=torch.full_like(silent.is_inline, float(detail_is_inline)),
        class_tokens=class_tokens.to(silent.region).expand(batch, -1, -1),
    )
    frames = []
    for identity, layout, lighting in zip(
        identities, layouts, lights or [None] * len(layouts), strict=True
    ):
        pixels, mask = identity.pixels[:1], identity.mask[:1]
        if lighting is not None:
            own = lighting.select(slice(1)).own
            plain = components.keep("plain", identity, partial(without_light, pixels, mask, own))
            pixels = lit(plain, lighting.scene, layout).mul_(2).sub_(mask)
        frame = torch.cat([pixels, mask.expand(len(pixels), -1, -1, -1)], dim=1)
        frames.append(frame.expand(batch, -1, -1, -1))
    if detail_regions:
        limits = torch.cat(list(detail_regions), dim=1).expand(batch, -1, -1, -1)
        attention = attention._replace(detail_mask=limits)
    scaled = _without_silent_keys(_scaled(attention, scales, shares), components)
    attention = _without_absent(scaled, outside=scales.background_scale)
    aligned = components.denoiser.place_subjects(
        components.autoencoder,
        frames,
        layouts=layouts,
        present=(attention.detail_scale > 0).to(frames[0]),
        cells=cells,
    )
    return SubjectCondition(
        attention=attention,
        pooled=_stack([identity.pooled for identity in identities], batch),
        aligned=aligned,
        pose=torch.stack([layout.pose for layout in layouts], dim=1),
    )


def appearance_condition(
    components: Components,
    shown: Identity,
    region: Tensor,
    *,
    scales: ResolvedScales,
    rows: int | None = None,
) -> SubjectCondition:
    """Return what the denoiser reads of one subject without a place or a name, for B rows.

    It acts in a `region` (B, 1, h, w), or in one of a row for all of `rows`, and its details only
    where they have a strength of their own.
    """
    shown = shown if scales.detail_scale else shown.without_detail()
    batch = len(region) if rows is None else rows
    return subject_condition(
        components,
        [shown],
        [whole_frame(region.expand(batch, -1, -1, -1))],
        regions=[region],
        class_tokens=components.text.find_words("", [""]),
        scales=scales,
        shares=[1.0],
    )


def _by_layer(
    condition: SubjectCondition, components: Components, subjects: Sequence[Subject]
) -> SubjectCondition:
    """Return a condition with the strengths of `Subject.layers`; without any, the same one."""
    if not any(subject.layers for subject in subjects):
        return condition
    names, attention = components.denoiser.installation.semantic, condition.attention
    rows = [
        scales_of(subject.layers, names) if subject.layers else dict.fromkeys(names, 1.0)
        for subject in subjects
    ]
    ones = torch.ones_like(attention.identity_scale)
    factors = {name: ones * ones.new_tensor([row[name] for row in rows]) for name in names}
    return condition._replace(attention=attention._replace(layer_scales=factors))


def _sampled(condition: SubjectCondition, subjects: Sequence[Subject]) -> SubjectCondition:
    """Return a condition with the masks that are sampled layer by layer; without any, the same."""
    masks = [subject.mask for subject in subjects if subject.samples_mask]
    if not masks or not all(subject.samples_mask for subject in subjects):
        return condition
    region = condition.attention.region
    sampled = torch.cat([mask for mask in masks if mask is not None], dim=1).to(region)
    sampled = sampled.expand(len(region), -1, -1, -1)
    return condition._replace(attention=condition.attention._replace(sampled=sampled))


def text_condition(
    components: Components, noisy: Tensor, *, scales: ResolvedScales | None = None
) -> SubjectCondition:
    """Return everything that the denoiser reads of no subject, a row for each of `noisy`.

    `noisy` is (B, C, h, w). There is the place of one subject, and nothing in it. `scales` are
    those of the text; None leaves it unchanged.
    """
    batch, width = len(noisy), components.denoiser.installation.plan.token_width
    attention = silent_condition(noisy, width=width)
    return SubjectCondition(
        attention=attention if scales is None else _scaled(attention, scales, [0.0]),
        pooled=noisy.new_zeros(batch, 1, width),
        aligned=noisy.new_zeros(batch, 1, 0, *noisy.shape[2:]),
        pose=noisy.new_zeros(batch, 1, 4),
    )


def _cells_covered(identity: Identity, cell_px: int) -> Tensor:
    rows, columns = (side // cell_px for side in identity.mask.shape[-2:])
    return resize_mask(identity.mask, (rows, columns)).transpose(0, 1)


def _scaled(
    attention: AttentionCondition, scales: ResolvedScales, shares: Sequence[float]
) -> AttentionCondition:
    more = 1 + BALANCE_OF_IDENTITY * scales.balance
    text = 1 - BALANCE_OF_TEXT * scales.balance
    share = attention.identity_scale.new_tensor(shares)

    # Multiplied, not filled: an exported graph takes scales as tensors.
    def filled(scale: float) -> Tensor:
        return torch.ones_like(attention.text_scale) * scale

    def by_subject(scale: float) -> Tensor:
        return torch.ones_like(attention.identity_scale) * scale * share

    return attention._replace(
        identity_scale=by_subject(scales.identity_scale * more),
        identity_background_scale=by_subject(scales.background_scale),
        detail_scale=by_subject(scales.detail_scale * more),
        detail_background_scale=by_subject(scales.background_scale),
        text_scale=filled(scales.text_scale * text),
        text_background_scale=filled(scales.text_background_scale),
        caps={} if scales.energy_cap is None else {ENERGY: filled(scales.energy_cap)},
    )


def _without_silent_keys(
    attention: AttentionCondition, components: Components
) -> AttentionCondition:
    """Return `attention` without reference keys if a joint softmax gives them no weight.

    A scale of 0 turns the decoupled branch off exactly, but a joint softmax only up to rounding.
    """
    scales = (attention.detail_scale, attention.detail_background_scale)
    is_joint = components.denoiser.installation.plan.merge is Merge.JOINT
    if not is_joint or any(bool(scale.any()) for scale in scales):
        return attention
    return attention._replace(keys={}, values={})


def _without_absent(attention: AttentionCondition, *, outside: float) -> AttentionCondition:
    """Return `attention` in which subjects with an empty region and no scale outside are absent.

    Attention ignores them anyway; this also removes them from the other inputs of the denoiser.
    """
    is_seen = (attention.region.flatten(2).amax(-1) + outside > 0).to(attention.region)
    nowhere = torch.zeros_like(attention.affine)
    nowhere[..., 2] = FAR
    return attention._replace(
        identity_scale=attention.identity_scale * is_seen,
        detail_scale=attention.detail_scale * is_seen,
        has_layout=attention.has_layout * is_seen,
        affine=torch.where(is_seen[..., None, None] > 0, attention.affine, nowhere),
    )


def _stack(rows: list[Tensor], batch: int) -> Tensor:
    """Return single rows (1, n, …) as (B, S, n, …), shorter ones padded by repetition.

    Attention is a weighted mean, so a token that appears twice counts as often as its copies;
    subjects with fewer references repeat whole references, which changes nothing.
    """
    if len(rows) == 1:  # it is not copied
        return rows[0][:, None].expand(batch, *[-1] * rows[0].ndim)
    longest = max(row.shape[1] for row in rows)
    together = torch.stack([_repeat_to(row, longest) for row in rows], dim=1)
    return together.expand(batch, *[-1] * rows[0].ndim)


def _repeat_to(row: Tensor, length: int) -> Tensor:
    if row.shape[1] == length:
        return row
    if length % row.shape[1]:
        raise InputError(
            "The subjects of a picture have different numbers of reference pictures "
            f"({row.shape[1]} and {length} tokens). Give as many for each, or a multiple."
        )
    return row.repeat(1, length // row.shape[1], *[1] * (row.ndim - 2))


def _stack_layers(layers: Sequence[Mapping[str, Tensor]], batch: int) -> dict[str, Tensor]:
    return {name: _stack([layer[name] for layer in layers], batch) for name in layers[0]}


TECHNIQUE = Technique(PersonalizeRequest, prepare_picture, claims)
