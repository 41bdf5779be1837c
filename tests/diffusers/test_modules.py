"""A pipeline of diffusers saves, loads and shares the networks of a preset without loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler

from swiftpie import CapabilityError
from swiftpie.backbones.choices import schedule_of
from swiftpie.backbones.components import Engine
from swiftpie.backbones.presets import PRESETS
from swiftpie.diffusers.modules import scheduler_of
from swiftpie.diffusers.personalize import SwiftPiePipeline
from tests.tiny.editor import tiny_editor

PROMPT = "a photo of a subject on a beach"


def picture(pipe, identity, **changes):
    return pipe(PROMPT, subjects=identity, seeds=[3], **changes).images[0].tobytes()


def test_a_saved_pipeline_draws_the_same_picture(pipe, identity, saved):
    loaded = SwiftPiePipeline.from_pretrained(saved, local_files_only=True)
    assert picture(loaded, identity) == picture(pipe, identity)
    assert loaded.to_components().fingerprint == pipe.to_components().fingerprint
    assert loaded.to_components().preset == pipe.to_components().preset


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    SwiftPiePipeline.from_pretrained(saved).save_pretrained(tmp_path)
    files = sorted(path.relative_to(saved) for path in saved.rglob("*.safetensors"))
    assert len(files) == 6
    assert all((saved / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


def test_what_scripts_for_diffusers_say_of_files_is_taken(pipe, identity, tmp_path):
    pipe.save_pretrained(tmp_path / "mini", safe_serialization=True)
    expected = pipe(PROMPT, subjects=identity, seeds=[3]).images[0].tobytes()
    for safe, kind in ((True, {"dtype": "float32"}), (None, {"torch_dtype": torch.float32})):
        again = SwiftPiePipeline.from_pretrained(tmp_path / "mini", use_safetensors=safe, **kind)
        assert again(PROMPT, subjects=identity, seeds=[3]).images[0].tobytes() == expected


def test_a_module_can_be_given_when_loading_and_changes_the_fingerprint(pipe, saved):
    loaded = SwiftPiePipeline.from_pretrained(saved, vae=pipe.vae)
    assert loaded.vae is pipe.vae
    assert loaded.to_components().fingerprint != pipe.to_components().fingerprint


def test_pipelines_made_from_each_other_share_all_networks(pipe, identity):
    twin = SwiftPiePipeline.from_pipe(pipe)
    shared = {name: one for name, one in pipe.components.items() if name != "scheduler"}
    assert shared
    assert all(twin.components[name] is one for name, one in shared.items())
    assert picture(twin, identity) == picture(pipe, identity)
    again = SwiftPiePipeline(**pipe.components, **pipe.parameters)
    assert picture(again, identity) == picture(pipe, identity)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        pytest.param("tiny", {}, marks=pytest.mark.thorough),
        ("sd21", {"guidance_scale": 1.5, "negative_prompt": "a dog"}),
    ],
)
def test_offloaded_networks_draw_the_same_picture(saved, sprite, family, options):
    """The processor stands for the accelerator: what is tested is that all hooks get along."""
    if family == "tiny":
        made = SwiftPiePipeline.from_pretrained(saved)
    else:
        made = SwiftPiePipeline.from_components(tiny_editor())
    call = {"prompt": "a cat", "ip_adapter_image": sprite, "seeds": [2], **options}
    plain = np.asarray(made(**call).images[0], dtype=int)
    made.enable_model_cpu_offload(device="cpu")
    assert made.to_components().device == torch.device("cpu", 0)
    moved = [np.asarray(made(**call).images[0], dtype=int) for _ in range(2)]
    assert np.array_equal(*moved)
    # Moved weights lie elsewhere in memory, so sums may round differently: one level at most.
    assert np.abs(moved[0] - plain).max() <= 1
    assert SwiftPiePipeline.from_pipe(made).unet is made.unet
    made.remove_all_hooks()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' schedulers
@pytest.mark.parametrize("name", PRESETS.names())
def test_the_scheduler_describes_the_preset(name):
    preset = PRESETS.get(name)
    scheduler = scheduler_of(preset)
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        assert preset.prediction_type == "flow"
        return
    assert scheduler.config.prediction_type == preset.prediction_type
    for step in schedule_of(preset).steps:
        kept = float(scheduler.alphas_cumprod[step.timestep])
        assert kept == pytest.approx(step.alpha**2, rel=1e-3)


def test_the_scheduler_of_mini_takes_the_very_step(pipe):
    schedule = pipe.to_components().schedule
    assert schedule.renoise == "ddim"
    latents, prediction = torch.randn(2, 1, 32, 16, 16, generator=torch.manual_seed(0))
    pipe.scheduler.set_timesteps(1)
    assert pipe.scheduler.timesteps.tolist() == [999]
    theirs = pipe.scheduler.step(prediction, 999, latents).prev_sample
    assert torch.allclose(theirs, schedule.advance(latents, prediction, 0), atol=1e-5)


@pytest.fixture
def large():
    return SwiftPiePipeline.from_components(tiny_editor())


def test_a_published_family_registers_the_classes_of_diffusers(large, sprite):
    assert large.config["unet"] == ("diffusers", "UNet2DConditionModel")
    assert large.config["vae"] == ("diffusers", "AutoencoderKL")
    assert large.config["inversion_unet"] == ("diffusers", "UNet2DConditionModel")
    large.vae.enable_tiling()
    drawn = large("a cat on a sofa", ip_adapter_image=sprite, seeds=[1])
    assert drawn.images[0].size == (128, 128)
    assert SwiftPiePipeline.from_pipe(large).unet is large.unet


def test_another_autoencoder_is_taken(large):
    before = large.to_components()
    large.vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
    )
    after = large.to_components()
    assert after.autoencoder.network is large.vae
    assert after.denoiser is before.denoiser
    assert after.fingerprint != before.fingerprint


def test_networks_that_run_elsewhere_go_on_doing_so(session):
    elsewhere = replace(session.components, engine=Engine(device=torch.device("cpu", 0)))
    pipe = SwiftPiePipeline.from_components(elsewhere)
    assert pipe.to_components().device == torch.device("cpu", 0)


def test_a_converted_mini_says_so_until_it_is_converted_back(identity, saved):
    own = SwiftPiePipeline.from_pretrained(saved)
    own.to(torch.bfloat16)
    with pytest.raises(CapabilityError, match="float32 only"):
        picture(own, identity)
    assert picture(own.to(torch.float32), identity)
