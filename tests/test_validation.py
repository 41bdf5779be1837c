import pytest

from swiftpie.errors import ConfigError
from swiftpie.validation import parse_size

NO_SIZES = ["", "big", "512", "512x", "x768", "5x6x7", "-5x6", "5.5x6", "\u0665x\u0666", "9" * 5000]


@pytest.mark.parametrize("text", ["512x768", "512X768", " 512x768\n", "0512x768"])
def test_a_size_is_width_by_height_and_read_as_height_and_width(text):
    assert parse_size(text) == (768, 512)


@pytest.mark.parametrize("text", NO_SIZES, ids=ascii)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="Write them as in 512x768"):
        parse_size(text)
