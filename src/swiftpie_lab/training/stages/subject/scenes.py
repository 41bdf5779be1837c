"""A one-step model that places subjects, its teacher, and the scenes that both draw."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError, ConfigError, InputError
from swiftpie.pipelines.identity import identity_of_frames
from swiftpie.tuning.examples import CHECK_SEED, PROMPTS, Example, draw_examples, start_of
from swiftpie.tuning.fit import NUM_CHECKS, trained_and_checked
from swiftpie.types import Identity
from swiftpie_lab.data.photo_listing import bytes_of, list_folder
from swiftpie_lab.training.stages.subject.echo import DistillSettings

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices

ECHO_SCENES = 2**25  # the seed of scenes for echoes; between those of training and of looks


@dataclass(frozen=True)
class PlacedSubjectSettings(DistillSettings):
    """What is tuned to what."""

    num_scenes: int = 8  # in which the subject's own pictures are shown
    seed: int = 0  # of the scenes


class Scene(NamedTuple):
    """A place of the subject, and the picture that is shown there."""

    example: Example
    frame: int  # of the identity's


@dataclass(frozen=True, eq=False)
class PlacedBase:
    """Frozen networks of a one-step student and its teacher, and the subject as each reads it."""

    student: Components
    teacher: Components
    own: Identity  # as the student reads it
    taught: Identity  # as the teacher does
    scenes: list[Scene]  # `num_scenes` of the subject's own pictures, then those of echoes
    checks: list[Example]  # that training does not see
    settings: PlacedSubjectSettings

    @cached_property
    def answers(self) -> list[Tensor]:
        """Latents (1, C, h, w) of the subject's own pictures in their scenes."""
        own = self.scenes[: self.settings.num_scenes]
        return [self.student.autoencoder.encode(scene.example.wanted) for scene in own]


def load_pair(
    preset: str, weights: Path | None, teacher: Path | None, *, size_px: int, device: str
) -> tuple[Components, Components]:
    """Load a one-step preset and a teacher of several steps that reads the same tokens.

    Raises:
        CapabilityError: The preset is not one-step.
        ConfigError: The two read prompts, pictures or subjects in different ways.
        WeightsError: A part is missing or damaged.
    """
    chosen = PRESETS.get(preset)
    loaded = []
    for folder in (weights, teacher):
        choices: Choices = {"weights": folder, "size_px": size_px or None}
        loaded.append(load_components(chosen, device=device, **choices))
    student, other = loaded
    if len(student.schedule.steps) != 1:
        raise CapabilityError(
            f"The student has {len(student.schedule.steps)} steps. EchoDistill is for one. Choose "
            "other weights."
        )
    told = [_told(components) for components in loaded]
    if not all(torch.equal(first, second) for first, second in zip(*told, strict=True)):
        raise ConfigError(
            f"The teacher in '{teacher}' reads prompts or pictures in another way than the "
            "student. They need the same encoders. Train it by `swiftpie train mini-teacher`, "
            "which trains its denoiser alone."
        )
    for components in loaded:
        for network in vars(components).values():
            if isinstance(network, nn.Module):
                network.requires_grad_(requires_grad=False)
    return student, other


@torch.no_grad()
def _told(components: Components) -> list[Tensor]:
    """Return what its encoders say of a fixed picture and prompts."""
    side = components.preset.image_size_px
    pixels = torch.linspace(-1, 1, 3 * side * side, device=components.device).view(1, 3, side, side)
    text = components.text.encode(list(PROMPTS))
    tokens = components.encoder_of_identity()(pixels, torch.ones_like(pixels[:, :1]))
    return [text.hidden_states, text.pooled, tokens, components.autoencoder.encode(pixels)]


def placed_base(
    student: Components, teacher: Components, own: Identity, settings: PlacedSubjectSettings
) -> PlacedBase:
    """Draw the scenes of a subject that the student has read.

    Raises:
        CapabilityError: The preset does not place subjects.
    """
    start_of(student, own)  # refuses such presets
    trained, checked = trained_and_checked(own)

    def scenes(frames: list[int], count: int, seed: int) -> list[Scene]:
        drawn = draw_examples(student, own, frames, count=count, seed=settings.seed + seed)
        return [Scene(one, frames[row % len(frames)]) for row, one in enumerate(drawn)]

    return PlacedBase(
        student,
        teacher,
        own,
        taught=identity_of_frames(teacher, own.pixels, own.mask),
        scenes=[
            *scenes(trained, settings.num_scenes, 0),
            *scenes(trained, settings.echo.num_pictures, ECHO_SCENES),
        ],
        checks=[scene.example for scene in scenes(checked, NUM_CHECKS, CHECK_SEED)],
        settings=settings,
    )


def read_subject(components: Components, folder: Path) -> Identity:
    """Return the subject of the pictures in a folder, with masks `<name>.mask.png` beside them.

    Raises:
        InputError: There is no folder, or no picture in it, or there are too many.
    """
    entries = list_folder(folder).entries if folder.is_dir() else ()
    if not entries:
        raise InputError(
            f"There is no picture in '{folder}'. A folder with one to eight pictures of one "
            "subject is needed. Set stage.data to such a folder."
        )
    pictures = [bytes_of(entry.picture) for entry in entries]
    masks = [None if entry.mask is None else bytes_of(entry.mask) for entry in entries]
    return Session(components).encode_identity(pictures, masks=masks)
