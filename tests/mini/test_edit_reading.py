import pytest

from swiftpie.mini.edit_reading import Cast, read_change, read_edit
from swiftpie.mini.words import NIGHT, PLAIN

AT_NIGHT = PLAIN._replace(time=NIGHT)


@pytest.fixture(scope="module")
def taught(session):
    return session.components.vocabulary


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a dog on a beach", "nothing on a beach", {"cast": Cast.GOES}),
        ("a dog on a beach", "a cat on a beach", {"cast": Cast.IS_REPLACED}),
        ("a dog in a park", "a dog and a cat in a park", {"cast": Cast.IS_JOINED}),
        ("a dog on a beach", "a dog in a castle", {"changes_place": True}),
        ("a dog on a beach in the rain", "a dog on a beach in the fog", {"changes_light": True}),
        ("a dog on a beach", "a dog on a beach at night, 2", {"changes_light": True}),
        ("a dog", "a dog wearing sunglasses", {"changes_worn": True}),
        ("a dog holding a flag", "a dog", {"changes_worn": True}),
        ("a photo of a dog", "a watercolour of a dog", {"changes_art": True}),
        ("an oil painting of a dog", "a photo of a dog", {"changes_art": True}),
        ("a dog", "a black and white photo of a dog", {"changes_art": True}),
        ("", "turn it into a pencil sketch", {"changes_art": True}),
        ("", "a golden retriever in a forest", {"changes_place": True}),
        ("", "in front of a castle", {"changes_place": True}),
        ("", "wearing a top hat at night", {"changes_worn": True, "changes_light": True}),
        ("", "a dog wearing a crown", {"changes_worn": True}),
        ("", "a dog on a beach", {"changes_place": True}),
        ("", "add a dog", {"cast": Cast.IS_JOINED}),
        ("", "add a crown", {"changes_worn": True}),
        ("", "remove the crown", {"changes_worn": True}),
        ("", "remove the vase", {"cast": Cast.GOES}),
        ("", "turn the dog into a lion", {"cast": Cast.IS_REPLACED}),
        ("", "replace the vase with a robot", {"cast": Cast.IS_REPLACED}),
    ],
)
def test_an_edit_is_what_two_prompts_do_not_share(taught, before, after, expected):
    reading = read_edit(after, taught, source_prompt=before)
    usual = dict.fromkeys(("changes_place", "changes_light", "changes_worn", "changes_art", "look"))
    for name, value in {"cast": Cast.STAYS, **usual, **expected}.items():
        assert getattr(reading, name) == value or not (getattr(reading, name) or value), name


@pytest.mark.parametrize(
    ("before", "after", "look"),
    [
        ("an orange heart", "a green orange heart", ("green", None)),
        ("a car in a park", "an orange car in a park", ("orange", None)),  # no fruit
        ("a toy", "a toy made of gold", (None, "gold")),
        ("a red car", "a wooden car", (None, "wood")),
        ("", "a blue dog", ("blue", None)),
        ("", "a blue vase", ("blue", None)),  # which the library does not have
        ("", "an orange car", ("orange", None)),
        ("", "turn the cat into gold", (None, "gold")),
        ("", "make it red", ("red", None)),
        ("a cake", "a chocolate cake", (None, "chocolate")),
        ("", "make it chocolate", (None, "chocolate")),
        ("", "a silver car", (None, "silver")),
    ],
)
def test_a_look_is_a_colour_or_a_material(taught, before, after, look):
    reading = read_edit(after, taught, source_prompt=before)
    assert (reading.look.colour, reading.look.material) == look
    assert reading.cast is Cast.STAYS


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a dog on a beach", "the dog on a beach"),  # nothing changes
        ("a dog sitting on grass", "a dog lying on grass"),  # "sitting" was never taught
        ("a red car", "a car"),  # its own colour is unknown
        ("a dog and a cat", "a dog"),
        ("", "a dog"),  # what the picture shows
        ("", "a dog and a lion"),  # both
        ("a dog in a park", "a dog upside down in a park"),
        ("", "a small car"),
        ("", "a chocolate cake"),  # a thing, and no look of another
        ("", "a glass house"),
        ("", "a gold fish"),
        ("", "a snow man"),
        ("", "a night owl on a beach"),
        ("", "a sleeping dog"),
        ("", "a rusty car at night"),
        ("", "a blue toy car"),
        ("", "remove the berry bowl"),
        ("", "a golden retriever"),
        ("", "a dog runs on a beach"),
        ("", "a toy car and a lion at night"),
        ("", "an oil painting of a toy car"),
        ("", "make the background blue"),
        ("a dog", "a gronk"),  # of which there is no picture
    ],
)
def test_other_words_are_not_understood(taught, before, after):
    assert read_edit(after, taught, source_prompt=before) is None


@pytest.mark.parametrize(
    ("before", "after", "cast"),
    [
        ("", "a cat", Cast.IS_REPLACED),
        ("a dog on a beach", "a sphynx on a beach", Cast.IS_REPLACED),
        ("a dog", "a dog and a sphynx", Cast.IS_JOINED),
    ],
)
def test_a_given_subject_takes_the_place_of_the_own_unless_words_put_it_beside(
    taught, before, after, cast
):
    assert read_edit(after, taught, source_prompt=before, brings=True).cast is cast
    assert read_edit("a red cat", taught, brings=True) is None  # a picture shows its colour


@pytest.mark.parametrize(
    ("prompt", "is_alone"),
    [
        ("at sunset in autumn", True),
        ("make it night, in heavy rain", True),
        ("a photo of the same place in winter", True),
        ("a dog at sunset", False),
        ("a photo of the same place", False),
        ("day", False),
        ("make it summer", True),  # which it is taken to be
        ("make it", False),
    ],
)
def test_a_prompt_of_a_setting_alone_is_distinguished_from_others(taught, prompt, is_alone):
    assert (read_change(prompt, taught) is not None) == is_alone


@pytest.mark.parametrize(
    ("prompt", "source", "expected"),
    [
        ("a dog in a park at night", "a photo of a dog in the park", AT_NIGHT),
        ("at night, pixel art", "", None),
        ("a dog in a park, oil painting", "a dog in a park", None),
        ("a dog in a park by day", "a dog in a park at night", None),  # light is drawn of daylight
        ("a black and white photo of a dog at night", "a photo of a dog", None),
        ("a dog in a park", "a dog in a park", None),
    ],
)
def test_what_changes_the_whole_picture_is_distinguished_from_other_edits(
    taught, prompt, source, expected
):
    assert read_change(prompt, taught, source_prompt=source) == expected
    assert read_change("at night", taught, keyword="dog") is None
