import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from swiftpie import CapabilityError, EditMode, InputError, WeightsError
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS, WeightsKind, trailing_timesteps
from swiftpie.diffusers.edit import SwiftEditPipeline
from swiftpie.diffusers.modules import ADAPTER
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.noise import draw_noise
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.scenes import scene_library
from tests.tiny.adapters import make_lora
from tests.tiny.folders import choices_in
from tests.tiny.sessions import components_in, preset_of, subject

FAMILIES = ("sd21", "sdxl")
PROMPT, SOURCE = "a red cube on the moon", "a blue cube on the moon"


@pytest.fixture(scope="module")
def opened(models):
    def open_tiny(family, *args, kind=SwiftPiePipeline, **choices):
        return kind.from_components(components_in(models / family, *args, **choices))

    return open_tiny


def photo():
    values = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(values)


def drawn(pipe, **changes):
    if isinstance(pipe, SwiftEditPipeline):
        box = (0.25, 0.25, 0.75, 0.75)
        call = {"image": photo(), "source_prompt": SOURCE, "box": box, "seeds": [3]}
        return pipe(PROMPT, **call | {"output_type": "np"} | changes).images
    call = {"ip_adapter_image": subject(), "seeds": [3], "output_type": "pt"}
    return pipe(PROMPT, **call | changes).images.numpy()


def reopened(folder, family, *, kind=SwiftPiePipeline, **choices):
    given = {"weights": folder, "adapter": folder / ADAPTER} | choices
    return kind.from_components(load_components(preset_of(family), **given))


def check_published(saved, original):
    published = UNet2DConditionModel.from_pretrained(original / "unet").state_dict()
    unet, report = UNet2DConditionModel.from_pretrained(saved / "unet", output_loading_info=True)
    assert not any(report.values())
    weights = unet.state_dict()
    assert weights.keys() == published.keys()
    assert all(torch.equal(weights[name], one) for name, one in published.items())
    CLIPVisionModelWithProjection.from_pretrained(saved / "image_encoder")


CASES = [("sd21", "public"), pytest.param("sdxl", "own", marks=pytest.mark.thorough)]


@pytest.mark.parametrize(("family", "adapter"), CASES)
def test_a_round_trip_keeps_every_bit_of_the_pictures(opened, models, tmp_path, family, adapter):
    pipe = opened(family, adapter)
    before = drawn(pipe)
    assert not np.array_equal(before, drawn(pipe, seeds=[4]))
    pipe.save_pretrained(tmp_path / "saved")
    assert np.array_equal(drawn(pipe), before)
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved", local_files_only=True)
    assert np.array_equal(drawn(loaded), before)
    assert loaded.to_components().preset == pipe.to_components().preset
    assert loaded.to_components().fingerprint == pipe.to_components().fingerprint
    loaded.save_pretrained(tmp_path / "saved")  # over the files that its weights are mapped from
    assert np.array_equal(drawn(loaded), before)
    assert np.array_equal(drawn(reopened(tmp_path / "saved", family)), before)
    kinds = {path.suffix for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors"}
    assert list(tmp_path.iterdir()) == [tmp_path / "saved"]
    check_published(tmp_path / "saved", models / family / "pipeline")


def test_a_detail_branch_without_training_is_saved_with_where_it_acts(opened, tmp_path):
    pipe = opened("sd21", "public", detail="joint", preset=preset_of("sd21", detail_mask="inline"))
    before = drawn(pipe)
    pipe.save_pretrained(tmp_path)
    loaded = SwiftPiePipeline.from_pretrained(tmp_path)
    assert np.array_equal(drawn(loaded), before)
    plans = [pipeline.to_components().denoiser.installation.plan for pipeline in (loaded, pipe)]
    assert plans[0] == plans[1]
    assert not plans[0].own_projections
    assert not np.array_equal(before, drawn(pipe, scales=Scales(detail_scale=0.0)))


def test_a_pipeline_without_an_adapter_is_saved_without_one(opened, models, tmp_path):
    opened("sd21", None).save_pretrained(tmp_path)
    assert not (tmp_path / ADAPTER).exists()
    loaded = SwiftPiePipeline.from_pretrained(tmp_path)
    with pytest.raises(CapabilityError, match="adapter"):
        drawn(loaded)
    options = choices_in(models / "sd21")
    del options["weights"]
    assert np.array_equal(drawn(reopened(tmp_path, "sd21", **options)), drawn(opened("sd21")))


@pytest.mark.parametrize(
    ("family", "mode"),
    [("sd21", EditMode.RELEASED), pytest.param("sdxl", EditMode.PAPER, marks=pytest.mark.thorough)],
)
def test_an_edit_is_the_same_after_a_round_trip(opened, models, tmp_path, family, mode):
    other = models / family / "other_unet"
    pipe = opened(family, kind=SwiftEditPipeline, inversion=other)
    settings = EditSettings(mode=mode)
    before = drawn(pipe, settings=settings)
    scales = replace(Scales.for_edit(mode=mode), identity_scale=2.0)
    stronger = replace(settings, scales=scales)
    assert not np.array_equal(before, drawn(pipe, settings=stronger))
    pipe.save_pretrained(tmp_path)
    loaded = SwiftEditPipeline.from_pretrained(tmp_path)
    assert np.array_equal(drawn(loaded, settings=settings), before)
    inversion = tmp_path / "inversion_unet"
    again = reopened(tmp_path, family, kind=SwiftEditPipeline, inversion=inversion)
    assert np.array_equal(drawn(again, settings=settings), before)
    assert drawn(SwiftPiePipeline.from_pipe(loaded)).shape == (1, 3, 64, 64)


def test_a_reference_network_is_saved_shared_and_guarded(opened, models, tmp_path):
    other = models / "sd21" / "other_unet"
    pipe = opened("sd21", reference=other)
    before = drawn(pipe)
    assert not np.array_equal(before, drawn(opened("sd21")))
    pipe.save_pretrained(tmp_path)
    loaded = SwiftPiePipeline.from_pretrained(tmp_path)
    assert np.array_equal(drawn(loaded), before)
    assert np.array_equal(drawn(SwiftPiePipeline.from_pipe(loaded)), before)
    loaded.load_ip_adapter(models / "sd21" / "own.safetensors")
    assert np.array_equal(drawn(loaded), before)
    folder = models / "sd21" / "pipeline"
    theirs = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    unet = UNet2DConditionModel.from_pretrained(other)
    given = {
        "adapter": models / "sd21" / "own.safetensors",
        "image_encoder": pipe.image_encoder.tower,
    }
    twin = SwiftPiePipeline.from_pipe(theirs, preset="sd-turbo", reference_unet=unet, **given)
    assert twin.reference_unet is not unet  # theirs draws on with its own attention
    assert twin.reference_unet.conv_in.weight is unet.conv_in.weight
    assert twin.to_components().denoiser.reference is twin.reference_unet
    loaded.reference_unet = unet
    with pytest.raises(InputError, match="reference="):
        drawn(loaded)


@pytest.mark.thorough
def test_a_change_to_the_network_reaches_the_next_edit_as_released(opened, models):
    pipe = opened("sd21", kind=SwiftEditPipeline, inversion=models / "sd21" / "other_unet")
    settings = EditSettings(mode=EditMode.RELEASED)
    before = drawn(pipe, settings=settings)
    hook = pipe.unet.conv_out.register_forward_hook(lambda *given: 0.5 * given[-1])
    assert not np.array_equal(drawn(pipe, settings=settings), before)
    hook.remove()
    assert np.array_equal(drawn(pipe, settings=settings), before)


@pytest.mark.thorough
def test_half_precision_is_kept_where_it_is_asked_for(opened, tmp_path):
    pipe = opened("sd21", dtype=torch.bfloat16)
    pipe.save_pretrained(tmp_path)
    loaded = SwiftPiePipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert np.array_equal(drawn(loaded), drawn(pipe))
    assert loaded.to_components().fingerprint == pipe.to_components().fingerprint
    wide = SwiftPiePipeline.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in wide.unet.parameters()} == {torch.float32}
    assert wide.to_components().fingerprint != pipe.to_components().fingerprint


def test_an_autoencoder_that_overflows_stays_wide(opened, tmp_path):
    pipe = opened("sd21", dtype=torch.float16)
    pipe.vae.register_to_config(force_upcast=True)
    pipe.save_pretrained(tmp_path)
    loaded = SwiftPiePipeline.from_pretrained(tmp_path, dtype=torch.float16)
    assert (loaded.vae.dtype, loaded.unet.dtype) == (torch.float32, torch.float16)


@pytest.mark.thorough
def test_weights_of_a_lora_are_saved_as_a_whole(opened, models, tmp_path):
    preset = replace(
        preset_of("sd21"), kind=WeightsKind.LORA, file="x", base=str(models / "sd21" / "pipeline")
    )
    lora = make_lora(tmp_path / "lora.safetensors", "sd21")
    pipe = opened("sd21", preset=preset, weights=lora)
    before = drawn(pipe)
    assert not np.array_equal(before, drawn(opened("sd21")))
    pipe.save_pretrained(tmp_path / "saved")
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved")
    assert np.array_equal(drawn(loaded), before)
    assert loaded.to_components().preset.kind is WeightsKind.PIPELINE
    assert np.array_equal(drawn(reopened(tmp_path / "saved", "sd21")), before)


def test_a_failed_save_leaves_folder_and_pipeline_as_they_were(opened, tmp_path):
    pipe = opened("sd21")
    before = drawn(pipe)
    pipe.save_pretrained(tmp_path / "saved")
    stored = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="large"):
        pipe.save_pretrained(tmp_path / "saved", max_shard_size="large")
    assert stored == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert np.array_equal(drawn(pipe), before)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="saved"):
        pipe.save_pretrained(tmp_path / "file")


def test_a_folder_that_lost_its_adapter_says_so(opened, tmp_path):
    opened("sd21").save_pretrained(tmp_path)
    (tmp_path / ADAPTER).unlink()
    with pytest.raises(WeightsError, match="image_encoder=None"):
        SwiftPiePipeline.from_pretrained(tmp_path)
    assert SwiftPiePipeline.from_pretrained(tmp_path, image_encoder=None).image_encoder is None


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' schedulers
def test_a_pipeline_of_diffusers_lends_its_weights_and_goes_on_working(models):
    folder = models / "sdxl"
    theirs = StableDiffusionXLPipeline.from_pretrained(folder / "pipeline")
    options = {"height": 64, "width": 64, "latents": draw_noise([3], (4, 8, 8))}
    call = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "np"} | options
    before = theirs(PROMPT, **call).images
    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "encoder")
    adapter = {"adapter": folder / "own.safetensors", "image_encoder": encoder}
    ours = SwiftPiePipeline.from_pipe(theirs, preset="sdxl-turbo", **adapter)
    assert ours.vae is theirs.vae
    assert ours.unet.conv_in.weight is theirs.unet.conv_in.weight
    embeds = ours.prepare_ip_adapter_image_embeds(subject())
    asked = {"ip_adapter_image_embeds": embeds, "output_type": "np"} | options
    loud = ours(PROMPT, **asked).images
    silent = ours(PROMPT, scales=Scales(identity_scale=0, detail_scale=0), **asked).images
    assert np.abs(silent - before).max() < 1e-4
    assert np.abs(loud - before).max() > 1e-3
    assert np.array_equal(theirs(PROMPT, **call).images, before)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' schedulers
@pytest.mark.parametrize("size", [pytest.param((300, 200), marks=pytest.mark.thorough), (90, 140)])
def test_a_whole_picture_is_seen_as_by_diffusers(models, opened, size):
    folder = models / "sd21"
    side = {"shortest_edge": 32}, {"height": 32, "width": 32}
    theirs = StableDiffusionPipeline.from_pretrained(
        folder / "pipeline",
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(folder / "encoder"),
        feature_extractor=CLIPImageProcessor(size=side[0], crop_size=side[1]),
    )
    theirs.load_ip_adapter(
        str(folder), subfolder="", weight_name="public.safetensors", image_encoder_folder=None
    )
    ours = opened("sd21", "public")
    call = {"height": 64, "width": 64, "latents": draw_noise([3], (4, 8, 8))}
    call |= {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "latent"}
    shown = scene_library().image("campsite").resize(size)
    scales = Scales(identity_scale=1.0, detail_scale=0.0)
    drawn = ours(PROMPT, ip_adapter_image=shown, cutout="none", scales=scales, **call).images
    expected = theirs(PROMPT, ip_adapter_image=shown, **call).images
    other = theirs(PROMPT, ip_adapter_image=Image.new("RGB", size), **call).images
    # Ours shrinks in two steps.
    assert (drawn - expected).abs().max() < 0.1 * (other - expected).abs().max()


def seen_by_callback(pipe, **call):
    seen = []

    def keep(_pipe, _index, _timestep, values):
        seen.append(values["latents"].clone())
        return {"latents": 0.5 * values["latents"]}

    picture = pipe(PROMPT, callback_on_step_end=keep, output_type="pt", **call).images
    return [*seen, picture]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' schedulers
@pytest.mark.parametrize(
    ("renoise", "noise_scale"),
    [("euler_ancestral", "sigma"), pytest.param("ddim", "unit", marks=pytest.mark.thorough)],
)
def test_a_callback_sees_and_changes_the_latents_of_diffusers(models, opened, renoise, noise_scale):
    steps = {"timesteps": trailing_timesteps(4), "renoise": renoise, "noise_scale": noise_scale}
    ours = opened("sd21", None, preset=preset_of("sd21", **steps))
    theirs = StableDiffusionPipeline.from_pretrained(models / "sd21" / "pipeline")
    theirs.scheduler = ours.scheduler
    call = {"height": 64, "width": 64, "latents": draw_noise([3], (4, 8, 8))}
    call |= {"num_inference_steps": 4, "guidance_scale": 0.0}
    drawn, expected = (
        seen_by_callback(pipe, generator=torch.Generator().manual_seed(1), **call)
        for pipe in (ours, theirs)
    )
    assert len(drawn) == len(expected) == 5
    for one, other in zip(drawn, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))


def test_encoded_prompts_of_two_towers_stand_for_the_prompt(opened):
    pipe = opened("sdxl")
    states, pooled = pipe.encode_prompt(PROMPT)
    embeds = pipe.prepare_ip_adapter_image_embeds(subject())
    options = {"ip_adapter_image_embeds": embeds, "seeds": [3], "output_type": "np"}
    given = {"prompt_embeds": states, "pooled_prompt_embeds": pooled}
    assert np.allclose(pipe(**given, **options).images, pipe(PROMPT, **options).images, atol=1e-5)
    with pytest.raises(InputError, match="pooled_prompt_embeds"):
        pipe(prompt_embeds=states, **options)


@pytest.mark.thorough
def test_an_offloaded_edit_is_the_same(opened, models):
    """The processor stands for the accelerator: what is tested is that all hooks get along."""
    pipe = opened("sd21", kind=SwiftEditPipeline, inversion=models / "sd21" / "other_unet")
    before = [drawn(pipe, settings=EditSettings(mode=mode)) for mode in EditMode]
    pipe.enable_model_cpu_offload(device="cpu")
    for mode, plain in zip(EditMode, before, strict=True):
        assert np.abs(drawn(pipe, settings=EditSettings(mode=mode)) - plain).max() < 0.01
    pipe.remove_all_hooks()


@pytest.mark.parametrize("family", FAMILIES)
def test_pipelines_of_published_presets_are_pickled(opened, family):
    pipe = opened(family, preset=PRESETS.get({"sd21": "sd-turbo", "sdxl": "sdxl-turbo"}[family]))
    again = pickle.loads(pickle.dumps(pipe))
    size = {"height": 64, "width": 64}
    assert np.array_equal(drawn(again, **size), drawn(pipe, **size))
