"""Ship the lab's sources, which lie outside of this folder."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SharedSources(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's are untyped here
    """Add `src/swiftpie_lab` to a wheel; an editable installation reads it where it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name what goes into the wheel."""
        if version == "standard":
            build_data["force_include"]["../src/swiftpie_lab"] = "swiftpie_lab"
