import pytest

from swiftpie.backbones.presets import PRESETS
from swiftpie.mini.reading import vocabulary_of
from swiftpie.mini.word_edits import EditReading, NotDrawn, read_edit
from swiftpie.places.words import PLAIN

TAUGHT = vocabulary_of(PRESETS.get("mini"))
NIGHT, WINTER = PLAIN._replace(time=2), PLAIN._replace(season=2)


@pytest.mark.parametrize(
    ("shown", "prompt", "expected"),
    [
        ("", "at night", EditReading(NIGHT)),
        ("", "a dog at night", EditReading(NIGHT)),
        ("", "in the blue hour", EditReading(NIGHT)),  # and no blue thing
        ("", "add some snow", EditReading(WINTER)),
        ("", "make it night, in heavy rain", EditReading(PLAIN._replace(time=2, weather=2))),
        ("", "a photo of the same place in winter", EditReading(WINTER)),
        ("", "a golden retriever at night", EditReading(NIGHT)),
        ("", "make it summer", EditReading(PLAIN)),  # which it is taken to be
        ("", "a dog in the snow", EditReading(WINTER, keeps_subject=True)),
        ("a dog on grass", "a dog in the snow", EditReading(WINTER, keeps_subject=True)),
        ("in summer", "in winter", EditReading(WINTER, keeps_subject=True)),
        ("a dog in a park", "a dog in a park at night, 2", EditReading(NIGHT)),
        ("a dog", "the dog", EditReading()),
        ("", "a blue dog", EditReading(look="blue")),
        ("", "a blue wardrobe", EditReading(look="blue")),  # which the library does not have
        ("", "an orange car", EditReading(look="orange")),
        ("", "make it red", EditReading(look="red")),
        ("", "change the car to blue", EditReading(look="blue")),
        ("dog", "a blue dog", EditReading(look="blue")),
        ("an orange heart", "a green orange heart", EditReading(look="green")),
        ("a car in a park", "an orange car in a park", EditReading(look="orange")),  # no fruit
        ("a red car", "a green car at night", EditReading(NIGHT, "green")),
        ("a dog at night", "a blue dog at night", EditReading(look="blue")),
        ("a dog in winter", "a dog in winter at night", EditReading(NIGHT)),
    ],
)
def test_an_edit_is_what_two_prompts_do_not_share(shown, prompt, expected):
    assert read_edit(prompt, TAUGHT, shown=shown) == expected


@pytest.mark.parametrize(
    ("shown", "prompt", "expected"),
    [
        ("a dog on a beach", "nothing on a beach", NotDrawn.SUBJECT),
        ("a dog on a beach", "a cat on a beach", NotDrawn.SUBJECT),
        ("a dog in a park", "a dog and a cat in a park", NotDrawn.SUBJECT),
        ("a dog", "a gronk", NotDrawn.SUBJECT),
        ("", "add a crown", NotDrawn.SUBJECT),
        ("", "remove the wardrobe", NotDrawn.SUBJECT),
        ("", "turn the dog into a lion", NotDrawn.SUBJECT),
        ("", "replace the wardrobe with a robot", NotDrawn.SUBJECT),
        ("a dog on a beach", "a dog in a castle", NotDrawn.PLACE),
        ("", "in front of a castle", NotDrawn.PLACE),
        ("", "a dog on a snowy slope", NotDrawn.PLACE),
        ("a dog", "a dog wearing sunglasses", NotDrawn.WORN),
        ("a dog holding a flag", "a dog", NotDrawn.WORN),
        ("", "wearing a top hat at night", NotDrawn.WORN),
        ("a photo of a dog", "a watercolour of a dog", NotDrawn.ART),
        ("an oil painting of a dog", "a photo of a dog", NotDrawn.ART),
        ("a dog", "a black and white photo of a dog", NotDrawn.ART),
        ("", "turn it into a pencil sketch", NotDrawn.ART),
        ("a dog at night", "a dog by day", NotDrawn.LIGHT),
        ("in winter", "in summer", NotDrawn.LIGHT),
        ("in the rain", "in fog", NotDrawn.LIGHT),
        ("a dog sitting on grass", "a dog lying on grass", NotDrawn.OTHER),
        ("a red car", "a car", NotDrawn.OTHER),  # its own colour is unknown
        ("a dog and a cat", "a blue dog and a cat", NotDrawn.OTHER),  # which one is unknown
        ("a toy", "a toy made of wood", NotDrawn.OTHER),
        ("a toy", "a toy made of gold", EditReading(None, "gold")),
        ("", "made of marble", EditReading(None, "marble")),
        ("", "turn the dog into gold", EditReading(None, "gold")),
        ("", "Turn this cat into a marble statue.", EditReading(None, "marble")),
        ("a dog on grass", "make the dog golden", EditReading(None, "gold")),
        ("", "make the dog out of stone", EditReading(None, "stone")),
        ("a dog and a cat", "turn the dog into gold", NotDrawn.OTHER),
        ("", "turn the wall into gold", NotDrawn.OTHER),
        ("", "make the dog eat chocolate", NotDrawn.OTHER),
        ("", "a golden dog", NotDrawn.OTHER),
        ("", "a chocolate cake", NotDrawn.OTHER),
        ("a dog", "at night", NotDrawn.OTHER),
        ("", "a dog", NotDrawn.OTHER),  # what the picture shows
        ("", "a dog and a lion", NotDrawn.OTHER),
        ("", "a toy car and a lion at night", NotDrawn.OTHER),
        ("", "a small car", NotDrawn.OTHER),
        ("", "a snow man", NotDrawn.OTHER),  # a thing, and no weather
        ("", "a sleeping dog", NotDrawn.OTHER),
        ("", "a rusty car at night", NotDrawn.OTHER),
        ("", "a blue toy car", NotDrawn.OTHER),
        ("", "make the background blue", NotDrawn.OTHER),
        ("", "day", NotDrawn.OTHER),
    ],
)
def test_what_else_words_ask_for_is_told_apart(shown, prompt, expected):
    assert read_edit(prompt, TAUGHT, shown=shown) == expected
