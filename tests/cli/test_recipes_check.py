"""`swiftpie recipes check`: whether what recipes name is still published as it was."""

import hashlib
import json
from dataclasses import replace

import pytest

from swiftpie.backbones import published
from swiftpie.backbones.hub import _list
from swiftpie.backbones.licences import COMMERCE, terms_at
from swiftpie.backbones.presets import RECIPES
from tests.fixtures.mock_hub import NEWEST, Repository, clean_machine, serving

KLEIN, ADAPTERS = "black-forest-labs/FLUX.2-klein-4B", "h94/IP-Adapter"
TURBO = "stabilityai/sdxl-turbo"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
CARDS = {TURBO: "sai-nc-community"}
TEXTS = {TURBO: b"STABILITY AI COMMUNITY LICENSE AGREEMENT\n", KLEIN: b"Apache License\n"}


def world():
    made = {}
    for name, facts in published.known_files()["repositories"].items():
        files = {path: f"{name}/{path}".encode() for path in facts["files"]}
        files |= {path: TEXTS.get(name, b"") for path in files if path.startswith("LICENSE")}
        terms = terms_at(name)
        licence = terms.licence.lower() if terms and terms.licence.lower() in COMMERCE else None
        made[name] = Repository(files, facts["revision"] or NEWEST, CARDS.get(name, licence))
    return made


def facts_of(repository):
    files = {
        path: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in repository.files.items()
    }
    return {"revision": repository.revision, "files": files}


@pytest.fixture(scope="module")
def server():
    with serving({}) as hub:
        yield hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    server.repositories = world()
    known = {name: facts_of(repository) for name, repository in server.repositories.items()}
    monkeypatch.setattr(published, "known_files", lambda: {"repositories": known})
    monkeypatch.setenv("COLUMNS", "200")
    with clean_machine(server, tmp_path):
        yield server


@pytest.mark.thorough
def test_every_recipe_is_as_known_where_nothing_has_changed(call, hub):
    result = call("recipes", "check")
    assert result.exit_code == 0, result.output
    assert "DIFFERENT" not in result.stdout
    for recipe in RECIPES.all().values():
        for place in recipe.references.values():
            assert str(replace(place, revision=None)) in result.stdout
    assert "by hand" in result.stdout
    assert not hub.files & {f"{KLEIN}:{WEIGHTS}"}  # large files are listed and not fetched


def renamed(repositories):
    files = repositories[KLEIN].files
    files[WEIGHTS.replace("model", "net")] = files.pop(WEIGHTS)


def changed(repositories):
    repositories[KLEIN].files[WEIGHTS] = repositories[KLEIN].files[WEIGHTS].upper()


def longer(repositories):
    repositories[KLEIN].files[WEIGHTS] += b"."


def small_changed(repositories):
    repositories[KLEIN].files["model_index.json"] = b"x" * len(f"{KLEIN}/model_index.json")


def other_card(repositories):
    repositories[KLEIN].licence = "cc-by-nc-4.0"


def other_text(repositories):
    repositories[KLEIN].files["LICENSE.txt"] = b"MIT License\n"


def unknown_card(repositories):
    repositories[KLEIN].licence = "flux-next-licence"


def gone(repositories):
    del repositories[KLEIN]


def at_another_commit(repositories):
    repositories[KLEIN].revision = NEWEST


RARER = [
    (longer, "bytes"),
    (small_changed, "sha256"),
    (other_text, "'MIT' in its LICENSE.txt"),
    (other_card, "'cc-by-nc-4.0' in its card"),
    (gone, "is not offered"),
    (unknown_card, "'flux-next-licence'"),
]


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (renamed, f"no file '{WEIGHTS}'"),
        (changed, "sha256"),
        *(pytest.param(*pair, marks=pytest.mark.thorough) for pair in RARER),
        (at_another_commit, "is not offered"),
    ],
)
def test_a_change_is_one_line_with_a_remedy_and_fails(call, hub, change, answer):
    change(hub.repositories)
    result = call("recipes", "check", "klein")
    assert (result.exit_code, "DIFFERENT" in result.stdout) == (1, True), result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert answer in line
    assert any(verb in line for verb in ("Look", "Draw", "Read", "Did you mean")), line


@pytest.mark.thorough
def test_a_change_of_what_several_recipes_share_is_reported_once(call, hub):
    hub.repositories[ADAPTERS].licence = "cc-by-nc-4.0"
    result = call("recipes", "check", "sdxl-turbo", "face-plus", "--json")
    assert result.exit_code == 1
    assert result.stderr.count("error:") == 1
    places = json.loads(result.stdout)
    assert {"sdxl-turbo", "face-plus"} in [{*place["names"]} for place in places]


@pytest.mark.parametrize(
    ("name", "licence", "verdict"),
    [("sana-sprint-1.6b", None, "not pinned"), ("lcm-lora-sd15", "openrail++", "not pinned")],
)
def test_what_has_no_known_commit_is_compared_at_the_newest(call, hub, name, licence, verdict):
    sana, lcm = "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers", "lcm-lora-sdv1-5"
    base = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    hub.repositories[sana] = Repository({"model_index.json": b"{}"})
    lora = {"pytorch_lora_weights.safetensors": b"lora"}
    hub.repositories[f"latent-consistency/{lcm}"] = Repository(lora, licence=licence)
    hub.repositories[base] = Repository({}, revision=published.PINS[base])
    result = call("recipes", "check", name)
    assert (result.exit_code, verdict in result.stdout) == (0, True), result.output


def test_without_a_network_one_error_says_so(call, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    _list.cache_clear()
    result = call("recipes", "check", "klein")
    assert (result.exit_code, result.stderr.count("error:")) == (1, 1), result.output
    assert "Connect this machine" in result.stderr
    assert not hub.asked


def test_an_unknown_name_is_refused_and_one_recipe_is_described(call):
    assert call("recipes", "check", "klain").exit_code == 2
    result = call("recipes", "klein", "sdxl-turbo")
    assert (result.exit_code, "recipes check" in result.stderr) == (2, True)
