"""SD-Turbo and SDXL-Turbo: Stable Diffusion 2.1 and XL distilled to one step, at 512 px."""

from swiftpie.backbones.preset import Preset, by_name

PRESETS = by_name(
    Preset(
        name="sd-turbo",
        summary="One step, distilled from Stable Diffusion 2.1 with a discriminator.",
        source="hub:stabilityai/sd-turbo",
        # Non-commercial research first, Stability AI's community licence since; that one sets terms
        # for commercial use.
        licence="Stability non-commercial research / community",
        is_commercial=None,
        family="sd21",
        image_size_px=512,
        timesteps=(999,),
        prediction_type="epsilon",
        noise_scale="sigma",
    ),
    Preset(
        name="sdxl-turbo",
        summary="One step, distilled from Stable Diffusion XL with a discriminator.",
        source="hub:stabilityai/sdxl-turbo",
        licence="sai-nc-community",
        is_commercial=False,
        family="sdxl",
        image_size_px=512,
        timesteps=(999,),
        prediction_type="epsilon",
        noise_scale="sigma",
        renoise="euler_ancestral",
    ),
)
