"""Files of a repository: chosen by the list, resumed, checked; and every way that can fail."""

import io
import random
import shutil
import tarfile

import pytest

from swiftpie.backbones import hub as hub_module
from swiftpie.backbones.acquire.download import DownloadPlan, as_size, as_time, last_rate
from swiftpie.backbones.acquire.sources import FileSelection, PartFinder, WeightFormats
from swiftpie.backbones.choices import Choices
from swiftpie.errors import WeightsError
from tests.fixtures.mock_hub import Fault, Repository, clean_machine, serving

LARGE = random.Random(0).randbytes(3_072_000)
FILES = {
    "README.md": b"not asked for",
    "config.json": b"{}",
    "other.safetensors": b"not asked for",
    "model.fp16.safetensors": LARGE,
    "model.safetensors": 2 * LARGE,
}


@pytest.fixture(scope="module")
def hub():
    with serving({}) as hub:
        yield hub


@pytest.fixture(autouse=True)
def machine(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("swiftpie.backbones.acquire.download.FIRST_WAIT_S", 0.0)
    hub.repositories.clear()
    hub.repositories["an/owner"] = Repository(dict(FILES), licence="mit")
    with clean_machine(hub, tmp_path) as home:
        yield home


def needed(chosen="an/owner", wanted=None, *, prefers_half=True, **choices):
    finder = PartFinder(Choices(**choices), WeightFormats(prefers_half, allow_pickle=False))
    return DownloadPlan((finder.find("part", "weights", chosen, wanted or FileSelection(("",))),))


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
    assert last_rate() is None  # too little to tell


@pytest.mark.parametrize(
    ("prefers_half", "names", "taken"),
    [
        (True, ("model.fp16.safetensors", "model.safetensors"), {"model.fp16.safetensors"}),
        (False, ("model.fp16.safetensors", "model.safetensors"), {"model.safetensors"}),
        (False, ("model.fp16.safetensors", "pytorch_model.bin"), {"model.fp16.safetensors"}),
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
    files = {one.path for one in needed(prefers_half=prefers_half).parts[0].files}
    assert files == taken | {"config.json"}


def test_a_variant_that_is_here_will_do():
    needed().fetch()
    assert not needed(prefers_half=False).missing


def test_offline_nobody_is_asked(hub):
    needed().fetch()
    hub.forget()
    again = needed(offline=True)
    assert not again.missing
    assert hub.asked == []
    with pytest.raises(WeightsError, match=r"not on this machine.*`offline=True`"):
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
    hub_module._list_repository.cache_clear()
    hub.forget()
    needs = needed()
    assert needs.bytes_left == len(changed["config.json"])
    needs.fetch()
    assert hub.files == {"an/owner:config.json"}
    assert needed(offline=True).parts[0].path.name == "e" * 40


@pytest.mark.parametrize("ignores_range", [False, True])
def test_an_interrupted_download_goes_on_where_it_stopped(hub, ignores_range):
    half = len(LARGE) // 2
    hub.faults.append(Fault("model.fp16", cut=half))
    hub.faults.append(Fault("model.fp16", status=500, times=hub_module.TRIES))
    with pytest.raises(WeightsError, match=r"status 500.*Try again later"):
        needed().fetch()
    hub.forget()
    if ignores_range:
        hub.faults.append(Fault("model.fp16", ignores_range=True))
    again = needed()
    assert again.bytes_left == len(LARGE) - half
    again.fetch()
    assert hub.sent == (len(LARGE) if ignores_range else len(LARGE) - half)
    assert (again.parts[0].path / "model.fp16.safetensors").read_bytes() == LARGE


def test_a_lost_connection_is_taken_up_again_by_itself(hub):
    hub.faults.append(Fault("model.fp16", cut=1_500_000))
    needed().fetch()
    assert hub.sent == len(LARGE) + 2


def test_a_connection_that_always_breaks_is_told(hub):
    hub.faults.append(Fault("model.fp16", cut=0, times=hub_module.TRIES))
    with pytest.raises(WeightsError, match=r"connection failed.*run it again to go on"):
        needed().fetch()


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "config.json"])
def test_a_file_that_is_not_the_published_one_is_refused_and_removed(hub, machine, name):
    hub.faults.append(Fault(name, changes=True))
    needs = needed()
    with pytest.raises(WeightsError, match=r"not the file that was published"):
        needs.fetch()
    assert not (needs.parts[0].path / name).exists()
    assert not list((machine / "hub").rglob("*.incomplete"))
    needed().fetch()  # and comes anew


def test_a_busy_hub_is_asked_again_when_it_says(hub):
    for place in ("/api/models", "model.fp16"):
        hub.faults.append(Fault(place, status=429, headers={"Retry-After": "0"}, times=2))
        hub.faults.append(Fault(place, status=503))
    needed().fetch()
    assert hub.sent == len(LARGE) + 2


def test_a_connection_that_drops_while_a_plan_is_made_is_tried_again(hub):
    for place in ("/api/models", "model.fp16"):
        hub.faults.append(Fault(place, cut=1, times=2))
    assert needed().with_memory(2).memory_bytes == len(LARGE)


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "3600"}, {"RateLimit": '"api";r=0;t=3600'}],
    ids=lambda one: next(iter(one)),
)
def test_nobody_waits_for_an_hour(hub, headers):
    hub.faults.append(Fault("/api/models", status=429, headers=headers))
    with pytest.raises(WeightsError, match=r"request limit is reached. Try again in 3600 s"):
        needed()


def test_github_counts_who_asks(hub):
    limit = {"X-RateLimit-Remaining": "0"}
    hub.faults.append(Fault("/repos/", status=403, headers=limit))
    with pytest.raises(WeightsError, match=r"request limit is reached. Try again in an hour"):
        needed(PLACE)


def test_what_is_here_will_do_while_the_hub_is_down(hub):
    needed().fetch()
    hub_module._list_repository.cache_clear()
    hub.faults.append(Fault("/api/models", status=503, times=hub_module.TRIES))
    assert not needed().missing


def test_without_a_network_that_is_said(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"connection failed.*Check the network.*`weights=`"):
        needed()


@pytest.mark.parametrize(
    ("token", "reason"),
    [(None, "licence has to be accepted.*huggingface.co/an/owner"), ("no", "token was refused")],
)
def test_who_may_not_take_files_hears_it_before_the_first(hub, monkeypatch, token, reason):
    hub.repositories["an/owner"].token = "yes"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsError, match=reason):
        needed()
    monkeypatch.setenv("HF_TOKEN", "yes")
    needed().fetch()


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("no/body", "no such repository.*`weights=`"),
        ("an/owner@v2", "no such file or version"),
        ("an/owner:model-fp16.safetensors", "Did you mean model.fp16.safetensors"),
        ("an/owner:unet/nothing.onnx", "It holds no such files"),
        ("an/owner:unet", "holds no 'unet/config.json'"),
    ],
)
def test_what_is_not_there_is_named(hub, chosen, reason):
    with pytest.raises(WeightsError, match=reason):
        needed(chosen)
    assert hub.sent == 0


def test_names_that_leave_their_folder_are_not_listed(hub):
    hub.repositories["an/owner"].files |= {"../config.json": b"{}", "a//config.json": b"{}"}
    listing = needed().parts[0].listing
    assert listing.unsafe == ("../config.json", "a//config.json")
    assert not {*listing.unsafe} & {*listing.files}


@pytest.mark.parametrize("answer", ["[]", "{}", '{"id": 3, "siblings": 7}', '["a"]', "nothing"])
@pytest.mark.parametrize("chosen", ["an/owner", "github:an/archive:weights/unet@v1"])
def test_an_answer_that_is_no_list_is_told(hub, chosen, answer):
    hub.faults.append(Fault("an/", status=200, body=answer.encode()))
    with pytest.raises(WeightsError, match=r"is no list of files.*Try again"):
        needed(chosen)


@pytest.mark.parametrize("part", ["l" * 5000, "/".join(["x"] * 3000), "a\0b", "\x1b[31m"])
def test_paths_that_no_disk_takes_are_told(part):
    with pytest.raises(WeightsError, match="does not exist") as failure:
        needed(f"an/owner:{part}.safetensors")
    assert len(str(failure.value)) < 500


def test_a_full_disk_is_seen_first(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1_000_000))
    with pytest.raises(WeightsError, match=r"3.1 MB in .*1.0 MB are free.*HF_HOME"):
        needed().fetch()
    assert hub.sent == 0


def test_more_memory_than_there_is_is_seen_first(monkeypatch):
    needs = needed().with_memory(2)
    monkeypatch.setattr("os.sysconf", lambda _: 1000)
    with pytest.raises(WeightsError, match=r"takes 3.1 MB of memory.*has 1.0 MB.*`dtype=bfloat16`"):
        needs.check_space()


def test_the_rate_is_kept_for_the_next_plan(hub):
    hub.repositories["an/owner"].files["model.fp16.safetensors"] = 3 * LARGE
    needs = needed()
    assert needs.seconds is None
    needs.fetch()
    assert last_rate() > 0
    assert (
        needed(prefers_half=False, wanted=FileSelection(files=("model.safetensors",))).seconds > 0
    )


def test_sizes_and_times_are_written_as_people_read_them():
    assert [as_size(one) for one in (2, 24_310, 5_135_149_760)] == ["2 bytes", "24 kB", "5.1 GB"]
    assert [as_time(one) for one in (0.2, 42, 600)] == ["1 s", "42 s", "10 min"]


def packed(members, *, kind=None):
    """An archive of `members`, texts by name, the last of which is of another kind."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for number, (name, text) in enumerate(members.items()):
            member = tarfile.TarInfo(name)
            if kind and number == len(members) - 1:
                member.type, member.linkname = kind, "/etc/passwd"
            else:
                member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return data.getvalue()


NETWORK = {"weights/unet/config.json": b"{}", "weights/unet/model.safetensors": LARGE}
PLACE = "github:an/archive:weights/unet@v1"


def release(hub, content, count=3):
    size = -(-len(content) // count)
    pieces = {
        f"weights.tar.gz.part-a{letter}": content[index * size : (index + 1) * size]
        for index, letter in enumerate("abc"[:count])
    }
    hub.repositories["an/archive"] = Repository(pieces, tag="v1")
    return pieces


def test_an_archive_in_pieces_is_joined_and_unpacked(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "for the hub alone")
    clutter = {"weights/unet/._config.json": b"x", "weights/run.sh": b"x"}
    pieces = release(hub, packed(NETWORK | clutter))
    hub.faults.append(Fault("part-ab", cut=100))
    needs = needed(PLACE)
    needs.fetch()
    assert hub.sent == sum(map(len, pieces.values()))
    found = needs.parts[0].root
    kept = {one.relative_to(found).as_posix() for one in found.rglob("*") if one.is_file()}
    assert kept == NETWORK.keys()
    assert (found / "weights/unet/model.safetensors").read_bytes() == LARGE
    assert [one.name for one in found.parent.iterdir()] == ["an--archive@v1"]
    hub.forget()
    unpacked = needed(PLACE)
    assert not unpacked.missing
    assert unpacked.with_memory(2).memory_bytes == len(LARGE)
    assert hub.asked == []
    with pytest.raises(WeightsError, match=r"unpacked in.*holds no such folder"):
        needed("github:an/archive:weights/vae@v1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed({"../out.bin": b"x"}), "leaves its folder"),
        (packed({"/etc/out.bin": b"x"}), "leaves its folder"),
        (packed({**NETWORK, "weights/\x1b[31m.bin": b""}), "letters that cannot be read"),
        (packed({**NETWORK, "weights/link.bin": b""}, kind=tarfile.SYMTYPE), "is a link"),
        (packed({**NETWORK, "weights/link.bin": b""}, kind=tarfile.LNKTYPE), "is a link"),
        (packed({**NETWORK, "weights/pipe.bin": b""}, kind=tarfile.FIFOTYPE), "is a link"),
        (packed({"weights/model.safetensors": bytes(9_000_000)}), "more than weights take"),
        (packed(NETWORK)[:-9], "cannot be unpacked"),
        (packed(NETWORK)[:-8] + b"checksum", "cannot be unpacked"),
        (b"no archive at all", "cannot be unpacked"),
    ],
    ids=["up", "root", "escape", "link", "hard-link", "pipe", "bomb", "short", "checksum", "other"],
)
def test_an_archive_that_is_not_of_weights_is_refused(hub, machine, content, reason):
    release(hub, content, count=1)
    needs = needed(PLACE)
    with pytest.raises(WeightsError, match=reason):
        needs.fetch()
    assert not needs.parts[0].root.exists()
    assert not list(machine.rglob("weights.tar.gz*"))
    assert not list(machine.rglob("out.bin"))


def test_a_release_needs_its_tag():
    with pytest.raises(ValueError, match=r"Add its tag"):
        needed("github:an/archive:weights/unet")
