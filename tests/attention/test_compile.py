import pytest
import torch
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend

import swiftpie
from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import BranchPlan
from swiftpie.geometry.layout import from_box, to_affine
from swiftpie.models.denoiser import SubjectCondition, UNetDenoiser
from swiftpie.noise import scaled_linear_step
from swiftpie.types import TextCondition
from tests.tiny.networks import WIDTH, tiny_unet

pytestmark = pytest.mark.usefixtures("_fresh_compiler")
NUM_CALLS = 5
SUBJECTS, TEXT_LENGTH = 2, 7
TOLERANCE = 1e-5


def full_size():
    plan = BranchPlan(token_width=WIDTH, gate=0.5)
    denoiser = UNetDenoiser(tiny_unet("plain"), plan, reference_step=scaled_linear_step(1))
    return denoiser.eval().requires_grad_(False)


def random_call(call, *, channels, width, aligned, keys):
    """Arguments of one call in which every value differs from every other call's.

    `keys` is the size (tokens, width) of reference keys by layer.
    """
    draws = torch.Generator().manual_seed(call)

    def draw(*shape):
        return torch.randn(shape, generator=draws)

    def share(*shape):
        return torch.rand(shape, generator=draws)

    latents = draw(1, channels, 16, 16)
    silent = silent_condition(latents, width=width, num_subjects=SUBJECTS)
    left = 0.1 * call
    place = to_affine(from_box((left, 0.2, left + 0.5, 0.8))).expand(1, SUBJECTS, 2, 3)
    scales = {
        name: share(1, SUBJECTS)
        for name in (
            "identity_scale",
            "identity_background_scale",
            "detail_scale",
            "detail_background_scale",
        )
    }
    attention = silent._replace(
        identity_tokens=draw(1, SUBJECTS, 4, width),
        keys={name: draw(1, SUBJECTS, *size) for name, size in keys.items()},
        values={name: draw(1, SUBJECTS, *size) for name, size in keys.items()},
        coverage=share(1, SUBJECTS, 1, 16, 16),
        affine=place.clone(),
        has_layout=torch.full((1, SUBJECTS), float(call % 2)),
        region=share(1, SUBJECTS, 16, 16),
        is_inline=torch.full((1,), float(call % 2)),
        class_tokens=(share(1, SUBJECTS, TEXT_LENGTH) > 0.5).float(),
        text_scale=share(1),
        text_background_scale=share(1),
        **scales,
    )
    text = TextCondition(
        draw(1, TEXT_LENGTH, width), torch.ones(1, TEXT_LENGTH).long(), draw(1, width)
    )
    condition = SubjectCondition(
        attention=attention,
        pooled=draw(1, SUBJECTS, width),
        aligned=share(1, SUBJECTS, aligned, 16, 16),
        pose=torch.zeros(1, SUBJECTS, 4),
    )
    return latents, 999, text, condition


def assert_one_graph(denoiser, backend, **sizes):
    noted = {}
    denoiser(*random_call(0, keys={}, **sizes), noted)
    keys = {name: noted[name].shape[1:] for name in denoiser.installation.detail}
    compiled = torch.compile(denoiser, fullgraph=True, backend=backend)
    outputs = []
    for call in range(NUM_CALLS):
        arguments = random_call(call, keys=keys, **sizes)
        notes, plain_notes = {}, {}
        # After the first call another compilation is an error, so it says by itself why.
        with torch._dynamo.config.patch(error_on_recompile=call > 0):
            found = compiled(*arguments, notes)
        expected = denoiser(*arguments, plain_notes)
        assert (found.sample - expected.sample).abs().max() < TOLERANCE
        assert (found.subject_mask - expected.subject_mask).abs().max() < TOLERANCE
        assert notes.keys() == plain_notes.keys()
        outputs.append(found.sample)
    assert backend.frame_count == 1
    assert all((outputs[0] - other).abs().max() > 0.01 for other in outputs[1:])


@pytest.mark.slow
@torch.no_grad()
def test_a_unet_is_one_graph_for_all_calls_without_side_effects():
    backend = CompileCounterWithBackend("aot_eager")
    assert_one_graph(full_size(), backend, channels=4, width=WIDTH, aligned=0)


@pytest.mark.slow
@torch.no_grad()
def test_the_small_denoiser_is_one_graph_for_all_calls():
    denoiser = swiftpie.load("mini").components.denoiser
    sizes = {"channels": denoiser.config.latent_channels, "width": denoiser.config.text_width}
    assert_one_graph(denoiser, CompileCounter(), aligned=sizes["channels"] + 64, **sizes)
