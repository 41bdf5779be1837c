"""Subjects and pictures as arguments of commands, read and checked."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swiftpie.cli.options import STREAM, is_file
from swiftpie.errors import ConfigError
from swiftpie.pipelines.naming import log_library_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftpie.engine.session import Session
    from swiftpie.library import Named
    from swiftpie.types import Cutout, Identity


class SubjectPictures(NamedTuple):
    """A readable picture and where its subject is; an identity file is a `Path`."""

    picture: str | Path | bytes
    mask: str | bytes | None
    cutout: str = "auto"  # how the subject is found without a mask
    named: "Named | None" = None  # the subject of the library that it shows, if any

    @property
    def is_cut(self) -> bool:
        """Whether the subject is cut out already."""
        return self.named is not None or isinstance(self.picture, Path)


def split_subject(text: str) -> tuple[str, str | None]:
    """Split PICTURE:MASK; the name of an existing file is a picture, colons included."""
    if text == STREAM or is_file(text):
        return (text, None)
    places = [place for place, letter in enumerate(text) if letter == ":"]
    for place in reversed(places):
        picture, mask = text[:place], text[place + 1 :]
        if mask and (picture == STREAM or is_file(picture)):
            return (picture, mask)
    return (text, None)


def read_subjects(texts: list[str]) -> list[SubjectPictures]:
    """Split SUBJECT arguments and read every header, so that mistakes show at once.

    Raises:
        ImageError: A picture or mask cannot be read.
        ConfigError: An identity file or a name came with anything else, or words of a sentence.
        NobodyNamed: It is not a file, and close to a name of the library.
    """
    from swiftpie.imageio.decoding import is_safetensors
    from swiftpie.library import NAME, named_by, packaged

    words = [text for text in texts if not is_file(text) and NAME.fullmatch(text)]
    if len(words) > 1:
        raise ConfigError(
            f"'{' '.join(words)}' is {len(words)} words and no file. Put a sentence into quotes, "
            'as in "a dog on a beach", and give each further subject by --also.'
        )
    named = [who for text in words if (who := named_by(text))]
    if named and len(texts) > 1:
        raise ConfigError(
            f"The name {named[0].word!r} came with other pictures, and is a whole subject. "
            "Give it alone, and further subjects with --also."
        )
    if named:
        return [SubjectPictures(packaged().picture(named[0].name), None, named=named[0])]
    paths = [split_subject(text) for text in texts]
    if any(is_safetensors(picture) for picture, _ in paths):
        if len(paths) > 1 or paths[0][1] is not None:
            raise ConfigError(
                "An identity file came with other pictures or a mask. It already is a whole "
                "subject. Give it alone, or encode all pictures again."
            )
        return [SubjectPictures(Path(paths[0][0]), None)]
    return [
        SubjectPictures(read_picture(picture), None if mask is None else read_picture(mask))
        for picture, mask in paths
    ]


def encode_subjects(session: "Session", pictures: list[SubjectPictures]) -> "Identity":
    """Return the identity of the one subject that all `pictures` show."""
    if pictures[0].named is not None:
        log_library_subjects([pictures[0].named])
        return session.named(pictures[0].named.word)
    only = pictures[0].picture
    if isinstance(only, Path):
        return session.load_identity(only)
    return session.encode_identity(
        [picture.picture for picture in pictures],
        masks=[picture.mask for picture in pictures],
        cutout=[picture.cutout for picture in pictures],
    )


def with_cutouts(
    subjects: list[list[SubjectPictures]], cutouts: list[str] | None
) -> list[list[SubjectPictures]]:
    """Return the pictures of each subject with their --cutout: one for all, or one each.

    Raises:
        ConfigError: The numbers differ, or there is no picture to cut out.
        InputError: A value cannot be read.
    """
    from swiftpie.models.cutout import parse_search

    if not cutouts:
        return subjects
    open_ones = [picture for pictures in subjects for picture in pictures if not picture.is_cut]
    with_place = [
        cutout for cutout in cutouts if (search := parse_search(cutout)) is None or search.has_hints
    ]
    if len(cutouts) == 1 and len(open_ones) > 1 and with_place:
        raise ConfigError(
            f"--cutout {with_place[0]} came with {len(open_ones)} pictures, and one place does "
            "not fit all. Give as many --cutout as pictures, auto for those that need none."
        )
    if not open_ones or len(cutouts) not in {1, len(open_ones)}:
        raise ConfigError(
            f"{len(cutouts)} --cutout came with {len(open_ones)} pictures to cut out; identity "
            "files and the library are cut out already. Give one for all, or one a picture, in "
            "their order."
        )
    each = iter(cutouts * len(open_ones) if len(cutouts) == 1 else cutouts)
    changed = [
        [picture if picture.is_cut else _cut_as(picture, next(each)) for picture in pictures]
        for pictures in subjects
    ]
    if changed == subjects and set(cutouts) != {"auto"}:
        raise ConfigError(
            f"--cutout {cutouts[0]} has no effect, as every picture came with its mask. Leave one "
            "of them out."
        )
    return changed


def _cut_as(picture: SubjectPictures, way: str) -> SubjectPictures:
    from swiftpie.imageio.cutout import CutoutMethod
    from swiftpie.models import rembg
    from swiftpie.models.cutout import parse_search

    if picture.mask is not None:
        return picture  # its own mask wins
    search = parse_search(way)
    if search is None:
        return picture._replace(mask=read_picture(way))
    if search.way is CutoutMethod.REMBG:
        rembg.locate(search.model)  # reports a mistake before a model is loaded
    return picture._replace(cutout=way)


def named_facts(named: "Sequence[Named]") -> dict[str, Any]:
    """Return the subjects of the library in a picture, for JSON; nothing without any."""
    return {"named": [subject._asdict() for subject in named]} if named else {}


def cutout_facts(cutouts: "tuple[tuple[Cutout, ...], ...]") -> list[list[dict[str, Any]]]:
    """Return how the pictures of each subject were cut out, for JSON."""
    return [[picture._asdict() for picture in pictures] for pictures in cutouts]


def read_picture(name: str) -> str | bytes:
    """Return the content of standard input for `-`, else the name; check that it is a picture."""
    from swiftpie.imageio.decoding import open_image, read_bytes

    given = read_bytes(sys.stdin.buffer) if name == STREAM else name
    open_image(given)
    return given
