"""EchoDistill: a teacher and its one-step student learn one subject by a word that they share.

The student's own pictures return as data to both, which gives the stage its name.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from swiftpie.backbones.load.safe import write_tensors
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import resize_mask
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.text import PromptEncoder, TextTower, TwoTextTowers
from swiftpie.models.vision import ClipIdentityEncoder, Feature
from swiftpie.noise import draw_noise, predict_clean
from swiftpie.types import TextCondition
from swiftpie_lab.data.photographs import Augmentation, PhotoViews, open_photos
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.dists import Dists
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import (
    Compare,
    add_noise_at,
    clean_seen,
    compare_in_autoencoder,
    draw_levels,
    levels_at,
    masked_mean,
    noise_seen,
)
from swiftpie_lab.training.stages.adapter.networks import (
    CLIP_WIDTH,
    NUM_SCALES,
    Discriminator,
    read_tower,
)
from swiftpie_lab.training.stages.adapter.stage import LATEST_JUDGED, discriminator_terms
from swiftpie_lab.training.stages.distillation import (
    Pair,
    PairSettings,
    load_pair,
    outputs_of,
    predict,
)
from swiftpie_lab.training.stages.low_rank import (
    KEYS_AND_VALUES,
    LowRank,
    low_rank_factors,
    low_rank_tensors,
    use_low_rank,
    without_low_rank,
)

LORA_FILE, WORD_FILE = "pytorch_lora_weights.safetensors", "word.safetensors"
TOWER_KEYS = ("clip_l", "clip_g")  # of the word in a file, where there are two towers
FIRST_ALIGNED, LAST_ALIGNED = 300, 800  # earlier the student is its own answer, later all is noise
SEEDS = {name: number * 2**40 for number, name in enumerate(("prior", "student", "echo"), 1)}
SPEED = 50.0  # a word learns 50 times as fast as the teacher that it learns with: 5e-4 and 1e-5
SHOWN_DRAW = 2**31 - 1
NUM_REAL = 8  # references that echoes are compared with
PLACES = ("on a beach", "in the snow", "on a table", "in a forest", "on grass", "in a city", "")


@dataclass(frozen=True)
class EchoWeights:
    """Factors of the loss terms."""

    prior: float = 1.0  # pictures of the class, which should stay
    background: float = 0.1  # photos outside of the subject; on it, it is 1
    identity: float = 1.0  # one minus the cosine of image-encoder vectors
    latents: float = 1.0  # squared difference of the student's and the teacher's latents
    look: float = 1.0  # perceptual distance of the two
    adversarial: float = 0.1


@dataclass(frozen=True)
class Echoes:
    """Pictures that the student draws of the subject; the half most like it joins the data."""

    first_step: int = 500
    draw_every: int = 250  # steps after which they are drawn anew
    num_pictures: int = 64
    share: float = 0.5  # of a batch

    def are_due(self, step: int) -> bool:
        """Whether they are drawn before this step."""
        since = step - self.first_step
        return since >= 0 and since % self.draw_every == 0


@dataclass(frozen=True)
class EchoConfig(PairSettings):
    """Which subject is learned, by which networks and how."""

    data: Path = Path("photos")  # of one subject
    noun: str = "toy"  # what it is
    word: str = "<subject>"  # its new name
    word_speed: float = SPEED  # of its rate to the teacher's
    opening: str = "a photo of a"  # what prompts begin with
    places: tuple[str, ...] = PLACES  # in pictures of its class and in echoes
    image_encoder: Path | None = None  # CLIP's vision tower, which judges; the public one if none
    dists: Path | None = None  # VGG16: DISTS takes the place of the autoencoder's features
    allow_pickle: bool = False  # of `dists`
    rank: int = 8
    batch_size: int = 2  # photos, and as many pictures of the class
    adversarial_steps: int = 100  # over which the weight of the discriminator rises
    loss: EchoWeights = field(default_factory=EchoWeights)
    echoes: Echoes = field(default_factory=Echoes)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def build(self, context: Context) -> "EchoStage":
        change = LowRank(self.rank, self.rank, KEYS_AND_VALUES)
        pair = load_pair(self, context.device, student=change, teacher=change)
        autoencoder = pair.components.autoencoder
        assert isinstance(autoencoder, LatentAutoencoder), "Stable Diffusion has no other"
        short = torch.bfloat16 if self.mixed_precision else torch.float32
        reader = NetworkReader(context.device, short, allow_pickle=False)
        tower = read_tower(None, self.image_encoder, reader).requires_grad_(requires_grad=False)
        compare: Compare | Dists = compare_in_autoencoder(autoencoder)
        if self.dists is not None:
            compare = Dists.read(self.dists, allow_pickle=self.allow_pickle).to(context.device)
        side = pair.latent_shape[1] * pair.components.preset.latent_cell_px
        return EchoStage(
            pair,
            self,
            judge=ClipIdentityEncoder(tower, nn.Identity(), Feature.EMBEDS).eval(),
            compare=compare,
            views=PhotoViews(open_photos(self.data, size_px=side), self.augmentation),
        )


class Word(nn.Module):
    """What each text tower reads for the pieces of a word; it begins as they are."""

    def __init__(self, text: PromptEncoder, name: str, speed: float = SPEED) -> None:
        super().__init__()
        self.name, self.speed, changes = name, speed, []
        assert isinstance(text, TextTower | TwoTextTowers), "others have no tokens of their own"
        where = text.find_words(name, [name])[0].bool()
        for number, (tower, ids) in enumerate(
            zip(towers_of(text), text.tokenize([name]), strict=False)
        ):
            start = tower.get_input_embeddings()(ids[0][where].to(tower.device)).detach().float()
            self.register_buffer(f"start_{number}", start)
            changes.append(nn.Parameter(torch.zeros_like(start)))
        self.changes = nn.ParameterList(changes)

    def vectors(self) -> list[Tensor]:
        """Return the vectors (K, D) of each tower."""
        starts = [self.get_buffer(f"start_{number}") for number in range(len(self.changes))]
        pairs = zip(starts, self.changes, strict=True)
        return [start + self.speed * change for start, change in pairs]

    def encode(self, text: PromptEncoder, prompts: Sequence[str]) -> TextCondition:
        """Return `prompts` as `text` reads them, with these vectors where they say the word."""
        where = torch.cat([text.find_words(prompt, [self.name]) for prompt in prompts]).bool()
        with ExitStack() as hooks:
            for tower, vectors in zip(towers_of(text), self.vectors(), strict=True):
                hooks.enter_context(_spoken(tower, where.to(vectors.device), vectors))
            return text.encode(list(prompts))


def towers_of(text: PromptEncoder) -> list[PreTrainedModel]:
    """Return the networks of a text encoder, in the order of its tokens."""
    if isinstance(text, TwoTextTowers):
        return [text.first.encoder, text.second]
    assert isinstance(text, TextTower), "families of Stable Diffusion have one or two towers"
    return [text.encoder]


@contextmanager
def _spoken(tower: PreTrainedModel, where: Tensor, vectors: Tensor) -> Iterator[None]:
    """Let `tower` read `vectors` (K, D) where prompts say the word, K tokens of each (B, T)."""
    order = (where.cumsum(1) - 1).clamp_min(0)

    def put(_module: nn.Module, _inputs: object, states: Tensor) -> Tensor:
        return torch.where(where[..., None], vectors[order].to(states), states)

    handle = tower.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


class EchoNetworks(nn.Module):
    """Every trained weight, and the echoes."""

    echoes: Tensor  # latents (E, C, h, w)
    echo_places: Tensor  # (E,) long, of the places that prompts name
    num_echoes: Tensor  # () long

    def __init__(self, pair: Pair, config: EchoConfig, *, width: int) -> None:
        super().__init__()
        device, count = pair.components.device, (config.echoes.num_pictures + 1) // 2
        self.word = Word(pair.components.text, config.word, config.word_speed)
        self.teacher, self.student = map(low_rank_factors, (pair.teacher, pair.student))
        self.discriminator = Discriminator(pair.teacher, subject=width)
        self.register_buffer("echoes", torch.zeros(count, *pair.latent_shape))
        self.register_buffer("echo_places", torch.zeros(count, dtype=torch.long))
        self.register_buffer("num_echoes", torch.zeros((), dtype=torch.long))
        self.requires_grad_(requires_grad=True).to(device)


class EchoBatch(NamedTuple):
    """Pictures of the subject: photos of it, or echoes."""

    latents: Tensor  # (B, C, h, w)
    mask: Tensor  # (B, 1, h, w) the subject
    prompts: list[str]
    known: Tensor  # (B, D) vectors of references


@dataclass(frozen=True, eq=False)
class EchoStage:
    """Tune a teacher to a subject, and a one-step student of it, by keys and values alone.

    From the abstract of arXiv:2510.20512 and a review of it. Differs from the paper, as far as
    these tell: changes are low-rank, so that each is a small file; the discriminator reads features
    of the teacher before its tuning, and the untuned student draws the pictures of the class.
    """

    pair: Pair
    config: EchoConfig
    judge: ClipIdentityEncoder
    compare: Compare | Dists
    views: PhotoViews

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What each objective trains; the word, which both U-Nets read, is the teacher's."""
        own = {name: (name,) for name in ("student", "discriminator")}
        return {"teacher": ("teacher", "word"), **own}

    @property
    def samples_per_step(self) -> int:
        return self.config.batch_size

    def network(self) -> EchoNetworks:
        """Return new networks, which change nothing yet."""
        width = int(self.judge.tower.config.projection_dim or CLIP_WIDTH)
        return EchoNetworks(self.pair, self.config, width=width)

    def updates(self, network: EchoNetworks, step: int, draw: int) -> Iterator[Update]:
        """Yield what the teacher learns, then its student, then the student's discriminator."""
        self.use(network)
        if self.config.echoes.are_due(step):
            self.draw_echoes(network, step)
        batch = self.batch(network, draw)
        yield Update("teacher", self.teacher_terms(network, batch, draw))
        with torch.no_grad():  # the word is the teacher's to learn
            text = self._read(network, batch.prompts)
        drawn = self._draw("student", draw, text)
        terms = self.student_terms(drawn, batch, text, draw)
        fake = self.features(drawn, draw)
        warm = min(1.0, (step + 1) / self.config.adversarial_steps)
        score = network.discriminator(fake, batch.known).mean()
        terms["adversarial"] = -self.config.loss.adversarial * warm * score
        yield Update("student", terms)
        with torch.no_grad():
            real = self.features(batch.latents, draw)
        found = discriminator_terms(network.discriminator, real, fake, subject=batch.known)
        yield Update("discriminator", found)

    def use(self, network: EchoNetworks) -> None:
        """Let both U-Nets draw with the changes of `network`."""
        use_low_rank(self.pair.teacher, network.teacher)
        use_low_rank(self.pair.student, network.student)

    @torch.no_grad()
    def batch(self, network: EchoNetworks, draw: int) -> EchoBatch:
        """Return photos by number; a share of them are echoes, once there are any."""
        size, device = self.config.batch_size, self.pair.components.device
        views = self.views.batch(size, draw)
        pixels, mask, reference, seen = (photo.to(device) for photo in views[:4])
        latents = self.pair.components.autoencoder.encode(pixels).float()
        mask = resize_mask(mask, (latents.shape[2], latents.shape[3]))
        prompts, count = list(map(self._said, views.captions)), int(network.num_echoes)
        chance, chosen = torch.rand(2, size, generator=_chance(-draw)).tolist()
        for row in range(size):
            if count and chance[row] < self.config.echoes.share:
                number = int(chosen[row] * count)
                latents[row], mask[row] = network.echoes[number], 1.0  # all of it was drawn
                place = self.config.places[int(network.echo_places[number])]
                prompts[row] = self._prompt(place)
        return EchoBatch(latents, mask, prompts, self._vectors(reference, seen))

    def teacher_terms(
        self, network: EchoNetworks, batch: EchoBatch, draw: int
    ) -> dict[str, Tensor]:
        """Return the teacher's errors of noise in pictures of the subject and of its class."""
        weights, size, chance = self.config.loss, len(batch.latents), _chance(draw)
        places = self.config.places
        said = [
            self._prompt(places[(draw * size + row) % len(places)], word="") for row in range(size)
        ]
        with torch.no_grad(), without_low_rank(self.pair.student):
            known = self._draw("prior", draw, self._read(network, said))
        share = weights.background + (1 - weights.background) * batch.mask
        terms = {}
        for name, latents, prompts, weight in (
            ("subject", batch.latents, batch.prompts, share),
            ("prior", known, said, torch.ones_like(share)),
        ):
            noise = torch.randn(latents.shape, generator=chance).to(latents)
            levels = draw_levels(chance, like=latents)
            noisy = add_noise_at(latents, noise, levels)
            with self._precision():
                text = self._read(network, prompts)
                raw = predict(self.pair.teacher, noisy, levels.timesteps, text)
            found = noise_seen(noisy, raw, levels, self.config.teacher_predicts)
            error = (found - noise.double()).square().mean(1, keepdim=True)
            terms[name] = ((error * weight).sum() / weight.sum()).float()
        terms["prior"] = weights.prior * terms["prior"]
        return terms

    def student_terms(
        self, drawn: Tensor, batch: EchoBatch, text: TextCondition, draw: int
    ) -> dict[str, Tensor]:
        """Return how far the student's latents are from the teacher's and from references."""
        weights, decode = self.config.loss, self.pair.components.autoencoder.decode
        wanted = self.taught(drawn, text, draw)
        terms = {"latents": weights.latents * (drawn.double() - wanted).square().mean().float()}
        with self._precision():
            pixels = decode(drawn)
            with torch.no_grad():
                shown = decode(wanted.float()).clamp(-1, 1)
            everywhere = torch.ones_like(pixels[:, :1])
            found = self.compare(pixels, shown)
            look = masked_mean(found, everywhere) if isinstance(found, list) else found.mean()
            seen = self.judge(pixels, everywhere)
        cosine = F.cosine_similarity(seen.float(), batch.known, dim=1)
        identity = weights.identity * (1 - cosine).mean()
        return terms | {"look": weights.look * look, "identity": identity}

    @torch.no_grad()
    def taught(self, drawn: Tensor, text: TextCondition, draw: int) -> Tensor:
        """Return the clean latents that the teacher finds in noised ones (B, C, h, w), float64."""
        chance = _chance(SEEDS["student"] + draw)
        timesteps = torch.randint(FIRST_ALIGNED, LAST_ALIGNED + 1, (len(drawn),), generator=chance)
        levels = levels_at(timesteps, like=drawn)
        noise = torch.randn(drawn.shape, generator=chance).to(drawn)
        noisy = add_noise_at(drawn.detach(), noise, levels)
        with self._precision():
            raw = predict(self.pair.teacher, noisy, levels.timesteps, text)
        return clean_seen(noisy, raw, levels, self.config.teacher_predicts)

    def features(self, latents: Tensor, draw: int) -> list[Tensor]:
        """Return coarse features of noised latents, by the teacher before its tuning."""
        chance, teacher = _chance(SEEDS["prior"] + draw), self.pair.teacher
        timesteps = torch.randint(LATEST_JUDGED + 1, (1,), generator=chance).expand(len(latents))
        levels = levels_at(timesteps, like=latents)
        noise = torch.randn(latents.shape, generator=chance).to(latents)
        noisy = add_noise_at(latents.float(), noise, levels)
        with torch.no_grad():
            said = [self._prompt("", word="")] * len(latents)
            text = self.pair.components.text.encode(said)
        blocks = [*teacher.down_blocks, teacher.mid_block][-NUM_SCALES:]
        with self._precision(), without_low_rank(teacher), outputs_of(blocks) as seen:
            predict(teacher, noisy, levels.timesteps, text)
        return seen

    @torch.no_grad()
    def draw_echoes(self, network: EchoNetworks, step: int) -> None:
        """Let the student draw the subject in many places; keep the half most like references."""
        real, found, places = self._references()[1], [], self.config.places
        for number in range(self.config.echoes.num_pictures):
            place = number % len(places)
            text = self._read(network, [self._prompt(places[place])])
            latents = self._draw("echo", step * 10**6 + number, text)
            found.append((float(self._cosines(latents, real).mean()), place, latents[0]))
        kept = sorted(found, key=lambda echo: -echo[0])[: len(network.echoes)]
        network.echoes.copy_(torch.stack([latents for _, _, latents in kept]))
        network.echo_places.copy_(torch.tensor([place for _, place, _ in kept]))
        network.num_echoes.fill_(len(kept))

    @torch.no_grad()
    def sample(self, network: EchoNetworks, path: Path) -> dict[str, float]:
        """Save what the student draws in all places; return how like the references it is."""
        self.use(network)
        reference, real = self._references()
        places = self.config.places
        text = self._read(network, [self._prompt(place) for place in places])
        latents = self._draw("echo", SHOWN_DRAW, text)
        with self._precision():
            pixels = self.pair.components.autoencoder.decode(latents).float().clamp(-1, 1)
        rows = [to_pil(reference[: len(places)]), to_pil(pixels)]
        contact_sheet(rows, cell_px=min(256, pixels.shape[-1])).save(path)
        return {"identity_cosine": float(self._cosines(latents, real).mean())}

    def export(self, network: EchoNetworks, folder: Path) -> None:
        """Write a LoRA for each network and the word, as pipelines of diffusers load them."""
        for name in ("teacher", "student"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            tensors = low_rank_tensors(getattr(network, name))
            write_tensors(folder / name / LORA_FILE, tensors, metadata={}, force=True)
        vectors = [vector.detach() for vector in network.word.vectors()]
        keys = (self.config.word,) if len(vectors) == 1 else TOWER_KEYS
        said = dict(zip(keys, vectors, strict=True))
        write_tensors(folder / WORD_FILE, said, metadata={}, force=True)

    def _references(self) -> tuple[Tensor, Tensor]:
        """Return some references (R, 3, S, S) and their vectors (R, D)."""
        device, views = self.pair.components.device, self.views.batch(NUM_REAL, SHOWN_DRAW)
        reference = views.reference.to(device)
        return reference, self._vectors(reference, views.reference_mask.to(device))

    def _vectors(self, pixels: Tensor, mask: Tensor) -> Tensor:
        with self._precision():
            return self.judge(pixels, mask).float()

    def _cosines(self, latents: Tensor, real: Tensor) -> Tensor:
        """Return how alike pictures and references (R, D) are, (B, R)."""
        with self._precision():
            pixels = self.pair.components.autoencoder.decode(latents).clamp(-1, 1)
        seen = self._vectors(pixels, torch.ones_like(pixels[:, :1]))
        return F.normalize(seen, dim=1) @ F.normalize(real, dim=1).T

    def _draw(self, use: str, draw: int, text: TextCondition) -> Tensor:
        """Return the student's clean latents (B, C, h, w) in one step, in float32."""
        size, schedule = len(text.pooled), self.pair.components.schedule
        seeds = [SEEDS[use] + draw * size + row for row in range(size)]
        noise = draw_noise(seeds, self.pair.latent_shape).to(self.pair.components.device)
        latents, step = schedule.initial_latents(noise), schedule.steps[0]
        with self._precision():
            raw = predict(self.pair.student, latents, step.timestep, text)
        return predict_clean(latents, raw, step, schedule.prediction_type)

    def _read(self, network: EchoNetworks, prompts: list[str]) -> TextCondition:
        with self._precision():
            return network.word.encode(self.pair.components.text, prompts)

    def _said(self, caption: str) -> str:
        """Return the prompt of a photo; places that its caption names stay out of the word."""
        parts = re.split(rf"\b{re.escape(self.config.noun)}\b", caption, maxsplit=1)
        return self._prompt("".join(parts[1:]).strip())

    def _prompt(self, place: str, *, word: str | None = None) -> str:
        said = self.config.word if word is None else word
        return " ".join(filter(None, (self.config.opening, said, self.config.noun, place)))

    def _precision(self) -> AbstractContextManager[object]:
        kind = self.pair.components.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.config.mixed_precision)


def _chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)
