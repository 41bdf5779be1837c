"""SDXS: a third of Stable Diffusion 1.5 in one step, for processors without a graphics card."""

from swiftpie.backbones.recipes import Recipe, published

RECIPE = Recipe(
    name="sdxs",
    summary="512 px in one step, the quickest without a graphics card; no adapter is needed.",
    preset="sdxs-512",
    weights=published("IDKiro/sdxs-512-dreamshaper"),
    detail="joint",
    detail_mask="inline",
)
