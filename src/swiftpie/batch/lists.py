"""Input lists: prompts, seeds, lines of JSON, tables, and folders of subjects."""

import csv
import itertools
import json
import logging
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from swiftpie.errors import ConfigError, short_reason
from swiftpie.validation import words_in_name

logger = logging.getLogger(__name__)

PROMPT_FILE = "@"  # begins the name of a file of prompts
MAX_PROMPTS, MAX_PROMPT_BYTES = 1000, 1 << 20
MAX_SEEDS = 10_000
MAX_LINE_BYTES = 1 << 20
PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
IDENTITY = ".spid"
SYSTEM = ("desktop.ini", "thumbs.db")  # what Windows leaves in folders; names with a dot are hidden
MAX_NAMED = 8  # files that a warning names
NAME = "{name}"  # stands in a prompt for a folder of subjects
RANGE = re.compile(r"\s*([0-9]{1,19})\s*(?:-\s*([0-9]{1,19})\s*)?")


class JobRow(NamedTuple):
    """One row of the input with its place, or why it could not be read."""

    place: str
    row: Mapping[str, object] | Exception
    is_text: bool = False  # all values are text, as in a table


def read_prompts(prompt: str, *, folder: Path = Path()) -> list[str]:
    """Return the prompts of PROMPT: itself, or for @FILE the lines of that file.

    Empty lines and lines that start with # are left out. Relative names start at `folder`.

    Raises:
        ConfigError: The file cannot be read, has no prompts, or too many.
    """
    if not prompt.startswith(PROMPT_FILE):
        return [prompt]
    name = prompt.removeprefix(PROMPT_FILE)
    _check_regular(folder / name, name=name)
    try:
        with (folder / name).open("rb") as file:
            text = file.read(MAX_PROMPT_BYTES + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{name}' cannot be read ({error}). A text file in UTF-8 is needed, one prompt a "
            "line. Check the path, or leave out the @ if the prompt starts with one."
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(prompts) <= MAX_PROMPTS or len(text) > MAX_PROMPT_BYTES:
        raise ConfigError(
            f"'{name}' holds {len(prompts)} prompts. 1 to {MAX_PROMPTS} are needed, one a line, in "
            f"at most {MAX_PROMPT_BYTES} bytes. Split the file, or write prompts into it."
        )
    return prompts


def read_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of "7", "1-8" or "1-8,42", in that order."""
    seeds: list[int] = []
    for part in text.split(","):
        found = RANGE.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= last - first < MAX_SEEDS - len(seeds):
            raise ConfigError(
                f"The seeds are {short_reason(text)!r}. Whole numbers and ranges are needed, in "
                f"all at most {MAX_SEEDS}. Write for example 7, or 1-8, or 1-8,42."
            )
        seeds += range(first, last + 1)
    if len({*seeds}) < len(seeds):
        raise ConfigError(
            f"The seeds {short_reason(text)!r} name one twice, and one seed draws one picture. "
            "Leave one out."
        )
    return tuple(seeds)


def read_lines(path: Path) -> Iterator[JobRow]:
    """Yield every line of a file of JSON objects, or every row of a table (.csv)."""
    _check_regular(path, name=str(path))
    try:
        if path.suffix.lower() == ".csv":
            yield from _read_table(path)
        else:
            yield from _read_objects(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{path}' cannot be read ({short_reason(error)}). One JSON object a line, or a table "
            "in .csv, is needed, in UTF-8. Check the path."
        ) from error


def grid(
    subjects: Path, prompts: Iterable[str], *, spell: Callable[[str], str] = str
) -> Iterator[JobRow]:
    """Yield every prompt for every subject of a folder; {name} becomes the name of the file.

    Each picture, identity file, or folder of pictures in `subjects` is a subject; so is a single
    file. `spell` is how the model calls what a file's name says, as `Family.name_of_file`.

    Raises:
        ConfigError: There is none.
    """
    places = [subjects]
    if not subjects.is_file():
        kinds = (*PICTURES, IDENTITY)
        places = _read_folder(subjects, kinds, name=f"--subjects '{subjects}'", takes_folders=True)
    for place, (number, prompt) in itertools.product(places, enumerate(prompts, start=1)):
        name = place.name if place.is_dir() else place.stem  # a folder's dots end no name
        words = words_in_name(name) or name
        row = {"subject": place.name, "prompt": prompt.replace(NAME, spell(words))}
        yield JobRow(f"{place.name}, prompt {number}", row)


def pictures_in(folder: Path, *, name: str) -> list[str]:
    """Return the names of pictures in a folder, not below it; ConfigError, by `name`, if none."""
    return [path.name for path in _read_folder(folder, PICTURES, name=f"The folder '{name}'")]


def _check_regular(path: Path, *, name: str) -> None:
    """Refuse devices, pipes and folders, of which reading may never end."""
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return  # reading it says why
    if not is_regular:
        raise ConfigError(
            f"'{name}' is a folder, a device or a pipe. A regular file is needed. Write its "
            "content into one."
        )


def _read_objects(path: Path) -> Iterator[JobRow]:
    with path.open("rb") as file:
        for number in itertools.count(1):
            line = file.readline(MAX_LINE_BYTES)
            if not line:
                return
            place = f"{path.name}, line {number}"
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while not (rest := file.readline(MAX_LINE_BYTES)).endswith(b"\n") and rest:
                    pass
                yield JobRow(place, ConfigError(f"It has more than {MAX_LINE_BYTES} bytes."))
            elif line.strip():
                yield JobRow(place, _object_of(line, is_first=number == 1))


def _object_of(line: bytes, *, is_first: bool) -> Mapping[str, object] | Exception:
    def without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name occurs twice")
        return found

    def refuse(text: str) -> object:
        raise ValueError(f"{text} is no number")

    try:
        text = line.decode("utf-8-sig" if is_first else "utf-8")
        row = json.loads(text, object_pairs_hook=without_doubles, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        return ConfigError(
            f"It is not JSON ({short_reason(error)}). An object a line is needed, as in "
            '{"subject": "dog.jpg", "prompt": "a dog on a beach"}.'
        )
    if not isinstance(row, dict):
        return ConfigError('It is not an object. Write {"subject": …, "prompt": …} on one line.')
    return row


def _read_table(path: Path) -> Iterator[JobRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline(MAX_LINE_BYTES)
        file.seek(0)
        # Spreadsheets choose the delimiter by language; no field name contains any of these.
        delimiter = max(",;\t", key=head.count)
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(rows, [])]
        if len({*names}) < len(names):
            raise ValueError("two columns have one name")
        while True:
            first = rows.line_num + 1
            place = f"{path.name}, line {first}"
            try:
                cells = next(rows, None)
            except csv.Error as error:
                yield JobRow(place, ConfigError(f"It is not a row of a table ({error})."))
                continue
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield JobRow(place, _row_of(names, cells), is_text=True)


def _row_of(names: list[str], cells: list[str]) -> Mapping[str, object] | Exception:
    if len(cells) > len(names):
        return ConfigError(
            f"It has {len(cells)} cells, and the table has {len(names)} columns. Put quotes around "
            "a cell with commas in it."
        )
    pairs = zip(names, (cell.strip() for cell in cells), strict=False)
    return {name: cell for name, cell in pairs if cell}


def _read_folder(
    folder: Path, suffixes: tuple[str, ...], *, name: str, takes_folders: bool = False
) -> list[Path]:
    """Return what of a folder is read, in the order of names, and log what is not."""
    needed = f"files in {', '.join(suffixes)}{' and folders of those' * takes_folders}"
    try:
        here = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read ({short_reason(error)}). A folder of pictures is needed. Check "
            "the path."
        ) from error
    known = [
        path
        for path in here
        if (takes_folders if path.is_dir() else path.suffix.lower() in suffixes)
    ]
    others = [path.name for path in here if path not in known and path.name.lower() not in SYSTEM]
    named = ", ".join(others[:MAX_NAMED]) + " and others" * (len(others) > MAX_NAMED)
    if not known:
        raise ConfigError(
            f"{name} holds no pictures{f', but {named}' * bool(others)}. Only {needed} are read. "
            "Convert other pictures, or choose another folder."
        )
    if others:
        logger.warning(
            "%s holds %d of %d that are left out: %s. Only %s are read.",
            *(name, len(others), len(here), named, needed),
        )
    return known
