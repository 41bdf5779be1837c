"""Scenes by name: pictures of places in plain daylight, and the words that name them.

It loads no tensor library.
"""

import base64
import difflib
import io
import json
import struct
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from itertools import chain, dropwhile
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from swiftpie.errors import InputError, did_you_mean
from swiftpie.geometry.ground import Ground
from swiftpie.lexicon import (
    ARTICLES,
    LISTS,
    PREPOSITIONS,
    SETTING_WORDS,
    listed,
    tokens_in,
    words_in,
)
from swiftpie.library import subject_library

ASSETS = Path(__file__).with_name("assets") / "scene"
PACK, INDEX = "scenes.zip", "scenes.json"
PLACES, PLACES_INDEX, PROBES = "places.zip", "places.json", "probes.json"  # photos, facts, light
PHOTOGRAPH_PX = (768, 576)  # width and height
DRAWING_PX = (512, 512)
# Share of summer's green that 95 of 100 winters of the renderer leave at most, as
# `benchmarks.relighting --winter` prints.
MOST_GREEN = 0.26
OPTIONAL = ("summit", "sun", "light", "green")  # facts that some photographs have
SUN = 6  # numbers of a sun at the end of a probe
MOST_ENLARGED = 2.0  # times at which a picture of a place still looks sharp
CREDIT = "Photographs: each with its own author and licence; others drawn by SwiftPie, Apache-2.0"
OWN_PICTURE = "a picture of your own"  # what metadata call a scene that is no name
OF_A_THING, INDOORS, WINTRY, PHOTOS, ADVERBS, BY_PREPOSITION = map(
    listed, ("of_a_thing", "indoors", "wintry", "photos", "adverbs", "by_preposition")
)
OUTDOORS, NEARBY, MOST_BETWEEN = (LISTS[name] for name in ("outdoors", "nearby", "most_between"))
NEIGHBOURS: Mapping[str, str] = LISTS["neighbours"]
USUAL = ("beach", "park", "living room")  # near to words that are like no place
ALIKE = 0.75  # least likeness of two spellings
BACKDROPS = tuple(LISTS["backdrops"])  # or before which
DRAWN = "drawn "  # before the name of a photographed place: its drawing


class NamedPlace(NamedTuple):
    """A place that a prompt names, and which of its words do."""

    name: str
    start: int
    end: int
    head: tuple[str, ...]  # without preposition and article
    is_bare: bool = False  # without a preposition before it


class Scenes:
    """Places by name, each with some pictures. It never changes, so threads may share it."""

    credit = CREDIT

    def __init__(self, pack: Path, photographs: Path, facts: Path) -> None:
        """Open two zip files: drawn places, and `photographs` that `facts` describe.

        Photographs come before drawings of the same place.
        """
        self._pack, self._photographs = zipfile.ZipFile(pack), zipfile.ZipFile(photographs)
        drawn = json.loads(self._pack.read(INDEX))
        photographed = {row["name"]: row for row in json.loads(facts.read_text(encoding="utf-8"))}
        self._grounds = {name: _grounds_of(row) for name, row in photographed.items()}
        self._rows = {row["name"]: {**row, "file": file} for file, row in enumerate(drawn)}
        for name, row in photographed.items():
            self._rows[name] = {"is_known": False, **self._rows.get(name, {}), **row}
        self._heads = {
            name: frozenset(
                map(_head, (name, *row["phrases"], *row["aliases"], *LISTS["called"].get(name, ())))
            )
            for name, row in self._rows.items()
        }
        self._starting = defaultdict[str, list[tuple[str, tuple[str, ...]]]](list)
        for name, heads in self._heads.items():
            for head in heads:
                self._starting[head[0]].append((name, head))
        known = [name for name, row in self._rows.items() if row["is_known"]]
        self._numbers = {name: number for number, name in enumerate(known)}
        self._num_known = len(known)
        both = {f"{DRAWN}{name}": name for name in photographed if "file" in self._rows[name]}
        self._drawn = {drawing: self._rows[name] for drawing, name in both.items()}
        self._numbers |= {name: self.number(both[name]) for name in both}
        self._taught = {_head(words) for name in known for words in self._rows[name]["phrases"]}

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._rows))

    def to_json(self) -> dict[str, Any]:
        """Return what finds places in prompts, as lists, for readers that are not Python."""
        places = [
            {
                "name": name,
                "phrase": str(row["phrases"][0]),
                "heads": sorted(map(list, self._heads.get(name, ()))),
                "drawing": self.drawing_of(name),
                "standIn": row["stand_in"].split(),
                "pictures": self.count(name),
                "isGround": self.is_ground(name),
                "isIndoors": name.removeprefix(DRAWN) in INDOORS,
                "isPhoto": self.is_photographed(name),
                "number": self.number(None if self.is_photographed(name) else name),
            }
            for name, row in (*self._rows.items(), *self._drawn.items())
        ]
        heads = {head for heads in self._heads.values() for head in heads}
        subjects = sorted(" ".join(head) for head in heads if _names_subject(head))
        return {"places": places, "subjects": subjects, "taught": sorted(map(list, self._taught))}

    def number(self, name: str | None) -> int:
        """Return the scene network's number of a place.

        The number behind all others stands for None and for places that it does not know by name.
        """
        return self._numbers.get(name or "", self._num_known)

    def is_photographed(self, name: str) -> bool:
        """Whether the pictures of a place are photographs, and not drawings."""
        return name in self._grounds

    def drawing_of(self, name: str) -> str:
        """Return the name of a drawing of a place, or of one like it; its own name without one."""
        like = str(LISTS["drawn_as"].get(name, name))
        return f"{DRAWN}{like}" if f"{DRAWN}{like}" in self._drawn else like

    def size_of(self, name: str) -> tuple[int, int]:
        """Return width and height in pixels of the pictures of a place."""
        return PHOTOGRAPH_PX if self.is_photographed(name) else DRAWING_PX

    def is_cut(self, name: str, size: tuple[int, int]) -> bool:
        """Whether a picture of width and height cuts the top off what a place shows."""
        whole, grounds = self.size_of(name), self._grounds.get(name, ())
        return any(each.part_shown(size, whole=whole)[1] > each.summit for each in grounds)

    def credits_of(self, name: str) -> list[dict[str, str]]:
        """Return author, title, source and licence of each photograph of a place, in order."""
        return [photograph["credit"] for photograph in self._rows[name].get("photographs", ())]

    def ground(self, name: str, share: float) -> Ground | None:
        """Return the ground of the photograph of a share; None where nothing stands."""
        ground = self.surface(name, share)
        return None if ground is None or not ground.corners else ground

    def surface(self, name: str, share: float) -> Ground | None:
        """Return what `ground` does, also where nothing stands; None for drawings."""
        if not self.is_photographed(name):
            return None
        ground, probe = (
            self._grounds[name][self.variant_number(name, share)],
            self.probe(name, share),
        )
        return ground._replace(is_diffuse=bool(probe) and not any(probe[-SUN:]))

    def share_for(
        self, name: str, share: float, *, is_small: bool, seed: int | None = None
    ) -> float:
        """Return the share that deals one of a place's views for small things, or for others.

        Seeds in a row, as those of several pictures, show the views in turn.
        """
        grounds = self._grounds.get(name, ())
        views = [n for n, ground in enumerate(grounds) if ground.is_near == is_small]
        if not views:
            return share
        chosen = min(int(len(views) * share), len(views) - 1) if seed is None else seed
        return (views[chosen % len(views)] + 0.5) / len(grounds)

    def stays_green(self, name: str, *, is_small: bool) -> bool:
        """Whether winter leaves plants green in a view that `share_for` may deal."""
        views = [ground for ground in self._grounds.get(name, ()) if ground.is_near == is_small]
        return any(ground.green > MOST_GREEN for ground in views or self._grounds.get(name, ()))

    def variant_number(self, name: str, share: float) -> int:
        """Return which picture of a place a share chooses; odd ones of drawings are mirrored."""
        count = self.count(name) * (1 if self.is_photographed(name) else 2)
        return min(int(count * share), count - 1)

    def is_ground(self, name: str) -> bool:
        """Whether subjects stand on the ground of a place, and cast shadows on it."""
        return bool(self._row(name)["is_ground"])

    def count(self, name: str) -> int:
        return len(self._grounds.get(name, ())) or int(self._row(name)["pictures"])

    def _row(self, name: str) -> dict[str, Any]:
        return self._drawn.get(name) or self._rows[name]

    def find(self, word: str) -> str:
        """Return the place with a name, or raise InputError with similar names."""
        if word in self._drawn:
            return word
        wanted = _head(word)
        at = reversed(self._heads.items())  # photographs alone come last
        found = next((name for name, heads in at if wanted in heads), None)
        if found is None and (place := self.place_in(tokens_in(word))) is not None:
            found = place.name
        if found is None:
            names = ", ".join(self.names())
            raise InputError(
                f"There is no scene {word!r}. "
                + did_you_mean(word, self.names(), otherwise=f"There are {names}.")
                + " Any picture of a place is a scene as well: give its file."
            )
        return found

    def near(self, words: str) -> list[str]:
        """Return phrases for the three places that are nearest to what words call a place."""
        said = {*words_in(words)}
        like = [name for name, others in NEIGHBOURS.items() if not said.isdisjoint(others.split())]
        names = {" ".join(head): name for name in self.names() for head in self._heads[name]}
        ranked = difflib.get_close_matches(words, names, n=3, cutoff=ALIKE)
        near = dict.fromkeys((*like, *(names[head] for head in ranked), *USUAL))
        return [self.phrase(name) for name in near][:3]

    def in_known_words(self, prompt: str) -> str:
        """Return a prompt with a place like the named one in words that captions of training have.

        Only the light of the place matters for subjects before a picture of it.
        """
        words = tokens_in(prompt)
        found = self.place_in(words)
        if found is None or found.head in self._taught:
            return prompt
        stand_in = self._rows[found.name]["stand_in"]
        return " ".join((*words[: found.start], stand_in, *words[found.end :]))

    def nouns(self, name: str) -> frozenset[str]:
        """Return the last words of what prompts call a place."""
        return frozenset(head[-1] for head in self._heads[name])

    @cached_property
    def words_of_all(self) -> frozenset[str]:
        """The words that prompts call places by."""
        heads = chain.from_iterable(self._heads.values())
        return frozenset(chain.from_iterable(heads)) - PREPOSITIONS

    def phrase(self, name: str) -> str:
        """Return how captions of training name a place, as "on a beach"."""
        return str(self._rows[name]["phrases"][0])

    def place_in(self, words: Sequence[str]) -> NamedPlace | None:
        """Return the place that the tokens of a prompt name; None if they name none.

        A place stands behind a preposition, with some words between them at most: "in a quiet
        village", not "a village cat". It may stand alone, as in "dog, beach", unless it is the name
        of a subject. Behind "of" or "with" it may be part of a thing, so others win: "a beach with
        trees", "a house with a garden in a park". Then the longest name wins, and snow is a place
        only if there is no other.
        """
        found = []
        starting = (
            (at, *named) for at, word in enumerate(words) for named in self._starting.get(word, ())
        )
        for start, name, head in starting:
            end = start + len(head)
            if tuple(words[start:end]) != head:
                continue
            first = _start_of_phrase(words, start)
            is_bare = first is None or (len(head) == 1 and words[first] == "of")
            is_clear = first is not None and words[first] not in OF_A_THING
            clear = 2 if is_clear else int(first is None)
            rank = (not SETTING_WORDS.issuperset(head), clear, len(" ".join(head)))
            begin = _alone_from(words, start, end) if is_bare else first
            if begin is None and len(head) > 1 and not _names_subject(head):
                begin = start
            if begin is not None:
                found.append((rank, NamedPlace(name, begin, end, head, is_bare)))
        return max(found)[1] if found else None

    def pick_variant(
        self, name: str, share: float, size: tuple[int, int], *, down: float = 0.5
    ) -> "Image.Image":
        """Return a photograph of a place, or a drawing cut to a width and height.

        `share`, uniform in [0, 1], chooses; drawings are also mirrored. `down` says which part of a
        drawing a wide picture shows: 0 the upper one, 1 the lower one.
        """
        number = self.variant_number(name, share)
        if self.is_photographed(name):
            return self.image(name, number)
        # A place is as sharp as one drawn at this size; bicubic makes it 6 % sharper.
        drawing, method = self.image(name, number // 2), Image.Resampling.BILINEAR
        picture = cut_to(drawing, size, shrinks_by=method, down=down)
        return ImageOps.mirror(picture) if number % 2 else picture

    def picture(self, name: str, number: int = 0) -> bytes:
        """Return one picture of a place, as a WebP file."""
        if self.is_photographed(name):
            return self._photographs.read(f"{name}-{number % self.count(name)}.webp")
        return self._pack.read(f"{self._row(name)['file']}-{number % self.count(name)}.webp")

    def cover(self, name: str, share: float) -> "Image.Image | None":
        """Return how many rows above its foot each pixel of a plant stands; None without plants."""
        file = f"{name}-{self.variant_number(name, share)}-cover.webp"
        if not self.is_photographed(name) or file not in self._photographs.NameToInfo:
            return None
        return Image.open(io.BytesIO(self._photographs.read(file))).convert("L")

    def probe(self, name: str, share: float) -> tuple[float, ...]:
        """Return the light at the ground of a photograph of a place, () where it is not known.

        It is a panorama (8, 16, 3) from the zenith down, its middle ahead, in linear light,
        then the way to a sun (right, away, up), and its irradiance.
        """
        probe = self._probes.get(f"{name}-{self.variant_number(name, share)}", "")
        light = base64.b85decode(probe)
        return struct.unpack(f"<{len(light) // 2}e", light)

    @cached_property
    def _probes(self) -> dict[str, str]:
        probes: dict[str, str] = json.loads((ASSETS / PROBES).read_text(encoding="utf-8"))
        return probes

    def image(self, name: str, number: int = 0) -> "Image.Image":
        """Return what `picture` does, decoded."""
        return Image.open(io.BytesIO(self.picture(name, number))).convert("RGB")


def _head(phrase: str) -> tuple[str, ...]:
    """Return the words of a phrase behind its prepositions and articles."""
    words = words_in(phrase)
    noun = [*dropwhile((PREPOSITIONS | ARTICLES).__contains__, words)]
    is_clear = len(noun) > 1 or not BY_PREPOSITION.intersection(noun)
    return tuple(noun if is_clear else words)


def _start_of_phrase(words: Sequence[str], start: int) -> int | None:
    """Return where the first of the prepositions before a place stands; None without one."""
    if words[start] in ADVERBS | PREPOSITIONS:
        return start
    first = None
    for place in range(start - 1, -1, -1):
        word = words[place]
        if word in PREPOSITIONS:
            first = place
        elif first is not None:
            if word not in ARTICLES:
                break
        elif place < start - MOST_BETWEEN or word in {"and", ","} or word.endswith("ing"):
            break
    return first


def _alone_from(words: Sequence[str], start: int, end: int) -> int | None:
    """Return where the phrase begins of a place that stands alone, as in "a wide beach at night".

    None if other words than those for a setting follow, or if it names a subject of the library.
    That names a place only behind a comma: "dog, castle".
    """
    after = words[end] if end < len(words) else ","
    if after not in PREPOSITIONS | SETTING_WORDS | {",", "and"}:
        return None
    first = start
    while first and words[first - 1] not in {",", "and", "of"}:
        first -= 1
        if start - first > MOST_BETWEEN or words[first] in PREPOSITIONS:
            return None
    before = words[first - 1] if first else ""
    if before == "of" and words[first - 2] not in PHOTOS:
        return None
    return None if before != "," and _names_subject(words[start:end]) else first


def _names_subject(words: Sequence[str]) -> bool:
    library, text = subject_library(), " ".join(words)
    return library.meant_by(text) is not None and not library.is_plural(text)


def cut_to(
    picture: "Image.Image",
    size: tuple[int, int],
    *,
    shrinks_by: "Image.Resampling | None" = None,
    down: float = 0.5,
) -> "Image.Image":
    """Return the middle of a picture in width and height, RGB, resampled by bicubic by default."""
    is_larger = picture.width > size[0] and picture.height > size[1]
    method = shrinks_by if is_larger else None
    method = method or Image.Resampling.BICUBIC
    return ImageOps.fit(picture.convert("RGB"), size, method, centering=(0.5, down))


def _grounds_of(row: Mapping[str, Any]) -> tuple[Ground, ...]:
    grounds = []
    for photograph in row["photographs"]:
        corners = tuple((x, y) for x, y in photograph["ground"])
        first, second = ((y, metre) for y, metre in photograph["metre"])
        more = {key: photograph[key] for key in OPTIONAL if key in photograph}
        grounds.append(Ground(corners, (first, second), photograph["is_near"], **more))
    return tuple(grounds)


@cache
def scene_library() -> Scenes:
    return Scenes(ASSETS / PACK, ASSETS / PLACES, ASSETS / PLACES_INDEX)
