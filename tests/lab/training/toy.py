"""Stages small enough to train in a test; run as a script by a launcher, one trains for a while."""

import json
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


def train(folder, steps):
    """Train up to a step, in one of the processes of a launcher."""
    torch.set_num_threads(1)
    processes = join_processes("cpu")
    events = fit(ToyStage(), CONFIG, folder, processes=processes)
    with folder.with_name(f"events-{processes.rank}").open("w") as file:
        for event in events:
            file.write(f"{json.dumps(dict(event.losses))}\n")
            if event.step == steps:
                break
    leave_processes(processes)


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
