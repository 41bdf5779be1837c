"""Licences of weights and data, as their publishers state them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, NamedTuple

from swiftpie.backbones.hub import FACTS, RepoReference
from swiftpie.backbones.presets import PLACES, PRESETS, RECIPES, Preset, Recipe
from swiftpie.errors import ConfigError
from swiftpie.faces import FACE_ENCODERS, ModelFile
from swiftpie.photo.networks import NETWORKS


class LicenceTerms(NamedTuple):
    """The licence of one loaded part."""

    part: str
    name: str
    licence: str
    is_commercial: bool | None  # None: it depends; ask the publisher


YOURS = "the licence of the file you bring"
RELEASE = "Qualcomm-AI-research/SwiftEdit"
COMMERCE: Mapping[str, bool | None] = MappingProxyType(
    dict.fromkeys(("apache-2.0", "mit", "creativeml-openrail-m", "openrail++"), True)
    | dict.fromkeys(("sai-nc-community", "cc-by-nc-4.0"), False)
)
"""Whether a licence, spelled as on model cards, allows commercial use. For others it depends."""
UNSTATED = ("other", "unknown")  # what cards say in place of a licence
TERMS = {name: LicenceTerms(*terms) for name, terms in FACTS["licences"].items()}
"""By repository, what no preset has: adapters, autoencoders, and pipelines that presets borrow."""
ADAPTER, FACE_ADAPTER = TERMS["h94/IP-Adapter"], TERMS["h94/IP-Adapter-FaceID"]
IMAGE_ENCODER = TERMS.pop("image encoder")


def everything() -> list[LicenceTerms]:
    """Return the terms of all presets, their bases, adapters, encoders, cut-out and judges."""
    presets = map(preset_terms, PRESETS.names())
    encoders = map(file_terms, file_names())
    others = [LicenceTerms(*terms) for terms in FACTS["further_licences"]]
    adapters = (ADAPTER, FACE_ADAPTER, IMAGE_ENCODER)
    return list(dict.fromkeys(chain(*presets, *encoders, adapters, others)))


def terms_at(repository: str) -> LicenceTerms | None:
    return _known_terms().get(repository)


@cache
def _known_terms() -> Mapping[str, LicenceTerms]:
    known = dict(TERMS)
    for preset in PRESETS.all().values():
        known[preset.repository or ""] = preset_terms(preset.name)[0]
    for name in file_names():
        for file, terms in zip(files_of(name), file_terms(name), strict=True):
            known[file.repository or ""] = terms._replace(name=file.name)
    return known


def licence_of(reference: RepoReference, stated: str | None) -> str | None:
    """Return the licence of what a repository holds: as we know it, or the card's if stricter."""
    known = terms_at(reference.repository)
    if known is None:
        return stated
    return stated if stated and is_stricter(stated, known) else known.licence


def is_stricter(licence: str, known: LicenceTerms) -> bool:
    """Whether a licence that a repository states allows less than what we know of it."""
    if licence.lower() in UNSTATED:
        return False
    order = (True, None, False)
    return order.index(COMMERCE.get(licence.lower())) > order.index(known.is_commercial)


def preset_terms(name: str) -> list[LicenceTerms]:
    """Return the terms of a preset's weights and of the networks that it borrows."""
    preset = PRESETS.get(name)
    found = [LicenceTerms("preset", preset.name, preset.licence, preset.is_commercial)]
    if preset.base is not None:
        found.append(TERMS.get(preset.base, LicenceTerms("base", preset.base, YOURS, None)))
    return found


def recipe_terms(recipe: Recipe) -> list[LicenceTerms]:
    """Return the terms of all parts of a recipe; for unknown publishers, `YOURS`."""
    published, found = recipe.references, preset_terms(recipe.preset)
    if recipe.adapter is not None:
        found.append(_adapter_at(published.get("adapter"), recipe.adapter))
        found.append(IMAGE_ENCODER)
    if recipe.inversion is not None:
        found.append(_adapter_at(published.get("inversion"), recipe.inversion, "inversion"))
    for part in ("autoencoder", "reference"):
        if (chosen := getattr(recipe, part)) is not None:
            place = published.get(part)
            known = None if place is None else terms_at(place.repository)
            licence = LicenceTerms(part, chosen, YOURS, None) if known is None else known
            name = chosen if place is None else place.repository
            found.append(licence._replace(part=part, name=name))
    if recipe.face_encoder is not None:
        found += file_terms(recipe.face_encoder)
    return found


def check_commercial(
    preset: Preset | None, choices: Mapping[str, Any], *, files: Iterable[str] = ()
) -> None:
    """Raise ConfigError for parts that `commercial_only` excludes; files on this machine pass."""
    if not choices.get("commercial_only"):
        return
    parts = [term for name in files for term in file_terms(name)]
    own = set[str]()
    if preset is not None:
        places = {name: str(choices[name]) for name in PLACES if choices.get(name) is not None}
        loaded = Recipe(name="", summary="", preset=preset.name)
        loaded = replace(loaded, **places)  # type: ignore[arg-type]  # all are text
        parts += recipe_terms(loaded)
        own = places.keys() - loaded.references.keys()
    refused = [
        part
        for part in parts
        if part.is_commercial is not True and not (part.licence == YOURS and part.part in own)
    ]
    if refused:
        listed = "; ".join(f"{part.part} {part.name!r}: {part.licence}" for part in refused)
        # Most files that are loaded under a preset are its weights, or were trained from them.
        mine = (
            "Your `weights=` count as the preset's; load those of another licence under a preset "
        )
        mine = f" {mine}that allows it, or without the switch." * ("weights" in own)
        free = [name for name, recipe in RECIPES.all().items() if is_free(recipe_terms(recipe))]
        remedy = f"Take the preset mini or one of the recipes {', '.join(free)}.{mine}"
        raise ConfigError(
            "`commercial_only` was asked for, and commercial use is forbidden or has conditions "
            f"for {listed}. {remedy if preset else 'Take another, or ask its publisher.'}"
        )


def is_free(parts: Iterable[LicenceTerms]) -> bool:
    """Whether all parts may be used commercially without conditions."""
    return all(part.is_commercial is True for part in parts)


def _adapter_at(place: RepoReference | None, name: str, part: str = "adapter") -> LicenceTerms:
    if place is None or place.path is None:
        return LicenceTerms(part, name, YOURS, None)
    if place.repository == RELEASE:
        return TERMS[RELEASE]._replace(part=part)
    name = PurePath(place.path).name
    if name.lower().startswith("ip-adapter-faceid"):
        return FACE_ADAPTER._replace(name=name)
    if name.lower().startswith("ip-adapter"):
        return ADAPTER._replace(name=name)
    return LicenceTerms("adapter", name, YOURS, None)


def file_names() -> tuple[str, ...]:
    """Return the names of face encoders and of networks for photographs."""
    return (*FACE_ENCODERS.names(), *NETWORKS)


def files_of(name: str) -> tuple[ModelFile, ...]:
    return NETWORKS[name].files if name in NETWORKS else FACE_ENCODERS.get(name).files


def file_terms(name: str) -> list[LicenceTerms]:
    part = "network" if name in NETWORKS else "face encoder"
    return [
        LicenceTerms(part, f"{name}: {file.name}", file.licence, file.is_commercial)
        for file in files_of(name)
    ]
