import json

import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from swiftpie.errors import ImageError, InputError
from swiftpie.faces import CONSENT, FACE_ENCODERS
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks.fastface import FaceCase, read_faces
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import summarise
from swiftpie_lab.evaluation.run import BenchmarkRun, Results
from tests.tiny.faces import make_world, options, photo

RUN = BenchmarkRun("fastface", "0", "tiny", "w", "d", 50)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Tiny models, two photographs of a person, one without a face, and three prompts."""
    root = make_world(tmp_path_factory.mktemp("fastface"))
    people = root / "people"
    people.mkdir()
    photo().save(people / "b.png")
    ImageOps.autocontrast(photo()).save(people / "a.jpg")
    Image.new("RGB", (64, 64), "green").save(people / "c.png")
    (people / "notes.txt").write_text("not a picture")
    (root / "prompts.txt").write_text("A person reading\n\nOil painting; a person at sea\n")
    return root


@pytest.fixture(scope="module")
def encoder(world):
    return FACE_ENCODERS.get("opencv").open(world / "faces")


@pytest.fixture(scope="module")
def faces(world, encoder):
    return read_faces(world / "people", world / "prompts.txt", seed=50, encoder=encoder)


def test_prompts_are_lower_case_and_know_their_style(faces):
    plain, styled, *others = faces.cases()
    assert [case.seed for case in (plain, styled, *others)] == [50, 51, 52, 53]
    assert (plain.prompt, plain.style) == ("a person reading", "")
    assert (styled.prompt, styled.style) == ("oil painting; a person at sea", "oil painting")
    assert FaceCase("0", "a.jpg", "; a person", 0).style == ""


def test_the_style_of_a_prompt_without_one_is_all_of_it(faces, tmp_path):
    plain, styled, *_ = faces.cases()
    results = Results(tmp_path)
    (tmp_path / "images").mkdir()
    for case in (plain, styled):
        results.write(case, "drawn", photo())
    (_, first), (_, second) = (
        evidence
        for case in (plain, styled)
        for evidence in faces.evidence(case, results, Networks())
    )
    assert (first.style, second.style) == (plain.prompt, "oil painting")


@pytest.mark.parametrize(
    ("prompts", "people", "error", "word"),
    [
        ("", "people", InputError, "--prompts"),
        ("\n \n", "people", InputError, "--prompts"),
        (None, "people", InputError, "--prompts"),
        ("a person", "nowhere", InputError, "--identities"),
        ("a person", "empty", ImageError, "None of 1 photographs"),
    ],
)
def test_nothing_to_draw_is_refused(world, encoder, tmp_path, prompts, people, error, word):
    if prompts is not None:
        (tmp_path / "prompts.txt").write_text(prompts)
    (world / "empty").mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), "green").save(world / "empty" / "c.png")
    with pytest.raises(error, match=word):
        read_faces(world / people, tmp_path / "prompts.txt", seed=50, encoder=encoder).cases()


def row(number, *, style="", has_face=True, **scores):
    case = FaceCase(f"000-{number:03d}", "a.jpg", f"{style}; a person" if style else "a person", 0)
    named = {name.replace("_", "-"): {"drawn": value} for name, value in scores.items()}
    return Row(case, {**named, "face-shown": {"drawn": float(has_face)}})


ROWS = [
    row(0, identity=0.5, clip_large=0.2, face_ratio=0.1),
    row(1, identity=0.7, clip_large=0.3, face_ratio=0.3),
    row(2, style="oil", has_face=False, clip_large=0.4),
]


def test_failures_are_counted_and_no_score_stands_for_them(faces):
    whole = summarise(faces, ROWS, run=RUN, networks=Networks())
    assert whole.facts["num_failed"] == 1 + 2  # a picture, and all of a photograph
    shown = [group.metrics["face-shown"].candidates["drawn"] for group in whole.groups]
    assert [(share.mean, share.num_cases) for share in shown] == [(1, 2), (0, 1)]
    sentences = " ".join(whole.sentences)
    assert "3 cases failed" in sentences
    assert "c.png" in sentences
    assert "Not computed: clip-large" in sentences


def run(world, out, *more):
    arguments = ["fastface", "--identities", world / "people", "--prompts", world / "prompts.txt"]
    arguments += ["--out", out, *options(world), *more]
    return CliRunner().invoke(app, [str(word) for word in arguments])


def pictures(out):
    return {path.name: path for path in (out / "images").glob("*.drawn.png")}


@pytest.mark.thorough
def test_people_are_drawn_once_judged_apart_and_failures_counted(world, tmp_path):
    out = tmp_path / "out"
    judge = ("--judge", "arcface", "--judge-models", world / "judge")
    result = run(world, out, *judge, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((out / "report.json").read_text())
    assert (report["num_people"], report["num_drawn"], report["num_failed"]) == (2, 4, 2)
    assert [(photo["name"], photo["num_cases"]) for photo in report["left_out"]] == [("c.png", 2)]
    assert (report["encoder"], report["judge"]) == ("opencv", "arcface")
    assert {*report["metrics"]} == {"identity", "face-shown", "face-ratio"}
    missing = {"clip-large", "clip-small", "style", "aesthetic", "image-reward"}
    assert {*report["not_computed"]} == missing
    assert "64x64" in report["run"]["preset"]
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == ["000-000", "000-001", "001-000", "001-001"]
    cases = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [case["prompt"] for case in cases[:2]] == [
        "a person reading",
        "oil painting; a person at sea",
    ]
    page = (out / "index.html").read_text()
    assert page.count("<image ") == 16  # among the worst, and in the sample
    assert "No face was found" in page
    assert CONSENT.split(";")[0] in page

    drawn = pictures(out)
    before = {name: path.read_bytes() for name, path in drawn.items()}
    times = {name: path.stat().st_mtime_ns for name, path in drawn.items()}
    drawn["000-001.drawn.png"].unlink()
    again = run(world, out, *judge)
    assert again.exit_code == 0, again.output
    assert "likeness to the person" in again.stdout
    kept = [name for name, path in pictures(out).items() if path.stat().st_mtime_ns == times[name]]
    assert sorted(kept) == ["000-000.drawn.png", "001-000.drawn.png", "001-001.drawn.png"]
    assert {name: path.read_bytes() for name, path in pictures(out).items()} == before

    mixed = run(world, out, "--identity-guidance", "dcg")
    assert mixed.exit_code != 0
    assert "pictures of other weights" in str(mixed.exception)
