"""Subjects by name: what the package holds, and the search among it."""

import difflib
import io
import json
import logging
import re
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swiftpie.errors import UnknownSubjectError, short_reason

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets" / "library"
PACK, INDEX, LICENCE = "subjects.zip", "subjects.json", "LICENSE.txt"
CREDIT = "Fluent Emoji by Microsoft, packed by LobeHub, names by emojibase; MIT License"
NUM_NEAR = 5  # names that are offered
LEAST_LIKENESS = 0.8  # The least likeness of a misspelt name.
SHORT = 3  # letters of words whose slips are swapped letters alone
FACES = 0  # the group of round yellow faces, which are rarely meant
HISSING = ("s", "x", "z", "ch", "sh", "o")  # ends of words whose plural ends in "es"
NAME = re.compile(r"[^\W_][\w '-]*")  # what may be a name, and hardly a file's


class Entry(NamedTuple):
    """A subject of the library."""

    name: str
    code: str  # names its sprite
    group: int  # A group of emojibase.
    synonyms: tuple[str, ...] = ()  # what it has to do with, by which a search finds it
    meant: tuple[str, ...] = ()  # what people call it as well

    @property
    def words(self) -> tuple[str, ...]:
        """All words besides its name that find it."""
        return tuple(dict.fromkeys((*self.meant, *self.synonyms)))


class Named(NamedTuple):
    """The subject that a word means."""

    word: str  # as written
    name: str  # A name in the library.
    near: tuple[str, ...]  # others that the word may mean

    def __str__(self) -> str:
        return self.name if self.word == self.name else f"{self.name} (for {self.word!r})"


def log_named(subjects: Iterable[Named]) -> None:
    """Log which subject of the library stands for which word."""
    for subject in dict.fromkeys(subjects):
        suggestions = f"; near: {', '.join(subject.near)}" if subject.near else ""
        name = "" if subject.word == subject.name else f" as {subject.name!r}"
        logger.info("%r is drawn from the library%s%s.", subject.word, name, suggestions)


class Library:
    """Subjects by name, each with a picture. It never changes, so threads may share it."""

    def __init__(self, entries: Iterable[Entry], pack: Path) -> None:
        """Take `entries`, whose sprites are in the zip file `pack`."""
        self.entries = tuple(sorted(entries))
        self._pack = pack

    def __len__(self) -> int:
        return len(self.entries)

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(entry.name for entry in self.entries)

    def find(self, word: str) -> Named:
        """Return the subject that a name, a synonym or a plural means.

        Raises:
            UnknownSubjectError: There is none; the message offers similar names.
        """
        subject = self.meant_by(word)
        if subject is None:
            suggestions = self.near(word)
            similar = f" Spelled alike: {', '.join(suggestions)}." if suggestions else ""
            raise UnknownSubjectError(
                f"The library has no subject called {short_reason(word)!r}.{similar}",
                word=word,
                near=suggestions,
            )
        return subject

    def meant_by(self, word: str) -> Named | None:
        """Return what `find` does, or None."""
        entry = next((self._meant[key] for key in _keys(word) if key in self._meant), None)
        return None if entry is None else Named(word, entry.name, self.near(word, but=entry.name))

    def is_plural(self, word: str) -> bool:
        """Whether a word finds a subject as a plural alone."""
        return self.meant_by(word) is not None and _key(word) not in self._meant

    def near(self, word: str, *, but: str = "") -> tuple[str, ...]:
        """Return names that have to do with `word`; never the name `but`.

        For an unknown word, they are those that it may be a slip of the pen for.
        """
        key = _key(word)
        if but:
            found = [entry.name for other in _keys(word) for entry in self._tagged.get(other, ())]
        else:
            alike = difflib.get_close_matches(key, self._meant, NUM_NEAR, LEAST_LIKENESS)
            if len(key) <= SHORT:
                alike = [known for known in self._meant if sorted(known) == sorted(key)]
            found = [self._meant[known].name for known in alike if known[0] == key[0]]
            if not found and " " in word.strip():
                return self.near(word.split()[-1])
        return tuple(dict.fromkeys(name for name in found if name != but))[:NUM_NEAR]

    def matching(self, query: str) -> tuple[str, ...]:
        """Return the names that a query finds: who is meant first, then all that are near."""
        if not query:
            return self.names()
        subject, key = self.meant_by(query), _key(query)
        first = [] if subject is None else [subject.name]
        tagged = [entry.name for entry in self._tagged.get(key, ())]
        spelled = [name for name in self.names() if key and key in _key(name)]
        return tuple(dict.fromkeys([*first, *tagged, *spelled])) or self.near(query)

    def entry(self, name: str) -> Entry:
        """Return the entry of a subject by its own name, or raise UnknownSubjectError."""
        row = self._by_name.get(name)
        return self.entry(self.find(name).name) if row is None else row

    def picture(self, name: str) -> bytes:
        """Return the sprite of a subject by its own name, a WebP, or raise UnknownSubjectError."""
        return self._opened.read(f"{self.entry(name).code}.webp")

    def image(self, name: str) -> "Image.Image":
        """Return what `picture` does, decoded."""
        return self.sprite(self.entry(name).code)

    def sprite(self, code: str) -> "Image.Image":
        """Return the sprite of a subject by its code, as `Entry` has it."""
        from swiftpie.imageio.decoding import load_image

        return load_image(self._opened.read(f"{code}.webp"))

    @cached_property
    def _opened(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self._pack.read_bytes()))  # which threads may share

    @cached_property
    def _by_name(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.entries}

    @cached_property
    def _meant(self) -> dict[str, Entry]:
        everyday = {_key(word): entry for entry in self.entries for word in entry.meant}
        return everyday | {_key(entry.name): entry for entry in self.entries}

    @cached_property
    def _tagged(self) -> dict[str, Sequence[Entry]]:
        """All subjects by synonym and by the last word of a name, the likeliest first."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for word in {*entry.synonyms, entry.name.split()[-1]}:
                found.setdefault(_key(word), []).append(entry)
        return {
            key: sorted(group, key=lambda entry: _rank(entry, key)) for key, group in found.items()
        }


@cache
def subject_library() -> Library:
    """Return the library that the package holds."""
    with zipfile.ZipFile(ASSETS / PACK) as pack:
        rows = json.loads(pack.read(INDEX))
    words = ("synonyms", "meant")
    entries = (Entry(**{**row, **{name: tuple(row[name]) for name in words}}) for row in rows)
    return Library(entries, ASSETS / PACK)


def named_by(text: str) -> Named | None:
    """Return the subject of a text, None for a file's name; UnknownSubjectError if near one."""
    if not NAME.fullmatch(text):
        return None
    subject = subject_library().meant_by(text)
    if subject is None and (suggestions := subject_library().near(text)):
        raise UnknownSubjectError(
            f"There is no file {text!r}, and the library has no subject of that name. Spelled "
            f"alike: {', '.join(suggestions)}.",
            word=text,
            near=suggestions,
        )
    return subject


def _key(text: str) -> str:
    """Return a word by which it is found: "T-Rex" is "t rex" and "light bulb" is "lightbulb"."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _keys(text: str) -> Sequence[str]:
    """Return the key of a word, and those that it has if it is a plural or one of a pair."""
    key = _key(text)
    if len(key) <= SHORT:
        return [key, *([key[:-1]] if len(key) == SHORT and key.endswith("s") else [])]
    stem = key.removesuffix("es")
    single = [f"{key[:-3]}y"] if key.endswith("ies") else []
    single += [stem] if stem != key and stem.endswith(HISSING) else []
    single += [key[:-1]] if key.endswith("s") else []
    return [key, *single, f"{key}s"]


def _rank(entry: Entry, key: str) -> tuple[bool, bool, bool, int, str]:
    """Return a sort key by which the entries that `key` most likely means come first."""
    words = entry.name.split()
    is_head = _key(words[-1]) == key
    return entry.group == FACES, len(words) > 2, not is_head, len(words), entry.name
