import json
import os
from pathlib import Path

import pytest

from swiftpie.batch.jobs import MAX_ID_BYTES, Model
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.request import FacePicture
from swiftpie.pipelines.settings import EditMode, EditSettings

HINDI, THAI = "\u0915\u0941\u0924\u094d\u0924\u093e", "\u0e2a\u0e38\u0e19\u0e31\u0e02"
POLISH = "z\u0307o\u0301\u0142w"  # as macOS writes it
DOG = {"subject": "dog.webp", "prompt": "a dog on a beach"}
EDIT = {"image": "dog.webp", "prompt": "a cat"}
STEERED = {"seed": 7, "size": "128x64", "box": [0.1, 0.2, 0.8, 0.9], "view": [20, 5]}
STEERED |= {"identity_scale": 0.5, "mask": "mask.png", "detail_mask": "inline", "flip": True}
STEERED |= {"scene": "castle", "identity_guidance": "am1"}
CHANGED = {"keyword": "dog", "variation": 0.5, "mode": "paper", "box": [0.2, 0.2, 0.6, 0.6]}


def only(jobs):
    assert jobs.refused == ()
    (job,) = jobs.jobs
    return job


def images_of(job):
    (source,) = job.sources
    return source.images


def why(jobs):
    assert jobs.jobs == ()
    ((place, reason),) = jobs.refused
    assert place == "jobs.jsonl, line 1"
    return reason


@pytest.mark.parametrize(
    ("task", "row"),
    [("personalize", DOG), ("edit", EDIT), ("animate", {**DOG, "to": "a dog at night"})],
)
def test_a_task_that_the_other_fields_imply_gives_the_job_no_other_name(task, row, collected):
    implied, named = only(collected(row)), only(collected({**row, "task": task}))
    assert (named.id, named.spec) == (implied.id, implied.spec)


def test_a_line_and_a_row_of_a_table_make_the_same_job(collected):
    row = {**DOG, "seed": 3, "box": [0.1, 0.2, 0.8, 0.9], "identity_scale": 0.5, "size": "128x64"}
    job = only(collected(row))
    table = ",".join(row), 'dog.webp,a dog on a beach,3,"0.1,0.2,0.8,0.9",0.5,128x64'
    assert only(collected(*table, name="jobs.csv")).spec == job.spec
    request = job.request
    assert (request.seeds, request.size_px, request.scales.given) == (
        *((3,), (64, 128)),
        {"identity_scale": 0.5},
    )
    assert request.subjects[0].box == (0.1, 0.2, 0.8, 0.9)


def test_seeds_and_prompt_files_expand_and_names_can_be_read(collected, folder):
    (folder / "prompts.txt").write_text("at sea\nin snow\n")
    jobs = collected({"subject": "dog.webp", "prompt": "@prompts.txt", "seeds": "1-2"}).jobs
    assert [(job.request.prompt, *job.request.seeds) for job in jobs] == [
        *(("at sea", 1), ("at sea", 2), ("in snow", 1), ("in snow", 2))
    ]
    assert [job.id[:-9] for job in jobs] == [
        *("dog-at-sea-s1", "dog-at-sea-s2", "dog-in-snow-s1", "dog-in-snow-s2")
    ]
    for name in (HINDI, THAI, POLISH, "_a (1)", "1.b"):
        assert only(collected({**DOG, "id": name})).id == name
    (other,) = collected(
        *({**DOG, "id": name, "seed": 1} for name in (POLISH, "\u017c\u00f3\u0142w"))
    ).refused
    assert "Each job needs its own" in other.reason or "same picture" in other.reason
    named = collected({**DOG, "id": "x", "prompt": "@prompts.txt", "seeds": [4, 5]}).jobs
    assert [job.id for job in named] == ["x-p1-s4", "x-p1-s5", "x-p2-s4", "x-p2-s5"]


def test_names_depend_on_the_content_alone(collected):
    first = collected(DOG, {**DOG, "seed": 1}).jobs
    second = collected({**DOG, "seed": 1}, dict(reversed(DOG.items()))).jobs
    assert {job.id for job in first} == {job.id for job in second}
    for change in ({"text_scale": 2}, {"identity_scale": 0}, {"flip": False}):
        assert only(collected({**DOG, **change})).id not in {job.id for job in first}


def test_what_no_job_says_is_as_the_run_has_it(collected):
    jobs = collected(DOG, {**DOG, "seed": 9, "preset": "mini"}, seeds=(1, 2)).jobs
    assert [job.request.seeds for job in jobs] == [(1,), (2,), (9,)]
    assert jobs[2].model == Model(preset="mini")


def test_what_moves_makes_an_animation_in_a_line_and_in_a_table(collected):
    moves = {"to": ["a dog on a beach at night", "a dog on a beach in fog"], "num_frames": 4}
    moves |= {"box": [0, 0.4, 0.4, 0.9], "to_box": [0.5, 0.4, 0.9, 0.9], "to_view": [[20, 0]]}
    job = only(collected({**DOG, **moves, "fps": 12, "format": "gif"}))
    request = job.request
    assert isinstance(request, AnimateRequest)
    assert (request.to, request.num_frames) == (tuple(moves["to"]), 4)
    assert (request.to_boxes, request.to_views) == (((0.5, 0.4, 0.9, 0.9),), ((20.0, 0.0),))
    head = "subject,prompt,to,num_frames,box,to_box,to_view,fps,format"
    cells = 'dog.webp,a dog on a beach,"a dog on a beach at night; a dog on a beach in fog",4,'
    cells += '"0,0.4,0.4,0.9","0.5,0.4,0.9,0.9","20,0",12,gif'
    assert only(collected(head, cells, name="jobs.csv")).spec == job.spec


def test_an_edit_has_its_own_fields(collected, folder):
    row = {**EDIT, "keyword": "dog", "variation": 0.5, "mode": "paper", "mask": "mask.png"}
    job = only(collected(row))
    edit = job.request
    assert (edit.image, edit.mask, edit.keyword) == (
        *(folder / "dog.webp", folder / "mask.png"),
        "dog",
    )
    assert edit.settings == EditSettings(variation=0.5, mode=EditMode.PAPER)
    assert {*job.files} == {"dog.webp", "mask.png"}


def test_a_folder_is_one_subject_and_several_share_a_picture(collected):
    assert [path.name for path in images_of(only(collected({**DOG, "subject": "cat"})))] == [
        *("front.webp", "side.webp")
    ]
    both = [{"pictures": "dog.webp", "cutout": "mask.png", "name": "dog"}, {"pictures": ["cat"]}]
    job = only(collected({"subjects": both, "prompt": "a dog and a cat"}))
    assert [subject.name for subject in job.request.subjects] == ["dog", ""]
    assert {*job.files} == {"dog.webp", "mask.png", "cat/front.webp", "cat/side.webp"}


def test_what_a_folder_of_a_subject_has_besides_is_named_once(collected, folder, caplog):
    for name in ("a.heic", "b.HEIC", "notes.txt", ".DS_Store", "Thumbs.db"):
        (folder / "cat" / name).touch()
    (folder / "cat" / "older").mkdir()
    found = collected(*({**DOG, "subject": "cat", "seed": seed} for seed in (1, 2)))
    assert {len(images_of(job)) for job in found.jobs} == {2}
    (warning,) = caplog.messages
    assert "'cat' holds 4 of 7 that are left out: a.heic, b.HEIC, notes.txt, older." in warning


def test_a_folder_without_pictures_names_what_it_has(collected, folder):
    (folder / "empty").mkdir()
    (refused,) = collected({**DOG, "subject": "empty"}).refused
    assert refused.reason.startswith("The folder 'empty' holds no pictures. Only files in .png, ")
    (folder / "empty" / "a.heic").touch()
    (refused,) = collected({**DOG, "subject": "empty"}).refused
    assert "holds no pictures, but a.heic." in refused.reason


def test_doubled_jobs_are_refused_however_they_are_spelled(collected):
    jobs = collected(DOG, {**DOG, "id": "a"}, DOG, {**DOG, "id": "A"}, {**DOG, "id": "b"})
    assert [job.place[-1] for job in jobs.jobs] == ["1", "2", "5"]
    same, taken = jobs.refused
    assert same.place.endswith("3")
    assert "line 1" in same.reason
    assert taken.place.endswith("4")
    assert "line 2" in taken.reason


def test_a_file_is_looked_at_once_and_its_failure_is_reported_to_all(collected, folder):
    os.mkfifo(folder / "pipe.png")
    rows = [{**DOG, "subject": name, "seed": n} for n in (1, 2) for name in ("pipe.png", "cat")]
    jobs = collected(*rows)
    assert [job.place[-1] for job in jobs.refused] == ["1", "3"]
    assert {*jobs.files} == {"cat/front.webp", "cat/side.webp"}


FACE = {"face": "dog.webp", "prompt": "a person at sea", "preset": "sdxl-turbo"}


def test_a_face_is_a_subject_of_full_size_models(collected, folder):
    job = only(collected({**FACE, "face_number": 2, "identity_guidance": "dcg+am2"}))
    assert job.sources == (FacePicture(folder / "dog.webp", 2),)
    assert (job.files, job.request.identity_guidance) == (("dog.webp",), "dcg+am2")
    edit = only(collected({**FACE, "image": "cat/front.webp"}))
    assert (edit.request.image, edit.has_faces) == (folder / "cat" / "front.webp", True)
    both = [{"face": "dog.webp", "box": [0, 0, 0.5, 1]}, {"face": "cat/side.webp"}]
    pair = only(collected({"subjects": both, "prompt": "two people", "preset": "sdxl-turbo"}))
    assert [source.image.name for source in pair.sources] == ["dog.webp", "side.webp"]


ROWS = {
    "picture": DOG,
    "animation": DOG,
    "edit": EDIT,
    "repaint": {"task": "remove", "image": "dog.webp"},
    "face": FACE,
}
TOO_LONG = [
    ["picture", {"prompt": "ß" * 100_000, "negative_prompt": 3}, "negative_prompt"],
    ["picture", {"subject": ["dog.webp"] * 65}, "65 pictures"],
    ["picture", {"id": "ü" * MAX_ID_BYTES}, "id"],
]
# Lines, what changes in each, and words of the reason.
REFUSED = Path(__file__).with_name("refused.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("kind", "change", "words"), [*map(json.loads, REFUSED), *TOO_LONG])
def test_what_cannot_be_drawn_is_reported_with_its_line(collected, kind, change, words):
    changed = {name: one for name, one in {**ROWS[kind], **change}.items() if one is not None}
    assert words in why(collected(changed))


TWO = [{"pictures": "dog.webp", "cutout": "mask.png", "name": "dog"}, {"pictures": ["cat"]}]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (DOG, "dog-a-dog-on-a-beach-s0-562ea02d"),
        ({"prompt": "x" * 50, "subject": "dog.webp"}, f"dog-{'x' * 40}-s0-27488392"),
        ({**DOG, **STEERED}, "dog-a-dog-on-a-beach-s7-891b66ff"),
        (
            {"subjects": TWO, "prompt": "a dog and a cat", "mask": "inline"},
            "dog-front-a-dog-and-a-cat-s0-d0a0dd9a",
        ),
        ({"prompt": "a kitten on a beach", "preset": "mini"}, "a-kitten-on-a-beach-s0-21e7aa33"),
        ({**EDIT, **CHANGED}, "dog-a-cat-s0-039d2d6e"),
        ({**FACE, "face_number": 2}, "dog-a-person-at-sea-s0-b4359b00"),
    ],
)
def test_a_job_keeps_its_name_so_that_a_folder_goes_on(collected, row, name):
    assert only(collected(row)).id == name
