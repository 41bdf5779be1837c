"""Small random networks in the folders that users give to judge with."""

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    ViTConfig,
    ViTModel,
)

from tests.tiny.editor import text_tower

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def read_by(tokenizer):
    words = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return {**SMALL, **words, "max_position_embeddings": 8}


def write_clip(folder, *, width):
    """Write CLIP, whose vectors have `width` values, with its tokenizer; return the folder."""
    tokenizer = text_tower().tokenizer
    config = CLIPConfig(
        text_config=read_by(tokenizer),
        vision_config={**SMALL, "image_size": 32, "patch_size": 16},
        projection_dim=width,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_siglip2(folder):
    """Write SigLIP2 NaFlex with tokenizer and image processor, and return the folder."""
    tokenizer = text_tower().tokenizer
    config = Siglip2Config(
        text_config=read_by(tokenizer), vision_config={**SMALL, "patch_size": 16, "num_patches": 16}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Siglip2Model(config)
        for weight in model.parameters():  # a fresh model sees nearly the same everywhere
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    Siglip2ImageProcessorPil().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_dino(folder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ViTModel(ViTConfig(**SMALL, image_size=224, patch_size=16), add_pooling_layer=False)
    model.save_pretrained(folder)
    return folder
