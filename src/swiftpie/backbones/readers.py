"""What reads the networks of a large family: on which device, in which numbers, when."""

import logging
from dataclasses import replace
from typing import NamedTuple

import torch
from rich.filesize import decimal as as_size

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.machine import AUTO, NUMBERS_A_PIXEL, SPARE_BYTES, free_memory
from swiftpie.backbones.presets import Preset

logger = logging.getLogger(__name__)


class Readers(NamedTuple):
    """Two readers that note their files in one place."""

    prompt: NetworkReader  # Reads networks that run together.
    waiting: NetworkReader  # Reads networks that may wait in their files.
    execution_device: torch.device | None  # where networks run that rest in main memory


def readers_for(needs: DownloadPlan, preset: Preset, *, device: str, choices: Choices) -> Readers:
    """Return what reads the networks in `needs`, which are all on this machine.

    Where there is too little memory even for one network at a time, a warning says so first.
    """
    dtype, offloads = dtype_of(choices, device), choices.get("offloads", False)
    if offloads == AUTO:
        offloads = not _fits(needs, preset, device=device, dtype=dtype)
    if offloads and (lack := lack_of_memory(needs, preset, device=device, dtype=dtype)):
        logger.warning("%s", lack)
    reader = NetworkReader(
        device="cpu" if offloads else device,
        dtype=dtype,
        allow_pickle=choices.get("allow_pickle", False),
        lets_go=offloads and device == "cpu",
    )
    waiting = replace(reader, waits=reader.lets_go)
    return Readers(reader, waiting, torch.device(device) if offloads else None)


def _fits(needs: DownloadPlan, preset: Preset, *, device: str, dtype: torch.dtype) -> bool:
    """Whether there is room for all weights at once, and for what is computed of them."""
    if needs.memory_bytes is None:
        return True  # drawing will tell
    working = _working_bytes(preset, dtype)
    return needs.memory_bytes + working <= free_memory(torch.device(device))


def lack_of_memory(needs: DownloadPlan, preset: Preset, *, device: str, dtype: torch.dtype) -> str:
    """Return what is wrong where networks take turns and the largest one has no room; or nothing.

    Counted are its weights in `dtype`, what is computed of a picture, and what Python takes.
    """
    free = free_memory(torch.device(device))
    needed = needs.largest_bytes + _working_bytes(preset, dtype) + SPARE_BYTES
    if needed <= free:
        return ""
    return (
        f"Preset {preset.name!r} needs about {as_size(needed)} of memory on {device} even where "
        f"its networks take turns, {as_size(needs.largest_bytes)} of it for the largest one, and "
        f"{as_size(free)} are free. Drawing may fail. Free memory, or choose a smaller preset."
    )


def _working_bytes(preset: Preset, dtype: torch.dtype) -> int:
    return NUMBERS_A_PIXEL * preset.image_size_px**2 * dtype.itemsize
