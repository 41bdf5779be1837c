"""`swiftpie tune`: train a subject for a minute, into an identity file."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.cli import options
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.drawing.subjects import read_source, with_cutouts
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.tuning import TuneSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swiftpie.tuning.fit import OnTune, TuneEvent

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie tune dog.jpg -o dog.spid",
        "swiftpie tune front.jpg side.jpg back.jpg -o robot.spid",
        "swiftpie tune dog.spid -o finer.spid --steps 200",
        'swiftpie personalize dog.spid "a dog on a beach" -o out.png',
    )
)
@options.with_fields
def tune(
    *,
    subjects: options.Subjects,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Identity file to write (.spid).")
    ],
    cutouts: options.Cutouts = None,
    settings: Annotated[TuneSettings, options.FieldOptions(TuneSettings)],
    networks: options.Networks,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Train a subject for about a minute, where the encoder alone loses its details.

    The file is an identity like any other. Of three or more pictures the last one is only used to
    judge.
    """
    from swiftpie.imageio.atomic import check_target

    check_target(out, force=force)
    (source,) = with_cutouts([read_source(subjects)], cutouts)
    preset = preset_for(networks)
    session = open_session(**networks).session
    identity = session.identity_of(source)
    with _progress(settings.steps) as (events, on_event):
        tuned = session.tune(identity, settings, on_event=on_event)
    session.save_identity(tuned, out, force=force)
    last, size_kib = events[-1], out.stat().st_size / 1024
    gain = last.best_psnr - last.first_psnr
    say(
        f"wrote {out} ({size_kib:.0f} KiB, preset {preset.name}; tuned in {tuned.tuned}: the "
        f"subject is {gain:.1f} dB nearer to its pictures, at {last.best_psnr:.1f} dB)"
    )
    if as_json:
        facts = {"path": str(out), "tuned": tuned.tuned, "size_kib": round(size_kib, 1)}
        figures = {"steps": last.step, "first_psnr": last.first_psnr, "psnr": last.best_psnr}
        print_json(facts | figures)


@contextmanager
def _progress(steps: int) -> "Iterator[tuple[list[TuneEvent], OnTune]]":
    """Show a bar; yield the events, of which the last is kept, and what takes them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    events: list[TuneEvent] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=steps)

        def show(event: "TuneEvent") -> None:
            events[:] = [event]
            bar.update(task, completed=event.step, description=f"subject {event.psnr:.1f} dB")

        yield events, show
