"""`swiftpie presets` tells what can be loaded and under which licence."""

import json

import pytest

from swiftpie.backbones.presets import PRESETS


@pytest.fixture
def narrow(monkeypatch):
    """A terminal of the usual width."""
    monkeypatch.setenv("COLUMNS", "80")


def test_every_preset_is_listed_as_it_is_shown(call):
    listed = json.loads(call("presets", "--json").stdout)
    assert [one["name"] for one in listed] == list(PRESETS.names())
    for name in ("mini", "dmd2-sdxl-1"):
        shown = json.loads(call("presets", "show", name, "--json").stdout)
        assert shown in listed
    assert call("presets", "show", "maxi").exit_code == 2


@pytest.mark.usefixtures("narrow")
def test_the_table_keeps_names_whole_on_80_columns(call):
    lines = call("presets").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines} >= {*PRESETS.names()}
    assert any(line.split()[-2:] == ["no:", "CC-BY-NC-4.0"] for line in lines)


def test_only_presets_for_everyones_trade_are_listed_on_request(call):
    listed = json.loads(call("presets", "--commercial-only", "--json").stdout)
    names = {one["name"] for one in listed}
    assert names == {name for name, one in PRESETS.all().items() if one.is_commercial is True}
    assert "mini" in names
    assert not names & {"sd-turbo", "dmd2-sdxl-1"}
    assert "dmd2" not in call("presets", "--commercial-only").stdout


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("name", "licence"), [("dmd2-sdxl-1", "CC-BY-NC-4.0"), ("sd-turbo", "Stability AI Community")]
)
def test_showing_another_on_request_is_refused_by_its_licence(call, name, licence, before):
    flag = ["--commercial-only"]
    words = ["presets", *flag, "show", name] if before else ["presets", "show", name, *flag]
    result = call(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert licence in result.stderr
    assert "swiftpie presets --commercial-only" in result.stderr


def test_the_facts_are_those_of_the_preset(call):
    facts = json.loads(call("presets", "show", "sdxl-lightning-4", "--json").stdout)
    assert facts["licence"] == "openrail++"
    assert facts["is_commercial"] is True
    assert facts["family"] == "sdxl"
    assert facts["repository"] == "ByteDance/SDXL-Lightning"
    assert facts["file"] == "sdxl_lightning_4step_unet.safetensors"
    assert facts["steps"] == 4
    assert facts["timesteps"] == [999, 749, 499, 249]
    assert facts["image_size_px"] == 1024
    assert facts["capabilities"] == ["personalize", "text"]
    mini = json.loads(call("presets", "show", "mini", "--json").stdout)
    assert mini["capabilities"] == ["edit", "layout", "personalize"]


@pytest.mark.usefixtures("narrow")
def test_one_preset_is_shown_in_words(call):
    shown = call("presets", "show", "sd-turbo").stdout
    rows = [line.split(maxsplit=2) for line in shown.splitlines()]
    assert ["is", "commercial", "depends"] in [[part.strip() for part in row] for row in rows]
    assert "stabilityai/sd-turbo" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_showing_one_for_everyones_trade_is_not_refused(call):
    result = call("presets", "--commercial-only", "--json", "show", "mini")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["name"] == "mini"
