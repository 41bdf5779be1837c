"""What training exports works everywhere: in a session, on the command line and in diffusers."""

import warnings

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection
from typer.testing import CliRunner

from swiftpie.backbones.adapters import open_adapter
from swiftpie.backbones.components import load_components
from swiftpie.cli.main import app
from swiftpie.engine.session import Session
from swiftpie.files import load_image
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie.noise import draw_noise
from swiftpie.pipelines.settings import Scales
from swiftpie.training.stages.adapter import ADAPTER_FILE
from tests.parity.pipelines import SIDE_PX, preset_of, subject

PROMPT = "a red cube on the moon"
SEED = 3


@pytest.fixture
def exported(build, tmp_path):
    """An adapter that is not what training starts from."""
    stage = build()
    network = stage.network()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    stage.export(network, tmp_path)
    stage.export(network, tmp_path)  # a later one replaces it
    return tmp_path / ADAPTER_FILE


def session_with(place, adapter):
    return Session(
        load_components(
            preset_of("sd21"),
            weights=place / "pipeline",
            adapter=adapter,
            image_encoder=place / "encoder",
        )
    )


def drawn(session, *, identity, detail):
    scales = Scales(identity_scale=identity, detail_scale=detail)
    found = session.encode_identity(subject())
    (image,) = session.personalize(found, PROMPT, seed=SEED, scales=scales).images
    return np.array(image, dtype=np.int64)


def test_both_branches_speak_and_at_scale_zero_the_base_does(exported, build, place, tmp_path):
    fresh = build()
    fresh.export(fresh.network(), tmp_path / "fresh")
    ours, other = (session_with(place, p) for p in (exported, tmp_path / "fresh" / ADAPTER_FILE))
    silent = drawn(ours, identity=0, detail=0)
    assert np.array_equal(silent, drawn(other, identity=0, detail=0))
    for identity, detail in ((1, 0), (0, 1)):
        assert np.abs(drawn(ours, identity=identity, detail=detail) - silent).max() > 1


def test_the_semantic_half_draws_the_same_in_diffusers(exported, place):
    session = session_with(place, exported)
    identity = session.encode_identity(subject())
    tower = CLIPVisionModelWithProjection.from_pretrained(place / "encoder")
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (CLIP_MEAN, CLIP_STD))
    visible = ((identity.pixels + 1) / 2 - mean) / std * identity.mask
    small = F.interpolate(visible, size=(32, 32), mode="bicubic", antialias=True)
    pipeline = StableDiffusionPipeline.from_pretrained(place / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter(
        str(exported.parent), subfolder="", weight_name=ADAPTER_FILE, image_encoder_folder=None
    )
    pipeline.set_ip_adapter_scale(1.0)
    with warnings.catch_warnings():
        # diffusers' schedulers hand tensors to numpy in a way that numpy 2 complains of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        (theirs,) = pipeline(
            PROMPT,
            height=SIDE_PX,
            width=SIDE_PX,
            num_inference_steps=1,
            guidance_scale=0.0,
            latents=draw_noise([SEED], (4, SIDE_PX // 8, SIDE_PX // 8)),
            ip_adapter_image_embeds=[tower(small).image_embeds[:, None]],
        ).images
    ours = drawn(session, identity=1, detail=0)
    assert np.abs(ours - np.array(theirs, dtype=np.int64)).max() <= 1
    assert np.abs(ours - drawn(session, identity=0, detail=0)).max() > 1


def test_training_goes_on_from_an_exported_adapter(exported, build):
    stage = build(adapter=exported)
    settings = open_adapter(exported).settings
    plan = stage.base.denoiser.installation.plan
    assert (plan.semantic, plan.detail) == (settings.plan.semantic, settings.plan.detail)
    stage.export(stage.network(), exported.parent / "again")
    assert (exported.parent / "again" / ADAPTER_FILE).read_bytes() == exported.read_bytes()


def test_one_command_trains_and_another_draws(place, tmp_path):
    def call(*arguments):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    settings = {
        "stage.preset": "sd-turbo",
        "stage.data": place / "photos",
        "stage.weights": place / "pipeline",
        "stage.image_encoder": place / "encoder",
        "stage.size_px": SIDE_PX,
        "stage.batch_size": 1,
        "loop.steps": 1,
    }
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    told = call("train", "adapter", *sets, "--out", tmp_path / "runs")
    assert "4 photos of 2 subjects" in told
    subject().save(tmp_path / "cube.png")
    call(
        *("personalize", tmp_path / "cube.png", PROMPT, "-o", tmp_path / "out.png"),
        *("--preset", "sd-turbo", "--weights", place / "pipeline", "--size", "64x64"),
        *("--adapter", tmp_path / "runs" / "adapter" / "export" / ADAPTER_FILE),
        *("--image-encoder", place / "encoder"),
    )
    assert load_image(tmp_path / "out.png").size == (64, 64)
