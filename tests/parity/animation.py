"""Animations, words alone and with an IP-Adapter, through AnimateDiffPipeline and through ours.

Both read the same folders. Networks are random and small.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AnimateDiffPipeline, EulerDiscreteScheduler, LCMScheduler, MotionAdapter
from diffusers.utils import logging

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.guidance import ClassifierFree
from swiftpie.pipelines.settings import Scales
from tests.parity.pipelines import PROMPT, SCALES, their_features
from tests.parity.sdxs import levels
from tests.parity.tiny import Recorder
from tests.tiny.adapters import make_public_adapter
from tests.tiny.folders import make_motion, make_pipeline
from tests.tiny.sessions import subject

PRESETS_OF = ("animatelcm", "motion-lightning-1", "motion-lightning-4")
TO = "a blue cone at sea"
SEED, SIDE_PX, FRAMES = 3, 64, 4
GUIDANCE = 1.5
BOUND_LATENTS = 1e-4  # of the largest latent
BOUND_LEVELS = 1  # of 255
UNET_FILE = "diffusion_pytorch_model.safetensors"


def session_of(preset, folder, adapter):
    place = folder / "motion"
    preset = replace(preset, image_size_px=SIDE_PX)
    return Session(
        load_components(
            preset,
            weights=place if preset.lora else place / UNET_FILE,
            base=folder / "pipeline",
            adapter=adapter,
            image_encoder=folder / "encoder",
        )
    )


def pipeline_of(preset, folder):
    motion = MotionAdapter.from_pretrained(folder / "motion")
    pipeline = AnimateDiffPipeline.from_pretrained(folder / "pipeline", motion_adapter=motion)
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.scheduler.config
    if preset.lora is None:
        pipeline.scheduler = EulerDiscreteScheduler.from_config(
            config, timestep_spacing="trailing", beta_schedule="linear"
        )
        return pipeline
    pipeline.scheduler = LCMScheduler.from_config(config, beta_schedule="linear")
    pipeline.load_lora_weights(folder / "motion", weight_name=preset.lora, adapter_name="lcm")
    pipeline.set_adapters(["lcm"], [0.8])
    return pipeline


def ours(session, identity, *, scale=0.0, **request):
    recorder = Recorder(session.components.autoencoder)
    result = Session(replace(session.components, autoencoder=recorder)).animate(
        identity,
        PROMPT,
        seed=SEED,
        num_frames=FRAMES,
        scales=Scales(identity_scale=scale, detail_scale=0.0),
        **request,
    )
    return recorder.last.latents, result.images


def theirs(pipeline, preset, **call):
    both = [
        pipeline(
            **{"prompt": PROMPT, "guidance_scale": 0.0} | call,
            height=SIDE_PX,
            width=SIDE_PX,
            num_frames=FRAMES,
            num_inference_steps=len(preset.timesteps),
            generator=torch.Generator().manual_seed(SEED),
            output_type=kind,
        ).frames[0]
        for kind in ("latent", "pil")
    ]
    return both[0].transpose(0, 1), both[1]


def compare(name, folder):
    preset, adapter = PRESETS.get(name), folder / "adapter.safetensors"
    session, pipeline = session_of(preset, folder, adapter), pipeline_of(preset, folder)
    identity = session.encode_identity(subject())
    guidance = ClassifierFree((GUIDANCE,) * len(preset.timesteps))
    found = {
        "words alone": (ours(session, ()), theirs(pipeline, preset)),
        "identity at 0": (ours(session, identity), theirs(pipeline, preset)),
        "guidance": (
            ours(session, (), guidance=guidance, negative_prompt=TO),
            theirs(pipeline, preset, guidance_scale=GUIDANCE, negative_prompt=TO),
        ),
    }
    pipeline.load_ip_adapter(
        str(folder), subfolder="", weight_name=adapter.name, image_encoder_folder=None
    )
    features = [their_features(folder / "encoder", identity)]
    for scale in SCALES[1:]:
        pipeline.set_ip_adapter_scale(scale)
        other = theirs(pipeline, preset, ip_adapter_image_embeds=features)
        found[f"IP-Adapter at {scale}"] = (ours(session, identity, scale=scale), other)
    pipeline = pipeline_of(preset, folder)
    pipeline.enable_free_noise(context_length=FRAMES, noise_type="random")  # one window
    other = theirs(pipeline, preset, prompt={0: PROMPT, FRAMES - 1: TO})
    found["between two prompts"] = (ours(session, (), to=TO), other)
    plain = found["words alone"][1][0]
    for what, (_, (latents, _)) in found.items():
        is_plain = what in {"words alone", "identity at 0"}
        assert is_plain or (latents - plain).abs().max() > 100 * BOUND_LATENTS, f"{what}: no effect"
    rows = []
    for what, (own, other) in found.items():
        largest = (own[0] - other[0]).abs().max() / other[0].abs().max()
        rows.append((f"{name}, {what}: latents", largest.item(), BOUND_LATENTS))
        rows.append((f"{name}, {what}: levels", levels(own[1], other[1]), BOUND_LEVELS))
    return rows


@torch.no_grad()
def rows(names=PRESETS_OF, *, is_shallow=False):
    found = []
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # of FreeNoise, which warns of few frames
    try:
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            make_pipeline(folder / "pipeline", "sd15", is_shallow=is_shallow)
            make_motion(folder / "motion", is_shallow=is_shallow)
            make_public_adapter(folder / "adapter.safetensors", "sd15", is_shallow=is_shallow)
            for name in names:
                found += compare(name, folder)
    finally:
        logging.set_verbosity(verbosity)
    return found
