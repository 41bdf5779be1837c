"""FLUX.2 [klein] 4B: a transformer of 4 billion numbers in four steps, at 1024 px.

Its attention is joint: pictures of subjects are read as further tokens.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Capability, Preset, Recipe, shifted
from swiftpie.backbones.whole_family import TEXT, WholeFamily
from swiftpie.errors import WeightsError
from swiftpie.registry import by_name

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from swiftpie.attention.condition import Notes
    from swiftpie.backbones.peers import Peer
    from swiftpie.models.denoiser import SubjectCondition, WholeDenoiser
    from swiftpie.models.text import LanguageText
    from swiftpie.types import Autoencoder, TextCondition

CELL_PX = 16


def flow_times(num_steps: int, num_cells: int) -> tuple[float, ...]:
    """Return times in (0, 1000], falling, for a picture of so many cells.

    Larger pictures stay noisy for longer: the shift was fitted by the authors to cells and steps.
    """
    few, many = 8.73809524e-05 * num_cells + 1.89833333, 0.00016927 * num_cells + 0.45666666
    slope = (many - few) / 190  # between 10 and 200 steps
    return shifted(num_steps, many if num_cells > 4300 else slope * num_steps + many - 200 * slope)


PRESETS = by_name(
    Preset(
        name="flux2-klein-4b",
        summary="4 steps, up to eight reference pictures as tokens; 16 GB to fetch.",
        source="hub:black-forest-labs/FLUX.2-klein-4B",
        licence="Apache-2.0",
        is_commercial=True,
        family="flux2",
        networks=("transformer", "vae", "text_encoder"),
        image_size_px=1024,
        timesteps=flow_times(4, (1024 // CELL_PX) ** 2),
        prediction_type="flow",
        noise_scale="flow",
        latent_channels=128,
        latent_cell_px=CELL_PX,
        capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
        detail="joint",
    )
)

RECIPES = by_name(
    Recipe(
        name="klein",
        summary="1024 px in 4 steps, up to eight pictures of a subject; every part is Apache-2.0.",
        preset="flux2-klein-4b",
        weights="black-forest-labs/FLUX.2-klein-4B@e7b7dc27f91deacad38e78976d1f2b499d76a294",
        detail="joint",
    )
)

ENTRANCE = "x_embedder"  # the layer through which cells and references enter
APART = 10  # of the first position of a reference's cells from those of the one before
READ_LAYERS = (9, 18, 27)  # of Qwen3, whose states the transformer was trained on
TEXT_LENGTH = 512  # tokens that prompts are padded to, and cut at
NUM_LAYERS = READ_LAYERS[-1] + 1  # what leaves the last one of a model is normalised
LAYER_NAME = re.compile(r"(?:model\.)?layers\.(\d+)\.")


def _is_unread(name: str) -> bool:
    """Whether a weight of the language model is of a layer behind those that are read."""
    found = LAYER_NAME.match(name)
    return found is not None and int(found[1]) >= NUM_LAYERS


class Flux2(WholeFamily):
    """Qwen3 reads prompts, references are tokens, and larger pictures get more noise at first."""

    name = "flux2"
    edits_by_reference = True
    why_no_others = "its transformer reads reference pictures itself"
    denoiser_class = "Flux2Transformer2DModel"
    autoencoder_class = "AutoencoderKLFlux2"
    text_config = "Qwen3Config"
    text_class = "Qwen3ForCausalLM"
    unread = MappingProxyType({TEXT: _is_unread})

    def build_text(self, folder: Path) -> "nn.Module":
        """Return Qwen3 as far as its states are read; see `WholeFamily`."""
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

    def read_tokenizer(self, folder: Path) -> "PreTrainedTokenizerBase":
        """Return the tokenizer in `folder`; see `WholeFamily`."""
        tokenizer = super().read_tokenizer(folder)
        if tokenizer.chat_template is None:
            raise WeightsError(
                f"The tokenizer in '{folder}' has no chat template, so it does not know how "
                "prompts are worded for its language model. Get the folder again, "
                "chat_template.jinja too."
            )
        return tokenizer

    def text_width(self, config: Any) -> int:  # noqa: ANN401 - of `text_config`
        """Return the width of a token: the states of several layers lie side by side."""
        return len(READ_LAYERS) * int(config.hidden_size)

    def encode(self, text: "LanguageText", prompts: list[str]) -> "TextCondition":
        """Return the states of `prompts` as a user types them in a chat; see `LanguageText`.

        The mask is all ones, as padding is attended to.
        """
        import torch

        from swiftpie.types import TextCondition

        typed = [
            text.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            for prompt in prompts
        ]
        tokens = text.tokenizer(
            typed, padding="max_length", truncation=True, max_length=TEXT_LENGTH
        )
        if any(row[-1] for row in tokens["attention_mask"]):
            text.warn_cut(TEXT_LENGTH)
        ids, mask = (
            torch.tensor(tokens[name], device=text.network.device)
            for name in ("input_ids", "attention_mask")
        )
        with text.scope():
            output = text.network(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            )
        states = torch.cat([output.hidden_states[layer] for layer in READ_LAYERS], dim=-1)
        return TextCondition(states, torch.ones_like(mask), states.new_zeros(len(states), 1))

    def denoiser_of(self, network: Any, *, reads_references: bool) -> "WholeDenoiser":  # noqa: ANN401 - of `denoiser_class`
        """Return the transformer unchanged: its own attention serves; see `WholeFamily`."""
        from swiftpie.attention.reference_tokens import ReferenceTokens
        from swiftpie.models.denoiser import WholeDenoiser

        references = ReferenceTokens(ENTRANCE, width=network.config.in_channels)
        return WholeDenoiser(
            network, self, detail={ENTRANCE: references} if reads_references else {}
        )

    def autoencoder_of(self, network: Any) -> "Autoencoder":  # noqa: ANN401 - of `autoencoder_class`
        """Return latents of 2 x 2 cells together, each channel normalised; see `WholeFamily`."""
        from swiftpie.models.autoencoder import NormalisedAutoencoder

        return NormalisedAutoencoder(network)

    def predict(
        self,
        denoiser: "WholeDenoiser",
        latents: "Tensor",
        times: "Tensor",
        text: "TextCondition",
        condition: "SubjectCondition",
    ) -> "Tensor":
        """Return clean latents minus noise; see `WholeFamily`.

        Cells outside of a reference's mask are hidden from attention.
        """
        import torch

        attention, network = condition.attention, denoiser.network
        rows, columns = latents.shape[-2:]
        tokens, places = _packed(latents), [_positions(rows, columns, at=0, like=latents)]
        shown, words = attention.keys.get(ENTRANCE), text.hidden_states.to(network.dtype)
        steering = {}
        if shown is not None:
            tokens = torch.cat([tokens, shown.flatten(1, 2).to(tokens)], dim=1)
            _, subjects, views, *cells = attention.coverage.shape
            places += [
                _positions(cells[0], cells[1], at=APART * number, like=latents)
                for number in range(1, subjects * views + 1)
            ]
            branch: Any = denoiser.installation.detail[ENTRANCE]
            bias = branch.bias(attention, words.shape[1])
            steering = {} if bias is None else {"attention_mask": bias.to(network.dtype)}
        word_places = torch.zeros(words.shape[1], 4, dtype=torch.int64, device=words.device)
        word_places[:, 3] = torch.arange(words.shape[1], device=words.device)
        velocity: Tensor = network(
            hidden_states=tokens.to(network.dtype),
            encoder_hidden_states=words,
            timestep=times / 1000,
            img_ids=torch.cat(places),
            txt_ids=word_places,
            joint_attention_kwargs=steering or None,
            return_dict=False,
        )[0]
        return -velocity[:, : rows * columns].transpose(1, 2).unflatten(2, (rows, columns))

    def read_reference(self, encoded: "Tensor") -> "Notes":
        """Return the tokens of references, (R, N, C); see `WholeFamily`."""
        return {ENTRANCE: _packed(encoded)}

    def times(self, num_steps: int, num_cells: int) -> tuple[float, ...]:
        """Return times that are shifted as far as the size wants; see `Family`."""
        return flow_times(num_steps, num_cells)

    def reference_text(self, components: Components) -> "TextCondition":
        """Return nothing: references are read without a prompt; see `Family`."""
        import torch

        from swiftpie.types import TextCondition

        nothing = torch.zeros(1, 1, 1, device=components.device)
        return TextCondition(nothing, nothing[0], nothing[0])

    def facts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - of `text_config`
    ) -> Mapping[str, tuple[object, object]]:
        """Return what must agree; see `WholeFamily`."""
        return {
            "width of the text": (self.text_width(text), denoiser.get("joint_attention_dim")),
            "layers of the text encoder": (min(text.num_hidden_layers, NUM_LAYERS), NUM_LAYERS),
            "latent channels": (4 * vae.get("latent_channels", 0), preset.latent_channels),
            "channels of the transformer": (denoiser.get("in_channels"), preset.latent_channels),
        }

    def peer_of(self, preset: Preset, networks: Mapping[str, Any]) -> "Peer":
        """Return the pipeline of diffusers; see `WholeFamily`."""
        from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline

        from swiftpie.backbones.peers import Peer

        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        pipeline = Flux2KleinPipeline(**networks, scheduler=scheduler, is_distilled=True)
        call = {"num_inference_steps": len(preset.timesteps), "guidance_scale": 1.0}
        return Peer(pipeline, preset, call, takes_noise=True, reads_pictures=True)


def _packed(latents: "Tensor") -> "Tensor":
    """Return latents (B, C, h, w) as tokens (B, h*w, C)."""
    return latents.flatten(2).transpose(1, 2)


def _positions(rows: int, columns: int, *, at: int, like: "Tensor") -> "Tensor":
    """Return (picture, row, column, word) of each cell, (rows * columns, 4)."""
    import torch

    axes = [torch.arange(count, device=like.device) for count in (rows, columns)]
    first, zero = (torch.tensor([value], device=like.device) for value in (at, 0))
    return torch.cartesian_prod(first, *axes, zero)


FAMILY = Flux2()
