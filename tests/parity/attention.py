"""Both branches inside whole U-Nets, against attention written out densely in float64."""

import copy
from functools import partial

import numpy as np
import torch

from swiftpie.attention.condition import INLINE_MASK, silent_condition
from swiftpie.attention.install import BranchPlan
from swiftpie.attention.processors import Merge
from swiftpie.geometry.layout import Layout, to_affine
from swiftpie.masks import attention_to_mask, resize_mask
from swiftpie.models.denoiser import SubjectCondition, UNetDenoiser
from swiftpie.noise import scaled_linear_step
from swiftpie.types import TextCondition
from tests.parity import dense
from tests.tiny.networks import WIDTHS, tiny_unet

BOUND = 1e-5  # of the largest value of the output
MASK_BOUND = 1e-5
HALF_BOUND = 2e-2  # of the largest value, in half precision
CELLS = (12, 20)  # of the picture
REFERENCE_CELLS = (16, 16)
TEXT_LENGTH, NUM_TOKENS, BATCH = 7, 4, 2
INLINE_BOUND = 1e-4  # maps are float32, and stretching and steepening enlarge their rounding
CONTRAST = 30.0  # of queries: random ones attend to all alike, which shows no subject
SIZES = [(16, 16), (48, 80), (12, 20), (20, 12), (9, 15), (5, 3), (1, 7), (64, 64)]
STRENGTHS = tuple(
    f"{branch}{where}_scale" for branch in ("identity", "detail") for where in ("", "_background")
)
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@torch.no_grad()
def rows(families=tuple(WIDTHS), *, is_shallow=False):
    found = [
        family_rows(family, partial(build, family, is_shallow=is_shallow)) for family in families
    ]
    return [row for some in found for row in some] + mask_rows()


def family_rows(family, make):
    decoupled, joint = make(), make(merge=Merge.JOINT)
    both = random_condition(decoupled, subjects=2, views=2)
    semantic = both._replace(keys={}, values={})
    detail = silent_semantics(both)
    placed = detail._replace(has_layout=torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    crowd = random_condition(decoupled, subjects=3, views=1)._replace(keys={}, values={})
    compared = {
        "semantic branch, 1 subject": (decoupled, only(semantic, 0)),
        "semantic branch, 3 subjects, masks above 1": (decoupled, crowd),
        "detail branch, 2 subjects of 2 references": (decoupled, detail),
        "detail branch, places known": (decoupled, placed),
        "both branches, places known": (decoupled, both._replace(has_layout=placed.has_layout)),
        "joint merge, 2 subjects of 2 references": (joint, detail),
        "joint merge, both branches": (joint, both),
    }
    return [
        *((f"{family}: {name}", whole_unet(*case), BOUND) for name, case in compared.items()),
        *inline_rows(family, make),
        *half_rows(family, make, both),
    ]


def build(family, *, merge=Merge.DECOUPLED, contrast=1.0, is_shallow=False):
    plan = BranchPlan(token_width=WIDTHS[family], merge=merge)
    unet = tiny_unet(family, is_shallow=is_shallow)
    denoiser = UNetDenoiser(unet, plan, reference_step=scaled_linear_step(1))
    draws = torch.Generator().manual_seed(7)
    branches = [*denoiser.installation.semantic.items(), *denoiser.installation.detail.items()]
    for name, branch in branches:
        for part, weight in branch.named_parameters():
            size = weight.shape[1] ** -0.5 if weight.ndim == 2 else 0.5
            if part != "log_sharpness":
                weight.copy_(size * torch.randn(weight.shape, generator=draws))
        denoiser.unet.get_submodule(name).to_q.weight.mul_(contrast)
    return denoiser.eval().requires_grad_(False)


def inputs(denoiser):
    draws = torch.Generator().manual_seed(8)
    width = denoiser.installation.plan.token_width
    states = torch.randn(BATCH, TEXT_LENGTH, width, generator=draws)
    pooled = torch.randn(BATCH, 12, generator=draws)
    latents = torch.randn(BATCH, 4, *CELLS, generator=draws)
    return latents, TextCondition(states, torch.ones(BATCH, TEXT_LENGTH), pooled)


def random_condition(denoiser, *, subjects, views):
    """All values random, other in each row and for each subject; places are there, unused."""
    draws = torch.Generator().manual_seed(9)
    width, ahead = denoiser.installation.plan.token_width, (BATCH, subjects)

    def share(*shape):
        return torch.rand(shape, generator=draws)

    def rows_of(sizes):
        return {
            name: torch.randn(*ahead, views * count, wide, generator=draws)
            for name, (count, wide) in sizes.items()
        }

    latents, _ = inputs(denoiser)
    sizes = reference_sizes(denoiser)
    silent = silent_condition(latents, width=width, num_subjects=subjects)
    return silent._replace(
        identity_tokens=torch.randn(*ahead, NUM_TOKENS, width, generator=draws),
        keys=rows_of(sizes),
        values=rows_of(sizes),
        coverage=share(*ahead, views, *REFERENCE_CELLS).round(),
        affine=torch.stack([to_affine(random_layout(share)) for _ in range(subjects)], dim=1),
        region=share(*ahead, *CELLS),
        class_tokens=share(*ahead, TEXT_LENGTH).round(),
        text_scale=0.5 + share(BATCH),
        text_background_scale=0.5 + share(BATCH),
        **{name: 0.2 + share(*ahead) for name in STRENGTHS},
    )


def random_layout(share):
    return Layout(
        centre=0.3 + 0.4 * share(BATCH, 2),
        scale=0.5 + 0.5 * share(BATCH),
        rotation=share(BATCH),
        flip=share(BATCH).round(),
        pose=torch.zeros(BATCH, 4),
    )


def reference_sizes(denoiser):
    _, text = inputs(denoiser)
    latents = torch.zeros(BATCH, 4, *REFERENCE_CELLS)
    notes = run(denoiser, latents, text, silent_condition(latents, width=denoiser_width(denoiser)))
    return {name: notes[1][name].shape[1:] for name in denoiser.installation.detail}


def denoiser_width(denoiser):
    return denoiser.installation.plan.token_width


def run(denoiser, latents, text, attention):
    """Our output (B, C, h, w) and the notes of the call."""
    notes = {}
    return denoiser(latents, 999, text, whole(attention), notes).sample, notes


def whole(attention):
    nothing = attention.region.new_zeros(BATCH, 1, 0)
    return SubjectCondition(attention, pooled=nothing, aligned=nothing, pose=nothing)


def only(condition, subject):
    apart = ("identity_tokens", "coverage", "affine", "has_layout", "region", "class_tokens")
    chosen = {name: getattr(condition, name)[:, [subject]] for name in (*apart, *STRENGTHS)}
    return condition._replace(**chosen)


def without_detail(condition):
    """The condition of a single reference without features for the detail branch."""
    return condition._replace(keys={}, values={}, coverage=condition.coverage[:, :, :1])


def silent_semantics(condition):
    off, ones = torch.zeros_like(condition.identity_scale), torch.ones(BATCH)
    return condition._replace(
        identity_scale=off,
        identity_background_scale=off,
        text_scale=ones,
        text_background_scale=ones,
    )


def largest(found, expected):
    assert found.shape == expected.shape
    return float((found.double() - expected).abs().max() / expected.abs().max())


def whole_unet(denoiser, condition):
    latents, text = inputs(denoiser)
    found, _ = run(denoiser, latents, text, condition)
    expected, _ = dense.dense_output(denoiser, latents, 999, text, whole(condition))
    width = denoiser_width(denoiser)
    bare, _ = run(denoiser, latents, text, silent_condition(latents, width=width))
    assert largest(bare, expected) > 100 * BOUND  # else equality would say nothing
    return largest(found, expected)


def inline_rows(family, make):
    denoiser = make(contrast=CONTRAST).double()  # sharp attention enlarges rounding
    latents, text = inputs(denoiser)
    latents = CONTRAST * latents  # so that places differ by more than the timestep says of all
    condition = random_condition(denoiser, subjects=2, views=2)
    named = torch.zeros(BATCH, 2, TEXT_LENGTH)
    named[:, 1, 3] = 1
    condition = condition._replace(  # few tokens for each, so that attention to them varies
        identity_tokens=condition.identity_tokens[:, :, :1],
        class_tokens=named,
        is_inline=torch.tensor([0.0, 1.0]),
    )
    compared, spread = [], 0.0
    for subjects in (1, 2):
        chosen = condition if subjects == 2 else without_detail(only(condition, 0))
        found, notes = run(denoiser, latents, text, chosen)
        expected, call = dense.dense_output(denoiser, latents, 999, text, whole(chosen))
        masks = torch.from_numpy(call.found)
        spread = max(spread, float((masks[1].amax((1, 2)) - masks[1].amin((1, 2))).max()))
        name = f"{family}: inline mask, subjects: {subjects}"
        compared += [
            (f"{name}, the mask", largest(notes[INLINE_MASK], masks), INLINE_BOUND),
            (f"{name}, the output", largest(found, expected), INLINE_BOUND),
        ]
    assert spread > 0.3  # not all masks are flat
    return compared


def half_rows(family, make, condition):
    """Half precision against float32, in parts where a joint merge sees no reference at all."""
    outside = torch.zeros_like(condition.detail_background_scale)
    shown = condition._replace(detail_background_scale=outside, region=condition.region.round())
    compared = []
    for merge in Merge:
        denoiser = make(merge=merge)
        expected = run(denoiser, *inputs(denoiser), shown)[0].double()
        for name, dtype in HALVES.items():
            found, _ = run(copy.deepcopy(denoiser).to(dtype), *inputs(denoiser), shown)
            row = f"{family}: both branches in {name}, {merge} merge"
            compared.append((row, largest(found, expected), HALF_BOUND))
    return compared


def mask_rows():
    return [
        *(
            (f"masks: {old} resampled to {new}", resampled(old, new), MASK_BOUND)
            for old in SIZES
            for new in SIZES
            if old != new
        ),
        ("masks: 60 attention maps, each by its own statistics", single_maps(), MASK_BOUND),
    ]


def resampled(old, new):
    fields = torch.rand(2, 1, *old, generator=torch.Generator().manual_seed(10))
    expected = np.stack([dense.resample(field, new) for field in fields[:, 0].double().numpy()])
    return float(np.abs(resize_mask(fields, new)[:, 0].double().numpy() - expected).max())


def maps_like(*shape, seed):
    """Attention in (0, 1) with a little or a lot of structure."""
    draws = torch.Generator().manual_seed(seed)
    steepness = 0.05 * 4 ** (seed % 4)
    return torch.sigmoid(steepness * torch.randn(shape, generator=draws) - 1)


def single_maps():
    worst, flat = 0.0, 0
    for seed in range(60):
        maps = maps_like(3, 1, 8 + seed % 5, 10, seed=seed)
        found = attention_to_mask(maps)[:, 0].double().numpy()
        expected = np.stack([dense.mask_of_map(field) for field in maps[:, 0].double().numpy()])
        worst, flat = max(worst, np.abs(found - expected).max()), flat + int((expected == 1).all())
    assert 0 < flat < 60  # some show nothing, and are all ones
    return float(worst)
