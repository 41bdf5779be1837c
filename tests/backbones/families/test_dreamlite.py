import re

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention

from swiftpie import SwiftPiePipeline
from swiftpie.backbones.components import load_components
from swiftpie.backbones.families.dreamlite import ALONE, SEEN_PX, WITH_PICTURE, HalvesAttention
from swiftpie.engine.runner import tensor_bytes
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.geometry.layout import whole_frame
from swiftpie.guidance import ClassifierFree
from swiftpie.imageio.images import to_tensor
from tests.parity.dreamlite import (
    FRAME_PX,
    PRESET,
    PROMPT,
    SEED,
    levels,
    open_theirs,
    ours,
    reference,
    theirs,
)

SQUARE = (FRAME_PX, FRAME_PX)


@pytest.fixture(scope="module")
def place(tiny):
    return tiny("dreamlite")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


@pytest.fixture(scope="module")
def shown(session):
    return session.encode_identity(reference(), cutout="none")


def test_times_follow_the_size(session):
    components = session.components
    large = components.sized((256, 256)).schedule.steps
    assert large[1].timestep > components.sized((8, 8)).schedule.steps[1].timestep + 100
    assert components.sized((128, 128)) is components


def test_a_strength_is_a_factor_on_what_the_reference_weighs():
    """E3, in float64: the weights of reference cells before they are normalised."""
    torch.manual_seed(0)
    layer = Attention(query_dim=12, heads=3, dim_head=4, kv_heads=1, qk_norm="rms_norm").double()
    hidden, strength = torch.randn(2, 6, 12).double(), 0.3
    is_shown = torch.tensor([0.0, 0, 0, 1, 1, 1]).double()
    bias = (np.log(strength) * is_shown).expand(2, 1, 6, 6)
    found = HalvesAttention()(layer, hidden, bias=bias)
    query, key, value = (
        part(hidden).unflatten(-1, (-1, 4)) for part in (layer.to_q, layer.to_k, layer.to_v)
    )
    logits = torch.einsum("bnhd,bmkd->bhnm", layer.norm_q(query), layer.norm_k(key)) / 2
    weights = logits.exp() * torch.where(is_shown > 0, strength, 1.0)
    attended = torch.einsum("bhnm,bmkd->bnhd", weights / weights.sum(-1, keepdim=True), value)
    assert torch.allclose(found, layer.to_out[0](attended.flatten(2)), atol=1e-12)


def test_pictures_of_any_shape_show_the_frame_unstretched(session, shown):
    denoiser, vae = session.components.denoiser, session.components.autoencoder
    seen = []

    class Recorder:
        def encode(self, pixels):
            seen.append(pixels)
            return vae.encode(pixels)

    layout = whole_frame(torch.zeros(1))
    for cells in ((8, 8), (8, 16), (4, 4)):
        frames, there = [torch.cat([shown.pixels, shown.mask], 1)], torch.ones(1, 1)
        denoiser.place_subjects(Recorder(), frames, layouts=[layout], present=there, cells=cells)
    assert torch.allclose(seen[0], shown.pixels, atol=1e-5)
    assert torch.allclose(seen[1][..., 32:96], shown.pixels, atol=1e-5)
    assert seen[1][..., :32].abs().max() == 0
    small = torch.nn.functional.avg_pool2d(shown.pixels, 2)
    assert (seen[2] - small).abs().mean() < 0.05


@torch.no_grad()
def test_prompts_are_read_as_diffusers_reads_them(session, place):
    """The order, the picture and the prompt one after the other, as if at once."""
    pipeline, text = open_theirs(place), session.components.text
    seen = text.look(to_tensor(reference()))
    for mode, found, wording in (
        ("generate", text.encode([PROMPT]), ALONE),
        ("edit", text.encode_with_picture([PROMPT], seen), WITH_PICTURE),
    ):
        said = re.search(rf"(\[{mode.title()}\].*){{}}", wording.template)[1] + PROMPT
        expected, mask = pipeline.encode_prompt(
            mode, [said], torch.device("cpu"), torch.float32, image=reference()
        )
        length = expected.shape[1]
        assert torch.equal(found.attention_mask[:, :length], mask)
        assert torch.allclose(found.hidden_states[:, :length], expected, atol=1e-5)
    assert tensor_bytes(seen) > tensor_bytes(seen.attended) > 0


@torch.no_grad()
def test_a_picture_is_looked_at_once(place):
    session = Session(load_components(PRESET, weights=place))
    lengths, looks, text = [], [], session.components.text
    text.network.visual.register_forward_hook(lambda *_: looks.append(1))
    text.network.language_model.norm.register_forward_hook(
        lambda _, __, states: lengths.append(states.shape[1])
    )
    for prompt in ("a cat", "a dog"):
        session.edit(reference(), prompt, seed=SEED)
    order, picture, first, second = lengths
    assert looks == [1]
    assert order == WITH_PICTURE.dropped
    assert picture > (SEEN_PX // 32) ** 2
    assert first == second
    session.edit(reference(shift=9), "a cat", seed=SEED)
    assert looks == [1, 1]
    assert lengths[4:] == [picture, first]


def test_guidance_joins_prompts_of_other_lengths(session, shown):
    guided = {"guidance": ClassifierFree((1.5, 1.0, 1.0, 1.0))}
    drawn = ours(session, shown, SQUARE, [SEED], **guided)
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) > 1


def test_long_prompts_are_cut_with_a_log(session, caplog):
    text = session.components.text
    long, longer = (text.encode(["x" * count]) for count in (300, 400))
    assert "cut to 200 tokens" in caplog.text
    assert torch.equal(long.hidden_states, longer.hidden_states)
    assert long.attention_mask.sum() == 200


@pytest.mark.thorough
def test_a_pipeline_of_diffusers_is_shared_and_goes_on_as_it_was(session, shown, place):
    whole = open_theirs(place)
    before, processors = theirs(whole, SQUARE, [SEED]), dict(whole.unet.attn_processors)
    shared = SwiftPiePipeline.from_pipe(whole, preset="dreamlite-mobile")
    shared.set_progress_bar_config(disable=True)
    assert shared.unet.conv_in.weight is whole.unet.conv_in.weight
    drawn = shared(prompt=PROMPT, subjects=shown, seeds=[SEED], height=64, width=64).images
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) <= 1  # weights lie elsewhere
    assert dict(whole.unet.attn_processors) == processors
    assert levels(before, theirs(whole, SQUARE, [SEED])) == 0


@pytest.mark.thorough
def test_layers_that_compute_less_draw_the_same(session, shown):
    drawn = ours(Session(transform(session.components, "folded-upsampling")), shown, SQUARE, [SEED])
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) <= 1
