"""Loading for commands: what has to be downloaded, the user's consent, and the session."""

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast

import typer

from swiftpie.backbones.choices import Choices, LoadOptions, resolve
from swiftpie.backbones.downloads import ModelPart
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, Use
from swiftpie.backbones.sources import check_within_reach
from swiftpie.cli.console import say
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftpie.backbones.downloads import DownloadList
    from swiftpie.backbones.presets import Recipe
    from swiftpie.engine.session import Session

NO_LICENCE = "not stated; see its publisher"
SHOWN = 12  # letters of a commit


def confirm_download(needs: "DownloadList", *, yes: bool) -> None:
    """Report what has to be downloaded and return if the user agrees, or if `yes` is set."""
    if not needs.bytes_left:
        return  # at most links have to be made
    print_download(needs)
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            f"{len(needs.missing)} files are missing here, and without a terminal their "
            "download cannot be confirmed. Add --yes to the same command, or run `swiftpie fetch` "
            "with the same options before."
        )
    typer.confirm("Fetch them?", default=True, abort=True, err=True)


def print_download(needs: "DownloadList") -> None:
    """Report on standard error what is missing: parts, sizes, licences, folders."""
    from rich.filesize import decimal as as_size

    lines, sizes = [], Counter[ModelPart]()
    for part, file in needs.missing:
        sizes[part] += part.left(file)
    for part, size in (+sizes).items():
        listing, licence = part.listing, part.licence or NO_LICENCE
        place = "" if listing is None else f"{listing.repository}@{listing.revision[:SHOWN]}"
        name = part.name.replace("_", " ")
        lines.append(f"{as_size(size):>9}  {name}: {place} (licence: {licence})")
    memory = needs.memory_bytes
    weights = "unknown" if memory is None else as_size(memory)
    lines.append(f"{as_size(needs.bytes_left):>9}  to fetch")
    if needs.folders:
        folders = ", ".join(map(str, needs.folders))
        lines.append(f"{as_size(needs.free_bytes):>9}  free in {folders}")
    lines.append(f"{weights:>9}  of memory for all weights")
    if needs.largest_bytes:
        lines.append(f"{as_size(needs.largest_bytes):>9}  of it for the largest network")
    for line in lines:
        say(line)


class LoadedSession(NamedTuple):
    """A loaded preset and how long loading took."""

    session: "Session"
    load_ms: float


def open_session(
    preset: str | None = None,
    *,
    recipe: "str | Recipe | None" = None,
    device: str = AUTO,
    engine: "str | Sequence[str]" = "",
    yes: bool = False,
    **choices: Unpack[Choices],
) -> LoadedSession:
    """Load a preset or recipe as `swiftpie.load` does; `engine` may name several, by commas.

    Missing files are reported, and downloaded if the user agrees or `yes` is set.

    Raises:
        ConfigError: Files are missing and there is no terminal for the question.
    """
    from swiftpie.engine.load import load

    started = time.perf_counter()
    given: LoadOptions = {"preset": preset, "recipe": recipe, "device": device, "engine": engine}
    needs = plan_downloads({**given, **choices})
    confirm_download(needs, yes=yes)
    needs.fetch()
    session = load(**load_keywords({**given, **choices}))
    return LoadedSession(session, (time.perf_counter() - started) * 1000)


def plan_downloads(loading: LoadOptions) -> "DownloadList":
    from swiftpie.engine.load import plan_downloads as plan

    return plan(**load_keywords(loading))


def load_keywords(loading: LoadOptions) -> Any:  # noqa: ANN401 - keywords of `swiftpie.load`
    given = {name: value for name, value in loading.items() if name != "yes"}
    engine = given.get("engine")
    if isinstance(engine, str):
        given["engine"] = [name.strip() for name in engine.split(",") if name.strip()]
    return given


def preset_for(loading: LoadOptions, *, use: Use = Use.PERSONALIZE) -> Preset:
    """Return the preset of `loading`, which has to be named for a face."""
    if use is Use.FACE and loading.get("recipe") is None and loading.get("preset") is None:
        raise ConfigError(
            "A face needs --recipe or --preset: the packaged model draws no faces. Write --recipe "
            "face-plus, or see `swiftpie recipes`."
        )
    choices = cast("Choices", loading)  # it has more keys, which decide nothing here
    known, merged = resolve(loading.get("preset"), loading.get("recipe"), choices)
    if use is not Use.FACE:  # faces are found first
        check_within_reach(known, merged)  # before a family's networks are imported
    return known
