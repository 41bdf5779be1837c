"""Every face encoder says what it needs, and never fetches it."""

import importlib.util

import pytest

from swiftpie.errors import MissingExtra, WeightsError
from swiftpie.faces import FACE_ENCODERS


@pytest.mark.parametrize("name", FACE_ENCODERS.names())
def test_an_encoder_is_called_by_its_name_and_states_its_terms(name):
    choice = FACE_ENCODERS.get(name)
    assert choice.name == name
    assert choice.summary
    assert choice.files
    assert all(file.licence for file in choice.files)
    assert len({file.name for file in choice.files}) == len(choice.files)


@pytest.mark.parametrize("name", FACE_ENCODERS.names())
def test_without_files_there_is_an_error_that_names_the_licence(name, tmp_path):
    choice = FACE_ENCODERS.get(name)
    assert not choice.is_in(tmp_path)
    with pytest.raises((WeightsError, MissingExtra), match=r"licence|MIT|non-commercial"):
        choice.open(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_only_opencvs_encoder_allows_commercial_use():
    answers = {
        name: {file.is_commercial for file in choice.files}
        for name, choice in FACE_ENCODERS.all().items()
    }
    assert answers["opencv"] == {True}
    assert answers["arcface"] == {True, None}
    assert answers["insightface"] == {False}


@pytest.mark.skipif(importlib.util.find_spec("insightface") is not None, reason="it is installed")
def test_insightface_says_that_it_is_for_research_only():
    with pytest.raises(MissingExtra, match=r"non-commercial research only.*pip install"):
        FACE_ENCODERS.get("insightface").open(None)
