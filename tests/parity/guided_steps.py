"""Guided drawing in few steps, through the one loop and through the schedulers of diffusers.

Each sampler that presets use, at every number of steps, and the steps of every preset itself. On
the other side each row of a step is a network call of its own.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import diffusers
import torch

from swiftpie.backbones.choices import schedule_of
from swiftpie.backbones.presets import PRESETS, trailing
from swiftpie.guidance import ClassifierFree, decoupled_for_steps
from swiftpie.noise import PredictionType
from swiftpie.pipelines.denoise import Clock, denoise
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.techniques.personalize import prepare_subjects, read_null_text
from tests.parity.fastface import null_identity
from tests.parity.schedules import BETAS, euler_scheduler
from tests.parity.tiny import PROMPT, difference, picture, tiny_session

BOUND = 1e-5  # of the largest latent; diffusers multiplies its table of noise in float32
CELLS = (8, 8)
STEP_COUNTS = (1, 2, 4, 8)
SEED = 3
SAMPLERS = {  # preset whose sampler is taken, by name
    "LCM": "lcm-lora-sdxl",
    "TCD": "hyper-sdxl-1-lora",
    "Hyper": "hyper-sdxl-4",
    "Lightning": "sdxl-lightning-4",
    "Turbo": "sdxl-turbo",
    "DMD2": "dmd2-sdxl-4",
}
FAMILIES = ("lcm", "hyper", "sdxl-lightning", "sdxl-turbo", "sd-turbo", "dmd2")


@torch.no_grad()
def rows(names=None):
    """Every comparison as (name, largest difference, bound); `names` chooses some."""
    with tempfile.TemporaryDirectory() as folder:
        session = tiny_session("sd15", Path(folder), is_shallow=True)
    identity = session.encode_identity(picture(0))
    own = {name: preset for name, preset in PRESETS.all().items() if name.startswith(FAMILIES)}
    counted = {
        f"{name}, {count} steps": replace(PRESETS.get(like), timesteps=trailing(count))
        for name, like in SAMPLERS.items()
        for count in STEP_COUNTS
    }
    return [
        (f"{name}, {kind} guidance", largest, BOUND)
        for name, preset in (own | counted).items()
        if names is None or name in names
        for kind, largest in compare(session.components, identity, preset)
    ]


def compare(components, identity, preset):
    """A picture with the steps of `preset`, ours and theirs, by the kind of guidance."""
    components = replace(components, schedule=schedule_of(preset))
    count = len(preset.timesteps)
    draws = torch.Generator().manual_seed(SEED)
    noise = torch.stack([torch.randn(1, 4, *CELLS, generator=draws) for _ in range(count + 1)])
    text = components.text.encode([PROMPT])
    request = PersonalizeRequest(
        scene="words", subjects=(Subject(identity),), prompt=PROMPT, noise=noise
    )
    start = prepare_subjects(components, request, Clock())
    inputs = {
        "u": (components.text.encode([""]), null_identity(components, start.condition)),
        "p": (components.text.encode([""]), start.condition),
        "q": (text, start.condition),
    }
    kinds = {
        "no": None,
        "decoupled": decoupled_for_steps(count),
        "plain": ClassifierFree((1.4,) * count),
    }
    for kind, guidance in kinds.items():
        without = read_null_text(components, "", guidance=guidance, rows=1)
        told_all = start._replace(text=text, null_text=without)
        found = denoise(told_all, guidance=guidance).latents
        yield kind, difference(found, theirs(components.denoiser, preset, inputs, noise[0], kind))


def theirs(denoiser, preset, inputs, noise, kind):
    """Clean latents by a scheduler of diffusers."""
    scheduler = scheduler_of(preset)
    count = len(preset.timesteps)
    draws = torch.Generator().manual_seed(SEED)
    torch.randn(noise.shape, generator=draws)  # the start, drawn before
    options = {"generator": draws}
    if isinstance(scheduler, diffusers.TCDScheduler):
        options["eta"] = preset.eta
    latents = noise * scheduler.init_noise_sigma
    assert [int(time) for time in scheduler.timesteps] == list(preset.timesteps)
    for index, timestep in enumerate(scheduler.timesteps):
        shown = scheduler.scale_model_input(latents, timestep)
        ask = partial(predicted, denoiser, shown, int(timestep), inputs)
        prediction = guided(ask, kind, is_edge=index in {0, count - 1})
        latents = scheduler.step(prediction, timestep, latents, **options).prev_sample
    return latents


def predicted(denoiser, latents, timestep, inputs, row):
    return denoiser(latents, timestep, *inputs[row], {}).sample


def guided(ask, kind, *, is_edge):
    """The equations; scales of decoupled guidance are 1 at the first and last step."""
    q = ask("q")
    if kind == "no" or (kind == "decoupled" and is_edge):
        return q
    u = ask("u")
    if kind == "plain":
        return u + 1.4 * (q - u)
    p = ask("p")
    mixed = u + 1.5 * (p - u) + 3 * (q - p)
    return mixed * (0.75 * (p.std() + q.std()) / (2 * mixed.std()) + 0.25)


def scheduler_of(preset):
    """The scheduler that the publishers of such weights name, at the timesteps of `preset`."""
    settings = BETAS | {"prediction_type": preset.prediction_type}
    count = len(preset.timesteps)
    match preset.renoise, preset.noise_scale:
        case "lcm", _:
            scheduler = diffusers.LCMScheduler(**settings)
            times = list(preset.timesteps)
            scheduler.set_timesteps(timesteps=times, original_inference_steps=1000)
        case "tcd", _:
            scheduler = diffusers.TCDScheduler(**settings)
            scheduler.set_timesteps(timesteps=list(preset.timesteps))
        case "euler_ancestral", _:
            kind = diffusers.EulerAncestralDiscreteScheduler
            scheduler = euler_scheduler(kind, count, PredictionType(preset.prediction_type))
        case "ddim", "sigma":
            kind = diffusers.EulerDiscreteScheduler
            scheduler = euler_scheduler(kind, count, PredictionType(preset.prediction_type))
        case "ddim", "unit":
            spaced = {"timestep_spacing": "trailing", "clip_sample": False}
            scheduler = diffusers.DDIMScheduler(**settings, **spaced)
            scheduler.set_timesteps(count)
    return scheduler
