"""`swiftpie evaluate`, how good a preset is in figures and pictures, and `swiftpie compare`."""

import ast
import importlib.util
import inspect
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from swiftpie.cli.console import examples, print_json, print_text, say
from swiftpie.cli.options import AsJson, DataPath, Force, PictureOut, arrange, with_fields
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks import BENCHMARKS

if TYPE_CHECKING:
    from swiftpie_lab.evaluation.command import BenchmarkCommand

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
        """The command itself."""
        assert self.name is not None
        return command_of(self.name, BENCHMARKS.get(self.name))

    @property
    def params(self) -> Click:
        """Its options."""
        return self.loaded.params

    @params.setter
    def params(self, params: object) -> None:
        """Leave them to the benchmark."""

    def make_context(self, *words: Click, **settings: Click) -> Click:
        """Read the command line as the benchmark does."""
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
        output.carry_out(opened, context=context, out=out, as_json=as_json, force=force)

    context, *results, _ = inspect.signature(run).parameters.values()
    own = inspect.signature(benchmark.open).parameters.values()
    run.__dict__["__signature__"] = inspect.Signature([context, *own, *results])
    app = typer.Typer(add_completion=False)
    text = benchmark.help or inspect.getdoc(benchmark.open)
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
    from swiftpie.imageio.writing import check_image_target
    from swiftpie_lab.evaluation.benchmarks.world import USES, WorldBenchmark
    from swiftpie_lab.evaluation.command import open_model, open_pack
    from swiftpie_lab.evaluation.page import labelled_sheet

    check_image_target(out, force=force)
    benchmark = WorldBenchmark(open_pack(data), seed=seed)
    cases = benchmark.uses(num_subjects)
    session = open_model(loading)
    rows = list(
        output.watched(benchmark.draw_uses(session, cases), "drawing subjects", total=len(cases))
    )
    sheet = labelled_sheet(
        rows,
        columns=["reference", *USES],
        captions=[[row[0].subject, *(case.prompt for case in row)] for row in cases],
        cell_px=output.CELL_PX,
    )
    output.save_sheet(sheet, out, preset=session.components.preset.name, seed=seed, force=force)
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
PageOut = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="A web page to write, with the pictures."),
]

compare_app = typer.Typer()


@compare_app.command(
    epilog=examples(
        "swiftpie compare out/one-step out/four-steps",
        "swiftpie compare out/mine out/theirs -o comparison.html",
        "swiftpie compare out/one-step out/four-steps --json",
    )
)
def compare(
    *,
    first: First,
    second: Second,
    out: PageOut = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Compare two evaluations case by case: what differs for certain, and which pictures most.

    Every figure gets the difference of the two with a 95 % interval, as both are resampled by the
    same cases. The page shows pictures side by side, the largest disagreement first, and needs no
    other file.
    """
    from swiftpie.imageio.atomic import check_target, write_file
    from swiftpie_lab.evaluation.compare import compare as compared
    from swiftpie_lab.evaluation.compare import page_of, read_run
    from swiftpie_lab.evaluation.page import render

    if out is not None:
        check_target(out, force=force)
    runs = (read_run(first), read_run(second))
    comparison = compared(*runs)
    if out is not None:
        write_file(out, render(page_of(comparison, *runs)).encode(), force=force)
    if as_json:
        print_text(comparison.to_json())
    else:
        output.tell(comparison.sentences, {"": comparison.table})
    if out is not None:
        say(f"the page is {out}")
