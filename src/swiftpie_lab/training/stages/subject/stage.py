"""The subject stage of published backbones: a teacher of Stable Diffusion, and a one-step student.

Both learn around one new word, by low-rank changes of keys and values.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.load.safe import write_tensors
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import resize_mask
from swiftpie.noise import draw_noise
from swiftpie.schedules import PredictionType
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.critics import coarse_features, low_rank_parts, without_low_rank
from swiftpie_lab.training.losses import add_noise_at, draw_levels
from swiftpie_lab.training.perceptual import Compare, perceptual_distance
from swiftpie_lab.training.stages.adapter.examples import PLACES, ROW_STRIDE
from swiftpie_lab.training.stages.subject.echo import (
    ECHO_SEED,
    NOISE_SEED,
    PRIOR_SEED,
    STUDENT_SEED,
    Echo,
    EchoStage,
    SubjectBatch,
    noise_loss,
    noised_for_judging,
)
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
SHOWN, SHOWN_DRAW = 4, 2**31 - 1
REAL = 8  # references that pictures of the student are compared with


@dataclass(frozen=True, eq=False)
class SubjectStage(EchoStage[SubjectNetworks, list[str]]):
    """Tune a teacher to a subject, and with `distils` a one-step student, by K and V alone.

    Differs from the paper, as far as its abstract tells: changes are low-rank, so that each is a
    small file that diffusers reads; the discriminator reads features of the teacher; the pictures
    of the class that preserve what is known are the untuned student's.
    """

    base: SubjectBase
    settings: SubjectSettings
    compare: Compare

    @property
    def distils(self) -> bool:
        """As the settings say."""
        return self.settings.distils

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """Its changes, and the word that both read."""
        return ("teacher", "word")

    @property
    def predicts(self) -> PredictionType:
        """As the settings say."""
        return self.settings.predicts

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""
        return self.settings.batch_size

    def network(self) -> SubjectNetworks:
        """Return new networks, which change nothing yet."""
        return SubjectNetworks(self.base, self.settings)

    def begin(self, network: SubjectNetworks) -> None:
        """Put the changes of `network` into both U-Nets."""
        use_trained(self.base, network)

    @torch.no_grad()
    def batch(self, network: SubjectNetworks, draw: int) -> SubjectBatch[list[str]]:
        """Return photos by number, or echoes, and what prompts say of them."""
        size = self.settings.batch_size
        photos = self.base.views.batch(size, draw)
        device = self.base.components.device
        pixels, mask, reference, seen = (photo.to(device) for photo in photos[:4])
        latents = self.base.autoencoder.encode(pixels).float()
        mask = resize_mask(mask, (latents.shape[2], latents.shape[3]))
        prompts = [self._prompt("")] * size
        for row, number in enumerate(self.echo_of_rows(network, size, draw)):
            if number is not None:
                latents[row], mask[row] = network.echoes[number], 1.0  # all of it was drawn
                prompts[row] = self._prompt(PLACES[int(network.echo_places[number])])
        everywhere = torch.ones_like(mask)  # where the student draws the subject is not known
        return SubjectBatch(latents, mask, prompts, everywhere, reference, seen)

    def teacher_terms(
        self, network: SubjectNetworks, batch: SubjectBatch[list[str]], draw: int
    ) -> dict[str, Tensor]:
        """Return the errors of the teacher's noise in pictures of subject and class."""
        weights = self.settings.loss
        known, prompts = self.class_pictures(draw)
        generator = torch.Generator().manual_seed((NOISE_SEED + draw) % 2**63)
        share = weights.background + (1 - weights.background) * batch.mask
        terms = {}
        for name, latents, said, weight in (
            ("subject", batch.latents, batch.told, share),
            ("prior", known, prompts, torch.ones_like(share)),
        ):
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            levels = draw_levels(generator, like=latents)
            with self.precision():
                text = encode_with(self.base.components.text, network.word, said)
                noisy = add_noise_at(latents, noise, levels)
                raw = predict(self.base.teacher, noisy, levels.timesteps, text)
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
        with self.precision(), without_low_rank(self.base.student):
            text = self.base.components.text.encode(prompts)
            return draw_once(self.base, noise, text).float(), prompts

    def draw(self, network: SubjectNetworks, batch: SubjectBatch[list[str]], draw: int) -> Tensor:
        """Return what the student draws of the prompts, in one step from noise."""
        with torch.no_grad():  # the word is the teacher's to learn
            text = encode_with(self.base.components.text, network.word, batch.told)
        return draw_once(self.base, self._noise(STUDENT_SEED, draw, len(batch.latents)), text)

    def teach(
        self,
        network: SubjectNetworks,
        noisy: Tensor,
        timesteps: Tensor,
        batch: SubjectBatch[list[str]],
    ) -> Tensor:
        """Return the teacher's output for the same prompts."""
        text = encode_with(self.base.components.text, network.word, batch.told)
        return predict(self.base.teacher, noisy, timesteps, text)

    def features(self, latents: Tensor, draw: int) -> list[Tensor]:
        """Return coarse features of the teacher as it was before, told the class alone."""
        noisy, timestep = noised_for_judging(latents, draw)
        teacher = self.base.teacher
        with torch.no_grad():
            text = self.base.components.text.encode([f"a photo of a {self.settings.noun}"])
        with self.precision(), without_low_rank(teacher), coarse_features(teacher) as seen:
            predict(teacher, noisy, timestep, text.repeat(len(latents)))
        return seen

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels."""
        return self.base.autoencoder.decode(latents)

    def known(self, batch: SubjectBatch[list[str]]) -> Tensor:
        """Return vectors of the references."""
        return self._embed(batch.reference, batch.reference_mask)

    def seen(self, pixels: Tensor, batch: SubjectBatch[list[str]]) -> Tensor:
        """Return vectors of whole pictures."""
        del batch
        return self._embed(pixels, torch.ones_like(pixels[:, :1]))

    def real_vectors(self) -> Tensor:
        """Return vectors of some references."""
        views = self.base.views.batch(REAL, SHOWN_DRAW)
        device = self.base.components.device
        return self._embed(views.reference.to(device), views.reference_mask.to(device))

    def echo(self, network: SubjectNetworks, number: int, step: int) -> Echo:
        """Return the subject in one of the places that prompts know."""
        place = number % len(PLACES)
        noise = self._noise(ECHO_SEED + step * ROW_STRIDE, number, 1)
        with self.precision():
            text = encode_with(
                self.base.components.text, network.word, [self._prompt(PLACES[place])]
            )
            latents = draw_once(self.base, noise, text)
            pixels = self.base.autoencoder.decode(latents).clamp(-1, 1)
            vector = self._embed(pixels, torch.ones_like(pixels[:, :1]))
        return Echo(latents, place, vector)

    @torch.no_grad()
    def sample(self, network: SubjectNetworks, path: Path) -> dict[str, float]:
        """Save references and what the student draws; return how alike an encoder finds them."""
        self.begin(network)
        batch = self.batch(network, SHOWN_DRAW)
        if not self.distils:
            return {}
        with self.precision():
            drawn = self.draw(network, batch, SHOWN_DRAW)
            pixels = self.decode(drawn).float().clamp(-1, 1)
            seen, known = self.seen(pixels, batch), self.known(batch)
        rows = [to_pil(row) for row in (batch.reference, pixels)]
        contact_sheet(rows, cell_px=min(256, self.base.size_px)).save(path)
        return {"identity_cosine": float(F.cosine_similarity(seen, known, dim=1).mean())}

    @torch.no_grad()
    def export(self, network: SubjectNetworks, folder: Path) -> None:
        """Write a LoRA for each network and the word, as diffusers loads them."""
        self.begin(network)
        nets = {"teacher": self.base.teacher}
        if self.distils:
            nets["student"] = self.base.student
        for name, unet in nets.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            tensors = adapter_tensors(low_rank_parts(unet))
            write_tensors(folder / name / ADAPTER_FILE, tensors, metadata={}, force=True)
        vectors = network.word.vectors()
        keys = (self.settings.word,) if len(vectors) == 1 else TOWER_KEYS
        write_tensors(
            folder / WORD_FILE, dict(zip(keys, vectors, strict=True)), metadata={}, force=True
        )

    def precision(self) -> AbstractContextManager[object]:
        """Return half precision, if the settings want it."""
        kind = self.base.components.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.autocast)

    def _embed(self, pixels: Tensor, mask: Tensor) -> Tensor:
        assert self.base.judge is not None, "there is a student"
        vectors: Tensor = self.base.judge(pixels, mask)
        return vectors

    def _prompt(self, place: str) -> str:
        return f"a photo of a {self.settings.word} {self.settings.noun} {place}".rstrip()

    def _noise(self, seed: int, draw: int, size: int) -> Tensor:
        seeds = [seed + draw * size + row for row in range(size)]
        return draw_noise(seeds, self.base.latent_shape).to(self.base.components.device)


@dataclass(frozen=True)
class SubjectConfig(SubjectSettings):
    """Settings of the stage."""

    def build(self, context: Context) -> SubjectStage:
        """Return the stage for the given device; only the photos are its data.

        Raises:
            ConfigError: A setting is missing or impossible.
        """
        base = load_subject_base(self, context.device)
        device = base.components.device
        compare = perceptual_distance(self.perceptual, base.autoencoder, device)
        return SubjectStage(base, self, compare)
