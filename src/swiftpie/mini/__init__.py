"""Mini, the model inside the package: 256 px, one step, trained on drawn places and photographs."""

from swiftpie.backbones.presets import Capability, Preset
from swiftpie.registry import by_name

MINI = Preset(
    name="mini",
    summary="Ships with SwiftPie; 256 px, drawn places, one step, a laptop CPU is enough.",
    source="package:mini",
    licence="Apache-2.0",
    is_commercial=True,
    family="tiny",
    image_size_px=256,
    more_sizes_px=(128,),
    latent_channels=32,
    timesteps=(999,),
    more_steps=(2, 4),
    prediction_type="sample",
    capabilities=frozenset(
        {Capability.PERSONALIZE, Capability.LAYOUT, Capability.EDIT, Capability.ANIMATE}
    ),
    defaults={"identity_scale": 1.0, "detail_scale": 1.0, "edit_text_scale": 1.0},
)

PRESETS = by_name(MINI)
