"""Archives of releases, from a server on the loopback interface that cuts, stalls and lies."""

import gzip
import hashlib
import io
import random
import shutil
import subprocess
import sys
import tarfile
import threading

import pytest

from swiftpie.backbones.releases import plan_releases
from swiftpie.config import home_folder
from swiftpie.errors import WeightsError
from tests.fixtures.mock_hub import Fault, Repository

PLACE = "github:an/archive:weights/unet@v1"
pytestmark = pytest.mark.usefixtures("machine")
LARGE = random.Random(0).randbytes(26_000_000)
WRITTEN = 10 * 2**20  # bytes that the hub's client writes at a time
WANTED = {
    "weights/unet/config.json": b"{}",
    "weights/unet/model.safetensors": LARGE,
    "weights/adapter/adapter.bin": b"pickled",
}
SMALL = {"weights/unet/config.json": b"{}"}
CLUTTER = {"weights/unet/._config.json": b"x", "weights/run.sh": b"x"}
FETCH = f"""
from swiftpie.backbones.releases import plan_releases
plan_releases({{"weights": {PLACE!r}}}).fetch()
"""


def header(name, size, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def packed(files, *links):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/"
            archive.addfile(member)
    return buffer.getvalue()


def release(hub, archive, *, count=2, has_sums=False):
    """Publish an archive in pieces and return them."""
    step = -(-len(archive) // count)
    pieces = {
        f"weights.tar.gz.part-a{letter}": archive[number * step : (number + 1) * step]
        for number, letter in enumerate("abcde"[:count])
    }
    sums = {name: f"sha256:{hashlib.sha256(piece).hexdigest()}" for name, piece in pieces.items()}
    files = {**pieces, "notes.txt": b"not needed"}
    digests = {**dict.fromkeys(files), **sums} if has_sums else None
    hub.repositories["an/archive"] = Repository(files, tag="v1", digests=digests)
    return pieces


def planned(**choices):
    return plan_releases({"weights": PLACE, "adapter": PLACE, **choices})


def root():
    return home_folder() / "releases" / "an--archive@v1"


def files_below(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def parts():
    return root().with_name(f"{root().name}.parts")


def test_what_a_stopped_fetch_left_is_gone_on_with_and_weights_alone_are_kept(hub):
    pieces = release(hub, packed(WANTED | CLUTTER), count=5)
    parts().mkdir(parents=True)
    first, second, third, *_ = pieces
    (parts() / first).write_bytes(pieces[first])
    (parts() / f"{second}.incomplete").write_bytes(pieces[second][:1000])
    (parts() / f"{third}.incomplete").write_bytes(bytes(len(pieces[third]) + 1))  # of another file
    whole = sum(map(len, pieces.values()))
    left = planned().bytes_left
    assert left == whole - len(pieces[first]) - 1000 - len(pieces[third])  # which is seen later
    planned().fetch()
    assert hub.sent == left + len(pieces[third])
    assert files_below(root()) == WANTED
    assert [path.name for path in root().parent.iterdir()] == [root().name]
    assert not planned().parts


@pytest.mark.thorough
def test_a_fetch_that_is_killed_twice_goes_on(hub):
    pieces = release(hub, packed(WANTED))
    for name in pieces:
        fault = Fault(name, cut=11_000_000, stalled=threading.Event())
        hub.faults.append(fault)
        process = subprocess.Popen([sys.executable, "-c", FETCH])
        try:
            assert fault.stalled.wait(60)
            begun = parts() / f"{name}.incomplete"
            for _ in range(600):
                if begun.exists() and begun.stat().st_size >= WRITTEN:
                    break
                fault.gone.wait(0.1)
        finally:
            process.kill()
            process.wait()
            fault.gone.set()
        assert not root().exists()
        assert not (parts() / name).exists()  # which would look complete
    left = planned().bytes_left
    assert left <= len(pieces[name]) - WRITTEN
    hub.forget()
    planned().fetch()
    assert (hub.sent, files_below(root())) == (left, WANTED)


@pytest.mark.parametrize("has_sums", [True, False])
def test_a_piece_that_was_changed_is_refused_by_its_sum_or_that_of_the_archive(hub, has_sums):
    release(hub, packed({"weights/unet/config.json": LARGE[:1000]}), has_sums=has_sums)
    hub.faults.append(Fault("part-aa", changes=True))
    word = "not the file that was published" if has_sums else r"It is damaged, so"
    with pytest.raises(WeightsError, match=word):
        planned().fetch()
    assert not root().exists()
    planned().fetch()
    assert files_below(root()) == {"weights/unet/config.json": LARGE[:1000]}


@pytest.mark.parametrize(
    ("archive", "word"),
    [
        (packed({"../evil.bin": b"x"}), "outside"),
        (packed({"run.sh": b"x"}, "weights/model.bin"), "holds no weights"),
        (packed({"model.bin": bytes(1_000_000)}), "more than weights take"),
        (
            gzip.compress(header("x", 64 << 20, tarfile.XHDTYPE) + bytes(64 << 20)),
            "more than weights",
        ),
        (
            gzip.compress(header("x", 9 << 20, tarfile.GNUTYPE_LONGNAME) + bytes(9 << 20)),
            "more than",
        ),
        (gzip.compress(gzip.decompress(packed(SMALL)) + bytes(64 << 20)), "more than weights take"),
        (gzip.compress(header("x", 0) * 20_000), "more than weights take"),
        (b"no archive", "Not a gzipped file"),
        (packed(WANTED)[:-9], "end"),
    ],
)
def test_hostile_archives_write_nothing(hub, archive, word):
    release(hub, archive)
    with pytest.raises(WeightsError, match=rf"{word}.*It is damaged"):
        planned().fetch()
    assert files_below(home_folder()) == {}


def test_a_full_disk_is_seen_before_the_first_byte(hub, monkeypatch):
    release(hub, packed(WANTED))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 40_000_000))
    with pytest.raises(WeightsError, match=r"57.2 MB in .*40.0 MB are free.*SWIFTPIE_HOME"):
        planned().fetch()
    assert hub.sent == 0


def test_what_no_release_is_named_with_its_remedy(hub):
    assert not planned(offline=True).parts
    with pytest.raises(WeightsError, match=r"cannot be downloaded: .*404.*`weights=`"):
        planned()
    hub.repositories["an/archive"] = Repository({"notes.txt": b"x"}, tag="v1")
    with pytest.raises(WeightsError, match="has no archive"):
        planned()


def test_a_release_that_cannot_be_reached_names_no_login_of_the_hub(monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="by a browser") as refused:
        planned()
    assert "hf auth" not in str(refused.value)
