"""Settings of the training loop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to look."""

    steps: int
    learning_rate: float
    learning_rates: tuple[float, ...] = ()  # one a group in the stage's order, if they differ
    warmup_steps: int = 50
    decay_share: float = 0.4  # of all steps, at the end, falling linearly to `final_share`
    final_share: float = 0.02
    max_gradient_norm: float = 1.0
    accumulate: int = 1  # batches in a process whose gradients are averaged for one step
    ema_decay: float = 0.998
    log_every: int = 20
    sample_every: int = 500
    save_every: int = 200
    uses_muon: bool = True
    tensorboard: bool = False
    max_file_mib: float | None = None  # the state is saved in files of at most this size


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Return the share of the peak learning rate at `step`: warm up, hold, decay linearly."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    left = (config.steps - step) / max(1.0, config.decay_share * config.steps)
    return warm * max(config.final_share, min(1.0, left))
