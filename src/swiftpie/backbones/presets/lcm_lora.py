"""LCM-LoRA: latent consistency as an addition to Stable Diffusion 1.5 and XL."""

from swiftpie.backbones.preset import (
    SD15_BASE,
    SDXL_BASE,
    Preset,
    WeightsKind,
    by_name,
)


def _preset(family: str, *, repository: str, base: str, image_size_px: int) -> Preset:
    return Preset(
        name=f"lcm-lora-{family}",
        summary="Fits most fine-tuned models of its family; sharper with guidance of 1 to 2.",
        source=f"hub:latent-consistency/{repository}",
        file="pytorch_lora_weights.safetensors",  # as diffusers names a LoRA
        kind=WeightsKind.LORA,
        base=base,
        licence="openrail++",
        is_commercial=True,  # openrail++ allows it, with limits on what for
        family=family,
        image_size_px=image_size_px,
        timesteps=(999,),
        prediction_type="epsilon",
        renoise="lcm",
    )


PRESETS = by_name(
    _preset("sd15", repository="lcm-lora-sdv1-5", base=SD15_BASE, image_size_px=512),
    _preset("sdxl", repository="lcm-lora-sdxl", base=SDXL_BASE, image_size_px=1024),
)
