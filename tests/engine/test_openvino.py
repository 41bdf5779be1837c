import copy
import logging
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch.backends.cpu import get_cpu_capability

from swiftpie.attention.condition import INLINE_MASK
from swiftpie.attention.install import BranchPlan, install_released
from swiftpie.engine.graphs.cache import GraphCache, GraphStore
from swiftpie.engine.graphs.runtime import Precision, digest_of
from swiftpie.engine.openvino import OpenvinoDenoiser, to_openvino
from swiftpie.errors import CapabilityError
from swiftpie.models.denoiser import SubjectCondition, UNetDenoiser
from swiftpie.noise import scaled_linear_step
from swiftpie.places.scene_network import scene_relighter
from tests.attention.test_compile import random_call
from tests.tiny.networks import WIDTH, tiny_unet

TOLERANCE = 2e-5  # both compute in float32, in another order
ONE_LEVEL = {  # export takes seconds, and longer with each layer that attends
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
    "block_out_channels": (32,),
    "attention_head_dim": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def exact(session, folder):
    if platform.machine() in {"x86_64", "AMD64"} and get_cpu_capability() == "DEFAULT":
        pytest.skip("OpenVINO compiles group normalization for processors with AVX2 alone")
    return to_openvino(session.components, precision=Precision.SINGLE, folder=folder)


@pytest.fixture(scope="module")
def torch_denoiser():
    unet = tiny_unet("plain", **ONE_LEVEL)
    plan = BranchPlan(token_width=WIDTH, gate=0.5)
    denoiser = UNetDenoiser(unet, plan, reference_step=scaled_linear_step(1))
    return denoiser.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def denoiser(torch_denoiser, folder):
    graphs = GraphCache(GraphStore(folder), settings="", precision=Precision.SINGLE)
    return OpenvinoDenoiser(torch_denoiser, graphs, weights=digest_of(torch_denoiser))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exports(caplog):
    return [
        record.getMessage() for record in caplog.records if "is exported" in record.getMessage()
    ]


def call_of(denoiser, number, batch=1):
    """Arguments of one call; other numbers differ in every value."""
    sizes = {"channels": 4, "width": WIDTH, "aligned": 0}
    noted = {}
    denoiser(*random_call(0, keys={}, **sizes), noted)
    keys = {name: noted[name].shape[1:] for name in denoiser.installation.detail}
    latents, timestep, text, condition = random_call(number, keys=keys, **sizes)
    return repeated(latents, batch), timestep, repeated(text, batch), repeated(condition, batch)


def repeated(value, batch):
    if isinstance(value, torch.Tensor):
        return value.expand(batch, *value.shape[1:])
    if isinstance(value, dict):
        return {name: repeated(one, batch) for name, one in value.items()}
    return value and type(value)(*(repeated(part, batch) for part in value))


@pytest.mark.slow
@torch.no_grad()
def test_one_exported_denoiser_serves_all_values(torch_denoiser, denoiser, caplog):
    samples = []
    with caplog.at_level(logging.INFO):
        for number in range(4):
            call = call_of(torch_denoiser, number)
            notes, plain_notes = {}, {}
            found, expected = denoiser(*call, notes), torch_denoiser(*call, plain_notes)
            assert (found.sample - expected.sample).abs().max() < TOLERANCE
            assert torch.equal(found.subject_mask, expected.subject_mask)
            assert (notes[INLINE_MASK] - plain_notes[INLINE_MASK]).abs().max() < TOLERANCE
            samples.append(found.sample)
    assert len(exports(caplog)) == 1
    assert all((samples[0] - other).abs().max() > 0.01 for other in samples[1:])


@pytest.mark.thorough
@torch.no_grad()
def test_the_next_process_exports_nothing(torch_denoiser, denoiser, folder, caplog):
    call = call_of(torch_denoiser, 5)
    expected = denoiser(*call, {})
    graphs = GraphCache(GraphStore(folder), settings="", precision=Precision.SINGLE)
    again = OpenvinoDenoiser(torch_denoiser, graphs, weights=digest_of(torch_denoiser))
    with caplog.at_level(logging.INFO):
        assert torch.equal(again(*call, {}).sample, expected.sample)
    assert not exports(caplog)
    assert [*folder.glob("*/compiled/*.blob")]  # it compiles nothing either


@pytest.mark.thorough
@torch.no_grad()
def test_threads_do_not_meet(torch_denoiser, denoiser):
    calls = [call_of(torch_denoiser, number) for number in range(6)]
    expected = [denoiser(*call, {}).sample for call in calls]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda call: denoiser(*call, {}).sample, calls * 3))
    assert all(torch.equal(a, b) for a, b in zip(found, expected * 3, strict=True))


@pytest.mark.slow
@torch.no_grad()
def test_other_attention_is_another_graph(torch_denoiser, denoiser):
    call = call_of(torch_denoiser, 1, batch=2)
    one_subject = call[3].attention._replace(
        **{
            name: value[:, :1]
            for name, value in call[3].attention._asdict().items()
            if isinstance(value, torch.Tensor) and value.ndim > 1  # else it is no subject's
        },
        keys={},
        values={},
    )
    condition = SubjectCondition(one_subject, *(part[:, :1] for part in call[3][1:4]))
    arguments = (call[0], call[1], call[2], condition)
    before = denoiser(*arguments, {})
    other, plain_other = copy.deepcopy(denoiser), copy.deepcopy(torch_denoiser)
    install_released(other.installation)
    install_released(plain_other.installation)
    found = other(*arguments, {}).sample
    assert (found - plain_other(*arguments, {}).sample).abs().max() < TOLERANCE
    assert (found - before.sample).abs().max() > 0.01
    assert torch.equal(denoiser(*arguments, {}).sample, before.sample)


def light(run):
    noise, scene = draw(1, 32, 32, 32), draw(1, 3, 256, 256, seed=1).clamp(-1, 1)
    return [run(scene_relighter(), noise, scene, *(torch.tensor([n]) for n in (3, 2, 1, 0)))]


@pytest.mark.parametrize(
    ("compute", "tolerance"),
    [
        (lambda components: components.text.encode(["a dragon in the snow"]), 10 * TOLERANCE),
        pytest.param(
            *(lambda components: [components.autoencoder.decode(draw(1, 32, 4, 4))], TOLERANCE),
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            *(lambda components: light(components.engine.run), 10 * TOLERANCE),
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["prompts", "pictures", "scenes"],
)
@torch.no_grad()
def test_what_is_computed_is_alike(session, exact, compute, tolerance):
    found, expected = compute(exact), compute(session.components)
    assert type(found) is type(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < tolerance


def test_other_weights_have_another_digest(torch_denoiser):
    changed = copy.deepcopy(torch_denoiser)
    assert digest_of(changed) == digest_of(torch_denoiser)
    next(changed.parameters())[0] += 1e-6
    assert digest_of(changed) != digest_of(torch_denoiser)


def test_quantised_networks_are_refused(session):
    class Packed(torch.Tensor):
        """What torchao replaces weights by."""

    packed = copy.deepcopy(session.components.denoiser)
    packed.register_buffer("weight", torch.zeros(2).as_subclass(Packed))
    with pytest.raises(CapabilityError, match="Packed"):
        to_openvino(replace(session.components, denoiser=packed))
