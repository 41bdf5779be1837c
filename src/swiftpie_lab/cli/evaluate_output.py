"""How commands under `swiftpie evaluate` are carried out, and how reports are printed."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from swiftpie import __version__
from swiftpie.cli.console import print_text, say
from swiftpie.errors import printable

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie_lab.evaluation.command import Trial
    from swiftpie_lab.evaluation.report import Table as ReportTable
    from swiftpie_lab.evaluation.run import C

T = TypeVar("T")
CELL_PX = 192  # of sheets
BORDER = 3  # letters of a column of a table: a line and a space on both sides
FIRST_COLUMN = 24  # letters that the first one has at least, if it can fill them
WHERE_RESULTS_GO = frozenset({"out", "as_json", "force"})


def watched(steps: Iterable[T], title: str, *, total: int) -> Iterator[T]:
    """Yield all `steps` while a bar on standard error shows how many are done."""
    console = Console(stderr=True)
    yield from track(steps, title, total=total, console=console, disable=not console.is_terminal)


def typed_command(context: typer.Context) -> str:
    """Return the running command with what the user gave, as others can repeat it.

    Options that say where results go are left out, and paths are named by their last part: a
    report has neither.
    """
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in WHERE_RESULTS_GO:
            continue
        value = context.params[name]
        is_option = parameter.param_type_name == "option"
        flag = [max(parameter.opts, key=len)] if is_option else []
        for part in value if isinstance(value, list | tuple) else [value]:
            words += flag if part is True else [*flag, _without_folders(part)]
    return shlex.join(words)


def _without_folders(value: object) -> str:
    text = str(getattr(value, "value", value))
    is_path = isinstance(value, Path) or Path(text).is_absolute()
    return Path(text).name or text if is_path else text


def carry_out(
    trial: "Trial[C]", *, context: typer.Context, out: Path, as_json: bool, force: bool
) -> None:
    """Draw and judge cases; write pictures and report into `out`, and print the report."""
    from swiftpie_lab.evaluation.page import write_report
    from swiftpie_lab.evaluation.report import table, table_by_group
    from swiftpie_lab.evaluation.run import Results, draw, score

    results, benchmark, cases = Results(out), trial.benchmark, trial.cases
    drawn = draw(benchmark, cases, trial.drawer, results=results, force=force)
    for _ in watched(drawn, "drawing", total=len(cases)):
        pass
    judged = score(benchmark, cases, results, trial.networks)
    rows = list(watched(judged, "judging", total=len(cases)))
    report = write_report(benchmark, rows, results, trial.networks, command=typed_command(context))
    if as_json:
        print_text(report.to_json())
    else:
        tables = {"": table(benchmark, report.metrics)}
        if report.groups:
            tables[" "] = table_by_group(benchmark, report)
        tell(report.sentences, tables)
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def tell(sentences: Iterable[str], tables: "Mapping[str, ReportTable]") -> None:
    """Write sentences and tables, by title, on standard output."""
    console = Console()
    for sentence in sentences:
        console.print(Text(printable(sentence)))
    for title, (heads, lines) in tables.items():
        for widths in side_by_side(heads, lines, width=console.width):
            shown = Table(title=title.strip() or None)
            for column, letters in widths.items():
                shown.add_column(heads[column], width=letters, overflow="fold")
            for line in lines:
                shown.add_row(
                    *(Text("\n".join(map(printable, _parts(line[column])))) for column in widths)
                )
            console.print(shown)


def side_by_side(
    heads: Sequence[str], lines: Sequence[Sequence[str]], *, width: int
) -> list[dict[int, int]]:
    """Return the columns of each table that fits into `width` letters, and how wide each is.

    All tables begin with the first column, whose words may fill several lines. Neither a number
    nor a word is broken anywhere.
    """
    least = [
        max(
            map(
                len, (*head.split(), *(part for line in lines for part in _parts(line[column])), "")
            )
        )
        for column, head in enumerate(heads)
    ]
    words = max((len(word) for line in lines for word in line[0].split()), default=0)
    first = min(least[0], max(words, FIRST_COLUMN))
    tables: list[dict[int, int]] = []
    for column, letters in enumerate(least[1:], start=1):
        if (
            not tables
            or sum(tables[-1].values(), letters) + BORDER * (len(tables[-1]) + 1) >= width
        ):
            tables.append({0: first})
        tables[-1][column] = letters
    for table in tables:
        free = width - 1 - BORDER * len(table) - sum(table.values())
        table[0] = min(least[0], first + max(0, free))
    return tables or [{0: first}]


def _parts(cell: str) -> list[str]:
    return cell.replace(" [", "\n[").split("\n")  # a figure stands above its interval


def save_sheet(sheet: "Image.Image", out: Path, *, preset: str, seed: int, force: bool) -> None:
    """Write a drawn sheet with its origin."""
    from swiftpie.imageio.writing import save_image

    facts = {"preset": preset, "swiftpie": __version__, "seed": str(seed)}
    save_image(sheet, out, metadata=facts, force=force)
