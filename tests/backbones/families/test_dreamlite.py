"""DreamLite, tiny and random: the picture beside its own, regions, edits, folders, engines."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from PIL import Image

from swiftpie import CapabilityError, ConfigError, InputError, SwiftPiePipeline, WeightsError
from swiftpie.backbones.components import load_components
from swiftpie.backbones.families.dreamlite import HalvesAttention
from swiftpie.engine.cache import tensor_bytes
from swiftpie.engine.graphs import int8
from swiftpie.engine.graphs.functions import outline
from swiftpie.engine.graphs.int8 import denoiser_calls
from swiftpie.engine.graphs.networks import to_openvino
from swiftpie.engine.graphs.runtime import Precision
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import offload, transform
from swiftpie.engine.wrappers import WrappedDenoiser
from swiftpie.geometry.layout import whole_frame
from swiftpie.guidance.cfg import ClassifierFree
from swiftpie.imageio.images import to_tensor
from swiftpie.pipelines.drawing.request import Subject
from swiftpie.pipelines.drawing.settings import EditMethod, EditSettings
from swiftpie.types import IdentityBranch
from tests.backbones.tiny_dreamlite import make_pipeline
from tests.parity.dreamlite import (
    FRAME_PX,
    PRESET,
    PROMPT,
    SEED,
    SILENT,
    levels,
    open_theirs,
    ours,
    reference,
    theirs,
)
from tests.parity.pipelines import subject

SQUARE, LEFT = (FRAME_PX, FRAME_PX), (0.0, 0.0, 0.25, 1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("dreamlite") / "pipeline")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


@pytest.fixture(scope="module")
def shown(session):
    return session.encode_identity(reference(), cutout="none")


def change(session, subjects, plain, **changes):
    """How much each pixel changes against a picture from text alone, (H, W)."""
    drawn = ours(session, subjects, SQUARE, [SEED], **changes)[0]
    return np.abs(np.int16(drawn) - np.int16(plain)).max(axis=2)


def test_times_follow_the_size(session):
    components = session.components
    large = components.sized((256, 256)).schedule.steps
    assert large[1].timestep > components.sized((8, 8)).schedule.steps[1].timestep + 100
    assert components.sized((128, 128)) is components


def test_a_strength_of_0_is_the_picture_of_the_text(session, shown):
    plain = ours(session, shown, SQUARE, [SEED], scales=SILENT)[0]
    nowhere = Subject(shown, mask=torch.zeros(1, 1, *SQUARE))
    assert change(session, [nowhere], plain).max() == 0
    assert change(session, [Subject(shown, scale=0.0)], plain).max() == 0
    assert change(session, [], plain).max() == 0
    assert change(session, [Subject(shown)], plain).max() > 2


def test_a_reference_changes_its_region_more_than_the_rest(session, shown):
    plain = ours(session, shown, SQUARE, [SEED], scales=SILENT)[0]
    result = session.personalize([Subject(shown, box=LEFT)], PROMPT, seed=SEED, mask="box")
    assert result.branches == (IdentityBranch.ALIGNED,)
    found = change(session, [Subject(shown, box=LEFT)], plain, mask="box")
    assert found[:, :16].mean() > 3 * found[:, 32:].mean()


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


def test_an_edit_leaves_every_pixel_outside_of_its_mask(session):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 112, 3), np.uint8))
    mask = torch.zeros(1, 1, 80, 112)
    mask[..., 20:60, 30:80] = 1
    edited = session.edit(photo, "make it night", mask=mask, seed=1)
    moved = np.abs(np.int16(edited.image) - np.int16(photo)).max(axis=2)
    inside = mask[0, 0].numpy() > 0
    assert moved[~inside].max() == 0
    assert moved[inside].mean() > 5
    assert edited.branches == (IdentityBranch.ALIGNED,)
    other = session.edit(Image.new("RGB", (112, 80)), "make it night", mask=mask, seed=1)
    assert levels([edited.edited], [other.edited]) > 2  # the picture is read


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
        ("generate", text.encode([PROMPT]), text.alone),
        ("edit", text.encode_beside([PROMPT], seen), text.beside),
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
    assert order == text.beside.dropped
    assert picture > (text.seen_px // 32) ** 2
    assert first == second
    session.edit(reference(shift=9), "a cat", seed=SEED)
    assert looks == [1, 1]
    assert lengths[4:] == [picture, first]


def test_guidance_joins_prompts_of_other_lengths(session, shown):
    guided = {"guidance": ClassifierFree((1.5, 1.0, 1.0, 1.0))}
    drawn = ours(session, shown, SQUARE, [SEED], **guided)
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) > 1


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (InputError, "A keyword came", {"keyword": "dog"}),
        (InputError, "image_pad", {"prompt": "a <|image_pad|> cat"}),
        (CapabilityError, "no inversion network", {"method": EditMethod.INVERSION}),
    ],
)
def test_edits_that_it_cannot_do_are_refused(session, error, message, changes):
    settings = EditSettings(method=changes.pop("method", None))
    prompt = changes.pop("prompt", "a cat")
    with pytest.raises(error, match=message):
        session.edit(reference(), prompt, settings=settings, **changes)


def test_more_pictures_than_it_stands_beside_are_refused(session, shown):
    two = session.encode_identity([reference(), reference(shift=20)], cutout="none")
    for subjects in ([Subject(two)], [Subject(shown), Subject(shown)]):
        with pytest.raises(InputError, match="Give one subject with one picture"):
            session.personalize(subjects, PROMPT, seed=SEED)
    with pytest.raises(CapabilityError, match="Give a box or a mask"):
        session.personalize(shown, PROMPT, mask="inline")
    with pytest.raises(CapabilityError, match="Say in the prompt of an edit"):
        session.insert(reference(), shown)


def test_long_prompts_are_cut_with_a_log(session, caplog):
    text = session.components.text
    long, longer = (text.encode(["x" * count]) for count in (300, 400))
    assert "cut to 200 tokens" in caplog.text
    assert torch.equal(long.hidden_states, longer.hidden_states)
    assert long.attention_mask.sum() == 200


@pytest.mark.thorough
def test_identities_and_pipelines_go_to_files_and_back(session, shown, tmp_path):
    drawn = ours(session, shown, SQUARE, [SEED])
    session.save_identity(shown, tmp_path / "one.safetensors")
    again = session.load_identity(tmp_path / "one.safetensors")
    assert levels(drawn, ours(session, again, SQUARE, [SEED])) == 0
    made = SwiftPiePipeline.from_components(session.components)
    made.save_pretrained(tmp_path / "saved")
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved")
    for pipe in (made, loaded):
        pipe.set_progress_bar_config(disable=True)
        picture = pipe(prompt=PROMPT, subjects=shown, seeds=[SEED]).images[0]
        assert levels(drawn, [picture]) == 0


@pytest.mark.thorough
def test_a_pipeline_of_diffusers_is_shared_and_goes_on_as_it_was(session, shown, place):
    whole = open_theirs(place)
    before, processors = theirs(whole, SQUARE, [SEED]), dict(whole.unet.attn_processors)
    shared = SwiftPiePipeline.from_pipe(whole, preset="dreamlite-mobile")
    shared.set_progress_bar_config(disable=True)
    assert shared.unet.conv_in.weight is whole.unet.conv_in.weight
    drawn = shared(prompt=PROMPT, subjects=shown, seeds=[SEED], height=64, width=64).images
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) == 0
    assert dict(whole.unet.attn_processors) == processors
    assert levels(before, theirs(whole, SQUARE, [SEED])) == 0


def test_networks_that_wait_in_their_files_draw_the_same(session, shown, place):
    away = offload.apply(load_components(PRESET, weights=place, offloads=True))
    assert not any(weight.isfinite().all() for weight in away.text.encoder.parameters())
    drawn = ours(Session(away), shown, SQUARE, [SEED])
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) == 0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"adapter": "a.safetensors"}, "takes no `adapter=`"),
        ({"detail": "adapter"}, "Choose joint or none"),
        ({"steps": 2}, "cannot draw in 2 steps"),
    ],
)
def test_choices_that_it_does_not_leave_are_refused(place, choices, message):
    with pytest.raises(ConfigError, match=message):
        load_components(PRESET, weights=place, **choices)


def test_without_its_right_half_it_reads_no_subject(place):
    blind = Session(load_components(PRESET, weights=place, detail="none"))
    with pytest.raises(CapabilityError, match="cannot personalize"):
        blind.encode_identity(subject())


def test_a_folder_with_parts_of_others_is_refused(place, tmp_path):
    copied = shutil.copytree(place, tmp_path / "copied")
    config = copied / "unet" / "config.json"
    config.write_text(config.read_text().replace('"encoder_hid_dim": 16', '"encoder_hid_dim": 8'))
    with pytest.raises(WeightsError, match="width of the text is 16, and 8"):
        load_components(PRESET, weights=copied)
    (copied / "tokenizer" / "tokenizer.json").write_text("{")
    config.write_text(config.read_text().replace('"encoder_hid_dim": 8', '"encoder_hid_dim": 16'))
    with pytest.raises(WeightsError, match="is damaged"):
        load_components(PRESET, weights=copied)


@pytest.mark.thorough
def test_what_calibrates_8_bits_meets_each_kind_of_call(session, shown, monkeypatch):
    """From words, beside a subject, and beside a photograph: other prompts, other frames."""
    monkeypatch.setattr(int8, "MOST_CALLS", int8.LEAST_CALLS)
    components = session.components
    for draw in (
        lambda one: ours(one, shown, SQUARE, [SEED], scales=SILENT),
        lambda one: ours(one, shown, SQUARE, [SEED]),
        lambda one: one.edit(reference(), "make it night", seed=SEED),
    ):
        recorder = Recording(components.denoiser)
        draw(Session(replace(components, denoiser=recorder)))
        assert denoiser_calls(components, outline(recorder.calls[0]))


@pytest.mark.thorough
def test_layers_that_compute_less_draw_the_same(session, shown):
    drawn = ours(Session(transform(session.components, "folded-upsampling")), shown, SQUARE, [SEED])
    assert levels(drawn, ours(session, shown, SQUARE, [SEED])) <= 1


@pytest.mark.slow
def test_openvino_draws_and_edits_the_same(session, shown, tmp_path):
    exact = to_openvino(session.components, precision=Precision.SINGLE, folder=tmp_path)
    assert exact.text.encoder is session.components.text.encoder
    drawn = ours(Session(exact), shown, SQUARE, [SEED], mask="box", box=LEFT)
    assert levels(drawn, ours(session, shown, SQUARE, [SEED], mask="box", box=LEFT)) <= 2
    edited = [one.edit(reference(), PROMPT, seed=SEED).edited for one in (Session(exact), session)]
    assert levels(edited[:1], edited[1:]) <= 2


def test_an_engine_that_thins_attention_is_refused(session):
    with pytest.raises(CapabilityError, match="keeps the attention"):
        transform(session.components, "token-downsampling")


class Recording(WrappedDenoiser):
    """A denoiser that keeps what it is called with."""

    def __init__(self, inner):
        super().__init__(inner)
        self.calls = []

    def _predict(self, call):
        self.calls.append(call)
        return super()._predict(call)
