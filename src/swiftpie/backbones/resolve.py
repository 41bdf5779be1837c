"""Resolution of a preset or recipe to choices, and whether a recipe is on this machine."""

from pathlib import Path
from typing import cast

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.hub import CONFIG, VOCABULARIES, root_of, weight_names
from swiftpie.backbones.presets import PRESETS, RECIPES, Preset, Recipe, WeightsKind
from swiftpie.errors import ConfigError

TEXT, TOKENIZER = "text_encoder", "tokenizer"  # how the folders of a pipeline are called
DENOISER = "denoiser"  # what a denoiser is called here, whatever its folder


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
    if isinstance(recipe, str):
        recipe = RECIPES.get(recipe)
    explicit = {name: choice for name, choice in choices.items() if choice is not None}
    return recipe.apply(), cast("Choices", {**recipe.choices(), **explicit})


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
