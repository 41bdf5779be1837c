"""Plans what a preset, a recipe and choices load, and loads it with PyTorch."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Unpack

from swiftpie.backbones.choices import Choices, device_of, resolve
from swiftpie.backbones.components import FAMILIES, load_components
from swiftpie.backbones.components import download_plan as backbone_plan
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, Recipe
from swiftpie.engine.session import CACHE_MIB, Session
from swiftpie.engine.transforms import TRANSFORMS, Phase, Transform, choose

logger = logging.getLogger(__name__)


class LoadPlan(NamedTuple):
    """What the arguments of `load` come to."""

    preset: Preset
    device: str
    transforms: list[Transform]  # in the order of their application
    choices: Choices
    origin: dict[str, str]  # what results say of the loading


def load_session(
    preset: str | None = None,
    *,
    recipe: str | Recipe | None = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    cache_mib: float = CACHE_MIB,
    **choices: Unpack[Choices],
) -> Session:
    """Load a session that draws with PyTorch; see `swiftpie.load` for arguments and errors."""
    plan = plan_load(preset, recipe=recipe, device=device, engine=engine, choices=choices)
    transforms, origin = plan.transforms, plan.origin
    for transform in transforms:
        if transform.needs is not None:
            transform.needs(FAMILIES.get(plan.preset.family), plan.choices).fetch()
    components = load_components(plan.preset, device=plan.device, **plan.choices)
    offload = TRANSFORMS.get("offload")
    if components.execution_device is not None and offload not in transforms:
        logger.info(
            "%s has too little room for all networks at once; they take turns.", plan.device
        )
        transforms = sorted([*transforms, offload], key=lambda transform: transform.phase)
    for transform in transforms:
        components = transform.apply(components)
    return Session(replace(components, origin=origin), cache_mib=cache_mib)


def plan_downloads(
    preset: str | None = None,
    *,
    recipe: str | Recipe | None = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    **choices: Unpack[Choices],
) -> DownloadPlan:
    """Return what `load_session` would fetch for the same arguments; only small files come.

    Settings and headers are checked, so networks for which this returns can be loaded.

    Raises:
        ConfigError: As of `swiftpie.load`.
        WeightsError: A file cannot be had, or does not fit the rest.
        MissingExtra: A package is needed that is not installed.
    """
    plan = plan_load(preset, recipe=recipe, device=device, engine=engine, choices=choices)
    needs = backbone_plan(plan.preset, device=plan.device, **plan.choices)
    for transform in plan.transforms:
        if transform.needs is not None:
            needs += transform.needs(FAMILIES.get(plan.preset.family), plan.choices)
    return needs


def plan_load(
    preset: str | None,
    *,
    recipe: str | Recipe | None,
    device: str,
    engine: str | Sequence[str],
    choices: Choices,
) -> LoadPlan:
    """Return what is to be loaded, where, and with which transforms, before weights are read.

    Raises:
        ConfigError: As of `swiftpie.load`.
        MissingExtra: A transform needs a package that is not installed.
    """
    known, merged = resolve(preset, recipe, choices)
    is_large = FAMILIES.get(known.family).is_large
    device = device_of(device, is_large=is_large)
    transforms = choose(engine, device=device)
    origin = {} if recipe is None else {"recipe": getattr(recipe, "name", str(recipe))}
    if is_large:
        merged["dtype"] = merged.get("dtype") or "auto"
        # A compiled graph needs its weights to stay on the device.
        stay = any(transform.phase is Phase.CALLS for transform in transforms)
        merged["offloads"] = TRANSFORMS.get("offload") in transforms or (False if stay else "auto")
    return LoadPlan(known, device, transforms, merged, origin)
