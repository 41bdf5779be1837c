"""FLUX.2 [klein] through diffusers' pipeline and through ours: text, references, sizes, batches."""

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from diffusers import Flux2KleinPipeline
from PIL import Image, ImageDraw

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.noise import draw_noise
from swiftpie.pipelines.request import Subject
from swiftpie.pipelines.settings import Scales
from tests.parity.sdxs import BATCHES, BOUND_LEVELS, SEED, levels
from tests.tiny.klein import make_pipeline

PROMPT = "a red cube on the moon"
FRAME_PX = 64
SIZES_PX = ((64, 64), (64, 96), (112, 80))  # height and width
PRESET = replace(PRESETS.get("flux2-klein-4b"), image_size_px=FRAME_PX)


def reference(shift=0):
    picture = Image.new("RGB", (FRAME_PX, FRAME_PX), (30 + shift, 90, 160))
    ImageDraw.Draw(picture).ellipse((8 + shift, 12, 40 + shift, 60), fill=(200, 40 + shift, 70))
    return picture


def theirs(pipeline, size, batch, references=()):
    noise = draw_noise(range(SEED, SEED + batch), (128, size[0] // 16, size[1] // 16))
    return pipeline(
        prompt=PROMPT,
        image=list(references) or None,
        height=size[0],
        width=size[1],
        num_images_per_prompt=batch,
        num_inference_steps=4,
        guidance_scale=1.0,
        latents=noise,
    ).images


def ours(session, subjects, size, batch, **changes):
    return session.personalize(
        subjects, PROMPT, seed=SEED, num_images=batch, size=size[::-1], **changes
    ).images


@torch.no_grad()
def rows():
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = make_pipeline(Path(folder) / "pipeline")
        session = Session(load_components(PRESET, weights=place))
        pipeline = Flux2KleinPipeline.from_pretrained(place)
        pipeline.set_progress_bar_config(disable=True)
        pictures = [reference(), reference(20)]
        one, two = (session.encode_identity(pictures[:count], cutout="none") for count in (1, 2))
        other = session.encode_identity(pictures[1], cutout="none")
        silent = {"scales": Scales(detail_scale=0.0)}
        kinds = {
            "text only": ([Subject(one)], silent, []),
            "one reference": ([Subject(one)], {}, pictures[:1]),
            "two views": ([Subject(two)], {}, pictures),
            "two subjects": ([Subject(one), Subject(other)], {}, pictures),
        }
        for size, batch in product(SIZES_PX, BATCHES):
            for name, (subjects, changes, shown) in kinds.items():
                drawn = (
                    ours(session, subjects, size, batch, **changes),
                    theirs(pipeline, size, batch, shown),
                )
                what = f"klein, {name}, {size[1]} x {size[0]} px, {batch} at a time: levels"
                found.append((what, levels(*drawn), BOUND_LEVELS))
    return found
