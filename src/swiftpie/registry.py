"""A registry that is a folder: each module defines one object, and nothing is listed twice."""

import difflib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
from typing import Generic, TypeVar

from swiftpie.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """The objects in a package, one per module, and those that other distributions offer.

    A module `my_turbo.py` is known as `my-turbo`; modules with a leading underscore are skipped.
    An entry point of the same name as a module is ignored. Nothing is imported before it is asked
    for, so a registry costs nothing to create.
    """

    def __init__(self, *, package: str, attribute: str, entry_point_group: str) -> None:
        """Describe where to look.

        Args:
            package: Dotted name of the folder, such as `swiftpie.backbones.presets`.
            attribute: What every module in it defines, such as `PRESET`.
            entry_point_group: Where other distributions announce theirs.
        """
        self._package = package
        self._attribute = attribute
        self._entry_point_group = entry_point_group

    def names(self) -> tuple[str, ...]:
        """Every known name, sorted; no module of the folder is imported."""
        return tuple(sorted({*self._modules(), *self._entry_points()}))

    def get(self, name: str) -> T:
        """Import the one module that defines `name` and return its object.

        Raises:
            ConfigError: Nothing has this name, or the distribution that offers it is broken.
        """
        modules = self._modules()
        if name in modules:
            found: T = getattr(importlib.import_module(modules[name]), self._attribute)
            return found
        entry_points = self._entry_points()
        if name not in entry_points:
            raise ConfigError(self._unknown(name))
        return self._load(entry_points[name])

    def all(self) -> dict[str, T]:
        """Every object by name, in the order of `names()`; imports all of them."""
        return {name: self.get(name) for name in self.names()}

    def _modules(self) -> dict[str, str]:
        """Map each name to the dotted name of its module."""
        spec = importlib.util.find_spec(self._package)
        assert spec is not None
        assert spec.submodule_search_locations is not None, f"{self._package} is not a folder"
        return {
            module.name.replace("_", "-"): f"{self._package}.{module.name}"
            for module in pkgutil.iter_modules(spec.submodule_search_locations)
            if not module.name.startswith("_")
        }

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        found = importlib.metadata.entry_points(group=self._entry_point_group)
        return {entry_point.name: entry_point for entry_point in found}

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> T:
        try:
            loaded: T = entry_point.load()
        except (ImportError, AttributeError) as error:
            owner = entry_point.dist.name if entry_point.dist else "an installed distribution"
            raise ConfigError(
                f"{entry_point.name!r} is offered by {owner} as {entry_point.value!r}, which "
                f"cannot be imported ({error}). Repair or uninstall {owner}."
            ) from error
        return loaded

    def _unknown(self, name: str) -> str:
        names = self.names()
        near = difflib.get_close_matches(name.lower().replace("_", "-"), names, n=3)
        advice = f"Did you mean {' or '.join(near)}?" if near else "Choose one of these names."
        kind = self._attribute.lower()
        return f"The {kind} {name!r} does not exist; known are {', '.join(names)}. {advice}"
