"""EchoDistill for any networks: the order of its updates, its losses, and its echoes.

EchoDistill (arXiv:2510.20512), from its abstract: a teacher learns a subject, a one-step student
learns it from the teacher at the same time, and the student's own pictures return as data to both.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.masks import resize_mask
from swiftpie.schedules import PredictionType, add_noise, scaled_linear_step
from swiftpie_lab.training.critics import Discriminator, discriminator_terms
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import Levels, add_noise_at, clean_of, draw_levels
from swiftpie_lab.training.perceptual import Compare, masked_mean

FIRST_ALIGNED, LAST_ALIGNED = 300, 800  # earlier the student is its own answer, later all is noise
LATEST_JUDGED = 600  # the discriminator sees latents noised up to this timestep
PRIOR_SEED, STUDENT_SEED, ECHO_SEED, NOISE_SEED = (number * 2**40 for number in range(1, 5))

T = TypeVar("T")


@dataclass(frozen=True)
class SubjectWeights:
    """Factors of the loss terms."""

    prior: float = 1.0  # of what should stay: pictures of the class, or the scene around
    background: float = 0.1  # of pictures outside of the subject, beside 1 on it
    identity: float = 1.0  # one minus the cosine of image-encoder vectors
    latents: float = 1.0  # squared difference of the student's and the teacher's latents
    look: float = 1.0  # perceptual distance of the two
    adversarial: float = 0.1  # of the discriminator


@dataclass(frozen=True)
class EchoSettings:
    """Pictures of the subject that the student draws, as further data of both networks."""

    first_step: int = 500
    echo_every: int = 250  # steps after which they are drawn anew
    num_pictures: int = 64
    share: float = 0.5  # of a batch

    def is_due(self, step: int) -> bool:
        """Whether they are drawn before this step."""
        since = step - self.first_step
        return since >= 0 and since % self.echo_every == 0


@dataclass(frozen=True)
class DistillSettings:
    """What every student of a teacher of one subject needs."""

    adversarial_steps: int = 100  # over which its weight rises
    loss: SubjectWeights = field(default_factory=SubjectWeights)
    echo: EchoSettings = field(default_factory=EchoSettings)


class EchoNetworks(nn.Module):
    """The discriminator of a student, and the pictures that it has drawn as data."""

    echoes: Tensor
    echo_places: Tensor
    num_echoes: Tensor
    discriminator: Discriminator

    def add_echoes(self, count: int, shape: tuple[int, int, int], device: torch.device) -> None:
        """Make room for `count` latents (C, h, w)."""
        self.register_buffer("echoes", torch.zeros(count, *shape, device=device))
        self.register_buffer("echo_places", torch.zeros(count, dtype=torch.long, device=device))
        self.register_buffer("num_echoes", torch.zeros((), dtype=torch.long, device=device))


N = TypeVar("N", bound=EchoNetworks)


class SubjectBatch(NamedTuple, Generic[T]):
    """Pictures of the subject: its own, or what the student drew."""

    latents: Tensor  # (B, C, h, w)
    mask: Tensor  # (B, 1, h, w) the subject
    told: T  # what the networks are told of each
    judged: Tensor  # (B, 1, h, w) where the student is compared with its teacher
    reference: Tensor  # (B, 3, S, S)
    reference_mask: Tensor  # (B, 1, S, S)


class Echo(NamedTuple):
    """A picture that the student drew of the subject."""

    latents: Tensor  # (1, C, h, w)
    place: int  # by which it is told again
    vector: Tensor  # (1, D) of the image encoder


class EchoStage(ABC, Generic[N, T]):
    """A teacher of one subject, and if it `distils` its student and the student's discriminator.

    `T` is what the networks are told of a batch, such as prompts.
    """

    settings: DistillSettings
    compare: Compare

    @property
    def distils(self) -> bool:
        """Whether a student learns beside the teacher."""
        return True

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What each objective trains."""
        if not self.distils:
            return {"teacher": self.of_teacher}
        own = {"student": ("student",), "discriminator": ("discriminator",)}
        return {"teacher": self.of_teacher, **own}

    @property
    @abstractmethod
    def of_teacher(self) -> tuple[str, ...]:
        """The children of the network that the teacher's objective trains."""

    @property
    @abstractmethod
    def predicts(self) -> PredictionType:
        """What the teacher's output means."""

    @abstractmethod
    def begin(self, network: N) -> None:
        """Let all that draws use the weights of `network`."""

    @abstractmethod
    def batch(self, network: N, draw: int) -> SubjectBatch[T]:
        """Return pictures by number; a share of them are echoes, once there are any."""

    @abstractmethod
    def teacher_terms(self, network: N, batch: SubjectBatch[T], draw: int) -> dict[str, Tensor]:
        """Return how badly the teacher predicts noised pictures of the subject."""

    @abstractmethod
    def draw(self, network: N, batch: SubjectBatch[T], draw: int) -> Tensor:
        """Return the student's latents (B, C, h, w) for what `batch` tells, with gradients."""

    @abstractmethod
    def teach(self, network: N, noisy: Tensor, timesteps: Tensor, batch: SubjectBatch[T]) -> Tensor:
        """Return the teacher's raw output (B, C, h, w) for noisy latents at timesteps (B,)."""

    @abstractmethod
    def features(self, latents: Tensor, draw: int) -> list[Tensor]:
        """Return what the untuned teacher sees in noised latents, (B, C, h, w) by scale."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of latents (B, C, h, w), with gradients."""

    @abstractmethod
    def known(self, batch: SubjectBatch[T]) -> Tensor:
        """Return vectors (B, D) of the references of `batch`."""

    @abstractmethod
    def seen(self, pixels: Tensor, batch: SubjectBatch[T]) -> Tensor:
        """Return vectors (B, D) of what pictures (B, 3, H, W) show of the subject."""

    @abstractmethod
    def real_vectors(self) -> Tensor:
        """Return vectors (R, D) of pictures of the subject, to know how unlike they are."""

    @abstractmethod
    def echo(self, network: N, number: int, step: int) -> Echo:
        """Return picture `number` of those that the student draws before `step`."""

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which networks compute."""
        return nullcontext()

    def updates(self, network: N, step: int, draw: int) -> Iterator[Update]:
        """Yield what the teacher learns, then its student, then the student's discriminator."""
        self.begin(network)
        if self.distils and self.settings.echo.is_due(step):
            self.draw_echoes(network, step)
        batch = self.batch(network, draw)
        yield Update("teacher", self.teacher_terms(network, batch, draw))
        if not self.distils:
            return
        with self.precision():
            drawn = self.draw(network, batch, draw)
        terms = self.student_terms(network, drawn, batch, draw)
        fake, subject = self.features(drawn, draw), self.known(batch)
        warm = min(1.0, (step + 1) / self.settings.adversarial_steps)
        score = network.discriminator(fake, subject).mean()
        terms["adversarial"] = -self.settings.loss.adversarial * warm * score
        yield Update("student", terms)
        with torch.no_grad():
            real = self.features(batch.latents, draw)
        yield Update(
            "discriminator", discriminator_terms(network.discriminator, real, fake, subject=subject)
        )

    def student_terms(
        self, network: N, drawn: Tensor, batch: SubjectBatch[T], draw: int
    ) -> dict[str, Tensor]:
        """Return how far the student's latents are from teacher and references."""
        weights, where = self.settings.loss, batch.judged
        wanted = self.taught(network, drawn, batch, draw)
        error = (drawn.double() - wanted).square()
        terms = {"latents": weights.latents * weighted_mean(error, where).float()}
        with self.precision():
            pixels = self.decode(drawn)
            with torch.no_grad():
                shown = self.decode(wanted.float()).clamp(-1, 1)
            size = (pixels.shape[2], pixels.shape[3])
            look = masked_mean(self.compare(pixels, shown), resize_mask(where, size))
            terms["look"] = weights.look * look
            known, seen = self.known(batch), self.seen(pixels, batch)
        cosine = F.cosine_similarity(seen.float(), known.float(), dim=1)
        return terms | {"identity": weights.identity * (1 - cosine).mean()}

    @torch.no_grad()
    def taught(self, network: N, drawn: Tensor, batch: SubjectBatch[T], draw: int) -> Tensor:
        """Return the clean latents that the teacher finds in noised ones (B, C, h, w), float64."""
        generator = torch.Generator().manual_seed((STUDENT_SEED + draw) % 2**63)
        noise = torch.randn(drawn.shape, generator=generator).to(drawn)
        levels = draw_levels(generator, like=drawn, first=FIRST_ALIGNED, last=LAST_ALIGNED)
        noisy = add_noise_at(drawn.detach(), noise, levels)
        with self.precision():
            raw = self.teach(network, noisy, levels.timesteps, batch)
        return clean_of(noisy, raw, levels, self.predicts)

    @torch.no_grad()
    def draw_echoes(self, network: N, step: int) -> None:
        """Let the student draw the subject in many places; keep what is like its references.

        A picture is kept if it is as like them as they are like each other, in the median.
        """
        known = F.normalize(self.real_vectors().float(), dim=1)
        apart = torch.ones(len(known), len(known), device=known.device).triu(diagonal=1).bool()
        least, kept = (known @ known.T)[apart].median(), 0
        for number in range(self.settings.echo.num_pictures):
            latents, place, vector = self.echo(network, number, step)
            if float((F.normalize(vector.float(), dim=1) @ known.T).median()) >= float(least):
                network.echoes[kept], network.echo_places[kept] = latents[0], place
                kept += 1
        network.num_echoes.fill_(kept)

    def echo_of_rows(self, network: N, size: int, draw: int) -> list[int | None]:
        """Return the number of the echo for each row of a batch, None for a picture of its own."""
        count = int(network.num_echoes) if self.distils else 0
        generator = torch.Generator().manual_seed((NOISE_SEED - draw) % 2**63)
        chance, chosen = torch.rand(2, size, generator=generator).tolist()
        share = self.settings.echo.share
        return [
            int(chosen[row] * count) if count and chance[row] < share else None
            for row in range(size)
        ]


def noised_for_judging(latents: Tensor, draw: int) -> tuple[Tensor, int]:
    """Return latents (B, C, h, w) with the little noise at which they are judged, and its time."""
    generator = torch.Generator().manual_seed((PRIOR_SEED + draw) % 2**63)
    timestep = int(torch.randint(LATEST_JUDGED + 1, (), generator=generator))
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return add_noise(latents.float(), noise, scaled_linear_step(timestep)), timestep


def noise_loss(
    raw: Tensor,
    clean: Tensor,
    noise: Tensor,
    *,
    levels: Levels,
    kind: PredictionType,
    weight: Tensor,
) -> Tensor:
    """Return the weighted mean squared error of what a diffusion model predicts, in float64.

    The target of the raw output (B, C, h, w) is the noise, or v (arXiv:2202.00512), or the clean
    latents. `weight` is (B, 1, h, w).
    """
    clean, noise = clean.double(), noise.double()
    target = {
        PredictionType.EPSILON: noise,
        PredictionType.V: levels.alpha * noise - levels.sigma * clean,
        PredictionType.SAMPLE: clean,
    }[kind]
    return weighted_mean((raw.double() - target).square(), weight)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of values (B, C, h, w) by a weight (B, 1, h, w), in float64."""
    weight = weight.double().expand_as(values)
    return (values * weight).sum() / weight.sum()
