"""What `import swiftpie` offers is complete, sorted and documented."""

import inspect
import re

import pytest

import swiftpie


def test_the_public_names_are_sorted_and_unique():
    names = [name for name in swiftpie.__all__ if name != "__version__"]
    assert names
    assert names == sorted(set(names))


@pytest.mark.parametrize("name", swiftpie.__all__)
def test_every_public_name_resolves_and_is_documented(name):
    found = getattr(swiftpie, name)
    if inspect.isclass(found) or inspect.isroutine(found) or inspect.ismodule(found):
        assert inspect.getdoc(found)


def test_dir_lists_every_public_name():
    assert set(swiftpie.__all__) <= set(dir(swiftpie))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = swiftpie.no_such_name


def test_the_version_is_a_release_number():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(a|b|rc|dev|post)\d+)?", swiftpie.__version__)
