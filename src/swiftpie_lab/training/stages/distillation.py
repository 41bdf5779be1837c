"""Distillation of a multi-step U-Net to one step, by two estimates of how likely pictures are.

Both kinds move what the student draws by the difference of two scores: that of the frozen teacher
and that of a critic, which learns what the student draws. Prompts are all the data.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.presets import PRESETS, trailing_timesteps
from swiftpie.config import Prediction
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.models.denoiser import UNetDenoiser, added_conditions
from swiftpie.models.text import PromptEncoder
from swiftpie.noise import Schedule, build_schedule, draw_noise, predict_clean
from swiftpie.pipelines.request import cells_of
from swiftpie.types import Autoencoder, TextCondition
from swiftpie_lab.data.photographs import open_whole_photos
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import (
    LAST_TIMESTEP,
    Levels,
    add_noise_at,
    clean_seen,
    draw_levels,
    levels_at,
    loss_of_gradient,
    noise_seen,
)
from swiftpie_lab.training.stages.adapter.networks import shorten_frozen
from swiftpie_lab.training.stages.inversion import read_prompts
from swiftpie_lab.training.stages.low_rank import (
    ATTENTION,
    QUERIES_AND_VALUES,
    LowRank,
    add_low_rank,
    low_rank_factors,
    use_low_rank,
    without_low_rank,
)

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices

SHOWN, SHOWN_DRAW = 8, 2**31 - 1  # pictures of progress
REAL_SEED = 2**40  # of pictures that the teacher draws for the discriminator
UNET_FOLDER = "unet"
HEAD_WIDTH, HEAD_GROUPS = 128, 8


class Kind(StrEnum):
    """How the student learns."""

    VSD = "vsd"  # SwiftBrush v2: a low-rank critic, both at every step
    DMD2 = "dmd2"  # a critic with a discriminator, several of its steps for each of the student


@dataclass(frozen=True)
class PairSettings:
    """A one-step student, and its multi-step teacher."""

    preset: str = "sd-turbo"  # the student; its text encoder and autoencoder serve both
    weights: Path | None = None  # the same as `--weights` of other commands; None: the hub
    base: str | None = None  # the same as `--base` of other commands
    teacher: Path | None = None  # folder of a multi-step U-Net
    teacher_predicts: Prediction = "epsilon"
    size_px: int = 0  # 0 is the preset's
    checkpointing: bool = True
    mixed_precision: bool = True


class Pair(NamedTuple):
    """Frozen U-Nets, whose low-rank changes, if they have some, are trained."""

    components: Components
    student: UNet2DConditionModel
    teacher: UNet2DConditionModel
    latent_shape: tuple[int, int, int]


def load_pair(settings: PairSettings, device: str, *, student: LowRank, teacher: LowRank) -> Pair:
    """Load both, with their changes.

    Raises:
        CapabilityError: The preset does not take one step, or is no Stable Diffusion.
        ConfigError: No teacher is set.
        MissingExtra: A change is low-rank, and peft is not installed.
        WeightsError: A part is missing or does not fit the others.
    """
    preset = PRESETS.get(settings.preset)
    family = FAMILIES.get(preset.family)
    if not family.takes_adapters or len(preset.timesteps) != 1:
        raise CapabilityError(
            f"Preset {preset.name!r} cannot be distilled to, as it is no Stable Diffusion of "
            "one step. Choose one of `swiftpie presets`, such as sd-turbo."
        )
    if settings.teacher is None:
        raise ConfigError(
            "stage.teacher is not set. The recipe needs the folder of a multi-step U-Net of the "
            "preset's family, such as that of Stable Diffusion 2.1. Set it."
        )
    short = torch.bfloat16 if settings.mixed_precision else torch.float32  # of what stays frozen
    choices: Choices = {"weights": settings.weights, "base": settings.base}
    choices["dtype"] = short if student.rank else torch.float32  # all of it is trained
    components = load_components(preset, device=device, **choices)
    loaded = components.denoiser
    assert isinstance(loaded, UNetDenoiser)
    loaded.installation.undo()
    dtype = short if teacher.rank else torch.float32  # a copy of it is trained
    reader = NetworkReader(device=device, dtype=dtype, allow_pickle=False)
    unet = read_unet(settings.teacher, reader, name="teacher")
    check_fits(unet, loaded.unet, folder=settings.teacher)
    for network, change in ((loaded.unet, student), (unet, teacher)):
        network.eval().requires_grad_(requires_grad=False)
        if change.rank:
            add_low_rank(network, change)
        if settings.checkpointing:
            network.train().enable_gradient_checkpointing()
    for module in family.to_modules(components).values():
        if isinstance(module, nn.Module) and module is not loaded.unet:
            module.requires_grad_(requires_grad=False)
            if settings.mixed_precision:
                shorten_frozen(module)
    cells = cells_of(components.preset, (settings.size_px,) * 2 if settings.size_px else None)
    return Pair(components, loaded.unet, unet, (preset.latent_channels, *cells))


@dataclass(frozen=True)
class DistillationConfig(PairSettings):
    """Which networks, and how they learn; the constants are those of VSD."""

    kind: Kind = Kind.VSD
    preset: str = "swiftbrush-v2"  # loads the result, and the U-Net where the student starts
    prompts: Path | None = None  # a text file with a prompt a line
    photos: Path | None = None  # real pictures for the discriminator; the teacher's own if none
    num_real: int = 256  # pictures that the teacher draws for it, when they are first needed
    num_real_steps: int = 50
    guidance: float = 4.5  # of the teacher's score, and with VSD of the critic's
    student_every: int = 1  # steps of the critic for each of the student
    critic_rank: int = 64  # of the critic's change of the teacher; 0 trains a copy of it
    critic_alpha: int = 128
    student_rank: int = 0  # 0 trains all weights; SwiftBrush v2's second student has 256
    student_alpha: int = 512
    text_drop: float = 0.1  # share of prompts that the critic does not see
    adversarial: float = 1e-3  # weight for the DMD2 student; 0 leaves the discriminator out
    discriminator: float = 1e-2  # and for the critic
    batch_size: int = 4

    def build(self, context: Context) -> "DistillationStage":
        base = self._base(context.device)
        return DistillationStage(base, self, self._real(base) if self.has_discriminator else None)

    @property
    def has_discriminator(self) -> bool:
        """Whether the critic tells the student's pictures from real ones."""
        return self.kind is Kind.DMD2 and self.adversarial > 0

    def _base(self, device: str) -> "DistillationBase":
        prompts = read_prompts(self.prompts)
        components, student, teacher, latent_shape = load_pair(
            self,
            device,
            student=LowRank(self.student_rank, self.student_alpha, ATTENTION),
            teacher=LowRank(self.critic_rank, self.critic_alpha, QUERIES_AND_VALUES),
        )
        return DistillationBase(
            student=student,
            teacher=teacher,
            text=components.text,
            autoencoder=components.autoencoder,
            schedule=components.schedule,
            latent_shape=latent_shape,
            cell_px=components.preset.latent_cell_px,
            prompts=prompts,
        )

    def _real(self, base: "DistillationBase") -> Callable[[int], "Pictures"]:
        """Return what gives batches of real pictures by number."""
        if self.photos is None:
            num_batches = max(1, self.num_real // self.batch_size)
            drawn = lru_cache(num_batches)(partial(base.drawn_by_teacher, config=self))
            return lambda draw: drawn(draw % num_batches)
        photos = open_whole_photos(self.photos, size_px=base.latent_shape[1] * base.cell_px)

        @torch.no_grad()
        def real(draw: int) -> Pictures:
            pixels, captions = photos.batch(self.batch_size, draw)
            return Pictures(base.autoencoder.encode(pixels.to(base.device)).float(), captions)

        return real


def check_fits(teacher: UNet2DConditionModel, unet: UNet2DConditionModel, *, folder: Path) -> None:
    """Raise WeightsError for a teacher that reads other latents or prompts than `unet` does."""
    for name in ("in_channels", "cross_attention_dim", "addition_embed_type"):
        own, other = teacher.config[name], unet.config[name]
        if own != other:
            raise WeightsError(
                f"The teacher in '{folder}' has {name} {own}, and the one-step model {other}. Both "
                "need the same latents and text encoder. Choose a teacher of the preset's family."
            )


class Pictures(NamedTuple):
    """Latents with the prompts that they show."""

    latents: Tensor  # (B, C, h, w)
    prompts: list[str]


@dataclass(frozen=True, eq=False)
class DistillationBase:
    """The networks where training starts, and what reads prompts; U-Nets as diffusers calls them.

    Where a change is low-rank, the U-Net stays here and its factors are what is trained.
    """

    student: nn.Module
    teacher: nn.Module
    text: PromptEncoder
    autoencoder: Autoencoder
    schedule: Schedule  # the student's, of one step
    latent_shape: tuple[int, int, int]
    cell_px: int
    prompts: Sequence[str]

    @property
    def device(self) -> torch.device:
        return next(self.teacher.parameters()).device

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Return standard normal noise (B, C, h, w)."""
        return draw_noise(seeds, self.latent_shape).to(self.device)

    def draw_once(self, unet: nn.Module, noise: Tensor, text: TextCondition) -> Tensor:
        """Return the clean latents (B, C, h, w) that `unet` draws in one step, in float32."""
        latents, step = self.schedule.initial_latents(noise), self.schedule.steps[0]
        raw = predict(unet, latents, step.timestep, text)
        return predict_clean(latents, raw, step, self.schedule.prediction_type)

    @torch.no_grad()
    def drawn_by_teacher(self, draw: int, config: DistillationConfig) -> Pictures:
        """Return what the teacher draws in many steps of DDIM, with guidance."""
        random, size = Random(REAL_SEED + draw), config.batch_size
        prompts = [random.choice(self.prompts) for _ in range(size)]
        latents = self.noise([random.randrange(2**63) for _ in prompts])
        timesteps = trailing_timesteps(config.num_real_steps)
        schedule = build_schedule(timesteps, config.teacher_predicts)
        text = self.text.encode([*prompts, *[""] * size])
        with low_rank_off(self.teacher, config):
            for index, step in enumerate(schedule.steps):
                prompted, blank = predict(
                    self.teacher, torch.cat([latents, latents]), step.timestep, text
                ).chunk(2)
                guided = blank + config.guidance * (prompted - blank)
                latents = schedule.advance(latents, guided, index)
        return Pictures(latents, prompts)


class DistillationNetworks(nn.Module):
    """All that is trained: whole U-Nets, or the factors of their low-rank changes."""

    def __init__(self, base: DistillationBase, config: DistillationConfig) -> None:
        super().__init__()
        self.student = trained_part(base.student, config.student_rank)
        self.critic = trained_part(base.teacher, config.critic_rank)
        if config.has_discriminator:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                assert isinstance(base.teacher, UNet2DConditionModel), "others have no middle"
                width = base.teacher.config.block_out_channels[-1]
                self.head = RealismHead(width).to(base.device)


def trained_part(unet: nn.Module, rank: int) -> nn.Module:
    """Return the factors of the change that `unet` has, or a trained copy of it."""
    if rank:
        assert isinstance(unet, UNet2DConditionModel), "others have no low-rank change"
        return low_rank_factors(unet)
    return copy.deepcopy(unet).requires_grad_(requires_grad=True)


def low_rank_off(teacher: nn.Module, config: DistillationConfig) -> AbstractContextManager[None]:
    """Return a context in which `teacher` is as it was loaded."""
    if not config.critic_rank:
        return nullcontext()
    assert isinstance(teacher, UNet2DConditionModel), "others have no low-rank change"
    return without_low_rank(teacher)


class Criticism(NamedTuple):
    """What a critic says of latents after noise was added."""

    errors: Tensor  # (B, C, h, w) squared, of the noise that it finds
    logits: Tensor  # (B,) high means real; 0 without a discriminator
    levels: Levels


@contextmanager
def outputs_of(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the features that blocks of a U-Net return inside the `with` block."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, object]) -> None:
        seen.append((output if isinstance(output, Tensor) else output[0]).float())

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class RealismHead(nn.Module):
    """Features (B, C, h, w) of a U-Net's middle to a logit a picture (B,); high means real.

    Differs from DMD2's: kernels of 3, which read maps of any size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (channels, HEAD_WIDTH):
            layers += [nn.Conv2d(width, HEAD_WIDTH, 3, stride=2, padding=1)]
            layers += [nn.GroupNorm(HEAD_GROUPS, HEAD_WIDTH), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.score = nn.Linear(HEAD_WIDTH, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B,)."""
        logits: Tensor = self.score(self.layers(features))
        return logits[:, 0]


def predict(
    unet: nn.Module, latents: Tensor, timesteps: Tensor | float, text: TextCondition
) -> Tensor:
    """Return the raw output (B, C, h, w) of `unet`, in float32."""
    states = text.hidden_states.to(latents.dtype)
    added = added_conditions(unet, latents, text)
    sample: Tensor = unet(latents, timesteps, states, added_cond_kwargs=added).sample
    return sample.float()


def vsd_gradient(teacher: Tensor, critic: Tensor, levels: Levels) -> Tensor:
    """Return the gradient of variational score distillation (B, C, h, w).

    From arXiv:2312.05239, with the weight `sigma ** 2`. Both are guided predictions of noise.
    """
    return _finite(levels.sigma.square() * (teacher.double() - critic.double()))


def dmd_gradient(generated: Tensor, teacher: Tensor, critic: Tensor) -> Tensor:
    """Return the gradient of distribution matching (B, C, h, w), of one size for each sample.

    From arXiv:2405.14867. Both are the clean latents seen in a noised `generated`.
    """
    distance = (generated.double() - teacher.double()).abs().mean((1, 2, 3), keepdim=True)
    return _finite((critic.double() - teacher.double()) / distance)


def _finite(gradient: Tensor) -> Tensor:
    """Return a gradient that is 0 where it says nothing, as of latents that the teacher would draw.

    The largest number in place of infinity, as in DMD2's code, is infinite again in half precision.
    """
    return torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)


@dataclass(frozen=True, eq=False)
class DistillationStage:
    """Make a one-step student of a teacher.

    From arXiv:2408.14176 (SwiftBrush v2) or arXiv:2405.14867 (DMD2). Differs from the first: the
    clamped loss of CLIP and the merging of two students are left out. Differs from the second: the
    teacher's own pictures may stand for real ones, and one pass of the critic at a level of noise
    serves its score and its discriminator.
    """

    base: DistillationBase
    config: DistillationConfig
    real: Callable[[int], Pictures] | None  # for the discriminator, by number

    @property
    def samples_per_step(self) -> int:
        return self.config.batch_size

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The student and its critic, with the discriminator if there is one."""
        head = ("head",) if self.config.has_discriminator else ()
        return {"student": ("student",), "critic": ("critic", *head)}

    def network(self) -> DistillationNetworks:
        """Return the student where it starts, and a critic that is the teacher yet."""
        return DistillationNetworks(self.base, self.config)

    def updates(self, network: DistillationNetworks, step: int, draw: int) -> Iterator[Update]:
        """Move the student when it is its turn, and its critic after it."""
        random, chance = Random(draw), torch.Generator().manual_seed(draw % 2**63)
        prompts = [random.choice(self.base.prompts) for _ in range(self.config.batch_size)]
        noise = self.base.noise([random.randrange(2**63) for _ in prompts])
        is_students_turn = step % self.config.student_every == 0
        text = self._read(prompts)
        with torch.set_grad_enabled(is_students_turn), self._precision():
            generated = self.base.draw_once(self.student(network), noise, text)
        if is_students_turn:
            gradient = self.gradient(network, generated.detach(), text, chance)
            terms = {"distillation": loss_of_gradient(generated, gradient).float()}
            if self.config.has_discriminator:
                logits = self._criticised(network, generated, text, chance).logits
                terms["adversarial"] = self.config.adversarial * F.softplus(-logits).mean()
            yield Update("student", terms)
        yield Update(
            "critic", self._critic_terms(network, generated.detach(), prompts, chance, draw)
        )

    def student(self, network: DistillationNetworks) -> nn.Module:
        return self._trained(self.base.student, network.student, self.config.student_rank)

    def critic(self, network: DistillationNetworks) -> nn.Module:
        return self._trained(self.base.teacher, network.critic, self.config.critic_rank)

    def _trained(self, unet: nn.Module, part: nn.Module, rank: int) -> nn.Module:
        if not rank:
            return part
        assert isinstance(unet, UNet2DConditionModel)
        assert isinstance(part, nn.ModuleDict)
        use_low_rank(unet, part)
        return unet

    @torch.no_grad()
    def gradient(
        self,
        network: DistillationNetworks,
        generated: Tensor,
        text: TextCondition,
        chance: torch.Generator,
    ) -> Tensor:
        """Return by what latents (B, C, h, w) are less likely to the teacher, in float64."""
        kind, scale = self.config.teacher_predicts, self.config.guidance
        levels = draw_levels(chance, like=generated)
        noise = torch.randn(generated.shape, generator=chance).to(generated)
        noisy = add_noise_at(generated, noise, levels)
        with self._precision():
            texts = (text, self.base.text.encode([""]).repeat(len(noisy)))
            own_scale = scale if self.config.kind is Kind.VSD else 1.0
            own = _guided(self.critic(network), noisy, levels, texts, own_scale)
            with low_rank_off(self.base.teacher, self.config):
                wanted = _guided(self.base.teacher, noisy, levels, texts, scale)
        if self.config.kind is Kind.VSD:
            noise, own = (noise_seen(noisy, raw, levels, kind) for raw in (wanted, own))
            return vsd_gradient(noise, own, levels)
        clean, own = (clean_seen(noisy, raw, levels, kind) for raw in (wanted, own))
        return dmd_gradient(generated, clean, own)

    def _criticised(
        self,
        network: DistillationNetworks,
        latents: Tensor,
        text: TextCondition,
        chance: torch.Generator,
    ) -> "Criticism":
        timesteps = torch.randint(LAST_TIMESTEP + 1, (len(latents),), generator=chance)
        levels = levels_at(timesteps, like=latents)
        noise = torch.randn(latents.shape, generator=chance).to(latents)
        noisy, critic = add_noise_at(latents, noise, levels), self.critic(network)
        has_head = self.config.has_discriminator
        middle = [critic.get_submodule("mid_block")] if has_head else []
        with self._precision(), outputs_of(middle) as seen:
            raw = predict(critic, noisy, levels.timesteps, text)
        logits = network.head(seen[0]) if has_head else raw.new_zeros(len(raw))
        found = noise_seen(noisy, raw, levels, self.config.teacher_predicts)
        return Criticism((found - noise.double()).square(), logits, levels)

    def _critic_terms(
        self,
        network: DistillationNetworks,
        generated: Tensor,
        prompts: list[str],
        chance: torch.Generator,
        draw: int,
    ) -> dict[str, Tensor]:
        """Return how badly the critic knows what the student draws, and tells it from pictures."""
        dropped = torch.rand(len(prompts), generator=chance) < self.config.text_drop
        pairs = zip(prompts, dropped.tolist(), strict=True)
        text = self._read(["" if is_dropped else prompt for prompt, is_dropped in pairs])
        fake = self._criticised(network, generated, text, chance)
        is_vsd = self.config.kind is Kind.VSD
        weight = fake.levels.alpha.square() if is_vsd else 1.0
        terms = {"critic": (weight * fake.errors).mean().float()}
        if self.real is not None:
            with self._precision():
                pictures = self.real(draw)
            text = self._read(pictures.prompts)
            real = self._criticised(network, pictures.latents, text, chance)
            loss = (F.softplus(fake.logits) + F.softplus(-real.logits)).mean()
            terms["discriminator"] = self.config.discriminator * loss
        return terms

    @torch.no_grad()
    def sample(self, network: DistillationNetworks, path: Path) -> dict[str, float]:
        """Save what the student draws; return the deviation of its latents, about 1 of pictures."""
        random = Random(SHOWN_DRAW)
        prompts = [random.choice(self.base.prompts) for _ in range(SHOWN)]
        noise = self.base.noise([SHOWN_DRAW + row for row in range(SHOWN)])
        with self._precision():
            latents = self.base.draw_once(self.student(network), noise, self._read(prompts))
            pixels = self.base.autoencoder.decode(latents).float().clamp(-1, 1)
        contact_sheet([to_pil(pixels)], cell_px=min(256, pixels.shape[-1])).save(path)
        return {"deviation": float(latents.std())}

    def export(self, network: DistillationNetworks, folder: Path) -> None:
        """Write the student's U-Net, which `--weights` takes for a preset of a U-Net alone."""
        half = copy.deepcopy(self.student(network))
        assert isinstance(half, UNet2DConditionModel), "what a config builds has no other"
        if self.config.student_rank:
            half.float().fuse_lora()
            half.unload_lora()
        half.half().register_to_config(_name_or_path="")
        half.save_pretrained(folder / UNET_FOLDER)

    @torch.no_grad()
    def _read(self, prompts: list[str]) -> TextCondition:
        with self._precision():
            return self.base.text.encode(prompts)

    def _precision(self) -> AbstractContextManager[object]:
        kind = self.base.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.config.mixed_precision)


def _guided(
    unet: nn.Module,
    noisy: Tensor,
    levels: Levels,
    texts: tuple[TextCondition, TextCondition],
    scale: float,
) -> Tensor:
    """Return the raw output towards the first text and away from the second, in float64."""
    prompted = predict(unet, noisy, levels.timesteps, texts[0]).double()
    if scale == 1:
        return prompted
    blank = predict(unet, noisy, levels.timesteps, texts[1]).double()
    return blank + scale * (prompted - blank)
