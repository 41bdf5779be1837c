"""Whoever is compared is loaded side by side as far as memory goes."""

from benchmarks.peers import groups


def test_what_fits_is_loaded_beside_it_at_once():
    assert groups(4.0, {"a": 1.0, "b": 5.0}, 10.0) == [["a", "b"]]


def test_the_rest_is_loaded_beside_it_later():
    assert groups(4.0, {"a": 1.0, "b": 5.0, "c": 5.0}, 10.0) == [["a", "b"], ["c"]]


def test_one_that_never_fits_stays_alone():
    assert groups(4.0, {"a": 9.0, "b": 1.0}, 10.0) == [["a"], ["b"]]
