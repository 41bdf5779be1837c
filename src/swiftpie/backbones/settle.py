"""What is loaded for a preset or a recipe, and which recipe suits this machine best."""

import logging
from pathlib import Path
from typing import cast

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.hub import root_of
from swiftpie.backbones.machine import AUTO, best_device, best_dtype, free_main_memory
from swiftpie.backbones.preset import PRESETS, Preset, WeightsKind
from swiftpie.backbones.recipe import RECIPES, Recipe, Use
from swiftpie.errors import ConfigError, WeightsError

logger = logging.getLogger(__name__)

WEIGHTS = (".safetensors", ".bin")
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")  # of a pipeline, by their folders


def settle(
    preset: str | None, recipe: str | Recipe | None, choices: Choices
) -> tuple[Preset, Choices]:
    """Return the preset to load and all choices: explicit ones, before those of a recipe.

    Neither a preset nor a recipe is mini.

    Raises:
        ConfigError: Both are given, or there is no such preset or recipe.
    """
    if preset is not None and recipe is not None:
        name = recipe if isinstance(recipe, str) else recipe.name
        raise ConfigError(
            f"`preset={preset}` and `recipe={name}` came together, and a recipe chooses its preset "
            "itself. One of them is needed. Leave the other out."
        )
    if recipe is None:
        return PRESETS.get(preset or "mini"), choices
    if recipe == AUTO:
        recipe = best_recipe()
    elif isinstance(recipe, str):
        recipe = RECIPES.get(recipe)
    explicit = {name: one for name, one in choices.items() if one is not None}
    own = recipe.choices()
    if "plan" in explicit:
        own.pop("detail", None)  # it says the same in full
    return recipe.apply(), cast("Choices", {**own, **explicit})


def best_recipe(
    use: Use = Use.PERSONALIZE, *, item_bytes: int | None = None, free_bytes: int | None = None
) -> Recipe:
    """Return the best recipe for this use, of those that are on this machine whole and fit it.

    A recipe fits if `free_bytes` of main memory, by default those that are free, hold all of its
    weights in numbers of `item_bytes`, by default those that the best device here is quick in:
    accelerators get theirs from main memory, and only those that compute. Of several the one with
    the largest pictures is best, then with more steps, then with a whole denoiser in place of a
    LoRA.

    Raises:
        WeightsError: None is; the message tells the command that gets one.
    """
    known = [one for one in RECIPES.all().values() if one.use is use]
    here = {one.name: weight_files(one) for one in known}
    whole = [one for one in known if here[one.name]]
    room = free_main_memory() if free_bytes is None else free_bytes
    if whole and item_bytes is None:
        item_bytes = best_dtype(best_device()).itemsize
    fitting = [one for one in whole if _bytes_of(here[one.name], item_bytes or 0) <= room]
    if not fitting:
        names = ", ".join(one.name for one in (whole or known))
        reason = "fits the memory that is free" if whole else "is on this machine whole"
        raise WeightsError(
            f"None of the recipes for {use} ({names}) {reason}, and `recipe=auto` takes no other. "
            f"Fetch one, as by `swiftpie fetch {known[0].name}`, or name it instead of auto."
        )
    best = max(fitting, key=_rank)
    logger.info("The recipe is %s. %s", best.name, best.summary)
    return best


def is_here(recipe: Recipe) -> bool:
    """Whether all parts of `recipe` are on this machine."""
    return bool(weight_files(recipe))


def weight_files(recipe: Recipe) -> list[Path]:
    """Return the files with all weights of `recipe`; none if a part is not on this machine."""
    kind, found = PRESETS.get(recipe.preset).kind, []
    for name, place in recipe.references.items():
        root = root_of(place)
        path = None if root is None else root / (place.path or "")
        if path is None or not path.exists():
            return []
        is_pipeline = name == "base" or (name == "weights" and kind is WeightsKind.PIPELINE)
        folders = [path / one for one in _lent(recipe, kind)] if is_pipeline else [path]
        for folder in folders:
            files = [folder] if folder.is_file() else _weights_in(folder)
            if not files:
                return []
            found += files
    return found


def _rank(recipe: Recipe) -> tuple[int, int, bool]:
    preset = PRESETS.get(recipe.preset)
    steps = recipe.steps or len(preset.timesteps)
    return preset.image_size_px, steps, preset.kind is not WeightsKind.LORA


def _lent(recipe: Recipe, kind: WeightsKind) -> list[str]:
    """Return the folders of a pipeline that a recipe takes networks from."""
    replaced = {"unet"} if kind is WeightsKind.UNET else set()
    if recipe.autoencoder is not None:
        replaced.add("vae")
    family = PRESETS.get(recipe.preset).family
    if family != "sdxl":
        replaced.add("text_encoder_2")
    return [one for one in NETWORKS if one not in replaced]


def _weights_in(folder: Path) -> list[Path]:
    """Return the weights in a folder, in half precision if that is there too."""
    files = sorted(one for one in folder.glob("*") if one.suffix in WEIGHTS)
    halves = [one for one in files if ".fp16." in one.name]
    return halves or files


def _bytes_of(files: list[Path], item_bytes: int) -> int:
    from swiftpie.backbones.download import memory_of  # what lists recipes needs nothing of it

    return sum(memory_of(one, item_bytes) for one in files)
