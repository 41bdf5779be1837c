"""Arguments keep the order of diffusers, and what cannot be honoured is refused."""

import inspect

import pytest
import torch

from swiftpie import InputError
from swiftpie.guidance.style import Style
from swiftpie.pipelines.hub.personalize import SwiftPiePipeline

PROMPT = "a photo of a subject on a beach"
ORDER = (
    "prompt height width num_inference_steps timesteps sigmas guidance_scale negative_prompt "
    "num_images_per_prompt eta generator latents prompt_embeds negative_prompt_embeds "
    "ip_adapter_image ip_adapter_image_embeds output_type return_dict cross_attention_kwargs "
    "guidance_rescale clip_skip callback_on_step_end callback_on_step_end_tensor_inputs"
)


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
        ({"guidance_scale": 2.0, "style": Style.DCG}, "guidance_scale and style"),
        ({"guidance_scale": 2.0, "negative_prompt": ["ugly"] * 3}, "3 prompts"),
        ({"subjects": None}, "exactly one"),
        ({"subjects": []}, "0 subjects"),
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


def test_an_argument_that_does_not_exist_is_a_type_error(pipe, identity):
    with pytest.raises(TypeError, match="promt"):
        pipe(promt=PROMPT, subjects=identity)
