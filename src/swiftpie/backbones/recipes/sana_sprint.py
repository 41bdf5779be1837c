"""SANA-Sprint: 1024 px from words alone, in one to four steps."""

from swiftpie.backbones.recipes import Recipe, Use, published

RECIPE = Recipe(
    name="sana-sprint",
    summary="1024 px from words alone in 2 steps, or 1 to 4; for non-commercial use only.",
    preset="sana-sprint-0.6b",
    use=Use.TEXT,
    weights=published("Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers"),
)
