"""SwiftBrush: one-step students of Stable Diffusion 2.1 at 512 px."""

from swiftpie.backbones.preset import SD21_BASE, Capability, Preset, WeightsKind, by_name

PRESETS = by_name(
    Preset(
        name="swiftbrush-v1",
        summary="One step, distilled from Stable Diffusion 2.1 without images.",
        source="hub:thuanz123/swiftbrush",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        family="sd21",
        image_size_px=512,
        # The authors' script rounds the share of signal at 999 to 0.0047; this is exact, 0.00466.
        timesteps=(999,),
        prediction_type="epsilon",
    ),
    Preset(
        name="swiftbrush-v2",
        summary="One step, in the release of SwiftEdit; download it and pass its folder.",
        source="local:swiftedit_weights/sbv2_0.5",
        # The code is BSD-3-Clause; the weights derive from SD-Turbo's.
        licence="as SD-Turbo",
        is_commercial=None,
        family="sd21",
        image_size_px=512,
        timesteps=(999,),
        prediction_type="epsilon",
        capabilities=frozenset({Capability.PERSONALIZE, Capability.EDIT}),
        kind=WeightsKind.UNET,
        base=SD21_BASE,
    ),
)
