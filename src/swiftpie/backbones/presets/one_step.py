"""SwiftBrush, SD-Turbo, SDXL-Turbo and InstaFlow: Stable Diffusion in one step, at 512 px."""

from functools import partial

from swiftpie.backbones.preset import SD21_BASE, Capability, Preset, WeightsKind, by_name

_preset = partial(Preset, image_size_px=512)
_of_version_2 = partial(_preset, family="sd21", timesteps=(999,), prediction_type="epsilon")

PRESETS = by_name(
    # The authors' script rounds the share of signal at 999 to 0.0047; this is exact, 0.00466.
    _of_version_2(
        name="swiftbrush-v1",
        summary="One step, distilled from Stable Diffusion 2.1 without images.",
        source="hub:thuanz123/swiftbrush",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
    ),
    _of_version_2(
        name="swiftbrush-v2",
        summary="One step, in the release of SwiftEdit; download it and pass its folder.",
        source="local:swiftedit_weights/sbv2_0.5",
        # The code is BSD-3-Clause; the weights derive from SD-Turbo's.
        licence="as SD-Turbo",
        is_commercial=None,
        capabilities=frozenset({Capability.PERSONALIZE, Capability.EDIT}),
        kind=WeightsKind.UNET,
        base=SD21_BASE,
    ),
    _of_version_2(
        name="sd-turbo",
        summary="One step, distilled from Stable Diffusion 2.1 with a discriminator.",
        source="hub:stabilityai/sd-turbo",
        # Non-commercial research first, Stability AI's community licence since; that one sets terms
        # for commercial use.
        licence="Stability non-commercial research / community",
        is_commercial=None,
        noise_scale="sigma",
    ),
    _preset(
        name="sdxl-turbo",
        summary="One step, distilled from Stable Diffusion XL with a discriminator.",
        source="hub:stabilityai/sdxl-turbo",
        licence="sai-nc-community",
        is_commercial=False,
        family="sdxl",
        timesteps=(999,),
        prediction_type="epsilon",
        noise_scale="sigma",
        renoise="euler_ancestral",
    ),
    _preset(
        name="instaflow",
        summary="One step of a straightened flow, from Stable Diffusion 1.5.",
        source="hub:XCLiu/instaflow_0_9B_from_sd_1_5",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        family="sd15",
        timesteps=(1000,),
        prediction_type="flow",
        noise_scale="flow",
    ),
)
