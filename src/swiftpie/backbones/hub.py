"""Published repositories: how their parts are called, what they list, and why that can fail."""

import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

from swiftpie.config import home_folder
from swiftpie.errors import ConfigError, MissingExtra, WeightsError, did_you_mean, short_reason
from swiftpie.validation import is_portable_name

CONFIG = "config.json"  # the settings of a network, next to its weights
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either is enough
STEMS = ("diffusion_pytorch_model", "model")  # Names of weights in diffusers and in transformers.
PICKLES = ("diffusion_pytorch_model.bin", "pytorch_model.bin")
HALF = "fp16"  # what both call their variant in half precision
FILE_SUFFIXES = frozenset((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".gz", ".json"))
COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = r"[A-Za-z0-9][\w.-]*"
_REFERENCE = re.compile(
    rf"(?P<host>github:)?(?P<repository>{_NAME}/{_NAME})"
    r"(:(?P<path>[^:@\\]+))?(@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
ANSWER_S = 10.0  # for the hub to begin an answer
KEPT_S = 600  # that a listing is kept, so that a plan and its downloads see the same commit
MAX_REFERENCE = 1000  # characters
TOO_MANY_REQUESTS = 429
SERVER_ERRORS = 500


class Host(StrEnum):
    """Who publishes a repository."""

    HUB = "hub"  # Hugging Face, or HF_ENDPOINT.
    GITHUB = "github"  # The archive of a release, which `swiftpie fetch` gets.


@dataclass(frozen=True)
class RepoReference:
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


def parse_reference(text: str | Path) -> RepoReference | None:
    """Return what `text` names in a repository; None if it is a path, or names nothing there.

    A path that exists on this machine wins. `a/b.safetensors` is a path, as repositories are not
    called like files; `a/b` is a repository unless there is such a folder.
    """
    name = str(text)
    return None if len(name) > MAX_REFERENCE or Path(name).exists() else reference_in(name)


def reference_in(name: str) -> RepoReference | None:
    """Return what a name of a repository says, whatever is on this machine; None if it is none."""
    found = _REFERENCE.fullmatch(name)
    if found is None:
        return None
    path, repository = found["path"], found["repository"]
    if path is None and PurePosixPath(repository).suffix in FILE_SUFFIXES:
        return None
    if path is not None:
        path = path.strip("/")
        if not (path.isprintable() and all(map(is_portable_name, path.split("/")))):
            return None
    host = Host.GITHUB if found["host"] else Host.HUB
    return RepoReference(repository, path, found["revision"], host)


def existing(path: str | Path, option: str) -> Path:
    """Return the file or folder that `option` names, or raise WeightsError if there is none."""
    found = Path(path)
    with suppress(OSError):  # No disk takes such a name.
        if found.exists():
            return found
    raise WeightsError(f"'{short_reason(path)}' does not exist. Check the path of `{option}=`.")


def weight_names(
    names: Collection[str], *, prefers_half: bool = False, allow_pickle: bool = False
) -> list[str]:
    """Return which files of one folder hold the weights of its network, the best that there are.

    `prefers_half` takes the half-precision variant where there are both, and `allow_pickle` a
    pickle where there is nothing else. Of weights in pieces, the index comes first; where a piece
    is missing, they do not count.
    """
    for infix in (f".{HALF}", "") if prefers_half else ("", f".{HALF}"):
        for stem in STEMS:
            if f"{stem}{infix}.safetensors" in names:
                return [f"{stem}{infix}.safetensors"]
            index = f"{stem}.safetensors.index{infix}.json"
            piece = re.compile(re.escape(f"{stem}{infix}") + r"-\d{5}-of-(\d{5})\.safetensors")
            pieces = {name: match for name in names if (match := piece.fullmatch(name))}
            if index in names and pieces and all(int(m[1]) == len(pieces) for m in pieces.values()):
                return [index, *sorted(pieces)]
    return [name for name in PICKLES if name in names][:1] if allow_pickle else []


class RemoteFile(NamedTuple):
    """A file as its publisher lists it."""

    path: str  # inside of the repository
    size: int  # bytes
    blob: str  # what the cache calls its content
    sha256: str | None  # None of small files, for which git's own sha1 is published


@dataclass(frozen=True, eq=False)
class RepoListing:
    """What a repository held at one commit."""

    repository: str
    revision: str
    files: Mapping[str, RemoteFile]
    licence: str | None  # as the repository's card states it

    def find(self, path: str) -> RemoteFile:
        """Return the file at `path`, or raise WeightsError with similar names."""
        if path not in self.files:
            hint = did_you_mean(path, self.files, otherwise="Look for its new name there.")
            raise WeightsError(
                f"There is no file '{path}' in {self.repository!r} at {self.revision[:12]}. {hint}"
            )
        return self.files[path]


FACTS: Mapping[str, Any] = MappingProxyType(
    json.loads((files("swiftpie.backbones") / "published.json").read_text(encoding="utf-8"))
)


PINS: Mapping[str, str] = MappingProxyType(
    {
        name: listed["revision"]
        for name, listed in FACTS["repositories"].items()
        if listed["revision"]
    }
)
"""Commits of repositories; at least two independent public sources name each."""

PUBLISHED: Mapping[str, Mapping[str, RemoteFile]] = MappingProxyType(
    {
        repository: {
            path: RemoteFile(path, facts["size"] or 0, facts["sha256"] or path, facts["sha256"])
            for path, facts in listed["files"].items()
        }
        for repository, listed in FACTS["repositories"].items()
    }
)
"""Files at the commits that recipes pin; of 0 bytes where no public source states their size."""


def published_listing(reference: RepoReference) -> RepoListing:
    """Return what the package knows of a repository, or of a release and its pieces.

    Raises:
        WeightsError: It knows nothing of it.
    """
    name, revision = reference.repository, reference.revision or "main"
    pieces = FACTS["releases"].get(name, {}).get("parts", ())
    known = PUBLISHED.get(name) or {piece: RemoteFile(piece, 0, piece, None) for piece in pieces}
    if not known:
        raise WeightsError(
            f"The files of {name!r} do not stand in the package. Leave `--offline` out, so that "
            "its host is asked for them."
        )
    return RepoListing(name, revision, known, None)


def files_unlike(
    root: Path, names: Collection[str], listing: Mapping[str, RemoteFile]
) -> Iterator[str]:
    """Yield a sentence for each file of weights below `root` that is not the published one."""
    for file in (listing[name] for name in names if name in listing):
        place = root / file.path
        more = place.stat().st_size - file.size if file.size else 0
        if more:
            yield f"{file.path} has {more:+,} bytes beside the published {file.size:,}"
        elif file.sha256 and place.suffix in FILE_SUFFIXES and not is_published(file, place):
            yield f"{file.path} is not the published file: its sha256 is another"


def is_published(file: RemoteFile, path: Path) -> bool:
    """Whether `path` has the published checksum: sha256, or of small files that of git."""
    start: Callable[[], Any] = hashlib.sha256
    if file.sha256 is None:  # as git counts: with a header
        size = path.stat().st_size
        start = functools.partial(hashlib.sha1, b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as content:
        return hashlib.file_digest(content, start).hexdigest() == (file.sha256 or file.blob)


def root_of(reference: RepoReference, listing: RepoListing | None = None) -> Path | None:
    """Return the folder of a repository at one commit; None if the commit is unknown.

    Without a revision and a note of the newest commit, the only commit in the cache is taken.

    Raises:
        ConfigError: The reference to a release has no tag.
    """
    if reference.host is Host.GITHUB:
        if reference.revision is None:
            raise ConfigError(f"'{reference}' names no release. Add its tag, as in {reference}@v1.")
        name = f"{reference.repository}@{reference.revision}".replace("/", "--")
        return home_folder() / "releases" / name
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=reference.repository, repo_type="model")
    store = Path(constants.HF_HUB_CACHE).expanduser() / name
    revision = reference.revision or "main"
    note = store / "refs" / revision
    if listing is not None:
        revision = listing.revision
    elif note.is_file():
        revision = note.read_text(encoding="utf-8").strip()
    elif reference.revision is None:
        here = [path.name for path in store.glob("snapshots/*")]
        revision = here[0] if len(here) == 1 else ""
    return store / "snapshots" / revision if COMMIT.fullmatch(revision) else None


def list_files(reference: RepoReference) -> RepoListing:
    from huggingface_hub import constants

    moment = int(time.monotonic() // KEPT_S)
    return _list(reference.repository, reference.revision, constants.ENDPOINT, moment)


def check_proxy() -> None:
    """Raise MissingExtra for a SOCKS proxy if the package for those is not installed."""
    from huggingface_hub import get_session

    try:
        get_session()
    except ImportError as error:
        raise MissingExtra(
            "The environment names a SOCKS proxy (ALL_PROXY, HTTPS_PROXY), which needs the package "
            "'socksio', and that is not installed. Run: pip install socksio. Or unset the "
            "variables, or name a proxy of http://."
        ) from error


@functools.lru_cache(maxsize=64)
def _list(repository: str, revision: str | None, endpoint: str, _moment: int) -> RepoListing:
    from huggingface_hub import HfApi

    check_proxy()
    api = HfApi(endpoint=endpoint, library_name="swiftpie")
    info = api.model_info(repository, revision=revision, files_metadata=True, timeout=ANSWER_S)
    if info.sha is None or not COMMIT.fullmatch(info.sha):
        raise OSError("it has no commit")
    if info.gated:
        api.auth_check(repository)
    files = {}
    for file in info.siblings or ():
        if file.size is not None and file.blob_id is not None:
            sha256 = file.lfs.sha256 if file.lfs else None
            blob = sha256 or file.blob_id
            files[file.rfilename] = RemoteFile(file.rfilename, file.size, blob, sha256)
    card = info.card_data  # publishers write the name of their own licence in another field
    licence = getattr(card, "license_name", None) or getattr(card, "license", None)
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return RepoListing(repository, info.sha, files, licence and short_reason(licence))


def is_unreachable(error: BaseException) -> bool:
    """Whether the hub did not answer or is busy, so that a copy on this machine may serve."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status == TOO_MANY_REQUESTS or status >= SERVER_ERRORS
    return isinstance(error, (transport_error(), OfflineModeIsEnabled))


@functools.cache
def transport_error() -> type[Exception]:
    """Return the parent of what the hub's client raises where a connection fails."""
    # Its errors have it as their first parent, whichever of httpx's names that version has.
    from huggingface_hub.errors import HfHubHTTPError

    parent: type[Exception] = HfHubHTTPError.__bases__[0]
    return parent


def explain(reference: RepoReference, option: str, error: BaseException) -> str:
    """Return why a download failed, and what to do; `option`, if any, names a local place."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    reason = error
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        reason = error.__cause__
    text = short_reason(reason).rstrip(".")
    if isinstance(error, OfflineModeIsEnabled):
        text = "it is not on this machine, and the session is offline"
    private = "run `hf auth login` for what is gated or private"
    if reference.host is Host.GITHUB:
        private = "fetch the release by a browser and unpack it if GitHub is blocked here"
    own = f"or pass a path of yours as `{option}=`" if option else "or fetch it elsewhere"
    return (
        f"'{reference}' cannot be downloaded: {text}. Check the name and the network, {private}, "
        f"{own}."
    )
