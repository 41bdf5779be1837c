"""A tiny random FLUX.2 [klein] in the folder layout of the hub."""

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

from tests.tiny.folders import save_whole
from tests.tiny.networks import outspoken

HIDDEN = 16  # of the language model; in full size 2560
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_pipeline(folder, *, pieces=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        pipeline = Flux2KleinPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=_autoencoder(),
            text_encoder=_language_model(),
            tokenizer=tokenizer(),
            transformer=_transformer(),
            is_distilled=True,
        )
    return save_whole(pipeline, folder, tokenizer="Qwen2Tokenizer", pieces=pieces)


def _transformer():
    network = Flux2Transformer2DModel(
        in_channels=128,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * HIDDEN,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    ).eval()
    return outspoken(network)


def _autoencoder():
    network = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    ).eval()
    nn.init.uniform_(network.bn.running_mean, -0.5, 0.5)
    nn.init.uniform_(network.bn.running_var, 0.5, 2)
    return network


def _language_model():
    config = Qwen3Config(
        vocab_size=len(vocabulary()),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=29,  # the last one is for nothing
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=True,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


def tokenizer():
    return Qwen2Tokenizer(
        vocab=vocabulary(),
        merges=[],
        pad_token=SPECIAL[0],
        extra_special_tokens=list(SPECIAL[1:]),
        chat_template=TEMPLATE,
    )


def vocabulary():
    letters = sorted(ByteLevel.alphabet())
    return {token: number for number, token in enumerate([*letters, *SPECIAL])}
