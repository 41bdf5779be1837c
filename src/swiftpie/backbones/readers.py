"""What reads the networks of a large family: on which device, in which numbers, when."""

from dataclasses import replace
from typing import NamedTuple

import torch

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.machine import AUTO, NUMBERS_A_PIXEL, free_memory
from swiftpie.backbones.presets import Preset


class Readers(NamedTuple):
    """Two readers that note their files in one place."""

    prompt: NetworkReader  # of networks that are needed in memory at once
    waiting: NetworkReader  # of networks that may stay in their files until they run
    execution_device: torch.device | None  # where networks run that rest in main memory


def readers_for(needs: DownloadPlan, preset: Preset, *, device: str, choices: Choices) -> Readers:
    """Return what reads the networks in `needs`, which are all on this machine."""
    dtype, offloads = dtype_of(choices, device), choices.get("offloads", False)
    if offloads == AUTO:
        offloads = not _fits(needs, preset, device=device, dtype=dtype)
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
    working = NUMBERS_A_PIXEL * preset.image_size_px**2 * dtype.itemsize
    return needs.memory_bytes + working <= free_memory(torch.device(device))
