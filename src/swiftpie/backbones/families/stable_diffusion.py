"""Stable Diffusion 1.5, 2.1, XL and SDXS: Turbo, SwiftBrush, Lightning, Hyper-SD and LCM.

Their presets and recipes stand in the two files beside this one; `unet_family`, which loads
PyTorch, has the families.
"""

from swiftpie.backbones.presets import read_presets, read_recipes

PRESETS = read_presets("stable_diffusion_presets.toml")
RECIPES = read_recipes("stable_diffusion_recipes.toml")
