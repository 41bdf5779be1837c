"""What every implementation of subject-driven drawing has to satisfy, through public functions."""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from swiftpie import MaskSource, Scales, Subject
from swiftpie.attention.condition import silent_condition
from swiftpie.attention.processors import Merge
from swiftpie.backbones.load.weights import align_memory
from swiftpie.noise import draw_noise
from tests.parity import tiny
from tests.parity.tiny import FAMILIES, PROMPT, calls_of, difference, draw, picture, tiny_session

BOUND = 1e-5  # of the largest latent
EXACT = 0.0
JOINT_BOUND = 1e-4
OFF = Scales(identity_scale=0.0, detail_scale=0.0)
LEFT = torch.zeros(1, 1, 16, 16)
LEFT[..., :8] = 1
BOXES = ((0.03, 0.3, 0.43, 0.7), (0.57, 0.35, 0.95, 0.73))  # apart, and not each other's mirror


@torch.no_grad()
def rows(families=("mini", *FAMILIES), *, is_shallow=False):
    compared = []
    for family in families:
        with tempfile.TemporaryDirectory() as folder:
            found = family_rows(family, Path(folder), is_shallow=is_shallow)
        named = [(f"{family}: {name}", largest, bound) for name, largest, bound in found]
        compared += sorted(named, key=lambda row: int(row[0].split(": ")[1].split()[0]))
    return compared


def family_rows(family, folder, *, is_shallow):
    session = tiny_session(family, folder / "own", is_shallow=is_shallow)
    one, other = (session.encode_identity(picture(number)) for number in (0, 1))
    shown = [draw(session, identity).latents for identity in (one, other)]
    assert difference(*shown) > 100 * BOUND  # else equality would say nothing
    compared = [
        *switched_off(session, one, folder),
        *two_subjects(session, one, other),
        *views(session, one),
        *repeated(session, one, other),
    ]
    if family == "mini":
        return compared
    joint = tiny_session(family, folder / "joint", is_shallow=is_shallow, merge=Merge.JOINT)
    return [*compared, *joint_merge(joint, folder / "joint")]


def bare(session, identity, folder):
    """Latents of the bare U-Net, with processors of diffusers, at seed 0."""
    components = session.components
    noise = draw_noise([0], (components.preset.latent_channels, 16, 16))
    start = components.schedule.initial_latents(noise)
    text = components.text.encode([PROMPT])
    if components.preset.name == "mini":
        _, [(_, _, _, condition, _)] = calls_of(session, identity, scales=OFF)
        silent = silent_condition(noise, width=identity.tokens.shape[-1])
        placed = silent._replace(
            affine=condition.attention.affine, has_layout=condition.attention.has_layout
        )
        without_subject = condition._replace(attention=placed)
        denoiser = copy.deepcopy(components.denoiser)
        denoiser.installation.undo()
        predicted = denoiser(start, 999, text, without_subject, {}).sample
    else:
        unet = UNet2DConditionModel.from_pretrained(folder / "pipeline" / "unet")
        align_memory(unet)  # where weights lie in a mapped file decides about the last bit
        added = {"text_embeds": text.pooled, "time_ids": torch.tensor([[128, 128, 0, 0, 128, 128]])}
        predicted = unet(start, 999, text.hidden_states, added_cond_kwargs=added).sample
    return components.schedule.advance(start, predicted, 0)


def switched_off(session, identity, folder):
    expected = bare(session, identity, folder / "own")
    off = draw(session, identity, scales=OFF, mask=LEFT).latents
    silent = replace(session.components, denoiser=copy.deepcopy(session.components.denoiser))
    for branch in silent.denoiser.installation.detail.values():
        branch.gate.zero_()
    gated = tiny.Session(silent)
    scales = Scales(detail_scale=3.0, background_scale=0.5)
    plain = replace(identity, keys={}, values={})
    return [
        ("1 all scales 0, the bare U-Net", difference(off, expected), EXACT),
        (
            "2 gates 0, no detail branch",
            difference(*(draw(gated, who, scales=scales).latents for who in (identity, plain))),
            EXACT,
        ),
    ]


def two_subjects(session, one, other):
    right = LEFT.flip(-1)
    first, second = (
        Subject(who, box=box, mask=mask, name=name)
        for who, box, mask, name in zip(
            (one, other), BOXES, (LEFT, right), ("cube", "cat"), strict=True
        )
    )
    swapped = [draw(session, pair).latents for pair in ([first, second], [second, first])]
    gone = replace(second, mask=torch.zeros_like(LEFT))
    alone = draw(session, [first]).latents
    assert difference(swapped[0], alone) > 100 * BOUND
    removed = [draw(session, pair).latents for pair in ([first, gone], [gone, first])]
    return [
        ("8 two subjects swapped with their masks", difference(*swapped), BOUND),
        ("8 empty mask, second subject gone", difference(removed[0], alone), BOUND),
        ("8 empty mask, first subject gone", difference(removed[1], alone), BOUND),
    ]


def views(session, identity):
    many = session.encode_identity([picture(0)] * 3)
    return [
        (
            f"9 three identical references, mask {source}",
            difference(*(draw(session, who, mask=source).latents for who in (many, identity))),
            BOUND,
        )
        for source in (MaskSource.NONE, MaskSource.INLINE)
    ]


def repeated(session, one, other):
    both = session.encode_identity([picture(1), picture(2)])
    twice = session.encode_identity([picture(0)] * 2)
    padded, explicit = (
        draw(session, [Subject(who, box=BOXES[0]), Subject(both, box=BOXES[1])]).latents
        for who in (one, twice)
    )
    longer = replace(other, tokens=other.tokens.repeat(1, 3, 1))
    return [
        ("10 fewer references than the other subject", difference(padded, explicit), BOUND),
        (
            "10 identity tokens three times",
            difference(*(draw(session, who).latents for who in (longer, other))),
            BOUND,
        ),
    ]


def joint_merge(session, folder):
    identity = session.encode_identity(picture(0))
    expected = bare(session, identity, folder)
    found = {
        "0": draw(session, identity, scales=OFF).latents,
        "a millionth": draw(session, identity, scales=replace(OFF, detail_scale=1e-6)).latents,
    }
    loud = draw(session, identity, scales=replace(OFF, detail_scale=1.0)).latents
    assert difference(loud, expected) > 10 * JOINT_BOUND
    compared = [
        (f"4 joint merge at scale {name}, the bare U-Net", difference(one, expected), JOINT_BOUND)
        for name, one in found.items()
    ]
    many = [(f"{name}, joint merge", *rest) for name, *rest in views(session, identity)]
    return compared + many
