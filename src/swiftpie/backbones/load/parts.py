"""What families of language models and denoisers without adapters read and refuse alike."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.load.networks import check_tokenizer
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset
from swiftpie.errors import ConfigError, WeightsError

CHOICES = frozenset({"steps", "weights", "autoencoder", "detail", "dtype", "offloads"})
IDLE_CHOICES = frozenset({"allow_pickle", "offline"})


def read_network(
    reader: NetworkReader,
    name: str,
    folder: Path,
    build: Callable[[Path], nn.Module],
    *,
    stays: bool,
) -> Any:  # noqa: ANN401 - what `build` makes
    """Return a network that may let go of its weights while it does not run.

    Raises:
        WeightsError: A file is missing or unreadable, or does not fit the network exactly.
    """
    read = partial(NetworkReader.read, name=name, folder=folder, build=build)
    network = read(reader)
    reader.rest(network, read, stays=stays)
    return network


def read_language_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a language model in `folder`.

    Raises:
        WeightsError: It is missing or damaged.
    """
    check_tokenizer(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # the library raises nothing more precise
        raise WeightsError(f"The tokenizer in '{folder}' is damaged. Get it again.") from error
    return tokenizer


def check_choices(
    preset: Preset, choices: Choices, *, allowed: Collection[str] = CHOICES, reason: str
) -> None:
    """Refuse choices about adapters, where there are none.

    Args:
        preset: What is loaded.
        choices: What a caller chose.
        allowed: Names of choices that have an effect.
        reason: Why others have none, as the end of a sentence.

    Raises:
        ConfigError: A choice has no meaning for the preset.
    """
    made = {name for name, value in choices.items() if value not in (None, AUTO, False)}
    if refused := sorted(made - {*allowed} - IDLE_CHOICES):
        raise ConfigError(
            f"Preset {preset.name!r} takes no `{refused[0]}=`, because {reason}. Leave it out."
        )
    if choices.get("detail") not in {None, "joint", "none"}:
        raise ConfigError(
            f"`detail={choices.get('detail')!r}` does not exist for preset {preset.name!r}, for "
            "which there are no adapters. Choose joint or none."
        )


def check_facts(preset: Preset, facts: Mapping[str, tuple[object, object]]) -> None:
    """Refuse networks that do not belong together; each fact is what is given and needed.

    Raises:
        WeightsError: Two differ.
    """
    for what, (given, needed) in facts.items():
        if given != needed:
            raise WeightsError(
                f"These networks do not belong to preset {preset.name!r}: {what} is {given}, and "
                f"{needed} is needed. Pass weights of the family {preset.family!r}."
            )
