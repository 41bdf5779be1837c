"""A folder of photographs, one folder a subject."""

import re
from dataclasses import dataclass
from pathlib import Path

from swiftpie.errors import InputError
from swiftpie.images import FORMAT_OF_SUFFIX

MASK_SUFFIX = ".mask.png"  # NAME.mask.png is the mask of NAME.jpg


@dataclass(frozen=True)
class PhotoSubject:
    """One subject: its name, its first picture, and the mask if there is one."""

    name: str  # of its folder
    photo: Path
    mask: Path | None

    @property
    def words(self) -> str:
        """What prompts call it: the folder's name without numbers and underscores."""
        return " ".join(re.sub(r"[\d_-]+", " ", self.name).lower().split()) or "object"


def find_subjects(root: Path, *, limit: int) -> list[PhotoSubject]:
    """Return the first subjects by name, each with its first picture by name.

    Raises:
        InputError: There is no such folder, or no picture one folder below it.
    """
    if not root.is_dir():
        raise InputError(
            f"'{root}' is no folder. One with a folder of photographs for each subject is needed. "
            "Check the path."
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    found = [subject for folder in folders if (subject := _first(folder)) is not None]
    if not found:
        raise InputError(
            f"There is no photograph in any folder of '{root}'. Each subject needs a folder with "
            f"pictures ({', '.join(FORMAT_OF_SUFFIX)}). Sort them into folders."
        )
    return found[:limit]


def _first(folder: Path) -> PhotoSubject | None:
    for path in sorted(folder.iterdir()):
        is_mask = path.name.endswith(MASK_SUFFIX)
        if path.suffix.lower() in FORMAT_OF_SUFFIX and path.is_file() and not is_mask:
            mask = path.with_name(path.stem + MASK_SUFFIX)
            return PhotoSubject(folder.name, path, mask if mask.is_file() else None)
    return None
