import shutil

import numpy as np
import pytest

from swiftpie.batch.jobs import DEFAULT_MODEL, Model, batches_of
from swiftpie.batch.run import CannotWrite, Drawer, Work
from swiftpie.errors import WeightsError
from swiftpie.faces import FaceSettings
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata
from tests.batch.conftest import SMALL
from tests.tiny.faces import PHOTO, make_world, small_session


def test_jobs_of_every_kind_are_drawn_as_they_ask(collected, run, folder):
    two = [{"pictures": "dog.webp", "box": [0, 0.4, 0.5, 0.9]}, {"pictures": "dog.webp"}]
    jobs = collected(
        {**SMALL, "prompt": "a dog", "mask": "box", "box": [0.1, 0.3, 0.7, 0.9]},
        {**SMALL, "prompt": "a dog", "mask": "mask.png", "detail_mask": "none", "view": [20, 5]},
        {"subjects": two, "prompt": "two dogs", "size": "64x64"},
        {"image": "dog.webp", "prompt": "a dog at night", "keyword": "dog", "size_px": 64},
        {"task": "insert", "image": "dog.webp", "box": [0.2, 0.2, 0.6, 0.6], "subject": "cat"},
        {"image": "dog.webp", "prompt": "red", "mask": "mask.png", "variation": 0.5},
        {**SMALL, "subject": "cat", "prompt": "a cat at sea", "cutout": "none", "mask": "two-pass"},
    )
    assert jobs.refused == ()
    rows = run(jobs, suffix=".webp")
    assert {row["status"] for row in rows.values()} == {"done"}, rows
    facts_of = {place: read_metadata(folder / "out" / row["file"]) for place, row in rows.items()}
    assert {place: one["seed"] for place, one in facts_of.items()} == dict.fromkeys("1234567", "0")
    assert facts_of["4"]["keyword"] == "dog"
    assert facts_of["6"]["variation"] == "0.5"
    assert not any("seed" in warning for warning in rows["4"]["warnings"])  # of lights at night
    assert "seed has no effect" in " ".join(rows["6"]["warnings"])
    assert "`variation=0.5` has no effect" in " ".join(rows["6"]["warnings"])
    assert "128x128" in " ".join(rows["7"]["warnings"])
    assert load_image(folder / "out" / rows["4"]["file"]).size == (160, 160)


@pytest.mark.thorough
def test_people_are_drawn_and_come_into_photographs(collected, run, folder, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("world"))
    shutil.copy(PHOTO, folder / "me.jpg")
    model = Model(preset="sdxl-turbo")
    row = {"face": "me.jpg", "prompt": "a person at sea", "preset": "sdxl-turbo"}
    jobs = collected(
        row,
        {**row, "face_number": 2},
        {**row, "identity_guidance": "am1"},
        {**row, "image": "me.jpg"},
        {**row, "image": "dog.webp"},
    )
    work = Work(
        *(folder / "out", ".png", {model: {}}, {}),
        faces={model: FaceSettings(face_models=world / "faces")},
        load=lambda: small_session(world),
    )
    rows = run(jobs, work=work)
    assert [rows[place]["status"] for place in "12345"] == [
        "done",
        "failed",
        "done",
        "done",
        "failed",
    ]
    assert "shows 1" in rows["2"]["reason"]
    assert "by a mask or a box" in rows["5"]["reason"]
    stored = read_metadata(folder / "out" / rows["3"]["file"])
    assert ("consent" in stored["face"], stored["identity_guidance"]) == (True, "am1")
    plain, styled, edited = (load_image(folder / "out" / rows[place]["file"]) for place in "134")
    assert plain.tobytes() != styled.tobytes()
    changed = np.asarray(edited) != np.asarray(load_image(PHOTO))
    assert 0 < changed.any(axis=-1).mean() < 0.5  # where the photograph has its face


def test_scenes_are_names_or_files_of_the_jobs(collected, run, folder):
    jobs = collected(
        {**SMALL, "prompt": "a dog at night", "scene": "castle"},
        {**SMALL, "prompt": "a dog at night", "scene": "cat/front.webp"},
        {**SMALL, "prompt": "a dog", "scene": "castel"},
        {**SMALL, "prompt": "a dog", "scene": "gone.webp"},
    )
    assert ["castle" in job.reason for job in jobs.refused] == [True, False]
    rows = run(jobs)
    done = [row for row in rows.values() if row["status"] == "done"]
    scenes = [read_metadata(folder / "out" / row["file"])["scene"] for row in done]
    assert scenes == ["castle", "a picture of your own"]


def test_sentences_name_subjects_that_have_no_pictures(collected, run, folder):
    jobs = collected(
        {"prompt": "a kitten on a beach"},
        {**SMALL, "prompt": "a dog and a kitten on a beach"},
        {"prompt": "an elefant on a beach"},
        {"prompt": "a kitten on a beach", "box": [0, 0, 1, 1]},
    )
    rows = run(jobs)
    for number in "12":
        assert [who["name"] for who in rows[number]["named"]] == ["cat"]
        stored = read_metadata(folder / "out" / rows[number]["file"])
        assert stored["library"] == "cat (for 'kitten')"
    assert "Spelled alike: elephant" in rows["3"]["reason"]
    assert "belongs to a 'subject'" in rows["4"]["reason"]


def test_a_name_is_a_subject_unless_a_file_has_it(collected, run, folder, session):
    (folder / "kitten").write_bytes((folder / "dog.webp").read_bytes())
    lamp = {"pictures": "lamp", "box": [0.5, 0.4, 0.9, 0.9]}
    jobs = collected(
        {**SMALL, "subject": "robot", "prompt": "a robot on a beach"},
        {**SMALL, "subject": "kitten", "prompt": "a kitten on a beach"},
        {"task": "insert", "image": "dog.webp", "subject": "robot", "box": lamp["box"]},
        {"subjects": [{"pictures": "dog.webp"}, lamp], "prompt": "a dog and a lamp"},
    )
    rows = run(jobs)
    assert {row["status"] for row in rows.values()} == {"done"}, rows
    names = {n: [mention["name"] for mention in row.get("named", [])] for n, row in rows.items()}
    meant = session.library.find("lamp").name
    assert names == {"1": ["robot"], "2": [], "3": ["robot"], "4": [meant]}
    drawn = session.personalize(session.named("robot"), "a robot on a beach", seed=0, size=(64, 64))
    stored = load_image(folder / "out" / rows["1"]["file"])
    assert np.abs(np.subtract(stored, drawn.images[0], dtype=int)).max() <= 1


def test_a_job_that_fails_is_reported_and_the_others_are_drawn(collected, run, folder):
    whole = (folder / "mask.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    shutil.copy(folder / "dog.webp", folder / "gone.webp")
    rows = [{**SMALL, "subject": name, "prompt": "a dog"} for name in ("cut.png", "gone.webp")]
    jobs = collected(*rows, {**SMALL, "prompt": "a dog"}, {"prompt": "a xylograph"})
    (folder / "gone.webp").unlink()
    answer = run(jobs)
    assert [row["status"] for row in answer.values()] == ["failed", "failed", "done", "refused"]
    assert "broken or cut off" in answer["1"]["reason"]
    assert "does not exist" in answer["2"]["reason"]
    assert not [path for path in (folder / "out").iterdir() if path.name.startswith("cut")]


def test_a_subject_is_encoded_once(collected, working, session):
    jobs = collected(*({**SMALL, "prompt": "a dog", "seed": n} for n in range(3)))
    work, before = working(), session.cache
    work.folder.mkdir()
    drawer = Drawer(work)
    for batch in batches_of(jobs, 1, wanted=[job.id for job in jobs.jobs]):
        drawer.draw(batch)
    asked = [
        cache.hits.get("identity", 0) + cache.misses.get("identity", 0)
        for cache in (before, session.cache)
    ]
    assert asked[1] - asked[0] == 1


def test_a_folder_that_takes_no_file_ends_the_run(collected, working):
    jobs = collected({**SMALL, "prompt": "a dog"})
    (batch,) = batches_of(jobs, 1, wanted=[jobs.jobs[0].id])
    with pytest.raises(CannotWrite, match="kept"):
        Drawer(working("absent")).draw(batch)


def test_a_model_that_fails_to_load_fails_its_own_jobs_alone(collected, folder, run):
    rows = [{**SMALL, "prompt": "a dog"}, {"subject": "cat", "prompt": "a dog"}]
    rows[1]["preset"] = "sd-turbo"
    jobs = collected(*rows)
    gone = Model(preset="sd-turbo")
    loading = {DEFAULT_MODEL: {}, gone: {"preset": "sd-turbo", "offline": True}}
    answer = run(jobs, work=Work(folder / "out", ".png", loading))
    assert [row["status"] for row in answer.values()] == ["done", "failed"]
    assert "stabilityai/sd-turbo" in answer["2"]["reason"]
    alone = Work(folder / "alone", ".png", {gone: loading[gone]})
    with pytest.raises(WeightsError, match="stabilityai/sd-turbo"):
        run(collected(rows[1]), work=alone)
