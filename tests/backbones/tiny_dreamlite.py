"""A tiny random DreamLite-mobile in the folder layout of the hub."""

import json

import torch
from diffusers import DreamLiteUNetModel, FlowMatchEulerDiscreteScheduler
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from tests.backbones.tiny_models import outspoken, tiny_twin

HIDDEN = 16  # of the language model; in full size 2048
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
INDEX = {
    "_class_name": "DreamLiteMobilePipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "unet": ["diffusers", "DreamLiteUNetModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}


def make_pipeline(folder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        unet().save_pretrained(folder / "unet")
        tiny_twin().save_pretrained(folder / "vae")
        language_model().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    return folder


def scheduler():
    return FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)


def unet():
    network = DreamLiteUNetModel(
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(1, 2, 2),
        cross_attention_dim=24,
        encoder_hid_dim=HIDDEN,
        encoder_hid_dim_type="text_proj_rms",
        use_linear_projection=True,
        addition_embed_type="time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16,
        ff_mult=3,
    ).eval()
    return outspoken(network)


def language_model():
    """Qwen3-VL with two layers, the first of which reads a layer of the eyes as well."""
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(vocabulary()),
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5000000.0,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.3,
        },
        image_token_id=vocabulary()["<|image_pad|>"],
        video_token_id=vocabulary()["<|video_pad|>"],
        vision_start_token_id=vocabulary()["<|vision_start|>"],
        vision_end_token_id=vocabulary()["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    return Qwen3VLForConditionalGeneration(config).eval()


def tokenizer():
    return Qwen2Tokenizer(
        vocab=vocabulary(), merges=[], pad_token=SPECIAL[0], extra_special_tokens=list(SPECIAL[1:])
    )


def vocabulary():
    letters = sorted(ByteLevel.alphabet())
    return {token: number for number, token in enumerate([*letters, *SPECIAL])}
