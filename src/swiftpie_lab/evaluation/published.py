"""Figures that others have published, read from files: theirs, not measured here."""

import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

HEADING = "Published by others, not measured here"


class Read(StrEnum):
    """Where figures were read."""

    PAPER = "paper"
    CODE = "code"
    SECOND_HAND = "second-hand"  # in a page about the paper


@dataclass(frozen=True)
class PublishedRow:
    """What a table says of one method."""

    method: str
    figures: Mapping[str, float]  # by metric, as our reports store them
    setting: str = ""
    read: Read = Read.PAPER

    @property
    def label(self) -> str:
        """The method with its setting, and a mark where figures were read second-hand."""
        parts = [self.method, self.setting, "second-hand" if self.read is Read.SECOND_HAND else ""]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper, or those of its rows that are known here."""

    key: str  # short, as a command may be given it
    source: str  # as "arXiv:2412.04301"
    table: str  # as the source calls it
    rows: tuple[PublishedRow, ...]
    setting: str = ""
    is_ablation: bool = False  # of one method's parts; reports on whole methods leave it out

    @property
    def title(self) -> str:
        """The source, and that nothing of it was measured here."""
        setting = f"; {self.setting}" if self.setting else ""
        return f"{HEADING}: {self.source}, {self.table}{setting}"


@cache
def published_tables(benchmark: str) -> tuple[PublishedTable, ...]:
    """Return what is known of others' figures on a benchmark; nothing if it has no file.

    `assets/published/<benchmark>.toml` holds them.
    """
    path = importlib.resources.files("swiftpie_lab") / "assets" / "published" / f"{benchmark}.toml"
    if not path.is_file():
        return ()
    stored = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        PublishedTable(**{**table, "rows": tuple(map(_row, table["rows"]))})
        for table in stored["tables"]
    )


def _row(stored: Mapping[str, Any]) -> PublishedRow:
    read = Read(stored.get("read", Read.PAPER))
    return PublishedRow(**{**stored, "read": read})
