"""The commands that the lab adds to `swiftpie`: train, evaluate, compare and data."""

import typer

from swiftpie_lab.cli import data, evaluate, train

app = typer.Typer()
app.add_typer(train.app)
app.add_typer(data.app)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(evaluate.compare_app)
