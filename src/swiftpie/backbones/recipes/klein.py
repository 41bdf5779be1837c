"""FLUX.2 [klein]: reference pictures as tokens, 1024 px in four steps."""

from swiftpie.backbones.recipes import Recipe, published

RECIPE = Recipe(
    name="klein",
    summary="1024 px in 4 steps, up to eight pictures of a subject; every part is Apache-2.0.",
    preset="flux2-klein-4b",
    weights=published("black-forest-labs/FLUX.2-klein-4B"),
    detail="joint",
)
