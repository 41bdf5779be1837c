"""What a benchmark ran on, how much memory it took, and how it reports."""

import dataclasses
import json
import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no types; accelerate brings it
import torch

import swiftpie

PACKAGES = ("torch", "diffusers", "transformers", "openvino", "nncf")
STATUS = Path("/proc/self/status")
CPU_INFO = Path("/proc/cpuinfo")


def machine(device: torch.device) -> dict[str, object]:
    """Return what figures depend on besides the code."""
    facts: dict[str, object] = {
        "processor": processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions(),
        "device": str(device),
    }
    if device.type == "cuda":
        facts["graphics_card"] = torch.cuda.get_device_name(device)
    return facts


def processor() -> str:
    """Return the name of the processor as the system tells it, and which generation it is of."""
    if not CPU_INFO.exists():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in CPU_INFO.read_text().splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    generation = [f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts]
    return ", ".join([facts.get("model name", platform.machine()), *generation])


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of all packages that compute."""
    found = {"swiftpie": swiftpie.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mib() -> float:
    """Return the most main memory of this process so far, pages of mapped files among it.

    Linux counts what the parent held as the child's own in `getrusage`, so it is asked otherwise.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**10 if sys.platform != "darwin" else peak / 2**20


def held_memory_mib() -> float:
    """Return the main memory of this process now."""
    return float(psutil.Process().memory_info().rss / 2**20)


def free_memory_gib() -> float:
    """Return the main memory that can be had without swapping."""
    return float(psutil.virtual_memory().available / 2**30)


def tell(line: str) -> None:
    """Write a line about progress to standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_report(facts: dict[str, object], out: Path | None = None) -> None:
    """Write `facts`, dataclasses and paths among them, as JSON to `out` or standard output."""
    text = json.dumps(facts, indent=2, default=_plain) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
