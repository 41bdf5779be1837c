"""Stages small enough to train in a test; run as a script, one trains in two processes."""

import importlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from swiftpie_lab.training.context import join_processes, leave_processes
from swiftpie_lab.training.loop import LoopConfig, Update, fit

CONFIG = LoopConfig(steps=40, learning_rate=1e-2, log_every=1, sample_every=40, save_every=1)


class Looks:
    samples_per_step = 8

    def sample(self, network, path):
        path.write_bytes(b"picture")
        return {"norm": float(sum(p.norm() for p in network.parameters()).detach())}

    def export(self, network, folder):
        folder.mkdir(exist_ok=True)
        save_file(dict(network.state_dict()), folder / "weights.safetensors")


@dataclass(frozen=True)
class ToyStage(Looks):
    breaks_at: int = -1
    width: int = 32

    def network(self):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(self.width, self.width), nn.Dropout(0.0), nn.BatchNorm1d(self.width)
        )

    def losses(self, network, step):
        inputs = draw_inputs(step, self.width)
        error = (network(inputs) - inputs.flip(1)).square().mean()
        return {"error": error * float("nan") if step == self.breaks_at else error}


@dataclass(frozen=True)
class ToyRivals(Looks):
    """A generator and a critic that oppose each other; the critic pauses at odd steps."""

    groups: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"critic": ("critic",), "generator": ("generator",)}
    )

    def network(self):
        torch.manual_seed(0)
        parts = {"generator": nn.Linear(32, 32), "critic": nn.Linear(32, 1)}
        return nn.ModuleDict(parts)

    def updates(self, network, step, draw):
        inputs = draw_inputs(draw, 32)
        if step % 2 == 0:
            gap = network["critic"](network["generator"](inputs)) - network["critic"](inputs)
            yield Update("critic", {"gap": gap.tanh().mean()})
        drawn = network["generator"](inputs)
        yield Update("generator", {"fooled": -network["critic"](drawn).mean()})


def draw_inputs(draw, width):
    return torch.randn(8, width, generator=torch.Generator().manual_seed(draw))


def train_as(rank, folder):
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    processes = join_processes("cpu")
    with folder.with_name(f"events-{rank}").open("w") as file:
        for event in fit(ToyStage(), CONFIG, folder, processes=processes):
            file.write(f"{json.dumps(dict(event.losses))}\n")
    leave_processes(processes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in ("accelerate", "torch._dynamo"):  # imported late, and each process would again
        importlib.import_module(name)
    if other := os.fork():
        train_as(0, Path(sys.argv[1]))
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
    train_as(1, Path(sys.argv[1]))
