"""A registry finds the modules of a folder and the entry points of other distributions."""

import importlib
import sys
from dataclasses import replace

import pytest

from swiftpie.errors import ConfigError
from swiftpie.registry import Registry
from tests.processes import install

GROUP = "swiftpie_test.pies"


@pytest.fixture
def pies(tmp_path, monkeypatch):
    """A registry over a package on disk plus a distribution that offers two more pies."""
    folder = tmp_path / "bakery" / "pies"
    folder.mkdir(parents=True)
    (tmp_path / "bakery" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "apple_crumble.py").write_text("PIE = 'apple'\n")
    (folder / "cherry.py").write_text("PIE = 'cherry'\n")
    (folder / "_oven.py").write_text("raise RuntimeError('private modules are not read')\n")
    (tmp_path / "guest_bakery.py").write_text("PIE = 'plum'\n")
    points = ("plum = guest_bakery:PIE", "cherry = guest_bakery:PIE", "burnt = no_bakery:PIE")
    install(tmp_path, "guest_bakery", f"[{GROUP}]", *points)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield Registry(package="bakery.pies", attribute="PIE", entry_point_group=GROUP)
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("bakery")]:
        del sys.modules[name]


def imported_pies():
    return {name for name in sys.modules if name.startswith(("bakery.pies", "guest_bakery"))}


def test_names_are_those_of_files_and_get_imports_only_the_module_it_needs(pies):
    assert pies.names() == ("apple-crumble", "burnt", "cherry", "plum")
    assert imported_pies() == set()
    assert pies.get("apple-crumble") == "apple"
    assert imported_pies() == {"bakery.pies", "bakery.pies.apple_crumble"}


def test_entry_points_and_modules_elsewhere_extend_the_folder_and_replace_nothing(pies):
    more = replace(pies, elsewhere={"plum-cake": "guest_bakery"})
    assert more.names() == ("apple-crumble", "burnt", "cherry", "plum", "plum-cake")
    assert imported_pies() == set()
    assert [more.get(name) for name in ("plum", "cherry", "plum-cake")] == [
        "plum",
        "cherry",
        "plum",
    ]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("apple_crumbel", r"The pie 'apple_crumbel' .*mean apple-crumble\?"),
        ("zzz", "known are apple-crumble, burnt, cherry, plum"),
        ("burnt", "offered by guest-bakery as 'no_bakery:PIE'"),
    ],
)
def test_a_name_that_has_no_object_is_answered_with_the_remedy(pies, name, word):
    with pytest.raises(ConfigError, match=word):
        pies.get(name)


def test_all_returns_every_object_in_the_order_of_names(pies, tmp_path):
    metadata = tmp_path / "guest_bakery-1.0.dist-info" / "entry_points.txt"
    metadata.write_text(f"[{GROUP}]\nplum = guest_bakery:PIE\n")
    importlib.invalidate_caches()
    found = pies.all()
    assert list(found) == list(pies.names())
    assert found == {"apple-crumble": "apple", "cherry": "cherry", "plum": "plum"}


def test_a_family_is_known_by_its_members_which_no_other_file_may_define(pies, tmp_path):
    bakery, folder = replace(pies, family_attribute="PIES"), tmp_path / "bakery" / "pies"
    quiches = "PIES = {'leek': 'leek quiche', 'onion-2': 'onion quiche'}\n"
    (folder / "quiches.py").write_text(quiches)
    importlib.invalidate_caches()
    assert bakery.names() == ("apple-crumble", "burnt", "cherry", "leek", "onion-2", "plum")
    assert bakery.get("onion-2") == "onion quiche"
    assert bakery.get("apple-crumble") == "apple"
    assert bakery.get("plum") == "plum"
    with pytest.raises(ConfigError, match="'quiches' does not exist"):
        bakery.get("quiches")
    (folder / "more.py").write_text("PIES = {'leek': 'leek tart'}\n")
    importlib.invalidate_caches()
    with pytest.raises(AssertionError, match="quiches defines a name that another module has"):
        bakery.names()
