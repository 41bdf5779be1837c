"""SANA-Sprint: a transformer with linear attention that draws 1024 px in one to four steps."""

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import SECOND_ANGLE, Capability, Preset, Recipe, Use, trigflow
from swiftpie.backbones.whole_family import CHOICES, WholeFamily
from swiftpie.errors import CapabilityError
from swiftpie.registry import by_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from swiftpie.backbones.peers import Peer
    from swiftpie.models.denoiser import SubjectCondition, WholeDenoiser
    from swiftpie.models.text import LanguageText
    from swiftpie.types import TextCondition

_preset = partial(
    Preset,
    # As the cards say; the text allows no commercial use, and NVIDIA's processors alone.
    licence="NSCL v2-custom, non-commercial; Gemma's terms for the text encoder",
    is_commercial=False,
    family="sana",
    networks=("transformer", "vae", "text_encoder"),
    image_size_px=1024,
    timesteps=trigflow(2),
    more_steps=(1, 3, 4),
    spacing="trigflow",
    prediction_type="flow",
    noise_scale="flow",
    renoise="lcm",  # all noise is fresh
    latent_channels=32,
    latent_cell_px=32,
    capabilities=frozenset({Capability.TEXT}),
)

PRESETS = by_name(
    _preset(
        name="sana-sprint-0.6b",
        summary="1 to 4 steps from words alone, linear attention, cells of 32 px; 0.6 billion.",
        source="hub:Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers",
    ),
    _preset(
        name="sana-sprint-1.6b",
        summary="As sana-sprint-0.6b, with 1.6 billion numbers in the transformer.",
        source="hub:Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
    ),
)

RECIPES = by_name(
    Recipe(
        name="sana-sprint",
        summary="1024 px from words alone in 2 steps, or 1 to 4; for non-commercial use only.",
        preset="sana-sprint-0.6b",
        use=Use.TEXT,
        weights="Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers@a7d9fc31dd5c3f5e22dbfd78360777ceed56ae97",
    )
)

GUIDANCE = 4.5  # which the student was taught to give in one pass, as its authors draw
TEXT_LENGTH = 300  # tokens whose states are read: the first one of all, and those of the prompt


class Sana(WholeFamily):
    """Gemma 2 reads prompts behind an instruction, and a cell of the latents shows 32 x 32 px.

    No references are read: linear attention has no softmax for keys of references.
    """

    name = "sana"
    choices = CHOICES - {"detail"}
    why_no_others = "nothing in its transformer reads pictures of subjects"
    denoiser_class = "SanaTransformer2DModel"
    autoencoder_class = "AutoencoderDC"
    text_config = "Gemma2Config"
    text_class = "AutoModel"

    def build_text(self, folder: Path) -> "nn.Module":
        """Return Gemma 2; see `WholeFamily`."""
        import torch
        from transformers import Gemma2Config, Gemma2Model
        from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

        config = Gemma2Config.from_pretrained(folder)
        network = Gemma2Model(config)
        with torch.device("cpu"):  # what follows from the settings is in no file
            network.rotary_emb = Gemma2RotaryEmbedding(config)
            scale = torch.tensor(network.embed_tokens.scalar_embed_scale)
        network.embed_tokens.register_buffer("embed_scale", scale, persistent=False)
        return network

    def text_width(self, config: Any) -> int:  # noqa: ANN401 - of `text_config`
        """Return the width of a token's state."""
        return int(config.hidden_size)

    def encode(self, text: "LanguageText", prompts: list[str]) -> "TextCondition":
        """Return the states of `prompts` in small letters; see `LanguageText`.

        Padding, of which the mask is 0, is not read. Each prompt is read by itself, and the
        instruction before it once for all.
        """
        from diffusers import SanaSprintPipeline

        from swiftpie.types import TextCondition

        settings = inspect.signature(SanaSprintPipeline.__call__).parameters
        instruction = "\n".join(settings["complex_human_instruction"].default)
        return TextCondition.joined([_read(text, instruction, prompt) for prompt in prompts])

    def predict(
        self,
        denoiser: "WholeDenoiser",
        latents: "Tensor",
        times: "Tensor",
        text: "TextCondition",
        condition: "SubjectCondition",
    ) -> "Tensor":
        """Return clean latents minus noise; see `WholeFamily`.

        It was distilled at angles `a` (arXiv:2503.09641), where latents are `cos(a) clean + sin(a)
        noise`, and predicts the velocity of a flow at the time `sin / (cos + sin)`. In latents of
        that flow, `(1 - t) clean + t noise`, both agree on the clean ones.
        """
        del condition
        network = denoiser.network
        words = text.hidden_states.to(network.dtype)
        guidance = words.new_full((len(latents),), GUIDANCE)
        velocity: Tensor = network(
            hidden_states=latents.to(network.dtype),
            encoder_hidden_states=words,
            encoder_attention_mask=text.attention_mask,
            timestep=times / 1000,
            guidance=guidance * network.config.guidance_embeds_scale,
            return_dict=False,
        )[0]
        return -velocity

    def check_dtype(self, preset: Preset, dtype: "torch.dtype") -> None:
        """Refuse float16, in which Gemma 2 and the autoencoder overflow; see `Family`."""
        import torch

        if dtype is torch.float16:
            raise CapabilityError(
                f"Preset {preset.name!r} cannot compute in float16, in which its text encoder and "
                "autoencoder overflow. Take bfloat16 or float32, as by `dtype='bfloat16'`."
            )

    def typed(self, preset: Preset, device: str, choices: Choices) -> Choices:
        """Return `choices` with a type of numbers in which nothing overflows; see `WholeFamily`."""
        import torch

        dtype = dtype_of(choices, device)
        if choices.get("dtype") == AUTO and dtype is torch.float16:
            dtype = torch.float32
        self.check_dtype(preset, dtype)
        return {**choices, "dtype": dtype}

    def facts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - of `text_config`
    ) -> Mapping[str, tuple[object, object]]:
        """Return what must agree; see `WholeFamily`."""
        halvings = len(vae.get("encoder_block_out_channels", ())) - 1
        return {
            "width of the text": (text.hidden_size, denoiser.get("caption_channels")),
            "latent channels": (vae.get("latent_channels"), preset.latent_channels),
            "channels of the transformer": (denoiser.get("in_channels"), preset.latent_channels),
            "pixels of a latent cell": (2**halvings, preset.latent_cell_px),
            "its guidance embedding": (denoiser.get("guidance_embeds"), True),
            "its code of positions": (denoiser.get("interpolation_scale"), None),
        }

    def peer_of(self, preset: Preset, networks: Mapping[str, Any]) -> "Peer":
        """Return the pipeline of diffusers; see `WholeFamily`."""
        from diffusers import SanaSprintPipeline, SCMScheduler

        from swiftpie.backbones.peers import Peer

        steps = len(preset.timesteps)
        middle = SECOND_ANGLE if steps == 2 else None
        call = {"num_inference_steps": steps, "intermediate_timesteps": middle}
        pipeline = SanaSprintPipeline(**networks, scheduler=SCMScheduler())
        return Peer(pipeline, preset, {**call, "use_resolution_binning": False})


def _read(text: "LanguageText", instruction: str, prompt: str) -> "TextCondition":
    import torch

    before = text.tokenizer.encode(instruction)
    longest = len(before) + TEXT_LENGTH - 2
    tokens = text.tokenizer.encode(
        instruction + prompt.lower().strip(), truncation=True, max_length=longest
    )
    if len(tokens) == longest:
        text.warn_cut(TEXT_LENGTH)
    known = len(before) - 1  # the states of what follows are read
    if tokens[:known] == before[:known]:
        opening = text.opening(tokens[:known])
        first, rest = opening.states[:, :1], text.follow(tokens[known:], opening).states
    else:  # where the tokenizer joins both
        states = text.follow(tokens).states
        first, rest = states[:, :1], states[:, known:]
    states = torch.cat([first, rest], dim=1)
    return text.padded(states, TEXT_LENGTH - states.shape[1])


FAMILY = Sana()
