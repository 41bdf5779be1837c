"""Mini: the model inside the package, 128 px, one step, trained on sticker scenes."""

from swiftpie.backbones.preset import Capability, Preset

PRESET = Preset(
    name="mini",
    summary="Ships with SwiftPie; 128 px sticker scenes, one step, a laptop CPU is enough.",
    source="package:mini",
    licence="Apache-2.0",
    is_commercial=True,
    family="tiny",
    image_size_px=128,
    latent_channels=32,
    timesteps=(999,),
    more_steps=(2, 4),
    prediction_type="sample",
    capabilities=frozenset({Capability.PERSONALIZE, Capability.LAYOUT, Capability.EDIT}),
    defaults={"identity_scale": 1.0, "detail_scale": 1.0, "edit_text_scale": 1.0},
)
