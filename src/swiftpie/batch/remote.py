"""The folder of a run in a store of objects, as s3://: drawn in a copy here, sent file by file."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swiftpie.batch.folder import DONE, PLAN, REPORT, Outcome, frames_in
from swiftpie.errors import InputError, short_reason

SENT_EVERY = 50  # outcomes after which the report is sent; those since are drawn again elsewhere


class RemoteFolder:
    """A folder at an address of fsspec. A store of objects holds a file whole or not at all.

    It has no lock: one run at a time is up to its user.
    """

    def __init__(self, address: str) -> None:
        """Copy what earlier runs left; InputError if the address is unreadable."""
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self._address = address
        self._temporary = tempfile.TemporaryDirectory(prefix="swiftpie-")
        self.here = Path(self._temporary.name) / "run"
        self.here.mkdir()
        with self._reached():
            self._store, root = url_to_fs(address, use_listings_cache=False)
            self._root = root.rstrip("/")
            if self._store.exists(self._root):
                self._store.get(f"{self._root}/", f"{self.here}/", recursive=True)

    def sending(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield outcomes once their files were sent, and now and then the report."""
        self._send(self.here / PLAN)  # so that these files are known as this run's
        for number, outcome in enumerate(outcomes, start=1):
            if outcome["status"] == DONE:
                self._send_job(self.here / Path(outcome["file"]).name)
            if number % SENT_EVERY == 0:
                self._send(self.here / REPORT)
            yield outcome

    def close(self) -> None:
        """Send the report, and delete the copy."""
        with self._temporary:
            if (self.here / REPORT).exists():  # else the run did not begin
                self._send(self.here / REPORT)

    def _send_job(self, path: Path) -> None:
        frames, place = frames_in(path), f"{self._root}/{path.name}"
        with self._reached():
            if frames and self._store.exists(place):  # with more frames, maybe
                self._store.rm(place, recursive=True)
        for file in frames or [path]:
            self._send(file)

    def _send(self, path: Path) -> None:
        with self._reached():
            place = path.relative_to(self.here).as_posix()
            self._store.pipe_file(f"{self._root}/{place}", path.read_bytes())

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each store has errors of its own
            self._temporary.cleanup()
            extra = " Install swiftpie[s3]." if isinstance(error, ImportError) else ""
            raise InputError(
                f"--out '{self._address}' cannot be used ({short_reason(error)}).{extra} A place "
                "that exists and can be written to is needed. Check its name and your rights."
            ) from error
