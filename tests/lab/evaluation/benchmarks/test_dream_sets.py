"""Layouts of public datasets, as their repositories describe them."""

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.errors import InputError
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks._dream_sets import DREAM_SETS, read_boxes
from swiftpie_lab.evaluation.benchmarks.dreambench import DreamDrawer, read_dreambench
from swiftpie_lab.evaluation.command import open_model
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench


def photo(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), colour).save(path)
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def plus(tmp_path):
    """Two subjects and a style."""
    for place, name in (("live_subject/animal/00", "kitten"), ("object/03", "piggy bank")):
        photo(tmp_path / "images" / f"{place}.jpg")
        text = f"{name}\nA photo of a {name}\n\nAn oil painting of the {name}\n"
        write(tmp_path / "captions" / f"{place}.txt", text)
    photo(tmp_path / "images/style/00.jpg")
    return tmp_path


@pytest.fixture
def tasks(tmp_path):
    """A task with eleven references and one with two."""
    for number in range(11):
        photo(tmp_path / f"data/11_global/014_{number}.jpg")
    for name in ("006_0.jpg", "006_1.png", "006_generated.jpg", "0061_0.jpg"):
        photo(tmp_path / "data/2_back" / name)
    write(tmp_path / "data/11_global/014_prompt.txt", "Put all of them\non a table.")
    write(tmp_path / "data/2_back/006_prompt.txt", "A cat before the mountains.\n")
    return tmp_path


def test_dreambench_plus_has_a_caption_file_beside_each_image(plus):
    kitten, bank = DREAM_SETS["dreambench++"].read(plus)
    assert (kitten.name, kitten.noun, kitten.kind) == ("live_subject-animal-00", "kitten", "animal")
    assert bank.prompts == ("A photo of a piggy bank", "An oil painting of the piggy bank")
    assert bank.photos == (plus / "images/object/03.jpg",)


def test_tasks_of_multibanana_have_their_references_by_number(tasks):
    many, few = DREAM_SETS["multibanana"].read(tasks)
    assert [path.stem for path in many.photos] == [f"014_{number}" for number in range(11)]
    assert many.prompts == ("Put all of them on a table.",)
    assert (few.name, few.kind, few.noun) == ("2_back-006", "2_back", "")
    assert [path.name for path in few.photos] == ["006_0.jpg", "006_1.png"]
    assert DREAM_SETS["multibanana"].read(tasks / "data") == [many, few]


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("dreambench++", lambda root: shutil.rmtree(root / "captions"), "captions' is missing"),
        ("dreambench++", lambda root: shutil.rmtree(root / "images/object"), None),
        (
            "dreambench++",
            lambda root: (root / "captions/object/03.txt").unlink(),
            r"object/03\.txt' cannot be read",
        ),
        (
            "dreambench++",
            lambda root: (root / "captions/object/03.txt").write_text("piggy bank\n"),
            "at least one prompt",
        ),
        ("dreambench++", lambda root: photo(root / "images/object/03.png"), "'object-03' 2 times"),
        ("dreambench++", lambda root: photo(root / "images/ob ject/1.png"), "ob ject"),
    ],
)
def test_what_is_missing_in_dreambench_plus_is_named(plus, name, change, reason):
    change(plus)
    if (plus / "images/ob ject").exists():
        write(plus / "captions/ob ject/1.txt", "thing\na thing")
    if reason is None:
        assert len(DREAM_SETS[name].read(plus)) == 1
        return
    with pytest.raises(InputError, match=reason):
        DREAM_SETS[name].read(plus)


def test_what_is_missing_in_multibanana_is_named(tasks, tmp_path):
    (tasks / "data/2_back/006_0.jpg").unlink()
    (tasks / "data/2_back/006_1.png").unlink()
    with pytest.raises(InputError, match=r"2_back/006_0\.jpg' is missing"):
        DREAM_SETS["multibanana"].read(tasks)
    write(tasks / "data/2_back/006_prompt.txt", " \n")
    photo(tasks / "data/2_back/006_0.jpg")
    with pytest.raises(InputError, match="holds no prompt"):
        DREAM_SETS["multibanana"].read(tasks)
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError):
            DREAM_SETS["multibanana"].read(root)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("[1]", "holds something else"),
        ("{", "cannot be read"),
        ('{"nobody": [0, 0, 1, 1]}', "'nobody'"),
        ('{"dog": [0, 0, 1]}', r"such as \[0.1"),
        ('{"dog": [0, 0, true, 1]}', r"such as \[0.1"),
        ('{"dog": [0.5, 0, 0.5, 1]}', "0.5"),
        ('{"dog": "0.1,0.2"}', "0.1,0.2"),
        ('{"dog": [NaN, 0, 1, 1]}', "nan"),
    ],
)
def test_boxes_that_are_none_are_refused(tmp_path, stored, reason):
    path = tmp_path / "boxes.json"
    path.write_text(stored)
    with pytest.raises(InputError, match=reason):
        read_boxes(path, {"dog": None})


@pytest.mark.thorough
def test_a_box_tells_where_the_subject_is_and_counts_as_another_run(tmp_path):
    root = write_dreambench(tmp_path)
    for mask in root.glob("*/*.mask.png"):
        mask.unlink()
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"dog": "0,0,0.6,1"}))
    options = {"limit": 1, "num_prompts": 1, "num_seeds": 1}
    found, boxed = (read_dreambench(root, **options), read_dreambench(root, **options, boxes=path))
    first, second = boxed.references["dog"]
    assert first.mask.getbbox()[2] <= 0.65 * first.mask.width < second.mask.getbbox()[2]
    assert found.references["dog"][0].mask.getbbox()[2] > 0.65 * first.mask.width
    assert found.fingerprint != boxed.fingerprint
    assert boxed.facts([])["boxes"] == {"dog": [0, 0, 0.6, 1]}


@pytest.mark.thorough
def test_a_task_is_drawn_with_each_of_its_references(tmp_path):
    root = write_dreambench(tmp_path / "photos")
    folder = tmp_path / "data" / "2_objects"
    folder.mkdir(parents=True)
    for number, name in enumerate(("dog", "vase")):
        for ending in (".jpg", ".mask.png"):
            shutil.copy(root / name / f"00{ending}", folder / f"006_{number}{ending}")
    photo(folder / "006_2.jpg", "grey")  # nothing to cut out
    write(folder / "006_prompt.txt", "A dog and a vase on the beach")
    options = ["--set", "multibanana", "--seeds", "1", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["dreambench", str(tmp_path), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["run"]["benchmark"] == "multibanana"
    assert report["num_cases"] == 1
    assert not [name for name in report["metrics"] if name.endswith("-first")]
    assert "published" not in report
    benchmark = read_dreambench(tmp_path, "multibanana", num_seeds=1)
    assert [one.mask is None for one in benchmark.references["2_objects-006"]] == [0, 0, 1]
    drawer = DreamDrawer(benchmark, open_model({}))
    assert len(drawer.subjects("2_objects-006")) == 2
