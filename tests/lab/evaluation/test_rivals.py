"""Rivals draw what diffusers alone draws."""

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import CLIPVisionModelWithProjection
from typer.testing import CliRunner

from swiftpie.errors import ConfigError, WeightsError
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.contest import RivalTask
from swiftpie_lab.evaluation.rivals import load_rival
from tests.backbones.tiny_models import make_pipeline, make_public_adapter
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench

CALL = {"num_inference_steps": 2, "guidance_scale": 3.0}
pytestmark = [
    # diffusers' schedulers hand tensors to numpy in a way that numpy 2 complains of.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pipeline, an image encoder and an adapter."""
    place = tmp_path_factory.mktemp("rival")
    make_pipeline(place / "pipeline", "sd15", is_shallow=True)
    make_public_adapter(place / "adapter.safetensors", "sd15", is_shallow=True)
    return place


def theirs(place, prompt, image, seed):
    """What diffusers' own calls draw."""
    encoder = CLIPVisionModelWithProjection.from_pretrained(place / "encoder")
    pipeline = StableDiffusionPipeline.from_pretrained(place / "pipeline", image_encoder=encoder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter(
        str(place), subfolder="", weight_name="adapter.safetensors", image_encoder_folder=None
    )
    pipeline.set_ip_adapter_scale(0.6)
    generator = torch.Generator().manual_seed(seed)
    return pipeline(prompt, ip_adapter_image=image, generator=generator, **CALL).images[0]


def load(place, **changes):
    parts = {
        "adapter": place / "adapter.safetensors",
        "image_encoder": place / "encoder",
        "adapter_scale": 0.6,
        "keywords": CALL,
    }
    return load_rival(place / "pipeline", **{**parts, **changes})


def asked(*images):
    return RivalTask("a dog", 1, references=images)


def test_a_benchmarks_pictures_are_those_of_diffusers_alone(place, tmp_path):
    root = write_dreambench(tmp_path)
    out = tmp_path / "out"
    options = ["--prompts", 1, "--seeds", 1, "--subjects", 1, "--seed", 5, "--out", out, "--json"]
    options += ["--pipeline", place / "pipeline", "--adapter", place / "adapter.safetensors"]
    options += ["--image-encoder", place / "encoder", "--pipeline-steps", 2, "--device", "cpu"]
    options += ["--pipeline-guidance", 3, "--pipeline-adapter-scale", 0.6]
    done = CliRunner().invoke(app, ["dreambench", str(root), *map(str, options)])
    assert done.exit_code == 0, done.output
    photo = Image.open(root / "dog" / "00.jpg").convert("RGB")
    expected = theirs(place, "a dog in the snow", photo, 5)
    drawn = Image.open(out / "images" / "dog-00-5.drawn.png")
    assert np.array_equal(np.array(drawn), np.array(expected))
    run = json.loads(done.stdout)["run"]
    assert run["num_steps"] == 2
    assert run["preset"] == (
        "diffusers' StableDiffusionPipeline of pipeline, adapter, num inference steps 2, "
        "guidance scale 3, adapter scale 0.6, one reference"
    )


def test_the_adapter_its_scale_and_each_picture_count(place):
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    rival, words = load(place), load(place, adapter=None, image_encoder=None, adapter_scale=None)
    drawn = [np.array(rival.picture(asked(image))) for image in (first, second)]
    assert not np.array_equal(*drawn)
    assert np.array_equal(drawn[0], np.array(rival.picture(asked(first))))
    assert not np.array_equal(drawn[0], np.array(rival.picture(asked(first, second))))
    assert np.array_equal(*(np.array(words.picture(asked(x))) for x in (first, second)))
    assert words.maker.name.startswith(
        "diffusers' StableDiffusionPipeline of pipeline, words alone"
    )
    assert load(place, adapter_scale=1.0).maker.fingerprint == rival.maker.fingerprint
    assert words.maker.fingerprint != rival.maker.fingerprint


def test_what_a_rival_cannot_use_is_refused(place, tmp_path):
    with pytest.raises(ConfigError, match="without --adapter"):
        load(place, adapter=None)
    with pytest.raises(WeightsError, match="needs an image encoder"):
        load(place, image_encoder=None)
    with pytest.raises(WeightsError, match="is no file"):
        load(place, adapter=tmp_path / "nothing.safetensors")
    pickled = tmp_path / "adapter.bin"
    pickled.write_bytes(b"")
    with pytest.raises(WeightsError, match="--allow-pickle"):
        load(place, adapter=pickled)
    with pytest.raises(WeightsError, match="cannot be read as a pipeline"):
        load_rival(tmp_path, keywords={})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--pipeline", "x", "--preset", "mini"], "--preset came with --pipeline"),
        (["--pipeline-guidance", "3"], "came without --pipeline"),
        (["--pipeline", "x", "--results", "y"], "--pipeline came with --results"),
        (["--pipeline", "x", "--steps", "2"], "--steps came with --pipeline"),
    ],
)
def test_options_that_contradict_a_rival_are_refused(tmp_path, options, reason):
    root = write_dreambench(tmp_path)
    done = CliRunner().invoke(app, ["dreambench", str(root), *options])
    assert isinstance(done.exception, ConfigError)
    assert reason in str(done.exception)
