"""EchoDistill on a tiny random Stable Diffusion: losses by hand, echoes, and files that load."""

import shutil
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages.echo import (
    FIRST_ALIGNED,
    LAST_ALIGNED,
    LORA_FILE,
    SEEDS,
    WORD_FILE,
    EchoConfig,
    Echoes,
)
from tests.lab.training.stages import conftest
from tests.lab.training.stages.test_distillation import SIGNAL

WORD = "<subject>"


@pytest.fixture(scope="module")
def build(place, models):
    def build_stage(**changes):
        settings = {
            "data": place / "photos" / "red_cup",
            "noun": "cup",
            "weights": place / "pipeline",
            "teacher": models / "sd21" / "other_unet",
            "image_encoder": place / "encoder",
            **conftest.EXACT,
            "batch_size": 1,
            "rank": 2,
            "echoes": Echoes(first_step=1, draw_every=1, num_pictures=4, share=1.0),
        }
        return EchoConfig(**settings | changes).build(Context(place, place, "cpu"))

    return build_stage


def excited(network):
    """The network with changes that are not zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name or "changes" in name:
                weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))
    return network


@torch.no_grad()
def test_the_teachers_answer_is_its_clean_latents_in_float64(build):
    stage = build()
    network = excited(stage.network())
    stage.use(network)
    drawn = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    text = network.word.encode(stage.pair.components.text, [f"a {WORD} cup", "a cup"])
    found = stage.taught(drawn, text, 3)

    chance = torch.Generator().manual_seed(SEEDS["student"] + 3)
    times = torch.randint(FIRST_ALIGNED, LAST_ALIGNED + 1, (2,), generator=chance)
    noise = torch.randn(drawn.shape, generator=chance).double()
    alpha, sigma = ((s**0.5).view(2, 1, 1, 1) for s in (SIGNAL[times], 1 - SIGNAL[times]))
    unet = UNet2DConditionModel.from_pretrained(stage.config.teacher).double()
    for path, part in network.teacher.items():
        if "lora_A" in path:
            up = network.teacher[path.replace("lora_A", "lora_B")].weight.double()
            layer = unet.get_submodule(path.replace("/", ".").partition(".lora_A")[0])
            layer.weight += up @ part.weight.double()
    noisy = alpha * drawn.double() + sigma * noise
    raw = unet(noisy, times, text.hidden_states.double()).sample
    torch.testing.assert_close(found, (noisy - sigma * raw) / alpha, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_word_begins_as_its_pieces_and_only_prompts_that_say_it_change(build):
    stage = build()
    text, network = stage.pair.components.text, stage.network()
    prompts = [f"a {WORD} cup", "a cup"]
    plain, begun = text.encode(prompts), network.word.encode(text, prompts)
    torch.testing.assert_close(begun.hidden_states, plain.hidden_states)
    told = excited(network).word.encode(text, prompts)
    assert not torch.allclose(told.hidden_states[0], plain.hidden_states[0])
    torch.testing.assert_close(told.hidden_states[1], plain.hidden_states[1])
    assert torch.equal(text.encode(prompts).hidden_states, plain.hidden_states)


def test_terms_reach_what_they_train_and_nothing_else(build):
    stage = build(batch_size=2, checkpointing=True)
    network, names = excited(stage.network()), []
    for update in stage.updates(network, 0, 3):
        network.zero_grad()
        torch.stack([*update.terms.values()]).sum().backward()
        touched = {n.split(".")[0] for n, w in network.named_parameters() if w.grad is not None}
        assert touched >= set(stage.groups[update.group])
        names.append({*update.terms})
    student = {"latents", "look", "identity", "adversarial"}
    assert names == [{"subject", "prior"}, student, {"hinge", "r1"}]


@torch.no_grad()
def test_the_half_of_the_students_pictures_most_like_the_references_comes_back_as_data(build):
    stage = build()
    network = stage.network()
    stage.use(network)
    photos = stage.batch(network, 3)
    stage.draw_echoes(network, 1)
    assert int(network.num_echoes) == 2
    real = stage._references()[1]
    drawn = []
    for number, place in enumerate(("on a beach", "in the snow", "on a table", "in a forest")):
        text = network.word.encode(stage.pair.components.text, [f"a photo of a {WORD} cup {place}"])
        drawn.append(stage._draw("echo", 10**6 + number, text))
    likeness = torch.stack([stage._cosines(latents, real).mean() for latents in drawn])
    best = likeness.argsort(descending=True)[:2]
    torch.testing.assert_close(network.echoes, torch.cat([drawn[number] for number in best]))
    echoes = stage.batch(network, 3)
    assert not torch.equal(photos.latents, echoes.latents)
    assert echoes.mask.min() == 1
    assert echoes.prompts[0].startswith(f"a photo of a {WORD} cup ")


def test_a_place_that_a_caption_names_is_said_beside_the_word(build, place, tmp_path):
    shutil.copytree(place / "photos" / "red_cup", tmp_path / "cup")
    prompts = []
    for said in ("Two tall cups", "A red cup on grass"):
        for photo in (tmp_path / "cup").glob("*.png"):
            photo.with_suffix(".txt").write_text(said)
        stage = build(data=tmp_path / "cup")
        prompts += stage.batch(stage.network(), 3).prompts
    assert prompts == [f"a photo of a {WORD} cup", f"a photo of a {WORD} cup on grass"]


@pytest.mark.thorough
def test_a_run_goes_on_bit_for_bit_and_pipelines_draw_what_the_student_learned(
    build, place, tmp_path
):
    build = partial(build, mixed_precision=True)
    last = conftest.check_goes_on(build, tmp_path, steps=3, learning_rate=1e-2)
    assert -1 <= last.losses["identity_cosine"] <= 1

    export = tmp_path / "whole" / "export"
    (vectors,) = load_file(export / WORD_FILE).values()
    pipeline = SwiftPiePipeline.from_preset("sd-turbo", weights=place / "pipeline")
    drawn = [picture_of(pipeline)]
    pipeline.load_textual_inversion(export / WORD_FILE)
    drawn.append(picture_of(pipeline))
    pipeline.load_lora_weights(export / "student" / LORA_FILE)
    drawn.append(picture_of(pipeline))
    assert vectors.ndim == 2
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    pipeline.save_pretrained(tmp_path / "mine")  # which `--weights` takes
    again = SwiftPiePipeline.from_preset("sd-turbo", weights=tmp_path / "mine")
    assert torch.equal(picture_of(again), drawn[2])


def picture_of(pipeline):
    generator = torch.Generator().manual_seed(1)
    size = {"height": 64, "width": 64}
    return pipeline(f"a {WORD} cup", generator=generator, output_type="pt", **size).images


def test_what_cannot_be_tuned_is_refused(build):
    with pytest.raises(CapabilityError, match="sd-turbo"):
        build(preset="mini")
    with pytest.raises(ConfigError, match=r"stage\.teacher is not set"):
        build(teacher=None)
