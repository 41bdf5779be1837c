import importlib.resources
import zipfile

import pytest

from swiftpie.errors import InputError
from swiftpie.library import ASSETS, LICENCE, PACK, Named, subject_library

MAX_MIB = 8  # what the package may grow by


def test_it_is_small_and_brings_its_licence():
    folder = importlib.resources.files("swiftpie") / "assets" / "library"
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < MAX_MIB << 20
    with zipfile.ZipFile(ASSETS / PACK) as pack:
        assert pack.read(LICENCE) == (folder / LICENCE).read_bytes()


@pytest.mark.parametrize(
    ("word", "name"),
    [
        *(("cat", "cat"), ("kitten", "cat"), ("Cats", "cat"), ("car", "automobile")),
        *(("T-Rex", "t rex"), ("lightbulb", "light bulb"), ("cherry", "cherries")),
        *(("can", "canned food"), ("wolves", "wolf"), ("Gloves", "gloves"), ("buses", "bus")),
        *(("tree", "deciduous tree"), ("bike", "bicycle"), ("mans shoe", "man's shoe")),
    ],
)
def test_names_synonyms_and_plurals_find_one_subject(word, name):
    assert subject_library().find(word).name == name


@pytest.mark.parametrize(
    "word", ["knight", "im", "Wald", "Albert Einstein", "summer", "gas", "as", "cares"]
)
def test_what_a_word_has_to_do_with_or_shares_letters_with_is_not_what_it_means(word):
    assert subject_library().meant_by(word) is None
    assert subject_library().near(word) == ()


def test_a_plural_is_distinguished_from_a_name():
    assert [
        subject_library().is_plural(word) for word in ("cats", "cat", "glasses", "knights")
    ] == [True, *(False, False, False)]


def test_who_is_found_comes_with_others_that_are_near():
    found = subject_library().find("kitten")
    assert found == Named("kitten", "cat", ("cat face",))
    assert str(found) == "cat (for 'kitten')"
    assert str(subject_library().find("cat")) == "cat"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("kiten", "cat"),
        ("elefant", "elephant"),
        ("blue elefant", "elephant"),
        ("hippopo", "hippo"),
        ("dgo", "dog"),
    ],
)
def test_who_is_not_found_is_reported_with_names_that_are_near(word, near):
    assert subject_library().meant_by(word) is None
    with pytest.raises(InputError, match=rf"{word}.* Spelled alike: .*{near}"):
        subject_library().find(word)


def test_words_like_nothing_are_reported_with_where_to_look():
    for word in ("xqzw", "", "!"):
        with pytest.raises(InputError, match="swiftpie library"):
            subject_library().find(word)


def test_a_query_finds_the_meant_first_and_then_what_is_near():
    assert subject_library().matching("kitten") == ("cat", "cat face")
    assert subject_library().matching("car")[:2] == ("automobile", "police car")
    assert subject_library().matching("rhino") == ("rhinoceros",)
    assert subject_library().matching("") == subject_library().names()
    assert subject_library().matching("xqzw") == subject_library().matching("!") == ()


def test_every_subject_has_a_picture_with_transparency():
    library = subject_library()
    with zipfile.ZipFile(ASSETS / PACK) as pack:
        assert {f"{entry.code}.webp" for entry in library.entries} < {*pack.namelist()}
    shown = library.image("cat")
    assert shown.mode == "RGBA"
    assert shown.getchannel("A").getextrema() == (0, 255)
    assert len(set(library.names())) == len(library) > 1300
