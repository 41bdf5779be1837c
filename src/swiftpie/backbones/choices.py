"""What a caller may choose about loading, and what a preset or a recipe chooses."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict, cast, get_args

from swiftpie.backbones.machine import AUTO, best_device, best_dtype
from swiftpie.backbones.presets import PRESETS, RECIPES, SPACINGS, Preset, Recipe
from swiftpie.config import OPTIONS, Option
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from swiftpie.noise import Schedule

PLACE = "a folder or file, or OWNER/REPO[:PATH][@REVISION] of one in a repository"
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DetailForm = Literal["adapter", "joint", "matched", "none"]


class Choices(TypedDict, total=False):
    """What to load beyond the preset's name; what is left out or None is the preset's own."""

    steps: Annotated[int | None, OPTIONS["Choices.steps"]]
    size_px: Annotated[  # References have it too, so an identity serves one size.
        int | None, OPTIONS["Choices.size_px"]
    ]
    weights: Annotated[  # a folder, or a file for presets that are one
        str | Path | None,
        Option(f"Weights instead of the preset's own: {PLACE}.", "PATH|REPO", kind=str),
    ]
    base: Annotated[  # lends the other networks
        str | Path | None,
        Option("Model that provides the networks missing from the weights.", "DIR|REPO", kind=str),
    ]
    adapter: Annotated[  # or SwiftEdit's
        str | Path | None, OPTIONS["Choices.adapter"]
    ]
    image_encoder: Annotated[str | Path | None, OPTIONS["Choices.image_encoder"]]
    autoencoder: Annotated[str | Path | None, OPTIONS["Choices.autoencoder"]]
    detail: Annotated[  # as `adapters.branches_of` reads it
        "DetailForm | None", OPTIONS["Choices.detail"]._replace(kind=DetailForm)
    ]
    inversion: Annotated[
        str | Path | None,
        Option("SwiftEdit's inversion network, for edits.", "DIR|REPO:DIR", kind=str),
    ]
    reference: Annotated[str | Path | None, OPTIONS["Choices.reference"]]
    dtype: Annotated[  # Published networks; mini is always float32.
        "torch.dtype | Precision | None", OPTIONS["Choices.dtype"]._replace(kind=Precision)
    ]
    # Whether weights rest in main memory, or encoders in their files if the processor computes;
    # auto: only if memory is short. The transform `offload` brings them back.
    offloads: bool | Literal["auto"]
    allow_pickle: Annotated[bool, Option("Read plain tensors from pickles; runs no code.")]
    offline: Annotated[bool, Option("Use only weights that are on this machine already.")]
    commercial_only: Annotated[bool, OPTIONS["Choices.commercial_only"]]


class LoadOptions(Choices, total=False):
    """Keywords of `swiftpie.load`, and the other options of commands that load a model."""

    yes: Annotated[bool, Option("Download missing files without asking first.")]

    preset: Annotated[
        str | None, Option("One of `swiftpie presets`; by default mini.", "NAME", kind=str)
    ]
    recipe: Annotated["str | Recipe | None", OPTIONS["LoadOptions.recipe"]]
    device: Annotated[str, Option("Where to compute: auto, cpu, cuda, mps.", "NAME", default=AUTO)]
    engine: Annotated["str | Sequence[str]", OPTIONS["LoadOptions.engine"]]


def dtype_of(choices: Choices, device: str) -> "torch.dtype":
    """Return the type of numbers to compute with on `device`, by default float32."""
    import torch

    chosen = choices.get("dtype")
    if chosen == AUTO:
        return best_dtype(device)
    if not isinstance(chosen, str):
        return chosen or torch.float32
    if chosen not in get_args(Precision):
        raise ConfigError(
            f"The dtype {chosen!r} does not exist. Choose one of {', '.join(get_args(Precision))}; "
            "auto is the best of this machine."
        )
    dtype: torch.dtype = getattr(torch, chosen)
    return dtype


def device_of(name: str, *, is_large: bool = True) -> str:
    """Return the device of this name, after a trial; for auto the best one for the model here.

    A small model finishes on the processor before an accelerator is ready.

    Raises:
        ConfigError: There is no such device here, or it computes nothing.
    """
    import torch

    if name == AUTO:
        name = best_device() if is_large else "cpu"
    try:
        torch.zeros(1, device=name).item()  # `meta` knows shapes alone
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"The device {name!r} cannot be used here, because PyTorch cannot compute on it. "
            "Choose cpu, or another device that `swiftpie doctor` lists."
        ) from error
    return name


def schedule_of(preset: Preset) -> "Schedule":
    from swiftpie.noise import build_schedule

    return build_schedule(
        preset.timesteps,
        preset.prediction_type,
        noise_scale=preset.noise_scale,
        betas=preset.betas,
        renoise=preset.renoise,
        eta=preset.eta,
    )


def with_steps(preset: Preset, steps: int | None) -> Preset:
    """Return `preset` with so many steps, None for its own; ConfigError if not trained for them."""
    if steps is None or steps == len(preset.timesteps):
        return preset
    counts = preset.step_counts
    if steps not in counts:
        raise ConfigError(
            f"Preset {preset.name!r} cannot draw in {steps} steps. Its weights were trained for "
            f"{' or '.join(map(str, counts))}. Choose one of these, or another preset."
        )
    others = tuple(count for count in counts if count != steps)
    return replace(preset, timesteps=SPACINGS[preset.spacing](steps), more_steps=others)


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
