"""SANA-Sprint through diffusers' pipeline and through ours: steps, sizes, batches, seeds."""

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from diffusers import SanaSprintPipeline

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from tests.backbones.tiny_sana import make_pipeline
from tests.parity.sdxs import BATCHES, BOUND_LEVELS, SEED, levels

PROMPT = "A Red cube on the moon "
SIDE_PX = 128
SIZES_PX = ((128, 128), (128, 192), (160, 96))  # height and width
STEPS = (1, 2, 4)
PRESET = replace(PRESETS.get("sana-sprint-0.6b"), image_size_px=SIDE_PX)


def opened(place):
    pipeline = SanaSprintPipeline.from_pretrained(place)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline, size, batch, steps, *, seed=SEED, prompt=PROMPT):
    return pipeline(
        prompt=prompt,
        height=size[0],
        width=size[1],
        num_images_per_prompt=batch,
        num_inference_steps=steps,
        intermediate_timesteps=1.3 if steps == 2 else None,
        generator=[torch.Generator().manual_seed(seed + row) for row in range(batch)],
        use_resolution_binning=False,
    ).images


def ours(session, size, batch, *, seed=SEED, prompt=PROMPT, **changes):
    return session.generate(prompt, seed=seed, num_images=batch, size=size[::-1], **changes).images


@torch.no_grad()
def rows():
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = make_pipeline(Path(folder) / "pipeline")
        pipeline = opened(place)
        for steps in STEPS:
            session = Session(load_components(PRESET, weights=place, steps=steps))
            for seed, (size, batch) in enumerate(product(SIZES_PX, BATCHES), start=SEED):
                drawn = (
                    ours(session, size, batch, seed=seed),
                    theirs(pipeline, size, batch, steps, seed=seed),
                )
                what = f"sana, {steps} steps, {size[1]} x {size[0]} px, {batch} at a time: levels"
                found.append((what, levels(*drawn), BOUND_LEVELS))
    return found
