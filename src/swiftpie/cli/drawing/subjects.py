"""Subjects and pictures as arguments of commands, read and checked."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftpie.cli.options import STREAM, is_file
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from swiftpie.pipelines.request import Pictures, Source


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


def read_source(texts: list[str]) -> "Source":
    """Return what SUBJECT arguments show, with every header read, so that mistakes show at once."""
    from swiftpie.imageio.decoding import is_safetensors
    from swiftpie.library import NAME, named_by
    from swiftpie.pipelines.request import IdentityRef, Pictures

    words = [text for text in texts if not is_file(text) and NAME.fullmatch(text)]
    if len(words) > 1:
        raise ConfigError(
            f"'{' '.join(words)}' is {len(words)} words and no file. Put a sentence into quotes, "
            'as in "a dog on a beach", and give each further subject by --also.'
        )
    named = [known for text in words if (known := named_by(text))]
    if named and len(texts) > 1:
        raise ConfigError(
            f"The name {named[0].word!r} came with other pictures, and is a whole subject. "
            "Give it alone, and further subjects with --also."
        )
    if named:
        return named[0]
    paths = [split_subject(text) for text in texts]
    if any(is_safetensors(picture) for picture, _ in paths):
        if len(paths) > 1 or paths[0][1] is not None:
            raise ConfigError(
                "An identity file came with other pictures or a mask. It already is a whole "
                "subject. Give it alone, or encode all pictures again."
            )
        return IdentityRef(Path(paths[0][0]))
    return Pictures(
        tuple(read_picture(picture) for picture, _ in paths),
        tuple(None if mask is None else read_picture(mask) for _, mask in paths),
    )


def with_cutouts(sources: "list[Source]", cutouts: list[str] | None) -> "list[Source]":
    """Return subjects with the --cutout of their pictures: one for all, or one each."""
    from swiftpie.models.cutout import parse_search
    from swiftpie.pipelines.request import Pictures

    if not cutouts:
        return sources
    count = sum(len(source.images) for source in sources if isinstance(source, Pictures))
    with_place = [
        cutout for cutout in cutouts if (search := parse_search(cutout)) is None or search.has_hints
    ]
    if len(cutouts) == 1 and count > 1 and with_place:
        raise ConfigError(
            f"--cutout {with_place[0]} came with {count} pictures, and one place does not fit all. "
            "Give as many --cutout as pictures, auto for those that need none."
        )
    if not count or len(cutouts) not in {1, count}:
        raise ConfigError(
            f"{len(cutouts)} --cutout came with {count} pictures to cut out; identity files and "
            "the library are cut out already. Give one for all, or one a picture, in their order."
        )
    each = iter(cutouts * count if len(cutouts) == 1 else cutouts)
    changed = [
        _cut_by(source, [next(each) for _ in source.images])
        if isinstance(source, Pictures)
        else source
        for source in sources
    ]
    if changed == sources and set(cutouts) != {"auto"}:
        raise ConfigError(
            f"--cutout {cutouts[0]} has no effect, as every picture came with its mask. Leave one "
            "of them out."
        )
    return changed


def _cut_by(source: "Pictures", cutouts: list[str]) -> "Pictures":
    """Return pictures with the values of --cutout, where they have no masks of their own."""
    from swiftpie.models.cutout import parse_search

    masks, methods = list(source.masks), ["auto"] * len(cutouts)
    for number, cutout in enumerate(cutouts):
        if masks[number] is not None:
            continue
        if parse_search(cutout) is None:
            masks[number] = read_picture(cutout)
        else:
            methods[number] = cutout
    is_plain = set(methods) == {"auto"}
    return replace(source, masks=tuple(masks), cutouts=("auto",) if is_plain else tuple(methods))


def read_picture(name: str) -> Path | bytes:
    """Return the content of standard input for `-`, else the path; check that it is a picture."""
    from swiftpie.imageio.decoding import open_image, read_bytes

    given = read_bytes(sys.stdin.buffer) if name == STREAM else name
    open_image(given)
    return given if isinstance(given, bytes) else Path(given)
