"""`swiftpie licenses`: the terms of everything that a command would load."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from swiftpie.backbones import licences as facts
from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.licences import Terms
from swiftpie.backbones.preset import PRESETS
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.options import AsJson, CommercialOnly, Fields, with_fields
from swiftpie.errors import ConfigError
from swiftpie.faces.face import FACE_ENCODERS, FaceSettings

ANSWERS = {True: "yes", False: "no", None: "depends"}  # on who you are; the licence says it

RENDERED = ("evaluate stickers", "evaluate pairs", "evaluate ablations", "evaluate grid")
COMMANDS = (
    *("personalize", "identity", "cutout", "demo", "edit"),
    *RENDERED,
    *("evaluate photos", "evaluate edits", "evaluate pie", "evaluate fastface", "face", "train"),
)
"""The commands that load something."""


class Chosen(NamedTuple):
    """What options would choose; None is what the command takes by itself."""

    preset: str | None = None
    adapter: Path | None = None
    encoder: str | None = None
    judge: str | None = None


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
        "swiftpie licenses face --preset sdxl-lightning-4 --encoder insightface "
        "--adapter ip-adapter-faceid_sdxl.bin --judge opencv",
    )
)
@with_fields
def licenses(
    *,
    what: What = None,
    networks: Annotated[dict[str, Any], Fields(LoadOptions, ("preset", "adapter"))],
    recognisers: Annotated[dict[str, Any], Fields(FaceSettings, ("encoder", "judge"))],
    commercial_only: CommercialOnly = False,
    as_json: AsJson = False,
) -> None:
    """Tell the licence of everything that a command would load.

    Licences are given as the publishers state them; read them before you rely on them. Your
    photographs, and the people in them, have rights of their own.
    """
    found = terms_of(" ".join(what or []), Chosen(**networks, **recognisers))
    shown = [one for one in found if one.is_commercial or not commercial_only]
    if as_json:
        print_json([one._asdict() for one in shown])
        return
    rows = [(one.part, one.name, one.licence, ANSWERS[one.is_commercial]) for one in shown]
    write_table(rows, headings=("part", "name", "licence", "commercial"))


def terms_of(what: str, chosen: Chosen) -> list[Terms]:
    """Return what the command, preset or face encoder `what` would load; all there is for "".

    Raises:
        ConfigError: There is no such thing.
    """
    if not what:
        return facts.everything()
    if what in COMMANDS:
        return _command_terms(what, chosen)
    if what in PRESETS.names():
        return facts.preset_terms(what)
    if what in FACE_ENCODERS.names():
        return facts.encoder_terms(what, part="face encoder")
    raise ConfigError(
        f"{what!r} is no command that loads something, no preset and no face encoder. Commands are "
        f"{', '.join(COMMANDS)}. See `swiftpie presets` for presets."
    )


def _command_terms(command: str, chosen: Chosen) -> list[Terms]:
    found = facts.preset_terms(chosen.preset or "mini")
    uses_faces = command in {"face", "evaluate fastface"}
    if uses_faces and chosen.preset is None:
        found = [Terms("preset", "of your choice", "give it with --preset", None)]
    if uses_faces or chosen.adapter is not None:
        found += [facts.adapter_terms(chosen.adapter), facts.IMAGE_ENCODER]
    if uses_faces:
        found += facts.encoder_terms(chosen.encoder or "opencv", part="face encoder")
        found += facts.encoder_terms(chosen.judge, part="judge") if chosen.judge else []
        found.append(facts.YOUR_PHOTOS)
    match command:
        case "evaluate fastface":
            found += [facts.CLIP, facts.AESTHETIC]
        case "evaluate pie":
            found += [facts.CLIP, facts.DINO, facts.LPIPS, facts.PIE]
        case "evaluate edits":
            found += [facts.OWN_JUDGES, facts.SPRITES, facts.LPIPS]
        case "evaluate photos" | "train":
            found += [facts.OWN_JUDGES, facts.SPRITES]
    return found + ([facts.OWN_JUDGES, facts.SPRITES] if command in RENDERED else [])
