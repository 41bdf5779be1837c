"""The subjects of training pictures."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from swiftpie.errors import ConfigError

Split = Literal["train", "held_out"]


@dataclass(frozen=True, eq=False)
class Subjects:
    """Sprites with their names; row i of every field belongs to subject i."""

    tiles: Tensor  # (S, 4, 96, 96) uint8, premultiplied RGBA
    codes: tuple[str, ...]  # lower-case hexadecimal code points joined by "-"
    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    held_out: Tensor  # (S,) bool, True for subjects that no training picture shows

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names and sprites."""
        digest = hashlib.sha256(self.tiles.numpy().tobytes())
        digest.update("\n".join((*self.codes, *self.names)).encode())
        return digest.hexdigest()

    def sprite(self, code: str) -> Tensor:
        """Return one sprite, premultiplied RGBA (4, 96, 96) as uint8.

        Raises:
            ConfigError: The pack lacks it.
        """
        return self.tiles[self.index(code)]

    def indices(self, split: Split) -> list[int]:
        """Return the subjects of one half of the split, in order."""
        wanted = self.held_out if split == "held_out" else ~self.held_out
        return [int(i) for i in wanted.nonzero().flatten()]

    def index(self, code: str) -> int:
        """Return the row of the subject with this code.

        Raises:
            ConfigError: The pack lacks it.
        """
        if code not in self.codes:
            raise ConfigError(
                f"The pack has no subject {code}; it needs the sprites of all accessories. "
                "Rebuild it with `swiftpie data prepare`."
            )
        return self.codes.index(code)
