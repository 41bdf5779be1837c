"""InstaFlow: Stable Diffusion 1.5 straightened into a flow of one step."""

from swiftpie.backbones.preset import Preset

PRESET = Preset(
    name="instaflow",
    summary="One step of a straightened flow, from Stable Diffusion 1.5.",
    source="hub:XCLiu/instaflow_0_9B_from_sd_1_5",
    licence="CC-BY-NC-4.0",
    is_commercial=False,
    family="sd15",
    image_size_px=512,
    timesteps=(1000,),
    prediction_type="flow",
    noise_scale="flow",
)
