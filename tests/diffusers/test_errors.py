"""What the pipelines refuse, a row each: a call, its error, and a word that the message has."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

from swiftpie import (
    CapabilityError,
    ConfigError,
    EditMode,
    EditSettings,
    InputError,
    SwiftEditPipeline,
    SwiftPiePipeline,
    WeightsError,
)
from swiftpie.pipelines.settings import IdentityGuidance
from tests.tiny.editor import tiny_editor

PROMPT, SOURCE, BOX = "a dog on the sofa", "a cat on the sofa", (0.25, 0.25, 0.75, 0.75)
DCG = IdentityGuidance.DCG
LATENTS, STATES = torch.zeros(1, 32, 16, 16), torch.zeros(1, 32, 160)


def at_end(returned):
    return {"callback_on_step_end": lambda *_: returned}


DRAWINGS = [
    ({"num_inference_steps": 4}, "takes"),
    ({"output_type": "jpeg"}, "jpeg"),
    ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "prompt_embeds"),
    (at_end(None), "callback"),
    (at_end({"latents": torch.zeros(1)}), "callback"),
    (at_end({"prompt_embeds": 1}), "callback"),
    ({"height": 100}, "multiples"),
    ({"num_images_per_prompt": 0}, "pictures"),
    ({"num_images_per_prompt": 65}, "65"),
    ({"seeds": [1, 2]}, "seeds"),
    ({"seeds": [-1]}, "-1"),
    ({"seeds": [1], "generator": torch.Generator()}, "generator"),
    ({"seeds": [1], "latents": LATENTS}, "latents"),
    ({"generator": [torch.Generator()] * 2}, "generators"),
    ({"latents": torch.zeros(1, 4, 16, 16)}, "shape"),
    ({"latents": LATENTS, "scene": "castle"}, "scene"),
    ({"prompt": None}, "prompt_embeds"),
    ({"prompt_embeds": STATES}, "prompt_embeds"),
    ({"prompt": [PROMPT, " "]}, "empty"),
    ({"prompt": []}, "pictures"),
    ({"prompt": None, "prompt_embeds": torch.zeros(32, 160)}, "shape"),
    ({"negative_prompt": "x", "negative_prompt_embeds": STATES}, "one"),
    ({"negative_prompt": "ugly"}, "guidance"),
    ({"guidance_scale": 2.0, "identity_guidance": DCG}, "exclude"),
    ({"guidance_scale": 2.0, "negative_prompt": ["ugly"] * 3}, "3"),
    ({"subjects": None}, "exactly"),
    ({"ip_adapter_image": "a.png"}, "exactly"),
    ({"subjects": None, "ip_adapter_image": 3}, "int"),
    ({"subjects": None, "ip_adapter_image": torch.full((3, 8, 8), -1.0)}, "Scale"),
    ({"subjects": None, "ip_adapter_image_embeds": [torch.zeros(1)]}, "Tensor"),
    ({"prompt": 5}, "prompt=5"),
    ({"scales": {}}, "Scales"),
    ({"box": (0, 1)}, "left, top"),
    ({"guidance_scale": "a"}, "number"),
    ({"generator": 5}, "Generator"),
    ({"seeds": 5}, "whole"),
    ({"latents": 5}, "Tensor"),
    ({"callback_on_step_end": 5}, "Callable"),
    ({"strength": 0.5}, "scales"),
    ({"image": Image.new("RGB", (8, 8))}, "SwiftEditPipeline"),
    ({"prompt_2": PROMPT}, "text encoders"),
    ({"clip_skip": 1}, "no such layer"),
    ({"clip_skip": 1, "prompt": None, "prompt_embeds": STATES}, "Pass text"),
    ({"guidance_rescale": 0.7}, "guidance_scale"),
    ({"timesteps": [999]}, "distilled"),
    ({"cross_attention_kwargs": {"scale": 0.5}}, "set_adapters"),
    ({"cross_attention_kwargs": {"ip_adapter_masks": torch.ones(2, 1, 8, 8)}}, "one for each"),
    ({"cross_attention_kwargs": {"ip_adapter_masks": [None]}}, "IPAdapterMaskProcessor"),
    ({"ip_adapter_masks": [None]}, "cross_attention_kwargs"),
    ({"callback_steps": 1}, "callback_on_step_end"),
    ({"style_reference": "a.png"}, "a.png"),
    ({"to": "a dog on the sofa at night", "output_type": "latent"}, "pictures"),
    ({"to": "a dog on the sofa at night", "num_images_per_prompt": 2}, "one seed"),
    ({"to_view": (0, 90)}, "pitch"),
    ({"num_image_per_prompt": 2}, "num_images_per_prompt"),
]


@pytest.mark.parametrize(("options", "word"), DRAWINGS)
def test_what_cannot_be_drawn_is_refused(pipe, identity, options, word):
    with pytest.raises(InputError, match=word):
        pipe(**{"prompt": PROMPT, "subjects": identity} | options)


@pytest.mark.parametrize("scale", [True, -1.0, "strong", {"up": {"block_7": 1.0}}])
def test_strengths_that_mean_nothing_are_refused(pipe, scale):
    with pytest.raises(InputError):
        pipe.set_ip_adapter_scale(scale)


def test_as_many_strengths_as_subjects_are_needed(pipe, identity):
    pipe.set_ip_adapter_scale([0.6, 1.0])
    with pytest.raises(InputError, match="numbers"):
        pipe(PROMPT, subjects=identity)


@pytest.fixture(scope="module")
def editor():
    return SwiftEditPipeline.from_components(tiny_editor())


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8))
WIDE = PHOTO.resize((192, 128))
RELEASED = EditSettings(mode=EditMode.RELEASED)
EDITS = [
    ({"num_inference_steps": 4}, "takes"),
    ({"output_type": "latent"}, "output_type="),
    ({"prompt": ""}, "empty"),
    ({"prompt": [PROMPT] * 2, "source_prompt": [SOURCE] * 3}, "entries"),
    ({"prompt": []}, "entries"),
    ({"box": BOX, "mask_image": Image.new("L", (128, 128), 255)}, "one"),
    ({"settings": EditSettings(size_px=130)}, "130"),
    ({"seeds": [-1]}, "seed"),
    ({"seeds": [1, 2]}, "seeds"),
    ({"negative_prompt": "a cat"}, "guidance"),
    ({"guidance_scale": 2.0, "settings": RELEASED}, "released"),
    ({"image": [PHOTO, WIDE], "box": BOX, "output_type": "np"}, "size"),
    ({"image": None}, "picture"),
    ({"identity": 5}, "identity="),
    ({"settings": {}}, "EditSettings"),
    ({"strength": 0.5}, "variation"),
    ({"height": 512}, "size_px"),
    ({"mask": PHOTO}, "mask_image"),
    ({"num_images_per_prompt": 99}, "pictures"),
    ({"clip_skip": 1}, "trained"),
    ({"chord": "slow"}, "faithful"),
]


@pytest.mark.parametrize(("options", "word"), EDITS)
def test_edits_that_cannot_be_honoured_are_refused(editor, options, word):
    with pytest.raises(InputError, match=word):
        editor(**{"prompt": PROMPT, "image": PHOTO} | options)


@pytest.fixture(scope="module")
def published(models):
    return models / "sd21" / "pipeline"


def shared(published, **options):
    return SwiftPiePipeline.from_pipe(StableDiffusionPipeline.from_pretrained(published), **options)


def opened(folder, **options):
    return SwiftPiePipeline.from_pretrained(folder, **options)


def without_preset(saved, preset):
    folder = shutil.copytree(saved, saved.with_name("other"), dirs_exist_ok=True)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"preset": preset}))
    return opened(folder)


FILES = [  # with a pipeline of ours, its folder, and one of diffusers
    (lambda pipe, *_: SwiftPiePipeline.from_pipe(pipe, vea=None), InputError, "vea"),
    (lambda pipe, *_: SwiftPiePipeline.from_pipe(pipe.vae), InputError, "preset"),
    (lambda pipe, *_: SwiftPiePipeline.from_pipe(pipe, preset="mini"), InputError, "preset"),
    (lambda _p, _s, sd: shared(sd), InputError, "preset"),
    (lambda _p, _s, sd: shared(sd, preset="sd-turbo", vae=None), InputError, "vae"),
    (lambda _p, _s, sd: shared(sd, preset="sd-turbo", adapter="x"), InputError, "image_encoder"),
    (lambda _p, _s, sd: shared(sd, preset="sdxl-turbo"), WeightsError, "sdxl-turbo"),
    (lambda _p, _s, sd: opened(sd), ConfigError, "from_preset"),
    (lambda _p, _s, sd: opened(sd.parent), WeightsError, "pipeline"),
    (lambda *_: opened("./mini"), WeightsError, "from_preset"),
    (lambda _p, saved, _sd: opened(saved, use_safetensors=False), TypeError, "Only safetensors"),
    (lambda _p, saved, _sd: opened(saved, dtype="float16"), CapabilityError, "float32 only"),
    (lambda _p, saved, _sd: opened(saved, dtype="float17"), ConfigError, "float17"),
    (lambda *_: SwiftPiePipeline.from_single_file("x"), CapabilityError, "weights=FOLDER"),
    (lambda _p, saved, _d: without_preset(saved, None), ConfigError, "preset"),
    (lambda _p, saved, _d: without_preset(saved, {"name": "x"}), ConfigError, "preset"),
    (
        lambda pipe, _, sd: pipe.save_pretrained(sd, safe_serialization=False),
        *(TypeError, "safe_serialization"),
    ),
    (
        lambda *_: SwiftPiePipeline.from_components(tiny_editor()).save_pretrained("x"),
        *(CapabilityError, "ConvImageEncoder"),
    ),
    (lambda *_: SwiftPiePipeline.from_preset("mini", torch_dtype=1), TypeError, "dtype"),
    (lambda *_: SwiftPiePipeline.from_preset("mini", safety_checker=None), TypeError, "checked"),
    (lambda *_: SwiftPiePipeline.from_preset(5), InputError, "preset=5"),
    (lambda *_: SwiftPiePipeline.from_recipe(5), InputError, "recipe=5"),
    (lambda pipe, *_: pipe.enable_model_cpu_offload(99), ConfigError, "processor"),
    (lambda pipe, *_: pipe.enable_sequential_cpu_offload(), CapabilityError, "layers"),
    (lambda pipe, *_: pipe.enable_group_offload("cpu"), CapabilityError, "layers"),
    (lambda pipe, *_: pipe.load_ip_adapter("x"), CapabilityError, "mini"),
    (lambda pipe, *_: pipe.load_lora_weights("x"), CapabilityError, "mini"),
]


@pytest.mark.parametrize(("call", "error", "word"), FILES)
def test_what_cannot_be_loaded_saved_or_shared_is_refused(
    pipe, saved, published, tmp_path, monkeypatch, call, error, word
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=word):
        call(pipe, saved, published)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def lora_pipe(published):
    pipe = shared(published, preset="sd-turbo")
    pipe.load_lora_weights(published.with_name("a.safetensors"), adapter_name="a")
    return pipe


LORAS = [
    (lambda pipe: pipe.load_ip_adapter("h94/IP-Adapter", "models", "x.bin"), "safetensors"),
    (lambda pipe: pipe.load_lora_weights({"x": 1}), "dict"),
    (lambda pipe: pipe.load_lora_weights("nowhere/at-all"), "weight_name"),
    (lambda pipe: pipe.set_adapters("x"), "LoRA"),
    (lambda pipe: pipe.set_adapters(["a"], [1, 2]), "2"),
    (lambda pipe: pipe.set_adapters("a", {"unets": 1}), "unets"),
    (lambda pipe: pipe.set_adapters("a", {"unet": {"up": 9}}), "by block"),
    (lambda pipe: pipe.set_adapters("a", {"unet": {"up": {"block_1": [1] * 9}}}), "block_1"),
    (lambda pipe: pipe.set_adapters("a", 9.0), "9"),
    (lambda pipe: pipe.load_lora_weights("y.safetensors", "a"), "already"),
    (lambda pipe: pipe.load_lora_weights("no/y", weight_name="y.safetensors"), "downloaded"),
]


@pytest.mark.parametrize(("change", "word"), LORAS)
def test_a_change_that_cannot_be_made_leaves_the_pipeline_as_it_was(lora_pipe, change, word):
    before = lora_pipe.to_components().denoiser
    with pytest.raises((InputError, WeightsError), match=word):
        change(lora_pipe)
    assert lora_pipe.to_components().denoiser is before


def exchange(name, value):
    return lambda pipe: setattr(pipe, name, value(pipe))


EXCHANGES = [
    (exchange("scheduler", lambda _: EulerDiscreteScheduler()), InputError, "scheduler"),
    (exchange("unet", lambda pipe: pipe.inversion_unet), InputError, "U-Net"),
    (lambda pipe: pipe.unet.set_attention_slice("auto"), InputError, "processors"),
]


@pytest.mark.parametrize(("change", "error", "word"), EXCHANGES)
def test_networks_that_were_exchanged_are_noticed(sprite, change, error, word):
    pipe = SwiftPiePipeline.from_components(tiny_editor())
    change(pipe)
    with pytest.raises(error, match=word):
        pipe("a cat", ip_adapter_image=sprite, seeds=[1])


def test_edits_by_inversion_need_a_network_that_inverts():
    lone = SwiftEditPipeline.from_components(replace(tiny_editor(), inversion=None))
    with pytest.raises(CapabilityError, match="inversion"):
        lone(PROMPT, PHOTO, settings=EditSettings(method="inversion"))
