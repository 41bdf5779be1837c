"""Stable Diffusion 1.5, 2.1, XL and SDXS: Turbo, SwiftBrush, Lightning, Hyper-SD and LCM.

Their presets and recipes stand in the two files beside this one.
"""

from swiftpie.backbones.presets import read_presets, read_recipes

PRESETS = read_presets("stable_diffusion_presets.toml")
RECIPES = read_recipes("stable_diffusion_recipes.toml")


def __getattr__(name: str) -> object:
    """Return `FAMILIES`, which load PyTorch, when they are needed first."""
    if name == "FAMILIES":
        from swiftpie.backbones import unet_family

        return unet_family.FAMILIES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
