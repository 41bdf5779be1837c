"""What a script for diffusers calls gives the pixels of diffusers; tiny random weights."""

from itertools import combinations

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from swiftpie import SwiftPiePipeline
from swiftpie.backbones.components import load_components
from swiftpie.noise import draw_noise
from tests.backbones import tiny_models
from tests.parity.pipelines import preset_of, subject, their_features

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
        tiny_models.make_pipeline(root / family / "pipeline", family, **shallow)
        tiny_models.make_public_adapter(root / family / "public.safetensors", family, **shallow)
        for seed, name in enumerate("ab"):
            tiny_models.make_lora(
                root / family / f"{name}.safetensors", family, seed=seed, **shallow
            )
    return root


@pytest.fixture
def pair(place):
    """Return our pipeline and diffusers' of a family, with its adapter."""

    def opened(family, *, adapter=True, **changes):
        folder = place / family
        given = {"weights": folder / "pipeline"}
        theirs = THEIRS[family].from_pretrained(folder / "pipeline")
        if adapter:
            given |= {"adapter": folder / "public.safetensors", "image_encoder": folder / "encoder"}
            load = {"weight_name": "public.safetensors", "image_encoder_folder": None}
            theirs.load_ip_adapter(str(folder), subfolder="", **load)
        preset = preset_of(family, **changes)
        ours = SwiftPiePipeline.from_components(load_components(preset, **given))
        for pipe in (ours, theirs):
            pipe.set_progress_bar_config(disable=True)
        theirs.scheduler = ours.scheduler
        return ours, theirs

    return opened


def drawn(pipe, *, steps=1, **options):
    shared = {"num_inference_steps": steps, "guidance_scale": 0.0, "output_type": "np"}
    noise = draw_noise([3], (4, 8, 8))
    call = {"height": 64, "width": 64, "latents": noise, **shared} | options
    return torch.from_numpy(pipe(PROMPT, **call).images)


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
