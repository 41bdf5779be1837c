"""What is published: how its parts are called, listed and got from a hub."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

FILE_SUFFIXES = frozenset((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".gz"))
_NAME = r"[A-Za-z0-9][\w.-]*"
_REFERENCE = re.compile(
    rf"(?P<host>github:)?(?P<repository>{_NAME}/{_NAME})(:(?P<path>[^:@\\]+))?(@(?P<revision>[\w./-]+))?",
    re.ASCII,
)


class Host(StrEnum):
    """Who serves a repository."""

    HUB = "hub"  # of Hugging Face, or HF_ENDPOINT
    GITHUB = "github"  # the files of a release


@dataclass(frozen=True)
class Reference:
    """A repository, a folder or a file in it, as `OWNER/REPO:PATH@REVISION`."""

    repository: str  # OWNER/REPO
    path: str | None = None  # inside of it; None for all of it
    revision: str | None = None  # commit, branch or tag; None for the newest
    host: Host = Host.HUB

    @property
    def is_file(self) -> bool:
        """Whether it names a file; else a folder, or the whole repository."""
        return self.path is not None and PurePosixPath(self.path).suffix in FILE_SUFFIXES

    def __str__(self) -> str:
        prefix = "" if self.host is Host.HUB else f"{self.host}:"
        path = "" if self.path is None else f":{self.path}"
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{prefix}{self.repository}{path}{revision}"


def parse_reference(text: str | Path) -> Reference | None:
    """Return what `text` names in a repository; None if it is a path, or can only be one.

    A path that exists on this machine wins. `a/b.safetensors` is a path, as repositories are not
    called like files; `a/b` is a repository unless there is such a folder.
    """
    name = str(text)
    found = _REFERENCE.fullmatch(name)
    if found is None or Path(name).exists():
        return None
    path, repository = found["path"], found["repository"]
    if path is None and PurePosixPath(repository).suffix in FILE_SUFFIXES:
        return None
    if path is not None:
        path = path.strip("/")
        if not path or any(part in {"", ".", ".."} for part in path.split("/")):
            return None
    return Reference(
        repository, path, found["revision"], Host(found["host"][:-1]) if found["host"] else Host.HUB
    )
