"""Presets and recipes: what is known about a model before loading it.

Each file in `families` has the presets and recipes of a family with its networks. What describes a
model loads no tensor library.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from swiftpie.backbones.hub import PINS, RepoReference, parse_reference, reference_in
from swiftpie.config import BetaSchedule, NoiseScale, Prediction, Renoise
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.registry import Registry

Spacing = Literal["trailing", "fiftieths"]
FoundMask = Literal["none", "inline"]
UntrainedDetail = Literal["joint", "matched"]
EditModeName = Literal["paper", "released"]

PLACES = ("weights", "base", "adapter", "image_encoder", "inversion", "reference", "autoencoder")

# Not tuned; a plain dictionary, because pipelines of published presets are pickled.
FULL_STRENGTH = {"identity_scale": 1.0, "detail_scale": 1.0}
HUB = "hub:"


class Capability(StrEnum):
    """An operation that a preset's weights were made for."""

    TEXT = "text"  # a scene from words alone, without a picture of a subject
    PERSONALIZE = "personalize"  # the weights of others: with an image adapter of their family
    LAYOUT = "layout"  # the place of the subject is predicted, or given by a box
    EDIT = "edit"
    ANIMATE = "animate"


class WeightsKind(StrEnum):
    """What the weights of a preset are."""

    PIPELINE = "pipeline"  # a folder with every network
    UNET = "unet"  # a whole denoiser, to put into the base
    LORA = "lora"  # low-rank changes, to add to the base's denoiser
    MOTION = "motion"  # motion modules, to put between the layers of the base's denoiser


@dataclass(frozen=True)
class Preset:
    """One named choice of networks with its settings."""

    name: str
    summary: str
    # package:FOLDER inside SwiftPie, hub:OWNER/NAME[@BRANCH], or local:FOLDER to get by hand
    source: str
    licence: str  # as those who offer the weights state it
    is_commercial: bool | None  # None: it depends on who you are; read the licence
    family: str  # which networks, so which adapters fit: a name in `components.FAMILIES`
    image_size_px: int
    timesteps: tuple[float, ...]  # whole ones but for flows, which know all in (0, 1000]
    prediction_type: Prediction
    latent_channels: int = 4  # Stable Diffusion's
    latent_cell_px: int = 8  # side of what a latent cell shows
    capabilities: frozenset[Capability] = frozenset({Capability.TEXT, Capability.PERSONALIZE})
    kind: WeightsKind = WeightsKind.PIPELINE
    file: str | None = None  # the weights inside the source; None for the layout of diffusers
    lora: str | None = None  # a LoRA inside the source, trained together with motion modules
    base: str | None = None  # hub repository of the other networks; None if all are in the source
    # Folders of a whole pipeline; the first one denoises.
    networks: tuple[str, ...] = ("unet", "vae", "text_encoder")
    noise_scale: NoiseScale = "unit"
    betas: BetaSchedule = "scaled_linear"  # how noise rises with time, but for flows
    renoise: Renoise = "ddim"
    eta: float = 0.0  # share of fresh noise, for tcd
    more_sizes_px: tuple[int, ...] = ()  # sides that the weights draw as well
    more_steps: tuple[int, ...] = ()  # counts of steps that the weights can take as well
    spacing: Spacing = "trailing"  # Where those steps lie.
    defaults: Mapping[str, float] = field(default_factory=lambda: FULL_STRENGTH)
    # Where the detail branch acts without a mask or box; None: as the others.
    detail_mask: FoundMask | None = None
    # The form of that branch without an adapter; None: without one there is no such branch.
    detail: UntrainedDetail | None = None
    edit_mode: EditModeName = "paper"  # account of SwiftEdit that edits follow by default

    @property
    def step_counts(self) -> tuple[int, ...]:
        """How many steps the weights were trained to take, rising."""
        return tuple(sorted({len(self.timesteps), *self.more_steps}))

    def sized(self, side_px: int | None) -> "Preset":
        """Return it with pictures of another side, None for its own, or raise ConfigError."""
        sides = {self.image_size_px, *self.more_sizes_px}
        if side_px is None or side_px == self.image_size_px:
            return self
        if side_px not in sides:
            raise ConfigError(
                f"Preset {self.name!r} cannot draw pictures of {side_px} px. Its weights were "
                f"trained on {' or '.join(map(str, sorted(sides)))} px. Choose one of these."
            )
        others = tuple(sorted(sides - {side_px}))
        return replace(self, image_size_px=side_px, more_sizes_px=others)

    @cached_property
    def predicts_layout(self) -> bool:
        """Whether it says where a subject stands, or puts it into a box, turned as is wished."""
        return Capability.LAYOUT in self.capabilities

    @property
    def repository(self) -> str | None:
        return self._place[0] if self.source.startswith(HUB) else None

    @property
    def revision(self) -> str | None:
        """The branch of that repository, None for the one that it shows first."""
        return self._place[2] or None

    @property
    def _place(self) -> tuple[str, str, str]:
        return self.source.removeprefix(HUB).partition("@")


PRESETS: Registry[Preset] = Registry(
    package="swiftpie.backbones.families",
    attribute="PRESET",
    family_attribute="PRESETS",
    elsewhere={"mini": "swiftpie.mini"},
    entry_point_group="swiftpie.presets",
)
"""Those of a family, by name in the mapping `PRESETS` of its file."""


class Use(StrEnum):
    """The operation that a recipe is for."""

    PERSONALIZE = "personalize"
    FACE = "face"
    EDIT = "edit"
    ANIMATE = "animate"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One name for a preset, the parts that it needs, and their strengths."""

    name: str
    summary: str
    preset: str
    use: Use = Use.PERSONALIZE
    # PLACES, as `OWNER/REPO:PATH@REVISION` or on this machine; None: the preset's own, or nothing.
    weights: str | None = None
    base: str | None = None
    adapter: str | None = None
    image_encoder: str | None = None
    inversion: str | None = None
    reference: str | None = None
    autoencoder: str | None = None
    face_encoder: str | None = None  # one of `swiftpie.faces`
    steps: int | None = None  # None: the preset's
    dtype: str | None = None  # None: what suits the device
    allow_pickle: bool = False  # where a part is published as nothing else
    scales: Mapping[str, float] = field(default_factory=dict)  # in place of the preset's defaults
    detail: str | None = None  # form of the detail branch, as `Choices` has it
    detail_mask: FoundMask | None = None  # where it acts, in place of the preset's
    edit_mode: EditModeName | None = None  # what edits follow, in place of the preset's

    def choices(self) -> dict[str, Any]:
        """Return the choices of `load_components` that this recipe makes."""
        made = {name: getattr(self, name) for name in (*PLACES, "steps", "dtype", "detail")}
        made["allow_pickle"] = self.allow_pickle or None
        return {name: value for name, value in made.items() if value is not None}

    def apply(self, preset: Preset | None = None) -> Preset:
        """Return the preset with this recipe's strengths; ConfigError if it is unknown."""
        preset = preset or PRESETS.get(self.preset)
        return replace(
            preset,
            defaults={**preset.defaults, **self.scales},
            detail_mask=self.detail_mask or preset.detail_mask,
            edit_mode=self.edit_mode or preset.edit_mode,
        )

    @property
    def references(self) -> dict[str, RepoReference]:
        """What is published of it, by the choice that names it."""
        given = {name: getattr(self, name) for name in PLACES}
        found = {name: parse_reference(place) for name, place in given.items() if place is not None}
        return {name: reference for name, reference in found.items() if reference is not None}


RECIPES: Registry[Recipe] = Registry(
    package="swiftpie.backbones.families",
    attribute="RECIPE",
    family_attribute="RECIPES",
    entry_point_group="swiftpie.recipes",
)
"""Those of a family, by name in the mapping `RECIPES` of its file."""


FAMILY_FILES = "swiftpie.backbones.families"


def tables_in(file: str, package: str = FAMILY_FILES) -> dict[str, dict[str, Any]]:
    """Return the tables of a file of a package, by name, each with what it shares with others."""
    text = (files(package) / file).read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    shared = tables.pop("shared")

    def whole(table: Mapping[str, Any]) -> dict[str, Any]:
        facts = dict[str, Any]()
        like = table.get("like", [])
        for name in [like] if isinstance(like, str) else like:
            facts |= whole(shared[name])
        return facts | {key: value for key, value in table.items() if key != "like"}

    return {name: {"name": name, **whole(table)} for name, table in tables.items()}


def read_presets(file: str, package: str = FAMILY_FILES) -> Mapping[str, Preset]:
    """Return the presets of a file of a package; steps may be a count with a spacing."""
    presets = {}
    for name, facts in tables_in(file, package).items():
        for spacing, timesteps_of in SPACINGS.items():
            if spacing in facts:
                facts |= {"timesteps": timesteps_of(facts.pop(spacing)), "spacing": spacing}
        presets[name] = Preset(**{"is_commercial": None, **_as_fields(facts)})
    return MappingProxyType(presets)


def read_recipes(file: str) -> Mapping[str, Recipe]:
    """Return the recipes of a file of `families`, their parts at the commits that are known."""
    recipes = {}
    for name, table in tables_in(file).items():
        facts = {key: value for key, value in table.items() if value}
        for place in facts.keys() & {*PLACES}:
            reference = reference_in(facts[place])
            assert reference is not None, facts[place]
            revision = reference.revision or PINS.get(reference.repository)
            facts[place] = str(replace(reference, revision=revision))
        recipes[name] = Recipe(**{**facts, "use": Use(facts.get("use", "personalize"))})
    return MappingProxyType(recipes)


def check_personalizes(preset: Preset) -> None:
    """Raise CapabilityError for pictures of subjects where the preset cannot personalize."""
    if Capability.PERSONALIZE not in preset.capabilities:
        raise CapabilityError(
            f"Preset {preset.name!r} reads no pictures of subjects, so it cannot "
            f"{Capability.PERSONALIZE}. Leave the picture out to draw from words alone, or load a "
            "model that reads pictures: `swiftpie presets` says which."
        )


def trailing_timesteps(num_steps: int) -> tuple[int, ...]:
    """Return evenly spaced timesteps of 1000 from the last one down, such as 999, 749, 499, 249."""
    return tuple(round(1000 - 1000 * index / num_steps) - 1 for index in range(num_steps))


def lcm_timesteps(num_steps: int) -> tuple[int, ...]:
    """Return some of the 50 timesteps 999, 979, … 19, such as 999, 759, 499, 259.

    Consistency along whole trajectories was distilled on these, so for LCM and TCD.
    """
    return tuple(999 - 20 * (50 * index // num_steps) for index in range(num_steps))


SPACINGS: Mapping[Spacing, Callable[[int], tuple[float, ...]]] = MappingProxyType(
    {"trailing": trailing_timesteps, "fiftieths": lcm_timesteps}
)


def describe(preset: Preset) -> dict[str, Any]:
    """Return `preset` in values that JSON holds."""
    raw = {member.name: getattr(preset, member.name) for member in fields(preset)}
    lists = {name: list(value) for name, value in raw.items() if isinstance(value, tuple)}
    sets = {"capabilities": sorted(preset.capabilities), "defaults": dict(preset.defaults)}
    return raw | lists | sets


def read_preset(stored: Mapping[str, Any] | None) -> Preset:
    """Return the preset that `describe` wrote; ConfigError if this version has none such."""
    if stored is None:
        raise ConfigError(
            "A pipeline was built without `preset`. Use from_preset() or from_pretrained()."
        )
    try:
        return Preset(**_as_fields(stored))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"The preset in this pipeline's configuration cannot be read ({error}). Save "
            "the pipeline again with `save_pretrained` of this version."
        ) from error


def _as_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what files hold of a preset, in the types of its fields."""
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    if "kind" in facts:
        facts["kind"] = WeightsKind(facts["kind"])
    if "capabilities" in facts:
        facts["capabilities"] = frozenset(map(Capability, facts["capabilities"]))
    return facts
