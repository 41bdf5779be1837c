"""Transforms of loaded networks that save time or memory, and their order.

Each other file here defines one as `TRANSFORM`, or several by name in a mapping `TRANSFORMS`. It
loads no tensor library, as lists of transforms are asked for before anything is loaded.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from swiftpie.backbones.machine import AUTO
from swiftpie.errors import ConfigError, check_installed
from swiftpie.registry import Registry

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices
    from swiftpie.backbones.components import Components, Family
    from swiftpie.backbones.downloads import DownloadList


OPENVINO = "openvino"  # the quickest on processors whose pictures hardly differ


class Phase(IntEnum):
    """When a transform is applied, whatever the order of its name."""

    NETWORKS = 0  # exchanges networks or their weights
    PLACES = 1  # decides which device holds them
    CALLS = 2  # compiles them, so all other changes come before


@dataclass(frozen=True)
class Transform:
    """A way to compute the same pictures with less time or memory.

    `apply` returns changed components and leaves the given ones, with all of their networks,
    working as before. It changes neither `preset` nor `fingerprint`, so identities stay valid.
    """

    summary: str  # one line for people
    apply: "Callable[[Components], Components]"
    extra: str = ""  # SwiftPie's extra that installs an optional package it needs
    packages: tuple[str, ...] = ()  # those of this extra, as they are imported
    phase: Phase = Phase.NETWORKS
    needs: "Callable[[Family, Choices], DownloadList] | None" = None  # weights of its own

    @property
    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(package) for package in self.packages)


TRANSFORMS: Registry[Transform] = Registry(
    package="swiftpie.engine.transforms",
    attribute="TRANSFORM",
    family_attribute="TRANSFORMS",
    entry_point_group="swiftpie.transforms",
)
"""The transforms by name."""


def choose(names: str | Sequence[str], *, device: str = "cpu") -> list[Transform]:
    """Return the transforms of these names, each once, in the order that they are applied in.

    The name "auto" means OpenVINO on processors where it is installed, and nothing elsewhere:
    compiling takes minutes, which only pays off over many pictures.

    Raises:
        ConfigError: There is no such transform, or several that exclude each other.
        MissingExtra: One of them needs a package that is not installed.
    """
    wanted = [names] if isinstance(names, str) else names
    if AUTO in wanted:
        is_here = device == "cpu" and TRANSFORMS.get(OPENVINO).is_installed
        automatic = [OPENVINO] if is_here else []
        wanted = [*automatic, *(name for name in wanted if name != AUTO)]
    chosen = {name: TRANSFORMS.get(name) for name in wanted}
    for name, entry in chosen.items():
        check_installed(*entry.packages, extra=entry.extra, use=f"The transform {name!r}")
    callers = [name for name, entry in chosen.items() if entry.phase is Phase.CALLS]
    if len(callers) > 1:
        raise ConfigError(
            f"The transforms {' and '.join(callers)} cannot be combined, because each decides how "
            "networks are called. Choose one of them."
        )
    return sorted(chosen.values(), key=lambda entry: entry.phase)


def transform(components: "Components", names: str | Sequence[str]) -> "Components":
    """Return `components` changed by each of the named transforms.

    Raises:
        ConfigError: There is no such transform, or several that exclude each other.
        CapabilityError: One of them cannot be applied to these networks.
        MissingExtra: One of them needs a package that is not installed.
    """
    for entry in choose(names):
        components = entry.apply(components)
    return components
