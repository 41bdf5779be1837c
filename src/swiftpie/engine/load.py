"""Plans what a preset, a recipe and choices load, and loads it; networks are imported at a call."""

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Unpack

from swiftpie.arguments import checked
from swiftpie.backbones.choices import Choices, device_of, resolve
from swiftpie.backbones.components import FAMILIES, download_plan, load_components
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.sources import check_within_reach
from swiftpie.config import options_of
from swiftpie.engine.transforms import TRANSFORMS, Phase, Transform, choose

if TYPE_CHECKING:
    import torch

    from swiftpie.backbones.components import Family
    from swiftpie.backbones.presets import Preset, Recipe
    from swiftpie.engine.session import Session

logger = logging.getLogger(__name__)

ABOUT = {name: field.option.help for name, field in options_of(Choices).items()}


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector inside the block.

    Importing PyTorch and its libraries makes over 500,000 objects that all stay, and Python would
    search them after every 700 new ones: a twentieth of the time to the first picture. After the
    pause, they count as old, so the next collection does not search them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # objects that others froze stay frozen
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()


@partial(checked, about=ABOUT)
@gc_paused()
def load(
    preset: str | None = None,
    *,
    recipe: "str | Recipe | None" = None,
    device: "str | torch.device" = AUTO,
    engine: str | Sequence[str] = (),
    cache_mib: float | None = None,
    progress: bool | None = None,
    **choices: Unpack[Choices],
) -> "Session":
    """Load a preset by name, or a recipe; without either the embedded model, mini.

    Args:
        preset: One of `swiftpie presets`.
        recipe: One of `swiftpie recipes`, or a `Recipe`, instead of a preset. It chooses a preset
            and its further weights.
        device: A torch device, as "cpu" or "cuda". "auto" is the best one of this machine, and the
            processor for networks as small as those of mini.
        engine: Transforms that save time or memory, any of `swiftpie engine`, or "auto". By
            default there are none, so the first picture waits for no export, and pictures are the
            same to the last bit whatever is installed. Networks that are too large for their
            device are offloaded in any case, which changes no picture.
        cache_mib: Limit in MiB of what is kept for later calls; see `Session`.
        progress: Whether calls of more than two seconds show a bar on standard error; by default
            in terminals and notebooks. It can be changed: `session.progress = False`.
        **choices: What to load in place of networks of the preset, or in addition, as below.

    Raises:
        ConfigError: No such preset, recipe or transform, preset and recipe together, a choice that
            the preset does not have, or a negative limit of the cache.
        CapabilityError: A transform cannot be applied to these networks.
        WeightsError: Weights are missing, damaged or of another model.
        MissingExtra: The preset or a transform needs a package that is not installed.
    """
    plan = plan_load(preset, recipe=recipe, device=str(device), engine=engine, choices=choices)

    from swiftpie.engine.session import Session

    plan.transform_needs().fetch()
    components = load_components(plan.preset, device=plan.device, **plan.choices)
    transforms, offload = plan.transforms, TRANSFORMS.get("offload")
    if components.engine.device is not None and offload not in transforms:
        logger.info(
            "%s has too little room for all networks at once; they take turns.", plan.device
        )
        transforms = sorted([*transforms, offload], key=lambda transform: transform.phase)
    for transform in transforms:
        components = transform.apply(components)
    limit = {} if cache_mib is None else {"cache_mib": cache_mib}
    session = Session(replace(components, origin=plan.origin), **limit)
    session.progress = progress
    return session


@checked
@gc_paused()
def plan_downloads(
    preset: str | None = None,
    *,
    recipe: "str | Recipe | None" = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    **choices: Unpack[Choices],
) -> "DownloadList":
    """Return what `load` would fetch for the same arguments; only small files come.

    Settings and headers are checked, so networks for which this returns can be loaded.

    Raises:
        ConfigError: As of `load`.
        WeightsError: A file cannot be had, or does not fit the rest.
        MissingExtra: A package is needed that is not installed.
    """
    plan = plan_load(preset, recipe=recipe, device=device, engine=engine, choices=choices)
    return download_plan(plan.preset, device=plan.device, **plan.choices) + plan.transform_needs()


class LoadSpec(NamedTuple):
    """What the arguments of `load` come to."""

    preset: "Preset"
    family: "Family"
    device: str
    transforms: list[Transform]  # listed in the order in which they apply
    choices: Choices
    origin: dict[str, str]  # what results say of the loading

    def transform_needs(self) -> "DownloadList":
        """Return the weights that the transforms need of their own."""
        needs = DownloadList()
        for transform in self.transforms:
            if transform.needs is not None:
                needs += transform.needs(self.family, self.choices)
        return needs


def plan_load(
    preset: str | None,
    *,
    recipe: "str | Recipe | None",
    device: str,
    engine: str | Sequence[str],
    choices: Choices,
) -> LoadSpec:
    """Return what is to be loaded, where, and with which transforms; errors are those of `load`."""
    known, merged = resolve(preset, recipe, choices)
    check_within_reach(known, merged)
    family = FAMILIES.get(known.family)
    device = device_of(device, is_large=family.is_large)
    transforms = choose(engine, device=device)
    origin = {} if recipe is None else {"recipe": getattr(recipe, "name", str(recipe))}
    if family.is_large:
        merged["dtype"] = merged.get("dtype") or "auto"
        # OpenVINO's graphs need their weights to stay on the device.
        stay = any(transform.phase is Phase.CALLS for transform in transforms)
        merged["offloads"] = TRANSFORMS.get("offload") in transforms or (False if stay else "auto")
    return LoadSpec(known, family, device, transforms, merged, origin)
