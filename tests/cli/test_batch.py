import json

import pytest

from swiftpie.batch.folder import REPORT

SIDE = "64x64"


@pytest.fixture(scope="module")
def drawn(call, tmp_path_factory, hamster):
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "hamster.webp").write_bytes(hamster.read_bytes())
    rows = [
        {"id": "new", "subject": "hamster.webp", "prompt": "a hamster at sea", "size": SIDE},
        {"id": "edit", "image": "hamster.webp", "prompt": "a blue hamster"},
        {"id": "bad", "subject": "absent.png", "prompt": "a hamster"},
    ]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = folder / "out"
    words = ("-o", out, "--seeds", 7, "--batch", 1, "--json")
    return folder, call("batch", folder / "jobs.jsonl", *words, code=1)


def test_the_exit_code_and_the_report_tell_of_bad_jobs(drawn):
    folder, result = drawn
    assert "jobs.jsonl, line 3: " in result.stderr
    facts = json.loads(result.stdout)
    counts = {name: facts[name] for name in ("done", "failed", "refused", "left", "before")}
    assert counts == {"done": 2, "failed": 0, "refused": 1, "left": 0, "before": 0}
    lines = (folder / "out" / REPORT).read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done", "done", "refused"]


def test_a_face_without_its_networks_fails_alone_with_its_line(call, hamster, tmp_path):
    (tmp_path / "hamster.webp").write_bytes(hamster.read_bytes())
    rows = [
        {"face": "hamster.webp", "prompt": "a person at sea", "recipe": "face-plus"},
        {"subject": "hamster.webp", "prompt": "a hamster at sea", "size": SIDE},
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ("batch", tmp_path / "jobs.jsonl", "-o", tmp_path / "out", "--offline")
    result = call(*asked, code=1)
    assert "jobs.jsonl, line 1: " in result.stderr
    assert "1 done, 1 failed" in result.stderr
    (tmp_path / "jobs.jsonl").write_text(json.dumps(rows[0]))
    assert call(*asked, "--force", code=1).stderr.startswith("error: ")


def test_what_a_file_is_called_does_not_dye_it(call, hamster, tmp_path):
    folder, prompts = tmp_path / "things", tmp_path / "prompts.txt"
    folder.mkdir()
    for name in ("red-can", "orange", "can of gold", "big dog"):
        (folder / f"{name}.webp").write_bytes(hamster.read_bytes())
    prompts.write_text("a {name} at sea\n")
    asked = ("batch", "--subjects", folder, "--prompts", prompts, "-o", tmp_path / "out")
    for preset, said in {"mini": {"can"}, "sdxl-turbo": {"red can", "can of gold"}}.items():
        jobs = json.loads(call(*asked, "--check", "--json", "--preset", preset).stdout)["jobs"]
        names = {*said, "orange", "big dog"}
        assert {job["prompt"] for job in jobs} == {f"a {name} at sea" for name in names}


def test_a_second_call_draws_nothing_again(call, drawn):
    folder, _ = drawn
    same = ("batch", folder / "jobs.jsonl", "-o", folder / "out", "--seeds", 7, "--batch", 1)
    facts = json.loads(call(*same, "--json", code=1).stdout)
    assert (facts["before"], facts["done"]) == (2, 2)


def test_a_check_tells_the_jobs_of_a_grid_and_writes_nothing(call, hamster, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a {name} at sea\na {name} at night\n")
    asked = ("--subjects", hamster, "--prompts", prompts, "--seeds", "1-8")
    result = call("batch", *asked, "-o", tmp_path / "out", "--check", "--json")
    jobs = json.loads(result.stdout)["jobs"]
    assert len(jobs) == 16
    assert {job["prompt"] for job in jobs} == {"a 1f439 at sea", "a 1f439 at night"}
    assert "16 jobs in 4 passes" in result.stderr
    assert not (tmp_path / "out").exists()


def test_pictures_that_would_become_subjects_are_refused_at_the_start(call, hamster, tmp_path):
    (tmp_path / "hamster.webp").write_bytes(hamster.read_bytes())
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a {name} at sea\n")
    for out in (tmp_path, tmp_path / "out"):
        result = call("batch", "--subjects", tmp_path, "--prompts", prompts, "-o", out, code=2)
        assert "would become subjects" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "asked", [(), ("--subjects", "."), ("jobs.jsonl", "--prompts", "x.txt"), ("absent.jsonl",)]
)
def test_jobs_come_from_one_place_that_can_be_read(call, tmp_path, asked):
    result = call("batch", *asked, "-o", tmp_path / "out", code=2)
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_model_without_weights_here_fails_its_own_jobs_alone(call, hamster, tmp_path):
    (tmp_path / "hamster.webp").write_bytes(hamster.read_bytes())
    row = {"subject": "hamster.webp", "prompt": "a hamster at sea", "size": SIDE}
    rows = [{**row, "id": "here"}, {**row, "id": "away", "preset": "sd-turbo", "size": "512x512"}]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ("batch", tmp_path / "jobs.jsonl", "--offline", "-o")
    call(*command, tmp_path / "out", code=1)
    here, away = map(json.loads, (tmp_path / "out" / REPORT).read_text().splitlines())
    assert (here["status"], away["status"]) == ("done", "failed")
    assert "stabilityai/sd-turbo" in away["reason"]
    assert (tmp_path / "out" / "here.png").is_file()
