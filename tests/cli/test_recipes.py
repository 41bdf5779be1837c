"""`swiftpie recipes` tells what there is; `--recipe` chooses it."""

import json

import pytest

from swiftpie.backbones.presets import RECIPES


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Nothing is on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")


def test_every_recipe_is_listed_as_it_is_shown(call):
    listed = json.loads(call("recipes", "--json").stdout)
    assert [one["name"] for one in listed] == list(RECIPES.names())
    for one in listed:
        assert json.loads(call("recipes", "show", one["name"], "--json").stdout) == one
    assert call("recipes", "show", "maxi").exit_code == 2


def test_tables_keep_names_whole_on_80_columns(call):
    lines = call("recipes").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines} >= {*RECIPES.names()}
    shown = call("recipes", "show", "sdxl-turbo").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "71153311d3db" in shown
    assert "Stability AI Community" in shown


def test_only_recipes_for_everyones_trade_are_listed_on_request(call):
    listed = json.loads(call("recipes", "--commercial-only", "--json").stdout)
    names = {one["name"] for one in listed}
    assert names == {"sdxl-lightning-4", "hyper-sdxl-1", "lcm-sdxl", "face-plus", "sdxs", "klein"}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--recipe", "sdxl-turbo", "--preset", "mini"], 2, "--preset mini and --recipe sdxl-tu"),
        (["--recipe", "sdxl-turb"], 2, "Did you mean sdxl-turbo"),
        (["--recipe", "auto"], 1, "swiftpie fetch"),
        (["--recipe", "sana-sprint"], 1, "reads no pictures of subjects"),
        (["--recipe", "sd-turbo", "--save-subject-mask", "m.png"], 1, "preset 'sd-turbo' does not"),
    ],
)
def test_what_cannot_be_chosen_is_told_before_anything_is_loaded(
    call, tmp_path, hamster, options, code, message
):
    out = tmp_path / "out.png"
    result = call("personalize", hamster, "a hamster on a beach", "-o", out, *options)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not out.exists()


def test_auto_is_for_what_the_command_does(call, tmp_path, hamster):
    out = tmp_path / "out.png"
    for command, names in (
        ("edit", "swiftedit"),
        ("face", "face-plus, faceid-hyper, faceid-lcm, faceid-lightning"),
    ):
        result = call(command, hamster, "a hamster on a beach", "-o", out, "--recipe", "auto")
        assert result.exit_code == 1
        assert f"recipes for {command} ({names})" in " ".join(result.stderr.split())


def test_a_face_is_not_drawn_by_the_embedded_model(call, tmp_path, hamster):
    result = call("face", hamster, "a person on a beach", "-o", tmp_path / "out.png")
    assert result.exit_code == 2
    assert "Write --recipe face-plus" in result.stderr


def test_the_facts_are_those_of_the_recipe(call):
    facts = json.loads(call("recipes", "show", "face-plus", "--json").stdout)
    assert facts["is_commercial"] is True
    assert facts["command"].startswith("swiftpie face me.jpg")
    assert facts["scales"]["identity_scale"] == 0.8
    adapter = next(one for one in facts["parts"] if one["part"] == "adapter")
    assert adapter["place"].endswith("ip-adapter-plus-face_sdxl_vit-h.safetensors")
    assert len(adapter["revision"]) == 40
    assert {one["part"] for one in facts["licences"]} >= {"autoencoder", "face encoder"}
    turbo = json.loads(call("recipes", "show", "sdxl-turbo", "--json").stdout)
    assert (turbo["is_commercial"], turbo["other_steps"]) == (None, [2, 3, 4])
