import pytest

import swiftpie
from swiftpie.backbones.choices import resolve
from swiftpie.backbones.hub import root_of
from swiftpie.backbones.presets import PRESETS, RECIPES, Recipe, Use
from swiftpie.backbones.sources import is_downloaded

ENOUGH = 64 * 2**30  # bytes: a test is not to depend on what this machine has free


def test_choices_go_before_the_recipe_and_the_recipe_before_the_preset():
    recipe = Recipe(
        name="mine",
        summary="A recipe of a user.",
        preset="sdxl-turbo",
        adapter="theirs.safetensors",
        steps=2,
        scales={"identity_scale": 0.3},
    )
    preset, choices = resolve(None, recipe, {"adapter": "mine.safetensors", "base": None})
    assert choices == {"adapter": "mine.safetensors", "steps": 2}
    assert preset.defaults == {"identity_scale": 0.3, "detail_scale": 1.0}
    assert resolve("sdxl-turbo", None, {"steps": 4}) == (PRESETS.get("sdxl-turbo"), {"steps": 4})


def test_a_detail_branch_that_nobody_saw_is_a_choice_whose_place_recipes_know():
    trained = {"klein": "joint", "sdxs": "none"}  # references are its tokens; words alone
    for recipe in RECIPES.all().values():
        assert recipe.choices().get("detail") == trained.get(recipe.name), recipe.name
        finds_masks = recipe.use in {Use.PERSONALIZE, Use.ANIMATE} and recipe.name != "klein"
        assert recipe.apply().detail_mask == ("inline" if finds_masks else None), recipe.name
    assert resolve(None, "sdxs", {"detail": "joint"})[1]["detail"] == "joint"


def test_neither_a_preset_nor_a_recipe_is_mini():
    assert resolve(None, None, {})[0] is PRESETS.get("mini")
    assert swiftpie.load().components.preset.name == "mini"


def test_a_recipe_that_is_a_value_loads_what_it_says():
    small = Recipe(
        name="small",
        summary="The embedded model, quietly.",
        preset="mini",
        steps=2,
        scales={"identity_scale": 0.7},
    )
    components = swiftpie.load(recipe=small).components
    assert components.origin == {"recipe": "small"}
    assert len(components.schedule.steps) == 2
    assert components.preset.defaults["identity_scale"] == 0.7
    assert len(swiftpie.load(recipe=small, steps=4).components.schedule.steps) == 4
    pipeline = swiftpie.SwiftPiePipeline.from_recipe(small)
    assert pipeline.to_components().preset.defaults == components.preset.defaults


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path / "home"))


def put(recipe, *, but=(), size=10):
    for name, place in recipe.references.items():
        root = root_of(place)
        path = root / (place.path or "")
        is_pipeline = place.path is None and name != "autoencoder"
        whole = {*PRESETS.get("sdxl-turbo").networks, *recipe.apply().networks}
        networks = whole if is_pipeline else ("",)
        files = (
            [path]
            if place.is_file
            else [path / network / "model.safetensors" for network in networks]
        )
        for file in files:
            if name not in but:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"0" * size)
                put_settings(file.parent, is_text=file.parent.name.startswith("text"))


def put_settings(folder, *, is_text):
    (folder / "config.json").write_text("{}")
    if is_text:
        tokenizer = folder.with_name(folder.name.replace("text_encoder", "tokenizer"))
        tokenizer.mkdir(exist_ok=True)
        (tokenizer / "tokenizer.json").write_text("{}")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["sdxl-turbo", "lcm-sdxl", "klein", "swiftedit"])
def test_a_recipe_is_here_once_all_of_its_parts_are(name):
    recipe = RECIPES.get(name)
    assert not is_downloaded(recipe)
    put(recipe, but=[list(recipe.references)[-1]])
    assert not is_downloaded(recipe)
    put(recipe)
    assert is_downloaded(recipe)


@pytest.mark.usefixtures("cache")
def test_nothing_is_here_that_lacks_settings_a_tokenizer_or_a_piece():
    recipe = RECIPES.get("sdxl-turbo")
    put(recipe)
    text = root_of(recipe.references["weights"]) / "text_encoder_2" / "model.safetensors"
    for lacking in (text.with_name("config.json"), text.parents[1] / "tokenizer_2/tokenizer.json"):
        content = lacking.read_text()
        lacking.unlink()
        assert not is_downloaded(recipe)
        lacking.write_text(content)
    piece = text.with_name("model-00001-of-00002.safetensors")
    text.rename(piece)
    assert not is_downloaded(recipe)
    piece.with_name("model-00002-of-00002.safetensors").write_bytes(b"0")
    assert not is_downloaded(recipe)
    piece.with_name("model.safetensors.index.json").write_text("{}")
    assert is_downloaded(recipe)
