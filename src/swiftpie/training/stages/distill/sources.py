"""Where a stage that goes on from earlier weights finds them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from swiftpie.errors import ConfigError
from swiftpie.training.context import Context
from swiftpie.training.stages.one_step.networks import OneStepNetworks, load_trained
from swiftpie.training.stages.one_step.showing import Drops
from swiftpie.training.stages.one_step.stage import OneStepConfig, OneStepStage


@dataclass(frozen=True)
class Scenes:
    """How the pictures of a batch are drawn, in all stages that distil."""

    num_subjects: int = 8
    views: int = 4  # pictures that share one reference
    drops: Drops = field(default_factory=Drops)


class Model(NamedTuple):
    """A student or a teacher, and the stage that draws, encodes, judges and exports for it."""

    networks: OneStepNetworks
    stage: OneStepStage


def load_model(context: Context, source: str, *, scenes: Scenes) -> Model:
    """Load weights and build the stage around them.

    Args:
        context: Data, device and earlier runs.
        source: `mini` for the weights of the package, a run's name, or a folder with an export;
            empty for new weights around the autoencoder of the run `mini_autoencoder`.
        scenes: What a batch holds.

    Raises:
        ConfigError: There is no such run.
        WeightsError: The files there are no export of a tiny model.
    """
    config = OneStepConfig(num_subjects=scenes.num_subjects, views=scenes.views, drops=scenes.drops)
    if not source:
        stage = config.build(context)
        networks = stage.network()
        assert isinstance(networks, OneStepNetworks)
        return Model(networks, stage)
    trained = load_trained(context.weights_of(source), device=context.device)
    stage = OneStepStage(
        context.world(),
        context.world("held_out"),
        autoencoder=trained.autoencoder,
        tokenizer=trained.tokenizer,
        config=config,
    )
    return Model(trained.networks, stage)


def load_pair(
    context: Context, *, student: str, teacher: str, scenes: Scenes
) -> tuple[Model, Model]:
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
