"""A call in the manner of diffusers draws what a session draws, and ignores nothing."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image

from swiftpie import InputError, MaskSource, Session, Subject
from swiftpie.backbones.presets import trailing
from swiftpie.backbones.scheduling import schedule_of
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.guidance.cfg import ClassifierFree
from swiftpie.guidance.dcg import Decoupled
from swiftpie.imageio.images import to_tensor
from swiftpie.mini.scenes import packaged
from swiftpie.pipelines.settings import IdentityGuidance, steering_of
from tests.pipelines.tiny_editor import tiny_editor

PROMPT = "a photo of a subject on a beach"
ORDER = (
    "prompt height width num_inference_steps timesteps sigmas guidance_scale negative_prompt "
    "num_images_per_prompt eta generator latents prompt_embeds negative_prompt_embeds "
    "ip_adapter_image ip_adapter_image_embeds output_type return_dict cross_attention_kwargs "
    "guidance_rescale clip_skip callback_on_step_end callback_on_step_end_tensor_inputs"
)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def bytes_of(pictures):
    return [picture.tobytes() for picture in pictures]


@pytest.fixture(scope="module")
def expected(session, identity):
    """What a session draws for the seed 3."""
    return bytes_of(session.personalize(identity, PROMPT, seed=3).images)


def test_the_picture_is_the_one_of_a_session(pipe, identity, sprite, expected):
    by_identity = pipe(PROMPT, subjects=identity, seeds=[3])
    assert bytes_of(by_identity.images) == expected
    assert by_identity.seeds == (3,)
    assert {"text", "denoise", "decode", "total"} <= {*by_identity.timings}
    by_picture = pipe(PROMPT, ip_adapter_image=sprite, seeds=[3])
    assert bytes_of(by_picture.images) == expected
    embeds = pipe.prepare_ip_adapter_image_embeds(sprite)
    by_embeds = pipe(PROMPT, ip_adapter_image_embeds=embeds, seeds=[3])
    assert bytes_of(by_embeds.images) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"box": (0.1, 0.2, 0.7, 0.9)},
        {"mask": MaskSource.INLINE},
        {"scene": "words"},
        {"scene": packaged().image("forest")},
    ],
)
def test_place_and_region_are_those_of_a_session(pipe, session, identity, options):
    drawn = session.personalize(identity, PROMPT, seed=3, **options)
    called = pipe(PROMPT, subjects=identity, seeds=[3], **options)
    assert bytes_of(called.images) == bytes_of(drawn.images)
    assert bytes_of(called.masks) == bytes_of(drawn.subject_masks)


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
    with pytest.raises(InputError, match="`scene` came with noise"):
        pipe(PROMPT, subjects=identity, latents=latents, scene="castle")


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


def test_a_tuple_and_no_masks_on_request(pipe, identity, expected):
    images, seeds, timings, branches = pipe(
        PROMPT, subjects=identity, seeds=[3], return_dict=False, return_masks=False
    )
    assert bytes_of(images) == expected
    assert seeds == (3,)
    assert timings["total"] > 0
    assert "semantic" in branches


def test_a_callback_sees_the_step_and_can_change_the_latents(pipe, identity, expected):
    seen = []

    def watch(who, index, timestep, values):
        seen.append((who is pipe, index, timestep, values["latents"].shape))
        return values

    def erase(*arguments):
        return {"latents": torch.zeros_like(arguments[-1]["latents"])}

    watched = pipe(PROMPT, subjects=identity, seeds=[3], callback_on_step_end=watch)
    assert seen == [(True, 0, 999, (1, 32, 16, 16))]
    assert bytes_of(watched.images) == expected
    erased = pipe(PROMPT, subjects=identity, seeds=[3], callback_on_step_end=erase)
    assert bytes_of(erased.images) != expected
    latents = pipe(
        PROMPT, subjects=identity, seeds=[3], callback_on_step_end=erase, output_type="latent"
    )
    assert not latents.images.any()


def count(module, calls):
    return module.register_forward_pre_hook(lambda *_: calls.append(1))


def test_an_interrupt_stops_before_the_decoder(pipe, identity, expected, monkeypatch):
    decoded = []
    decode = pipe.vae.decode
    monkeypatch.setattr(pipe.vae, "decode", lambda z: decoded.append(1) or decode(z))

    def stop(*arguments):
        arguments[0]._interrupt = True
        return arguments[-1]

    stopped = pipe(PROMPT, subjects=identity, seeds=[3], callback_on_step_end=stop)
    assert (stopped.images, stopped.masks, decoded) == ([], [], [])
    assert pipe.interrupt
    assert bytes_of(pipe(PROMPT, subjects=identity, seeds=[3]).images) == expected
    assert decoded == [1]


def test_an_interrupt_while_text_is_read_stops_before_the_denoiser(pipe, identity):
    calls = []
    hooks = [
        count(pipe.unet, calls),
        pipe.text_encoder.register_forward_hook(lambda *_: setattr(pipe, "_interrupt", True)),
    ]
    try:
        stopped = pipe(PROMPT, subjects=identity, seeds=[3])
    finally:
        for hook in hooks:
            hook.remove()
    assert stopped.images == []
    assert calls == []


@pytest.mark.parametrize(
    ("options", "guidance"),
    [
        ({"guidance_scale": 2.0}, ClassifierFree((2.0,))),
        ({"guidance_scale": 2.0, "negative_prompt": "a cat"}, ClassifierFree((2.0,))),
        ({"guidance_scale": 2.0, "guidance_rescale": 0.7}, Decoupled((2.0,), (2.0,), rescale=0.7)),
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
    plain, away = (pipe(PROMPT, **options, negative_prompt=one) for one in (None, "a beach"))
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


def test_threads_share_a_pipeline(pipe, identity):
    alone = [pipe(PROMPT, subjects=identity, seeds=[seed]).images[0] for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        call = lambda seed: pipe(PROMPT, subjects=identity, seeds=[seed]).images[0]  # noqa: E731
        together = list(pool.map(call, [0, 1, 2] * 2))
    for index, drawn in enumerate(together):
        assert np.abs(np.int16(drawn) - np.int16(alone[index % 3])).max() <= 1


def test_progress_is_silent_when_disabled_and_counts_steps_otherwise(pipe, identity, capsys):
    pipe(PROMPT, subjects=identity, seeds=[3])
    assert capsys.readouterr() == ("", "")
    pipe.set_progress_bar_config(desc="drawing")
    pipe(PROMPT, subjects=identity, seeds=[3])
    assert "drawing: 100%" in capsys.readouterr().err


@pytest.fixture
def patient():
    """A random model of four steps that adds fresh noise on its way."""
    editor = tiny_editor()
    preset = replace(editor.preset, timesteps=trailing(4), renoise="lcm")
    made = SwiftPiePipeline.from_components(
        replace(editor, preset=preset, schedule=schedule_of(preset))
    )
    made.set_progress_bar_config(disable=True)
    return made


def test_several_steps_are_called_back_and_can_be_cut_short(patient, sprite):
    steps, calls = [], []

    def stop_after_two(pipe, index, timestep, values):
        steps.append((index, timestep))
        pipe._interrupt = index == 1
        return values

    hook = count(patient.unet, calls)
    embeds = patient.prepare_ip_adapter_image_embeds(sprite)
    calls.clear()
    options = {"ip_adapter_image_embeds": embeds, "seeds": [1]}
    try:
        stopped = patient("a cat", callback_on_step_end=stop_after_two, **options)
    finally:
        hook.remove()
    assert steps == [(0, 999), (1, 749)]
    assert len(calls) == 2
    assert stopped.images == []
    assert len(patient("a cat", num_inference_steps=4, **options).images) == 1
    with pytest.raises(InputError, match="takes 4"):
        patient("a cat", num_inference_steps=1, **options)


def test_generators_stand_for_seeds_over_several_steps(patient, sprite):
    embeds = patient.prepare_ip_adapter_image_embeds(sprite)
    options = {"ip_adapter_image_embeds": embeds, "num_images_per_prompt": 2}
    seeded = patient("a cat", seeds=[1, 2], **options)
    drawn = patient("a cat", generator=generators(1, 2), **options)
    assert bytes_of(drawn.images) == bytes_of(seeded.images)


def test_the_arguments_are_those_of_diffusers_in_their_order():
    num = len(ORDER.split())
    parameters = inspect.signature(SwiftPiePipeline.__call__).parameters
    assert " ".join(list(parameters)[1 : num + 1]) == ORDER
    ours = list(parameters.values())[num + 1 :]
    assert {one.name for one in ours} >= {"subjects", "mask", "box", "seeds", "return_masks"}
    assert all(one.kind is one.KEYWORD_ONLY for one in ours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_inference_steps": 4}, "takes 1"),
        ({"timesteps": [999]}, "timesteps="),
        ({"sigmas": torch.ones(2)}, "sigmas="),
        ({"eta": 0.5}, "eta="),
        ({"clip_skip": 1}, "clip_skip="),
        ({"output_type": "jpeg"}, "output_type="),
        ({"cross_attention_kwargs": {"scale": 0.5}}, "'scale'"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "'noise'"),
        ({"height": 100}, "multiples of"),
        ({"num_images_per_prompt": 0}, "0 pictures"),
        ({"num_images_per_prompt": 10**9}, "1000000000 pictures"),
        ({"num_images_per_prompt": 65}, "65 pictures"),
        ({"seeds": [1, 2]}, "2 seeds"),
        ({"seeds": [-1]}, "seed is -1"),
        ({"seeds": [1], "generator": torch.Generator()}, "seeds came with"),
        ({"generator": [torch.Generator()] * 2}, "2 generators"),
        ({"latents": torch.zeros(1, 4, 16, 16)}, "latents has shape"),
        ({"prompt": None}, "Exactly one of `prompt`"),
        ({"prompt_embeds": torch.zeros(1, 32, 160)}, "Exactly one of `prompt`"),
        ({"prompt": [PROMPT, " "]}, "prompt is empty"),
        ({"prompt": []}, "0 pictures"),
        ({"prompt": None, "prompt_embeds": torch.zeros(32, 160)}, "prompt_embeds has shape"),
        ({"negative_prompt": "ugly"}, "without guidance"),
        ({"guidance_rescale": 0.7}, "guidance_scale=1.0"),
        (
            {"guidance_scale": 2.0, "identity_guidance": IdentityGuidance.DCG},
            "guidance_scale and identity_guidance",
        ),
        ({"guidance_scale": 2.0, "negative_prompt": ["ugly"] * 3}, "3 prompts"),
        ({"subjects": None}, "exactly one"),
        ({"ip_adapter_image": "a.png"}, "exactly one"),
        ({"subjects": None, "ip_adapter_image": 3}, "given as int"),
        ({"subjects": None, "ip_adapter_image": torch.full((3, 8, 8), -1.0)}, "Scale it"),
        ({"subjects": None, "ip_adapter_image_embeds": [torch.zeros(1)]}, "detail branch"),
    ],
)
def test_what_cannot_be_honoured_is_refused(pipe, identity, options, message):
    call = {"prompt": PROMPT, "subjects": identity} | options
    with pytest.raises(InputError, match=message):
        pipe(**call)


@pytest.fixture(scope="module")
def left_and_right():
    """Two masks, as diffusers' own processor makes them."""
    left = np.zeros((64, 64), dtype=np.uint8)
    left[:, :32] = 255
    masks = [Image.fromarray(left), Image.fromarray(255 - left)]
    return IPAdapterMaskProcessor().preprocess(masks, height=128, width=128)


@pytest.mark.parametrize("form", ["array", "bytes", "tensor", "batch", "nested"])
def test_a_reference_may_come_in_every_form_of_diffusers(pipe, sprite, form, expected):
    values = np.asarray(sprite)
    forms = {
        "array": values.astype(np.float32) / 255,
        "bytes": values,
        "tensor": torch.from_numpy(values.copy()).permute(2, 0, 1) / 255,
        "batch": torch.from_numpy(values.copy()).permute(2, 0, 1)[None] / 255,
        "nested": [[sprite]],
    }
    assert bytes_of(pipe(PROMPT, ip_adapter_image=forms[form], seeds=[3]).images) == expected


def test_a_mask_of_two_layers_makes_two_subjects_of_one_entry(
    pipe, session, identity, sprite, left_and_right
):
    drawn = pipe(
        PROMPT,
        ip_adapter_image=[[sprite, sprite]],
        cross_attention_kwargs={"ip_adapter_masks": [left_and_right.reshape(1, 2, 128, 128)]},
        seeds=[3],
    )
    subjects = [Subject(identity, mask=one[None]) for one in left_and_right]
    reference = session.personalize(subjects, PROMPT, seed=3)
    assert bytes_of(drawn.images) == bytes_of(reference.images)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(1, 1, 8, 8), "1 masks were given for 2"),
        ([torch.ones(8, 8)] * 2, "tensors"),
        ([torch.full((1, 1, 8, 8), 255.0)] * 2, "tensors"),
    ],
)
def test_masks_that_do_not_fit_are_refused(pipe, identity, masks, message):
    with pytest.raises(InputError, match=message):
        pipe(
            PROMPT,
            ip_adapter_image_embeds=[identity, identity],
            cross_attention_kwargs={"ip_adapter_masks": masks},
        )
