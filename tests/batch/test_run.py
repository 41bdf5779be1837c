import json
import multiprocessing
import signal
import sys
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image

import swiftpie
from swiftpie.backbones.machine import spread
from swiftpie.batch.folder import REPORT
from swiftpie.batch.jobs import DEFAULT_MODEL, Batch
from swiftpie.batch.run import Drawer, draw, open_run, stopping
from swiftpie.cli.batch import _spell_places
from swiftpie.errors import ConfigError
from swiftpie.imageio.credentials import credentials_in
from swiftpie.imageio.writing import read_metadata, save_image
from tests.batch.conftest import SMALL
from tests.fixtures.signer import SIGNER, make_signer
from tests.policy.project import ROOT
from tests.processes import printed

KILLS, JOBS = 6, 18
LONGEST_S = 400


@pytest.fixture
def jobs(collected):
    return collected(*({**SMALL, "prompt": "a dog at sea", "seed": n} for n in range(5)))


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_a_run_goes_on_where_it_stopped_and_draws_the_same_bits(jobs, run, folder):
    run(jobs, "whole", batch=2)
    run(jobs, batch=2, count=3)
    first = {path: path.stat().st_ino for path in (folder / "out").glob("*.png")}
    rows = run(jobs, batch=2)
    assert [row["status"] for row in rows.values()] == ["done"] * 5
    assert pictures(folder / "out") == pictures(folder / "whole")
    lines = (folder / "out" / REPORT).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [job.id for job in jobs.jobs]
    kept = [path for path, number in first.items() if path.stat().st_ino == number]
    assert len(kept) >= 3  # what the report knew is not written again


def test_a_run_signs_its_pictures_or_says_whose_credentials_it_loses(
    collected, run, working, folder
):
    signer = make_signer(folder / "signer.pem")
    night = {"prompt": "at night", "image": "before.png"}
    save_image(Image.new("RGB", (64, 64), "tan"), folder / "before.png", metadata=None, sign=signer)
    jobs = collected({**SMALL, "prompt": "a dog at sea"}, night)
    rows = [*run(jobs, "plain").values()]
    said = [f"credentials, signed by '{SIGNER}'" in str(row["warnings"]) for row in rows]
    assert said == [False, True]
    rows = run(jobs, work=replace(working(), sign=signer)).values()
    assert not any("credentials" in str(row["warnings"]) for row in rows)
    assert all(credentials_in(folder / "out" / row["file"]) for row in rows)


FILM = {**SMALL, "prompt": "a dog at sea", "to": "a dog at sea at night", "num_frames": 2}


def test_animations_are_files_or_folders_and_stay_when_a_run_goes_on(collected, run, folder):
    kinds = ("webp", "gif", "frames")
    jobs = collected(*({**FILM, "format": kind, "id": kind} for kind in kinds))
    run(jobs, count=2)
    rows = run(jobs)
    assert [row["file"] for row in rows.values()] == ["webp.webp", "gif.gif", "frames"]
    for kind in kinds[:2]:
        with Image.open(folder / "out" / f"{kind}.{kind}") as film:
            assert film.n_frames == 2
    frames = sorted((folder / "out" / "frames").iterdir())
    assert len(frames) == 2
    assert read_metadata(frames[0])["to"] == FILM["to"]
    before = [path.stat().st_ino for path in frames]
    run(jobs)
    assert [path.stat().st_ino for path in frames] == before
    frames[1].unlink()  # so that the job is not done
    (folder / "out" / "frames" / "frame-0009.png").write_bytes(b"of a longer one")
    run(jobs)
    assert sorted((folder / "out" / "frames").iterdir()) == frames


def test_threads_stay_those_that_a_folder_was_begun_with(jobs, working):
    work = working()
    with open_run(jobs, work, batch=2, settings={}) as manifest:
        assert manifest.num_threads == 1
    torch.set_num_threads(4)
    try:
        with open_run(jobs, work, batch=2, settings={}) as manifest:
            assert manifest.num_threads == 1
        with open_run(jobs, work, batch=2, settings={}, processes=2, force=True) as manifest:
            assert manifest.num_threads == 2
        with open_run(jobs, work, batch=2, settings={}, processes=9, force=True) as manifest:
            assert manifest.num_threads == 1
    finally:
        torch.set_num_threads(1)


def test_what_was_asked_to_stop_ends_with_what_was_begun(jobs, working):
    work, stop = working(), threading.Event()
    with open_run(jobs, work, batch=2, settings={}) as manifest:
        for _ in draw(manifest, work, stop=stop):
            stop.set()
    assert len(manifest.report.rows) == 2
    with open_run(jobs, work, batch=2, settings={}) as manifest:
        assert manifest.num_done == 2


def test_the_first_signal_asks_and_the_second_interrupts():
    asked, before = [], signal.getsignal(signal.SIGINT)
    with stopping(lambda: asked.append(1)) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_run_is_not_mixed_in_unless_people_say_so(collected, run, folder):
    rows = [{**SMALL, "prompt": "a dog", "id": name} for name in "ab"]
    run(collected(*rows))
    before = pictures(folder / "out")
    rows[1]["seed"] = 4
    changed = collected(*rows)
    with pytest.raises(ConfigError, match=r"1 jobs changed: b \(seed\).*--update"):
        run(changed)
    with pytest.raises(ConfigError, match=r"batch was 3 and is 1.*--force"):
        run(changed, batch=1, update=True)
    assert pictures(folder / "out") == before
    run(changed, update=True)
    after = pictures(folder / "out")
    assert after["a.png"] == before["a.png"]
    assert after["b.png"] != before["b.png"]
    run(changed, batch=1, force=True)


def test_a_picture_that_was_mended_is_drawn_without_a_question(collected, run, folder):
    whole = (folder / "mask.png").read_bytes()
    (folder / "new.png").write_bytes(whole[: len(whole) // 2])
    rows = [SMALL | {"prompt": "a dog", "id": "a"}]
    rows.append(rows[0] | {"subject": "new.png", "cutout": "none", "id": "b"})
    assert run(collected(*rows))["2"]["status"] == "failed"
    (folder / "new.png").write_bytes(whole)
    assert run(collected(*rows))["2"]["status"] == "done"


def test_files_of_others_are_left_alone(collected, run, folder):
    jobs = collected({**SMALL, "prompt": "a dog", "id": "a"})
    (folder / "out").mkdir()
    (folder / "out" / "a.png").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"a\.png.*exists already"):
        run(jobs)
    assert (folder / "out" / "a.png").read_bytes() == b"mine"
    run(jobs, force=True)


@pytest.mark.thorough
@pytest.mark.timeout(LONGEST_S)
def test_killed_runs_lose_and_double_nothing(tmp_path):
    command = [sys.executable, "-m", "tests.batch.kills", str(tmp_path), str(KILLS), str(JOBS)]
    report = json.loads(printed(*command, cwd=ROOT, timeout=LONGEST_S))
    assert (report["kills"], report["jobs"]) == (KILLS, JOBS)
    assert report["while_writing"] >= KILLS // 4
    assert report["differing"] == []


@pytest.mark.slow
def test_several_processes_draw_the_same_and_one_that_dies_is_replaced(jobs, working, run, folder):
    run(jobs, "whole", batch=1)
    load = partial(swiftpie.load, size_px=128)  # which other processes can call
    work = replace(working(), load=load)
    with open_run(jobs, work, batch=1, settings={}, processes=2) as manifest:
        drawn = draw(manifest, work)
        next(drawn)
        multiprocessing.active_children()[0].kill()
        assert len([*drawn]) == 4
    assert pictures(folder / "out") == pictures(folder / "whole")
    assert multiprocessing.active_children() == []


def test_each_process_draws_on_the_next_device_of_its_model(jobs, working, session):
    used = []
    devices = {DEFAULT_MODEL: ("cuda:0", "cuda:1")}
    work = replace(working(), devices=devices, load=lambda device: used.append(device) or session)
    for number in range(3):
        Drawer(work, number=number, write=lambda *_: None).draw(Batch(jobs.jobs[:1], frozenset()))
    assert used == ["cuda:0", "cuda:1", "cuda:0"]
    assert spread("cpu", 2) == ("cpu", "cpu")


@pytest.mark.parametrize(
    ("devices", "word"),
    [
        (("cpu", "cpu"), "2 processes on cpu"),
        (("cuda:0", "cuda:1"), "2 processes on cuda:0, cuda:1"),
        (("cuda", "cuda"), "2 processes on cuda: processes of one device take turns"),
    ],
)
def test_it_is_said_where_processes_draw_and_what_sharing_means(devices, word):
    assert _spell_places(devices).startswith(word)
