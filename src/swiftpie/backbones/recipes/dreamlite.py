"""DreamLite-mobile: edits by a sentence and pictures of a subject within 8 GB of memory."""

from swiftpie.backbones.recipes import Recipe, published

RECIPE = Recipe(
    name="dreamlite",
    summary="Edits by a sentence, 1024 px in 4 steps within 8 GB; one picture of a subject.",
    preset="dreamlite-mobile",
    weights=published("carlofkl/DreamLite-mobile"),
    detail="joint",
)
