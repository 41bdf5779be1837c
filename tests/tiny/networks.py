"""Small random networks, with the layers of the published ones and few channels."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

WIDTHS = {"sd15": 24, "sd21": 32, "sdxl": 40, "sdxs": 24}  # of a token; in full size 768 to 2048
WIDTH = 32  # of a token of the plain one, which is of no family
HIDDEN, EMBEDS, FACE = 48, 20, 16  # of features; in full size 1280, 1024 or 1280, and 512
POOLED = 12  # width of SDXL's text vector
TOWER = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2}
TOWER |= {"num_attention_heads": 4, "image_size": 32, "patch_size": 8}
TOKENS = ["<|startoftext|>", "<|endoftext|>"]


def tiny_unet(family, *, is_shallow=True, **changes):
    """A U-Net with the layers of `family`, or one of each kind alone."""
    torch.manual_seed(0)
    down, up = (f"CrossAttn{way}Block2D" for way in ("Down", "Up"))
    settings = {
        "sample_size": 16,
        "block_out_channels": (16, 32, 32, 32),
        "cross_attention_dim": WIDTHS.get(family, WIDTH),
        "attention_head_dim": 4,
        "norm_num_groups": 8,
        "layers_per_block": 1 if is_shallow else 2,
    }
    three = {
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("DownBlock2D", down, down),
        "up_block_types": (up, up, "UpBlock2D"),
    }
    match family:
        case "sd21":
            settings |= {"attention_head_dim": (2, 4, 4, 4), "use_linear_projection": True}
        case "sdxs":
            settings |= {**three, "mid_block_type": None, "layers_per_block": 1}
        case "sdxl":
            settings |= {
                **three,
                "transformer_layers_per_block": (1, 1, 1) if is_shallow else (1, 2, 10),
                "attention_head_dim": (2, 4, 4),
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 6 * 8 + POOLED,
            }
        case "plain":
            settings |= {
                "block_out_channels": (32, 64, 64),
                "down_block_types": (down, down, "DownBlock2D"),
                "up_block_types": ("UpBlock2D", up, up),
                "attention_head_dim": (2, 4, 4),
            }
    return UNet2DConditionModel(**settings | changes).eval().requires_grad_(False)


def tiny_autoencoder(widths=(8, 8, 8, 8)):
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def tiny_twin():
    """An autoencoder of the tiny kind, smaller still, whose pictures are neither dark nor flat."""
    sides = ("encoder", "decoder")
    sizes = {f"{side}_block_out_channels": (8, 8, 8, 8) for side in sides}
    sizes |= {f"num_{side}_blocks": (1, 1, 1, 1) for side in sides}
    network = AutoencoderTiny(**sizes).eval()
    last = network.decoder.layers[-1]
    with torch.no_grad():
        last.weight.mul_(8)
        last.bias.fill_(0.5)
    return network


def text_encoder(width, *, kind=CLIPTextModel, vocabulary_size=None, **changes):
    size = vocabulary_size or len(vocabulary())
    settings = {"num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": POOLED}
    settings |= {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": 0}
    sizes = {"vocab_size": size, "hidden_size": width, "intermediate_size": 2 * width}
    return kind(CLIPTextConfig(**sizes | settings | changes)).eval()


def image_encoder(*, features=EMBEDS):
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**TOWER, projection_dim=features)).eval()


def tiny_tokenizer():
    return CLIPTokenizer(vocab=vocabulary(), merges=[], model_max_length=77)


def vocabulary():
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *TOKENS]
    return {token: number for number, token in enumerate(tokens)}


def outspoken(network):
    for weight in network.parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=1.5 * weight.shape[1] ** -0.5)
    return network


def same(first, second):
    """Whether two files or networks hold the same tensors; their names have to be alike."""
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)
