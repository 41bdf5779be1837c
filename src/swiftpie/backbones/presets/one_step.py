"""SwiftBrush, the Turbos, InstaFlow and SDXS: Stable Diffusion in one step, at 512 px.

The Turbos take 1 to 4; every further step costs as much as the first.
"""

from functools import partial

from swiftpie.backbones.presets import SD21_BASE, SDXL_NETWORKS, Capability, Preset, WeightsKind
from swiftpie.registry import by_name

_preset = partial(Preset, image_size_px=512)
_of_version_2 = partial(_preset, family="sd21", timesteps=(999,), prediction_type="epsilon")
_turbo = partial(
    _preset,
    # Free up to a yearly revenue of a million dollars, and registered; see their LICENSE.md.
    licence="Stability AI Community License",
    is_commercial=None,
    timesteps=(999,),
    more_steps=(2, 3, 4),
    prediction_type="epsilon",
    noise_scale="sigma",
)

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
        summary="One step, in the release of SwiftEdit, which the recipe `swiftedit` gets.",
        source="local:swiftedit_weights/sbv2_0.5",
        # The code is BSD-3-Clause; the weights derive from SD-Turbo's.
        licence="as SD-Turbo",
        is_commercial=None,
        capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
        kind=WeightsKind.UNET,
        base=SD21_BASE,
    ),
    _turbo(
        name="sd-turbo",
        summary="1 to 4 steps, distilled from Stable Diffusion 2.1 with a discriminator.",
        source="hub:stabilityai/sd-turbo",
        family="sd21",
    ),
    _turbo(
        name="sdxl-turbo",
        summary="1 to 4 steps, distilled from Stable Diffusion XL with a discriminator.",
        source="hub:stabilityai/sdxl-turbo",
        family="sdxl",
        networks=SDXL_NETWORKS,
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
    # Its scheduler stops at the noise of timestep 0; so does this one, without fresh noise.
    _preset(
        name="sdxs-512",
        summary="One step, a third of Stable Diffusion 1.5, with a tiny autoencoder: for CPUs.",
        source="hub:IDKiro/sdxs-512-dreamshaper",
        licence="openrail++",
        is_commercial=True,  # openrail++ allows it, with limits on what for
        family="sdxs",
        timesteps=(999,),
        prediction_type="epsilon",
        renoise="tcd",
        detail="joint",  # no adapter is published for its layers
        detail_mask="inline",
    ),
)
