import pytest

from swiftpie.batch.folder import PLAN, differences, manifest_of, read_manifest, write_manifest
from swiftpie.batch.jobs import batches_of
from swiftpie.errors import ConfigError

DOG = {"subject": "dog.webp", "prompt": "a dog"}
CAT = {"subject": "cat", "prompt": "a cat"}


def places(batches):
    return [[job.place.rpartition(" ")[2] for job in batch.jobs] for batch in batches]


def test_jobs_of_one_shape_go_together_and_those_of_one_subject_follow_each_other(collected):
    edit = {"image": "dog.webp", "prompt": "a cat"}
    rows = [DOG, edit, CAT, {"subject": "mask.png", "prompt": "x", "cutout": "none"}]
    jobs = collected(*rows, *({**row, "seed": 1} for row in rows), {**DOG, "size": "64x64"})
    batches = batches_of(jobs, 3, wanted=[job.id for job in jobs.jobs])
    assert places(batches) == [["1", "5", "4"], ["8"], ["2", "6"], ["3", "7"], ["9"]]


def test_what_is_done_stays_in_its_pass(collected):
    jobs = collected(*({**DOG, "seed": seed} for seed in range(7)))
    names = [job.id for job in jobs.jobs]
    (batch,) = batches_of(jobs, 3, wanted=names[4:5])
    assert batch.jobs == jobs.jobs[3:6]
    assert batch.wanted == {names[4]}


def test_what_differs_from_the_beginning_is_reported(collected, folder, tmp_path):
    first = manifest_of(
        collected({**DOG, "id": "a"}, {**CAT, "id": "b"}, CAT), {"batch": 4, "threads": 1}
    )
    write_manifest(tmp_path, first)
    before = read_manifest(tmp_path)
    (folder / "cat" / "side.webp").write_bytes((folder / "dog.webp").read_bytes())
    now = manifest_of(
        collected({**DOG, "id": "a", "seed": 5}, {**CAT, "id": "b"}, DOG),
        {"batch": 2, "threads": 1},
    )
    done = {"a", "b"}
    assert differences(before, first, done=done) == []
    run, changed, new, gone = differences(before, now, done=done)
    assert run == "batch was 4 and is 2."
    assert changed == "2 jobs changed: a (seed), b (files)."
    assert new.startswith("1 jobs are new: dog-a-dog-s0-")
    assert gone.startswith("1 jobs are gone: front-a-cat-s0-")
    assert differences(before, now, done={"b"})[1] == "1 jobs changed: b (files)."


def test_a_beginning_that_cannot_be_read_is_reported(tmp_path):
    assert read_manifest(tmp_path) is None
    for text in ("", "[]", "{}", '{"threads": "x"}', '{"threads": 4}\n{"seed": 1}\n', "\xff"):
        (tmp_path / PLAN).write_text(text, encoding="latin-1")
        with pytest.raises(ConfigError, match="--force"):
            read_manifest(tmp_path)
