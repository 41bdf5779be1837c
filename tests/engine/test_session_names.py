import logging

import numpy as np
import pytest

from swiftpie import Subject
from swiftpie.library import subject_library
from tests.parity.edit import photograph

BEACH, SNOW = "a kitten on a beach", "a robot in the snow"
BOX = (0.3, 0.4, 0.8, 0.95)


def pixels(result):
    return np.asarray(getattr(result, "image", None) or result.images[0]).astype(int)


@pytest.fixture(scope="module")
def cat(session):
    return session.encode_identity(subject_library().image("cat"))


@pytest.fixture(scope="module")
def robots(session):
    return session.generate(SNOW, seed=3).images[0]


def test_a_sentence_draws_and_records_the_subjects_that_it_names(session, caplog):
    with caplog.at_level(logging.INFO, "swiftpie"):
        drawn = session.generate(BEACH, seed=3)
    given = session.personalize(session.named("cat"), BEACH, seed=3, scene="drawn beach")
    assert np.array_equal(pixels(drawn), pixels(given))
    assert [(who.word, who.name) for who in drawn.named] == [("kitten", "cat")]
    assert drawn.origin["library"] == "cat (for 'kitten')"
    assert "'kitten' is drawn from the library as 'cat'; near: cat face." in caplog.messages


def test_a_second_subject_comes_by_name_beside_one_that_is_given(session, cat):
    drawn = session.generate("Tom and a dog on a beach", subjects=cat, seed=3)
    assert [who.name for who in drawn.named] == ["dog"]
    dog = session.named("dog")
    both = session.personalize([Subject(cat), Subject(dog)], "Tom and a dog on a beach", seed=3)
    assert np.array_equal(pixels(drawn), pixels(both))
    assert session.generate("Tom on a beach", subjects=cat, seed=3).named == ()


def test_insertions_take_names(session, cat):
    photo = photograph()
    named = session.insert(photo, "kitten", box=BOX, seed=0)
    given = session.insert(photo, cat, box=BOX, seed=0)
    assert np.array_equal(pixels(named), pixels(given))
    assert named.origin["library"] == "cat (for 'kitten')"
