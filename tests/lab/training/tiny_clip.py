"""A random CLIP with both towers, small enough for tests."""

import torch
from transformers import CLIPConfig, CLIPModel

from tests.backbones.tiny_models import tiny_tokenizer

SIDE_PX = 32
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def make_clip(folder):
    """Write model and tokenizer into `folder` as transformers saves them, and return it."""
    tokenizer = tiny_tokenizer()
    words = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": 0,
        "max_position_embeddings": 24,
    }
    with torch.random.fork_rng():
        torch.manual_seed(4)
        config = CLIPConfig(
            text_config=TOWER | words,
            vision_config=TOWER | {"image_size": SIDE_PX, "patch_size": 8},
            projection_dim=8,
        )
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
