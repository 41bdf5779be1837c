"""Stable Diffusion 2.1 in one step: SD-Turbo, and the weights that SwiftEdit released."""

from functools import partial

from swiftpie.backbones.hub import Host, RepoReference
from swiftpie.backbones.presets import SD21_BASE
from swiftpie.backbones.recipes import Recipe, Use, published
from swiftpie.registry import by_name


def _released(path: str) -> str:
    """Return how a part of SwiftEdit's release is called: a place in the archive it comes as."""
    place = f"swiftedit_weights/{path}"
    return str(RepoReference("Qualcomm-AI-research/SwiftEdit", place, "v1.0", Host.GITHUB))


# The only public adapter of this family, trained through SwiftBrush, which began as SD-Turbo.
_recipe = partial(
    Recipe,
    adapter=_released("ip_adapter_ckpt-90k/ip_adapter.bin"),
    image_encoder=published("h94/IP-Adapter", "models/image_encoder"),
    allow_pickle=True,
)

RECIPES = by_name(
    _recipe(
        name="sd-turbo",
        summary="512 px in one step, or up to 4, with the adapter of SwiftEdit's release.",
        preset="sd-turbo",
        weights=published("stabilityai/sd-turbo"),
        scales={"identity_scale": 0.5},
        detail="joint",  # as of Stable Diffusion XL's recipes
        detail_mask="inline",
    ),
    _recipe(
        name="swiftedit",
        summary="Edits of photographs by a sentence, 512 px in one step, with SwiftEdit's weights.",
        preset="swiftbrush-v2",
        use=Use.EDIT,
        weights=_released("sbv2_0.5"),
        base=published(SD21_BASE),
        inversion=_released("inverse_ckpt-120k/unet_ema"),
        edit_mode="released",  # as these weights were published to be used
    ),
)
