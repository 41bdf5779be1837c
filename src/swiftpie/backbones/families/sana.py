"""SANA-Sprint: a transformer with linear attention that draws from words in one to four steps."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel
from torch import nn
from transformers import Gemma2Config, Gemma2Model, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

from swiftpie.backbones.acquire.download import DownloadPlan
from swiftpie.backbones.acquire.sources import WeightFormats, is_settings, plan_networks
from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.components import Components, Family
from swiftpie.backbones.load.networks import read_clip_config, read_config
from swiftpie.backbones.load.parts import (
    CHOICES,
    check_choices,
    check_facts,
    read_language_tokenizer,
    read_network,
)
from swiftpie.backbones.load.weights import HALVES, fingerprint_files, unknown_fingerprint
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, read_preset
from swiftpie.backbones.readers import readers_for
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.errors import CapabilityError
from swiftpie.models.autoencoder import DeepAutoencoder
from swiftpie.models.instructed_text import InstructedText
from swiftpie.models.sana import SanaDenoiser

TRANSFORMER, TEXT, TOKENIZER, VAE = "transformer", "text_encoder", "tokenizer", "vae"
TEXT_LENGTH = 300
NO_READER = "nothing in its transformer reads pictures of subjects"


class Sana(Family):
    """Gemma 2 reads prompts behind an instruction, and a cell of the latents shows 32 x 32 px."""

    name = "sana"
    is_large = True
    knows_all_times = True
    knows_shapes = True

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        """Load the networks; see `Family`."""
        preset = with_steps(preset, choices.get("steps"))
        choices = self._typed(preset, device, choices)
        needs = self.download_plan(preset, device=device, choices=choices)
        needs.fetch()
        prompt, waiting, execution_device = readers_for(
            needs, preset, device=device, choices=choices
        )
        pipeline = needs["pipeline"].path
        folder = needs.path("autoencoder") or pipeline / VAE
        text = _text(
            read_language_tokenizer(pipeline / TOKENIZER),
            read_network(waiting, TEXT, pipeline / TEXT, _build_text, stays=False),
        )
        transformer = read_network(
            waiting, TRANSFORMER, pipeline / TRANSFORMER, _build_transformer, stays=True
        )
        autoencoder = prompt.read(VAE, folder, _build_autoencoder)
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=text,
            image_encoder=None,
            autoencoder=DeepAutoencoder(autoencoder),
            denoiser=SanaDenoiser(transformer).eval(),
            layout_predictor=None,
            inversion=None,
            fingerprint=fingerprint_files(prompt.files, settings=str(prompt.dtype)),
            execution_device=execution_device,
        )

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadPlan:
        """Plan the downloads, and refuse parts that do not belong together; see `Family`."""
        check_choices(preset, choices, allowed=CHOICES - {"detail"}, reason=NO_READER)
        choices = self._typed(preset, device, choices)
        dtype = dtype_of(choices, device)
        needs = DownloadPlan(
            tuple(
                plan_networks(
                    preset,
                    choices,
                    texts={TEXT: TOKENIZER},
                    formats=WeightFormats(dtype in HALVES, allow_pickle=False),
                    denoiser=TRANSFORMER,
                    autoencoder=VAE,
                )
            )
        )
        needs.fetch_only(is_settings)
        pipeline = needs["pipeline"]
        folder = needs.path("autoencoder") or pipeline.path / VAE
        _check_parts(
            preset,
            read_config(pipeline.path / TRANSFORMER, TRANSFORMER, SanaTransformer2DModel),
            read_config(folder, VAE, AutoencoderDC),
            read_clip_config(pipeline.path / TEXT, TEXT, Gemma2Config),
        )
        needs = needs.with_memory(dtype.itemsize)
        needs.check_space()
        return needs

    def check_dtype(self, preset: Preset, dtype: torch.dtype) -> None:
        """Refuse float16, in which Gemma 2 and the autoencoder overflow; see `Family`.

        Raises:
            CapabilityError: It is that.
        """
        if dtype is torch.float16:
            raise CapabilityError(
                f"Preset {preset.name!r} cannot compute in float16, in which its text encoder and "
                "autoencoder overflow. Take bfloat16 or float32, as by `dtype='bfloat16'`."
            )

    def to_modules(self, components: Components) -> dict[str, Any]:
        """Return the networks as they are; see `Family`."""
        text, denoiser, vae = components.text, components.denoiser, components.autoencoder
        assert isinstance(text, InstructedText), "this family reads prompts by one language model"
        return {
            TRANSFORMER: denoiser.transformer if isinstance(denoiser, SanaDenoiser) else denoiser,
            VAE: vae.network if isinstance(vae, DeepAutoencoder) else vae,
            TEXT: text.encoder,
            TOKENIZER: text.tokenizer,
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks, any of them exchanged: nothing is installed in one; see `Family`.

        Raises:
            WeightsError: The parts do not belong together.
        """
        preset = read_preset(modules["preset"])
        transformer, vae, text = (modules[name] for name in (TRANSFORMER, VAE, TEXT))
        _check_parts(preset, transformer.config, vae.config, text.config)
        is_stored = loaded is None and modules.get("fingerprint")
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=_text(modules[TOKENIZER], text),
            image_encoder=None,
            autoencoder=DeepAutoencoder(vae),
            denoiser=SanaDenoiser(transformer),
            layout_predictor=None,
            inversion=None,
            fingerprint=modules["fingerprint"] if is_stored else unknown_fingerprint(),
        )

    def _typed(self, preset: Preset, device: str, choices: Choices) -> Choices:
        """Return `choices` with a type of numbers in which nothing overflows.

        Raises:
            CapabilityError: Another was chosen.
        """
        dtype = dtype_of(choices, device)
        if choices.get("dtype") == AUTO and dtype is torch.float16:
            dtype = torch.float32
        self.check_dtype(preset, dtype)
        return {**choices, "dtype": dtype}


FAMILY = Sana()


def _text(tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel) -> InstructedText:
    """Return what reads prompts behind the instruction that diffusers knows, with no copy of it."""
    settings = inspect.signature(SanaSprintPipeline.__call__).parameters
    lines = settings["complex_human_instruction"].default
    return InstructedText(tokenizer, encoder, "\n".join(lines), TEXT_LENGTH)


def _build_text(folder: Path) -> nn.Module:
    config = Gemma2Config.from_pretrained(folder)
    network = Gemma2Model(config)
    with torch.device("cpu"):  # what follows from the settings is in no file
        network.rotary_emb = Gemma2RotaryEmbedding(config)
        scale = torch.tensor(network.embed_tokens.scalar_embed_scale)
    network.embed_tokens.register_buffer("embed_scale", scale, persistent=False)
    return network


def _build_transformer(folder: Path) -> nn.Module:
    settings = SanaTransformer2DModel.load_config(folder)
    return cast("nn.Module", SanaTransformer2DModel.from_config(settings))


def _build_autoencoder(folder: Path) -> nn.Module:
    settings = AutoencoderDC.load_config(folder)
    return cast("nn.Module", AutoencoderDC.from_config(settings))


def _check_parts(
    preset: Preset, transformer: Mapping[str, Any], vae: Mapping[str, Any], text: Gemma2Config
) -> None:
    halvings = len(vae.get("encoder_block_out_channels", ())) - 1
    check_facts(
        preset,
        {
            "class of the transformer": (
                transformer.get("_class_name"),
                SanaTransformer2DModel.__name__,
            ),
            "class of the autoencoder": (vae.get("_class_name"), AutoencoderDC.__name__),
            "width of the text": (text.hidden_size, transformer.get("caption_channels")),
            "latent channels": (vae.get("latent_channels"), preset.latent_channels),
            "channels of the transformer": (transformer.get("in_channels"), preset.latent_channels),
            "pixels of a latent cell": (2**halvings, preset.latent_cell_px),
            "its guidance embedding": (transformer.get("guidance_embeds"), True),
            "its code of positions": (transformer.get("interpolation_scale"), None),
        },
    )
