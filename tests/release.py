"""Checks before a release, a line each: `make release-check`, or `python -m tests.release --help`.

Both distributions are built, checked by twine, and tried in a new environment for each Python that
is found. The bill of materials and the licences of everything installed are left beside them.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import swiftpie
from tests.policy.project import ROOT

KNOWN_LICENCES = ROOT / "tests" / "licences.toml"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LICENCE_FILES = re.compile(r"licen[cs]e|credits|readme|model_card", re.I)
TOOLS = Path(sys.executable).parent
OK, FAILED, SKIPPED = "ok", "FAILED", "not done"


class Failure(Exception):  # noqa: N818 - reads as what it is
    """A check found something."""


class Skipped(Exception):  # noqa: N818 - a state
    """A check cannot be done here."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="try these alone")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "dist", help="for what is built")
    options = parser.parse_args()
    results = [
        checked(name, check)
        for name, check in checks(options.out.resolve(), options.python or PYTHONS)
    ]
    failed, skipped = results.count(FAILED), results.count(SKIPPED)
    sys.stdout.write(f"{failed} of {len(results)} checks failed, {skipped} not done\n")
    return min(failed, 1)


def checks(out: Path, pythons: list[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "versions agree", versions
    yield "changelog has the version", changelog
    yield "tree is clean", tree
    yield "texts of licences", licence_texts
    yield "assets say where they come from", assets
    yield "distributions are built", lambda: build(out)
    yield "twine finds no fault", lambda: twine(out)
    for version in pythons:
        yield f"wheels work on Python {version}", lambda version=version: try_wheels(out, version)
    yield "bill of materials", lambda: materials(out)
    yield "licences of what is installed", lambda: licences(out)


def checked(name: str, check: Callable[[], str]) -> str:
    try:
        result, detail = OK, check()
    except Skipped as reason:
        result, detail = SKIPPED, str(reason)
    except Failure as fault:
        result, detail = FAILED, str(fault)
    sys.stdout.write(f"{result:>8}  {name}: {detail}\n")
    sys.stdout.flush()
    return result


def versions() -> str:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    if cited is None or cited[1] != swiftpie.__version__:
        raise Failure(
            f"CITATION.cff has {cited and cited[1]}, the package {swiftpie.__version__}; write the "
            "latter into CITATION.cff"
        )
    return swiftpie.__version__


def changelog() -> str:
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    unreleased = text.partition("## [Unreleased]")[2].partition("\n## [")[0]
    if re.search(r"^- ", unreleased, re.M):
        raise Failure(f"entries are unreleased; move them below ## [{swiftpie.__version__}] - DATE")
    dates = dict(heads)
    if not dates.get(swiftpie.__version__):
        raise Failure(f"write a heading ## [{swiftpie.__version__}] - DATE into CHANGELOG.md")
    return f"{swiftpie.__version__} of {dates[swiftpie.__version__]}"


def tree() -> str:
    changed = done("git", "-C", str(ROOT), "status", "--porcelain").splitlines()
    if changed:
        raise Failure(
            f"{len(changed)} files are changed or unknown, as {changed[0][3:]}; commit them"
        )
    return done("git", "-C", str(ROOT), "log", "-1", "--format=%h").strip()


def licence_texts() -> str:
    for name in ("LICENSE", "NOTICE"):
        if (ROOT / name).read_bytes() != (ROOT / "lab" / name).read_bytes():
            raise Failure(f"lab/{name} is not {name}; copy it")
    return "LICENSE and NOTICE, the same in both"


def assets() -> str:
    notice = (ROOT / "NOTICE").read_text()
    folders = [
        folder
        for package in ("swiftpie", "swiftpie_lab")
        for folder in (ROOT / "src" / package / "assets").iterdir()
        if folder.is_dir() and folder.name != "__pycache__"
    ]
    silent = [
        folder.name
        for folder in folders
        if not any(LICENCE_FILES.search(file.name) for file in folder.iterdir())
        and f"assets/{folder.name}" not in notice
    ]
    if silent:
        raise Failure(f"say where assets/{', '.join(silent)} come from, there or in NOTICE")
    return f"{len(folders)} folders"


def build(out: Path) -> str:
    shutil.rmtree(out, ignore_errors=True)
    for project in (ROOT, ROOT / "lab"):
        done(sys.executable, "-m", "build", "--outdir", str(out), str(project))
    return ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in built(out))


def built(out: Path) -> list[Path]:
    files = sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])
    if len(files) != 4:
        raise Skipped("the distributions were not built")
    return files


def twine(out: Path) -> str:
    done(sys.executable, "-m", "twine", "check", "--strict", *map(str, built(out)))
    return f"{len(built(out))} files"


def try_wheels(out: Path, version: str) -> str:
    python = find_python(version)
    wheels = [str(file) for file in built(out) if file.suffix == ".whl"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        done(python, "-m", "venv", str(place / "venv"))
        programs = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        own = str(programs / "python")
        done(own, "-m", "pip", "install", "--quiet", *wheels, cwd=place)
        done(own, "-m", "swiftpie", "demo", cwd=place)
        done(own, "-m", "swiftpie", "train", "--list", cwd=place)
        said = done(own, "-m", "swiftpie", "--version", cwd=place).strip()
        if said != f"swiftpie {swiftpie.__version__}":
            raise Failure(f"--version says {said!r}")
        pictures = list(place.rglob("*.png"))
        if not pictures:
            raise Failure("`swiftpie demo` wrote no picture")
        bill = ["environment", own, "--pyproject", str(ROOT / "pyproject.toml"), "--of", "JSON"]
        done(str(TOOLS / "cyclonedx-py"), *bill, "-o", str(materials_file(out)))
    return f"{python}, a picture by `swiftpie demo`"


def find_python(version: str) -> str:
    places = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    candidates = [shutil.which(f"python{version}"), *map(str, sorted(places))]
    for candidate in candidates:
        if candidate and version in done_or_empty(candidate, "--version"):
            return candidate
    raise Skipped(f"no Python {version} was found; install one, as by `pyenv install {version}`")


def materials_file(out: Path) -> Path:
    return out / f"swiftpie-{swiftpie.__version__}.cdx.json"


def materials(out: Path) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {
        re.split(r"[<>=\[]", dependency)[0].lower().replace("_", "-")
        for dependency in project["dependencies"]
    }
    names = {component["name"].lower().replace("_", "-") for component in components(out)}
    if missing := needed - names:
        raise Failure(
            f"{', '.join(sorted(missing))} are not in it; see whether pyproject.toml names them as "
            "they are installed"
        )
    return f"{materials_file(out).name}, {len(names)} components"


def components(out: Path) -> list[dict[str, object]]:
    if not materials_file(out).exists():
        raise Skipped("no environment was made")
    found: list[dict[str, object]] = json.loads(materials_file(out).read_text())["components"]
    return found


def licences(out: Path) -> str:
    known = tomllib.loads(KNOWN_LICENCES.read_text(encoding="utf-8"))
    lines, silent = [], []
    for component in sorted(components(out), key=lambda part: str(part["name"]).lower()):
        terms = [
            term.get("expression") or term["license"] for term in component.get("licenses", [])
        ]
        names = [
            term if isinstance(term, str) else term.get("id") or term.get("name") for term in terms
        ]
        if not names and (text := known.get(str(component["name"]).lower().replace("_", "-"))):
            names = [f"{text['licence']} ({text['source']})"]
        lines.append(
            f"{component['name']} {component['version']}: {'; '.join(map(str, names)) or '?'}"
        )
        silent += [] if names else [str(component["name"])]
    (out / "licences.txt").write_text("\n".join(lines) + "\n")
    if silent:
        raise Failure(
            f"no licence is stated by {', '.join(silent)}; read what they carry, and add it with "
            f"its place to {KNOWN_LICENCES.relative_to(ROOT)}"
        )
    return f"{len(lines)} components, in licences.txt"


def done(*command: str, cwd: Path = ROOT) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:]
        raise Failure(f"{' '.join(command)[:100]} failed: {''.join(last)}")
    return ended.stdout


def done_or_empty(*command: str) -> str:
    try:
        return done(*command)
    except (Failure, OSError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
