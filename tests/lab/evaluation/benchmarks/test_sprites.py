import pytest

from swiftpie.errors import ConfigError
from swiftpie_lab.evaluation.benchmarks.sprites import PHRASE_OF, SpritesInPlaces, check_places
from swiftpie_world.places import PLACES


@pytest.fixture(scope="module")
def placed(subjects):
    return SpritesInPlaces(subjects)


def test_the_seed_deals_held_out_subjects_and_places(placed, subjects):
    places = placed.places(3)
    rows = placed.rows(4, places)
    held_out = {subjects.codes[row] for row in subjects.indices("held_out")}
    assert len({row[0].code for row in rows}) == 4
    assert {case.code for row in rows for case in row} <= held_out
    assert [[case.place for case in row] for row in rows] == [places] * 4
    assert [case.seed for row in rows for case in row] == list(range(12))
    other = SpritesInPlaces(subjects, seed=1)
    assert (other.codes, other.places(9)) != (placed.codes, placed.places(9))
    assert placed.places(9)[:3] == places


def test_prompts_change_in_their_place_alone(placed):
    (row,) = placed.rows(1, [place.name for place in PLACES])
    starts = {case.prompt.removesuffix(PHRASE_OF[case.place]) for case in row}
    assert len(starts) == 1
    assert row[0].subject in starts.pop()


def test_more_than_there_is_is_refused(placed):
    with pytest.raises(ConfigError, match="13 held-out subjects"):
        placed.rows(13, ["beach"])
    with pytest.raises(ConfigError, match=f"{len(PLACES) + 1} places"):
        placed.places(len(PLACES) + 1)


def test_unknown_places_are_refused():
    assert check_places(["beach", "desert"]) == ["beach", "desert"]
    with pytest.raises(ConfigError, match=r"no place 'moon'.*beach"):
        check_places(["beach", "moon"])
