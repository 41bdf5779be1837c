"""A registry that is a folder: its modules define the objects, and nothing is listed twice."""

import difflib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Mapping
from typing import Generic, TypeVar

from swiftpie.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """The objects in a package, one per module, and those that other distributions offer.

    A module `my_turbo.py` is known as `my-turbo`; modules with a leading underscore are skipped.
    An entry point of the same name as a module is ignored. Nothing is imported before it is asked
    for, so a registry costs nothing to create. Where modules may define families of objects, all
    are imported to know the names, so they have to be light.
    """

    def __init__(
        self,
        *,
        package: str,
        attribute: str,
        entry_point_group: str,
        family_attribute: str | None = None,
    ) -> None:
        """Describe where to look.

        Args:
            package: Dotted name of the folder, such as `swiftpie.backbones.presets`.
            attribute: What every module in it defines, such as `PRESET`.
            entry_point_group: Where other distributions announce theirs.
            family_attribute: What a module may define instead, such as `PRESETS`: a mapping from
                names to objects; then the name of the module is none of them.
        """
        self._package = package
        self._attribute = attribute
        self._entry_point_group = entry_point_group
        self._family_attribute = family_attribute

    def names(self) -> tuple[str, ...]:
        """Every known name, sorted; without families, no module of the folder is imported."""
        return tuple(sorted({*self._homes(), *self._entry_points()}))

    def get(self, name: str) -> T:
        """Import the module that defines `name` and return its object.

        Raises:
            ConfigError: Nothing has this name, or the distribution that offers it is broken.
        """
        modules = self._modules()
        if name in modules and self._family(modules[name]) is None:
            return self._only(modules[name])  # without a search of the families
        homes = self._homes()
        if name in homes:
            family = self._family(homes[name])
            return self._only(homes[name]) if family is None else family[name]
        entry_points = self._entry_points()
        if name not in entry_points:
            raise ConfigError(self._unknown(name))
        return self._load(entry_points[name])

    def all(self) -> dict[str, T]:
        """Every object by name, in the order of `names()`; imports all of them."""
        return {name: self.get(name) for name in self.names()}

    def _homes(self) -> dict[str, str]:
        """Map each name to the dotted name of the module that defines it."""
        homes: dict[str, str] = {}
        for file_name, module in self._modules().items():
            family = self._family(module)
            names = {file_name} if family is None else {*family}
            assert not names & {*homes}, f"{module} defines a name that another module has"
            homes |= dict.fromkeys(names, module)
        return homes

    def _only(self, module: str) -> T:
        found: T = getattr(importlib.import_module(module), self._attribute)
        return found

    def _family(self, module: str) -> Mapping[str, T] | None:
        """Return the objects of a module that defines a family, None for one that does not."""
        if self._family_attribute is None:
            return None
        found: Mapping[str, T] | None = getattr(
            importlib.import_module(module), self._family_attribute, None
        )
        return found

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
