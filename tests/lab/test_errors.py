"""What users of the lab may do wrong: a call, the class of its error, and a word of its message."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

from swiftpie.errors import ConfigError, ImageError, InputError, WeightsError
from swiftpie_lab.data.archive import build_from_archives, build_pack
from swiftpie_lab.data.photographs import PhotoViews, open_photos
from swiftpie_lab.data.subjects import load_subjects, sample_subjects
from swiftpie_lab.evaluation.benchmarks.dreambench import LISTS, read_boxes, read_dreambench
from swiftpie_lab.evaluation.benchmarks.insertions import open_backgrounds
from swiftpie_lab.evaluation.benchmarks.leakage import read_photos
from swiftpie_lab.evaluation.benchmarks.pie import read_pie
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldKind, read_kinds
from swiftpie_lab.evaluation.judges import PUBLISHED, load_judge
from swiftpie_lab.judges import PictureReader, SubjectEmbedder
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.optimizers import make_groups
from swiftpie_lab.training.stages.cutout import CutoutConfig
from swiftpie_world.sampler import World
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench
from tests.lab.evaluation.benchmarks.pie_folder import write_pie
from tests.lab.training.toy import CONFIG, ToyStage

NETWORK = {"a": nn.Linear(32, 32), "b": nn.Linear(32, 1), "c": nn.Linear(2, 2)}
NO_BOXES = ("[1]", "{", '{"cat": [0, 0, 1, 1]}', '{"dog": [0, 0, 1]}', '{"dog": [0.5, 0, 0.5, 1]}')
NO_PIE = ("", "{", "[]", "{}", "null", "[" * 100_000, '{"a": 3}')


def held_out():
    return World(sample_subjects(), "held_out")


def broken_photo(folder):
    (folder / "cup").mkdir()
    (folder / "cup" / "1.jpg").write_bytes(b"nothing")
    return PhotoViews(open_photos(folder, size_px=64)).batch(1, 0)


def pack(folder, content):
    (folder / "subjects.zip").write_bytes(content)
    return load_subjects(folder / "subjects.zip")


def boxes(folder, text):
    (folder / "boxes.json").write_text(text)
    return read_boxes(folder / "boxes.json", ["dog"])


def dreambench(folder, *, lists=None, names=("dog", "vase")):
    root = write_dreambench(folder / "copy")
    text = (root / LISTS).read_text()
    (root / LISTS).write_text(text if lists is None else lists(text))
    for name in {"dog", "vase"} - {*names}:
        for path in (root / name).iterdir():
            path.unlink()
    return read_dreambench(root)


def seen(folder):
    """The dataset with photographs of which nothing can be cut out."""
    root = write_dreambench(folder / "copy")
    for name in ("dog", "vase"):
        for path in (root / name).iterdir():
            path.unlink()
        Image.new("RGB", (64, 64), "grey").save(root / name / "00.png")
    return read_dreambench(root).cases()


def one_subject(folder):
    (folder / "dog").mkdir()
    Image.effect_noise((32, 32), 90).convert("RGB").save(folder / "dog" / "a.png")
    return read_photos(folder)


def other_judges(folder):
    widths = (8, 8, 8, 8)
    SubjectEmbedder(8, widths).save_pretrained(folder / "subject_embedder")
    PictureReader({"place": 2}, {"pose": 2}, widths).save_pretrained(folder / "picture_reader")
    return WorldBenchmark(sample_subjects()).panel(folder)


def groups(owners, num_rates=2):
    network = nn.ModuleDict(NETWORK)
    return make_groups(network, owners, rates=[1e-3] * num_rates, uses_muon=True)


def without_npm(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        return build_from_archives(folder / "out.zip", build_pack)


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda folder: open_photos(folder / "missing", size_px=64), InputError, "no folder"),
        (lambda folder: open_photos(folder, size_px=64), InputError, "no photo"),
        (broken_photo, InputError, "1 left out"),
        (lambda folder: load_subjects(folder / "x.zip"), ConfigError, "swiftpie data prepare"),
        (lambda folder: pack(folder, b"not a zip"), ConfigError, "cannot be read"),
        (lambda folder: pack(folder, b""), ConfigError, "cannot be read"),
        (lambda _: sample_subjects().index("1f4a9"), ConfigError, "1f4a9"),
        (without_npm, ConfigError, "--archive"),
        (lambda _: World(sample_subjects(), size_px=100), ConfigError, "size_px is 100"),
        (lambda _: World(sample_subjects()).batch(1, 1, seed=0), ConfigError, "for this half"),
        (lambda _: held_out().scenery(2, seed=0), ConfigError, "surfaces"),
        (lambda _: held_out().batch(1, 1, seed=0, off_distribution=True), ConfigError, "surfaces"),
        (lambda _: read_kinds("poses", WorldKind), ConfigError, "'poses'"),
        (
            lambda folder: WorldBenchmark(sample_subjects()).panel(folder),
            *(WeightsError, "swiftpie train world-judges"),
        ),
        (other_judges, WeightsError, "other questions"),
        *((lambda folder, n=n: load_judge(n, folder), WeightsError, "leave") for n in PUBLISHED),
        (open_backgrounds, ConfigError, "one in five"),
        (lambda folder: open_backgrounds(folder / "nowhere"), ConfigError, "one in five"),
        (lambda folder: read_photos(folder / "nowhere"), InputError, "is no folder"),
        (one_subject, InputError, "At least 5"),
        *((lambda folder, b=b: boxes(folder, b), InputError, "boxes.json") for b in NO_BOXES),
        (lambda folder: boxes(folder, '{"dog": "0,0,1,1"}'), InputError, "boxes.json"),
        (lambda folder: boxes(folder, '{"dog": [NaN, 0, 1, 1]}'), InputError, "boxes.json"),
        (read_dreambench, InputError, "cannot be read as DreamBench's lists"),
        (lambda folder: dreambench(folder, lists=lambda _: "Classes"), InputError, "DreamBench's"),
        (
            lambda folder: dreambench(folder, lists=lambda t: t.replace("vase,", "../vase,")),
            *(InputError, "the name '../vase'"),
        ),
        (lambda folder: dreambench(folder, names=()), InputError, "no photographs of subjects"),
        (seen, ImageError, "None of 2 photographs"),
        *((lambda folder, t=t: read_pie(write_pie(folder, t)), InputError, "") for t in NO_PIE),
        *(
            (lambda _, c=c: replace(CONFIG, **c), ConfigError, f"loop.{next(iter(c))} is")
            for c in (
                {"steps": 0},
                {"log_every": 0},
                {"accumulate": 0},
                {"learning_rate": -1e-3},
                {"learning_rate": float("nan")},
                {"learning_rates": (1e-3, -1.0)},
                {"ema_decay": 2.0},
                {"decay_share": 1.5},
                {"final_share": -1.0},
                {"max_gradient_norm": 0.0},
            )
        ),
        (
            lambda folder: list(fit(ToyStage(), replace(CONFIG, decays_by_time=True), folder)),
            *(ConfigError, "time limit"),
        ),
        (
            lambda _: CutoutConfig(cutouts="here").build(Context(Path(), Path(), "cpu")),
            *(ConfigError, "stage.photos"),
        ),
        (lambda _: groups({"one": ("a",), "two": ("b",)}), ConfigError, "'c.weight' belongs to no"),
        (lambda _: groups({"one": ("a", "b"), "two": ("b", "c")}), ConfigError, "'one' and 'two'"),
        (lambda _: groups(None), ConfigError, "has 2 values; this stage needs 1"),
    ],
)
def test_an_error_says_what_is_wrong(call, error, word, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert word in str(caught.value)
