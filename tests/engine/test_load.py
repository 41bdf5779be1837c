import gc
from contextlib import suppress

import pytest

import swiftpie
from swiftpie.engine.load import gc_paused


@pytest.fixture(params=["on", "off"])
def was_on(request):
    """Whether the collector was on before; it is on again afterwards."""
    if request.param == "off":
        gc.disable()
    yield request.param == "on"
    gc.enable()


def test_the_collector_pauses_inside_and_is_as_before_even_after_a_failure(was_on):
    with suppress(ZeroDivisionError), gc_paused():
        is_on = gc.isenabled()
        _ = 1 / 0
    assert not is_on
    assert gc.isenabled() == was_on


def test_what_was_made_inside_counts_as_old_and_frozen_objects_stay_frozen():
    frozen = [[]]
    gc.freeze()
    try:
        with gc_paused():
            pass
        assert all(kept is not frozen for kept in gc.get_objects())  # which lists no frozen ones
    finally:
        gc.unfreeze()
    with gc_paused():
        made = [[] for _ in range(10)]
    ours = {id(kept) for kept in made}
    assert sum(id(kept) in ours for kept in gc.get_objects(generation=2)) == len(made)


def test_nothing_is_collected_while_a_model_loads():
    searches = []
    gc.callbacks.append(lambda phase, _: searches.append(phase))
    try:
        swiftpie.load("mini")
        during = list(searches)
    finally:
        gc.callbacks.pop()
    assert not during
