"""What a stage needs from outside: the subjects, a device and the folder of all runs."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from swiftpie.data.stickers import StickerWorld
from swiftpie.data.subjects import Split, Subjects, load_subjects
from swiftpie.errors import ConfigError

PACKAGED = "mini"  # names the weights inside the package


@dataclass(frozen=True)
class Context:
    """Where a stage finds its data and the results of earlier stages."""

    data: Path  # the sticker pack
    runs: Path  # one folder a recipe
    device: str

    @cached_property
    def subjects(self) -> Subjects:
        """All subjects of the pack."""
        return load_subjects(self.data)

    def world(self, split: Split = "train") -> StickerWorld:
        """Return an endless supply of scenes with one half of the subjects."""
        return StickerWorld(self.subjects, split, device=self.device)

    def weights_of(self, source: str) -> Path | None:
        """Return the folder of exported weights that `source` names.

        Args:
            source: `mini` for the weights inside the package (None), a folder, or a recipe that
                was run.

        Raises:
            ConfigError: It names a recipe that has not been run.
        """
        if source == PACKAGED:
            return None
        folder = Path(source)
        return folder if folder.is_dir() else self.export_of(source)

    def export_of(self, recipe: str) -> Path:
        """Return the folder that the run of `recipe` exported to.

        Raises:
            ConfigError: That recipe has not been run.
        """
        folder = self.runs / recipe / "export"
        if not folder.is_dir():
            raise ConfigError(
                f"There is no {folder}. This recipe continues from {recipe!r}; run "
                f"`swiftpie train {recipe.replace('_', '-')}` first."
            )
        return folder
