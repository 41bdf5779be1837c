import json
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import swiftpie
from swiftpie import ConfigError, WeightsError, __version__
from swiftpie.backbones.hub import RepoReference
from swiftpie.backbones.licences import TERMS, everything, licence_of, recipe_terms, terms_at
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.backbones.sources import plan_files
from swiftpie.cli import about
from swiftpie.engine.transforms import TRANSFORMS
from swiftpie.faces import FACE_ENCODERS
from swiftpie.imageio.writing import save_image

TABLES = tomllib.loads(Path(__file__).with_name("about.toml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Nothing is on this machine, whose terminal has the usual width."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("command", "registry", "shown"),
    [("presets", PRESETS, "sd-turbo"), ("recipes", RECIPES, "klein")],
)
def test_each_entry_is_listed_as_it_is_described(call, command, registry, shown):
    listed = json.loads(call(command, "--json").stdout)
    assert [facts["name"] for facts in listed] == list(registry.names())
    assert json.loads(call(command, shown, "--json").stdout) in listed
    call(command, "maxi", code=2)
    lines = call(command).stdout.splitlines()
    assert {line.split()[0] for line in lines} >= {*registry.names()}
    assert max(map(len, [*lines, *call(command, shown).stdout.splitlines()])) <= 80


def test_doctor_knows_versions_and_what_is_here(call, monkeypatch):
    facts = json.loads(call("doctor", "--json").stdout)
    assert facts["swiftpie"] == __version__
    assert facts["packages"]["torch"]
    assert facts["recipes_here"] == []
    monkeypatch.setitem(about.OPTIONAL_PACKAGES, "no-such-package", "faces")
    monkeypatch.setenv("COLUMNS", "200")
    shown = " ".join(call("doctor").stdout.split())
    assert 'no-such-package not installed; pip install "swiftpie[faces]"' in shown


FACTS = {"prompt": "a dog\x1b[2J at sea", "seed": "7", "preset": "mini", "swiftpie": __version__}


def test_a_picture_says_what_made_it(call, tmp_path):
    path = tmp_path / "out.webp"
    save_image(Image.new("RGB", (16, 16)), path, metadata=FACTS)
    assert json.loads(call("show", path, "--json").stdout) == FACTS
    assert json.loads(call("show", "-", "--json", stdin=path.read_bytes()).stdout) == FACTS
    lines = call("show", path).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["prompt", "preset", "seed", "swiftpie"]
    assert "\x1b" not in lines[0]


def test_a_picture_of_another_program_says_nothing(call, photo, tmp_path):
    result = call("show", photo, code=2)
    assert result.stdout == ""
    assert "does not say what made it" in result.stderr
    call("show", tmp_path / "missing.png", code=3)


def test_everything_holds_every_part_once_with_a_licence():
    found = everything()
    assert len(set(found)) == len(found)
    assert all(term.licence and term.part for term in found)
    names = {term.name for term in found}
    presets = PRESETS.all()
    assert {*presets} <= names
    assert {preset.base for preset in presets.values() if preset.base} == {*TERMS} & names
    encoders = FACE_ENCODERS.all().items()
    assert {f"{name}: {file.name}" for name, choice in encoders for file in choice.files} <= names


def test_a_recipe_lists_all_its_parts(call):
    listed = json.loads(call("licenses", "face-plus", "--json").stdout)
    assert listed == [term._asdict() for term in recipe_terms(RECIPES.get("face-plus"))]
    assert {term["part"] for term in listed} >= {"preset", "adapter", "face encoder"}


@pytest.mark.parametrize(("repository", "stated", "counts"), TABLES["stated"])
def test_downloads_name_the_licence_that_is_listed_unless_the_card_is_stricter(
    repository, stated, counts
):
    known = terms_at(repository)
    expected = stated if counts else known.licence
    assert licence_of(RepoReference(repository), stated) == expected


PROMPT = "a hamster on a beach"


def test_every_transform_is_listed(call):
    listed = json.loads(call("engine", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(TRANSFORMS.names())
    assert all(entry["summary"] for entry in listed)
    assert "folded-upsampling" in call("engine").stdout


def test_a_picture_is_drawn_by_the_transforms_that_are_named(call, hamster, tmp_path):
    out = tmp_path / "out.png"
    arguments = ("personalize", hamster, PROMPT, "-o", out, "--size", "128x128")
    call(*arguments, "--engine", "folded-upsampling")
    refused = call(*arguments, "--force", "--engine", "folded-upsampling, offload", code=1)
    assert "CPU" in refused.output


def test_another_runtime_is_refused_and_nothing_is_written(call, tmp_path):
    (tmp_path / "runtime.tgz").write_text("no archive")
    archive = ("--runtime", tmp_path / "runtime.tgz")
    result = call("export", "page", "-o", tmp_path / "site", *archive, code=None)
    assert result.exit_code != 0
    assert "npm pack onnxruntime-web@" in result.output
    assert not (tmp_path / "site").exists()


def test_recipes_for_commerce_are_those_whose_parts_all_allow_it(call):
    listed = json.loads(call("recipes", "--commercial-only", "--json").stdout)
    assert {"klein", "face-plus"} <= {recipe["name"] for recipe in listed}
    assert all(recipe["is_commercial"] is True for recipe in listed)
    presets = json.loads(call("presets", "--commercial-only", "--json").stdout)
    assert "mini" in {preset["name"] for preset in presets}
    assert "sdxl-turbo" not in {preset["name"] for preset in presets}
    terms = json.loads(call("licenses", "--commercial-only", "--json").stdout)
    assert all(term["is_commercial"] is True for term in terms)


@pytest.mark.parametrize(("choices", "licence"), TABLES["not_sold"])
def test_what_may_not_be_sold_is_refused_by_its_licence_before_anything_is_fetched(
    choices, licence
):
    with pytest.raises(ConfigError, match="commercial use is forbidden or has conditions") as found:
        swiftpie.load(**choices, commercial_only=True)
    assert licence in str(found.value)
    assert "klein" in str(found.value)


def test_the_model_of_the_package_and_files_of_ones_own_may_be_sold(tmp_path):
    assert swiftpie.load("mini", size_px=128, commercial_only=True)
    with pytest.raises(ConfigError, match="insightface"):
        plan_files(["insightface"], {"commercial_only": True})
    with pytest.raises(WeightsError):  # of the adapter alone, which is not there
        swiftpie.load("sdxs-512", adapter=tmp_path / "own", commercial_only=True, offline=True)
