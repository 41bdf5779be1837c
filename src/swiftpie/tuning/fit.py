"""The loop that tunes a subject: a hundred steps, a look every few, and the best is kept."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from math import inf
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.tuning import METHODS, TuneSettings
from swiftpie.tuning.change import Change, Features
from swiftpie.tuning.examples import (
    CHECK_SEED,
    Example,
    clean_latents,
    draw_examples,
    start_of,
    subject_error,
    subject_psnr,
)
from swiftpie.tuning.state import Progress, StateFile
from swiftpie.types import Identity

CHECK_EVERY = 20  # steps
NUM_CHECKS = 2  # scenes in which the subject is looked at
PATIENCE = 3  # looks in a row without anything better, after which tuning stops
MANY = 3  # pictures from which on the last one is held out
SUBJECT_WEIGHT = 10.0  # of the subject's pixels, beside latents around it
LEAST_GAIN = 0.01  # dB; less is no improvement


class TuneEvent(NamedTuple):
    """What tuning tells at its start, after each step and at its end."""

    step: int
    steps: int
    psnr: float  # of the subject in scenes that training does not see, as of the last look, in dB
    best_psnr: float
    first_psnr: float  # before the first step
    is_done: bool = False


OnTune = Callable[[TuneEvent], bool | None]
"""Takes each event; returns True to end early with the best so far. May raise to stop: the state on
disk then stays."""


def tune(
    components: Components,
    identity: Identity,
    settings: TuneSettings,
    *,
    state: Path | None = None,
    on_event: OnTune | None = None,
) -> Identity:
    """Return `identity` tuned, so that pictures show more of what its own pictures show.

    The subject is drawn in scenes of the model. Its pixels move towards its own pictures, placed
    and lit as the model places and lights them; latents around it stay as they are. Of three or
    more pictures the last is held out: it is only looked at. The features that were best in scenes
    that training does not see are kept, so the result is never worse there.

    Args:
        components: The networks, whose weights stay as they are.
        identity: A subject from `encode_identity`.
        settings: Method, steps and others.
        state: Where a stopped tuning is kept, and found again; removed at the end.
        on_event: Called at the start, after each step and at the end.

    Raises:
        CapabilityError: The preset does not place subjects, or its engine cannot train.
        ConfigError: There is no such method.
        InputError: The state cannot be written.
        MissingExtra: The method needs a package that is not installed.
    """
    method = METHODS.get(settings.method)
    start = start_of(components, identity)
    change = method.make(start, settings).to(components.device)
    rate = settings.learning_rate or method.learning_rate
    trained, checked = trained_and_checked(identity)
    seed = settings.seed
    examples = draw_examples(components, identity, trained, count=settings.num_scenes, seed=seed)
    checks = draw_examples(components, identity, checked, count=NUM_CHECKS, seed=seed + CHECK_SEED)
    kept = {name: value for name, value in asdict(settings).items() if name != "steps"}
    facts = {"settings": kept, "subject": digest_of(identity)}  # a run may go on for longer
    run = _Run(components, change, rate, examples, checks)
    run.fit(settings.steps, StateFile(state, facts=facts), on_event or (lambda _: None))
    made = run.best_features()
    return replace(
        identity,
        tokens=made.tokens,
        pooled=made.pooled,
        keys=made.keys,
        values=made.values,
        tuned=f"{settings.method}, {run.best_step} steps",
    )


def trained_and_checked(identity: Identity) -> tuple[list[int], list[int]]:
    """Return which pictures of a subject are trained on, and which show how well."""
    every = list(range(len(identity.pixels)))
    return (every[:-1], every[-1:]) if len(every) >= MANY else (every, every)


class _Run:
    """What changes while a subject is tuned."""

    def __init__(
        self,
        components: Components,
        change: Change,
        rate: float,
        examples: Sequence[Example],
        checks: Sequence[Example],
    ) -> None:
        self._components, self._change = components, change
        self._examples, self._checks = examples, checks
        self._weights: list[Tensor] = [one for one in change.parameters() if one.requires_grad]
        self._optimizer = torch.optim.Adam(self._weights, lr=rate)
        self._best: list[Tensor] = []
        self._best_psnr, self._first_psnr, self._psnr = -inf, -inf, -inf
        self._stale = 0
        self.best_step = 0

    def fit(self, steps: int, state: StateFile, on_event: OnTune) -> None:
        """Train, look, keep the best, and save."""
        step = self._restore(state)
        if not self._best:
            self._look(0)
            self._first_psnr = self._psnr
        is_over = bool(on_event(self._event(step, steps)))
        while not is_over and step < steps and self._stale < PATIENCE:
            self._train(self._examples[step % len(self._examples)])
            step += 1
            if step % CHECK_EVERY == 0 or step == steps:
                self._look(step)
                self._save(state, step)
            is_over = bool(on_event(self._event(step, steps)))
        on_event(self._event(step, steps)._replace(is_done=True))
        state.remove()

    @torch.no_grad()
    def best_features(self) -> Features:
        """Return the features of the best look, without gradients."""
        for weight, best in zip(self._weights, self._best, strict=True):
            weight.copy_(best)
        made: Features = self._change()
        return Features(
            made.tokens.detach(),
            made.pooled.detach(),
            keys={name: rows.detach().clone() for name, rows in made.keys.items()},
            values={name: rows.detach().clone() for name, rows in made.values.items()},
        )

    def _event(self, step: int, steps: int) -> TuneEvent:
        return TuneEvent(step, steps, self._psnr, self._best_psnr, self._first_psnr)

    def _train(self, example: Example) -> None:
        latents = clean_latents(self._components, example, self._change())
        pixels = self._components.autoencoder.decode(latents)
        moved = ((latents - example.untuned).square() * example.around).mean()
        loss = SUBJECT_WEIGHT * subject_error(pixels, example) + moved
        if not loss.requires_grad:
            raise CapabilityError(
                "The engine of this session passes no gradients on, and tuning needs them. Tune "
                "without `engine=`; every engine draws the result."
            )
        # Not by `backward`, which would leave gradients on weights that others share.
        gradients = torch.autograd.grad(loss, self._weights)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()

    @torch.no_grad()
    def _look(self, step: int) -> None:
        decode = self._components.autoencoder.decode
        features = self._change()
        self._psnr = fmean(
            subject_psnr(decode(clean_latents(self._components, one, features)).clamp(-1, 1), one)
            for one in self._checks
        )
        self._stale += 1
        if self._psnr > self._best_psnr + LEAST_GAIN:
            self._best = [weight.detach().clone() for weight in self._weights]
            self._best_psnr, self.best_step, self._stale = self._psnr, step, 0

    def _save(self, state: StateFile, step: int) -> None:
        progress = Progress(
            step, self._psnr, self._first_psnr, self._best_psnr, self.best_step, self._stale
        )
        state.save(progress, self._weights, self._best, self._optimizer)

    @torch.no_grad()
    def _restore(self, state: StateFile) -> int:
        found = state.load(self._weights, self._optimizer)
        if found is None:
            return 0
        progress, self._best = found
        self._psnr, self._first_psnr = progress.psnr, progress.first_psnr
        self._best_psnr, self.best_step = progress.best_psnr, progress.best_step
        self._stale = progress.stale
        return progress.step


def digest_of(identity: Identity) -> str:
    """Return sha256 over the subject's pictures and the weights that encoded it."""
    digest = sha256(identity.fingerprint.encode())
    for tensor in (identity.pixels, identity.mask, identity.tokens):
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
