"""A tiny random SANA-Sprint in the folder layout of the hub."""

import string

import torch
from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel, SCMScheduler
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

from tests.backbones.tiny_models import outspoken, save_whole

HIDDEN = 16  # of the language model; in full size 2304
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
WIDTHS = (8, 8, 8, 16, 16, 32)  # each halves the sides but the last, so cells show 32 x 32 px
BLOCKS = ("ResBlock",) * 4 + ("EfficientViTBlock",) * 2


def make_pipeline(folder, *, pieces=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        pipeline = SanaSprintPipeline(
            tokenizer=_tokenizer(),
            text_encoder=_language_model(),
            vae=_autoencoder(),
            transformer=_transformer(),
            scheduler=SCMScheduler(),
        )
    return save_whole(pipeline, folder, tokenizer="GemmaTokenizer", pieces=pieces)


def _transformer():
    network = SanaTransformer2DModel(
        in_channels=32,
        out_channels=32,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=HIDDEN,
        guidance_embeds=True,
        qk_norm="rms_norm_across_heads",
        sample_size=32,
    ).eval()
    return outspoken(network)


def _autoencoder():
    multiscales = tuple((5,) if block == BLOCKS[-1] else () for block in BLOCKS)
    ones = (1,) * len(WIDTHS)
    return AutoencoderDC(
        latent_channels=32,
        attention_head_dim=8,
        encoder_block_types=BLOCKS,
        decoder_block_types=BLOCKS,
        encoder_block_out_channels=WIDTHS,
        decoder_block_out_channels=WIDTHS,
        encoder_layers_per_block=ones,
        decoder_layers_per_block=ones,
        encoder_qkv_multiscales=multiscales,
        decoder_qkv_multiscales=multiscales,
        upsample_block_type="interpolate",
        downsample_block_type="conv",
        scaling_factor=0.41407,
    ).eval()


def _language_model():
    config = Gemma2Config(
        vocab_size=len(vocabulary()),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=64,
        initializer_range=0.3,
    )
    return Gemma2Model(config).eval()


def _tokenizer():
    return GemmaTokenizer(vocab=vocabulary(), merges=[])


def vocabulary():
    letters = ["\u2581", "\n", *sorted({*string.printable} - {*string.whitespace})]
    return {token: number for number, token in enumerate([*SPECIAL, *letters])}
