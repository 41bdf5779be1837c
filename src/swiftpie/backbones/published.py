"""Whether what recipes name is still published as this version of SwiftPie knows it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from swiftpie.backbones import licences
from swiftpie.backbones.hub import (
    Host,
    RemoteFile,
    RepoListing,
    RepoReference,
    is_unreachable,
    list_files,
    transport_error,
)
from swiftpie.backbones.presets import PINS, PRESETS, RECIPES
from swiftpie.errors import ConfigError, WeightsError, did_you_mean, short_reason
from swiftpie.faces import FACE_ENCODERS

MAX_READ_BYTES = 10_000_000  # of a small file, of which the hub lists no sha256


class PlaceCheck(NamedTuple):
    """What was compared of one published place."""

    place: RepoReference
    names: tuple[str, ...]  # recipes and presets that take it
    num_files: int = 0
    num_hashes: int = 0
    licence: str = ""  # as the repository states it now
    differences: tuple[str, ...] = ()  # a sentence with its remedy each

    @property
    def verdict(self) -> str:
        """Say in a few words what was found."""
        if self.differences:
            return "DIFFERENT"
        if self.place.host is Host.GITHUB:
            return "by hand"  # an archive, whose files no page lists
        return "as known" if self.place.revision else "not pinned"


def known_files() -> dict[str, Any]:
    """Return the files of `repositories` and `releases`, as public sources state them."""
    text = files("swiftpie.backbones").joinpath("published.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def check_published(
    names: Sequence[str] = (), *, on_place: Callable[[PlaceCheck], None] = lambda _: None
) -> list[PlaceCheck]:
    """Compare every place that recipes or presets name with what its publisher lists now.

    Args:
        names: Recipes or presets; by default all recipes.
        on_place: Called after each place.

    Raises:
        ConfigError: There is no such recipe or preset.
        WeightsError: The hub cannot be reached.
    """
    places: dict[RepoReference, list[str]] = {}
    for name in names or RECIPES.names():
        for place in _places_of(name):
            places.setdefault(place, []).append(name)
    known, found = known_files()["repositories"], list[PlaceCheck]()
    for place, takers in places.items():
        check = PlaceCheck(place, tuple(takers))
        try:
            check = _with_files(check, known.get(place.repository, {}))
            if place.repository not in {other.place.repository for other in found}:
                check = _with_licence(check)
        except (OSError, transport_error()) as error:
            reason = short_reason(error).rstrip(".")
            if is_unreachable(error):
                raise WeightsError(
                    f"The hub cannot be reached: {reason}. What is known is compared with what "
                    "the hub lists. Connect this machine, or unset HF_HUB_OFFLINE."
                ) from error
            advice = "Look whether it has moved, and name its new place in the recipe."
            gone = f"'{place}' is not offered: {reason}. {advice}"
            check = check._replace(differences=(gone,))
        on_place(check)
        found.append(check)
    return found


def _places_of(name: str) -> Iterator[RepoReference]:
    """Yield what a recipe or a preset takes from others."""
    if name in RECIPES.names():
        recipe = RECIPES.get(name)
        yield from recipe.references.values()
        for file in FACE_ENCODERS.get(recipe.face_encoder).files if recipe.face_encoder else ():
            if file.repository:
                revision = PINS.get(file.repository)
                yield RepoReference(file.repository, file.name, revision)
    elif name in PRESETS.names():
        preset = PRESETS.get(name)
        if preset.repository:
            yield RepoReference(preset.repository, preset.file, PINS.get(preset.repository))
        if preset.base:
            yield RepoReference(preset.base, None, PINS.get(preset.base))
    else:
        known = [*RECIPES.names(), *PRESETS.names()]
        advice = did_you_mean(name, known, otherwise="See `swiftpie recipes`.")
        raise ConfigError(f"{name!r} is neither a recipe nor a preset. {advice}")


def _with_files(check: PlaceCheck, known: Mapping[str, Any]) -> PlaceCheck:
    """Compare the files of a place."""
    place = check.place
    if place.host is Host.GITHUB:
        return check
    listing = list_files(place)
    expected = _expected(place, known if known.get("revision") == listing.revision else {})
    differences = []
    for path, facts in expected.items():
        try:
            file = listing.find(path)
        except WeightsError as error:
            differences.append(str(error))
            continue
        differences += _differences(listing, file, facts)
    hashes = sum(facts["sha256"] is not None for facts in expected.values())
    return check._replace(
        num_files=len(expected), num_hashes=hashes, differences=tuple(differences)
    )


def _expected(place: RepoReference, known: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the known sizes and sha256 of the files in a place, by their paths."""
    listed: dict[str, dict[str, Any]] = known.get("files", {})
    if place.is_file:
        path = place.path or ""
        return {path: listed.get(path, {"size": None, "sha256": None})}
    below = "" if place.path is None else f"{place.path}/"
    return {path: facts for path, facts in listed.items() if path.startswith(below)}


def _differences(listing: RepoListing, file: RemoteFile, facts: Mapping[str, Any]) -> list[str]:
    """Return how a file differs from what is known of it."""
    where = f"'{file.path}' in {listing.repository!r} at {listing.revision[:12]}"
    advice = "Draw with it by `swiftpie verify`, then renew published.json."
    if facts["size"] not in (None, file.size):
        return [f"{where} has {file.size} bytes, and {facts['size']} are known. {advice}"]
    sha256 = file.sha256
    if sha256 is None and facts["sha256"] is not None and file.size <= MAX_READ_BYTES:
        sha256 = hashlib.sha256(_read(listing, file.path)).hexdigest()
    if facts["sha256"] not in (None, sha256):
        known, found = facts["sha256"][:12], str(sha256)[:12]
        return [f"{where} has the sha256 {found}…, and {known}… is known. {advice}"]
    return []


def _with_licence(check: PlaceCheck) -> PlaceCheck:
    """Compare card and LICENSE of the newest commit with what is known of a repository."""
    repository, known = check.place.repository, licences.terms_at(check.place.repository)
    if check.place.host is Host.GITHUB:
        return check._replace(licence=known.licence if known else "")
    listing = list_files(RepoReference(repository))
    stated = {"card": listing.licence} if listing.licence else {}
    for path in listing.files:
        if path.upper().startswith("LICENSE"):
            text = _read(listing, path).decode(errors="replace")
            stated[path] = licences.licence_in(text) or "other"
    changes = [
        f"{repository!r} states the licence {licence!r} in its {where}, and `swiftpie licenses` "
        f"says {known.licence!r}. Read it, and correct the licence in SwiftPie."
        for where, licence in stated.items()
        if known is not None and licences.contradicts(licence, known)
    ]
    said = "; ".join(f"{licence} ({where})" for where, licence in stated.items())
    return check._replace(licence=said or "not stated", differences=(*check.differences, *changes))


def _read(listing: RepoListing, path: str) -> bytes:
    """Return a small file, which stays out of the cache."""
    from huggingface_hub import hf_hub_download

    with TemporaryDirectory() as folder:
        place = hf_hub_download(
            listing.repository,
            path,
            revision=listing.revision,
            local_dir=folder,
            library_name="swiftpie",
        )
        return Path(place).read_bytes()
