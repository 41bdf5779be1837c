"""A run draws what is left of its plan, by one process or several, each job exactly once."""

import itertools
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

from swiftpie.batch.draw import Drawer, Work
from swiftpie.batch.folder import (
    FAILED,
    REFUSED,
    Outcome,
    Report,
    RunManifest,
    differences,
    locked_folder,
    manifest_of,
    read_done,
    read_manifest,
    write_manifest,
)
from swiftpie.batch.jobs import Batch, Jobs, batches_of
from swiftpie.errors import ConfigError, SwiftPieError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

TRIES = 3  # of a batch whose process ends: twice whole, then job by job
MAX_EXITS = 6  # of processes, one after another, that never drew anything


class Run(NamedTuple):
    """What is left to draw, and its report."""

    batches: list[Batch]
    report: Report
    num_done: int  # jobs that were done before
    processes: int
    num_threads: int  # of each process; another number may change a picture by a level of 255


@contextmanager
def open_run(
    jobs: Jobs,
    work: Work,
    *,
    batch: int,
    settings: Mapping[str, Any],
    processes: int = 1,
    update: bool = False,
    force: bool = False,
) -> Iterator[Run]:
    """Yield what is left of a run in `work.folder`, which is locked meanwhile.

    Args:
        jobs: All jobs.
        work: The folder and how models are loaded.
        batch: Most jobs drawn in one pass.
        settings: Further options that change pictures, as JSON has them.
        processes: How many may draw. They share the processor's cores, of which each keeps as many
            as it had when the folder was manifest.
        update: Go on although jobs differ from those that the folder was begun with.
        force: Begin anew.

    Raises:
        ConfigError: Another run is active there, or the folder holds another run or other files.
        InputError: It cannot be written to.
    """
    with locked_folder(work.folder):
        before = None if force else read_manifest(work.folder)
        threads = max(1, torch.get_num_threads() // processes)
        if before is not None:
            threads = int(before.run.get("threads", threads))
        about = {"batch": batch, "suffix": work.suffix, "threads": threads, **settings}
        manifest = manifest_of(jobs, about)
        done = {} if before is None else _kept(before, manifest, work.folder, update=update)
        if not force:
            _check_others(work, manifest, before)
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


Draw: TypeAlias = Callable[[Run, Work, threading.Event], Iterator[Outcome]]


def draw(
    run: Run, work: Work, *, stop: threading.Event | None = None, by: Draw | None = None
) -> Iterator[Outcome]:
    """Draw what is left; yield the outcome of each job once it is in the report.

    `by` yields the outcomes, and is by default this process or several. Once `stop` is set, the
    batch in progress is finished and no other is started.

    Raises:
        InputError: The disk is full.
        SwiftPieError: A model cannot be loaded, or processes cannot be started.
    """
    if by is None:
        is_alone = min(run.processes, len(run.batches)) <= 1
        by = _draw_here if is_alone else _draw_by_processes
    for outcome in by(run, work, stop or threading.Event()):
        run.report.add(outcome)
        yield outcome


@contextmanager
def stopping(tell: Callable[[], object]) -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one interrupts at once.

    `tell` is called at the first.
    """
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell()

    names = (signal.SIGINT, signal.SIGTERM)
    is_ours = threading.current_thread() is threading.main_thread()
    before = [signal.signal(name, ask) for name in names] if is_ours else []
    try:
        yield stop
    finally:
        for name, handler in zip(names, before, strict=False):
            signal.signal(name, handler)


def _kept(
    before: RunManifest, manifest: RunManifest, folder: Path, *, update: bool
) -> dict[str, Outcome]:
    """Return the outcomes of jobs that are finished and unchanged."""
    done = read_done(folder)
    changes = differences(before, manifest, done=done)
    if changes and (before.run != manifest.run or not update):
        remedy = "draw all anew with --force"
        if before.run == manifest.run:
            remedy = f"keep what is the same and draw the rest with --update, or {remedy}"
        raise ConfigError(
            f"'{folder}' holds another run. {' '.join(changes)} Choose another --out, or {remedy}."
        )
    same = {name for name, job in manifest.jobs.items() if before.jobs.get(name) == job}
    return {name: row for name, row in done.items() if name in same}


def _check_others(work: Work, manifest: RunManifest, before: RunManifest | None) -> None:
    ours = {} if before is None else before.jobs
    taken = [name for name in manifest.jobs if name not in ours and work.path_of(name).exists()]
    if taken:
        raise ConfigError(
            f"'{work.path_of(taken[0])}' exists already, and no run that is known here wrote it. "
            "Choose another --out, or replace such files with --force."
        )


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


class _Task(NamedTuple):
    batch: Batch
    tries: int = 0


class _WorkerProcess:
    """A process that draws, with its queue of batches."""

    def __init__(self, work: Work, num_threads: int, queue: "deque[_Task]") -> None:
        # Not a fork of this one, as accelerators and threads of PyTorch do not survive that.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.queue = queue
        self.task: _Task | None = None
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, work, num_threads), daemon=True
        )
        self.process.start()
        theirs.close()

    def take(self, others: "Sequence[_WorkerProcess]") -> None:
        """Start the next batch; with an empty queue, take half of the longest other queue."""
        if not self.queue:
            longest = max((other.queue for other in others), key=len)
            for _ in range((len(longest) + 1) // 2):
                self.queue.appendleft(longest.pop())
        self.task = self.queue.popleft() if self.queue else None
        if self.task is not None:
            with suppress(BrokenPipeError):  # the process has ended; `answer` finds out
                self.connection.send(self.task.batch)

    def answer(self) -> Any:  # noqa: ANN401 - outcomes, an error, or None
        """Return the next answer; None if the process has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Close the connection and end the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _draw_by_processes(run: Run, work: Work, stop: threading.Event) -> Iterator[Outcome]:
    """Draw with several processes, each of which starts with a stretch of its own."""
    batches, count = run.batches, min(run.processes, len(run.batches))
    bounds = [len(batches) * number // count for number in range(count + 1)]
    queues = [deque(map(_Task, batches[a:b])) for a, b in itertools.pairwise(bounds)]
    workers = [_WorkerProcess(work, run.num_threads, queue) for queue in queues]
    exits = 0
    try:
        while True:
            for worker in workers:
                if worker.task is None and not stop.is_set():
                    worker.take(workers)
            busy = [worker for worker in workers if worker.task is not None]
            if not busy:
                return
            answered = wait([worker.connection for worker in busy])
            for worker in [process for process in busy if process.connection in answered]:
                answer, task, worker.task = worker.answer(), worker.task, None
                assert task is not None, "only those that draw are waited for"
                if isinstance(answer, SwiftPieError):
                    raise answer
                exits = 0 if answer is not None else exits + 1
                if answer is None:
                    yield from _after_exit(worker, task, exits)
                    worker.end()
                    workers[workers.index(worker)] = _WorkerProcess(
                        work, run.num_threads, worker.queue
                    )
                else:
                    yield from answer
    finally:
        for worker in workers:
            worker.end()


def _after_exit(worker: _WorkerProcess, task: _Task, exits: int) -> Iterator[Outcome]:
    """Put the batch of an ended process back into its queue, or report its jobs as failed."""
    worker.process.join()
    code = worker.process.exitcode
    how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
    if exits > MAX_EXITS:
        raise SwiftPieError(
            f"{exits} processes ended one after another, the last {how}, and drew nothing. "
            "Memory may be too little for so many. Choose fewer --processes."
        )
    batch, tries = task.batch, task.tries + 1
    if tries == TRIES - 1 and len(batch.jobs) > 1:
        wanted = [job for job in batch.jobs if job.id in batch.wanted]
        alone = [_Task(Batch((job,), frozenset({job.id})), tries) for job in wanted]
        worker.queue.extendleft(reversed(alone))
    elif tries < TRIES:
        worker.queue.appendleft(_Task(batch, tries))
    else:
        reason = f"The process that drew it ended {how}, {TRIES} times. Is there enough memory?"
        for job in batch.jobs:
            if job.id in batch.wanted:
                yield {"id": job.id, "place": job.place, "status": FAILED, "reason": reason}


def _serve(connection: Connection, work: Work, num_threads: int) -> None:
    """Draw batches until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    torch.set_num_threads(num_threads)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a process of a run"
    drawer = Drawer(work, is_wanted=parent.is_alive)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            batch = connection.recv()
            try:
                answer: Any = drawer.draw(batch)
            except SwiftPieError as error:
                answer = error
            connection.send(answer)
