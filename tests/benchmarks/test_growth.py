import pytest
from PIL import Image

from benchmarks.growth import Growth, plot, served


def test_each_thing_that_grows_has_a_panel(tmp_path):
    curves = [Growth(f"things {n}", "ms", {1: 10.0, 2: 15.0, 4: 30.0}) for n in range(4)]
    plot(curves, tmp_path / "growth.webp")
    with Image.open(tmp_path / "growth.webp") as found:
        assert found.size == (900, 440)


@pytest.mark.thorough
@pytest.mark.timeout(240)
def test_a_server_holds_no_more_after_more_pictures_of_many_users():
    held = [*served(120).values.values()]
    assert held[-1] < 1.1 * held[len(held) // 2]
