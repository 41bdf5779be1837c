"""Largest differences between our schedules and the schedulers of diffusers."""

import itertools
import warnings

import diffusers
import torch

from swiftpie.noise import add_noise, build_schedule, flow_step, predict_clean, scaled_linear_step

BOUND = 1e-5  # of the largest latent; diffusers multiplies its table of noise in float32
TABLE_BOUND = 1e-6
SHAPE = (2, 4, 8, 8)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PREDICTIONS = ("epsilon", "v_prediction", "sample")
STEP_COUNTS = (1, 2, 4, 8)
ETAS = (0.0, 0.3, 1.0)
LCM_TIMESTEPS = ([399], [800], [999, 749, 499, 249], [999, 759, 499, 259], [499, 1])

# Share of signal that is kept, by timestep, to six digits.
KEPT = {
    249: 0.675432,
    399: 0.426086,
    499: 0.277669,
    500: 0.276332,
    749: 0.056623,
    800: 0.036870,
    999: 0.004660,
}


def rows():
    choices = {
        ddim: (STEP_COUNTS, PREDICTIONS),
        euler: (STEP_COUNTS, PREDICTIONS),
        euler_ancestral: (STEP_COUNTS, PREDICTIONS[:2]),  # theirs cannot predict clean latents
        lcm: (LCM_TIMESTEPS, PREDICTIONS),
        tcd: (STEP_COUNTS, PREDICTIONS, ETAS),
        flow: (STEP_COUNTS,),
    }
    compared = [
        (" ".join(map(str, (compare.__name__, *chosen))), compare(*chosen), BOUND)
        for compare, sets in choices.items()
        for chosen in itertools.product(*sets)
    ]
    return [("noise_table", noise_table(), TABLE_BOUND), *compared]


def noise_table():
    return max(abs(scaled_linear_step(time).alpha ** 2 - kept) for time, kept in KEPT.items())


def ddim(num_steps, prediction_type):
    theirs = diffusers.DDIMScheduler(
        **BETAS, prediction_type=prediction_type, timestep_spacing="trailing", clip_sample=False
    )
    theirs.set_timesteps(num_steps)
    return largest_difference(theirs, prediction_type)


def euler(num_steps, prediction_type):
    theirs = euler_scheduler(diffusers.EulerDiscreteScheduler, num_steps, prediction_type)
    return largest_difference(theirs, prediction_type, noise_scale="sigma")


def euler_ancestral(num_steps, prediction_type):
    kind = diffusers.EulerAncestralDiscreteScheduler
    theirs = euler_scheduler(kind, num_steps, prediction_type)
    return largest_difference(
        theirs, prediction_type, noise_scale="sigma", renoise="euler_ancestral"
    )


def lcm(timesteps, prediction_type):
    theirs = diffusers.LCMScheduler(**BETAS, prediction_type=prediction_type)
    # Their own steps are every 20th; with 1000 of them any timestep is one.
    theirs.set_timesteps(timesteps=timesteps, original_inference_steps=1000)
    return largest_difference(theirs, prediction_type, renoise="lcm")


def tcd(num_steps, prediction_type, eta):
    theirs = diffusers.TCDScheduler(**BETAS, prediction_type=prediction_type)
    theirs.set_timesteps(num_steps)
    return largest_difference(theirs, prediction_type, renoise="tcd", eta=eta)


def flow(num_steps):
    timesteps = [1000 - 1000 * index // num_steps for index in range(num_steps)]
    ours = build_schedule(timesteps, "flow", noise_scale="flow")
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    latents, expected = ours.initial_latents(start), start
    for index in range(num_steps):
        latents = ours.advance(latents, network(latents, index), index)
        expected = expected + network(expected, index) / num_steps
    return relative_difference(latents, expected)


def euler_scheduler(kind, num_steps, prediction_type):
    """An Euler scheduler of diffusers; those hand tensors to NumPy the old way."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        scheduler = kind(**BETAS, prediction_type=prediction_type, timestep_spacing="trailing")
        scheduler.set_timesteps(num_steps)
    return scheduler


def largest_difference(theirs, prediction_type, *, eta=0.0, **settings):
    """Run both samplers on one network and compare what enters it and what comes out at last."""
    timesteps = [int(timestep) for timestep in theirs.timesteps]
    schedule = build_schedule(timesteps, prediction_type, eta=eta, **settings)
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    draws, options = torch.Generator().manual_seed(1), {}
    options["generator"] = torch.Generator().manual_seed(1)
    if isinstance(theirs, diffusers.TCDScheduler):
        options["eta"] = eta
    ours, other, gaps = schedule.initial_latents(start), start * theirs.init_noise_sigma, []
    for index, timestep in enumerate(theirs.timesteps):
        entering = theirs.scale_model_input(other, timestep)
        gaps.append(relative_difference(ours, entering))
        noise = torch.randn(SHAPE, generator=draws) if schedule.needs_noise else None
        ours = schedule.advance(ours, network(ours, index), index, noise=noise)
        other = theirs.step(network(entering, index), timestep, other, **options).prev_sample
    return max(*gaps, relative_difference(ours, other))


def network(latents, index):
    table = torch.randn(SHAPE, generator=torch.Generator().manual_seed(100 + index))
    return 0.7 * torch.tanh(latents) + 0.3 * table


def relative_difference(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def round_trip(prediction_type, timestep):
    is_flow = prediction_type == "flow"
    step = flow_step(timestep) if is_flow else scaled_linear_step(timestep)
    draws = torch.Generator().manual_seed(2)
    clean, noise = torch.randn(SHAPE, generator=draws), torch.randn(SHAPE, generator=draws)
    exact = {
        "epsilon": noise,
        "v_prediction": step.alpha * noise - step.sigma * clean,
        "sample": clean,
        "flow": clean - noise,
    }[prediction_type]
    latents = add_noise(clean, noise, step)
    return relative_difference(predict_clean(latents, exact, step, prediction_type), clean)
