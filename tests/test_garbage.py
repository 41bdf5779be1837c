"""The search for garbage pauses, and goes on as it was."""

import gc
import subprocess
import sys

import pytest

from swiftpie.garbage import uncollected

IMPORTED = "import gc, swiftpie; swiftpie.Session; assert gc.isenabled(), 'still off'"


@pytest.fixture(params=["on", "off"])
def was_on(request):
    """Whether the search was on before; it is on again afterwards."""
    if request.param == "off":
        gc.disable()
    yield request.param == "on"
    gc.enable()


def test_nothing_is_searched_inside(was_on):
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() == was_on


def test_a_failure_inside_does_not_leave_it_off(was_on):
    with pytest.raises(ZeroDivisionError), uncollected():
        _ = 1 / 0
    assert gc.isenabled() == was_on


def test_it_is_on_again_after_the_first_import():
    subprocess.run([sys.executable, "-c", IMPORTED], check=True)
