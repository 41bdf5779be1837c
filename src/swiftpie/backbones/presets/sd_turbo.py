"""SD-Turbo: Stable Diffusion 2.1 distilled to one step at 512 px."""

from swiftpie.backbones.preset import Capability, Preset

PRESET = Preset(
    name="sd-turbo",
    summary="One step, distilled from Stable Diffusion 2.1 with a discriminator.",
    source="hub:stabilityai/sd-turbo",
    # Non-commercial research first, Stability AI's community licence since; that one sets terms
    # for commercial use.
    licence="Stability non-commercial research / community",
    is_commercial=None,
    family="sd21",
    image_size_px=512,
    latent_channels=4,
    latent_cell_px=8,
    timesteps=(999,),
    prediction_type="epsilon",
    capabilities=frozenset({Capability.PERSONALIZE}),
    noise_scale="sigma",
)
