"""SDXL-Turbo: Stable Diffusion XL distilled to one step, best at 512 px."""

from swiftpie.backbones.preset import Capability, Preset

PRESET = Preset(
    name="sdxl-turbo",
    summary="One step, distilled from Stable Diffusion XL with a discriminator.",
    source="hub:stabilityai/sdxl-turbo",
    licence="sai-nc-community",
    is_commercial=False,
    family="sdxl",
    image_size_px=512,
    latent_channels=4,
    latent_cell_px=8,
    timesteps=(999,),
    prediction_type="epsilon",
    capabilities=frozenset({Capability.PERSONALIZE}),
    noise_scale="sigma",
    renoise="euler_ancestral",
)
