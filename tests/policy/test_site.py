import importlib.util
import tomllib

import pytest

from swiftpie.backbones.presets import PRESETS, RECIPES
from tests.policy.project import ROOT

SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build", SITE / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_navigation_has_every_page_and_a_newcomer_meets_six():
    project = tomllib.loads((SITE / "zensical.toml").read_text())["project"]
    groups = [next(iter(entry.values())) for entry in project["nav"]]
    pages = [page for group in groups for page in (_files(group))]
    made = {"index.md", "models.md", "gallery.md", "api.md"}
    assert sorted(pages) == sorted({*made, *(page.name for page in (ROOT / "docs").glob("*.md"))})
    assert len(set(_files(groups[0])) - {"index.md"}) == 6


def _files(group):
    return [group] if isinstance(group, str) else [next(iter(page.values())) for page in group]


def test_a_link_that_leads_nowhere_is_refused(build, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[there](missing.md)")
    with pytest.raises(SystemExit, match="missing"):
        build.with_links(page)


def test_links_out_of_the_pages_lead_into_the_repository(build):
    text = build.with_links(ROOT / "docs" / "performance.md")
    assert f"]({build.REPOSITORY}/examples/onnxruntime_alone.py)" in text
    assert "](../" not in text


@pytest.mark.thorough
def test_the_table_has_every_recipe_and_preset(build):
    table = build.models()
    names = {*RECIPES.names(), *PRESETS.names()}
    assert all(f"<code>{name}</code>" in table for name in names)
    assert table.count("<tr>") == 1 + len(RECIPES.names()) + len(PRESETS.names())
