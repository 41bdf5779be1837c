"""Adapters and LoRAs come, go and act as in diffusers' own pipeline; tiny random weights."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from swiftpie import CapabilityError, InputError, SwiftPiePipeline
from tests.tiny.sessions import components_in, subject

BOUND = 1e-5  # of the largest latent; 2.5e-6 were seen, as fused weights are rounded once more
OWN, PUBLIC = "own.safetensors", "public.safetensors"
PROMPT = "a red cube on the moon"


@pytest.fixture
def place(models):
    return models / "sd21"


def latents(pipe, **options):
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    shared = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "latent"}
    return pipe(PROMPT, height=64, width=64, latents=noise, **shared | options).images


def opened(place, adapter=None):
    return SwiftPiePipeline.from_components(components_in(place, adapter))


def pixels(pipe):
    return pipe(PROMPT, ip_adapter_image=subject(), seeds=[3], output_type="np").images


def changed(pipe):
    return next(one for name, one in pipe.unet.named_parameters() if name.endswith("to_q.weight"))


def load(name):
    return ("load_lora_weights", {"weight_name": f"{name}.safetensors", "adapter_name": name})


def only(name):
    return ("set_adapters", {"adapter_names": name})


PARTS = [{"unet": {"down": 0.5, "mid": 0.2, "up": {"block_1": [1.0, 0.3]}}}, {"unet": 0.4}]
PARTED = ("set_adapters", {"adapter_names": ["a", "b"], "adapter_weights": PARTS})
BOTH = ("set_adapters", {"adapter_names": ["b", "a"], "adapter_weights": [0.3, None]})
UNLOAD, UNFUSE = ("unload_lora_weights", {}), ("unfuse_lora", {})
OFF, ON = ("disable_lora", {}), ("enable_lora", {})
HALF = ("set_adapters", {"adapter_names": "a", "adapter_weights": 0.5})
FUSE = ("fuse_lora", {"lora_scale": 0.7})


def gone(name):
    return ("delete_adapters", {"adapter_names": name})


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' schedulers
@pytest.mark.filterwarnings("ignore::UserWarning")  # of peft, on what is loaded or fused already
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([load("a"), load("b"), BOTH], marks=pytest.mark.thorough),
        [load("a"), load("b"), only("a"), UNLOAD],
        [load("a"), OFF, load("b"), ON, gone("b"), gone("a")],
        [load("a"), load("b"), PARTED, FUSE, UNFUSE, only("a"), UNLOAD],
        [load("a"), HALF, FUSE, UNFUSE, FUSE, UNLOAD, load("b"), UNLOAD],
    ],
)
def test_loras_are_drawn_after_every_call_as_by_diffusers(place, steps):
    theirs = StableDiffusionPipeline.from_pretrained(place / "pipeline")
    ours = opened(place)
    for method, options in steps:
        given = [place] if method == "load_lora_weights" else []
        for pipe in (theirs, ours):
            getattr(pipe, method)(*given, **options)
        drawn, expected = latents(ours), latents(theirs)
        assert (drawn - expected).abs().max() < BOUND * expected.abs().max(), method


def test_a_lora_given_as_tensors_is_that_of_its_file(place):
    tensors, other = (load_file(place / f"{name}.safetensors") for name in "ab")
    by_file, pipes = opened(place), (opened(place), opened(place))
    by_file.load_lora_weights(place / "a.safetensors")
    for pipe, given in zip(pipes, (tensors, other), strict=True):
        pipe.load_lora_weights(given)
        assert torch.equal(latents(pipe), latents(by_file)) is (given is tensors)
    assert len({pipe.to_components().fingerprint for pipe in pipes}) == 2


def test_an_adapter_comes_and_goes_and_leaves_other_pipelines_alone(place):
    expected, own, bare = pixels(opened(place, "public")), opened(place, "own"), opened(place)
    before, twin = pixels(own), SwiftPiePipeline.from_pipe(bare)
    bare.load_ip_adapter(place, weight_name=PUBLIC, image_encoder_folder=str(place / "encoder"))
    assert np.array_equal(pixels(bare), expected)
    own.load_ip_adapter(str(place), "", PUBLIC)  # in place of the other, with the same encoder
    assert np.array_equal(pixels(own), expected)
    own.load_ip_adapter(place / OWN)
    assert np.array_equal(pixels(own), before)
    own.unload_ip_adapter()
    for without in (own, twin):
        with pytest.raises(CapabilityError, match="adapter"):
            pixels(without)


def test_a_lora_stays_when_the_adapter_changes_and_is_not_shared(place):
    pipe = opened(place, "own")
    before, plain = changed(pipe).clone(), pipe.to_components().fingerprint
    twin = SwiftPiePipeline.from_pipe(pipe)
    pipe.load_lora_weights(place / "a.safetensors")
    expected = pixels(pipe)
    assert pipe.to_components().fingerprint != plain
    assert torch.equal(changed(twin), before)
    pipe.load_ip_adapter(place / PUBLIC)
    pipe.load_ip_adapter(place / OWN)
    assert np.array_equal(pixels(pipe), expected)
    pipe.enable_model_cpu_offload(device="cpu")
    assert np.abs(pixels(pipe) - expected).max() < 1e-4
    pipe.unload_lora_weights()
    assert torch.equal(changed(pipe), before)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_unet_is_compiled_in_place(place):
    graphs = []

    def backend(module, _inputs):
        graphs.append(module)
        return module.forward

    pipe = opened(place, "own")
    plain = pixels(pipe)
    pipe.unet.compile(backend=backend)
    assert np.abs(pixels(pipe) - plain).max() < 1e-4
    assert graphs
    pipe.unet = torch.compile(pipe.unet)
    with pytest.raises(InputError, match="compile"):
        pixels(pipe)
