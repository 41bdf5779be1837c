"""Decoupled guidance and attention manipulation, against their equations in float64.

From arXiv:2505.21144. Every row of a step is a network call of its own here, and every map a NumPy
array. Networks are random.
"""

import copy
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention import manipulate
from swiftpie.attention.condition import Block, silent_condition
from swiftpie.attention.processors import SemanticAttention
from swiftpie.guidance import Decoupled
from swiftpie.noise import build_schedule, draw_step_noise
from swiftpie.pipelines.choose import Clock
from swiftpie.pipelines.denoise import denoise
from swiftpie.pipelines.request import Drawable, PersonalizeRequest, Subject
from swiftpie.pipelines.techniques.personalize import prepare_subjects, read_null_text
from tests.parity.attention import build, inputs, random_condition, run
from tests.parity.manipulated import Numbers, ShapedCross, shaped_output
from tests.parity.tiny import PROMPT, difference, picture, tiny_session

BOUND = 1e-5  # of the largest value of the output
STEPS = (999, 749, 499, 249)
CELLS = (8, 12)
SEEDS = (5, 6)
A, B = (1.0, 1.5, 1.5, 1.0), (1.0, 3.0, 3.0, 1.0)
CONTRAST = 4.0  # of queries: random ones attend to all tokens alike

# Changes, their scales by step, and the level that the soft masks compare with.
CHANGES = {
    "power": (manipulate.power, (1.3, 1.2, 0.9, 1.0), {}, 0.0),
    "scale": (manipulate.scale, (1.0, 1.55, 1.45, 25.0), {}, 0.0),
    "soft mask": (manipulate.soft_mask, (7.5, 5.0, 6.0, 4.0), {"quantile": 0.65}, 0.65),
    "fixed soft mask": (manipulate.fixed_soft_mask, (12.5, 10.0, 7.5, 5.0), {"level": 0.4}, 0.4),
}
FORMS = {  # settings of guidance beside its scales
    "rescaled": {},
    "not rescaled": {"rescale": 0.0},
}
GUIDED = {form: Decoupled(A, B, **settings) for form, settings in FORMS.items()}
AM1_NUMBERS = {
    "down_blocks": [("power", 1.3, 0), ("scale", 1.55, 0)],
    "up_blocks": [("power", 1.3, 0), ("scale", 1.45, 0)],
}


@torch.no_grad()
def rows(families=("sd15", "sdxl")):
    return [
        *transform_rows(),
        *(row for family in families for row in preset_rows(family)),
        *(row for family in families for row in guidance_rows(family)),
    ]


@torch.no_grad()
def transform_rows():
    """One layer: each change, with and without what goes around it, in each part and step."""
    compared = []
    for (name, change), part, step in itertools.product(
        CHANGES.items(), (Block.DOWN, Block.UP), range(4)
    ):
        make, scales, options, level = change
        ours = manipulate.Shaping({part: (make(*scales, **options),)})
        theirs = Numbers({part.value: [(name, scales[step], level)]})
        compared.append((f"{name}, {part.value}, step {step}", layer(part, ours, theirs, step)))
        extras = {
            "first token inverted": ({"inverts_first": True}, {"inverts": True}),
            "stabilised": ({"share": 0.7}, {"share": 0.7}),
        }
        for what, (mine, other) in extras.items() if step == 0 else ():
            found = layer(part, replace(ours, **mine), replace(theirs, **other), step)
            compared.append((f"{name}, {part.value}, {what}", found))
    return [(f"layer: {name}", largest, BOUND) for name, largest in compared]


def layer(part, shaping, numbers, step):
    """A layer through our branch and through NumPy: two subjects of two references, masked."""
    draws = torch.Generator().manual_seed(4)

    def draw(*shape):
        return torch.randn(shape, generator=draws)

    def share(*shape):
        return torch.rand(shape, generator=draws)

    attention = Attention(query_dim=24, cross_attention_dim=16, heads=3, dim_head=8)
    name = f"{part.value}.1.attentions.0.transformer_blocks.0.attn2"
    semantic = SemanticAttention(name, inner_width=24, token_width=16)
    for weight in (*attention.parameters(), *semantic.parameters()):
        weight.copy_(draw(*weight.shape) * weight.shape[-1] ** -0.5)
    semantic.to_k_ip.weight.mul_(2)
    condition = silent_condition(draw(2, 4, *CELLS), width=16, num_subjects=2)._replace(
        identity_tokens=draw(2, 2, 8, 16),
        coverage=torch.ones(2, 2, 2, *CELLS),
        class_tokens=torch.zeros(2, 2, 7),
        region=share(2, 2, *CELLS),
        identity_scale=0.5 + share(2, 2),
        identity_background_scale=share(2, 2),
        text_scale=0.5 + share(2),
    )
    states, text = draw(2, CELLS[0] * CELLS[1], 24), draw(2, 7, 16)
    reshaping = shaping.at(step, like=condition.text_scale)
    assert list(reshaping) == [part.value]
    found = semantic(
        attention, states, text, condition=condition._replace(reshaping=reshaping), notes={}
    )
    call = SimpleNamespace(semantic={name: semantic})
    expected = ShapedCross.alone(call, name, condition, CELLS, numbers)(attention, states, text)
    plain = semantic(attention, states, text, condition=condition, notes={})
    # Else equality would say nothing.
    assert numbers.changes_nothing or difference(plain, found) > 100 * BOUND
    return difference(found, expected)


def preset_rows(family):
    denoiser = build(family, contrast=CONTRAST)
    condition = random_condition(denoiser, subjects=2, views=2)
    latents, text = inputs(denoiser)
    compared = []
    for name, (shaping, numbers_at) in presets().items():
        for step in range(4):
            reshaping = shaping.at(step, like=condition.text_scale)
            assert "mid_block" not in reshaping
            found, _ = run(denoiser, latents, text, condition._replace(reshaping=reshaping))
            expected = shaped_output(denoiser, latents, text, condition, numbers_at(step))
            compared.append((f"{family}: {name}, step {step}", difference(found, expected), BOUND))
    return compared


def presets():
    def am2(step, **more):
        steps = [
            ("soft mask", (7.5, 5, 5, 5)[step], 0.65),
            ("scale", (1.0, 1.55, 1.55, 1.55)[step], 0),
        ]
        return Numbers(dict.fromkeys(("down_blocks", "up_blocks"), steps), inverts=True, **more)

    return {
        "AM1": (manipulate.AM1, lambda step: Numbers(AM1_NUMBERS)),  # noqa: ARG005 - the same at each step
        "AM2": (manipulate.AM2, am2),
        "stable AM2": (manipulate.STABLE_AM2, lambda step: am2(step, share=0.7)),
    }


@torch.no_grad()
def guidance_rows(family, names=tuple(GUIDED)):
    with tempfile.TemporaryDirectory() as folder:
        session = tiny_session(family, Path(folder))
    start, text, components = prepared_drawing(session)
    network, compared = copy.deepcopy(components.denoiser).double(), []
    for name in names:
        guidance = GUIDED[name]
        without = read_null_text(components, Drawable(guidance=guidance), rows=len(SEEDS))
        told_all = start._replace(text=text, null_text=without)
        found = denoise(told_all, guidance=guidance).latents
        expected = guided_by_hand(network, components, start, text, guidance)
        compared.append((f"{family}: guidance of {name}", difference(found, expected), BOUND))
    return compared


def prepared_drawing(session):
    schedule = build_schedule(STEPS, "epsilon")
    components = replace(session.components, schedule=schedule)
    identity = session.encode_identity(picture(0))
    text = components.text.encode([PROMPT]).repeat(len(SEEDS))
    request = PersonalizeRequest(
        scene="words",
        subjects=(Subject(identity),),
        prompt=PROMPT,
        noise=draw_step_noise(SEEDS, (4, *CELLS), count=1),
    )
    start = prepare_subjects(components, request, Clock())
    return start, text, components


def guided_by_hand(network, components, start, text, guidance):
    """The same drawing in float64, a call of `network` a row, from the equations."""
    settings, latents = {}, start.latents.double().numpy()
    for name in ("nothing", "text", "identity", "both"):
        has_text, has_identity = name in {"text", "both"}, name in {"identity", "both"}
        settings[name] = (
            text if has_text else null_text(components, text),
            start.condition if has_identity else null_identity(components, start.condition),
        )
    steps = components.schedule.steps
    for index, step in enumerate(steps):
        u, p, q = (
            network(torch.from_numpy(latents), step.timestep, *settings[row], {}).sample.numpy()
            for row in ("nothing", "identity", "both")
        )
        error = combined(u, p, q, guidance, index)
        clean = (latents - step.sigma * error) / step.alpha
        is_last = index + 1 == len(steps)
        alpha, sigma = (1, 0) if is_last else (steps[index + 1].alpha, steps[index + 1].sigma)
        latents = alpha * clean + sigma * error
    return torch.from_numpy(latents)


def combined(u, p, q, guidance, index):
    """The equations of the paper's code, of which rows of weight 0 are left out as we do."""
    a, b = A[index], B[index]
    error = u + a * (p - u) + b * (q - p)
    kept = [row for row, weight in ((p, a - b), (q, b)) if weight]
    spreads = [row.std((1, 2, 3), ddof=1, keepdims=True) for row in kept]
    factor = np.mean(spreads, axis=0) / error.std((1, 2, 3), ddof=1, keepdims=True)
    return error * (guidance.rescale * factor + 1 - guidance.rescale)


def null_text(components, text):
    empty = components.text.encode([""]).repeat(len(SEEDS))
    if components.preset.family != "sdxl":
        return empty
    return type(text)(
        torch.zeros_like(text.hidden_states), text.attention_mask, torch.zeros_like(text.pooled)
    )


def null_identity(components, condition):
    encoder, attention = components.image_encoder, condition.attention
    zeros = torch.zeros(1, encoder.tower.config.projection_dim)
    tokens = encoder.projector(zeros)[:, None].expand_as(attention.identity_tokens)
    off = torch.zeros_like(attention.detail_scale)
    changed = attention._replace(
        identity_tokens=tokens, detail_scale=off, detail_background_scale=off
    )
    return condition._replace(attention=changed)
