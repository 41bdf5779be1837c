"""`swiftpie licenses` knows the terms of whatever a command loads."""

import json
from pathlib import Path

import pytest

from swiftpie.backbones.licences import BASES, OWN_CUTOUT, everything, recipe_terms
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.backbones.presets.stable_diffusion import SDXL_BASE
from swiftpie.cli.licences import COMMANDS, Chosen, terms_of
from swiftpie.errors import ConfigError
from swiftpie.faces import FACE_ENCODERS

FACE_ID = Path("models/ip-adapter-faceid-plusv2_sdxl.bin")


def test_everything_holds_every_preset_base_and_encoder_once():
    found = everything()
    assert len(set(found)) == len(found)
    names = {one.name for one in found}
    presets = PRESETS.all()
    assert {*presets} <= names
    assert {one.base for one in presets.values() if one.base} == {*BASES} & names
    encoders = FACE_ENCODERS.all().items()
    files = {f"{name}: {file.name}" for name, choice in encoders for file in choice.files}
    assert files <= names


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_states_terms_for_all_that_it_loads(command):
    found = terms_of(command, Chosen())
    assert found
    assert all(one.licence and one.part and one.name for one in found)


def test_a_face_command_tells_what_options_choose():
    chosen = Chosen(None, "sdxl-lightning-4", FACE_ID, "insightface", "opencv")
    found = terms_of("face", chosen)
    by_part = {}
    for one in found:
        by_part.setdefault(one.part, []).append(one)
    assert [one.name for one in by_part["base"]] == [SDXL_BASE]
    assert by_part["adapter"][0][1:] == (FACE_ID.name, "non-commercial research", False)
    assert {one.is_commercial for one in by_part["face encoder"]} == {False}
    assert {one.is_commercial for one in by_part["judge"]} == {True}


def test_a_recipe_tells_all_its_parts_but_those_that_options_replace():
    found = terms_of("personalize", Chosen("sdxl-turbo"))
    assert found == [*recipe_terms(RECIPES.get("sdxl-turbo")), OWN_CUTOUT]
    face = terms_of("face", Chosen("face-plus"))
    assert set(recipe_terms(RECIPES.get("face-plus"))) < set(face)
    assert len({one for one in face if one.part == "adapter"}) == 1
    other = terms_of("face", Chosen("face-plus", adapter=FACE_ID, encoder="insightface"))
    assert [one.name for one in other if one.part == "adapter"] == [FACE_ID.name]
    assert {one.is_commercial for one in other if one.part == "face encoder"} == {False}
    with pytest.raises(ConfigError, match="exclude each other"):
        terms_of("face", Chosen("face-plus", "sdxl-turbo"))


def test_what_cuts_subjects_out_has_terms_of_its_own(call):
    (own,) = [one for one in terms_of("personalize", Chosen()) if one.part == "cut-out"]
    assert (own.licence, own.is_commercial) == ("Apache-2.0", True)
    for model, is_commercial in (("birefnet-general", True), ("bria-rmbg", False)):
        (one,) = [
            one
            for one in terms_of("cutout", Chosen(cutout=f"rembg:{model}"))
            if one.part == "cut-out"
        ]
        assert (one.name, one.is_commercial) == (f"rembg: {model}", is_commercial)
        assert one in everything()
        told = call("licenses", "cutout", "--cutout", f"rembg:{model}", "--commercial-only")
        assert told.exit_code == (0 if is_commercial else 2), told.output
        assert ("CC BY-NC" in told.stderr) is not is_commercial
    listed = json.loads(call("licenses", "--commercial-only", "--json").stdout)
    assert "rembg: birefnet-general" in {one["name"] for one in listed}
    assert "rembg: bria-rmbg" not in {one["name"] for one in listed}


def test_an_adapter_of_unknown_origin_depends_on_its_publisher():
    (adapter,) = [
        one
        for one in terms_of("personalize", Chosen(adapter=Path("mine.safetensors")))
        if one.part == "adapter"
    ]
    assert adapter.is_commercial is None


def test_what_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="'walk' is not a command"):
        terms_of("walk", Chosen())


@pytest.mark.parametrize("what", ["", "mini", "opencv"])
def test_a_choice_that_nothing_takes_is_refused(what):
    with pytest.raises(ConfigError, match="--adapter was given without a command"):
        terms_of(what, Chosen(adapter=Path("mine.safetensors")))


def test_the_command_prints_json_and_leaves_out_what_is_not_commercial(call):
    result = call("licenses", "evaluate", "fastface", "--encoder", "insightface", "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert {row["part"] for row in rows} >= {"preset", "adapter", "face encoder", "judge"}
    only = json.loads(call("licenses", "sdxl-turbo", "--commercial-only", "--json").stdout)
    assert only == []
    table = call("licenses", "sdxl-turbo").stdout
    assert "Stability AI Community License" in table
    assert "depends" in table.split()
