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


def test_nothing_is_collected_while_a_model_loads():
    searches = []
    gc.callbacks.append(lambda phase, _: searches.append(phase))
    try:
        swiftpie.load("mini")
        during = list(searches)
    finally:
        gc.callbacks.pop()
    assert not during
