"""The command `swiftpie licenses`, as Typer reads it."""

from pathlib import Path
from typing import Annotated

import typer

from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.licenses.terms import Chosen, Terms, terms_of
from swiftpie.cli.options import AsJson

ANSWERS = {True: "yes", False: "no", None: "depends"}

What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[COMMAND or PRESET]",
        help="A command such as face or evaluate fastface, a preset, or a face encoder; by "
        "default all.",
        show_default=False,
    ),
]
PresetChoice = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="The preset of the command."),
]
AdapterChoice = Annotated[
    Path | None, typer.Option("--adapter", metavar="FILE", help="The adapter of the command.")
]
EncoderChoice = Annotated[
    str | None, typer.Option("--encoder", metavar="NAME", help="The face encoder of the command.")
]
JudgeChoice = Annotated[
    str | None, typer.Option("--judge", metavar="NAME", help="The second face encoder.")
]
CommercialOnly = Annotated[
    bool,
    typer.Option("--commercial-only", help="Only what everyone may use commercially."),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie licenses",
        "swiftpie licenses sdxl-turbo --json",
        "swiftpie licenses face --preset sdxl-lightning-4 --encoder insightface "
        "--adapter ip-adapter-faceid_sdxl.bin --judge opencv",
    )
)
def licenses(
    *,
    what: What = None,
    preset: PresetChoice = None,
    adapter: AdapterChoice = None,
    encoder: EncoderChoice = None,
    judge: JudgeChoice = None,
    commercial_only: CommercialOnly = False,
    as_json: AsJson = False,
) -> None:
    """Tell the licence of everything that a command would load.

    Licences are given as the publishers state them; read them before you rely on them. Your
    photographs, and the people in them, have rights of their own.
    """
    found = terms_of(" ".join(what or []), Chosen(preset, adapter, encoder, judge))
    shown = [one for one in found if one.is_commercial or not commercial_only]
    if as_json:
        print_json([one._asdict() for one in shown])
        return
    write_table([_row(one) for one in shown], headings=("part", "name", "licence", "commercial"))


def _row(terms: Terms) -> tuple[str, str, str, str]:
    return terms.part, terms.name, terms.licence, ANSWERS[terms.is_commercial]
