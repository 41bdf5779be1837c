"""Published repositories: references, listings, partial reads, and explanations of failures."""

import difflib
import errno
import functools
import importlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from swiftpie.config import home_folder
from swiftpie.errors import ConfigError, WeightsError, short_reason
from swiftpie.validation import is_portable_name

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")

CONFIG = "config.json"  # the settings of a network, beside its weights
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either is enough
FILE_SUFFIXES = frozenset((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".gz"))
COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = r"[A-Za-z0-9][\w.-]*"
_REFERENCE = re.compile(
    rf"(?P<host>github:)?(?P<repository>{_NAME}/{_NAME})"
    r"(:(?P<path>[^:@\\]+))?(@(?P<revision>[\w./-]+))?",
    re.ASCII,
)

ANSWER_S = 10.0  # for a server to begin an answer, or to continue one
TRIES = 5  # in a row without progress
FIRST_WAIT_S = 1.0  # before the second; doubled each time
MAX_WAIT_S = 60.0  # the longest wait that a server may demand; longer ones are errors
BUSY = frozenset((408, 429, 500, 502, 503, 504))
CHUNK_BYTES = 1 << 20
SHOWN = 5  # names in a message
MAX_LISTED = 50_000  # files of a repository; those of weights have some dozens
MAX_NAME = 1000  # characters of a path; systems take some thousands, with the cache's folder
MAX_PART_BYTES = 200  # of a file's or folder's name; systems take 255, and downloads add a suffix
GITHUB_API = "https://api.github.com"


class Host(StrEnum):
    """Who serves a repository."""

    HUB = "hub"  # of Hugging Face, or HF_ENDPOINT
    GITHUB = "github"  # the files of a release
    NPM = "npm"  # the archives of packages for browsers


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
    found = _REFERENCE.fullmatch(name)
    if found is None or len(name) > MAX_NAME or Path(name).exists():
        return None
    path, repository = found["path"], found["repository"]
    if path is None and PurePosixPath(repository).suffix in FILE_SUFFIXES:
        return None
    if path is not None:
        path = path.strip("/")
        if not _is_safe(path):
            return None
    host = Host.GITHUB if found["host"] else Host.HUB
    return RepoReference(repository, path, found["revision"], host)


class RemoteFile(NamedTuple):
    """A file as its publisher lists it."""

    path: str  # inside of the repository
    size: int  # bytes
    url: str
    blob: str  # what the cache calls its content
    sha256: str | None = None
    git_sha1: str | None = None  # of small files, for which no sha256 is published


@dataclass(frozen=True, eq=False)
class RepoListing:
    """What a repository held at one commit, or a release has."""

    repository: str
    revision: str
    files: Mapping[str, RemoteFile]
    licence: str | None  # as the repository's card states it
    is_gated: bool = False  # whether its licence has to be accepted by name
    host: Host = Host.HUB
    unsafe: tuple[str, ...] = ()  # names that lead elsewhere, hide letters or no disk takes

    def find(self, path: str) -> RemoteFile:
        """Return the file at `path`.

        Raises:
            WeightsError: There is none; the message lists similar names.
        """
        if path not in self.files:
            raise WeightsError(
                f"There is no file '{path}' in {self.repository!r} at {self.revision[:12]}; it may "
                f"have been renamed. {_near(path, self.files)}"
            )
        return self.files[path]


def root_of(reference: RepoReference, listing: RepoListing | None = None) -> Path | None:
    """Return the cache folder of a repository at one commit; None if the commit is unknown.

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
    """Return the files of a repository at the revision of `reference`.

    A listing is kept for ten minutes, so that a plan and its downloads see the same commit.

    Raises:
        HfHubHTTPError: The host has no such repository or revision, refuses access, or is busy.
        HTTPError: The host cannot be reached.
        OSError: What it answers is no list of files.
    """
    list_now = _list_release if reference.host is Host.GITHUB else _list_repository
    moment = int(time.monotonic() // 600)
    try:
        return list_now(reference.repository, reference.revision, _endpoint(reference.host), moment)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise OSError(
            f"the server's answer is no list of files: {type(error).__name__}: {error}"
        ) from error


def read_start(file: RemoteFile, count: int, *, host: Host = Host.HUB) -> bytes:
    """Return the first `count` bytes of a file, or all if it is shorter.

    Raises:
        OSError: The host refuses or cannot be reached; see `explain`.
    """

    def ask() -> bytes:
        with request(file.url, host=host, start=0, stop=count) as response:
            taken = bytearray()
            for chunk in response.iter_bytes():
                taken += chunk
                if len(taken) >= count:  # a server may ignore the range
                    break
            return bytes(taken[:count])

    return retry_while_busy(ask)


@contextmanager
def request(
    url: str, *, host: Host, start: int = 0, stop: int | None = None
) -> Iterator[Any]:  # httpx's response, under whichever name the hub's client imports it
    """Yield the answer to a request for bytes of a file, with the token only for the hub.

    Raises:
        HfHubHTTPError: The server refuses.
        HTTPError: The server cannot be reached.
    """
    client = hub_client()
    headers = client.build_hf_headers(library_name="swiftpie") if host is Host.HUB else {}
    headers["Accept-Encoding"] = "identity"  # else sizes and ranges are of something else
    if start or stop is not None:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
    with client.get_session().stream("GET", url, headers=headers, timeout=ANSWER_S) as response:
        client.hf_raise_for_status(response)
        yield response


def hub_client() -> Any:  # noqa: ANN401 - a module that does not say what it exports
    """Return `huggingface_hub.utils`, which is slow to import."""
    return importlib.import_module("huggingface_hub.utils")


def retry_while_busy(ask: Callable[[], T]) -> T:
    """Return `ask()`, repeated while the server is busy or the connection drops.

    A server that cannot be reached at all is not tried again: a copy on this machine may serve.

    Raises:
        HfHubHTTPError: The server stays busy, or demands a wait of more than `MAX_WAIT_S`.
        HTTPError: The server cannot be reached, or the connection keeps dropping.
    """
    from huggingface_hub.errors import HfHubHTTPError

    for trial in range(TRIES - 1):
        try:
            return ask()
        except HfHubHTTPError as error:
            wait = wait_after(error, trial)
            if wait is None:
                raise
        except transport_error() as error:
            if isinstance(error, _unreachable_errors()):
                raise
            wait = FIRST_WAIT_S * 2**trial
        time.sleep(wait)
    return ask()


def wait_after(error: "HfHubHTTPError", trial: int) -> float | None:
    """Return the seconds to wait before the next try at a busy server; None: give up."""
    if error.response.status_code not in BUSY:
        return None
    demanded = _demanded_wait(error)
    if demanded is None:
        return FIRST_WAIT_S * 2**trial
    return float(demanded) if demanded <= MAX_WAIT_S else None


def _demanded_wait(error: "HfHubHTTPError") -> int | None:
    """Return the seconds that a server demands to wait; None if it does not say."""
    headers = error.response.headers
    wait = str(headers.get("Retry-After", ""))
    if not wait.isdecimal():  # the hub's own form: "api";r=0;t=55
        found = re.search(r"r=0;\s*t=(\d{1,6})", str(headers.get("RateLimit", "")))
        wait = found[1] if found else ""
    return int(wait) if wait else None


def is_unreachable(error: BaseException) -> bool:
    """Whether the host did not answer or is busy, so that a copy on this machine may serve."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in BUSY
    return isinstance(error, (transport_error(), OfflineModeIsEnabled))


@functools.cache
def transport_error() -> type[Exception]:
    """Return the parent of what the hub's client raises where a connection fails."""
    # Its errors have it as their first parent, whichever of httpx's names that version has.
    from huggingface_hub.errors import HfHubHTTPError

    parent: type[Exception] = HfHubHTTPError.__bases__[0]
    return parent


@functools.cache
def _unreachable_errors() -> tuple[type[Exception], ...]:
    httpx = importlib.import_module(transport_error().__module__)  # or httpx2, by the hub's version
    return httpx.ConnectError, httpx.ConnectTimeout


def explain(reference: RepoReference, option: str, error: BaseException) -> str:
    """Return why a download failed, and what to do; `option` names a local place instead."""
    reason, remedy = _failure(reference.repository, error)
    return (
        f"'{reference}' cannot be downloaded: {reason}. {remedy}, or get it another way and pass "
        f"its path as `{option}=`."
    )


def _failure(repository: str, error: BaseException) -> tuple[str, str]:
    """Return why the hub gave nothing, and what to do; the more special errors come first."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            accept = f"Accept it on https://huggingface.co/{repository}"
            return "its licence has to be accepted first", f"{accept}, run `hf auth login`"
        case RepositoryNotFoundError():
            reason = "there is no such repository, or a private one"
            return reason, "Check the name, run `hf auth login` if it is private"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            reason = "it is not on this machine, and the session is offline"
            return reason, "Go online once, without `offline=True` and HF_HUB_OFFLINE"
        case EntryNotFoundError() | RevisionNotFoundError():
            return "there is no such file or version in it", "Check the name"
        case HfHubHTTPError():
            return _refusal(error)
        case OSError(errno=errno.ENOSPC):
            return "the disk is full", "Make room where HF_HOME is, and run it again to go on"
        case _ if isinstance(error, transport_error()):
            reason = f"the connection failed ({short_reason(error)})"
            return reason, "Check the network, and run it again to go on where it stopped"
        case _:
            return short_reason(error), "Try again"


def _refusal(error: "HfHubHTTPError") -> tuple[str, str]:
    status, demanded = error.response.status_code, _demanded_wait(error)
    again = "Try again later" if demanded is None else f"Try again in {demanded} s"
    if error.response.headers.get("X-RateLimit-Remaining") == "0":  # GitHub's answer is 403
        return "the request limit is reached", "Try again in an hour"
    match status:
        case 401:
            return "your token was refused", "Run `hf auth login`, or unset HF_TOKEN"
        case 403:
            return "your token does not allow it", "Give it the right to read such repositories"
        case 429:
            return "the request limit is reached", again
        case _:
            return f"it answered with status {status}", again


def _near(path: str, names: Collection[str]) -> str:
    """Return advice for a path that is not among `names`: ones called alike, in any folder."""
    by_name = {PurePosixPath(name).name: name for name in names}
    near = difflib.get_close_matches(PurePosixPath(path).name, by_name, n=3)
    if near:
        return f"Did you mean {' or '.join(by_name[name] for name in near)}?"
    alike = sorted(name for name in names if name.endswith(PurePosixPath(path).suffix))[:SHOWN]
    return f"It holds {', '.join(alike) or 'no such files'}. Choose one of those."


def _endpoint(host: Host) -> str:
    if host is Host.GITHUB:
        return os.environ.get("GITHUB_API_URL", GITHUB_API).rstrip("/")
    from huggingface_hub import constants

    return constants.ENDPOINT


@functools.lru_cache(maxsize=64)
def _list_repository(
    repository: str, revision: str | None, endpoint: str, _moment: int
) -> RepoListing:
    from huggingface_hub import HfApi, hf_hub_url

    api = HfApi(endpoint=endpoint, library_name="swiftpie")
    info = retry_while_busy(
        lambda: api.model_info(repository, revision=revision, files_metadata=True, timeout=ANSWER_S)
    )
    commit = info.sha
    if commit is None or not COMMIT.fullmatch(commit) or len(info.siblings or ()) > MAX_LISTED:
        raise ValueError("the hub lists no commit, or too many files")
    if info.gated:
        retry_while_busy(lambda: api.auth_check(repository))
    files, unsafe = {}, []
    for sibling in info.siblings or ():
        path = sibling.rfilename
        if not _is_safe(path):
            unsafe.append(path)
        if sibling.size is None or sibling.blob_id is None or not _is_safe(path):
            continue
        url = hf_hub_url(repository, path, revision=commit, endpoint=endpoint)
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        blob = sha256 or sibling.blob_id
        if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", blob):
            git = None if sha256 else sibling.blob_id
            files[path] = RemoteFile(path, sibling.size, url, blob, sha256, git)
    card = info.card_data  # of a licence of their own, publishers write the name beside
    licence = getattr(card, "license_name", None) or getattr(card, "license", None)
    return RepoListing(
        *(repository, commit, files, _one(licence), bool(info.gated)), unsafe=tuple(unsafe)
    )


@functools.lru_cache(maxsize=64)
def _list_release(repository: str, tag: str | None, endpoint: str, _moment: int) -> RepoListing:
    which = "latest" if tag is None else f"tags/{tag}"
    url = f"{endpoint}/repos/{repository}/releases/{which}"

    def ask() -> bytes:
        with request(url, host=Host.GITHUB) as response:
            response.read()
            content: bytes = response.content
            return content

    found = json.loads(retry_while_busy(ask))
    files = {}
    for asset in found["assets"][:MAX_LISTED]:
        path = str(asset["name"])
        digest = str(asset.get("digest") or "").removeprefix("sha256:")  # newer ones have it
        sha256 = digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None
        if _is_safe(path):
            address = str(asset["browser_download_url"])
            files[path] = RemoteFile(path, int(asset["size"]), address, path, sha256)
    return RepoListing(repository, str(found["tag_name"]), files, None, host=Host.GITHUB)


def _is_safe(path: str) -> bool:
    """Whether a name that a server gave stays below its folder, is readable, and fits on disks."""
    parts = path.split("/")
    is_inside = all(map(is_portable_name, parts))  # so none is "..", either
    is_short = len(path) <= MAX_NAME and all(len(part) <= MAX_PART_BYTES for part in parts)
    if not (is_inside and is_short and path.isprintable()):  # which no half of a surrogate pair is
        return False
    return all(len(part.encode()) <= MAX_PART_BYTES for part in parts)


def _one(licence: object) -> str | None:
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return None if licence is None else short_reason(licence)
