"""The garbage collector pauses while a model loads, and goes on as it was."""

import gc

import pytest

import swiftpie
from swiftpie.engine.load import gc_paused


@pytest.fixture(params=["on", "off"])
def was_on(request):
    """Whether the search was on before; it is on again afterwards."""
    if request.param == "off":
        gc.disable()
    yield request.param == "on"
    gc.enable()


def test_nothing_is_searched_inside(was_on):
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled() == was_on


def test_a_failure_inside_does_not_leave_it_off(was_on):
    with pytest.raises(ZeroDivisionError), gc_paused():
        _ = 1 / 0
    assert gc.isenabled() == was_on


def test_what_was_made_inside_counts_as_old():
    with gc_paused():
        made = [[] for _ in range(10)]
    ours = {id(one) for one in made}
    assert sum(id(one) in ours for one in gc.get_objects(generation=2)) == len(made)
    assert gc.get_freeze_count() == 0


def test_what_others_have_frozen_stays_frozen():
    frozen = [[]]
    gc.freeze()
    try:
        with gc_paused():
            pass
        assert gc.get_freeze_count() > 0
        assert all(one is not frozen for one in gc.get_objects())  # which lists no frozen ones
    finally:
        gc.unfreeze()
    assert any(one is frozen for one in gc.get_objects())


def test_nothing_is_searched_while_a_model_loads():
    searches = []
    gc.callbacks.append(lambda phase, _: searches.append(phase))
    try:
        swiftpie.load("mini")
        during = list(searches)
    finally:
        gc.callbacks.pop()
    assert gc.isenabled()
    assert not during
