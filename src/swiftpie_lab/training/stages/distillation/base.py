"""What stages around a teacher share: weights, conditions, predictions and samplings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from swiftpie.backbones.presets import trailing
from swiftpie.errors import ConfigError
from swiftpie.mini.denoiser import TinyDenoiser
from swiftpie.models.denoiser import Prediction, SubjectCondition
from swiftpie.schedules import PredictionType, build_schedule
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.losses import LAST_TIMESTEP, guide, integrate
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks, load_trained
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage, fast_precision
from swiftpie_lab.training.stages.one_step.tasks import Drops, absent_subject, condition_of
from swiftpie_world.sampler import WorldBatch

if TYPE_CHECKING:
    from swiftpie.attention.condition import Notes


NOISE_SEED = 2**30  # above any draw; the generator reads 32 bits of a seed
NOTHING_DROPPED = Drops(everything=0.0, semantic=0.0, detail=0.0, aligned=0.0)

C = TypeVar("C", bound=nn.Module)


@dataclass(frozen=True)
class SceneSettings:
    """How the pictures of a batch are drawn, in all stages that distil or invert."""

    num_subjects: int = 8
    views: int = 4  # pictures that share one reference
    drops: Drops = field(default_factory=Drops)
    size_px: int = 128


class LoadedModel(NamedTuple):
    """A student or a teacher, and the stage that draws, encodes, judges and exports for it."""

    networks: OneStepNetworks
    stage: OneStepStage


def load_model(context: Context, source: str, *, scenes: SceneSettings) -> LoadedModel:
    """Load weights and build the stage around them.

    `source` is `mini` for the weights of the package, a run's name, or a folder with an export;
    empty for new weights around the packaged autoencoder.

    Raises:
        ConfigError: There is no such run.
        WeightsError: The files there are no export of a tiny model.
    """
    config = OneStepConfig(
        num_subjects=scenes.num_subjects,
        views=scenes.views,
        drops=scenes.drops,
        size_px=scenes.size_px,
    )
    if not source:
        stage = config.build(context)
        return LoadedModel(stage.network(), stage)
    trained = load_trained(context.weights_of(source), device=context.device)
    worlds = config.world(context, "train"), config.world(context, "held_out")
    stage = OneStepStage(*worlds, trained.autoencoder, trained.tokenizer, config=config)
    return LoadedModel(trained.networks, stage)


def load_pair(
    context: Context, *, student: str, teacher: str, scenes: SceneSettings
) -> tuple[LoadedModel, LoadedModel]:
    """Load a student and a frozen teacher that share one latent space and one vocabulary.

    Raises:
        ConfigError: They do not share them, or a run is missing.
        WeightsError: The files there are no export of a tiny model.
    """
    first = load_model(context, student, scenes=scenes)
    second = load_model(context, teacher, scenes=scenes)
    spaces = [model.stage.autoencoder.state_dict() for model in (first, second)]
    is_one_space = all(torch.equal(spaces[0][name], spaces[1][name]) for name in spaces[0])
    vocabularies = [model.networks.tokenizer.get_vocab() for model in (first, second)]
    if not is_one_space or vocabularies[0] != vocabularies[1]:
        raise ConfigError(
            f"The student {student!r} and the teacher {teacher!r} have different autoencoders or "
            "vocabularies. Distillation needs the same ones. Start both from the same weights."
        )
    second.networks.eval().requires_grad_(requires_grad=False)
    return first, second


class Encoded(NamedTuple):
    """All conditions of a denoiser for a batch."""

    text: TextCondition
    no_text: TextCondition  # the empty prompt, B rows
    subject: SubjectCondition
    has_subject: bool  # whether there is a reference


class StudentAndCritic(nn.Module, Generic[C]):
    """The student, and the critic that follows it."""

    def __init__(self, student: OneStepNetworks, critic: C) -> None:
        super().__init__()
        self.student = student
        self.critic = critic


@dataclass(frozen=True)
class StudentConfig:
    """Settings of all stages that distil a teacher into a one-step student."""

    start: str = "mini"  # the student's first weights; see `load_model`
    teacher: str = "mini_teacher"
    scenes: SceneSettings = field(default_factory=SceneSettings)

    @property
    def sources(self) -> tuple[str, ...]:
        """The runs of student and teacher."""
        return (self.start, self.teacher)

    def load(self, context: Context) -> tuple[LoadedModel, OneStepNetworks]:
        """Return the student and the networks of its frozen teacher; see `load_pair`."""
        student, teacher = load_pair(
            context, student=self.start, teacher=self.teacher, scenes=self.scenes
        )
        return student, teacher.networks


@dataclass(frozen=True)
class StudentStage:
    """A stage that makes a one-step student of a frozen teacher."""

    student: LoadedModel
    teacher: OneStepNetworks

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.student.stage.samples_per_step


class BesideCritic(ABC, Generic[C]):
    """A stage over `StudentAndCritic`; only its student is judged and kept."""

    @property
    @abstractmethod
    def one_step(self) -> OneStepStage:
        """What judges the student and writes it."""

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.one_step.samples_per_step

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The student and its critic, each with its own optimizer."""
        return {"student": ("student",), "critic": ("critic",)}

    def sample(self, network: StudentAndCritic[C], path: Path) -> dict[str, float]:
        """Save and judge one-step pictures of held-out subjects."""
        return self.one_step.sample(network.student, path)

    def export(self, network: StudentAndCritic[C], folder: Path) -> None:
        """Write the student as the one-step stage does."""
        self.one_step.export(network.student, folder)


@dataclass(frozen=True)
class CriticStage(BesideCritic[C], StudentStage):
    """A stage that makes a student of a teacher beside a critic."""

    @property
    def one_step(self) -> OneStepStage:
        """That of the student."""
        return self.student.stage

    def generate(
        self, student: OneStepNetworks, draw: int, *, scenes: SceneSettings
    ) -> tuple[WorldBatch, Tensor, Encoded]:
        """Return batch `draw`, the student's latents for it, and the conditions of its teacher."""
        stage = self.student.stage
        batch = stage.world.batch(scenes.num_subjects, scenes.views, seed=draw)
        sample = predict_once(stage, student, batch, drops=scenes.drops, seed=draw).sample
        encoded = encode_for_teacher(stage, self.teacher, batch, drops=scenes.drops, seed=draw)
        return batch, sample, encoded


def encode(
    stage: OneStepStage,
    networks: OneStepNetworks,
    batch: WorldBatch,
    *,
    drops: Drops,
    seed: int,
    text_drop: float = 0.0,
) -> Encoded:
    """Return the conditions of `batch`, of one subject a picture, with its true layout.

    `stage` has the autoencoder of `networks`; `seed` decides what is withheld, alike for all
    networks; `text_drop` is the share of pictures that lose their prompt.
    """
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(2, generator=generator)
    has_prompt = torch.rand(len(batch.captions), generator=generator) >= text_drop
    given = zip(batch.captions, has_prompt.tolist(), strict=True)
    text = stage.encode_text(networks, [caption if shown else "" for caption, shown in given])
    no_text = stage.encode_text(networks, [""]).repeat(len(batch.noise))
    if float(chance[0]) < drops.everything:
        absent = absent_subject(batch.noise, width=text.pooled.shape[1])
        return Encoded(text, no_text, absent, has_subject=False)
    shown = stage.subject_input(
        networks,
        batch,
        generator,
        text=text,
        noise=batch.noise,
        layout=batch.layout,
        drops=drops,
        mask_chance=float(chance[1]),
    )
    subject = condition_of([shown], batch.noise, autoencoder=stage.autoencoder)
    return Encoded(text, no_text, subject, has_subject=True)


def noise_generator(draw: int) -> torch.Generator:
    """Return randomness for `draw` that its batch has no part in.

    A batch is drawn from the same seed, and streams of one seed hold the same numbers, only
    shifted: noise from there would tell what the picture is.
    """
    return torch.Generator().manual_seed(NOISE_SEED + draw)


def predict(
    denoiser: TinyDenoiser,
    latents: Tensor,
    timesteps: Tensor | float,
    encoded: Encoded,
    *,
    notes: "Notes | None" = None,
) -> Prediction:
    """Return what `denoiser` says about `latents` (B, C, h, w) at one timestep or (B,)."""
    notes = {} if notes is None else notes
    prediction: Prediction = denoiser(latents, timesteps, encoded.text, encoded.subject, notes)
    return Prediction(*(value.float() for value in prediction))


def predict_once(
    stage: OneStepStage, networks: OneStepNetworks, batch: WorldBatch, *, drops: Drops, seed: int
) -> Prediction:
    """Return what `networks` make of the batch's own noise in one step; see `encode`."""
    with fast_precision(batch.noise.device):
        encoded = encode(stage, networks, batch, drops=drops, seed=seed)
        return predict(networks.denoiser, batch.noise, LAST_TIMESTEP, encoded)


@torch.no_grad()
def encode_for_teacher(
    stage: OneStepStage, teacher: OneStepNetworks, batch: WorldBatch, *, drops: Drops, seed: int
) -> Encoded:
    """Return the conditions of `batch` for networks that are not trained; see `encode`."""
    with fast_precision(batch.noise.device):
        return encode(stage, teacher, batch, drops=drops, seed=seed)


def predict_guided(
    denoiser: TinyDenoiser,
    latents: Tensor,
    timesteps: Tensor | float,
    encoded: Encoded,
    *,
    scale: float,
) -> Prediction:
    """Return the prediction at guidance `scale` towards the prompt; 1 takes one pass, not two.

    The subject is given in both passes: guidance strengthens the prompt, not the identity.
    """
    prompted = predict(denoiser, latents, timesteps, encoded)
    if scale == 1.0:
        return prompted
    blank = predict(denoiser, latents, timesteps, encoded._replace(text=encoded.no_text))
    return prompted._replace(sample=guide(prompted.sample, blank.sample, scale))


@torch.no_grad()
def sample_ddim(
    denoiser: TinyDenoiser, noise: Tensor, encoded: Encoded, *, steps: int, scale: float
) -> Prediction:
    """Return clean latents after `steps` DDIM steps from `noise`, and the mask of the last."""
    schedule = build_schedule(trailing(steps), PredictionType.SAMPLE)
    masks: list[Tensor] = []

    def step(latents: Tensor, timestep: float) -> Tensor:
        with fast_precision(latents.device):
            prediction = predict_guided(denoiser, latents, timestep, encoded, scale=scale)
        masks[:] = [prediction.subject_mask]
        return prediction.sample

    return Prediction(sample=integrate(step, noise, schedule), subject_mask=masks[-1])
