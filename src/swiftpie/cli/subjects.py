"""Subjects, pictures and persons as arguments of commands, read and checked."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from swiftpie.backbones.choices import Choices, LoadOptions
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.presets import RECIPES, Recipe
from swiftpie.backbones.sources import fetched, plan_files, with_files
from swiftpie.cli import console, options
from swiftpie.cli.loading import LoadedSession, confirm_download, open_session, plan_downloads
from swiftpie.errors import ConfigError, check_exclusive
from swiftpie.faces import FaceSettings, FaceSource
from swiftpie.library import NAME, named_by
from swiftpie.pipelines.request import IdentityRef, Pictures
from swiftpie.remedies import Tongue, spelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftpie.engine.session import Session
    from swiftpie.faces import FaceEncoder
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.pipelines.request import Source
    from swiftpie.types import Identity

PUBLISHED_WITH = "insightface"

FaceOf = Annotated[FaceSource, options.FieldOptions(FaceSource)]
Recogniser = Annotated[FaceSettings, options.FieldOptions(FaceSettings, ("encoder", "face_models"))]


def read_source(texts: list[str]) -> "Source":
    """Return what SUBJECT arguments show, with every header read, so that mistakes show at once."""
    from swiftpie.imageio.decoding import is_safetensors

    words = [text for text in texts if not options.is_file(text) and NAME.fullmatch(text)]
    if len(words) > 1:
        raise ConfigError(
            f"'{' '.join(words)}' is {len(words)} words and no file. Put a sentence into quotes, "
            'as in "a dog on a beach", and give each further subject by --also.'
        )
    named = [known for text in words if (known := named_by(text))]
    if named and len(texts) > 1:
        raise ConfigError(
            f"The name {named[0].word!r} cannot be combined with pictures: it is a whole subject. "
            "Give it alone, and further subjects by --also."
        )
    if named:
        return named[0]
    if any(is_safetensors(text) for text in texts):
        if len(texts) > 1:
            raise ConfigError(
                "An identity file cannot be combined with pictures: it is a whole subject. Give "
                "it alone, or encode all pictures again."
            )
        return IdentityRef(Path(texts[0]))
    return Pictures(tuple(read_picture(text) for text in texts))


def with_cutouts(sources: "list[Source]", cutouts: list[str] | None) -> "list[Source]":
    """Return subjects with the --cutout of their pictures: one for all, or one each."""
    from swiftpie.photo.search import parse_search

    if not cutouts:
        return sources
    count = sum(len(source.images) for source in sources if isinstance(source, Pictures))
    with_place = [
        cutout for cutout in cutouts if (search := parse_search(cutout)) is None or search.has_hints
    ]
    if len(cutouts) == 1 and count > 1 and with_place:
        raise ConfigError(
            f"--cutout {with_place[0]} cannot be combined with {count} pictures: one place does "
            "not fit all. Give one --cutout for each picture, auto for those that need none."
        )
    if not count or len(cutouts) not in {1, count}:
        raise ConfigError(
            f"{len(cutouts)} --cutout cannot be combined with {count} pictures to cut out: "
            "identity files and the library are cut out already. Give one for all, or one for each "
            "picture."
        )
    each = iter(cutouts * count if len(cutouts) == 1 else cutouts)
    return [
        _cut_by(source, [next(each) for _ in source.images])
        if isinstance(source, Pictures)
        else source
        for source in sources
    ]


def _cut_by(source: "Pictures", cutouts: list[str]) -> "Pictures":
    """Return pictures with the values of --cutout, of which some are files of masks."""
    from swiftpie.photo.search import parse_search

    masks = tuple(read_picture(text) if parse_search(text) is None else None for text in cutouts)
    pairs = zip(cutouts, masks, strict=True)
    methods = tuple(text if mask is None else "auto" for text, mask in pairs)
    return replace(source, masks=masks, cutouts=methods if set(methods) != {"auto"} else ("auto",))


def read_picture(name: str) -> Path | bytes:
    """Return the content of standard input for `-`, else the path; check that it is a picture."""
    from swiftpie.imageio.decoding import open_image, read_bytes

    given = read_bytes(sys.stdin.buffer) if name == options.STREAM else name
    open_image(given)
    return given if isinstance(given, bytes) else Path(given)


class Person(NamedTuple):
    """The person whose face is drawn."""

    chosen: "ChosenFace"
    encoder: "FaceEncoder"
    agreed: "DownloadList"  # what the networks need, if the user agreed to it


def read_person(
    source: FaceSource,
    settings: FaceSettings,
    loading: LoadOptions,
    *,
    others: "Sequence[str] | None",  # subjects that are given as well
    flag: str,  # by which
) -> Person | None:
    """Return the person of --face, found before anything is loaded; None without one."""
    if not source.face:
        if source.face_number is not None:
            raise ConfigError(
                f"--face-number {source.face_number} needs --face: it counts the faces of that "
                "photograph. Add --face, or leave it out."
            )
        return None
    check_exclusive({"--face": source.face, flag: others})
    settings, agreed = with_face_files(settings, loading)
    encoder = settings.open()
    return Person(choose_in(encoder, source), encoder, agreed)


def open_with(
    person: Person | None, loading: LoadOptions
) -> "tuple[LoadedSession, Identity | None]":
    """Load the networks; return them with the identity of the person, if there is one."""
    if person is None:
        return open_session(**loading), None
    person.agreed.fetch()
    loaded = open_session(**loading)
    warn_of_strange_vectors(loaded.session, person.encoder)
    identity = loaded.session.encode_face(person.chosen)
    session = loaded.session.with_face_encoder(person.encoder)  # finds the face that changes
    return loaded._replace(session=session), identity


def with_face_files(
    settings: FaceSettings, loading: LoadOptions
) -> "tuple[FaceSettings, DownloadList]":
    """Return the settings with the recipe's encoder and all files, downloaded if the user agrees.

    One question covers the files of encoders and of the networks. The second value is what the
    networks need, to be downloaded once a face is found; it is empty if there was no question.

    Raises:
        ConfigError: Files are missing and there is no terminal for the question.
    """
    settings = replace(settings, encoder=settings.encoder or encoder_of(loading))
    offline: Choices = {
        "offline": loading.get("offline", False),
        "commercial_only": loading.get("commercial_only", False),
    }
    faces, agreed = plan_files(fetched(settings), offline), DownloadList()
    if faces.bytes_left:
        agreed = plan_downloads(loading)
        confirm_download(faces + agreed, yes=loading.get("yes", False))
    return with_files(settings, offline), agreed


def encoder_of(loading: LoadOptions) -> str | None:
    recipe = loading.get("recipe")
    if isinstance(recipe, str):
        recipe = RECIPES.get(recipe)
    return recipe.face_encoder if isinstance(recipe, Recipe) else None


def choose_in(encoder: "FaceEncoder", source: FaceSource) -> "ChosenFace":
    from swiftpie.faces.choose import choose_face, find_faces
    from swiftpie.imageio.decoding import load_image

    found = find_faces(encoder, load_image(read_picture(source.face)))
    chosen = choose_face(found, number=source.face_number, name=source.face)
    for note in chosen.notes:
        console.say(f"{source.face}: {spelled(note, Tongue.COMMANDS)}")
    return chosen


def warn_of_strange_vectors(session: "Session", encoder: "FaceEncoder") -> None:
    """Warn that an adapter may have been trained with the vectors of another encoder."""
    from swiftpie.models.vision import FaceIdentityEncoder

    reads_vectors = isinstance(session.components.image_encoder, FaceIdentityEncoder)
    if reads_vectors and encoder.name != PUBLISHED_WITH:
        console.say(
            f"This adapter reads face vectors of the encoder that it was trained with: "
            f"{PUBLISHED_WITH} for the published FaceID files. With vectors of {encoder.name} it "
            "draws another person, unless it was trained with them."
        )
