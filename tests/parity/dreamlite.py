"""DreamLite-mobile through diffusers' pipeline and through ours: text, edits, sizes, batches."""

import math
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from diffusers import (
    AutoencoderTiny,
    DreamLiteMobilePipeline,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image, ImageDraw
from transformers import Qwen2Tokenizer, Qwen3VLForConditionalGeneration

from swiftpie.backbones.components import load_components
from swiftpie.backbones.families.dreamlite import PictureProcessor
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.pipelines.settings import EditSettings, Scales
from tests.backbones.tiny_dreamlite import make_pipeline
from tests.parity.sdxs import BATCHES, BOUND_LEVELS, SEED, SIZES_PX, levels

PROMPT = "a red cube on the moon"
FRAME_PX = 64
EDITED_PX = ((64, 64), (64, 256), (256, 64))  # of the area of a square, so that none is scaled
PRESET = replace(PRESETS.get("dreamlite-mobile"), image_size_px=FRAME_PX)
SILENT = Scales(detail_scale=0.0)


def open_theirs(folder):
    tokenizer = Qwen2Tokenizer.from_pretrained(folder / "tokenizer")
    pipeline = DreamLiteMobilePipeline(
        text_encoder=Qwen3VLForConditionalGeneration.from_pretrained(folder / "text_encoder"),
        tokenizer=tokenizer,
        processor=PictureProcessor(tokenizer),
        vae=AutoencoderTiny.from_pretrained(folder / "vae"),
        unet=DreamLiteUNetModel.from_pretrained(folder / "unet"),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference(size=(FRAME_PX, FRAME_PX), shift=0):
    """A picture of (height, width) that is seen as a whole."""
    height, width = size
    picture = Image.new("RGB", (width, height), (30 + shift, 90, 160))
    ImageDraw.Draw(picture).ellipse((8, 12, 40, 60), fill=(200, 40 + shift, 70))
    return picture


def theirs(pipeline, size, seeds, picture=None):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(
        PROMPT,
        image=picture,
        height=size[0],
        width=size[1],
        num_images_per_prompt=len(seeds),
        generator=generators,
    ).images


def ours(session, identity, size, seeds, **changes):
    return session.personalize(
        identity, PROMPT, seed=seeds[0], num_images=len(seeds), size=size[::-1], **changes
    ).images


@torch.no_grad()
def rows():
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = make_pipeline(Path(folder))
        session, pipeline = Session(load_components(PRESET, weights=place)), open_theirs(place)
        shown = session.encode_identity(reference(), cutout="none")
        for size, batch in product(SIZES_PX, BATCHES):
            seeds = range(SEED, SEED + batch)
            drawn = ours(session, shown, size, seeds, scales=SILENT)
            what = f"dreamlite, text only, {size[1]} x {size[0]} px, {batch} at a time: levels"
            found.append((what, levels(drawn, theirs(pipeline, size, seeds)), BOUND_LEVELS))
        for size, seed in product(EDITED_PX, (SEED, SEED + 1)):
            settings = EditSettings(size_px=math.isqrt(math.prod(size)))
            edited = session.edit(reference(size), PROMPT, seed=seed, settings=settings).edited
            both = [edited], theirs(pipeline, size, [seed], reference(size))
            what = f"dreamlite, an edit, {size[1]} x {size[0]} px, seed {seed}: levels"
            found.append((what, levels(*both), BOUND_LEVELS))
        square = (FRAME_PX, FRAME_PX)
        for batch in BATCHES:
            seeds = range(SEED, SEED + batch)
            alone = [theirs(pipeline, square, [seed], reference())[0] for seed in seeds]
            drawn = ours(session, shown, square, seeds)
            what = f"dreamlite, a subject, {batch} at a time: levels"
            found.append((what, levels(drawn, alone), BOUND_LEVELS))
    return found
