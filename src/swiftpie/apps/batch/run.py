"""A run: what is left of a plan is drawn by one process or several, each job exactly once."""

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
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from swiftpie.apps.batch.draw import Drawer, Work
from swiftpie.apps.batch.jobs import Jobs
from swiftpie.apps.batch.plan import (
    Batch,
    Begun,
    batches_of,
    begun_by,
    differences,
    read_begun,
    write_begun,
)
from swiftpie.apps.batch.report import FAILED, REFUSED, Outcome, Report, owned, read_done
from swiftpie.errors import ConfigError, SwiftPieError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

TRIES = 3  # of a batch whose process ends: twice whole, then job by job
MOST_DEATHS = 6  # of processes, one after another, that never drew anything


class Run(NamedTuple):
    """What is left to draw, and where it is told."""

    batches: list[Batch]
    report: Report
    num_done: int  # jobs that were done before
    processes: int
    num_threads: int  # of each process; another number may change a picture by a level of 255


@contextmanager
def opened(
    jobs: Jobs,
    work: Work,
    *,
    batch: int,
    settings: Mapping[str, Any],
    processes: int = 1,
    update: bool = False,
    force: bool = False,
) -> Iterator[Run]:
    """Yield what is left of a run in `work.folder`, which belongs to it meanwhile.

    Args:
        jobs: All jobs.
        work: Where they are drawn.
        batch: How many may be drawn in one pass.
        settings: What else decides about all pictures, as JSON has it.
        processes: How many may draw. They share the processor's cores, of which each keeps as many
            as it had when the folder was begun.
        update: Go on although jobs differ from those that the folder was begun with.
        force: Begin anew.

    Raises:
        ConfigError: Another run is at work there, or it holds another run, or files of others.
        InputError: It cannot be written to.
    """
    with owned(work.folder):
        before = None if force else read_begun(work.folder)
        threads = max(1, torch.get_num_threads() // processes)
        if before is not None:
            threads = int(before.run.get("threads", threads))
        about = {"batch": batch, "suffix": work.suffix, "threads": threads, **settings}
        begun = begun_by(jobs, about)
        done = {} if before is None else _kept(before, begun, work.folder, update=update)
        if not force:
            _check_others(work, begun, before)
        refused = [
            {"id": None, "place": one.place, "status": REFUSED, "reason": one.reason}
            for one in jobs.refused
        ]
        order = [job.id for job in jobs.jobs]
        # First, so that after a kill no line is taken for one of a job that has changed.
        report = Report(work.folder, [*done.values(), *refused], order=order)
        left = batches_of(jobs, batch, wanted=[name for name in order if name not in done])
        try:
            write_begun(work.folder, begun)
            yield Run(left, report, len(done), processes, threads)
        except BaseException:
            with suppress(SwiftPieError):  # the first failure is the one to tell
                report.close()
            raise
        report.close()


def draw(run: Run, work: Work, *, stop: threading.Event | None = None) -> Iterator[Outcome]:
    """Draw what is left; yield what became of each job, when the report tells it.

    Once `stop` is set, what was begun is finished and nothing else begun.

    Raises:
        InputError: There is no room for pictures or the report.
        SwiftPieError: A model cannot be loaded, or processes cannot run here.
    """
    stop = stop or threading.Event()
    is_alone = min(run.processes, len(run.batches)) <= 1
    for outcome in (_alone if is_alone else _shared)(run, work, stop):
        run.report.add(outcome)
        yield outcome


@contextmanager
def stopping(tell: Callable[[], object]) -> Iterator[threading.Event]:
    """Yield what the first Ctrl-C, or request to end, sets; a second one interrupts at once.

    `tell` is called when it comes.
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


def _kept(before: Begun, begun: Begun, folder: Path, *, update: bool) -> dict[str, Outcome]:
    """Return the outcomes of jobs that need not be drawn again.

    Raises:
        ConfigError: The folder holds another run.
    """
    done = read_done(folder)
    told = differences(before, begun, done=done)
    if told and (before.run != begun.run or not update):
        remedy = "draw all anew with --force"
        if before.run == begun.run:
            remedy = f"keep what is the same and draw the rest with --update, or {remedy}"
        raise ConfigError(
            f"'{folder}' holds another run. {' '.join(told)} Choose another --out, or {remedy}."
        )
    same = {name for name, job in begun.jobs.items() if before.jobs.get(name) == job}
    return {name: row for name, row in done.items() if name in same}


def _check_others(work: Work, begun: Begun, before: Begun | None) -> None:
    ours = {} if before is None else before.jobs
    taken = [name for name in begun.jobs if name not in ours and work.path_of(name).exists()]
    if taken:
        raise ConfigError(
            f"'{work.path_of(taken[0])}' exists already, and no run that is known here wrote it. "
            "Choose another --out, or replace such files with --force."
        )


def _alone(run: Run, work: Work, stop: threading.Event) -> Iterator[Outcome]:
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


class _Hand:
    """A process that draws, and what it has to draw."""

    def __init__(self, work: Work, num_threads: int, lane: "deque[_Task]") -> None:
        # Not a fork of this one, as accelerators and threads of PyTorch do not survive that.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.lane = lane
        self.task: _Task | None = None
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, work, num_threads), daemon=True
        )
        self.process.start()
        theirs.close()

    def take(self, others: "Sequence[_Hand]") -> None:
        """Begin with what comes next, or with the last half of what another has left."""
        if not self.lane:
            longest = max((one.lane for one in others), key=len)
            for _ in range((len(longest) + 1) // 2):
                self.lane.appendleft(longest.pop())
        self.task = self.lane.popleft() if self.lane else None
        if self.task is not None:
            with suppress(BrokenPipeError):  # it has ended, which `answer` will find
                self.connection.send(self.task.batch)

    def answer(self) -> Any:  # noqa: ANN401 - outcomes, an error, or None
        """Return what it says; None if it has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Let go of the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _shared(run: Run, work: Work, stop: threading.Event) -> Iterator[Outcome]:
    """Draw with several processes, each of which begins with a stretch of its own.

    Raises:
        SwiftPieError: One of them cannot go on, or they end without having drawn anything.
    """
    batches, count = run.batches, min(run.processes, len(run.batches))
    bounds = [len(batches) * number // count for number in range(count + 1)]
    lanes = [deque(map(_Task, batches[a:b])) for a, b in itertools.pairwise(bounds)]
    hands = [_Hand(work, run.num_threads, lane) for lane in lanes]
    deaths = 0
    try:
        while True:
            for hand in hands:
                if hand.task is None and not stop.is_set():
                    hand.take(hands)
            busy = [hand for hand in hands if hand.task is not None]
            if not busy:
                return
            heard = wait([hand.connection for hand in busy])
            for hand in [one for one in busy if one.connection in heard]:
                answer, task, hand.task = hand.answer(), hand.task, None
                assert task is not None, "only those that draw are waited for"
                if isinstance(answer, SwiftPieError):
                    raise answer
                deaths = 0 if answer is not None else deaths + 1
                if answer is None:
                    yield from _after_death(hand, task, deaths)
                    hand.end()
                    hands[hands.index(hand)] = _Hand(work, run.num_threads, hand.lane)
                else:
                    yield from answer
    finally:
        for hand in hands:
            hand.end()


def _after_death(hand: _Hand, task: _Task, deaths: int) -> Iterator[Outcome]:
    """Put a batch whose process ended back into its lane, or give it up.

    Raises:
        SwiftPieError: Process after process ends.
    """
    hand.process.join()
    code = hand.process.exitcode
    how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
    if deaths > MOST_DEATHS:
        raise SwiftPieError(
            f"{deaths} processes ended one after another, the last {how}, and drew nothing. "
            "Memory may be too little for so many. Choose fewer --processes."
        )
    batch, tries = task.batch, task.tries + 1
    if tries == TRIES - 1 and len(batch.jobs) > 1:
        wanted = [job for job in batch.jobs if job.id in batch.wanted]
        alone = [_Task(Batch((job,), frozenset({job.id})), tries) for job in wanted]
        hand.lane.extendleft(reversed(alone))
    elif tries < TRIES:
        hand.lane.appendleft(_Task(batch, tries))
    else:
        reason = f"The process that drew it ended {how}, {TRIES} times. Is there enough memory?"
        for job in batch.jobs:
            if job.id in batch.wanted:
                yield {"id": job.id, "place": job.place, "status": FAILED, "reason": reason}


def _serve(connection: Connection, work: Work, num_threads: int) -> None:
    """Draw what comes, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks
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
