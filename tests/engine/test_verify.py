"""Pictures by diffusers and by SwiftPie beside each other, on tiny random weights."""

from dataclasses import replace

import pytest
import torch

from swiftpie.backbones.components import load_components
from swiftpie.backbones.peers import NUM_FRAMES
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.engine.verify import compare, draw_ours, draw_theirs, read_subject
from tests.tiny.folders import choices_in, make_model, make_motion

SIDE_PX = 64
ALL_EQUAL = {"text alone": True, "the subject": True, "strengths of 0": True}
PRESET = replace(PRESETS.get("sd-turbo"), image_size_px=SIDE_PX)


@pytest.fixture(scope="module")
def choices(models):
    files = choices_in(models / "sd21", "public.safetensors")
    return {**files, "dtype": "float32", "detail": "joint"}


@pytest.fixture(scope="module")
def theirs(choices):
    return drawn_by_diffusers(opened(choices), choices["adapter"])


def drawn_by_diffusers(session, adapter):
    components = session.components
    peer = components.family.peer(components.preset)(components, adapter)
    return draw_theirs(peer, read_subject(session))


def opened(choices, preset=PRESET):
    return Session(load_components(preset, **choices))


def verdicts(theirs, choices, *, preset=PRESET, strength=1.0, change=None, is_exact=True):
    session = opened(choices, preset)
    if change is not None:
        change(session)
    subject = read_subject(session)
    subject = subject._replace(scale=strength * subject.scale)
    ours = draw_ours(session, subject)
    return {row.what: row.is_equal for row in compare(ours, theirs, is_exact=is_exact)}


def transpose_one(session):
    network = session.components.denoiser.installation.network
    layers = (layer for layer in network.modules() if isinstance(layer, torch.nn.Linear))
    square = next(layer for layer in layers if layer.in_features == layer.out_features)
    square.weight.data = square.weight.data.T.contiguous()


def test_both_draw_the_same(theirs, choices):
    assert verdicts(theirs, choices) == ALL_EQUAL


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["motion-lightning-1", "animatelcm"])
def test_both_animate_the_same(tmp_path, name):
    preset = replace(PRESETS.get(name), image_size_px=SIDE_PX)
    folder = make_motion(tmp_path / "motion")
    choices = make_model(tmp_path, "sd15", adapter="public")
    choices |= {"base": choices["weights"], "dtype": "float32", "detail": "joint"}
    weights = folder if preset.lora else folder / "diffusion_pytorch_model.safetensors"
    choices["weights"] = weights
    if preset.lora:
        pytest.importorskip("peft", reason="needs swiftpie[lora]")
    session = opened(choices, preset)
    ours = draw_ours(session, read_subject(session))
    rows = compare(ours, drawn_by_diffusers(session, choices["adapter"]), is_exact=True)
    assert {row.what: row.is_equal for row in rows} == ALL_EQUAL
    assert {row.ours.shape for row in rows} == {(3, SIDE_PX, NUM_FRAMES * SIDE_PX)}


def test_numbers_of_16_bits_leave_it_open(theirs, choices):
    assert set(verdicts(theirs, choices, is_exact=False).values()) == {None}


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        pytest.param({"strength": 1.01}, {"the subject"}, marks=pytest.mark.thorough),
        ({"change": transpose_one}, {*ALL_EQUAL}),
    ],
    ids=["a strength 1 % off", "a projection transposed"],
)
def test_a_fault_is_seen(theirs, choices, fault, seen):
    found = verdicts(theirs, choices, **fault)
    assert {name for name, is_equal in found.items() if is_equal is False} == seen
