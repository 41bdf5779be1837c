"""DreamLite-mobile of full size with random weights, and diffusers' own pipeline around it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    DreamLiteMobilePipeline,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from benchmarks._models import PLACES, SUBJECT, Scene, prompt, write_network
from benchmarks._timing import Action, Round, timed
from swiftpie.backbones.families.dreamlite import ALONE, WITH_PICTURE, PictureProcessor
from tests.backbones.tiny_dreamlite import SPECIAL, scheduler

UNET = {
    "sample_size": 128,
    "block_out_channels": (256, 512, 896),
    "attention_head_dim": (4, 8, 14),
    "transformer_layers_per_block": (1, 2, 4),
    "cross_attention_dim": 2304,
    "encoder_hid_dim": 2048,
    "encoder_hid_dim_type": "text_proj_rms",
    "addition_embed_type": "time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 512,
    "ff_mult": 3,
}  # 389,968,388 numbers, as the file on the hub has
TEXT = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
EYES = {
    "depth": 24,
    "hidden_size": 1024,
    "num_heads": 16,
    "intermediate_size": 4096,
    "out_hidden_size": 2048,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}  # both together 2,127,532,032 numbers, likewise


def make_dreamlite(folder: Path, dtype: torch.dtype) -> None:
    """Write the networks of a pipeline in the layout of the hub."""
    write_network(folder / "unet", lambda: DreamLiteUNetModel(**UNET), dtype)
    write_network(folder / "vae", AutoencoderTiny, dtype)
    write_network(folder / "text_encoder", language_model, dtype, without="lm_head.weight")
    word_tokenizer().save_pretrained(folder / "tokenizer")
    scheduler().save_pretrained(folder / "scheduler")


def language_model() -> Qwen3VLForConditionalGeneration:
    """Return Qwen3-VL of two billion numbers."""
    numbers = {token: number for number, token in enumerate(SPECIAL)}
    config = Qwen3VLConfig(
        text_config=TEXT,
        vision_config=EYES,
        image_token_id=numbers["<|image_pad|>"],
        video_token_id=numbers["<|video_pad|>"],
        vision_start_token_id=numbers["<|vision_start|>"],
        vision_end_token_id=numbers["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    return Qwen3VLForConditionalGeneration(config)


def word_tokenizer(*more: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words, about as many as published ones make of prompts."""
    said = " ".join([ALONE.template, WITH_PICTURE.template, SUBJECT, *PLACES, *more])
    words = sorted(set(re.findall(r"\w+|[^\w\s]+", said)))
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, "<unk>", *words])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=SPECIAL[0])


def open_pipeline(scene: Scene, read: Callable[..., Any], dtype: torch.dtype) -> Any:  # noqa: ANN401 - not annotated
    """Return diffusers' pipeline around the model of `scene`; `read` returns a network of it."""
    folder = scene.folder / "pipeline"
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    pipeline = DreamLiteMobilePipeline(
        text_encoder=read(Qwen3VLForConditionalGeneration, scene, "pipeline/text_encoder", dtype),
        tokenizer=tokenizer,
        processor=PictureProcessor(tokenizer),
        vae=read(AutoencoderTiny, scene, "pipeline/vae", dtype),
        unet=read(DreamLiteUNetModel, scene, "pipeline/unet", dtype),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(scene.device)


@dataclass(frozen=True, eq=False)
class DreamLiteDrawing:
    """The pipeline as its documentation calls it, from words and with a picture to edit."""

    pipeline: Any
    scene: Scene

    def actions(self, operations: tuple[str, ...]) -> list[Action]:
        """Return what is measured of `operations`."""
        return [partial(self.draw, name) for name in ("generate", "edit") if name in operations]

    def draw(self, operation: str, number: int) -> Round:
        """Draw once, with a prompt that was not encoded before."""
        is_edit, side = operation == "edit", self.scene.side_px
        sample, _ = timed(
            lambda: self.pipeline(
                prompt(number, ahead=int(is_edit)),
                image=self.scene.picture(number) if is_edit else None,
                height=side,
                width=side,
                num_images_per_prompt=self.scene.batch,
                generator=torch.Generator().manual_seed(number),
            ),
            self.scene.device,
        )
        return {operation: sample}
