"""What a benchmark ran on, how much memory it took, and how it reports."""

import dataclasses
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no types; accelerate brings it
import torch

import swiftpie

PACKAGES = ("torch", "diffusers", "transformers", "openvino", "nncf")
MARK_DIGITS = 12
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
        "weights": weights_mark(),
        "commit": commit(),
        "device": str(device),
    }
    if device.type == "cuda":
        facts["graphics_card"] = torch.cuda.get_device_name(device)
    return facts


def weights_mark() -> str:
    """Return the first digits of a hash over the packaged model and its scene network.

    Pages with figures name it, so that a test notices when they are of other weights.
    """
    assets, found = files("swiftpie") / "assets", hashlib.sha256()
    with as_file(assets) as folder:
        for name in ("mini", "scene"):
            for path in sorted((folder / name).rglob("*.safetensors")):
                found.update(path.read_bytes())
    return found.hexdigest()[:MARK_DIGITS]


def commit() -> str:
    """Return the commit of this checkout, empty outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


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

    Linux counts what the parent held as the child's own in `getrusage`, so `/proc` is read.
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
