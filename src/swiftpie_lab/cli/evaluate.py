"""`swiftpie evaluate`, how good a preset is in figures and pictures, and `swiftpie compare`."""

import ast
import importlib.util
import inspect
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, print_text, say
from swiftpie.cli.options import AsJson, DataPath, Force, PictureOut, arrange, with_fields
from swiftpie.errors import printable
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks import BENCHMARKS

if TYPE_CHECKING:
    from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial
    from swiftpie_lab.evaluation.run import C

T = TypeVar("T")
CELL_PX = 192  # side of a cell of a sheet
BORDER = 3  # letters of a column of a table: a line and a space on both sides
FIRST_COLUMN = 24  # letters of the first one, at least
WHERE_RESULTS_GO = frozenset({"out", "as_json", "force"})
Click = Any  # what Typer makes and takes; it offers no names for these types
NumSubjects = Annotated[int, typer.Option(min=1, help="Rows.")]


class BenchmarkGroup(TyperGroup):
    """Commands of this module, and one for each benchmark."""

    def list_commands(self, ctx: Click) -> list[str]:
        """Return all names, sorted, without an import of any benchmark."""
        return sorted({*super().list_commands(ctx), *BENCHMARKS.names()})

    def get_command(self, ctx: Click, cmd_name: str) -> Click:
        """Return the command of this name, a benchmark's before its module is imported."""
        own = super().get_command(ctx, cmd_name)
        if own is None and cmd_name in BENCHMARKS.names():
            return LazyCommand(cmd_name)
        return own


class LazyCommand(TyperCommand):
    """A benchmark's command, whose module is imported when its options are needed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=_first_line(name))

    @cached_property
    def loaded(self) -> Click:
        assert self.name is not None
        return command_of(self.name, BENCHMARKS.get(self.name))

    @property
    def params(self) -> Click:
        return self.loaded.params

    @params.setter
    def params(self, params: object) -> None:
        """Leave them to the benchmark."""

    def make_context(self, *words: Click, **settings: Click) -> Click:
        return self.loaded.make_context(*words, **settings)


def _first_line(name: str) -> str:
    spec = importlib.util.find_spec(f"{BENCHMARKS.package}.{name.replace('-', '_')}")
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def command_of(name: str, benchmark: "BenchmarkCommand") -> Click:
    """Return the command of a benchmark: its own options, and where results go."""

    def run(
        *,
        context: typer.Context,
        out: given.Out = Path(f"out/evaluate-{name}"),
        as_json: AsJson = False,
        force: given.Anew = False,
        **chosen: Click,
    ) -> None:
        opened = benchmark.open(**chosen)
        carry_out(opened, context=context, out=out, as_json=as_json, force=force)

    context, *results, _ = inspect.signature(run).parameters.values()
    own = inspect.signature(benchmark.open).parameters.values()
    run.__dict__["__signature__"] = inspect.Signature([context, *own, *results])
    app = typer.Typer(add_completion=False)
    text = inspect.getdoc(benchmark.open)
    app.command(name, help=text, epilog=examples(*benchmark.examples))(with_fields(run))
    command = get_command(app)
    arrange(command)
    return command


app = typer.Typer(cls=BenchmarkGroup, no_args_is_help=True, help="Measure how good a preset is.")


@app.callback()
def evaluate() -> None:
    """Measure how good a preset is."""


@app.command(
    epilog=examples(
        "swiftpie evaluate grid -o grid.png",
        "swiftpie evaluate grid -o mine.png --weights runs/mini_world/export",
        "swiftpie evaluate grid -o small.webp --num-subjects 3 --seed 7",
    )
)
@with_fields
def grid(
    *,
    out: PictureOut,
    num_subjects: NumSubjects = 8,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    seed: given.Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw held-out subjects in their uses, as one picture with labels.

    In a place, from a side, in a colour or of a material, and as art; the seed
    deals subjects and wishes, as for `world`, and no option picks them. The first column shows the
    references.
    """
    from swiftpie.imageio.writing import check_image_target, save_image
    from swiftpie_lab.evaluation.benchmarks.world import USES, WorldBenchmark
    from swiftpie_lab.evaluation.command import open_model, open_pack
    from swiftpie_lab.evaluation.page import labelled_sheet

    check_image_target(out, force=force)
    benchmark = WorldBenchmark(open_pack(data), seed=seed)
    cases = benchmark.uses(num_subjects)
    session = open_model(loading)
    rows = list(watched(benchmark.draw_uses(session, cases), "drawing subjects", total=len(cases)))
    sheet = labelled_sheet(
        rows,
        columns=["reference", *USES],
        captions=[[row[0].subject, *(case.prompt for case in row)] for row in cases],
        cell_px=CELL_PX,
    )
    preset = session.components.preset.name
    facts = {"preset": preset, "swiftpie": __version__, "seed": str(seed)}
    save_image(sheet, out, metadata=facts, force=force)
    say(f"the picture is {out}")
    if as_json:
        pictures = [
            {"subject": case.subject, "use": use, "prompt": case.prompt, "seed": case.seed}
            for row in cases
            for use, case in zip(USES, row, strict=True)
        ]
        print_json({"path": str(out), "pictures": pictures})


First = Annotated[
    Path, typer.Argument(metavar="A", help="A folder that `swiftpie evaluate` wrote.")
]
Second = Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same cases.")]

compare_app = typer.Typer()


@compare_app.command(
    epilog=examples(
        "swiftpie compare out/one-step out/four-steps",
        "swiftpie compare out/one-step out/four-steps --json",
    )
)
def compare(*, first: First, second: Second, as_json: AsJson = False) -> None:
    """Compare two evaluations of the same cases: what differs for certain.

    Every figure gets the difference of the two with a 95 % interval, as both are resampled by the
    same cases.
    """
    from swiftpie_lab.evaluation.compare import compare as compared
    from swiftpie_lab.evaluation.compare import read_run

    comparison = compared(read_run(first), read_run(second))
    if as_json:
        print_text(comparison.to_json())
    else:
        tell(comparison.sentences, *comparison.table)


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
    from swiftpie_lab.evaluation.report import table
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
        tell(report.sentences, *table(benchmark, report.metrics))
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def tell(sentences: Iterable[str], heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    console = Console()
    for sentence in sentences:
        console.print(Text(printable(sentence)))
    for columns in side_by_side(heads, lines, width=console.width):
        shown = Table(*(heads[column] for column in columns))
        for line in lines:
            cells = ("\n".join(map(printable, _parts(line[column]))) for column in columns)
            shown.add_row(*map(Text, cells))
        console.print(shown)


def side_by_side(
    heads: Sequence[str], lines: Sequence[Sequence[str]], *, width: int
) -> list[list[int]]:
    """Return the columns of each table that fits into `width` letters; all begin with the first."""
    cells = (part for row in lines for cell in row[1:] for part in _parts(cell))
    letters = max(map(len, (*cells, *" ".join(heads).split())), default=0) + BORDER
    count = max(1, (width - FIRST_COLUMN - BORDER - 1) // letters)
    rest = range(1, len(heads))
    return [[0, *rest[first : first + count]] for first in range(0, len(rest), count)] or [[0]]


def _parts(cell: str) -> list[str]:
    return cell.replace(" [", "\n[").split("\n")  # a figure stands above its interval
