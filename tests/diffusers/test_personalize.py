"""A call in the manner of diffusers draws what a session draws, and ignores nothing."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from swiftpie import Scales, Session, Subject
from swiftpie.backbones.choices import schedule_of
from swiftpie.backbones.presets import trailing_timesteps
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.guidance import ClassifierFree, Decoupled
from swiftpie.imageio.images import to_tensor
from swiftpie.pipelines.settings import IdentityGuidance, steering_of
from tests.fuzz.pictures import encoded
from tests.tiny.editor import tiny_editor

PROMPT = "a photo of a subject on a beach"


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def bytes_of(pictures):
    return [picture.tobytes() for picture in pictures]


@pytest.fixture(scope="module")
def expected(session, identity):
    return bytes_of(session.personalize(identity, PROMPT, seed=3).images)


def test_the_picture_is_the_one_of_a_session(pipe, identity, sprite, expected):
    by_identity = pipe(PROMPT, subjects=identity, seeds=[3])
    assert bytes_of(by_identity.images) == expected
    assert by_identity.seeds == (3,)
    assert {"text", "denoise", "decode", "total"} <= {*by_identity.timings}
    assert bytes_of(pipe(PROMPT, ip_adapter_image=sprite, seeds=[3]).images) == expected
    embeds = pipe.prepare_ip_adapter_image_embeds(sprite)
    by_embeds = pipe(PROMPT, ip_adapter_image_embeds=embeds, seeds=[3], return_dict=False)
    assert bytes_of(by_embeds[0]) == expected


def test_a_fresh_generator_stands_for_its_seed_and_a_used_one_for_another(
    pipe, session, identity, expected
):
    [generator] = generators(3)
    first = pipe(PROMPT, subjects=identity, generator=generator)
    assert bytes_of(first.images) == expected
    second = pipe(PROMPT, subjects=identity, generator=generator)
    assert first.seeds == (3,) != second.seeds
    again = session.personalize(identity, PROMPT, seed=second.seeds[0])
    assert bytes_of(second.images) == bytes_of(again.images)
    pair = {"subjects": identity, "num_images_per_prompt": 2}
    assert pipe(PROMPT, generator=generators(3)[0], **pair).seeds == (3, 4)
    assert pipe(PROMPT, generator=generators(3, 7), **pair).seeds == (3, 7)


def test_latents_stand_for_seeds_where_words_draw_the_place(pipe, session, identity):
    drawn = session.personalize(identity, PROMPT, seed=3, scene="words")
    latents = torch.randn(1, 32, 16, 16, generator=generators(3)[0])
    for options in ({"latents": latents}, {"generator": generators(3), "scene": "words"}):
        called = pipe(PROMPT, subjects=identity, **options)
        assert bytes_of(called.images) == bytes_of(drawn.images)
        assert called.seeds == ()


def test_encoded_prompts_stand_for_prompts(pipe, session, identity):
    words = session.personalize(identity, PROMPT, seed=3, scene="words").images[0]
    states, pooled = pipe.encode_prompt(PROMPT)
    for extra in ({}, {"pooled_prompt_embeds": pooled}):
        drawn = pipe(prompt_embeds=states, subjects=identity, seeds=[3], **extra).images[0]
        assert np.abs(np.int16(drawn) - np.int16(words)).max() <= 1


def test_output_types_show_one_picture(pipe, identity, session):
    outputs = {
        kind: pipe(PROMPT, subjects=identity, seeds=[3], output_type=kind, scene="words").images
        for kind in ("pil", "np", "pt", "latent")
    }
    pixels = to_tensor(outputs["pil"][0])
    assert outputs["np"].shape == (1, 128, 128, 3)
    assert outputs["pt"].shape == (1, 3, 128, 128)
    assert outputs["latent"].shape == (1, 32, 16, 16)
    assert torch.allclose(outputs["pt"] * 2 - 1, pixels, atol=1 / 127)
    assert np.array_equal(outputs["np"], outputs["pt"].permute(0, 2, 3, 1).numpy())
    decoded = session.components.autoencoder.decode(outputs["latent"]).clamp(-1, 1)
    assert torch.allclose(decoded, pixels, atol=1 / 127)


def test_a_callback_sees_the_step_and_can_change_the_latents(pipe, identity, expected):
    seen = []

    def watch(who, index, timestep, values):
        seen.append((who is pipe, index, timestep, values["latents"].shape))
        return values

    def erase(*arguments):
        return {"latents": torch.zeros_like(arguments[-1]["latents"])}

    watched = pipe(PROMPT, subjects=identity, seeds=[3], callback_on_step_end=watch)
    # Before a scene, the model draws its light at half the size.
    assert seen == [(True, 0, 999, (1, 32, 8, 8))]
    assert bytes_of(watched.images) == expected
    erased = pipe(PROMPT, subjects=identity, seeds=[3], callback_on_step_end=erase)
    assert bytes_of(erased.images) != expected
    latents = pipe(
        PROMPT, subjects=identity, seeds=[3], callback_on_step_end=erase, output_type="latent"
    )
    assert not latents.images.any()


@pytest.mark.parametrize(
    ("options", "guidance"),
    [
        ({"guidance_scale": 2.0}, ClassifierFree((2.0,))),
        ({"guidance_scale": 2.0, "negative_prompt": "a cat"}, ClassifierFree((2.0,))),
        ({"guidance": Decoupled((1.5,), (2.0,)), "negative_prompt": "a cat"}, None),
    ],
)
def test_guidance_is_that_of_a_session(pipe, session, identity, expected, options, guidance):
    negative = options.get("negative_prompt", "")
    drawn = session.personalize(
        identity, PROMPT, seed=3, guidance=guidance or options["guidance"], negative_prompt=negative
    )
    called = pipe(PROMPT, subjects=identity, seeds=[3], **options)
    assert bytes_of(called.images) == bytes_of(drawn.images) != expected


def test_a_negative_prompt_leads_elsewhere_than_none(pipe, identity):
    options = {"subjects": identity, "seeds": [3], "guidance_scale": 2.0}
    plain, away = (
        pipe(PROMPT, **options, negative_prompt=negative) for negative in (None, "a beach")
    )
    assert bytes_of(plain.images) != bytes_of(away.images)
    states, pooled = pipe.encode_prompt("a beach")
    embeds = {"negative_prompt_embeds": states, "negative_pooled_prompt_embeds": pooled}
    encoded = pipe(PROMPT, **options, **embeds).images[0]
    assert np.abs(np.int16(encoded) - np.int16(away.images[0])).max() <= 1


def test_a_style_is_that_of_a_session(patient, sprite):
    [identity] = patient.prepare_ip_adapter_image_embeds(sprite)
    session = Session(patient.to_components())
    drawn = session.personalize(
        identity, "a cat", seed=1, **steering_of(IdentityGuidance.DCG_AM2, 4), scene="words"
    )
    called = patient(
        "a cat", subjects=identity, seeds=[1], identity_guidance=IdentityGuidance.DCG_AM2
    )
    assert bytes_of(called.images) == bytes_of(drawn.images)
    plain = patient("a cat", subjects=identity, seeds=[1])
    assert bytes_of(called.images) != bytes_of(plain.images)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_no_guidance_changes_and_says_nothing(pipe, identity, expected, caplog, scale):
    options = {"guidance_scale": scale, "num_inference_steps": 1}
    drawn = pipe(PROMPT, subjects=identity, seeds=[3], **options)
    assert bytes_of(drawn.images) == expected
    assert caplog.records == []


def test_progress_is_silent_when_disabled_and_counts_steps_otherwise(pipe, identity, capsys):
    pipe(PROMPT, subjects=identity, seeds=[3])
    assert capsys.readouterr() == ("", "")
    pipe.set_progress_bar_config(desc="drawing")
    pipe(PROMPT, subjects=identity, seeds=[3])
    assert "drawing: 100%" in capsys.readouterr().err


@pytest.fixture
def patient():
    editor = tiny_editor()
    preset = replace(editor.preset, timesteps=trailing_timesteps(4), renoise="lcm")
    return SwiftPiePipeline.from_components(
        replace(editor, preset=preset, schedule=schedule_of(preset))
    )


def test_generators_stand_for_seeds_over_several_steps(patient, sprite):
    embeds = patient.prepare_ip_adapter_image_embeds(sprite)
    options = {"ip_adapter_image_embeds": embeds, "num_images_per_prompt": 2}
    seeded = patient("a cat", seeds=[1, 2], **options)
    drawn = patient("a cat", generator=generators(1, 2), **options)
    assert bytes_of(drawn.images) == bytes_of(seeded.images)


def test_a_strength_of_subjects_stands_in_place_of_the_recipes(session, pipe, identity, expected):
    def drawn(**changes):
        return bytes_of(session.personalize(identity, PROMPT, seed=3, **changes).images)

    def called(pipe, **options):
        return bytes_of(pipe(PROMPT, subjects=identity, seeds=[3], **options).images)

    pipe.set_ip_adapter_scale(0.6)
    weaker = bytes_of(session.personalize([Subject(identity, scale=0.6)], PROMPT, seed=3).images)
    assert called(pipe) == weaker != expected
    pipe.set_ip_adapter_scale([0.6, 1.0])
    pair = [Subject(identity, scale=0.6), Subject(identity)]
    both = pipe(PROMPT, ip_adapter_image_embeds=[identity, identity], seeds=[3])
    assert bytes_of(both.images) == bytes_of(session.personalize(pair, PROMPT, seed=3).images)
    weak = replace(session.components.preset, defaults={"identity_scale": 0.4, "detail_scale": 0.8})
    own = SwiftPiePipeline.from_components(replace(session.components, preset=weak))
    assert called(own) == drawn(scales=Scales(0.4, 0.8))
    own.set_ip_adapter_scale(1.0)
    assert called(own) == drawn(scales=Scales(1.0, 2.0))
    assert called(own, scales=Scales(0.5, 0.25)) == drawn(scales=Scales(1.0, 0.5))


@pytest.mark.parametrize("form", ["array", "bytes", "tensor", "batch", "nested", "file", "opened"])
def test_a_reference_may_come_in_every_form_of_diffusers(pipe, sprite, form, identity):
    values = np.asarray(sprite)
    forms = {
        "array": values.astype(np.float32) / 255,
        "bytes": values,
        "tensor": torch.from_numpy(values.copy()).permute(2, 0, 1) / 255,
        "batch": torch.from_numpy(values.copy()).permute(2, 0, 1)[None] / 255,
        "nested": [[sprite]],
        "file": encoded(sprite),
        "opened": io.BytesIO(encoded(sprite)),
    }
    (read,) = pipe.prepare_ip_adapter_image_embeds(forms[form])
    assert torch.equal(read.tokens, identity.tokens)
