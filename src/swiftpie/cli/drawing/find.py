"""`swiftpie find`: where a subject is in another picture."""

from typing import Annotated

import typer

from swiftpie.cli import options
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.drawing.subjects import read_picture, read_source, with_cutouts
from swiftpie.cli.loading import open_session
from swiftpie.pipelines.request import IS_THERE

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie find dog.spid photo.jpg -o mask.png",
        "swiftpie find mug.jpg:mug-mask.png desk.jpg -o mask.png --json",
        "swiftpie find dog.spid puppies.jpg -o mask.png --is-there",
    )
)
@options.with_fields
def find(
    *,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help="A picture of the subject (PICTURE or PICTURE:MASK), an identity file, or a name "
            "from `swiftpie library`.",
            show_default=False,
        ),
    ],
    photo: Annotated[
        str,
        typer.Argument(
            metavar="PHOTO",
            help="The picture to look in; - reads standard input.",
            show_default=False,
        ),
    ],
    out: options.PictureOut,
    is_there: Annotated[bool, typer.Option("--is-there", help=IS_THERE.help)] = False,
    cutouts: options.Cutouts = None,
    networks: options.Networks,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Find SUBJECT in PHOTO, whatever else it shows, and write its mask.

    The mask is white where the subject is, and a FILE for --mask. If nothing looks like the
    subject, nothing is written, unless you say that it is there.
    """
    from swiftpie.imageio.images import mask_to_pil
    from swiftpie.imageio.writing import check_image_target, save_image

    check_image_target(out, force=force)
    (source,) = with_cutouts([read_source([subject])], cutouts)
    picture = read_picture(photo)
    session = open_session(**networks).session
    found = session.find(picture, session.identity_of(source), is_there=is_there)
    (mask,) = mask_to_pil(found.mask)
    save_image(mask, out, metadata=None, force=force)
    share = found.mask.mean().item()
    say(f"wrote {out} (likeness {found.likeness:.2f}; {share:.0%} of the picture)")
    if as_json:
        print_json({"path": str(out), "likeness": found.likeness, "share": round(share, 4)})
