"""`swiftpie sign`: content credentials for a picture that SwiftPie made."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.cli import console, options
from swiftpie.cli.about import read_bytes, read_origin
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from swiftpie.engine.credentials import SigningKey

app = typer.Typer()

Picture = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A picture that SwiftPie made; - reads standard input.",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="Your private key, PEM; by default a local one is made."
    ),
]
Certificates = Annotated[
    Path | None,
    typer.Option("--certificates", metavar="FILE", help="Its certificates, PEM, your own first."),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="FILE",
        help="The picture that was changed; its own credentials are kept as an ingredient.",
    ),
]


@app.command(
    epilog=console.examples(
        "swiftpie sign beach.png -o signed.png",
        "swiftpie sign snow.png --input garden.jpg -o signed.png",
        "swiftpie sign beach.png --key key.pem --certificates chain.pem -o signed.png",
    )
)
def sign(
    *,
    file: Picture,
    out: options.PictureOut,
    key: KeyFile = None,
    certificates: Certificates = None,
    source: Input = None,
    force: options.Force = False,
) -> None:
    """Add content credentials (C2PA): what made FILE, signed, so that changes are seen.

    `swiftpie show` checks them, as other programs do.
    """
    from swiftpie.engine.credentials import sign as sign_picture
    from swiftpie.imageio.atomic import write_file
    from swiftpie.imageio.writing import check_image_target

    signing = read_key(key, certificates)
    check_image_target(out, force=force)
    picture = read_bytes(file)
    facts = read_origin(picture, name=file)
    parent = None if source is None else read_bytes(source)
    signed = sign_picture(picture, signing, facts=facts, parent=parent, suffix=out.suffix)
    write_file(out, signed, force=force)
    console.say(f"wrote {out}, signed by {'the local key' if key is None else key}")


def read_key(key: Path | None, certificates: Path | None) -> "SigningKey":
    """Return the user's key, or the local one."""
    from swiftpie.engine.credentials import load_key, local_key

    if key is not None and certificates is not None:
        return load_key(key, certificates)
    if key is None and certificates is None:
        return local_key()
    raise ConfigError(
        "One of --key and --certificates was given, and they belong together. Give both, or "
        "neither for a local key."
    )
