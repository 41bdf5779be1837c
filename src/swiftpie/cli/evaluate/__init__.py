"""The commands under `swiftpie evaluate`: how good a preset is, in numbers and pictures."""

import typer

from swiftpie.cli.evaluate import (
    ablations,
    compare,
    edit_ablations,
    edits,
    fastface,
    grid,
    pairs,
    photos,
    pie,
    stickers,
)

app = typer.Typer(no_args_is_help=True, help="Measure how good a preset is.")
for module in (
    stickers,
    pairs,
    compare,
    ablations,
    grid,
    photos,
    edits,
    edit_ablations,
    pie,
    fastface,
):
    app.add_typer(module.app)


@app.callback()
def evaluate() -> None:
    """Measure how good a preset is."""
