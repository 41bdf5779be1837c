from importlib.resources import files

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

import swiftpie
from swiftpie import MaskSource, Scales
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.engine.transforms.compile import compiled, graphs_of
from swiftpie.pipelines.settings import EditMode, EditSettings
from tests.pipelines.tiny_editor import tiny_editor

SPRITES = ("1f439.webp", "1f916.webp")
MAX_LEVELS = 1  # of 255


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def identities(session):
    folder = files("swiftpie") / "assets" / "samples"
    return [session.encode_identity((folder / name).read_bytes()) for name in SPRITES]


def calls(identities):
    first, second = identities
    return [
        (first, "a subject on a beach", {"seed": 1}),
        (second, "a subject in the snow", {"seed": 2, "scales": Scales(identity_scale=0.5)}),
        (
            first,
            "a subject at night",
            {"seed": 3, "scales": Scales(detail_scale=0.0, background_scale=0.3)},
        ),
        (second, "a subject in space", {"seed": 4, "mask": MaskSource.INLINE}),
    ]


def double(numbers):
    return 2 * numbers


def pixels(session, call):
    identity, prompt, settings = call
    side = session.components.preset.image_size_px  # else that of the place
    result = session.personalize(identity, prompt, size=(side, side), **settings)
    return np.asarray(result.images[0], dtype=np.int16)


def assert_one_graph(plain, made, identities):
    """Draw all calls with both sessions; after the first, compiling is an error."""
    for number, call in enumerate(calls(identities)):
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            found = pixels(made, call)
        assert np.abs(found - pixels(plain, call)).max() <= MAX_LEVELS


@pytest.mark.slow
def test_identities_masks_scales_and_steps_share_a_graph(identities):
    plain = swiftpie.load("mini", steps=2)
    counter = CompileCounter()
    made = Session(compiled(plain.components, backend=counter))
    assert_one_graph(plain, made, identities)
    assert counter.frame_count == 2  # denoiser and decoder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # inductor's own
def test_they_share_the_graph_that_people_get(session, identities):
    made = Session(transform(session.components, ["compile", "folded-upsampling"]))
    assert_one_graph(session, made, identities)


def test_encoding_identities_compiles_nothing(session, sprite, identity):
    counter = CompileCounter()
    made = Session(compiled(session.components, backend=counter))
    found = made.encode_identity(sprite)
    assert all(torch.equal(found.keys[name], identity.keys[name]) for name in identity.keys)
    assert counter.frame_count == 0


@pytest.mark.thorough
def test_an_edit_as_released_runs_without_the_graph(sprite):
    counter = CompileCounter()
    plain = tiny_editor()
    made = Session(compiled(plain, backend=counter))
    arguments = (sprite.convert("RGB"), "a dog on the sofa")
    given = {"source_prompt": "a cat", "seed": 0, "settings": EditSettings(mode=EditMode.RELEASED)}
    found = made.edit(*arguments, **given).image
    expected = Session(plain).edit(*arguments, **given).image
    assert np.abs(np.int16(found) - np.int16(expected)).max() <= MAX_LEVELS
    assert counter.frame_count == 1  # the decoder


def test_more_sizes_than_pytorch_compiles_run_without():
    counter, limit = CompileCounter(), torch._dynamo.config.recompile_limit
    call = graphs_of(double, {"backend": counter})
    for size in (*range(2, limit + 6), 3):
        assert torch.equal(call(torch.ones(size)), torch.full((size,), 2.0))
    assert counter.frame_count == limit
