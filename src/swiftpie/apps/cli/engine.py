"""`swiftpie engine`: what makes models quicker or smaller, and all that it does only once."""

import time
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.apps.cli import console
from swiftpie.apps.cli import options as given
from swiftpie.backbones.choices import LoadOptions
from swiftpie.engine.transform import TRANSFORMS
from swiftpie.validation import parse_size

if TYPE_CHECKING:
    from swiftpie.engine.session import Session

app = typer.Typer()
engine_app = typer.Typer(name="engine")
app.add_typer(engine_app)


@engine_app.callback(
    invoke_without_command=True,
    epilog=console.examples(
        "swiftpie engine",
        "swiftpie engine --json",
        "swiftpie engine prepare --recipe sdxl-turbo --engine openvino-int8",
    ),
)
def engine(*, context: typer.Context, as_json: given.AsJson = False) -> None:
    """List the transforms that make models quicker or smaller, for --engine."""
    if context.invoked_subcommand is not None:
        return
    facts = [
        {
            "name": name,
            **{fact: getattr(one, fact) for fact in ("summary", "is_installed", "extra")},
        }
        for name, one in TRANSFORMS.all().items()
    ]
    if as_json:
        console.print_json(facts)
        return
    console.write_table(
        [
            (str(one["name"]), "yes" if one["is_installed"] else "no", str(one["summary"]))
            for one in facts
        ],
        headings=("transform", "installed", "what it does"),
    )


@engine_app.command(
    epilog=console.examples(
        "swiftpie engine prepare --engine openvino",
        "swiftpie engine prepare --recipe sdxl-turbo --engine openvino-int8 --size 512x512",
    )
)
@given.with_fields
def prepare(
    *,
    loading: Annotated[LoadOptions, given.Fields(LoadOptions, given.DRAWING, ("engine",))],
    size: given.SizeText = None,
    as_json: given.AsJson = False,
) -> None:
    """Export, calibrate and compile now, so that no later picture or edit waits for it.

    Sizes are fixed: a later picture has the same --size, subjects and references, one of each
    here, and what is loaded and the engine are given in the same way.
    """
    size_px = None if size is None else parse_size(size)
    loading, _ = given.settled(loading)
    session, load_ms = given.open_session(**loading)
    seconds = _prepared(session, size_px)
    if as_json:
        console.print_json({"load_s": round(load_ms / 1000, 2), "seconds": seconds})
        return
    told = ", ".join(f"{stage} {spent:g} s" for stage, spent in seconds.items())
    console.say(f"The engine is ready for this model: {told}. Later calls like these do not wait.")


def _prepared(session: "Session", size_px: tuple[int, int] | None) -> dict[str, float]:
    """Return how many seconds each stage took, which a bar tells meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from swiftpie.engine.prepare import prepare, stages_of

    seconds: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=len(stages_of(session)))
        running, started = "", time.perf_counter()
        for stage in chain(prepare(session, size_px=size_px), [""]):
            now = time.perf_counter()
            if running:
                seconds[running] = round(now - started, 2)
                bar.advance(task)
            running, started = stage, now
            bar.update(task, description=stage or "prepared")
    return seconds
