"""The person of --face: found before anything is loaded, then encoded by the networks."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

from swiftpie.backbones.choices import Choices, LoadOptions
from swiftpie.backbones.presets import RECIPES, Recipe
from swiftpie.cli import console, options
from swiftpie.cli.drawing.subjects import read_picture
from swiftpie.cli.loading import LoadedSession, confirm_download, open_session, plan_downloads
from swiftpie.errors import ConfigError, check_exclusive
from swiftpie.faces import FaceSettings, FaceSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.engine.session import Session
    from swiftpie.faces import FaceEncoder
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.types import Identity

PUBLISHED_WITH = "insightface"

FaceOf = Annotated[FaceSource, options.FieldOptions(FaceSource)]
Recogniser = Annotated[FaceSettings, options.FieldOptions(FaceSettings, ("encoder", "face_models"))]


class Person(NamedTuple):
    """The person whose face is drawn."""

    chosen: "ChosenFace"
    encoder: "FaceEncoder"
    agreed: "DownloadPlan"  # what the networks need, if the user agreed to it


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
                f"--face-number {source.face_number} came without --face, the photograph that it "
                "is about. Add --face, or leave it out."
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
) -> "tuple[FaceSettings, DownloadPlan]":
    """Return the settings with the recipe's encoder and all files, downloaded if the user agrees.

    One question covers the files of encoders and of the networks. The second value is what the
    networks need, to be downloaded once a face is found; it is empty if there was no question.

    Raises:
        ConfigError: Files are missing and there is no terminal for the question.
    """
    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.backbones.sources import fetched, plan_faces, with_files

    settings = replace(settings, encoder=settings.encoder or encoder_of(loading))
    offline: Choices = {"offline": loading.get("offline", False)}
    faces, agreed = plan_faces(fetched(settings), offline), DownloadPlan()
    if faces.bytes_left:
        agreed = plan_downloads(loading)
        confirm_download(faces + agreed, yes=loading.get("yes", False))
    return with_files(settings, offline), agreed


def encoder_of(loading: LoadOptions) -> str | None:
    """Return the face encoder of the chosen recipe; None if there is none."""
    recipe = loading.get("recipe")
    if isinstance(recipe, str):
        recipe = RECIPES.get(recipe)
    return recipe.face_encoder if isinstance(recipe, Recipe) else None


def choose_in(encoder: "FaceEncoder", source: FaceSource) -> "ChosenFace":
    """Return the face of a photograph, and report what there is to know about it."""
    from swiftpie.faces.choose import choose_face, find_faces
    from swiftpie.imageio.decoding import load_image

    found = find_faces(encoder, load_image(read_picture(source.face)))
    chosen = choose_face(found, number=source.face_number, name=source.face)
    for note in chosen.notes:
        console.say(f"{source.face}: {console.in_options(note)}")
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
