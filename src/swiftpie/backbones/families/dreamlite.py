"""DreamLite-mobile: a U-Net of 0.39 billion numbers in four steps, which edits too, at 1024 px.

The picture that is drawn has a reference to its right, in latents of twice the width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swiftpie.backbones.presets import Capability, Preset, Recipe, shifted
from swiftpie.backbones.whole_family import WholeFamily
from swiftpie.errors import InputError
from swiftpie.registry import by_name

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from swiftpie.attention.condition import AttentionCondition
    from swiftpie.backbones.peers import Peer
    from swiftpie.geometry.layout import Layout
    from swiftpie.models.denoiser import SubjectCondition, WholeDenoiser
    from swiftpie.models.text import CachedTokens, LanguageText
    from swiftpie.types import Autoencoder, TextCondition

CELL_PX = 8
CELLS_A_TOKEN = 4  # of those that the shift was fitted to
FEW, MANY = (256, 0.5), (4096, 1.15)  # tokens of a picture, and its shift


def flow_times(num_steps: int, num_cells: int) -> tuple[float, ...]:
    """Return times in (0, 1000], falling, for a picture of so many cells.

    Larger pictures stay noisy for longer: the shift is a straight line in the number of cells.
    """
    slope = (MANY[1] - FEW[1]) / (MANY[0] - FEW[0])
    tokens = num_cells // CELLS_A_TOKEN
    return shifted(num_steps, FEW[1] + slope * (tokens - FEW[0]))


PRESETS = by_name(
    Preset(
        name="dreamlite-mobile",
        summary="4 steps, draws and edits by a sentence, 0.39 B; 5.0 GB to fetch, most of it text.",
        source="hub:carlofkl/DreamLite-mobile@diffusers",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        family="dreamlite",
        image_size_px=1024,
        timesteps=flow_times(4, (1024 // CELL_PX) ** 2),
        prediction_type="flow",
        noise_scale="flow",
        latent_cell_px=CELL_PX,
        capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
        detail="joint",
    )
)

RECIPES = by_name(
    Recipe(
        name="dreamlite",
        summary="Edits by a sentence, 1024 px in 4 steps within 8 GB; one picture of a subject.",
        preset="dreamlite-mobile",
        weights="carlofkl/DreamLite-mobile@6695c3f4be230f0493fa5dbf78be3bc4d3bb2ab4",
        detail="joint",
    )
)

LEAST = 1e-6  # a strength below this is none
PICTURE = "<|image_pad|>"  # the token of one patch of a picture
GREY = [0.5] * 3  # mean and deviation by which pictures were normalised
BLOCK = 64  # states come in multiples of so many tokens, so that compiled networks meet few shapes
SEEN_PX = 512  # side of the square that a picture is stretched to for the language model


class Wording(NamedTuple):
    """What a prompt is put into, as the model was trained with it."""

    template: str  # of a whole chat, with a place for the prompt
    dropped: int  # tokens at its start, the same for all prompts, whose states are not read
    longest: int  # tokens of the rest, which is cut there


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
WITH_PICTURE = Wording(
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


class DreamLite(WholeFamily):
    """Qwen3-VL reads prompts and the picture; the picture is also the right half of the latents.

    Without a subject that half is 0, as the network was trained to draw from text. The latents of
    references are its input, so nothing of them is projected or kept.
    """

    name = "dreamlite"
    edits_by_reference = True
    why_no_others = "its U-Net reads reference pictures itself"
    denoiser_name = "unet"
    denoiser_class = "DreamLiteUNetModel"
    autoencoder_class = "AutoencoderTiny"
    text_config = "Qwen3VLConfig"
    text_class = "Qwen3VLForConditionalGeneration"

    def build_text(self, folder: Path) -> "nn.Module":
        """Return Qwen3-VL; see `WholeFamily`."""
        import torch
        from transformers import Qwen3VLConfig, Qwen3VLModel
        from transformers.models.qwen3_vl.modeling_qwen3_vl import (
            Qwen3VLTextRotaryEmbedding,
            Qwen3VLVisionRotaryEmbedding,
        )

        class PatchProjection(torch.nn.Conv3d):
            """The convolution that enters patches, as the product of matrices that it is.

            A patch is as large as the kernel, and PyTorch's convolutions are slow where they have
            no room to move.
            """

            def forward(self, patches: "Tensor") -> "Tensor":
                """Return (P, D, 1, 1, 1) of patches (P, C, t, h, w) as large as the kernel."""
                weight = self.weight.flatten(1)
                entered = torch.nn.functional.linear(patches.flatten(1), weight, self.bias)
                return entered[:, :, None, None, None]

        config: Any = Qwen3VLConfig.from_pretrained(folder)  # of two parts, declared as any
        network = Qwen3VLModel(config)
        patches = network.visual.patch_embed
        shape = (patches.in_channels, patches.embed_dim, patches.proj.kernel_size)
        patches.proj = PatchProjection(*shape, stride=patches.proj.stride)
        with torch.device("cpu"):  # what turns positions comes from the settings, not from the file
            network.language_model.rotary_emb = Qwen3VLTextRotaryEmbedding(config.text_config)
            network.visual.rotary_pos_emb = Qwen3VLVisionRotaryEmbedding(config.vision_config)
        return network

    def text_of(self, tokenizer: "PreTrainedTokenizerBase", encoder: Any) -> "LanguageText":  # noqa: ANN401 - of `build_text`
        """Return what reads prompts; see `WholeFamily`."""
        from swiftpie.models.text import SeeingText

        return SeeingText(tokenizer, encoder, self)

    def text_width(self, config: Any) -> int:  # noqa: ANN401 - of `text_config`
        """Return the width of a token's state."""
        return int(config.text_config.hidden_size)

    def encode(self, text: "LanguageText", prompts: list[str]) -> "TextCondition":
        """Return the states of `prompts`, without those of the instruction; see `LanguageText`.

        Each prompt is read by itself, so that no row depends on another one's length.
        """
        from swiftpie.types import TextCondition

        return TextCondition.joined([_read(text, prompt, ALONE) for prompt in prompts])

    def look(self, text: "LanguageText", pixels: "Tensor") -> "CachedTokens":
        """Read the instruction and a picture (1, 3, H, W) in [-1, 1]; see `SeeingText`."""
        import torch
        from PIL import Image
        from transformers import Qwen2VLImageProcessorPil

        from swiftpie.imageio.images import to_pil

        vision = text.encoder.config.vision_config
        processor = Qwen2VLImageProcessorPil(
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            merge_size=vision.spatial_merge_size,
            do_resize=False,
            image_mean=GREY,
            image_std=GREY,
        )
        shown = to_pil(pixels)[0].resize((SEEN_PX, SEEN_PX), Image.Resampling.LANCZOS)
        device = text.network.device
        seen = {k: v.to(device) for k, v in processor(shown, return_tensors="pt").items()}
        count = int(seen["image_grid_thw"].prod()) // processor.merge_size**2
        mark = text.encoder.config.image_token_id
        words = _tokens(text, "", WITH_PICTURE)
        tokens = [*words[: words.index(mark)], *[mark] * count]
        before = text.opening(tokens[: WITH_PICTURE.dropped])
        tokens = tokens[WITH_PICTURE.dropped :]
        row = torch.tensor([tokens], device=device)
        kinds = (row == mark).int()
        positions, _ = text.network.get_rope_index(
            row, mm_token_type_ids=kinds, image_grid_thw=seen["image_grid_thw"]
        )
        return text.follow(tokens, before, positions, mm_token_type_ids=kinds, **seen)

    def encode_with_picture(
        self, text: "LanguageText", prompts: list[str], seen: "CachedTokens"
    ) -> "TextCondition":
        """Return the states of `prompts` about what `look` has `seen`; see `SeeingText`."""
        from swiftpie.types import TextCondition

        if any(PICTURE in prompt for prompt in prompts):
            raise InputError(
                f"The prompt says {PICTURE!r}, by which this model marks a picture. Leave that out."
            )
        return TextCondition.joined([_read(text, prompt, WITH_PICTURE, seen) for prompt in prompts])

    def denoiser_of(self, network: Any, *, reads_references: bool) -> "WholeDenoiser":  # noqa: ANN401 - of `denoiser_class`
        """Install attention that computes the same and takes a bias; see `WholeFamily`."""
        from swiftpie.models.denoiser import WholeDenoiser

        processors = {name: HalvesAttention() for name in network.attn_processors}
        denoiser = WholeDenoiser(
            network, self, plain=processors, most_pictures=int(reads_references)
        )
        network.set_attn_processor(dict(processors))
        return denoiser

    def predict(
        self,
        denoiser: "WholeDenoiser",
        latents: "Tensor",
        times: "Tensor",
        text: "TextCondition",
        condition: "SubjectCondition",
    ) -> "Tensor":
        """Return clean latents minus noise; see `WholeFamily`."""
        import torch

        batch, _, rows, columns = latents.shape
        attention, network = condition.attention, denoiser.network
        strongest = attention.detail_scale + attention.detail_background_scale
        is_shown = (strongest.amax(1) > 0).to(latents)[:, None, None, None]
        shown = condition.aligned[:, 0].to(latents)
        reference = is_shown * shown if shown.shape[1] else torch.zeros_like(latents)
        size = latents.new_tensor([[CELL_PX * columns, CELL_PX * rows]]).expand(batch, -1)
        shrinks = 2 ** (len(network.down_blocks) - 1)
        velocity: Tensor = network(
            torch.cat([latents, reference], dim=3).to(network.dtype),
            times,
            text.hidden_states.to(network.dtype),
            encoder_attention_mask=text.attention_mask,
            added_cond_kwargs={"time_ids": size},
            cross_attention_kwargs={"bias": is_shown * _bias(attention, shrinks)},
            return_dict=False,
        )[0]
        return -velocity[..., :columns]

    def place_subjects(
        self,
        autoencoder: "Autoencoder",
        frames: "Sequence[Tensor]",
        layouts: "Sequence[Layout]",
        cells: tuple[int, int],
    ) -> "Tensor":
        """Return the latents of a picture with the first subject in place, (B, 1, C, h, w).

        A frame fills the picture or, where that has another shape, all that it can without being
        stretched.
        """
        from torch.nn import functional as F

        from swiftpie.geometry.layout import fitted, to_affine, warp

        pixels, layout = frames[0][:, :3], layouts[0]  # grey outside of the subject already
        size = (CELL_PX * cells[0], CELL_PX * cells[1])
        if tuple(pixels.shape[2:]) != size:
            layout = fitted(layout, size) if layout.scale.ndim == 1 else layout
            side = round(float(layout.scale.flatten()[0]) * size[1])
            if side < pixels.shape[3]:  # or fine patterns would alias
                pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        placed = warp(pixels, to_affine(layout), size).clamp(-1, 1)
        return autoencoder.encode(placed).unsqueeze(1)

    def times(self, num_steps: int, num_cells: int) -> tuple[float, ...]:
        """Return times that are shifted as far as the size wants; see `Family`."""
        return flow_times(num_steps, num_cells)

    def sharing_weights(self, modules: Mapping[str, Any]) -> dict[str, Any]:
        """Return a second U-Net around the same weights, for attention of its own; see `Family`."""
        from swiftpie.models.denoiser import sharing_weights

        return {**modules, self.denoiser_name: sharing_weights(modules[self.denoiser_name])}

    def facts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - of two parts, declared as any
    ) -> Mapping[str, tuple[object, object]]:
        """Return what must agree; see `WholeFamily`."""
        return {
            "width of the text": (self.text_width(text), denoiser.get("encoder_hid_dim")),
            "latent channels": (vae.get("latent_channels"), preset.latent_channels),
            "channels of the U-Net": (denoiser.get("in_channels"), preset.latent_channels),
        }

    def peer_of(self, preset: Preset, networks: Mapping[str, Any]) -> "Peer":
        """Return the pipeline of diffusers; see `WholeFamily`."""
        from diffusers import DreamLiteMobilePipeline, FlowMatchEulerDiscreteScheduler

        from swiftpie.backbones.peers import Peer

        pipeline = DreamLiteMobilePipeline(
            **networks,
            processor=PictureProcessor(networks["tokenizer"]),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        )
        return Peer(pipeline, preset, {}, reads_pictures=True)


class HalvesAttention:
    """The network's own attention, where a bias may hide the reference's half from the other.

    diffusers makes a copy of a bias for each head, and this one none.
    """

    def __init__(self) -> None:
        from diffusers.models.unets.unet_dreamlite import DreamLiteAttnProcessor2_0

        self.plain = DreamLiteAttnProcessor2_0()

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: "Attention",
        hidden_states: "Tensor",
        encoder_hidden_states: "Tensor | None" = None,
        attention_mask: "Tensor | None" = None,
        temb: "Tensor | None" = None,
        *,
        bias: "Tensor | None" = None,
    ) -> "Tensor":
        """Return the layer's output (B, N, D); `bias` (B, 1, N, N) is for layers without text."""
        from swiftpie.attention.kernels import attend, merge_heads

        if bias is None or encoder_hidden_states is not None:
            plain: Tensor = self.plain(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return plain
        width = attn.inner_dim // attn.heads
        query, key, value = (
            layer(hidden_states).unflatten(-1, (-1, width))
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        times = attn.heads // key.shape[2]  # that heads of keys are shared
        key, value = (part.repeat_interleave(times, dim=2) for part in (key, value))
        by_head = [part.transpose(1, 2) for part in (query, key, value)]
        attended = attend(by_head[0], by_head[1], by_head[2], bias.to(query.dtype))
        output: Tensor = attn.to_out[0](merge_heads(attended))
        return output


def _bias(attention: "AttentionCondition", shrinks: int) -> "Tensor":
    """Return what is added to the logits of self-attention, (B, 1, N, N).

    All of these layers are on the coarsest grid, whose sides are `shrinks` times smaller. On the
    logit of a target cell on a reference's cell comes `log(detail_scale)`, E3 of docs/concepts.md.
    """
    import torch
    from torch.nn import functional as F

    from swiftpie.attention.kernels import MASKED
    from swiftpie.attention.processors import region_scale
    from swiftpie.masks import resize_mask

    rows, columns = attention.region.shape[-2:]
    down, across = (-(-side // shrinks) for side in (rows, 2 * columns))
    num_own = (columns + shrinks // 2) // shrinks  # one in the middle is not the reference's
    is_shown = torch.arange(across, device=attention.region.device) >= num_own
    own = resize_mask(attention.region * attention.detail_mask, (down, num_own))
    strength = region_scale(
        attention.detail_scale, attention.detail_background_scale, own.flatten(2)
    ).squeeze(-1)  # (B, S, n)
    seen = torch.where(strength > LEAST, strength.clamp_min(LEAST).log(), MASKED)[:, 0]
    by_cell = F.pad(seen.unflatten(1, (down, num_own)), (0, across - num_own)).flatten(1)
    return (by_cell[:, :, None] * is_shown.repeat(down).to(by_cell))[:, None]


def _tokens(text: "LanguageText", prompt: str, wording: Wording) -> list[int]:
    tokens: list[int] = text.tokenizer(wording.template.format(prompt))["input_ids"]
    return tokens


def _read(
    text: "LanguageText", prompt: str, wording: Wording, seen: "CachedTokens | None" = None
) -> "TextCondition":
    import torch

    tokens = _tokens(text, prompt, wording)
    if seen is not None:  # in the place of the mark
        place = tokens.index(text.encoder.config.image_token_id)
        tokens = [*seen.tokens, *tokens[place + 1 :]]
    if len(tokens) > wording.dropped + wording.longest:
        text.warn_cut(wording.longest)
        tokens = tokens[: wording.dropped + wording.longest]
    before = text.opening(tokens[: wording.dropped]) if seen is None else seen
    states = text.follow(tokens[len(before.tokens) :], before).states
    if seen is not None:
        states = torch.cat([seen.states, states], dim=1)
    return text.padded(states, -states.shape[1] % BLOCK)


class PictureProcessor:
    """What Qwen3VLProcessor computes of pictures; its code for videos imports torchvision."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - transformers has many
        """Read words by `tokenizer`."""
        from transformers import Qwen2VLImageProcessorPil

        self.tokenizer = tokenizer
        self.image_processor = Qwen2VLImageProcessorPil(
            patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )

    def __call__(self, text: list[str], images: Any, padding: Any, return_tensors: str) -> Any:  # noqa: ANN401
        """Return tokens of `text`, with as many marks as the picture has patches."""
        seen = self.image_processor(images, return_tensors=return_tensors)
        count = int(seen["image_grid_thw"][0].prod()) // self.image_processor.merge_size**2
        mark = "<|image_pad|>"
        tokens = self.tokenizer(
            [line.replace(mark, mark * count) for line in text],
            padding=padding,
            return_tensors=return_tensors,
        )
        is_picture = tokens["input_ids"] == self.tokenizer.convert_tokens_to_ids(mark)
        tokens.update({**seen, "mm_token_type_ids": is_picture.int()})
        return tokens


FAMILY = DreamLite()
