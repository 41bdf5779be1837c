"""What reading a prompt takes at full size, with random weights: `python -m benchmarks.prompts`.

Prompts by what is kept of the tokens before them, in turns, beside the whole of it read at once.
Seconds are of all processors together, so that other work counts for less.
"""

import argparse
import inspect
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import SanaSprintPipeline
from transformers import Gemma2Config, PreTrainedConfig

from benchmarks._dreamlite import language_model, word_tokenizer
from benchmarks._machine import machine, tell, usable_cores, write_report
from benchmarks._models import DREAMLITE, prompt, random_tensor
from benchmarks._timing import Spread, spread
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.families.sana import TEXT_LENGTH

SANA = "sana"
PICTURE_PX = 512

Ways = Mapping[str, Callable[[int], object]]  # by name; each takes the number of the round


def main() -> None:
    """Measure and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=[DREAMLITE, SANA], default=DREAMLITE)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    ways = dreamlite() if options.family == DREAMLITE else sana()
    facts = {"machine": machine(torch.device("cpu")), "settings": vars(options)}
    write_report({**facts, "seconds": measure(ways, options.rounds)})


@torch.no_grad()
def measure(ways: Ways, rounds: int) -> dict[str, Spread]:
    """Return the seconds of each way; the first round does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way(number)
            found[name].append(time.process_time() - start)
            tell(f"{name}: {found[name][-1]:.2f} s")
    return {name: spread(times[1:]) for name, times in found.items()}


@torch.no_grad()
def dreamlite() -> Ways:
    """Return prompts alone, about a new picture and about one that it has looked at."""
    with torch.device("meta"):
        config = language_model().config
    family: Any = FAMILIES.get(DREAMLITE)
    text = family.text_of(word_tokenizer(), built(family, config))
    pixels = torch.rand(1, 3, PICTURE_PX, PICTURE_PX) * 2 - 1
    seen = text.look(pixels)

    return {
        "words alone": lambda number: text.encode([prompt(number)]),
        "a new picture": lambda number: text.encode_beside([prompt(number)], text.look(pixels)),
        "the same picture": lambda number: text.encode_beside([prompt(number)], seen),
    }


def sana() -> Ways:
    """Return prompts behind the instruction, padded and at once as diffusers reads them, or not."""
    settings = inspect.signature(SanaSprintPipeline.__call__).parameters
    instruction = "\n".join(settings["complex_human_instruction"].default)
    family: Any = FAMILIES.get(SANA)
    text = family.text_of(word_tokenizer(instruction), built(family, Gemma2Config()))
    length = len(text.tokenizer.encode(instruction)) + TEXT_LENGTH - 2

    def at_once(number: int) -> object:
        tokens = text.tokenizer(
            [instruction + prompt(number)],
            padding="max_length",
            max_length=length,
            return_tensors="pt",
        )
        return text.network(**tokens, use_cache=False)

    return {"at once": at_once, "after": lambda number: text.encode([prompt(number)])}


def built(family: Any, config: PreTrainedConfig) -> Any:  # noqa: ANN401 - of the family
    """Return a language model of `family` with random weights in bfloat16."""
    with tempfile.TemporaryDirectory() as folder, torch.device("meta"):
        config.save_pretrained(folder)
        network = family.build_text(Path(folder))
    weights = {
        name: random_tensor(tuple(weight.shape), torch.bfloat16)
        for name, weight in network.state_dict().items()
    }
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


if __name__ == "__main__":
    main()
