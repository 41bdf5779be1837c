"""Ship the lab's sources, which lie outside of this folder."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACES = {"wheel": "swiftpie_lab", "sdist": "src/swiftpie_lab"}


class SharedSources(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's are untyped here
    """Add `src/swiftpie_lab`; an editable installation reads it where it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name what goes into a distribution; an unpacked source has it in its own folder."""
        is_unpacked = (Path(self.root) / "src" / "swiftpie_lab").is_dir()
        if version == "standard" and not is_unpacked:
            build_data["force_include"]["../src/swiftpie_lab"] = PLACES[self.target_name]
