"""What a caller may choose about loading, and what a preset or a recipe chooses."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict, cast, get_args

from swiftpie.backbones.machine import AUTO, best_device, best_dtype
from swiftpie.backbones.presets import PRESETS, RECIPES, SPACINGS, Preset, Recipe
from swiftpie.config import Option
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

    steps: Annotated[
        int | None,
        Option(
            "Denoising steps, one of the numbers the weights were trained for; by default the "
            "preset's own.",
            "N",
            least=1,
        ),
    ]
    size_px: Annotated[  # References have it too, so an identity serves one size.
        int | None,
        Option(
            "Side of the pictures, one of those the weights were trained on; by default the "
            "preset's own.",
            "PX",
            flags=("--size",),
            least=1,
        ),
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
        str | Path | None,
        Option(
            "Identity adapter, SwiftPie's own or an IP-Adapter: a file, or OWNER/REPO:FILE of one "
            "in a repository.",
            "FILE|REPO:FILE",
            kind=str,
        ),
    ]
    image_encoder: Annotated[
        str | Path | None,
        Option(
            "The CLIP image encoder that the adapter reads; by default the public one.",
            "DIR|REPO:DIR",
            kind=str,
        ),
    ]
    autoencoder: Annotated[
        str | Path | None,
        Option(
            "Another autoencoder for the same latents, as madebyollin/sdxl-vae-fp16-fix.",
            "DIR|REPO",
            kind=str,
        ),
    ]
    detail: Annotated[  # as `adapters.branches_of` reads it
        "DetailForm | None",
        Option(
            "How pictures of the subject reach self-attention.\n\n"
            "adapter: by the adapter's trained detail branch, the default.\n\n"
            "joint: by reading their keys and values too; needs no training.\n\n"
            "matched: by values at matching places; needs no training.\n\n"
            "none: not at all.",
            kind=DetailForm,
        ),
    ]
    inversion: Annotated[
        str | Path | None,
        Option("SwiftEdit's inversion network, for edits.", "DIR|REPO:DIR", kind=str),
    ]
    reference: Annotated[
        str | Path | None,
        Option(
            "A frozen U-Net of the same shape that reads pictures of the subject for the detail "
            "branch, such as the multi-step model behind a one-step one; by default the denoiser.",
            "DIR|REPO:DIR",
            kind=str,
        ),
    ]
    dtype: Annotated[  # Published networks; mini is always float32.
        "torch.dtype | Precision | None",
        Option(
            "Number type to compute with; by default the shortest that is fast on the device.",
            kind=Precision,
        ),
    ]
    # Whether weights rest in main memory, or encoders in their files if the processor computes;
    # auto: only if memory is short. The transform `offload` brings them back.
    offloads: bool | Literal["auto"]
    allow_pickle: Annotated[bool, Option("Read plain tensors from pickles; runs no code.")]
    offline: Annotated[bool, Option("Use only weights that are on this machine already.")]
    commercial_only: Annotated[
        bool,
        Option(
            "Refuse parts whose publishers forbid commercial use, or allow it on conditions; see "
            "`swiftpie licenses`. Files of your own are loaded."
        ),
    ]


class LoadOptions(Choices, total=False):
    """Keywords of `swiftpie.load`, and the other options of commands that load a model."""

    yes: Annotated[bool, Option("Download missing files without asking first.")]

    preset: Annotated[
        str | None, Option("One of `swiftpie presets`; by default mini.", "NAME", kind=str)
    ]
    recipe: Annotated[
        "str | Recipe | None",
        Option(
            "One of `swiftpie recipes`: a preset with all its parts and settings.", "NAME", kind=str
        ),
    ]
    device: Annotated[str, Option("Where to compute: auto, cpu, cuda, mps.", "NAME", default=AUTO)]
    engine: Annotated[
        "str | Sequence[str]",
        Option(
            "Transforms that save time or memory: auto, or any of `swiftpie engine`.",
            "NAME[,NAME]",
            kind=str,
        ),
    ]


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
