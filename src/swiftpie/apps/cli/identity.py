"""`swiftpie identity` and `swiftpie cutout`: subjects as files and as the encoders see them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.apps.cli import options as given
from swiftpie.apps.cli.console import examples, print_json, say, write_table
from swiftpie.backbones.preset import PRESETS
from swiftpie.engine.origin import spell_cutouts
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from swiftpie.pipelines.identity_file import IdentityFile

OPAQUE = (".jpg", ".jpeg")
READABLE = {True: "yes", False: "no", None: "only the preset's networks can tell"}


class CutoutForm(StrEnum):
    """What a cut-out is written as."""

    FRAME = "frame"
    RGBA = "rgba"
    MASK = "mask"


app = typer.Typer()
identity_app = typer.Typer(
    name="identity", no_args_is_help=True, help="Encode a subject once and keep it as a file."
)
app.add_typer(identity_app)


@identity_app.command(
    epilog=examples(
        "swiftpie identity save dog.jpg -o dog.spid",
        "swiftpie identity save front.png side.jpg:side-mask.png -o robot.spid",
        "swiftpie identity save dog.jpg -o dog.spid --recipe sdxl-turbo",
    )
)
@given.with_fields
def save(
    *,
    subjects: given.Subjects,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Identity file to write (.spid).")
    ],
    cutouts: given.Cutouts = None,
    networks: given.Networks,
    force: given.Force = False,
) -> None:
    """Encode pictures of one subject into a file that `personalize` takes as SUBJECT."""
    from swiftpie.imageio.files import check_target

    check_target(out, force=force)
    (pictures,) = given.with_cutouts([given.read_subjects(subjects)], cutouts)
    networks, preset = given.settled(networks)
    session = given.open_session(**networks).session
    identity = given.encode_subjects(session, pictures)
    session.save_identity(identity, out, force=force)
    size, how = f"{out.stat().st_size / 1024:.0f} KiB", spell_cutouts((identity.cutouts,))
    say(f"wrote {out} ({size}, preset {preset.name}; cut out by {how})")


@identity_app.command(
    epilog=examples(
        "swiftpie identity inspect dog.spid", "swiftpie identity inspect me.spid --json"
    )
)
def inspect(
    *,
    file: Annotated[Path, typer.Argument(help="An identity file.", show_default=False)],
    as_json: given.AsJson = False,
) -> None:
    """Tell what an identity file holds and whether it can be used here."""
    from swiftpie.pipelines.identity_file import FORMAT, read_identity_header

    header = read_identity_header(file)
    facts = {
        "format": FORMAT,
        "preset": header.preset,
        "fingerprint": header.fingerprint,
        "references": header.num_references,
        "tokens": header.num_tokens,
        "picture_px": header.picture_px,
        "cutouts": [one._asdict() for one in header.cutouts],
        "size_kib": round(file.stat().st_size / 1024, 1),
    }
    is_readable = _is_readable(header)
    if as_json:
        print_json(facts | {"is_readable": is_readable})
    else:
        cutouts = spell_cutouts((header.cutouts,))
        spelled = facts | {"cutouts": cutouts, "is_readable": READABLE[is_readable]}
        write_table([(name.replace("_", " "), str(value)) for name, value in spelled.items()])


def _is_readable(header: "IdentityFile") -> bool | None:
    """Whether the networks in the package wrote a file; None where they are not in the package.

    A file may name any networks, so none are loaded or fetched for its sake.
    """
    from swiftpie.backbones.components import FAMILIES

    if header.preset not in PRESETS.names():
        return False
    preset = PRESETS.get(header.preset)
    fingerprint = FAMILIES.get(preset.family).packaged_fingerprint(preset)
    return None if fingerprint is None else fingerprint == header.fingerprint


@app.command(
    epilog=examples(
        "swiftpie cutout dog.jpg -o seen.png",
        "swiftpie cutout dog.jpg:mask.png -o seen.png --force",
        "swiftpie cutout dog.jpg -o dog.png --to rgba",
        "swiftpie cutout street.jpg -o seen.png --cutout 0.1,0.4,0.4,0.95",
        "swiftpie cutout street.jpg -o seen.png --cutout '0.25,0.6 not:0.5,0.5'",
        "swiftpie cutout dog.jpg -o seen.png --cutout rembg",
    )
)
def cutout(
    *,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE[:MASK]", help="A picture.", show_default=False)
    ],
    out: given.PictureOut,
    to: Annotated[
        CutoutForm,
        typer.Option(
            help="The frame that the encoders see; or, as large as the picture, the picture with "
            "transparency around the subject, or the mask alone, white where the subject is."
        ),
    ] = CutoutForm.FRAME,
    cutouts: given.Cutouts = None,
    preset: given.PresetName = "mini",
    as_json: given.AsJson = False,
    force: given.Force = False,
) -> None:
    """Show what the encoders will see of a picture: the subject alone, centred, on grey.

    Or cut the subject out at full size, to look at, to correct and to give back.
    """
    from swiftpie.imageio.images import (
        check_image_target,
        load_image,
        mask_to_pil,
        save_image,
        to_pil,
    )
    from swiftpie.masks import load_mask
    from swiftpie.models.cutout import search_of
    from swiftpie.pipelines.identity import canonical_frame, cut_out_or_given

    check_image_target(out, force=force)
    _check_transparency(out, to)
    size_px = PRESETS.get(preset).image_size_px
    ((source,),) = given.with_cutouts([given.read_subjects([image])], cutouts)
    picture = load_image(source.picture)
    mask = None if source.mask is None else load_mask(source.mask, picture.size)
    search = search_of(source.cutout)
    if to is CutoutForm.FRAME:
        pixels, _, how = canonical_frame(picture, mask, size_px, search=search)
        cut = to_pil(pixels)[0]
    else:
        found, how = cut_out_or_given(picture, mask, search)
        (cut,) = mask_to_pil(found)
    if to is CutoutForm.RGBA:
        alpha, cut = cut, picture.convert("RGB")
        cut.putalpha(alpha)
    save_image(cut, out, metadata=None, force=force)
    say(f"wrote {out} ({cut.width}x{cut.height} px; cut out by {how})")
    if as_json:
        size = {"width": cut.width, "height": cut.height}
        print_json({"path": str(out), "size": size, "cutout": how._asdict()})


def _check_transparency(out: Path, form: CutoutForm) -> None:
    if form is CutoutForm.RGBA and out.suffix.lower() in OPAQUE:
        raise ConfigError(
            f"'{out}' would be a JPEG, which has no transparency. --to rgba needs it. Write a .png "
            "or .webp."
        )
