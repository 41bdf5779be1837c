import random
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from swiftpie.backbones import hub as hub_module
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.sources import FileSelection, WeightFormats, WeightsResolver
from swiftpie.config import home_folder
from swiftpie.errors import ConfigError, WeightsError
from tests.fixtures.mock_hub import Fault, Repository

NUMBERS = torch.frombuffer(bytearray(random.Random(0).randbytes(3_000_000)), dtype=torch.int16)
LARGE = save({"weight": NUMBERS})
FILES = {
    "README.md": b"not needed",
    "config.json": b"{}",
    "other.safetensors": b"not needed",
    "model.fp16.safetensors": LARGE,
    "model.safetensors": b"not needed",
}


@pytest.fixture(autouse=True)
def published(hub, machine):
    del machine  # which comes first, as it forgets what earlier tests published
    hub.repositories["an/owner"] = Repository(dict(FILES), licence="mit")


def needed(chosen="an/owner", wanted=None, *, prefers_half=True, **choices):
    finder = WeightsResolver(Choices(**choices), WeightFormats(prefers_half, allow_pickle=False))
    return DownloadList((finder.find("part", "weights", chosen, wanted or FileSelection(("",))),))


def test_the_files_that_are_needed_come_and_no_others(hub):
    needs = needed()
    assert hub.sent == 0
    assert needs.bytes_left == len(LARGE) + 2
    assert needs.parts[0].licence == "mit"
    needs.fetch()
    assert hub.files == {"an/owner:config.json", "an/owner:model.fp16.safetensors"}
    assert hub.sent == len(LARGE) + 2
    assert (needs.parts[0].path / "model.fp16.safetensors").read_bytes() == LARGE
    assert not needed().missing


@pytest.mark.parametrize(
    ("prefers_half", "names", "taken"),
    [
        (True, ("model.fp16.safetensors", "model.safetensors"), {"model.fp16.safetensors"}),
        (False, ("model.fp16.safetensors", "model.safetensors"), {"model.safetensors"}),
        (
            False,
            (
                "model.safetensors.index.json",
                *(f"model-0000{i}-of-00002.safetensors" for i in (1, 2)),
            ),
            {"model.safetensors.index.json", "model-00001-of-00002.safetensors"}
            | {"model-00002-of-00002.safetensors"},
        ),
        (
            True,
            (
                "model.safetensors",
                "model.safetensors.index.fp16.json",
                "model.fp16-00001-of-00001.safetensors",
            ),
            {"model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors"},
        ),
    ],
)
def test_the_best_variant_is_taken(hub, prefers_half, names, taken):
    hub.repositories["an/owner"].files = {"config.json": b"{}", **dict.fromkeys(names, b"x")}
    files = {file.path for file in needed(prefers_half=prefers_half).parts[0].files}
    assert files == taken | {"config.json"}


def test_a_variant_that_is_here_will_do():
    needed().fetch()
    assert not needed(prefers_half=False).missing


def test_offline_the_hub_is_not_asked(hub):
    needed().fetch()
    hub.forget()
    assert not needed(offline=True).missing
    assert hub.asked == []
    with pytest.raises(WeightsError, match="not on this machine"):
        needed("an/other", offline=True)


def test_what_is_pinned_and_here_is_not_asked_for(hub):
    pinned = f"an/owner@{hub.repositories['an/owner'].revision}"
    needed(pinned).fetch()
    hub.forget()
    assert not needed(pinned).missing
    assert hub.asked == []


def test_offline_the_only_commit_that_is_here_is_taken_for_the_newest(hub):
    needed(f"an/owner@{hub.repositories['an/owner'].revision}").fetch()
    assert not needed(offline=True).missing
    with pytest.raises(WeightsError, match="not on this machine"):
        needed("an/owner@v2", offline=True)


def test_a_newer_commit_costs_only_what_changed(hub):
    needed().fetch()
    changed = FILES | {"config.json": b'{"newer": 1}'}
    hub.repositories["an/owner"] = Repository(changed, revision="e" * 40)
    hub_module._list.cache_clear()
    hub.forget()
    needs = needed()
    assert needs.bytes_left == len(changed["config.json"])
    needs.fetch()
    assert hub.files == {"an/owner:config.json"}
    assert needed(offline=True).parts[0].path.name == "e" * 40


def test_a_lost_connection_is_taken_up_again_by_itself(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # before the client tries again
    hub.faults.append(Fault("model.fp16", cut=1_500_000))
    needs = needed()
    needs.fetch()
    assert (needs.parts[0].path / "model.fp16.safetensors").read_bytes() == LARGE


def test_a_file_that_is_not_the_published_one_is_refused_and_removed(hub, machine):
    name = "model.fp16.safetensors"
    hub.faults.append(Fault(name, changes=True))
    needs = needed()
    with pytest.raises(WeightsError, match=r"not the file that was published"):
        needs.fetch()
    assert not (needs.parts[0].path / name).exists()
    assert not list((machine / "hub").rglob("*.incomplete"))
    needed().fetch()  # and comes anew


def test_memory_is_that_of_the_weights_that_are_here_and_else_the_size_of_files():
    assert needed().with_memory(4).memory_bytes == len(LARGE)
    needed().fetch()
    assert needed().with_memory(4).memory_bytes == 4 * len(NUMBERS)


def test_what_is_here_will_do_while_the_hub_is_down(hub):
    needed().fetch()
    hub_module._list.cache_clear()
    hub.faults.append(Fault("/api/models", status=503))
    assert not needed().missing


def test_an_unreachable_hub_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="network"):
        needed()


def test_gated_files_are_refused_before_the_first_comes(hub, monkeypatch):
    hub.repositories["an/owner"].token = "yes"
    monkeypatch.setenv("HF_TOKEN", "no")
    with pytest.raises(WeightsError, match="hf auth login"):
        needed()
    monkeypatch.setenv("HF_TOKEN", "yes")
    needed().fetch()


@pytest.mark.parametrize(
    ("chosen", "word"),
    [
        ("no/body", "`weights=`"),
        ("an/owner@v2", "v2"),
        ("an/owner:model-fp16.safetensors", "Did you mean model.fp16.safetensors"),
        ("an/owner:unet/nothing.onnx", "nothing.onnx"),
        ("an/owner:unet", "unet/config.json"),
        ("an/owner:" + "l" * 5000 + ".safetensors", "does not exist"),
        ("an/owner:a\0b.safetensors", "does not exist"),
    ],
)
def test_what_is_not_there_is_named(hub, chosen, word):
    with pytest.raises(WeightsError, match=word) as failure:
        needed(chosen)
    assert len(str(failure.value)) < 700
    assert hub.sent == 0


def test_a_full_disk_is_seen_first(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1_000_000))
    with pytest.raises(WeightsError, match=r"3.0 MB in .*1.0 MB are free.*HF_HOME"):
        needed().fetch()
    assert hub.sent == 0


def test_more_memory_than_there_is_is_seen_first(monkeypatch):
    needs = needed().with_memory(2)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=10**6))
    with pytest.raises(WeightsError, match=r"takes 3.0 MB of memory.*has 1.0 MB.*`dtype=bfloat16`"):
        needs.check_space()


def test_a_release_is_put_in_its_place_by_hand(hub):
    place = "github:an/archive:weights/unet@v1"
    with pytest.raises(WeightsError, match=r"github.com/an/archive/releases/tag/v1.*`weights=`"):
        needed(place)
    folder = home_folder() / "releases" / "an--archive@v1" / "weights" / "unet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(LARGE)
    found = needed(place)
    assert found.parts[0].path == folder
    assert not found.missing
    assert found.with_memory(2).memory_bytes == 2 * len(NUMBERS)
    assert hub.asked == []
    with pytest.raises(ConfigError, match="Add its tag"):
        needed(place.removesuffix("@v1"))
