"""`swiftpie licenses`: the licence of everything that a command would load."""

from typing import Annotated, Any, NamedTuple

import typer

from swiftpie.backbones import licences
from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.licences import LicenceTerms
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.backbones.resolve import resolve
from swiftpie.cli.about import ANSWERS
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.options import AsJson, CommercialOnly, FieldOptions, with_fields
from swiftpie.errors import ConfigError
from swiftpie.faces import DEFAULT_ENCODER, FACE_ENCODERS, FaceSettings

RENDERED = tuple(f"evaluate {name}" for name in ("world", "ablations", "grid"))
COMMANDS = (
    *("personalize", "identity", "cutout", "demo", "edit"),
    *RENDERED,
    *("evaluate dreambench", "evaluate world-edits", "evaluate pie"),
    *("evaluate fastface", "face", "train"),
)
"""Commands that load something."""
CUTTING = frozenset({"personalize", "identity", "cutout", "edit", "evaluate dreambench"})
"""Commands that cut subjects out of pictures."""
NAMING = frozenset({"personalize", "identity", "edit"})
"""Commands that take subjects from the library by name."""


class Chosen(NamedTuple):
    """Choices of options; None is the default of the command."""

    recipe: str | None = None
    preset: str | None = None
    adapter: str | None = None
    encoder: str | None = None
    judge: str | None = None
    cutout: str | None = None


What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[COMMAND or PRESET]",
        help="A command such as face or evaluate fastface, a preset, or a face encoder; by "
        "default all.",
        show_default=False,
    ),
]
app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie licenses",
        "swiftpie licenses sdxl-turbo --json",
        "swiftpie licenses personalize --recipe sdxl-turbo",
        "swiftpie licenses face --preset sdxl-lightning-4 --encoder insightface "
        "--adapter ip-adapter-faceid_sdxl.bin --judge opencv",
        "swiftpie licenses cutout --cutout rembg:birefnet-general --commercial-only",
    )
)
@with_fields
def licenses(
    *,
    what: What = None,
    networks: Annotated[dict[str, Any], FieldOptions(LoadOptions, ("recipe", "preset", "adapter"))],
    recognisers: Annotated[dict[str, Any], FieldOptions(FaceSettings, ("encoder", "judge"))],
    cutout: Annotated[
        str | None,
        typer.Option(metavar="auto|rembg[:MODEL]|none", help="How subjects are to be cut out."),
    ] = None,
    commercial_only: CommercialOnly = False,
    as_json: AsJson = False,
) -> None:
    """List the licence of everything that a command would load.

    Licences are listed as their publishers state them; read them before you rely on them. Your
    photographs, and the people in them, have rights of their own.
    """
    found = terms_of(" ".join(what or []), Chosen(**networks, **recognisers, cutout=cutout))
    if commercial_only and cutout is not None:
        _check_terms(licences.cutout_terms(cutout))
    shown = [entry for entry in found if entry.is_commercial or not commercial_only]
    if as_json:
        print_json([terms._asdict() for terms in shown])
        return
    rows = [(term.part, term.name, term.licence, ANSWERS[term.is_commercial]) for term in shown]
    write_table(rows, headings=("part", "name", "licence", "commercial"))


def _check_terms(chosen: list[LicenceTerms]) -> None:
    for term in chosen:
        if not term.is_commercial:
            raise ConfigError(
                f"{term.name!r} was chosen with --commercial-only, and its licence is "
                f"{term.licence}. Choose another one of `swiftpie licenses --commercial-only`."
            )


def terms_of(what: str, chosen: Chosen) -> list[LicenceTerms]:
    """Return what the command, preset or face encoder `what` would load; everything for ""."""
    if what in COMMANDS:
        cuts = what in CUTTING or chosen.cutout is not None
        found = _command_terms(what, chosen)
        found += licences.cutout_terms(chosen.cutout) if cuts else []
        names = what in NAMING and chosen.recipe is None and chosen.preset in {None, "mini"}
        return found + ([licences.SPRITES] if names else [])
    if options := [name for name, value in chosen._asdict().items() if value is not None]:
        raise ConfigError(
            f"--{options[0]} was given without a command that would take it. Name one, as in "
            "`swiftpie licenses face`, or leave it out."
        )
    if not what:
        return licences.everything()
    if what in PRESETS.names():
        return licences.preset_terms(what)
    if what in FACE_ENCODERS.names():
        return licences.encoder_terms(what, part="face encoder")
    raise ConfigError(
        f"{what!r} is not a command that loads something, a preset or a face encoder. Commands are "
        f"{', '.join(COMMANDS)}. See `swiftpie presets` for presets."
    )


def _command_terms(command: str, chosen: Chosen) -> list[LicenceTerms]:
    if chosen.recipe is not None and chosen.preset is not None:
        resolve(chosen.preset, chosen.recipe, {})  # says why one of them is enough
    recipe = None if chosen.recipe is None else RECIPES.get(chosen.recipe)
    uses_faces = command in {"face", "evaluate fastface"}
    if recipe is not None:
        parts = ("adapter", "image encoder") if chosen.adapter else ()
        found = [term for term in licences.recipe_terms(recipe) if term.part not in parts]
        found = [entry for entry in found if entry.part != "face encoder"]
    elif uses_faces and chosen.preset is None:
        found = [
            LicenceTerms("preset", "of your choice", "give it with --recipe or --preset", None)
        ]
    else:
        found = licences.preset_terms(chosen.preset or "mini")
    if chosen.adapter is not None or (uses_faces and recipe is None):
        found += [licences.adapter_terms(chosen.adapter), licences.IMAGE_ENCODER]
    if uses_faces:
        own = None if recipe is None else recipe.face_encoder
        encoder = chosen.encoder or own or DEFAULT_ENCODER
        found += licences.encoder_terms(encoder, part="face encoder")
        found += licences.encoder_terms(chosen.judge, part="judge") if chosen.judge else []
        found.append(licences.YOUR_PHOTOS)
    match command:
        case "evaluate fastface":
            found += [licences.CLIP, licences.AESTHETIC, licences.IMAGE_REWARD]
        case "evaluate pie":
            found += [licences.CLIP, licences.DINO, licences.LPIPS, licences.PIE]
        case "evaluate world-edits":
            found += [licences.OWN_JUDGES, licences.SPRITES, licences.LPIPS]
        case "train":
            found += [licences.OWN_JUDGES, licences.SPRITES]
    return found + ([licences.OWN_JUDGES, licences.SPRITES] if command in RENDERED else [])
