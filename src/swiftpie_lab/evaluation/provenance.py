"""What a report was made with: the command, releases of packages, and the machine."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from swiftpie.backbones.machine import processor_name

PACKAGES = ("swiftpie", "swiftpie-lab", "torch", "diffusers", "transformers", "numpy", "pillow")


@dataclass(frozen=True)
class Provenance:
    """All that figures may depend on besides weights and data, which the run names."""

    command: str  # without options that say where results go; paths by their last part
    versions: Mapping[str, str]  # of packages and Python
    judges: Mapping[str, str]  # sha256 by file of the networks that the user gave
    processor: str
    num_cores: int

    @property
    def lines(self) -> list[str]:
        """The same for people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        judges = [f"{name} {digest}" for name, digest in self.judges.items()]
        command = [self.command] if self.command else []
        return [*command, versions, *judges, f"{self.processor}, {self.num_cores} cores"]


def provenance_of(command: str, judges: Mapping[str, str]) -> Provenance:
    """Return what this process computes with.

    Args:
        command: What the user typed; empty where Python called.
        judges: sha256 by file of the networks that the user gave.
    """
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # one that runs from its sources
            continue
    return Provenance(command, versions, judges, processor_name(), os.cpu_count() or 1)
