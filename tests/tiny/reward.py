"""A small ImageReward of random weights, under the names of the release."""

import itertools

import torch

from tests.tiny.adapters import affine, norm

SIDE_PX, PATCH_PX, WIDTH, DEPTH = 32, 8, 128, 2  # of the picture's network, with two heads
WORDS, TEXT_WIDTH, LENGTH = 50, 64, 40
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "at", "sea"]
HEAD = (64, 1024, 128, 64, 16, 1)
HEAD_LAYERS = (0, 2, 4, 6, 7)  # dropout between them


def released():
    """The tensors of a release."""
    shapes = {f"blip.visual_encoder.{name}": one for name, one in _vision().items()}
    shapes |= {f"blip.text_encoder.{name}": one for name, one in _text().items()}
    for layer, (inner, outer) in zip(HEAD_LAYERS, itertools.pairwise(HEAD), strict=True):
        shapes |= affine(f"mlp.layers.{layer}", outer, inner)
    shapes |= affine("blip.vision_proj", 8, WIDTH)  # of its training alone
    generator = torch.Generator().manual_seed(4)
    tensors = {
        name: torch.randn(shape, generator=generator) * (0.4 if len(shape) > 1 else 0.3)
        for name, shape in shapes.items()
    }
    for name in tensors:
        if name.startswith("mlp.") and name.endswith("weight"):
            tensors[name] *= 5 * tensors[name].shape[1] ** -0.5
    return tensors | {"blip.text_encoder.embeddings.position_ids": torch.arange(LENGTH)[None]}


def _vision():
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, (SIDE_PX // PATCH_PX) ** 2 + 1, WIDTH)}
    shapes |= {"patch_embed.proj.weight": (WIDTH, 3, PATCH_PX, PATCH_PX)}
    shapes |= {"patch_embed.proj.bias": (WIDTH,)} | norm("norm", WIDTH)
    for number in range(DEPTH):
        block = f"blocks.{number}"
        shapes |= norm(f"{block}.norm1", WIDTH) | norm(f"{block}.norm2", WIDTH)
        shapes |= affine(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        shapes |= affine(f"{block}.attn.proj", WIDTH, WIDTH)
        shapes |= affine(f"{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        shapes |= affine(f"{block}.mlp.fc2", WIDTH, 4 * WIDTH)
    return shapes


def _text():
    shapes = {"embeddings.word_embeddings.weight": (WORDS, TEXT_WIDTH)}
    shapes |= {"embeddings.position_embeddings.weight": (LENGTH, TEXT_WIDTH)}
    shapes |= norm("embeddings.LayerNorm", TEXT_WIDTH)
    for number in range(DEPTH):
        layer = f"encoder.layer.{number}"
        for kind, seen in (("attention", TEXT_WIDTH), ("crossattention", WIDTH)):
            shapes |= affine(f"{layer}.{kind}.self.query", TEXT_WIDTH, TEXT_WIDTH)
            shapes |= affine(f"{layer}.{kind}.self.key", TEXT_WIDTH, seen)
            shapes |= affine(f"{layer}.{kind}.self.value", TEXT_WIDTH, seen)
            shapes |= affine(f"{layer}.{kind}.output.dense", TEXT_WIDTH, TEXT_WIDTH)
            shapes |= norm(f"{layer}.{kind}.output.LayerNorm", TEXT_WIDTH)
        shapes |= affine(f"{layer}.intermediate.dense", 2 * TEXT_WIDTH, TEXT_WIDTH)
        shapes |= affine(f"{layer}.output.dense", TEXT_WIDTH, 2 * TEXT_WIDTH)
        shapes |= norm(f"{layer}.output.LayerNorm", TEXT_WIDTH)
    return shapes
