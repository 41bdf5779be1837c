"""Resolution of a preset or recipe to choices, and the best recipe for this machine."""

import logging
from pathlib import Path
from typing import cast

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.hub import CONFIG, VOCABULARIES, root_of, weight_names
from swiftpie.backbones.machine import (
    AUTO,
    NUMBERS_A_PIXEL,
    SPARE_BYTES,
    best_device,
    best_dtype,
    free_main_memory,
)
from swiftpie.backbones.presets import PRESETS, RECIPES, Preset, Recipe, Use, WeightsKind
from swiftpie.errors import ConfigError, WeightsError

logger = logging.getLogger(__name__)

TEXT, TOKENIZER = "text_encoder", "tokenizer"  # how the folders of a pipeline are called
DENOISER = "denoiser"  # what a denoiser is called here, whatever its folder
DRAWING = (DENOISER, "adapter", "lora", "vae")  # what is in memory at once while it draws


def resolve(
    preset: str | None, recipe: str | Recipe | None, choices: Choices
) -> tuple[Preset, Choices]:
    """Return the preset to load and all choices: explicit ones, before those of a recipe.

    Without either, the preset is mini.

    Raises:
        ConfigError: Both are given, or there is no such preset or recipe.
    """
    if preset is not None and recipe is not None:
        name = recipe if isinstance(recipe, str) else recipe.name
        raise ConfigError(
            f"`preset={preset}` and `recipe={name}` exclude each other, because a recipe chooses "
            "its preset. Leave one of them out."
        )
    if recipe is None:
        return PRESETS.get(preset or "mini"), choices
    if recipe == AUTO:
        recipe = best_recipe()
    elif isinstance(recipe, str):
        recipe = RECIPES.get(recipe)
    explicit = {name: choice for name, choice in choices.items() if choice is not None}
    return recipe.apply(), cast("Choices", {**recipe.choices(), **explicit})


def best_recipe(
    use: Use = Use.PERSONALIZE, *, item_bytes: int | None = None, free_bytes: int | None = None
) -> Recipe:
    """Return the best recipe for this use, of those that are on this machine whole and fit it.

    A recipe fits if `free_bytes` of main memory, by default those that are free, are enough in
    numbers of `item_bytes`, by default those that the best device here is quick in. On processors
    networks take turns, so that is for the largest and what it computes; accelerators get theirs
    from main memory, where all of them rest. Of several the one with the largest pictures is best,
    then with more steps, then with a whole denoiser in place of a LoRA, then one for any trade.

    Raises:
        WeightsError: No recipe fits; the message names the command that fetches one.
    """
    known = [recipe for recipe in RECIPES.all().values() if recipe.use is use]
    here = {recipe.name: network_files(recipe) for recipe in known}
    whole = [recipe for recipe in known if here[recipe.name]]
    room = free_main_memory() if free_bytes is None else free_bytes
    device = best_device() if whole else ""
    if whole and item_bytes is None:
        item_bytes = best_dtype(device).itemsize

    def needed(recipe: Recipe) -> int:
        preset = PRESETS.get(recipe.preset)
        sizes = _sizes(here[recipe.name], preset, item_bytes or 0)
        if device != "cpu":
            return sum(sizes.values())
        side = preset.image_size_px
        decoding = sizes.get("vae", 0) + NUMBERS_A_PIXEL * side**2 * (item_bytes or 0)
        drawing = sum(sizes.get(name, 0) for name in DRAWING)
        return max(drawing, decoding, *sizes.values()) + SPARE_BYTES

    fitting = [recipe for recipe in whole if needed(recipe) <= room]
    if not fitting:
        names = ", ".join(recipe.name for recipe in (whole or known))
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
    return bool(network_files(recipe))


def network_files(recipe: Recipe) -> dict[str, list[Path]]:
    """Return the files with the weights of each network of `recipe`, by what it is.

    There are none unless all of it is on this machine: settings and tokenizers too.
    """
    preset = PRESETS.get(recipe.preset)
    kind = preset.kind
    called = {"weights": "lora" if kind is WeightsKind.LORA else DENOISER, "autoencoder": "vae"}
    called[preset.networks[0]] = DENOISER
    found: dict[str, list[Path]] = {}
    for option, place in recipe.references.items():
        root = root_of(place)
        path = None if root is None else root / (place.path or "")
        if path is None or not path.exists():
            return {}
        lends = option == "base" or (option == "weights" and kind is WeightsKind.PIPELINE)
        own = recipe.references.get("weights")
        lends_unet = kind is WeightsKind.UNET and own is not None and own.is_file
        lent = _lent(recipe, preset) if lends else []
        settings = [preset.networks[0]] if lends_unet else []
        if lends and not _has_settings(path, lent, settings):
            return {}
        for folder in lent or [""]:
            name = called.get(folder or option, folder or option)
            found[name] = [path] if path.is_file() else _weights_in(path / folder)
    return found if all(found.values()) else {}


def _rank(recipe: Recipe) -> tuple[int, int, bool, bool]:
    preset = PRESETS.get(recipe.preset)
    steps = recipe.steps or len(preset.timesteps)
    is_whole, is_open = preset.kind is not WeightsKind.LORA, preset.is_commercial is True
    return preset.image_size_px, steps, is_whole, is_open


def _lent(recipe: Recipe, preset: Preset) -> list[str]:
    """Return the folders of a pipeline that a recipe takes networks from."""
    replaced = {preset.networks[0]} if preset.kind is WeightsKind.UNET else set()
    if recipe.autoencoder is not None:
        replaced.add("vae")
    return [name for name in preset.networks if name not in replaced]


def _has_settings(pipeline: Path, networks: list[str], settings: list[str]) -> bool:
    """Whether a pipeline has what reads prompts, and the `settings` of networks without weights."""
    folders = [pipeline / tokenizer_of(name) for name in networks if name.startswith(TEXT)]
    reads = (
        any(all((folder / n).is_file() for n in kind) for kind in VOCABULARIES)
        for folder in folders
    )
    return all(reads) and all((pipeline / name / CONFIG).is_file() for name in settings)


def tokenizer_of(text_encoder: str) -> str:
    """Return the folder of the tokenizer that belongs to a text encoder's."""
    return text_encoder.replace(TEXT, TOKENIZER)


def _weights_in(folder: Path) -> list[Path]:
    """Return the weights in a folder, in half precision if that is there too.

    There are none where a piece of them or the settings of the network are lacking.
    """
    names = {path.name for path in folder.glob("*")}
    found = weight_names(names, prefers_half=True, allow_pickle=True) if CONFIG in names else []
    return [folder / name for name in found if not name.endswith(".json")]


def _sizes(files: dict[str, list[Path]], preset: Preset, item_bytes: int) -> dict[str, int]:
    """Return the bytes of each network in memory, whose weights are in `files`."""
    # What lists recipes needs nothing of these.
    from swiftpie.backbones.components import FAMILIES
    from swiftpie.backbones.downloads import memory_of

    unread = FAMILIES.get(preset.family).unread
    return {
        name: sum(memory_of(file, item_bytes, unread) for file in paths)
        for name, paths in files.items()
    }
