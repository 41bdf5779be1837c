"""The subjects and prompts of DreamBench, as its folder lays them out."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from swiftpie.errors import InputError, short_reason
from swiftpie.masks import Box
from swiftpie.validation import check_box
from swiftpie_lab.data.photo_listing import photos_in

LISTS = "prompts_and_classes.txt"  # as DreamBench has it
MAX_TEXT_BYTES = 1 << 20
LIVE = frozenset({"cat", "dog"})  # classes that wear things instead of lying on some
NUM_CONTEXTS = 10  # first prompts, which both kinds of subjects share
NUM_PROPERTIES = 5  # last ones

_PROMPT = re.compile(r"^'(?P<text>[^']*\{1\}[^']*)'\.format\(", re.MULTILINE)
_SAFE = re.compile(r"\w[\w-]*", re.ASCII)  # names that may become names of files


@dataclass(frozen=True)
class DreamSubject:
    """What one or several photographs show, and the pictures that are requested of it."""

    name: str  # stem of its pictures
    noun: str  # by which prompts call it
    kind: str  # under which reports count it
    photos: tuple[Path, ...]
    prompts: tuple[str, ...]
    topics: tuple[str, ...]  # of each prompt: places, outfits or properties


def read_subjects(root: Path) -> list[DreamSubject]:
    """Return the subjects of DreamBench (arXiv:2208.12242), github.com/google/dreambooth.

    A folder of photographs for each subject and `prompts_and_classes.txt`; subjects whose folder
    is not there are left out.

    Raises:
        InputError: The list or all photographs are missing.
    """
    nouns, objects, live = _read_lists(root / LISTS)
    found = []
    for name, noun in sorted(nouns.items()):
        photos = photos_in(root / name) if (root / name).is_dir() else []
        if photos:
            is_live = noun in LIVE
            texts = live if is_live else objects
            found.append(
                DreamSubject(
                    name,
                    noun,
                    "live subjects" if is_live else "objects",
                    tuple(photos),
                    tuple(text.replace("{}", noun) for text in texts),
                    tuple(
                        _topic(number, len(texts), is_live=is_live) for number in range(len(texts))
                    ),
                )
            )
    if not found:
        raise InputError(
            f"'{root}' holds no photographs of subjects such as {next(iter(nouns))!r}. "
            "DreamBench's folder 'dataset' is needed. Check the path."
        )
    return found


def read_boxes(path: Path, names: Collection[str]) -> dict[str, Box]:
    """Return a box by subject from a JSON object of four numbers each.

    Raises:
        InputError: The file is unreadable, a box is none, or a subject is unknown.
    """
    needed = (
        'A JSON object with a box for each subject is needed, such as {"dog": [0.1, 0.1, 0.9, '
        "0.9]}. Check the file."
    )
    try:
        with path.open("rb") as file:
            stored = dict(json.loads(file.read(MAX_TEXT_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be read ({short_reason(error)}). {needed}") from error
    boxes = {}
    for name, value in stored.items():
        if name not in names:
            raise InputError(
                f"'{path}' has a box for {name!r}, which the dataset does not hold. Subjects are "
                f"called as {next(iter(names))!r} is. Check the name."
            )
        numbers = [x for x in value if type(x) in {int, float}] if isinstance(value, list) else []
        if len(numbers) != 4 or len(value) != 4:
            raise InputError(f"The box of {name!r} is {value!r}. {needed}")
        left, top, right, bottom = map(float, numbers)
        boxes[name] = check_box((left, top, right, bottom))
    return boxes


def _topic(number: int, count: int, *, is_live: bool) -> str:
    if number >= count - NUM_PROPERTIES:
        return "properties"
    return "outfits" if is_live and number >= NUM_CONTEXTS else "places"


def _read_lists(path: Path) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Return classes by subject, and the prompts of objects and live ones with {} for the class.

    Raises:
        InputError: They cannot be read, or are others than DreamBench's.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES).decode("utf-8").replace("\r\n", "\n")
        classes, rest = text.split("Object Prompts", 1)
        objects, live = (_templates(part) for part in rest.split("Live Subject Prompts", 1))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be read as DreamBench's lists ({error}). The file with classes, "
            "object prompts and live subject prompts is needed. Copy it from the dataset."
        ) from error
    pairs = (line.split(",") for line in classes.splitlines() if line.count(",") == 1)
    nouns = {name.strip(): noun.strip() for name, noun in pairs if name != "subject_name"}
    unsafe = [name for name in nouns if not _SAFE.fullmatch(name)]
    if unsafe or not (nouns and objects and live):
        what = f"the name {unsafe[0]!r}" if unsafe else "no subjects or no prompts"
        raise InputError(
            f"'{path}' holds {what}. DreamBench's own lists are needed. Copy the file from the "
            "dataset."
        )
    return nouns, objects, live


def _templates(text: str) -> tuple[str, ...]:
    """Return the prompts of a list, without the rare word that tuned models are called by."""
    found = (match["text"] for match in _PROMPT.finditer(text))
    return tuple(text.replace("{0} ", "").replace("{1}", "{}") for text in found)
