"""SDXL-Lightning: Stable Diffusion XL in 1, 2, 4 or 8 steps, each with its own denoiser."""

from swiftpie.backbones.preset import (
    SDXL_BASE,
    Prediction,
    Preset,
    WeightsKind,
    by_name,
    trailing,
)


def _preset(num_steps: int, *, file: str, prediction_type: Prediction, summary: str) -> Preset:
    return Preset(
        name=f"sdxl-lightning-{num_steps}",
        summary=summary,
        source="hub:ByteDance/SDXL-Lightning",
        file=file,
        kind=WeightsKind.UNET,
        base=SDXL_BASE,
        licence="openrail++",
        is_commercial=True,  # openrail++ allows it, with limits on what for
        family="sdxl",
        image_size_px=1024,
        timesteps=trailing(num_steps),
        prediction_type=prediction_type,
        noise_scale="sigma",
    )


PRESETS = by_name(
    # The file with x0 in its name is the one that predicts clean latents.
    _preset(
        1,
        file="sdxl_lightning_1step_unet_x0.safetensors",
        prediction_type="sample",
        summary="One step; an experiment, say its authors.",
    ),
    *(
        _preset(
            num_steps,
            file=f"sdxl_lightning_{num_steps}step_unet.safetensors",
            prediction_type="epsilon",
            summary=f"{num_steps} steps, distilled progressively with a discriminator.",
        )
        for num_steps in (2, 4, 8)
    ),
)
