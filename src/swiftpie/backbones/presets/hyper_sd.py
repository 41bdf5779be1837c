"""Hyper-SD: Stable Diffusion 1.5 and XL in 1, 2, 4 or 8 steps, as LoRAs and one denoiser."""

from swiftpie.backbones.preset import (
    SD15_BASE,
    SDXL_BASE,
    Preset,
    Renoise,
    WeightsKind,
    by_name,
    trailing,
)

BASES = {"sd15": SD15_BASE, "sdxl": SDXL_BASE}
SIZES_PX = {"sd15": 512, "sdxl": 1024}


def _preset(
    name: str,
    family: str,
    *,
    file: str,
    timesteps: tuple[int, ...],
    kind: WeightsKind = WeightsKind.LORA,
    renoise: Renoise = "ddim",
    eta: float = 0.0,
) -> Preset:
    steps = "One step" if len(timesteps) == 1 else f"{len(timesteps)} steps"
    return Preset(
        name=name,
        summary=f"{steps}, distilled from trajectories cut into segments.",
        source="hub:ByteDance/Hyper-SD",
        file=file,
        kind=kind,
        base=BASES[family],
        licence="own, see its LICENSE.md",
        is_commercial=None,  # what its LICENSE.md says now was not to be read
        family=family,
        image_size_px=SIZES_PX[family],
        timesteps=timesteps,
        prediction_type="epsilon",
        renoise=renoise,
        eta=eta,
    )


def _one_step_lora(name: str, family: str, *, file: str) -> Preset:
    return _preset(name, family, file=file, timesteps=(999,), renoise="tcd", eta=1.0)


def _few_step_loras(family: str, *, stem: str) -> tuple[Preset, ...]:
    """Return those of 2, 4 and 8 steps.

    Their authors' scheduler keeps the noise of timestep 0, 0.03, in the end; ours ends clean.
    """
    return tuple(
        _preset(
            f"hyper-{family}-{num_steps}",
            family,
            file=f"Hyper-{stem}-{num_steps}steps-lora.safetensors",
            timesteps=trailing(num_steps),
        )
        for num_steps in (2, 4, 8)
    )


PRESETS = by_name(
    _one_step_lora("hyper-sd15-1", "sd15", file="Hyper-SD15-1step-lora.safetensors"),
    # For 1.5 the names of these files follow those for XL; they were not looked up.
    *_few_step_loras("sd15", stem="SD15"),
    _preset(
        "hyper-sdxl-1",
        "sdxl",
        file="Hyper-SDXL-1step-Unet.safetensors",  # an older listing ends in -unet
        timesteps=(800,),
        kind=WeightsKind.UNET,
        renoise="lcm",
    ),
    _one_step_lora("hyper-sdxl-1-lora", "sdxl", file="Hyper-SDXL-1step-lora.safetensors"),
    *_few_step_loras("sdxl", stem="SDXL"),
)
