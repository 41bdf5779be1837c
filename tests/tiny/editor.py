"""A complete editing model of Stable Diffusion 2.1's shape, random and small."""

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from swiftpie.attention.install import BranchPlan
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Capability, Preset
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import UNetDenoiser
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.text import TextTower
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.noise import build_schedule, scaled_linear_step
from tests.tiny.networks import WIDTHS, text_encoder, tiny_autoencoder, tiny_unet

SIDE_PX = 128
WIDTH = WIDTHS["sd21"]
SPECIAL = ["<start>", "<end>", "<unknown>"]
WORDS = [*SPECIAL, "a", "the", "cat", "dog", "sofa", "on", "red", "hat", "photo", "of"]
TEXT_LENGTH = 12

PRESET = Preset(
    name="tiny-editor",
    summary="A random model that edits, for tests.",
    source="local:nowhere",
    licence="none",
    is_commercial=True,
    family="sd21",
    image_size_px=SIDE_PX,
    latent_channels=4,
    latent_cell_px=8,
    timesteps=(999,),
    prediction_type="epsilon",
    capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
)


def tiny_editor():
    with torch.random.fork_rng():
        denoiser = UNetDenoiser(
            tiny_unet("sd21"),
            BranchPlan(token_width=WIDTH, gate=1.0),
            reference_step=scaled_linear_step(1),
        )
        torch.manual_seed(1)
        for semantic in denoiser.installation.semantic.values():
            for weight in semantic.parameters():
                torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        inverter = tiny_unet("sd21")
        torch.manual_seed(2)
        for weight in inverter.parameters():
            weight.add_(0.1 * weight.std(correction=0) * torch.randn_like(weight))
        inversion = UNetInversion(inverter)
        image_encoder, text = ConvImageEncoder(WIDTH), text_tower()
        autoencoder = LatentAutoencoder(tiny_autoencoder((8, 8, 16, 16)))
    for network in (denoiser, image_encoder, text.encoder, autoencoder):
        network.eval().requires_grad_(False)
    return Components(
        preset=PRESET,
        schedule=build_schedule([999], "epsilon"),
        text=text,
        image_encoder=image_encoder,
        autoencoder=autoencoder,
        denoiser=denoiser,
        inversion=inversion,
        fingerprint="random",
    )


def text_tower():
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, "<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=TEXT_LENGTH,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<end>",
        unk_token="<unknown>",
    )
    encoder = text_encoder(
        WIDTH,
        vocabulary_size=len(WORDS),
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_factor=10.0,  # so that words differ more than in a fresh model
    )
    return TextTower(fast, encoder)
