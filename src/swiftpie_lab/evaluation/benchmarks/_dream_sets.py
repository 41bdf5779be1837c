"""Photographed subjects with prompts, as three public datasets lay out their files."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, get_args

from swiftpie.errors import InputError, short_reason
from swiftpie.masks import Box
from swiftpie.validation import check_box, parse_box
from swiftpie_lab.data.photo_listing import photos_in

LISTS = "prompts_and_classes.txt"  # as DreamBench has it
MAX_TEXT_BYTES = 1 << 20
LIVE = frozenset({"cat", "dog"})  # classes that wear things instead of lying on some
NUM_CONTEXTS = 10  # first prompts, which both kinds of subjects share
NUM_PROPERTIES = 5  # last ones
STYLE = "style"  # category of DreamBench++ whose references show no subject

_PROMPT = re.compile(r"^'(?P<text>[^']*\{1\}[^']*)'\.format\(", re.MULTILINE)
_TASK_PROMPT = re.compile(r"(?P<number>\w+)_prompt\.txt")
_SAFE = re.compile(r"\w[\w-]*", re.ASCII)  # names that may become names of files


@dataclass(frozen=True)
class DreamSubject:
    """What one or several photographs show, and the pictures that are requested of it."""

    name: str  # stem of its pictures
    noun: str  # by which prompts call it; empty where they call it nothing
    kind: str  # under which reports count it
    photos: tuple[Path, ...]
    prompts: tuple[str, ...]
    asks: tuple[str, ...] = ()  # what each prompt asks for; none where the dataset does not tell


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
                        _asks(number, len(texts), is_live=is_live) for number in range(len(texts))
                    ),
                )
            )
    if not found:
        raise InputError(
            f"'{root}' holds no photographs of subjects such as {next(iter(nouns))!r}. "
            "DreamBench's folder 'dataset' is needed. Check the path."
        )
    return found


def read_subjects_plus(root: Path) -> list[DreamSubject]:
    """Return the subjects of DreamBench++ (arXiv:2406.16855), github.com/yuangpeng/dreambench_plus.

    `images/CATEGORY/NUMBER.jpg` with `captions/CATEGORY/NUMBER.txt`: the subject's name in the
    first line, a prompt in each of the others. Styles are left out, as they show no subject.

    Raises:
        InputError: A folder, a caption or a prompt is missing.
    """
    for name in ("images", "captions"):
        if not (root / name).is_dir():
            raise InputError(
                f"'{root / name}' is missing. DreamBench++'s folder 'data' with 'images' and "
                "'captions' is needed. Check the path."
            )
    found = []
    inside = (path for path in (root / "images").rglob("*") if path.is_dir())
    for photo in (photo for folder in sorted(inside) for photo in photos_in(folder)):
        place = photo.relative_to(root / "images").with_suffix("")
        category = place.parent.name
        if category == STYLE:
            continue
        noun, *prompts = _lines(root / "captions" / place.with_suffix(".txt"), needed=2)
        name = _safe("-".join(place.parts), root)
        found.append(DreamSubject(name, noun, category, (photo,), tuple(prompts)))
    return _some(found, root, "an image of a category such as 'images/object/00.jpg'")


def read_tasks(root: Path) -> list[DreamSubject]:
    """Return the tasks of MultiBanana (arXiv:2511.22989), github.com/matsuolab/multibanana.

    A folder for each kind of task with `NUMBER_prompt.txt` and references `NUMBER_0.jpg`,
    `NUMBER_1.jpg`, …; each of these shows something else. The copy that holds a folder `data` may
    be given as well.

    Raises:
        InputError: Prompts or references are missing.
    """
    root = root / "data" if (root / "data").is_dir() else root
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = []
    for folder in folders:
        photos = photos_in(folder)
        for path in sorted(folder.iterdir()):
            if match := _TASK_PROMPT.fullmatch(path.name):
                number = match["number"]
                mine = sorted(
                    (int(place), photo)
                    for photo in photos
                    if (place := photo.stem.removeprefix(f"{number}_")).isdecimal()
                    and place != photo.stem
                )
                if not mine:
                    raise InputError(
                        f"'{folder / f'{number}_0.jpg'}' is missing beside '{path.name}'. Each "
                        "task of MultiBanana has references. Copy them from the dataset."
                    )
                text = " ".join(_lines(path, needed=1))
                name = _safe(f"{folder.name}-{number}", root)
                photos_of_it = tuple(photo for _, photo in mine)
                found.append(DreamSubject(name, "", folder.name, photos_of_it, (text,)))
    return _some(found, root, "a task such as '3_back/006_prompt.txt'")


class DreamSet(NamedTuple):
    """A dataset: what it is called and how it is read."""

    title: str
    read: Callable[[Path], list[DreamSubject]]
    has_one_subject: bool = True  # that all photographs of a case show


DREAM_SETS: Mapping[str, DreamSet] = MappingProxyType(
    {
        "dreambench": DreamSet("DreamBench", read_subjects),
        "dreambench++": DreamSet("DreamBench++", read_subjects_plus),
        "multibanana": DreamSet("MultiBanana", read_tasks, has_one_subject=False),
    }
)


def read_boxes(path: Path, names: Mapping[str, DreamSubject]) -> dict[str, Box]:
    """Return a box by subject from a JSON object, each "0.1,0.1,0.9,0.9" or four numbers.

    Raises:
        InputError: The file is unreadable, a box is none, or a subject is unknown.
    """
    needed = (
        'A JSON object with a box for each subject is needed, such as {"dog": [0.1, 0.1, 0.9, '
        "0.9]}. Check the file."
    )
    try:
        with path.open("rb") as file:
            stored = json.loads(file.read(MAX_TEXT_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be read ({short_reason(error)}). {needed}") from error
    if not isinstance(stored, dict):
        raise InputError(f"'{path}' holds something else. {needed}")
    boxes = {}
    for name, value in stored.items():
        if name not in names:
            raise InputError(
                f"'{path}' has a box for {name!r}, which the dataset does not hold. Subjects are "
                f"called as {next(iter(names))!r} is. Check the name."
            )
        boxes[name] = _box(name, value)
    return boxes


def _box(name: str, value: object) -> Box:
    """Return what the file has for a subject as a box.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, str):
        return parse_box(value)
    numbers = value if isinstance(value, list) else []
    if len(numbers) != len(get_args(Box)) or any(
        type(number) not in {int, float} for number in numbers
    ):
        raise InputError(
            f"The box of {name!r} is {value!r}. Left, top, right and bottom as fractions from 0 to "
            "1 are needed, such as [0.1, 0.1, 0.9, 0.9]. Correct it."
        )
    left, top, right, bottom = map(float, numbers)
    return check_box((left, top, right, bottom))


def _asks(number: int, count: int, *, is_live: bool) -> str:
    if number >= count - NUM_PROPERTIES:
        return "properties"
    return "outfits" if is_live and number >= NUM_CONTEXTS else "places"


def _lines(path: Path, *, needed: int) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises:
        InputError: There are fewer than `needed`.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be read ({short_reason(error)}). The dataset has this file. Copy it "
            "from there."
        ) from error
    lines = [line for given in text.splitlines() if (line := given.strip())]
    if len(lines) < needed:
        what = "subject's name with at least one prompt" if needed > 1 else "prompt"
        raise InputError(f"'{path}' holds no {what}. Copy the file from the dataset.")
    return lines


def _safe(name: str, root: Path) -> str:
    """Return a name after a check.

    Raises:
        InputError: It cannot name a file.
    """
    if not _SAFE.fullmatch(name):
        raise InputError(
            f"'{root}' holds {name!r}, which cannot name a picture. Letters, digits, '_' and '-' "
            "are needed. Rename it."
        )
    return name


def _some(found: list[DreamSubject], root: Path, example: str) -> list[DreamSubject]:
    """Return the subjects after a check.

    Raises:
        InputError: There is none, or several have one name.
    """
    if not found:
        raise InputError(f"'{root}' does not hold {example}. Check the path.")
    ((most, count),) = Counter(subject.name for subject in found).most_common(1)
    if count > 1:
        raise InputError(
            f"'{root}' holds {most!r} {count} times. Names differ. Rename all but one."
        )
    return found


def _read_lists(path: Path) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Return classes by subject, and the prompts of objects and live ones with {} for the class.

    Raises:
        InputError: They cannot be read, or are others than DreamBench's.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TEXT_BYTES).decode("utf-8").replace("\r\n", "\n")
        classes, rest = text.split("Object Prompts", 1)
        objects, live = (_templates(one) for one in rest.split("Live Subject Prompts", 1))
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
    return tuple(one.replace("{0} ", "").replace("{1}", "{}") for one in found)
