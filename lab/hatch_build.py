"""Ship the lab's sources, which lie outside of this folder."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("swiftpie_lab", "swiftpie_world")
FOLDERS = {"wheel": "", "sdist": "src/"}


class SharedSources(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's are untyped here
    """Add the packages of `src`; an editable installation reads them where they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name what goes into a distribution; an unpacked source has it in its own folder."""
        is_unpacked = (Path(self.root) / "src" / "swiftpie_lab").is_dir()
        if version == "standard" and not is_unpacked:
            for package in PACKAGES:
                place = FOLDERS[self.target_name] + package
                build_data["force_include"][f"../src/{package}"] = place
