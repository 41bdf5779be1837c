"""DreamLite: a small U-Net with flow matching that draws and edits beside a picture it is shown."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderTiny, DreamLiteUNetModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRotaryEmbedding,
    Qwen3VLVisionRotaryEmbedding,
)

from swiftpie.backbones.acquire.download import DownloadPlan
from swiftpie.backbones.acquire.sources import WeightFormats, is_settings, plan_networks
from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.components import Components, Family
from swiftpie.backbones.load.networks import read_clip_config, read_config
from swiftpie.backbones.load.parts import (
    check_choices,
    check_facts,
    read_language_tokenizer,
    read_network,
)
from swiftpie.backbones.load.weights import HALVES, fingerprint_files, unknown_fingerprint
from swiftpie.backbones.presets import Preset, read_preset
from swiftpie.backbones.presets.dreamlite import flow_times
from swiftpie.backbones.readers import readers_for
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import sharing_weights
from swiftpie.models.dreamlite import DreamLiteDenoiser
from swiftpie.models.seeing_text import PICTURE, SeeingText, Wording
from swiftpie.schedules import Schedule, flow_step

UNET, TEXT, TOKENIZER, VAE = "unet", "text_encoder", "tokenizer", "vae"
READS_AS_IT_IS = "its U-Net reads a picture as it is, beside its own"

# The words that its weights were trained with, a prompt in their middle. The states of the first
# tokens, of the order to the language model, are not read.
CHAT = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
ALONE = Wording(
    CHAT.format(
        "Describe the image by detailing the color, shape, size, texture, quantity, text, "
        "spatial relationships of the objects and background:",
        "[Generate]: {}",
    ),
    dropped=34,
    longest=200,
)
BESIDE = Wording(
    CHAT.format(
        "Describe the key features of the input image (color, shape, size, texture, objects, "
        "background), then explain how the user's text instruction should alter or modify the "
        "image. Generate a new image that meets the user's requirements while maintaining "
        "consistency with the original input where appropriate.",
        f"<|vision_start|>{PICTURE}<|vision_end|>[Edit]: A diptych with two side-by-side images "
        "of the same scene. Compared to the right side, the left one has {}",
    ),
    dropped=64,
    longest=1024,
)
SEEN_PX = 512


class DreamLite(Family):
    """Qwen3-VL reads prompts and the picture; the picture is also the right half of the latents."""

    name = "dreamlite"
    is_large = True
    knows_all_times = True
    knows_shapes = True
    edits_by_reference = True

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        """Load the networks; see `Family`."""
        preset = with_steps(preset, choices.get("steps"))
        needs = self.download_plan(preset, device=device, choices=choices)
        needs.fetch()
        prompt, waiting, execution_device = readers_for(
            needs, preset, device=device, choices=choices
        )
        pipeline = needs["pipeline"].path
        text = _text_of(
            read_language_tokenizer(pipeline / TOKENIZER),
            read_network(waiting, TEXT, pipeline / TEXT, _build_text, stays=False),
        )
        unet = read_network(waiting, UNET, pipeline / UNET, _build_unet, stays=True)
        autoencoder = prompt.read(VAE, needs.path("autoencoder") or pipeline / VAE, _build_vae)
        reads = choices.get("detail") != "none"
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=text,
            image_encoder=None,
            autoencoder=LatentAutoencoder(autoencoder),
            denoiser=DreamLiteDenoiser(unet, reads_references=reads).eval(),
            layout_predictor=None,
            inversion=None,
            fingerprint=fingerprint_files(prompt.files, settings=str(prompt.dtype)),
            execution_device=execution_device,
        )

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadPlan:
        """Plan the downloads, and refuse parts that do not belong together; see `Family`."""
        check_choices(preset, choices, reason=READS_AS_IT_IS)
        dtype = dtype_of(choices, device)
        formats = WeightFormats(dtype in HALVES, allow_pickle=False)
        needs = DownloadPlan(
            tuple(plan_networks(preset, choices, texts={TEXT: TOKENIZER}, formats=formats))
        )
        needs.fetch_only(is_settings)
        pipeline = needs["pipeline"]
        folder = needs.path("autoencoder") or pipeline.path / VAE
        _check_parts(
            preset,
            read_config(pipeline.path / UNET, UNET, DreamLiteUNetModel),
            read_config(folder, VAE, AutoencoderTiny),
            read_clip_config(pipeline.path / TEXT, TEXT, Qwen3VLConfig),
        )
        needs = needs.with_memory(dtype.itemsize)
        needs.check_space()
        return needs

    def schedule_at(self, components: Components, cells: tuple[int, int]) -> Schedule:
        """Return times that are shifted towards noise as far as the size wants; see `Family`."""
        known = components.schedule
        times = flow_times(len(known.steps), math.prod(cells))
        if times == tuple(step.timestep for step in known.steps):
            return known
        return known.through([flow_step(time) for time in times])

    def to_modules(self, components: Components) -> dict[str, Any]:
        """Return the networks as they are; see `Family`."""
        text, denoiser, vae = components.text, components.denoiser, components.autoencoder
        assert isinstance(text, SeeingText), "this family reads prompts by one language model"
        return {
            UNET: denoiser.unet if isinstance(denoiser, DreamLiteDenoiser) else denoiser,
            VAE: vae.network if isinstance(vae, LatentAutoencoder) else vae,
            TEXT: text.encoder,
            TOKENIZER: text.tokenizer,
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks, any of them exchanged; see `Family`.

        Raises:
            WeightsError: The parts do not belong together.
        """
        preset = read_preset(modules["preset"])
        unet, vae, text = (modules[name] for name in (UNET, VAE, TEXT))
        _check_parts(preset, unet.config, vae.config, text.config)
        is_stored = loaded is None and modules.get("fingerprint")
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=_text_of(modules[TOKENIZER], text),
            image_encoder=None,
            autoencoder=LatentAutoencoder(vae),
            denoiser=DreamLiteDenoiser(unet, reads_references=True),
            layout_predictor=None,
            inversion=None,
            fingerprint=modules["fingerprint"] if is_stored else unknown_fingerprint(),
        )

    def sharing_weights(self, modules: Mapping[str, Any]) -> dict[str, Any]:
        """Return a second U-Net around the same weights, for attention of its own; see `Family`."""
        return {**modules, UNET: sharing_weights(modules[UNET])}


FAMILY = DreamLite()


def _text_of(tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel) -> SeeingText:
    return SeeingText(tokenizer, encoder, ALONE, BESIDE, SEEN_PX)


def _build_text(folder: Path) -> nn.Module:
    config: Any = Qwen3VLConfig.from_pretrained(folder)  # of two parts, that it declares as any
    network = Qwen3VLModel(config)
    with torch.device("cpu"):  # what turns positions comes from the settings, not from the file
        network.language_model.rotary_emb = Qwen3VLTextRotaryEmbedding(config.text_config)
        network.visual.rotary_pos_emb = Qwen3VLVisionRotaryEmbedding(config.vision_config)
    return network


def _build_unet(folder: Path) -> nn.Module:
    settings = DreamLiteUNetModel.load_config(folder)
    return cast("nn.Module", DreamLiteUNetModel.from_config(settings))


def _build_vae(folder: Path) -> nn.Module:
    settings = AutoencoderTiny.load_config(folder)
    return cast("nn.Module", AutoencoderTiny.from_config(settings))


def _check_parts(
    preset: Preset,
    unet: Mapping[str, Any],
    vae: Mapping[str, Any],
    text: Any,  # noqa: ANN401 - of two parts, that it declares as any
) -> None:
    check_facts(
        preset,
        {
            "class of the U-Net": (unet.get("_class_name"), DreamLiteUNetModel.__name__),
            "class of the autoencoder": (vae.get("_class_name"), AutoencoderTiny.__name__),
            "width of the text": (text.text_config.hidden_size, unet.get("encoder_hid_dim")),
            "latent channels": (vae.get("latent_channels"), preset.latent_channels),
            "channels of the U-Net": (unet.get("in_channels"), preset.latent_channels),
        },
    )
