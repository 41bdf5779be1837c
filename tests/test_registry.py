"""A registry finds the modules of a folder and the entry points of other distributions."""

import importlib
import sys
from dataclasses import replace

import pytest

from swiftpie.errors import ConfigError
from swiftpie.registry import Registry

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
    metadata = tmp_path / "guest_bakery-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-bakery\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{GROUP}]\nplum = guest_bakery:PIE\ncherry = guest_bakery:PIE\nburnt = no_bakery:PIE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield Registry(package="bakery.pies", attribute="PIE", entry_point_group=GROUP)
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("bakery")]:
        del sys.modules[name]


def imported_pies():
    return {name for name in sys.modules if name.startswith(("bakery.pies", "guest_bakery"))}


def test_names_are_file_names_with_dashes_and_entry_points_and_import_nothing(pies):
    assert pies.names() == ("apple-crumble", "burnt", "cherry", "plum")
    assert imported_pies() == set()


def test_get_imports_only_the_module_it_needs(pies):
    assert pies.get("apple-crumble") == "apple"
    assert imported_pies() == {"bakery.pies", "bakery.pies.apple_crumble"}


def test_entry_points_extend_the_folder_but_do_not_replace_its_modules(pies):
    assert pies.get("plum") == "plum"
    assert pies.get("cherry") == "cherry"


def test_modules_elsewhere_are_known_by_their_given_names(pies):
    more = replace(pies, elsewhere={"plum-cake": "guest_bakery"})
    assert more.names() == ("apple-crumble", "burnt", "cherry", "plum", "plum-cake")
    assert imported_pies() == set()
    assert more.get("plum-cake") == "plum"


def test_an_unknown_name_is_answered_with_the_nearest_one(pies):
    with pytest.raises(ConfigError, match=r"The pie 'apple_crumbel' .*mean apple-crumble\?"):
        pies.get("apple_crumbel")


def test_a_name_near_to_nothing_is_answered_with_all_names(pies):
    with pytest.raises(ConfigError, match=r"known are apple-crumble, burnt, cherry, plum"):
        pies.get("zzz")


def test_a_broken_entry_point_is_blamed_on_its_distribution(pies):
    with pytest.raises(ConfigError, match=r"offered by guest-bakery as 'no_bakery:PIE'"):
        pies.get("burnt")


def test_all_returns_every_object_in_the_order_of_names(pies, tmp_path):
    metadata = tmp_path / "guest_bakery-1.0.dist-info" / "entry_points.txt"
    metadata.write_text(f"[{GROUP}]\nplum = guest_bakery:PIE\n")
    importlib.invalidate_caches()
    found = pies.all()
    assert list(found) == list(pies.names())
    assert found == {"apple-crumble": "apple", "cherry": "cherry", "plum": "plum"}


def test_a_registry_of_a_missing_folder_can_be_created_because_creation_reads_nothing():
    registry = Registry(package="no_such.folder", attribute="PIE", entry_point_group=GROUP)
    with pytest.raises(ModuleNotFoundError):
        registry.names()


@pytest.fixture
def bakery(pies, tmp_path):  # noqa: ARG001 - it puts the folder on disk
    """A registry of the same folder, with a module that holds a family."""
    family = tmp_path / "bakery" / "pies" / "quiches.py"
    family.write_text("PIES = {'leek': 'leek quiche', 'onion-2': 'onion quiche'}\n")
    importlib.invalidate_caches()
    return Registry(
        package="bakery.pies", attribute="PIE", entry_point_group=GROUP, family_attribute="PIES"
    )


def test_a_family_is_known_by_its_members_and_not_by_its_file(bakery):
    assert bakery.names() == ("apple-crumble", "burnt", "cherry", "leek", "onion-2", "plum")
    assert bakery.get("onion-2") == "onion quiche"
    assert bakery.get("apple-crumble") == "apple"
    assert bakery.get("plum") == "plum"
    with pytest.raises(ConfigError, match="'quiches' does not exist"):
        bakery.get("quiches")


def test_two_files_of_a_folder_cannot_define_one_name(bakery, tmp_path):
    (tmp_path / "bakery" / "pies" / "more.py").write_text("PIES = {'leek': 'leek tart'}\n")
    importlib.invalidate_caches()
    with pytest.raises(AssertionError, match="quiches defines a name that another module has"):
        bakery.names()
