"""The folder of one evaluation of edits: pictures, facts, manifest, rows and report."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image
from torch import Tensor

from swiftpie.evaluation.folder import Folder, Run, write_png
from swiftpie.files import load_image, write_file
from swiftpie.images import mask_to_pil, to_tensor

KNOWN = ("source", "target", "mask", "before-mask", "kept-mask", "asked-mask")
AGAIN = ("reconstruction", "from-noise", "uncomposed")
DRAWN = ("edit", "edit-mask", *AGAIN, "reference", "naive")
KINDS = (*KNOWN, *DRAWN)

_FILE_NAME = re.compile(rf"[\w-]+\.({'|'.join(KINDS)}\.png|facts\.json)")


class Named(Protocol):
    """Whatever has a name that is unique in its benchmark."""

    @property
    def name(self) -> str:
        """The stem of its files."""


@dataclass(frozen=True)
class EditFolder:
    """Names and formats of the files."""

    root: Path

    @property
    def base(self) -> Folder:
        """The files that all evaluations have."""
        return Folder(self.root)

    def picture(self, case: Named, kind: str) -> Path:
        """Return where the picture of this kind is, or would be."""
        assert kind in KINDS
        return self.root / "images" / f"{case.name}.{kind}.png"

    def has(self, case: Named, kind: str) -> bool:
        """Whether there is such a picture."""
        return self.picture(case, kind).is_file()

    def read(self, case: Named, kind: str) -> Image.Image:
        """Return a picture, RGB."""
        return load_image(self.picture(case, kind)).convert("RGB")

    def read_mask(self, case: Named, kind: str) -> Tensor:
        """Return a mask (1, 1, H, W) in [0, 1]; it may be empty."""
        return (to_tensor(self.read(case, kind))[:, :1] + 1) / 2

    def write(self, case: Named, kind: str, image: Image.Image) -> None:
        """Write a picture, whole or not at all."""
        write_png(self.picture(case, kind), image)

    def write_mask(self, case: Named, kind: str, mask: Tensor) -> None:
        """Write a mask (1, 1, H, W)."""
        self.write(case, kind, mask_to_pil(mask)[0])

    def write_facts(self, case: Named, timings_ms: Mapping[str, float]) -> None:
        """Write what pictures cannot tell; a case that has facts is complete."""
        text = json.dumps({"timings_ms": timings_ms}, allow_nan=False) + "\n"
        write_file(self._facts(case), text.encode(), force=True)

    def read_facts(self, case: Named) -> dict[str, float] | None:
        """Return the milliseconds by stage, or None for a case that is not complete."""
        try:
            stored = json.loads(self._facts(case).read_text(encoding="utf-8"))
            return {str(stage): float(ms) for stage, ms in stored["timings_ms"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def start(self, run: Run, *, force: bool = False) -> None:
        """Create the folder, or get ready to go on in it.

        Raises:
            InputError: It holds pictures of another run, or other people's files.
        """
        self.base.start_with(_FILE_NAME, run, force=force)

    def _facts(self, case: Named) -> Path:
        return self.root / "images" / f"{case.name}.facts.json"
