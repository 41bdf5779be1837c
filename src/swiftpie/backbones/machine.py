"""The devices, dtypes and free memory of this machine."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AUTO = "auto"  # what leaves a choice to the functions here

# What torch.cpu calls instructions for bfloat16; without them it is slower than float32.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")

# What drawing a picture takes besides weights, most of it for a decoder's last layers.
NUMBERS_A_PIXEL = 1536

SPARE_BYTES = 512 << 20  # that a network computes in besides its weights, and the system keeps

GROUP = Path("/sys/fs/cgroup")  # limits of a container on Linux
PROCESS = Path("/proc/self")
CPU_INFO = Path("/proc/cpuinfo")
UNIT_KIB = 1024


def best_device() -> str:
    """Return the accelerator that PyTorch finds, as cuda or mps, else cpu."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if found is None else found.type


def spread(device: str, count: int) -> tuple[str, ...]:
    """Return the devices of `count` processes: "cuda" is every card in turn, "cuda:1" is one."""
    import torch

    kind = torch.device(device)
    cards = torch.accelerator.device_count() if kind.type == best_device() else 0
    if kind.index is not None or cards <= 1:
        return (device,) * count
    return tuple(f"{kind.type}:{number % cards}" for number in range(count))


def best_dtype(device: str) -> "torch.dtype":
    """Return the shortest floating-point numbers that `device` is quick in.

    That is bfloat16 rather than float16 where there are both: nothing overflows in it, and large
    networks, decoders above all, overflow in float16.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        has_both = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_both else torch.float16
    if kind != "cpu":
        return torch.float16
    return torch.bfloat16 if instructions(BFLOAT16) else torch.float32


def instructions(names: tuple[str, ...]) -> list[str] | None:
    """Return which of `names` the processor has, None where this PyTorch cannot tell."""
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):
        return None
    known = torch.cpu.get_capabilities()
    return [name for name in names if known.get(name)]


def processor_name() -> str:
    """Return what the maker calls the processor, else its architecture."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def free_memory(device: "torch.device") -> int:
    """Return how many bytes this process may still take on `device`, as far as is known."""
    import torch

    if device.type == "cuda":
        # Some of these functions need an index, which the device "cuda" lacks.
        index = torch.cuda.current_device() if device.index is None else device.index
        free, total = torch.cuda.mem_get_info(index)
        held = torch.cuda.memory_reserved(index)  # Some of it is not in use.
        allowed = int(total * torch.cuda.get_per_process_memory_fraction(index)) - held
        return max(0, min(free, allowed)) + held - torch.cuda.memory_allocated(index)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return free_main_memory()


def free_main_memory() -> int:
    """Return how many bytes the system, a container and the limit on a process's data leave."""
    import psutil  # type: ignore[import-untyped]  # has no types

    found = [int(psutil.virtual_memory().available)]
    try:
        used, limit = (int((GROUP / f"memory.{name}").read_text()) for name in ("current", "max"))
        stored = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        found.append(limit - used + int(stored["inactive_file"]))  # which it can give back
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        pass
    try:
        limits = (PROCESS / "limits").read_text()
        (most,) = [line.split()[3] for line in limits.splitlines() if "Max data size" in line]
        status = (PROCESS / "status").read_text()
        (taken,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmData")]
        found.append(int(most) - UNIT_KIB * int(taken))
    except (OSError, ValueError):  # another system, or no limit
        pass
    return max(0, min(found))
