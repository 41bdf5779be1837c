"""Where a run happens: its processes and device, its data and the folders of earlier runs."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import distributed, nn

from swiftpie.backbones.components import load_components
from swiftpie.backbones.load.weights import load_network
from swiftpie.errors import ConfigError
from swiftpie.mini import MINI
from swiftpie.mini.networks import NETWORKS
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_world.captions import AS_USUAL, SpecShares
from swiftpie_world.sampler import World
from swiftpie_world.subjects import Split, Subjects
from swiftpie_world.textures import make_textures

T = TypeVar("T")

# Environment variables that torchrun, accelerate and the MPI launchers set.
LAUNCHED = ("LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
VALIDATION_SEED = 2**31 - 1  # seed for figures of progress; training draws do not come so far
# How many surfaces each half of the subjects is put on, and the seed of their drawing.
SURFACES: dict[Split, tuple[int, int]] = {"train": (900, 0), "held_out": (120, VALIDATION_SEED)}
PACKAGED = "mini"  # names the weights inside the package


@dataclass(frozen=True)
class Processes:
    """This process among those that were launched together; alone by default.

    Every method but the properties is collective: all processes have to call it.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """Whether this process writes, prints and samples."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return the `value` of every process, in the order of ranks."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        distributed.all_gather_object(found, value)
        return cast("list[T]", found)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over processes, where an absent one counts as 0.

        A gradient that is absent everywhere stays absent, so that its weight is not decayed.
        """
        if self.count == 1:
            return
        chosen = list(parameters)
        present = torch.tensor([float(p.grad is not None) for p in chosen])
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in chosen]
        flat = torch.cat([present.to(parts[0].device), *(part.flatten() for part in parts)])
        distributed.all_reduce(flat)
        somewhere, *means = flat.split([len(chosen), *(part.numel() for part in parts)])
        for parameter, mean, count in zip(chosen, means, somewhere.tolist(), strict=True):
            parameter.grad = (mean / self.count).view_as(parameter) if count else None


SINGLE_PROCESS = Processes()


def join_processes(device: str) -> Processes:
    """Return this process as the launcher placed it, on a GPU of its own where there are several.

    Without a launcher it is the only process, on `device`.
    """
    if not any(name in os.environ for name in LAUNCHED):
        return Processes(device=device)
    from accelerate import PartialState  # type: ignore[import-untyped]  # has no annotations

    state = PartialState(cpu=device == "cpu")
    count = state.num_processes
    own = device if count == 1 else str(state.device)
    return Processes(rank=state.process_index, count=count, device=own)


def leave_processes(processes: Processes) -> None:
    if processes.count > 1:
        distributed.barrier()
        distributed.destroy_process_group()


@dataclass(frozen=True)
class Context:
    """Where a stage finds its data and the results of earlier stages."""

    data: Path  # the pack of subjects
    runs: Path  # one folder a recipe
    device: str

    @cached_property
    def subjects(self) -> Subjects:
        return load_subjects(self.data)

    @property
    def has_read_data(self) -> bool:
        return "subjects" in vars(self)

    def world(
        self,
        split: Split = "train",
        *,
        size_px: int = 128,
        has_surfaces: bool = False,
        shares: SpecShares = AS_USUAL,
    ) -> World:
        """Return an endless supply of pictures with one half of the subjects.

        `has_surfaces` enables off-distribution pictures. `shares` says how often pictures have each
        attribute.
        """
        surfaces = None
        if has_surfaces:
            tiles = self.subjects.tiles[self.subjects.indices(split)]
            count, seed = SURFACES[split]
            surfaces = make_textures(count, tiles, seed=seed)
        return World(
            self.subjects,
            split,
            size_px=size_px,
            device=self.device,
            surfaces=surfaces,
            shares=shares,
        )

    def weights_of(self, source: str) -> Path | None:
        """Return the folder of weights that `source` names, None for those of the package."""
        return None if source == PACKAGED else self.export_of(source)

    def autoencoder(self, source: str) -> PatchAutoencoder:
        folder = self.weights_of(source)
        if folder is None:
            found = load_components(MINI, device=self.device).autoencoder
        else:
            found = load_network(NETWORKS["autoencoder"], folder / "autoencoder").to(self.device)
        assert isinstance(found, PatchAutoencoder), "the tiny family has no other"
        return found.float().eval().requires_grad_(requires_grad=False)

    def export_of(self, source: str) -> Path:
        """Return the folder that the run `source` exported to, or `source` if it is a folder."""
        if Path(source).is_dir():
            return Path(source)
        folder = self.runs / source / "export"
        if not folder.is_dir():
            raise ConfigError(
                f"There is no {folder}. This recipe continues from {source!r}; run "
                f"`swiftpie train {source.replace('_', '-')}` first."
            )
        return folder
