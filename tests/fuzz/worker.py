"""A process that reads hostile files, one after the other, and what each of them took."""

import logging
import multiprocessing
import tempfile
import time
import warnings
from pathlib import Path

LONGEST_S = 2.0  # of a processor's time
MOST_MIB = 1024
GIVEN_UP_S = 30  # on a clock, which runs on while others compute


class Worker:
    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far,), daemon=True)
        self.process.start()
        far.close()
        self.is_alive = self.pipe.poll(10 * GIVEN_UP_S) and self.pipe.recv() == "ready"

    def stop(self):
        self.pipe.send(None)
        self.process.join()

    def cases(self, kind, seed, keep):
        self.pipe.send((kind, seed, keep))
        name = "the first"
        while True:
            try:
                found = self.pipe.recv() if self.pipe.poll(GIVEN_UP_S) else None
            except EOFError:
                found = "died"
            if found is None or found == "died":
                self.is_alive = False
                self.process.kill()
                problem = "the process died" if found else f"no end within {GIVEN_UP_S} s"
                case = {"kind": kind, "seed": seed, "name": name, "seconds": 0, "mib": 0}
                yield case | {"problem": f"{problem} in {name!r}"}
                return
            if found == "done":
                return
            if isinstance(found, str):
                name = found
            else:
                yield found | {"kind": kind, "seed": seed, "name": name}


def work(pipe):
    """Read the cases that are asked for; tell the name of each before, and what it took after."""
    import torch

    logging.disable()  # a file that is read with a warning is well read
    warnings.simplefilter("ignore")
    from tests.fuzz.kinds import KINDS

    torch.set_num_threads(1)
    for kind in KINDS.values():
        next(iter(kind.cases(0)), None)  # makes what all cases of a kind share
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        kind, seed, keep = asked
        for name, data in KINDS[kind].cases(seed):
            pipe.send(name)
            found = measured(KINDS[kind].read, data)
            if found["problem"] and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{kind}-{seed}-{name.replace(' ', '-').replace('/', '-')}").write_bytes(
                    data
                )
            pipe.send(found)
        pipe.send("done")


def measured(read, data):
    from swiftpie.errors import SwiftPieError

    before, began, problem = forget_peak(), time.process_time(), ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            read(data, Path(folder))
        except SwiftPieError:
            pass
        except Exception as error:  # noqa: BLE001 - which is what is looked for
            place = error.__traceback__
            while place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
            problem = f"{type(error).__name__}: {str(error)[:200]!a} ({where})"
    seconds, mib = time.process_time() - began, peak_mib() - before
    if seconds > LONGEST_S:
        problem = problem or f"{seconds:.1f} s of computing"
    if mib > MOST_MIB:
        problem = problem or f"{mib:.0f} MiB"
    return {"seconds": seconds, "mib": mib, "problem": problem}


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_mib()


def peak_mib():
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not tell the most memory that was used")
