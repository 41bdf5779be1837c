"""A stage small enough to train in a test; run as a script it trains until it is killed."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from swiftpie.training.loop import LoopConfig, fit

CONFIG = LoopConfig(steps=40, learning_rate=1e-2, log_every=1, sample_every=40, save_every=1)


@dataclass(frozen=True)
class ToyStage:
    samples_per_step: int = 8
    breaks_at: int = -1

    def network(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.0), nn.BatchNorm1d(32))

    def losses(self, network, step):
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(8, 32, generator=generator)
        error = (network(inputs) - inputs.flip(1)).square().mean()
        return {"error": error * float("nan") if step == self.breaks_at else error}

    def sample(self, network, path):
        path.write_bytes(b"picture")
        return {"norm": float(sum(p.norm() for p in network.parameters()).detach())}

    def export(self, network, folder):
        folder.mkdir(exist_ok=True)
        save_file(dict(network.state_dict()), folder / "weights.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for event in fit(ToyStage(), CONFIG, Path(sys.argv[1])):
        sys.stdout.write(f"{event.step}\n")
        sys.stdout.flush()
