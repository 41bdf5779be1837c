"""`swiftpie licenses`: the licence of everything that can be loaded."""

from typing import Annotated

import typer

from swiftpie.backbones import licences
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.cli.about import ANSWERS
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.options import AsJson, CommercialOnly
from swiftpie.errors import ConfigError, did_you_mean
from swiftpie.faces import FACE_ENCODERS

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie licenses",
        "swiftpie licenses sdxl-turbo --json",
        "swiftpie licenses --commercial-only",
    )
)
def licenses(
    *,
    name: Annotated[
        str,
        typer.Argument(
            help="A recipe, a preset or a face encoder; by default all.", show_default=False
        ),
    ] = "",
    commercial_only: CommercialOnly = False,
    as_json: AsJson = False,
) -> None:
    """List the licence of everything that can be loaded, or of all parts of NAME.

    Licences are listed as their publishers state them; read them before you rely on them. Your
    photographs, and the people in them, have rights of their own.
    """
    found = [term for term in terms_of(name) if term.is_commercial or not commercial_only]
    if as_json:
        print_json([term._asdict() for term in found])
        return
    rows = [(term.part, term.name, term.licence, ANSWERS[term.is_commercial]) for term in found]
    write_table(rows, headings=("part", "name", "licence", "commercial"))


def terms_of(name: str) -> list[licences.LicenceTerms]:
    """Return the licences of a recipe, a preset or a face encoder; everything for ""."""
    if not name:
        return licences.everything()
    if name in RECIPES.names():
        return licences.recipe_terms(RECIPES.get(name))
    if name in PRESETS.names():
        return licences.preset_terms(name)
    if name in FACE_ENCODERS.names():
        return licences.encoder_terms(name, part="face encoder")
    known = [*RECIPES.names(), *PRESETS.names(), *FACE_ENCODERS.names()]
    advice = did_you_mean(name, known, otherwise="See `swiftpie recipes` and `swiftpie presets`.")
    raise ConfigError(f"{name!r} is not a recipe, a preset or a face encoder. {advice}")
