"""LoRAs come, go and act as in diffusers' own pipeline; tiny random weights."""

import pytest
import torch
from diffusers import StableDiffusionPipeline

from swiftpie import SwiftPiePipeline
from swiftpie.backbones.components import load_components
from tests.backbones import tiny_models
from tests.parity.pipelines import preset_of

BOUND = 1e-4  # of the largest latent; a LoRA that is fused is rounded once more
PROMPT = "a red cube on the moon"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    tiny_models.make_pipeline(folder / "pipeline", "sd21", is_shallow=True)
    for seed, name in enumerate("ab"):
        tiny_models.make_lora(folder / f"{name}.safetensors", "sd21", is_shallow=True, seed=seed)
    return folder


def latents(pipe, **options):
    """What a pipeline of either kind draws from one noise."""
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    shared = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "latent"}
    return pipe(PROMPT, height=64, width=64, latents=noise, **shared | options).images


def load(name):
    return ("load_lora_weights", {"weight_name": f"{name}.safetensors", "adapter_name": name})


def only(name):
    return ("set_adapters", {"adapter_names": name})


BOTH = ("set_adapters", {"adapter_names": ["b", "a"], "adapter_weights": [0.3, None]})
OFF, ON = ("disable_lora", {}), ("enable_lora", {})
FUSE, UNFUSE = ("fuse_lora", {"lora_scale": 0.5}), ("unfuse_lora", {})
FUSE_A = ("fuse_lora", {"adapter_names": ["a"]})
UNLOAD = ("unload_lora_weights", {})


def delete(name):
    return ("delete_adapters", {"adapter_names": name})


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' schedulers
@pytest.mark.filterwarnings("ignore::UserWarning")  # of peft, on what is loaded or fused already
@pytest.mark.parametrize(
    "steps",
    [
        [load("a"), load("b"), OFF, ON, only("a"), UNLOAD],
        [load("a"), load("b"), OFF, only("a"), ON],
        [load("a"), OFF, load("b"), ON],
        [load("a"), load("b"), BOTH, delete("b")],
        [load("a"), load("b"), delete("b")],
        [load("a"), load("b"), delete("a"), load("a")],
        [load("a"), load("b"), BOTH, FUSE, UNLOAD, load("a"), OFF],
        [load("a"), load("b"), FUSE, UNFUSE, UNLOAD],
        [load("a"), load("b"), FUSE_A, UNFUSE],
        [load("a"), load("b"), FUSE, only("a"), OFF],
        [load("a"), OFF, FUSE, UNLOAD],
        [load("a"), FUSE, load("b")],
    ],
)
def test_loras_are_drawn_after_every_call_as_by_diffusers(place, steps):
    theirs = StableDiffusionPipeline.from_pretrained(place / "pipeline")
    loaded = load_components(preset_of("sd21"), weights=place / "pipeline")
    ours = SwiftPiePipeline.from_components(loaded)
    for pipe in (theirs, ours):
        pipe.set_progress_bar_config(disable=True)
    for method, options in steps:
        given = [place] if method == "load_lora_weights" else []
        for pipe in (theirs, ours):
            getattr(pipe, method)(*given, **options)
        drawn, expected = latents(ours), latents(theirs)
        assert (drawn - expected).abs().max() < BOUND * expected.abs().max(), method
        assert ours.get_active_adapters() == theirs.get_active_adapters(), method
        assert ours.get_list_adapters() == theirs.get_list_adapters(), method
