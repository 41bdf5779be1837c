"""SDXS from text, through diffusers' pipeline and through ours: sizes, batches, seeds."""

import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.noise import draw_noise
from swiftpie.pipelines.settings import Scales
from tests.parity.pipelines import PROMPT
from tests.tiny.folders import make_pipeline
from tests.tiny.sessions import subject

SIZES_PX = ((64, 64), (64, 96), (136, 72))  # height and width
BATCHES, SEED = (1, 2), 3
BOUND_LEVELS = 1  # of 255


def theirs(pipeline, size, batch):
    """Pictures of diffusers' pipeline, as its authors call it, from our noise."""
    noise = draw_noise(range(SEED, SEED + batch), (4, size[0] // 8, size[1] // 8))
    return pipeline(
        PROMPT,
        height=size[0],
        width=size[1],
        num_images_per_prompt=batch,
        num_inference_steps=1,
        guidance_scale=0,
        latents=noise,
    ).images


def ours(session, identity, size, batch):
    silent = Scales(identity_scale=0, detail_scale=0)
    return session.personalize(
        identity, PROMPT, seed=SEED, num_images=batch, size=size[::-1], scales=silent
    ).images


def levels(some, others):
    pairs = zip(some, others, strict=True)
    return max(int(np.abs(np.int16(one) - np.int16(other)).max()) for one, other in pairs)


@torch.no_grad()
def rows():
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = make_pipeline(Path(folder) / "pipeline", "sdxs")
        session = Session(load_components(PRESETS.get("sdxs-512"), weights=place))
        identity = session.encode_identity(subject())
        pipeline = StableDiffusionPipeline.from_pretrained(place)
        pipeline.set_progress_bar_config(disable=True)
        for size, batch in product(SIZES_PX, BATCHES):
            name = f"sdxs, {size[1]} x {size[0]} px, {batch} at a time: levels"
            drawn = ours(session, identity, size, batch), theirs(pipeline, size, batch)
            found.append((name, levels(*drawn), BOUND_LEVELS))
    return found
