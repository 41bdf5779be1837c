"""A run draws what is left of its plan, by one process or several, each job exactly once."""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from swiftpie.batch.folder import (
    DONE,
    FAILED,
    REFUSED,
    Outcome,
    Report,
    check_others,
    digest,
    frames_in,
    kept_of,
    locked_folder,
    manifest_of,
    read_manifest,
    write_manifest,
)
from swiftpie.batch.jobs import Batch, BatchJob, Jobs, Model, batches_of
from swiftpie.engine.load import load
from swiftpie.engine.session import Session, draw_isolated
from swiftpie.errors import InputError, SwiftPieError, WeightsError, short_reason
from swiftpie.faces import FaceSettings
from swiftpie.imageio.atomic import make_folder, write_file
from swiftpie.imageio.originals import composite, lost_credentials, read_original
from swiftpie.imageio.writing import encode_animation, encode_image, frame_files
from swiftpie.pipelines.animation import AnimateRequest, FilmFormat
from swiftpie.pipelines.choose import Choice, with_sources
from swiftpie.pipelines.tasks import EditRequest, Request, RetouchRequest
from swiftpie.types import EditResult, GenerationResult, Identity

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from PIL import Image

    from swiftpie.imageio.writing import PictureData
    from swiftpie.pipelines.request import Source

MAX_IDENTITIES = 8  # identities that are kept; jobs of one subject follow each other
MAX_ENDS = 6  # so many processes in a row may end without a picture
ENDED = "The process that drew it ended each time. Is there enough memory?"


class CannotWrite(SwiftPieError):  # noqa: N818 - reads as what it is
    """The folder takes no more files, so the run has to stop."""


@dataclass(frozen=True)
class Work:
    """What every process of a run needs."""

    folder: Path  # where pictures go
    suffix: str
    loading: Mapping[Model, Mapping[str, Any]]  # keywords of `load`
    missing: Mapping[Model, str] = field(default_factory=dict)  # why models cannot be loaded
    # How faces are found, of models with such jobs; or why they cannot be.
    faces: Mapping[Model, FaceSettings | str] = field(default_factory=dict)
    load: Callable[..., Session] = load
    # Where each process computes, by model; without one, where `loading` says.
    devices: Mapping[Model, Sequence[str]] = field(default_factory=dict)
    sign: Path | None = None  # a PEM file for content credentials

    def path_of(self, name: str, spec: Mapping[str, Any]) -> Path:
        """Return the file of a job's picture, or the file or folder of its animation."""
        own = spec.get("format")
        return self.folder / f"{name}{self.suffix if own is None else FilmFormat(own).suffix}"


class Drawer:
    """Draws batches, one model at a time; subjects are encoded once."""

    def __init__(
        self,
        work: Work,
        *,
        number: int = 0,  # of its process
        write: Callable[[Path, Mapping[Path, bytes]], object] | None = None,
    ) -> None:
        self._work, self._number, self._write = work, number, write or write_files
        self._missing = dict(work.missing)
        self._loaded: tuple[Model, Session] | None = None
        self._faceless = ""  # why the loaded session finds no faces
        self._identity_of: Callable[[Source], Identity]  # encoder of the loaded session

    def draw(self, batch: Batch) -> list[Outcome]:
        """Draw a batch and return the outcomes of its wanted jobs.

        A job that fails has an outcome too; the others of the batch are drawn without it.

        Raises:
            CannotWrite: The folder takes no more files.
            SwiftPieError: The only model of the run cannot be loaded.
        """
        session = self._session(batch.model)
        if session is None:
            failed = {"status": FAILED, "reason": self._missing[batch.model]}
            jobs = [job for job in batch.jobs if job.id in batch.wanted]
            return [{"id": job.id, "place": job.place, **failed} for job in jobs]
        started = time.perf_counter()
        drawn = draw_isolated(session, batch.jobs, self._request, failures=(Exception,))
        spent = (time.perf_counter() - started) * 1000 / len(batch.jobs)
        outcomes: list[Outcome] = []
        for job, made in zip(batch.jobs, drawn, strict=True):
            if job.id not in batch.wanted:
                continue
            try:
                if isinstance(made, Exception):
                    raise made
                outcome = self._finish(session, job, *made)
            except CannotWrite:
                raise
            except SwiftPieError as error:
                outcome = {"status": FAILED, "reason": str(error)}
            except Exception as error:  # noqa: BLE001 - the report names it
                reason = f"{type(error).__name__}: {short_reason(error)}."
                outcome = {"status": FAILED, "reason": f"{reason} SwiftPie did not expect this."}
            outcomes.append({"id": job.id, "place": job.place, **outcome, "ms": round(spent, 1)})
        return outcomes

    def _session(self, model: Model) -> Session | None:
        if model in self._missing:
            return None
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # frees memory for the next
            try:
                session = self._load(model)
            except SwiftPieError as error:
                if len(self._work.loading) == 1:
                    raise
                self._missing[model] = str(error)
                return None
            self._loaded = (model, session)
            self._identity_of = functools.lru_cache(MAX_IDENTITIES)(session.identity_of)
        return self._loaded[1]

    def _load(self, model: Model) -> Session:
        loading, faces = self._work.loading[model], self._work.faces.get(model)
        if devices := self._work.devices.get(model):
            loading = {**loading, "device": devices[self._number % len(devices)]}
        session = self._work.load(**loading)
        self._faceless = faces if isinstance(faces, str) else ""
        if isinstance(faces, FaceSettings):
            try:
                return session.with_face_encoder(faces.open())
            except SwiftPieError as error:  # jobs without a face do without it
                self._faceless = str(error)
        return session

    def _request(self, job: BatchJob) -> Request:
        if job.has_faces and self._faceless:
            raise WeightsError(self._faceless)
        return with_sources(job.request, self._identity_of)

    def _finish(
        self,
        session: Session,
        job: BatchJob,
        choice: Choice[Any],
        drawn: GenerationResult | EditResult,
    ) -> dict[str, Any]:
        warnings = [*drawn.warnings]
        chosen: dict[str, Any] = {"seed": job.spec["seed"]}
        if drawn.scores:
            seed = drawn.seed if isinstance(drawn, EditResult) else drawn.seeds[0]
            chosen = {"seed": seed, **drawn.scores[0]}
        if isinstance(choice.request, EditRequest) and not choice.follows_seed:
            warnings.append("The seed has no effect: nothing of this edit is random.")
        path = self._work.path_of(job.id, job.spec)
        files = _files_of(job, drawn, path, sign=self._work.sign)
        if isinstance(job.request, EditRequest | RetouchRequest) and not self._work.sign:
            lost = lost_credentials(job.request.image)
            warnings += [f"The edited picture does not keep {each}." for each in lost]
        self._write(path, files)
        return {
            "status": DONE,
            "file": path.name,
            "bytes": sum(map(len, files.values())),
            "sha256": digest(files[name] for name in sorted(files)),
            "prompt": job.spec["prompt"],
            **chosen,
            "preset": session.components.preset.name,
            "branches": list(drawn.branches),
            "cutouts": [[picture._asdict() for picture in pictures] for pictures in drawn.cutouts],
            **({"named": [named._asdict() for named in drawn.named]} if drawn.named else {}),
            "warnings": warnings,
        }


def write_files(path: Path, files: Mapping[Path, bytes]) -> None:
    """Write the files of a job, whose place is `path`; CannotWrite if the folder takes no more."""
    try:
        for name, data in files.items():
            if name != path:  # a frame in its folder
                make_folder(path)
            write_file(name, data, force=True)
        for old in {*frames_in(path)} - {*files}:  # left by a longer animation
            old.unlink()
    except InputError as error:
        raise CannotWrite(f"{error} Finished pictures are kept.") from error


def _files_of(
    job: BatchJob, drawn: GenerationResult | EditResult, path: Path, *, sign: Path | None
) -> dict[Path, bytes]:
    """Return the files of a job: its picture, or the animation or the frames of one."""
    facts, source = drawn.record, None
    if isinstance(drawn, EditResult):
        assert isinstance(job.request, EditRequest | RetouchRequest), "they change a picture"
        assert isinstance(job.request.image, Path), "lines name files"
        source = job.request.image
        image: Image.Image | PictureData = composite(
            read_original(source), drawn.edited, drawn.blend
        )
    elif isinstance(job.request, AnimateRequest):
        if job.spec["format"] == FilmFormat.FRAMES:
            return frame_files(drawn.images, path, metadata=facts, sign=sign)
        film = {"fps": job.spec["fps"], "metadata": facts, "sign": sign}
        return {path: encode_animation(drawn.images, path.suffix, **film)}
    else:
        image = drawn.images[0]
    given: Any = {"metadata": facts, "name": f"'{path.name}'", "sign": sign, "source": source}
    return {path: encode_image(image, path.suffix, **given)}


class Run(NamedTuple):
    """What is left to draw, and its report."""

    batches: list[Batch]
    report: Report
    num_done: int  # jobs that were done before
    processes: int
    num_threads: int  # threads a process; another number may change pictures by a level of 255


@contextmanager
def open_run(
    jobs: Jobs,
    work: Work,
    *,
    batch: int,
    settings: Mapping[str, Any],
    processes: int = 1,
    threads: int | None = None,
    update: bool = False,
    force: bool = False,
) -> Iterator[Run]:
    """Yield what is left of a run in `work.folder`, which is locked meanwhile.

    Args:
        jobs: All jobs.
        work: The folder and how models are loaded.
        batch: Most jobs drawn in one pass.
        settings: Further options that change pictures, as JSON has them.
        processes: They share the cores of this machine, unless each has `threads`; a folder keeps
            the threads of each from its first run.
        threads: Of each process, as far as the folder has none.
        update: Continue although jobs changed since the first run.
        force: Draw all again.

    Raises:
        ConfigError: Another run is active there, or the folder holds another run or other files.
        InputError: It cannot be written to.
    """
    with locked_folder(work.folder):
        before = None if force else read_manifest(work.folder)
        threads = threads or max(1, torch.get_num_threads() // processes)
        if before is not None:
            threads = int(before.run.get("threads", threads))
        about = {"batch": batch, "suffix": work.suffix, "threads": threads, **settings}
        manifest = manifest_of(jobs, about)
        done = {} if before is None else kept_of(before, manifest, work.folder, update=update)
        if not force:
            check_others(manifest, before, work.path_of)
        refused = [
            {"id": None, "place": row.place, "status": REFUSED, "reason": row.reason}
            for row in jobs.refused
        ]
        order = [job.id for job in jobs.jobs]
        # Before the manifest: after a kill, no line is then read as that of a changed job.
        report = Report(work.folder, [*done.values(), *refused], order=order)
        left = batches_of(jobs, batch, wanted=[name for name in order if name not in done])
        try:
            write_manifest(work.folder, manifest)
            yield Run(left, report, len(done), processes, threads)
        except BaseException:
            with suppress(SwiftPieError):  # the first failure is the one to report
                report.close()
            raise
        report.close()


Submit = Callable[[Batch], "Future[list[Outcome]]"]
"""Lets a batch be drawn. The future has `BrokenExecutor` where what drew it ended."""

Workers = Callable[[int], AbstractContextManager[Submit]]
"""Starts as many processes as a number says, which draw in the block."""


def draw(
    run: Run,
    work: Work,
    *,
    stop: threading.Event | None = None,
    workers: Workers | None = None,  # by default processes of this machine
) -> Iterator[Outcome]:
    """Draw what is left; yield the outcome of each job once it is in the report.

    Once `stop` is set, the batch in progress is finished and no other is started.

    Raises:
        InputError: The disk is full.
        SwiftPieError: A model cannot be loaded, or processes cannot be started.
    """
    stop = stop or threading.Event()
    is_alone = workers is None and min(run.processes, len(run.batches)) <= 1
    workers = workers or functools.partial(_processes, work, run.num_threads)
    for outcome in _draw_here(run, work, stop) if is_alone else _draw_by(workers, run, stop):
        run.report.add(outcome)
        yield outcome


@contextmanager
def stopping(on_first: Callable[[], object]) -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one interrupts at once.

    `on_first` is called at the first.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        on_first()

    names = (signal.SIGINT, signal.SIGTERM)
    is_ours = threading.current_thread() is threading.main_thread()
    before = [signal.signal(name, handle) for name in names] if is_ours else []
    try:
        yield stop
    finally:
        for name, handler in zip(names, before, strict=False):
            signal.signal(name, handler)


def _draw_here(run: Run, work: Work, stop: threading.Event) -> Iterator[Outcome]:
    drawer, before = Drawer(work), torch.get_num_threads()
    torch.set_num_threads(run.num_threads)
    try:
        for batch in run.batches:
            if stop.is_set():
                return
            yield from drawer.draw(batch)
    finally:
        torch.set_num_threads(before)


def _draw_by(workers: Workers, run: Run, stop: threading.Event) -> Iterator[Outcome]:
    # Where one ends, all batches in progress are drawn again by one alone, then job by job.
    left, again, ends = deque(run.batches), deque[Batch](), 0
    while (left or again) and not stop.is_set():
        is_alone, queue = bool(again), again or left
        count = 1 if is_alone else min(run.processes, len(left))
        drawing: dict[Future[list[Outcome]], Batch] = {}
        with workers(count) as submit:
            try:
                while drawing or (queue and not stop.is_set()):
                    while queue and len(drawing) < count and not stop.is_set():
                        future = submit(queue[0])
                        drawing[future] = queue.popleft()
                    for future in wait(drawing, return_when=FIRST_COMPLETED).done:
                        outcomes = future.result()
                        del drawing[future]
                        ends = 0
                        yield from outcomes
            except BrokenExecutor as error:
                ends += 1
                if ends > MAX_ENDS:
                    raise SwiftPieError(
                        f"Processes ended {ends} times one after another, and drew nothing. Memory "
                        "may be too little for so many. Choose fewer --processes."
                    ) from error
                for batch in drawing.values():
                    wanted = [job for job in batch.jobs if job.id in batch.wanted]
                    if not is_alone:
                        again.append(batch)
                    elif len(batch.jobs) > 1:
                        again.extend(Batch((job,), frozenset({job.id})) for job in wanted)
                    else:
                        (job,) = wanted
                        yield {"id": job.id, "place": job.place, "status": FAILED, "reason": ENDED}


@contextmanager
def _processes(work: Work, num_threads: int, count: int) -> Iterator[Submit]:
    # No forks of this one, as accelerators and threads of PyTorch do not survive that.
    context, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    numbers = context.SimpleQueue()
    for number in range(count):
        numbers.put(number)
    begin = (work, num_threads, numbers)
    pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=begin)
    try:
        yield lambda batch: pool.submit(_draw, batch)
    finally:
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        pool.shutdown(cancel_futures=True)


def _begin(work: Work, num_threads: int, numbers: "SimpleQueue[int]") -> None:
    """Begin a process, which ends with its parent and keeps its networks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    torch.set_num_threads(num_threads)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a process of a run"

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    _own.append(Drawer(work, number=numbers.get()))


_own: list[Drawer] = []  # of this process, if it is one of a run


def _draw(batch: Batch) -> list[Outcome]:
    return _own[0].draw(batch)
