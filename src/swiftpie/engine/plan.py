"""Plans what a preset, a recipe and choices load, and loads it with PyTorch."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Unpack

import torch

from swiftpie.backbones.choices import Choices, device_of, dtype_of, resolve
from swiftpie.backbones.components import FAMILIES, Family, load_components
from swiftpie.backbones.components import download_plan as backbone_plan
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.machine import AUTO, NUMBERS_A_PIXEL, SPARE_BYTES, free_memory
from swiftpie.backbones.presets import Preset, Recipe
from swiftpie.engine.session import CACHE_MIB, Session
from swiftpie.engine.transforms import TRANSFORMS, Phase, Transform, choose
from swiftpie.errors import WeightsError

logger = logging.getLogger(__name__)

TINY = "tiny-decoder"
DECODER = "decoder"  # the name in results of a decoder that was chosen for lack of memory
TOO_LITTLE = (
    "There is too little memory on %s for the preset's own decoder. TAESD decodes instead, "
    "slightly softer, and results say so. Free memory, or choose a decoder with `autoencoder=`."
)


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
    if DECODER in origin and getattr(components.autoencoder, "is_tiny", False):
        transforms.remove(TRANSFORMS.get(TINY))
        del origin[DECODER]
    elif DECODER in origin:
        logger.warning(TOO_LITTLE, plan.device)
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
        if choices.get("autoencoder") is None and not _can_decode(known, device, merged):
            added = _tiny_decoder(FAMILIES.get(known.family), transforms, merged)
            transforms = sorted([*transforms, *added], key=lambda transform: transform.phase)
            origin |= dict.fromkeys([DECODER] if added else [], "TAESD, for lack of memory")
    return LoadPlan(known, device, transforms, merged, origin)


def _can_decode(preset: Preset, device: str, choices: Choices) -> bool:
    """Whether the preset's own decoder has room, with nothing else in memory."""
    numbers = NUMBERS_A_PIXEL * preset.image_size_px**2
    free = free_memory(torch.device(device))
    return numbers * dtype_of(choices, device).itemsize + SPARE_BYTES <= free


def _tiny_decoder(
    family: Family, transforms: Sequence[Transform], choices: Choices
) -> list[Transform]:
    """Return the tiny decoder for `family`; nothing where it is chosen already or missing."""
    tiny = TRANSFORMS.get(TINY)
    if family.tiny_autoencoder is None or tiny in transforms or tiny.needs is None:
        return []
    try:
        tiny.needs(family, choices)
    except WeightsError as error:
        logger.warning("There may be too little memory to decode a picture. %s", error)
        return []
    return [tiny]
