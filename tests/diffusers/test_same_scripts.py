"""What a script for diffusers calls gives the pixels of diffusers; tiny random weights."""

import inspect
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.loaders import (
    IPAdapterMixin,
    StableDiffusionLoraLoaderMixin,
    TextualInversionLoaderMixin,
)
from safetensors.torch import save_file

from swiftpie import CapabilityError, SwiftEditPipeline, SwiftPiePipeline
from swiftpie.backbones.presets import trailing_timesteps
from swiftpie.noise import draw_noise
from tests.parity.pipelines import their_features
from tests.tiny.adapters import make_lora
from tests.tiny.folders import make_model
from tests.tiny.sessions import components_in, preset_of, subject

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # of diffusers' schedulers
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of peft
]
BOUND = 2e-6  # of pixels in [0, 1]; 7e-7 were seen
PROMPT = "a red cube on the moon"
THEIRS = {"sd21": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("scripts")
    for family in THEIRS:
        shallow = {"is_shallow": family != "sdxl"}  # names of blocks are those of the whole one
        make_model(root / family, family, adapter="public", **shallow)
        for seed, name in enumerate("ab"):
            make_lora(root / family / f"{name}.safetensors", family, seed=seed, **shallow)
    return root


@pytest.fixture
def pair(place):
    """Return our pipeline and diffusers' of a family, with its adapter."""

    def opened(family, *, adapter=True, **changes):
        folder = place / family
        theirs = THEIRS[family].from_pretrained(folder / "pipeline")
        if adapter:
            load = {"weight_name": "public.safetensors", "image_encoder_folder": None}
            theirs.load_ip_adapter(str(folder), subfolder="", **load)
        chosen = {"preset": preset_of(family, **changes)}
        parts = components_in(folder, adapter and "public", **chosen)
        ours = SwiftPiePipeline.from_components(parts)
        theirs.scheduler = ours.scheduler
        return ours, theirs

    return opened


def drawn(pipe, *, steps=1, **options):
    shared = {"num_inference_steps": steps, "guidance_scale": 0.0, "output_type": "np"}
    noise = draw_noise([3], (4, 8, 8))
    call = {"height": 64, "width": 64, "latents": noise, **shared} | options
    return torch.from_numpy(pipe(**{"prompt": PROMPT} | call).images)


def apart(ours, theirs):
    return float((ours - theirs).abs().max())


FORMS = [
    {"up": {"block_0": [0.0, 1.0, 0.0]}},
    {"down": {"block_2": [0.0, 1.0]}, "up": {"block_0": [0.0, 1.0, 0.0]}},
    {"mid": 0.7, "up": {"block_1": 0.5}, "down": 1.0},
    0.6,
]


def test_strengths_by_block_are_those_of_diffusers(pair, place):
    ours, theirs = pair("sdxl")
    embeds = ours.prepare_ip_adapter_image_embeds(subject())
    features = [their_features(place / "sdxl" / "encoder", embeds[0])]
    seen = [drawn(ours, ip_adapter_image_embeds=embeds)]
    for form in FORMS:
        ours.set_ip_adapter_scale(form)
        theirs.set_ip_adapter_scale(form)
        found = drawn(ours, ip_adapter_image_embeds=embeds)
        assert apart(found, drawn(theirs, ip_adapter_image_embeds=features)) < BOUND
        seen.append(found)
    assert min(apart(*two) for two in combinations(seen, 2)) > 100 * BOUND


def test_a_mask_a_picture_says_where_it_acts_as_in_diffusers(pair, place):
    ours, theirs = pair("sd21")
    embeds = ours.prepare_ip_adapter_image_embeds([subject(), subject().rotate(90)])
    encoder = place / "sd21" / "encoder"
    features = torch.cat([their_features(encoder, one) for one in embeds], dim=1)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = ((rows - 20) ** 2 + (columns - 30) ** 2 < 300).float()
    masks = torch.stack([disc, (rows > columns).float()])[:, None]  # they overlap
    kept = [masks.reshape(1, 2, 64, 64)]
    ours.set_ip_adapter_scale([[0.7, 0.4]])
    theirs.set_ip_adapter_scale([[0.7, 0.4]])
    for form in (masks, kept):
        call = {
            "ip_adapter_image_embeds": embeds,
            "cross_attention_kwargs": {"ip_adapter_masks": form},
        }
        found = drawn(ours, **call)
        expected = drawn(
            theirs,
            ip_adapter_image_embeds=[features],
            cross_attention_kwargs={"ip_adapter_masks": kept},
        )
        assert apart(found, expected) < BOUND
    assert apart(found, drawn(ours, ip_adapter_image_embeds=embeds)) > 100 * BOUND


GUIDED = {"guidance_scale": 2.0, "guidance_rescale": 0.7, "negative_prompt": "a blue moon"}
CALLS = {"sd21": [{"clip_skip": 1}, {"clip_skip": 2, **GUIDED}], "sdxl": [{"clip_skip": 1}, GUIDED]}


@pytest.mark.parametrize("family", THEIRS)
def test_arguments_of_a_call_mean_what_they_mean_in_diffusers(pair, family):
    ours, theirs = pair(family, adapter=False)
    plain = drawn(ours)
    if family == "sd21":  # diffusers looks for it where transformers had it before its version 5
        inner = SimpleNamespace(final_layer_norm=theirs.text_encoder.final_layer_norm)
        vars(theirs.text_encoder).setdefault("text_model", inner)
    for options in CALLS[family]:
        found = drawn(ours, **options)
        assert apart(found, drawn(theirs, **options)) < BOUND
        assert apart(found, plain) > 100 * BOUND


def test_a_callback_ends_a_drawing_as_in_diffusers(pair):
    ours, theirs = pair("sd21", adapter=False, timesteps=trailing_timesteps(4), renoise="ddim")
    found = []
    for pipe in (ours, theirs):

        def end(pipe, index, _timestep, values):
            pipe._interrupt = index == 1
            return values

        found.append(drawn(pipe, steps=4, callback_on_step_end=end))
    assert apart(*found) < BOUND
    assert apart(found[0], drawn(ours, steps=4)) > 100 * BOUND


def test_a_textual_inversion_comes_and_goes_as_in_diffusers(pair, place):
    ours, theirs = pair("sd21", adapter=False)
    twin, plain = SwiftPiePipeline.from_pipe(ours), drawn(ours)
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    save_file({"<own>": vectors}, place / "own.safetensors")
    prompt = {"prompt": f"{PROMPT} <own>"}
    unknown = drawn(ours, **prompt)
    for pipe in (ours, theirs):
        pipe.load_textual_inversion(str(place / "own.safetensors"))
        pipe.load_textual_inversion([vectors[:1], vectors[1:]], token=["<other>", "<third>"])
    assert apart(drawn(ours, **prompt), drawn(theirs, **prompt)) < BOUND
    assert apart(drawn(ours, **prompt), unknown) > 100 * BOUND
    other = {"prompt": "<other> <third>"}
    assert apart(drawn(ours, **other), drawn(theirs, **other)) < BOUND
    ours.unload_textual_inversion()
    assert torch.equal(drawn(ours), plain)
    assert torch.equal(drawn(twin, **prompt), unknown)


MIXINS = (IPAdapterMixin, StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin)
METHODS = {
    name: getattr(mixin, name)
    for mixin in MIXINS
    for name in dir(mixin)
    if name[0] != "_" and callable(getattr(mixin, name))
}


def named(function):
    """Return the names of a signature, without `self` and collections."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return {each.name for each in parameters if each.kind not in kinds} - {"self"}


@pytest.mark.parametrize("kind", [SwiftPiePipeline, SwiftEditPipeline])
def test_every_argument_of_a_call_is_taken_or_refused_by_name(session, kind):
    pipe = kind.from_components(session.components)
    asked = set().union(*(named(each.__call__) for each in THEIRS.values()))
    assert {"timesteps", "clip_skip", "crops_coords_top_left"} <= asked
    for name in sorted(asked - named(kind.__call__)):
        with pytest.raises(TypeError, match=rf"`{name}=`\. \S+"):
            pipe(PROMPT, **{name: None})


@pytest.mark.parametrize("name", METHODS)
def test_every_argument_of_a_method_is_taken_or_refused_by_name(pipe, name):
    method = getattr(pipe, name)
    for each in sorted(named(METHODS[name]) - named(method)):
        with pytest.raises((TypeError, CapabilityError), match=rf"{name}\(\)[^.]*\. \S+"):
            method(**{each: None})
