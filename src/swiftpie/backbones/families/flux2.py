"""FLUX.2 [klein] 4B: a transformer of 4 billion numbers in four steps, at 1024 px.

Its attention is joint: pictures of subjects are read as further tokens.
"""

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from swiftpie.backbones.choices import Choices, dtype_of, schedule_of, with_steps
from swiftpie.backbones.components import Components, Engine, Family
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, read_preset, read_presets, read_recipes
from swiftpie.backbones.sources import WeightFormats, WeightsResolver, is_settings, plan_networks
from swiftpie.errors import ConfigError, WeightsError
from swiftpie.types import TextCondition

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from swiftpie.backbones.diffusers_reference import DiffusersReference, ReferenceMaker
    from swiftpie.models.flux2 import Flux2Denoiser, LanguageText
    from swiftpie.noise import Schedule

CELL_PX = 16
DENOISER, TEXT, TOKENIZER, VAE = "transformer", "text_encoder", "tokenizer", "vae"
NUM_LAYERS = 28  # The first layers of Qwen3; a model normalises what leaves its last.
LAYER_NAME = re.compile(r"(?:model\.)?layers\.(\d+)\.")
CHOICES = frozenset({"steps", "weights", "autoencoder", "detail", "dtype", "offloads"})
IDLE_CHOICES = frozenset({"allow_pickle", "offline"})


def flow_times(num_steps: int, num_cells: int) -> tuple[float, ...]:
    """Return times in (0, 1000], falling, for a picture of so many cells.

    Larger pictures stay noisy for longer: the shift was fitted by the authors to cells and steps.
    """
    few, many = 8.73809524e-05 * num_cells + 1.89833333, 0.00016927 * num_cells + 0.45666666
    slope = (many - few) / 190  # between 10 and 200 steps
    shift = many if num_cells > 4300 else slope * num_steps + many - 200 * slope
    push = math.exp(shift)
    shares = (1 - index / num_steps for index in range(num_steps))  # of noise, evenly spaced
    return tuple(1000 * push / (push + (1 / share - 1)) for share in shares)


PRESETS = read_presets("flux2_presets.toml")
RECIPES = read_recipes("flux2_recipes.toml")


def _is_unread(name: str) -> bool:
    """Whether a weight of the language model is of a layer behind those that are read."""
    found = LAYER_NAME.match(name)
    return found is not None and int(found[1]) >= NUM_LAYERS


class Flux2(Family):
    """Qwen3 reads prompts, references are tokens, and larger pictures get more noise at first."""

    name = "flux2"
    is_large = True
    knows_all_times = True
    shifts_times = True
    knows_shapes = True
    edits_by_reference = True
    unread = MappingProxyType({TEXT: _is_unread})

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

        from swiftpie.backbones.load.networks import built, readers_for
        from swiftpie.backbones.load.weights import fingerprint_files
        from swiftpie.models.flux2 import Flux2Denoiser, LanguageText

        preset = with_steps(preset, choices.get("steps"))
        needs = self.download_plan(preset, device=device, choices=choices)
        needs.fetch()
        prompt, waiting, execution_device = readers_for(
            needs, preset, device=device, choices=choices
        )
        pipeline = needs["pipeline"].path
        text: Any = waiting.keep(
            TEXT, pipeline / TEXT, _language_model, stays=False, skips=_is_unread
        )
        build_denoiser = partial(built, Flux2Transformer2DModel)
        network = waiting.keep(DENOISER, pipeline / DENOISER, build_denoiser, stays=True)
        build_vae = partial(built, AutoencoderKLFlux2)
        vae = prompt.read(VAE, needs.path("autoencoder") or pipeline / VAE, build_vae)
        reads = choices.get("detail") != "none"
        return _components(
            preset,
            LanguageText(_tokenizer(pipeline / TOKENIZER), text),
            vae,
            Flux2Denoiser(network, reads_references=reads).eval(),
            fingerprint=fingerprint_files(prompt.files, settings=str(prompt.dtype)),
            execution_device=execution_device,
        )

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadList:
        from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
        from transformers import Qwen3Config

        from swiftpie.backbones.load.networks import read_clip_config, read_config
        from swiftpie.backbones.load.weights import HALVES

        _check_choices(preset, choices)
        dtype = dtype_of(choices, device)
        parts = plan_networks(
            preset,
            WeightsResolver(choices, WeightFormats(dtype in HALVES, allow_pickle=False)),
            texts={TEXT: TOKENIZER},
            denoiser=DENOISER,
            autoencoder=VAE,
        )
        needs = DownloadList(tuple(parts))
        needs.fetch_only(is_settings)
        pipeline = needs["pipeline"].path
        vae = needs.path("autoencoder") or pipeline / VAE
        self._check_parts(
            preset,
            read_config(pipeline / DENOISER, DENOISER, Flux2Transformer2DModel),
            read_config(vae, VAE, AutoencoderKLFlux2),
            read_clip_config(pipeline / TEXT, TEXT, Qwen3Config),
        )
        needs = needs.with_memory(dtype.itemsize, self.unread)
        needs.check_space()
        return needs

    def diffusers_reference(self, preset: Preset) -> "ReferenceMaker":
        del preset
        return _open_reference

    def schedule_at(self, components: Components, cells: tuple[int, int]) -> "Schedule":
        """Return times that are shifted towards noise as far as the size wants; see `Family`."""
        from swiftpie.noise import flow_step

        known = components.schedule
        times = flow_times(len(known.steps), math.prod(cells))
        if times == tuple(step.timestep for step in known.steps):
            return known
        return known.through([flow_step(time) for time in times])

    def reference_text(self, components: Components) -> "TextCondition":
        """Return nothing: references are read without a prompt; see `Family`."""
        import torch

        nothing = torch.zeros(1, 1, 1, device=components.device)
        return TextCondition(nothing, nothing[0], nothing[0])

    def to_modules(self, components: Components) -> dict[str, Any]:
        text: Any = components.text
        denoiser, vae = components.denoiser, components.autoencoder
        return {
            DENOISER: getattr(denoiser, "network", denoiser),
            VAE: getattr(vae, "network", vae),
            TEXT: text.encoder,
            TOKENIZER: text.tokenizer,
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks, any of them exchanged; WeightsError if they do not fit."""
        from swiftpie.backbones.load.weights import unknown_fingerprint
        from swiftpie.models.flux2 import Flux2Denoiser, LanguageText

        preset = read_preset(modules["preset"])
        network, vae, encoder = (modules[name] for name in (DENOISER, VAE, TEXT))
        self._check_parts(preset, network.config, vae.config, encoder.config)
        is_stored = loaded is None and modules.get("fingerprint")
        return _components(
            preset,
            LanguageText(modules[TOKENIZER], encoder),
            vae,
            Flux2Denoiser(network, reads_references=True),
            fingerprint=modules["fingerprint"] if is_stored else unknown_fingerprint(),
        )

    def _check_parts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - the settings of Qwen3
    ) -> None:
        from swiftpie.models.flux2 import READ_LAYERS

        width = len(READ_LAYERS) * int(text.hidden_size)
        kinds = {DENOISER: "Flux2Transformer2DModel", "autoencoder": "AutoencoderKLFlux2"}
        facts: dict[str, tuple[object, object]] = {
            f"class of the {part}": (settings.get("_class_name"), kinds[part])
            for part, settings in ((DENOISER, denoiser), ("autoencoder", vae))
        }
        facts |= {
            "width of the text": (width, denoiser.get("joint_attention_dim")),
            "layers of the text encoder": (min(text.num_hidden_layers, NUM_LAYERS), NUM_LAYERS),
            "latent channels": (4 * vae.get("latent_channels", 0), preset.latent_channels),
            "channels of the transformer": (denoiser.get("in_channels"), preset.latent_channels),
        }
        self.check_facts(preset, facts)


def _language_model(folder: Path) -> "nn.Module":
    """Return Qwen3 of the settings in `folder` as far as its states are read, without weights."""
    import torch
    from transformers import Qwen3Config, Qwen3Model
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    config = Qwen3Config.from_pretrained(folder)
    config.num_hidden_layers = min(config.num_hidden_layers, NUM_LAYERS)
    config.layer_types = (config.layer_types or [])[:NUM_LAYERS]
    network = Qwen3Model(config)
    with torch.device("cpu"):  # what turns positions comes from the settings, not from the file
        network.rotary_emb = Qwen3RotaryEmbedding(config)
    return network


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    from swiftpie.backbones.load.weights import read_tokenizer

    tokenizer: PreTrainedTokenizerBase = read_tokenizer(
        folder, AutoTokenizer, trust_remote_code=False, local_files_only=True
    )
    if tokenizer.chat_template is None:
        raise WeightsError(
            f"The tokenizer in '{folder}' has no chat template, so it does not know how "
            "prompts are worded for its language model. Get the folder again, "
            "chat_template.jinja too."
        )
    return tokenizer


def _components(
    preset: Preset,
    text: "LanguageText",
    vae: Any,  # noqa: ANN401 - as `built` returns it
    denoiser: "Flux2Denoiser",
    *,
    fingerprint: str,
    execution_device: "torch.device | None" = None,
) -> Components:
    from swiftpie.models.flux2 import NormalisedAutoencoder

    return Components(
        preset=preset,
        schedule=schedule_of(preset),
        text=text,
        image_encoder=None,
        autoencoder=NormalisedAutoencoder(vae),
        denoiser=denoiser,
        inversion=None,
        fingerprint=fingerprint,
        engine=Engine(device=execution_device),
    )


def _check_choices(preset: Preset, choices: Choices) -> None:
    """Refuse choices about adapters, of which there are none."""
    made = {name for name, value in choices.items() if value not in (None, AUTO, False)}
    if refused := sorted(made - CHOICES - IDLE_CHOICES):
        raise ConfigError(
            f"Preset {preset.name!r} takes no `{refused[0]}=`, because its transformer reads "
            "reference pictures itself. Leave it out."
        )
    if choices.get("detail") not in {None, "joint", "none"}:
        raise ConfigError(
            f"`detail={choices.get('detail')!r}` does not exist for preset {preset.name!r}, "
            "for which there are no adapters. Choose joint or none."
        )


def _open_reference(
    preset: Preset, files: DownloadList, dtype: "torch.dtype"
) -> "DiffusersReference":
    from swiftpie.backbones.diffusers_reference import DiffusersReference, open_pipeline

    call = {"num_inference_steps": len(preset.timesteps), "guidance_scale": 1.0}
    return DiffusersReference(open_pipeline(files, dtype), preset, call, reads_pictures=True)


FAMILY = Flux2()
