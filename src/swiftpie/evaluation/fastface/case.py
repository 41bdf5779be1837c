"""What is drawn: every person with every prompt."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from swiftpie.errors import InputError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
STYLE_END = ";"  # what stands before it in a prompt is its style
MAX_PROMPT_BYTES = 1 << 20


@dataclass(frozen=True)
class Prompt:
    """One line of the prompts file, in lower case as the protocol has it."""

    text: str

    @property
    def style(self) -> str:
        """The style that it asks for; empty for a photograph."""
        style, found, _ = self.text.partition(STYLE_END)
        return style.strip() if found else ""


@dataclass(frozen=True)
class FaceCase:
    """One picture to draw."""

    name: str  # unique; the stem of its files
    person: str  # name of the photograph
    prompt: Prompt
    seed: int


@dataclass(frozen=True)
class Task:
    """Everything that is drawn, in one order whatever the disk says."""

    photos: tuple[Path, ...]
    prompts: tuple[Prompt, ...]
    seed: int

    @property
    def fingerprint(self) -> str:
        """A sha256 over names and bytes of the photographs and over the prompts."""
        digest = hashlib.sha256()
        for photo in self.photos:
            digest.update(f"{photo.name}\0".encode() + hashlib.sha256(photo.read_bytes()).digest())
        for prompt in self.prompts:
            digest.update(f"{prompt.text}\n".encode())
        return digest.hexdigest()

    def cases_of(self, photo: Path) -> list[FaceCase]:
        """Return the cases of one person; a case's seed does not depend on which ran before."""
        number = self.photos.index(photo)
        first = number * len(self.prompts)
        return [
            FaceCase(f"{number:03d}-{index:03d}", photo.name, prompt, self.seed + first + index)
            for index, prompt in enumerate(self.prompts)
        ]


def read_task(identities: Path, prompts: Path, *, seed: int) -> Task:
    """Return what a folder of photographs and a file of prompts ask for.

    Args:
        identities: One photograph a person.
        prompts: One prompt a line; empty lines do not count.
        seed: Of the first case; the others count up from it.

    Raises:
        InputError: There are no photographs or no prompts.
    """
    return Task(_photos(identities), _prompts(prompts), seed)


def _photos(folder: Path) -> tuple[Path, ...]:
    files = folder.iterdir() if folder.is_dir() else ()
    found = tuple(sorted(path for path in files if path.suffix.lower() in PICTURES))
    if not found:
        raise InputError(
            f"'{folder}' holds no photographs. One a person is needed, as PNG, JPEG or WebP. Check "
            "--identities."
        )
    return found


def _prompts(file: Path) -> tuple[Prompt, ...]:
    try:
        data = file.read_bytes()[:MAX_PROMPT_BYTES]
        lines = data.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"'{file}' cannot be read ({error}). A text file with one prompt a line is needed. "
            "Check --prompts."
        ) from error
    found = [Prompt(line.strip().lower()) for line in lines if line.strip()]
    if not found:
        raise InputError(f"'{file}' is empty. One prompt a line is needed. Check --prompts.")
    return tuple(found)
