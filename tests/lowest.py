"""Prints the lowest versions that both pyproject.toml allow of what users install, for pip.

`make test-lowest` installs them. The tools of developers are not among them and stay new.
"""

import argparse
import itertools
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENT = re.compile(r"([\w-]+)(?:\[.*\])?>=([\d.]+)(?:,.*)?")


def lowest_versions() -> dict[str, str]:
    floors: dict[str, str] = {}
    for file in (ROOT / "pyproject.toml", ROOT / "lab" / "pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"] | {"": project["dependencies"], "dev": []}
        for needed in itertools.chain(*extras.values()):
            if needed != "swiftpie":  # the lab's own, of no version
                name, version = REQUIREMENT.fullmatch(needed).groups()
                floors[name] = max(floors.get(name, "0"), version, key=_numbers)
    return floors


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--newest", nargs="*", default=[], help="packages to leave out")
    newest = parser.parse_args().newest
    floors = lowest_versions().items()
    print(*(f"{name}=={version}" for name, version in floors if name not in newest), sep="\n")  # noqa: T201
