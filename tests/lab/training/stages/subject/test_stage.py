"""A subject's tuning: losses by the textbook, and files that diffusers reads."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from swiftpie.backbones.load.ip_adapter import fuse_lora_file
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.models.denoiser import added_conditions
from swiftpie.schedules import PredictionType
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.losses import levels_at
from swiftpie_lab.training.stages.subject.networks import (
    EchoSettings,
    encode_with,
    predict,
    use_trained,
)
from swiftpie_lab.training.stages.subject.stage import (
    ADAPTER_FILE,
    FIRST_ALIGNED,
    LAST_ALIGNED,
    STUDENT_SEED,
    WORD_FILE,
    SubjectConfig,
    noise_loss,
)
from tests.backbones.tiny_models import make_pipeline, make_unet

WORD = "<subject>"


@pytest.fixture
def build_subject(place):
    """Builds a stage on a tiny random Stable Diffusion, exact and quick unless told otherwise."""

    def build_stage(**changes):
        settings = {
            "data": place / "photos" / "red_cup",
            "noun": "cup",
            "weights": place / "pipeline",
            "unet": place / "teacher",
            "image_encoder": place / "encoder",
            "size_px": 64,
            "batch_size": 1,
            "rank": 2,
            "echo": EchoSettings(first_step=1, echo_every=1, num_pictures=3, share=1.0),
            "mixed_precision": False,
        }
        return SubjectConfig(**settings | changes).build(Context(place, place, "cpu"))

    return build_stage


def excited(network):
    """The network with changes that are not zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name or "changes" in name:
                weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))
    return network


@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V, PredictionType.SAMPLE])
def test_the_loss_of_noise_is_the_textbooks(kind):
    raw, clean, noise = torch.randn(3, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    levels = levels_at(torch.tensor([10, 700]), like=clean)
    signal = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[[10, 700]]
    alpha, sigma = (level.reshape(2, 1, 1, 1) for level in (signal**0.5, (1 - signal) ** 0.5))
    x, e, w = clean.double().numpy(), noise.double().numpy(), weight.double().numpy()
    target = {"epsilon": e, "v_prediction": alpha * e - sigma * x, "sample": x}[kind.value]
    error = (raw.double().numpy() - target) ** 2
    found = noise_loss(raw, clean, noise, levels=levels, kind=kind, weight=weight)
    np.testing.assert_allclose(float(found), (error * w).sum() / (w.sum() * 4), rtol=1e-9)


@torch.no_grad()
def test_the_teachers_answer_is_its_clean_latents_in_float64(build_subject, place):
    stage = build_subject()
    network = excited(stage.network())
    use_trained(stage.base, network)
    drawn = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    prompts = [f"a {WORD} cup", "a cup"]
    text = encode_with(stage.base.components.text, network.word, prompts)
    batch = stage.batch(network, 3)._replace(prompts=prompts)
    found = stage.taught(network, drawn, batch, 3)

    generator = torch.Generator().manual_seed(STUDENT_SEED + 3)
    noise = torch.randn(drawn.shape, generator=generator).double()
    times = torch.randint(FIRST_ALIGNED, LAST_ALIGNED + 1, (2,), generator=generator)
    signal = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[times.numpy()]
    alpha, sigma = (
        torch.tensor(level).view(2, 1, 1, 1) for level in (signal**0.5, (1 - signal) ** 0.5)
    )
    unet = UNet2DConditionModel.from_pretrained(place / "teacher").double()
    for path, part in network.teacher.items():
        if "lora_A" in path:
            up = network.teacher[path.replace("lora_A", "lora_B")].weight.double()
            layer = unet.get_submodule(path.replace("/", ".").partition(".lora_A")[0])
            layer.weight.data += up @ part.weight.double()
    noisy = alpha * drawn.double() + sigma * noise
    raw = unet(noisy, times, text.hidden_states.double()).sample
    torch.testing.assert_close(found, (noisy - sigma * raw) / alpha, rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_word_begins_as_its_pieces_and_only_prompts_that_say_it_change(build_subject):
    stage = build_subject()
    text, network = stage.base.components.text, stage.network()
    prompts = [f"a {WORD} cup", "a cup"]
    plain, begun = text.encode(prompts), encode_with(text, network.word, prompts)
    torch.testing.assert_close(begun.hidden_states, plain.hidden_states)
    told = encode_with(text, excited(network).word, prompts)
    assert not torch.allclose(told.hidden_states[0], plain.hidden_states[0])
    torch.testing.assert_close(told.hidden_states[1], plain.hidden_states[1])
    assert torch.equal(text.encode(prompts).hidden_states, plain.hidden_states)


def test_terms_reach_what_they_train_and_nothing_else(build_subject):
    stage = build_subject(batch_size=2)
    network = excited(stage.network())
    for update in stage.updates(network, 0, 3):
        network.zero_grad()
        torch.stack([*update.terms.values()]).sum().backward()
        touched = {n.split(".")[0] for n, w in network.named_parameters() if w.grad is not None}
        assert touched >= set(stage.groups[update.group])
        if update.group != "discriminator":
            assert all(torch.isfinite(term) for term in update.terms.values())
    assert list(stage.groups) == ["teacher", "student", "discriminator"]


def test_the_students_pictures_come_back_as_data(build_subject):
    stage = build_subject()
    network = stage.network()
    use_trained(stage.base, network)
    photos = stage.batch(network, 3)
    stage.draw_echoes(network, 1)
    network.num_echoes.fill_(3)  # of a random encoder none may be alike enough
    network.echoes.copy_(torch.arange(3.0).view(3, 1, 1, 1).expand_as(network.echoes))
    echoes = stage.batch(network, 3)
    assert not torch.equal(photos.latents, echoes.latents)
    assert echoes.mask.min() == 1
    assert echoes.prompts[0].startswith(f"a photo of a {WORD} cup ")


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["sd21", "sdxl"])
@torch.no_grad()
def test_diffusers_and_this_library_load_what_was_trained(build_subject, tmp_path, family):
    preset = {"sd21": "sd-turbo", "sdxl": "sdxl-turbo"}[family]
    make_pipeline(tmp_path / "pipeline", family, is_shallow=True)
    make_unet(tmp_path / "unet", family, is_shallow=True)
    own = {"preset": preset, "weights": tmp_path / "pipeline", "unet": tmp_path / "unet"}
    stage = build_subject(**own)
    network = excited(stage.network())
    terms = next(stage.updates(network, 0, 1)).terms
    assert all(torch.isfinite(term) for term in terms.values())
    stage.export(network, tmp_path / "export")
    text = encode_with(stage.base.components.text, network.word, [f"a photo of a {WORD} cup"])
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    wanted = predict(stage.base.teacher, latents, 500, text)
    file = tmp_path / "export" / "teacher" / ADAPTER_FILE

    theirs = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    plain = predict(theirs, latents, 500, text)
    theirs.load_lora_adapter(load_file(file), prefix="unet")
    torch.testing.assert_close(predict(theirs, latents, 500, text), wanted)
    assert not torch.allclose(plain, wanted)

    ours = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    loader = {"sd21": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}[family]
    fuse_lora_file(ours, file, family=family, loader=loader)
    torch.testing.assert_close(predict(ours, latents, 500, text), wanted, rtol=1e-4, atol=1e-5)
    vectors = load_file(tmp_path / "export" / WORD_FILE)
    assert set(vectors) == ({WORD} if family == "sd21" else {"clip_l", "clip_g"})
    assert (added_conditions(ours, latents, text) is None) == (family == "sd21")


def test_what_cannot_be_tuned_is_refused(build_subject):
    with pytest.raises(CapabilityError, match="swiftpie tune"):
        build_subject(preset="mini")
    with pytest.raises(ConfigError, match=r"stage\.unet is not set"):
        build_subject(unet=None)
    with pytest.raises(ConfigError, match="predicts is flow"):
        build_subject(predicts=PredictionType.FLOW)
