"""The page reads prompts as Python does; Node runs its rules."""

import itertools
import json
import random
import shutil

import pytest

from swiftpie.backbones.presets import PRESETS
from swiftpie.mini.site import SOURCES, words_of_prompts
from swiftpie.places import reading
from swiftpie.places.reading import vocabulary_of
from tests.processes import printed

NODE = shutil.which("node")
SUBJECTS, PLACES, MOODS, *PARTS = [
    text.split("|")
    for text in (
        "a crab|a photo of a small red cat|a mountain goat|two dogs and a cat|A robot's head",
        "|on a beach|in a quiet old village|with a hat in a forest|by the sea|under the sea|"
        "in front of snowy mountains|in the snow|on the moon|on a street of a city|downtown|"
        "a house with a garden in a park|in a kitchen, made of glass|on mountain meadows|, beach|"
        ", castle, 8k|and a volcano|in Paris, masterpiece|riding a bicycle|lying down|in a hall",
        "|at golden hour|in heavy rain at night|while it is snowing|in autumn fog|under clouds|"
        "as an oil painting|wearing a top hat|made of wool|in early morning mist|in the blue hour|"
        "without rain|at dusk, not in the snow|after dark, made out of gold",
        "|a photo of |a black and white photo of |an oil painting of |Photo: ",
        "a dog|a tiny unicorn|the huge Ärger-Bär|an acorn and a robot|two ½ cats|object",
        "| wearing a crown| riding a bicycle| sleeping| wearing a sombrero",
        " on a beach| in Paris| on a mountain in foggy cities| under water|| of gold| in the snows"
        "| on the left!| in the blue hour",
    )
]
SCRIPT = """
import { readFileSync } from "node:fs";
import { reader } from "./words.js";
import { Vocabulary } from "./vocabulary.js";
const { known, taught, prompts, unread } = JSON.parse(readFileSync(0, "utf8"));
const [words, vocabulary] = [reader(known), new Vocabulary(taught)];
const read = (prompt) => [
  Object.values(words.settingAt(prompt, words.place(prompt, 0.7))),
  words.beyond(prompt) === null ? words.place(prompt, 0.7).name : "",
  words.beyond(prompt) !== null,
  words.beyond(prompt) === null ? vocabulary.asTaught(words.plainly(prompt)) : "",
];
const unknown = unread.map((prompt) => vocabulary.unknownIn(prompt));
console.log(JSON.stringify([prompts.map(read), unknown]));
"""


def read(prompt):
    vocabulary = vocabulary_of(PRESETS.get("mini"))
    said = reading.read(prompt)
    setting = list(said.shown_at(said.place_for(0.7)).shown_setting)
    if said.rendition or said.texture or said.worn or said.is_turned:
        return [setting, "", True, ""]
    drawn = vocabulary.as_taught(reading.read(said.placed_sentence).photo_prompt)
    return [setting, said.place_for(0.7), False, drawn]


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_the_page_reads_prompts_as_python_does(tmp_path):
    for path in (SOURCES / "words.js", SOURCES / "vocabulary.js"):
        shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "read.js").write_text(SCRIPT)
    parts = itertools.product(SUBJECTS, PLACES, MOODS)
    prompts = [" ".join(filter(None, texts)) for texts in parts]
    prompts = random.Random(7).sample(prompts, 120)
    taught = vocabulary_of(PRESETS.get("mini"))
    unread = ["".join(parts) for parts in itertools.product(*PARTS)]
    given = {"known": words_of_prompts(), "taught": taught.to_json(), "prompts": prompts}
    sent = json.dumps(given | {"unread": unread})
    found, unknown = json.loads(printed(NODE, "read.js", cwd=tmp_path, input=sent))
    assert unknown == [taught.unknown_in(prompt) for prompt in unread]
    assert sum(map(bool, unknown)) > 100
    for prompt, ours, theirs in zip(prompts, map(read, prompts), found, strict=True):
        assert theirs == ours, prompt
