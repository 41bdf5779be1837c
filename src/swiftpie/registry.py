"""A registry is a folder: each module in it defines an object, and no second list exists."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Generic, Protocol, TypeVar

from swiftpie.errors import ConfigError, did_you_mean

T = TypeVar("T")


class HasName(Protocol):
    """An object with a name."""

    @property
    def name(self) -> str:
        """The name."""


Item = TypeVar("Item", bound=HasName)


def by_name(*members: Item) -> dict[str, Item]:
    """Return several objects by name, as a module of a registry may define them."""
    return {member.name: member for member in members}


def later(place: str) -> Callable[..., Any]:
    """Return the function at `module:name`, which is imported when it is first called."""

    def call(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - as the function has them
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)(*arguments, **keywords)

    return call


def offered_as(group: str) -> EntryPoints:
    """Return the entry points of a group; those of all groups are read once for a search path."""
    found: EntryPoints = _entry_points(tuple(sys.path)).select(group=group)
    return found


def load_offered(point: EntryPoint) -> Any:  # noqa: ANN401 - what it names
    """Import what a distribution offers; ConfigError says whose it is if that fails."""
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        owner = point.dist.name if point.dist else "an installed distribution"
        raise ConfigError(
            f"{point.name!r} is offered by {owner} as {point.value!r}, which cannot be imported "
            f"({error}). Repair or uninstall {owner}."
        ) from error


@lru_cache(maxsize=1)
def _entry_points(_: tuple[str, ...]) -> Any:  # noqa: ANN401 - of another class in Python 3.12
    return entry_points()


@dataclass(frozen=True, kw_only=True)
class Registry(Generic[T]):
    """The objects in a package, one per module, and those that other distributions offer.

    A module `my_turbo.py` is known as `my-turbo`; modules with a leading underscore are skipped.
    Where modules may define families, one may define nothing for this registry, and something
    for another. An entry point of the same name as a module is ignored. Modules are imported on
    first use, so creating a registry costs nothing. If modules may define families of objects, all
    modules are imported to know the names, and those up to the one that has a name to get it, so
    their imports have to be cheap.
    """

    package: str  # dotted name of the folder, such as `swiftpie.backbones.presets`; "": none
    attribute: str  # what every module in it defines, such as `PRESET`
    entry_point_group: str  # where other distributions announce theirs
    family_attribute: str | None = None  # what a module may define instead: objects by name
    elsewhere: Mapping[str, str] = field(default_factory=dict)  # modules outside of the folder

    def names(self) -> tuple[str, ...]:
        """Every known name, sorted; without families, no module of the folder is imported."""
        return tuple(sorted({*self._modules(), *self._entry_points().names}))

    def get(self, name: str) -> T:
        """Import the module that defines `name`, return its object, or raise ConfigError."""
        files = self._files()
        own = files.pop(name, None)
        if own is not None and self._family(own) is None:
            found: T = getattr(importlib.import_module(own), self.attribute)
            return found
        others = files.values() if self.family_attribute else ()
        for module in (own, *others):
            family = None if module is None else self._family(module)
            if family is not None and name in family:
                return family[name]
        return self._load(name)

    def all(self) -> dict[str, T]:
        """Every object by name, in the order of `names()`; imports all of them."""
        return {name: self.get(name) for name in self.names()}

    def offered(self) -> tuple[str, ...]:
        """Names that other distributions add, sorted."""
        return tuple(sorted({*self._entry_points().names} - {*self._modules()}))

    def _modules(self) -> dict[str, str]:
        modules: dict[str, str] = {}
        for name, module in self._files().items():
            family = self._family(module)
            names = {name} if family is None else {*family}
            assert not names & {*modules}, f"{module} defines a name that another module has"
            modules |= dict.fromkeys(names, module)
        return modules

    def _files(self) -> dict[str, str]:
        if not self.package:
            return {**self.elsewhere}
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        assert spec.submodule_search_locations is not None, f"{self.package} is not a folder"
        files = {
            file.name.replace("_", "-"): f"{self.package}.{file.name}"
            for file in pkgutil.iter_modules(spec.submodule_search_locations)
            if not file.name.startswith("_")
        }
        return {**files, **self.elsewhere}

    def _family(self, module: str) -> Mapping[str, T] | None:
        """Return the objects of a module that may define several, None where it defines one."""
        if self.family_attribute is None:
            return None
        loaded = importlib.import_module(module)
        none: Mapping[str, T] | None = None if hasattr(loaded, self.attribute) else {}
        return getattr(loaded, self.family_attribute, none)

    def _entry_points(self) -> EntryPoints:
        return offered_as(self.entry_point_group)

    def _load(self, name: str) -> T:
        if name not in self._entry_points().names:
            near = name.lower().replace("_", "-")
            advice = did_you_mean(near, self.names(), otherwise="Choose one of these names.")
            raise ConfigError(
                f"The {self.attribute.lower()} {name!r} does not exist; known are "
                f"{', '.join(self.names())}. {advice}"
            )
        loaded: T = load_offered(self._entry_points()[name])
        return loaded
