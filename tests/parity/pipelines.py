"""Whole pictures, text only and with an IP-Adapter, through diffusers' pipelines and through ours.

Both read the same folders. Networks are random and small. Stable Diffusion XL is drawn twice, by a
session and by the pipeline in the manner of diffusers.
"""

import tempfile
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from swiftpie.backbones.components import load_components
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.engine.session import Session
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie.noise import draw_noise
from swiftpie.pipelines.settings import Scales
from tests.parity.ip_adapter import difference
from tests.parity.tiny import Recorder
from tests.tiny.folders import make_model
from tests.tiny.sessions import preset_of, subject

PROMPT = "a red cube on the moon"
SEED = 3
SIZE_PX = (72, 104)  # height and width of the pictures, odd in latents; references are square
BOUND_LATENTS = 1e-5  # of the largest latent
BOUND_PIXELS = 1e-4  # of [0, 1]
SCALES = (0.0, 0.4, 1.0)
PIPELINES = {"sd15": StableDiffusionPipeline, "sd21": StableDiffusionPipeline}
PIPELINES["sdxl"] = StableDiffusionXLPipeline


def our_picture(session, identity, *, scale):
    """Latents and pixels in [0, 1] of one of our pictures."""
    recorder = Recorder(session.components.autoencoder)
    recording = Session(replace(session.components, autoencoder=recorder))
    scales = Scales(identity_scale=scale, detail_scale=0.0)
    recording.personalize(identity, PROMPT, seed=SEED, scales=scales, size=SIZE_PX[::-1])
    return recorder.last.latents, (recorder.last.pixels / 2 + 0.5).clamp(0, 1)


def both_outputs(pipeline, **call):
    """Latents and pixels in [0, 1] of a pipeline in the manner of diffusers."""
    height, width = SIZE_PX
    noise = draw_noise([SEED], (4, height // 8, width // 8))
    call |= {"height": height, "width": width}
    kinds = ("latent", "pt")
    return [pipeline(PROMPT, latents=noise.clone(), output_type=k, **call).images for k in kinds]


def hub_picture(pipe, identity, *, scale):
    scales = Scales(identity_scale=scale, detail_scale=0.0)
    return both_outputs(pipe, subjects=identity, scales=scales)


def their_picture(pipeline, *, num_steps=1, **adapter):
    steps = {"num_inference_steps": num_steps, "guidance_scale": 0.0}
    return both_outputs(pipeline, **steps, **adapter)


def rows_of(what, ours, theirs):
    """A row for the latents of two ways to draw one picture, and one for its pixels."""
    latents = difference(ours[0], theirs[0]) / theirs[0].abs().max().item()
    return [
        (f"{what}: latents", latents, BOUND_LATENTS),
        (f"{what}: pixels", difference(ours[1], theirs[1]), BOUND_PIXELS),
    ]


def their_features(encoder, identity):
    """The image encoder's vector of the reference, as diffusers takes it."""
    tower = CLIPVisionModelWithProjection.from_pretrained(encoder)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    visible = ((identity.pixels + 1) / 2 - mean) / std * identity.mask
    small = F.interpolate(visible, size=(32, 32), mode="bicubic", antialias=True)
    return tower(small).image_embeds[:, None]


def compare(family, folder, *, is_shallow):
    choices = make_model(folder, family, adapter="public", is_shallow=is_shallow)
    session = Session(load_components(preset_of(family), **choices))
    identity = session.encode_identity(subject())
    pipeline = PIPELINES[family].from_pretrained(choices["weights"])
    pipeline.set_progress_bar_config(disable=True)
    ours = {"": partial(our_picture, session, identity)}
    if family == "sdxl":
        hub = SwiftPiePipeline.from_components(session.components)
        hub.set_progress_bar_config(disable=True)
        ours[" through SwiftPiePipeline"] = partial(hub_picture, hub, identity)
    theirs = their_picture(pipeline)
    found = {f"text only{way}": (draw(scale=0.0), theirs) for way, draw in ours.items()}
    pipeline.load_ip_adapter(
        str(folder), subfolder="", weight_name=choices["adapter"].name, image_encoder_folder=None
    )
    features = [their_features(folder / "encoder", identity)]
    for scale in SCALES:
        pipeline.set_ip_adapter_scale(scale)
        theirs = their_picture(pipeline, ip_adapter_image_embeds=features)
        for way, draw in ours.items():
            found[f"IP-Adapter at {scale}{way}"] = (draw(scale=scale), theirs)
    silent, loud = (found[f"IP-Adapter at {scale}"][1][1] for scale in (SCALES[0], SCALES[-1]))
    assert difference(silent, loud) > 100 * BOUND_PIXELS, "the adapter does nothing"
    return [row for what, pair in found.items() for row in rows_of(f"{family}, {what}", *pair)]


@torch.no_grad()
def rows(families=tuple(PIPELINES), *, is_shallow=False):
    found = []
    with warnings.catch_warnings():
        # diffusers' schedulers hand tensors to numpy in a way that numpy 2 complains of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        for family in families:
            with tempfile.TemporaryDirectory() as folder:
                found += compare(family, Path(folder), is_shallow=is_shallow)
    return found
