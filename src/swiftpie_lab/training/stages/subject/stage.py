"""EchoDistill: a teacher of one subject, its one-step student, and the student's pictures as data.

From the abstract of arXiv:2510.20512: a teacher learns a subject, a one-step student learns it from
the teacher at the same time, and the student's own pictures return as data to both.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.load.safe import write_tensors
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import resize_mask
from swiftpie.noise import draw_noise
from swiftpie.schedules import PredictionType, add_noise, scaled_linear_step
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.critics import (
    coarse_features,
    discriminator_terms,
    low_rank_parts,
    without_low_rank,
)
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import (
    Compare,
    Levels,
    add_noise_at,
    clean_of,
    compare_in_autoencoder,
    draw_levels,
    masked_mean,
)
from swiftpie_lab.training.stages.adapter.examples import PLACES, ROW_STRIDE
from swiftpie_lab.training.stages.subject.networks import (
    SubjectBase,
    SubjectNetworks,
    SubjectSettings,
    adapter_tensors,
    draw_once,
    encode_with,
    load_subject_base,
    predict,
    use_trained,
)

ADAPTER_FILE, WORD_FILE = "pytorch_lora_weights.safetensors", "word.safetensors"
TOWER_KEYS = ("clip_l", "clip_g")  # of the word, where there are two
FIRST_ALIGNED, LAST_ALIGNED = 300, 800  # earlier the student is its own answer, later all is noise
LATEST_JUDGED = 600  # the discriminator sees latents noised up to this timestep
PRIOR_SEED, STUDENT_SEED, ECHO_SEED, NOISE_SEED = (number * 2**40 for number in range(1, 5))
SHOWN_DRAW = 2**31 - 1
REAL = 8  # references that pictures of the student are compared with


class SubjectBatch(NamedTuple):
    """Pictures of the subject: photos of it, or what the student drew."""

    latents: Tensor  # (B, C, h, w)
    mask: Tensor  # (B, 1, h, w) the subject
    prompts: list[str]
    reference: Tensor  # (B, 3, S, S)
    reference_mask: Tensor  # (B, 1, S, S)


@dataclass(frozen=True, eq=False)
class SubjectStage:
    """Tune a teacher to a subject, and a one-step student of it, by keys and values alone.

    Differs from the paper, as far as its abstract tells: changes are low-rank, so that each is a
    small file that diffusers reads; the discriminator reads features of the teacher; the pictures
    of the class that preserve what is known are the untuned student's.
    """

    base: SubjectBase
    settings: SubjectSettings
    compare: Compare

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What each objective trains; the word, which both U-Nets read, is the teacher's."""
        own = {name: (name,) for name in ("student", "discriminator")}
        return {"teacher": ("teacher", "word"), **own}

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""
        return self.settings.batch_size

    def network(self) -> SubjectNetworks:
        """Return new networks, which change nothing yet."""
        return SubjectNetworks(self.base, self.settings)

    def updates(self, network: SubjectNetworks, step: int, draw: int) -> Iterator[Update]:
        """Yield what the teacher learns, then its student, then the student's discriminator."""
        use_trained(self.base, network)
        if self.settings.echo.is_due(step):
            self.draw_echoes(network, step)
        batch = self.batch(network, draw)
        yield Update("teacher", self.teacher_terms(network, batch, draw))
        with self._precision():
            drawn = self.draw(network, batch, draw)
        terms = self.student_terms(network, drawn, batch, draw)
        fake, subject = self.features(drawn, draw), self._known(batch)
        warm = min(1.0, (step + 1) / self.settings.adversarial_steps)
        score = network.discriminator(fake, subject).mean()
        terms["adversarial"] = -self.settings.loss.adversarial * warm * score
        yield Update("student", terms)
        with torch.no_grad():
            real = self.features(batch.latents, draw)
        yield Update(
            "discriminator", discriminator_terms(network.discriminator, real, fake, subject=subject)
        )

    @torch.no_grad()
    def batch(self, network: SubjectNetworks, draw: int) -> SubjectBatch:
        """Return photos by number; a share of them are echoes, once there are any."""
        size, settings = self.settings.batch_size, self.settings
        photos = self.base.views.batch(size, draw)
        device = self.base.components.device
        pixels, mask, reference, seen = (photo.to(device) for photo in photos[:4])
        latents = self.base.autoencoder.encode(pixels).float()
        mask = resize_mask(mask, (latents.shape[2], latents.shape[3]))
        prompts = [self._prompt("")] * size
        count = int(network.num_echoes)
        generator = torch.Generator().manual_seed((NOISE_SEED - draw) % 2**63)
        chance, chosen = torch.rand(2, size, generator=generator).tolist()
        for row in range(size):
            if count and chance[row] < settings.echo.share:
                number = int(chosen[row] * count)
                latents[row], mask[row] = network.echoes[number], 1.0  # all of it was drawn
                prompts[row] = self._prompt(PLACES[int(network.echo_places[number])])
        return SubjectBatch(latents, mask, prompts, reference, seen)

    def teacher_terms(
        self, network: SubjectNetworks, batch: SubjectBatch, draw: int
    ) -> dict[str, Tensor]:
        """Return the errors of the teacher's noise in pictures of subject and class."""
        weights = self.settings.loss
        known, prompts = self.class_pictures(draw)
        generator = torch.Generator().manual_seed((NOISE_SEED + draw) % 2**63)
        share = weights.background + (1 - weights.background) * batch.mask
        terms = {}
        for name, latents, said, weight in (
            ("subject", batch.latents, batch.prompts, share),
            ("prior", known, prompts, torch.ones_like(share)),
        ):
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            levels = draw_levels(generator, like=latents)
            with self._precision():
                noisy = add_noise_at(latents, noise, levels)
                raw = predict(self.base.teacher, noisy, levels.timesteps, self._text(network, said))
            kind = self.settings.predicts
            loss = noise_loss(raw, latents, noise, levels=levels, kind=kind, weight=weight)
            terms[name] = loss.float()
        terms["prior"] = weights.prior * terms["prior"]
        return terms

    @torch.no_grad()
    def class_pictures(self, draw: int) -> tuple[Tensor, list[str]]:
        """Return latents that the untuned student draws of the class, and their prompts."""
        size = self.settings.batch_size
        prompts = [
            f"a photo of a {self.settings.noun} {PLACES[(draw * size + row) % len(PLACES)]}"
            for row in range(size)
        ]
        noise = self._noise(PRIOR_SEED, draw, size)
        with self._precision(), without_low_rank(self.base.student):
            text = self.base.components.text.encode(prompts)
            return draw_once(self.base, noise, text).float(), prompts

    def draw(self, network: SubjectNetworks, batch: SubjectBatch, draw: int) -> Tensor:
        """Return what the student draws of the prompts in one step, (B, C, h, w) with gradients."""
        with torch.no_grad():  # the word is the teacher's to learn
            text = self._text(network, batch.prompts)
        return draw_once(self.base, self._noise(STUDENT_SEED, draw, len(batch.latents)), text)

    def student_terms(
        self, network: SubjectNetworks, drawn: Tensor, batch: SubjectBatch, draw: int
    ) -> dict[str, Tensor]:
        """Return how far the student's latents are from teacher and references, anywhere."""
        weights = self.settings.loss
        wanted = self.taught(network, drawn, batch, draw)
        terms = {"latents": weights.latents * (drawn.double() - wanted).square().mean().float()}
        with self._precision():
            pixels = self.base.autoencoder.decode(drawn)
            with torch.no_grad():
                shown = self.base.autoencoder.decode(wanted.float()).clamp(-1, 1)
            everywhere = torch.ones_like(pixels[:, :1])
            terms["look"] = weights.look * masked_mean(self.compare(pixels, shown), everywhere)
            known, seen = self._known(batch), self.base.judge(pixels, everywhere)
        cosine = F.cosine_similarity(seen.float(), known.float(), dim=1)
        return terms | {"identity": weights.identity * (1 - cosine).mean()}

    @torch.no_grad()
    def taught(
        self, network: SubjectNetworks, drawn: Tensor, batch: SubjectBatch, draw: int
    ) -> Tensor:
        """Return the clean latents that the teacher finds in noised ones (B, C, h, w), float64."""
        generator = torch.Generator().manual_seed((STUDENT_SEED + draw) % 2**63)
        noise = torch.randn(drawn.shape, generator=generator).to(drawn)
        levels = draw_levels(generator, like=drawn, first=FIRST_ALIGNED, last=LAST_ALIGNED)
        noisy = add_noise_at(drawn.detach(), noise, levels)
        with self._precision():
            text = self._text(network, batch.prompts)
            raw = predict(self.base.teacher, noisy, levels.timesteps, text)
        return clean_of(noisy, raw, levels, self.settings.predicts)

    def features(self, latents: Tensor, draw: int) -> list[Tensor]:
        """Return coarse features of noised latents, by the teacher before its tuning."""
        generator = torch.Generator().manual_seed((PRIOR_SEED + draw) % 2**63)
        timestep = int(torch.randint(LATEST_JUDGED + 1, (), generator=generator))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(latents.float(), noise, scaled_linear_step(timestep))
        teacher = self.base.teacher
        with torch.no_grad():
            text = self.base.components.text.encode([f"a photo of a {self.settings.noun}"])
        with self._precision(), without_low_rank(teacher), coarse_features(teacher) as seen:
            predict(teacher, noisy, timestep, text.repeat(len(latents)))
        return seen

    @torch.no_grad()
    def draw_echoes(self, network: SubjectNetworks, step: int) -> None:
        """Let the student draw the subject in many places; keep what is like its references.

        A picture is kept if it is as like them as they are like each other, in the median.
        """
        known = F.normalize(self.real_vectors().float(), dim=1)
        apart = torch.ones(len(known), len(known), device=known.device).triu(diagonal=1).bool()
        least, kept = (known @ known.T)[apart].median(), 0
        for number in range(self.settings.echo.num_pictures):
            latents, vector = self.echo(network, number, step)
            if float((F.normalize(vector.float(), dim=1) @ known.T).median()) >= float(least):
                network.echoes[kept], network.echo_places[kept] = latents[0], number % len(PLACES)
                kept += 1
        network.num_echoes.fill_(kept)

    def real_vectors(self) -> Tensor:
        """Return vectors (R, D) of some references."""
        views = self.base.views.batch(REAL, SHOWN_DRAW)
        device = self.base.components.device
        return self.base.judge(views.reference.to(device), views.reference_mask.to(device))

    def echo(self, network: SubjectNetworks, number: int, step: int) -> tuple[Tensor, Tensor]:
        """Return latents (1, C, h, w) of the subject in one of the places, and their vector."""
        noise = self._noise(ECHO_SEED + step * ROW_STRIDE, number, 1)
        with self._precision():
            text = self._text(network, [self._prompt(PLACES[number % len(PLACES)])])
            latents = draw_once(self.base, noise, text)
            pixels = self.base.autoencoder.decode(latents).clamp(-1, 1)
            return latents, self.base.judge(pixels, torch.ones_like(pixels[:, :1]))

    @torch.no_grad()
    def sample(self, network: SubjectNetworks, path: Path) -> dict[str, float]:
        """Save references and what the student draws; return how alike an encoder finds them."""
        use_trained(self.base, network)
        batch = self.batch(network, SHOWN_DRAW)
        with self._precision():
            drawn = self.draw(network, batch, SHOWN_DRAW)
            pixels = self.base.autoencoder.decode(drawn).float().clamp(-1, 1)
            seen = self.base.judge(pixels, torch.ones_like(pixels[:, :1]))
            known = self._known(batch)
        rows = [to_pil(row) for row in (batch.reference, pixels)]
        contact_sheet(rows, cell_px=min(256, self.base.size_px)).save(path)
        return {"identity_cosine": float(F.cosine_similarity(seen, known, dim=1).mean())}

    @torch.no_grad()
    def export(self, network: SubjectNetworks, folder: Path) -> None:
        """Write a LoRA for each network and the word, as diffusers loads them."""
        use_trained(self.base, network)
        for name, unet in {"teacher": self.base.teacher, "student": self.base.student}.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            tensors = adapter_tensors(low_rank_parts(unet))
            write_tensors(folder / name / ADAPTER_FILE, tensors, metadata={}, force=True)
        vectors = network.word.vectors()
        keys = (self.settings.word,) if len(vectors) == 1 else TOWER_KEYS
        write_tensors(
            folder / WORD_FILE, dict(zip(keys, vectors, strict=True)), metadata={}, force=True
        )

    def _precision(self) -> AbstractContextManager[object]:
        kind = self.base.components.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.mixed_precision)

    def _text(self, network: SubjectNetworks, prompts: list[str]) -> TextCondition:
        return encode_with(self.base.components.text, network.word, prompts)

    def _known(self, batch: SubjectBatch) -> Tensor:
        return self.base.judge(batch.reference, batch.reference_mask)

    def _prompt(self, place: str) -> str:
        return f"a photo of a {self.settings.word} {self.settings.noun} {place}".rstrip()

    def _noise(self, seed: int, draw: int, size: int) -> Tensor:
        seeds = [seed + draw * size + row for row in range(size)]
        return draw_noise(seeds, self.base.latent_shape).to(self.base.components.device)


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
    weight = weight.double().expand_as(clean)
    return ((raw.double() - target).square() * weight).sum() / weight.sum()


@dataclass(frozen=True)
class SubjectConfig(SubjectSettings):
    """Settings of the stage."""

    def build(self, context: Context) -> SubjectStage:
        """Return the stage for the given device; only the photos are its data.

        Raises:
            ConfigError: A setting is missing or impossible.
        """
        base = load_subject_base(self, context.device)
        return SubjectStage(base, self, compare_in_autoencoder(base.autoencoder))
