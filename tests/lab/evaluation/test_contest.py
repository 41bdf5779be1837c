"""Other programs draw the cases of every benchmark that they can take part in."""

import json
from importlib.resources import as_file, files

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from typer.testing import CliRunner

from swiftpie.errors import CapabilityError, ConfigError, InputError
from swiftpie.imageio.images import to_pil
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks.insertions import (
    InsertionBenchmark,
    RemovalBenchmark,
    open_backgrounds,
)
from swiftpie_lab.evaluation.benchmarks.pie import read_pie
from swiftpie_lab.evaluation.contest import Ability, FinishedPictures, RivalDrawer
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.rivals import load_rival
from swiftpie_lab.evaluation.run import Results, draw, score
from tests.backbones.tiny_models import make_pipeline
from tests.lab.evaluation.benchmarks.pie_folder import pie_entries, write_pie

ONE_STEP = {"num_inference_steps": 2, "guidance_scale": 1.0, "strength": 0.5}
pytestmark = [
    # diffusers' schedulers hand tensors to numpy in a way that numpy 2 complains of.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
]


@pytest.fixture(scope="module")
def samples():
    with as_file(files("swiftpie") / "assets" / "samples") as folder:
        yield folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The same pipeline as one that draws from words, that changes pictures, and that fills."""
    place = tmp_path_factory.mktemp("rivals")
    make_pipeline(place / "words", "sd15", is_shallow=True)
    for name, kind in {"change": "Img2Img", "fill": "Inpaint", "obey": "InstructPix2Pix"}.items():
        make_pipeline(place / name, "sd15", is_shallow=True)
        path = place / name / "model_index.json"
        index = json.loads(path.read_text())
        path.write_text(json.dumps(index | {"_class_name": f"StableDiffusion{kind}Pipeline"}))
    network = UNet2DConditionModel.from_pretrained(place / "obey" / "unet")
    wide = UNet2DConditionModel.from_config({**network.config, "in_channels": 8})
    wide.save_pretrained(place / "obey" / "unet")
    return place


def drawn(benchmark, case, painter, folder):
    """Return the picture of one case."""
    results = Results(folder)
    list(draw(benchmark, [case], RivalDrawer(benchmark, painter), results=results))
    return results, results.read(case, next(iter(benchmark.candidates)))


def as_array(picture):
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "needs", "reason"),
    [
        ("words", Ability.FILL, "draws pictures from words.*AutoPipelineForInpainting"),
        ("words", Ability.CHANGE, "StableDiffusionImg2ImgPipeline"),
        ("fill", Ability.CHANGE, "fills a part"),
        ("change", Ability.DRAW, "changes a picture"),
    ],
)
def test_pipelines_that_do_something_else_are_refused(place, name, needs, reason):
    with pytest.raises(CapabilityError, match=reason):
        load_rival(place / name, keywords={}, needs=[needs])


def test_settings_that_a_pipeline_does_not_know_are_refused(place):
    with pytest.raises(ConfigError, match="takes no strength"):
        load_rival(place / "words", keywords={"strength": 0.5})


@pytest.mark.thorough
def test_photographs_are_filled_by_the_pipelines_own_call(place, subjects, tmp_path):
    pytest.importorskip("cv2", reason="needs swiftpie[evaluate]")
    (photo,) = open_backgrounds(None)
    rival = load_rival(place / "fill", keywords=ONE_STEP, needs=[Ability.FILL])
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(place / "fill")
    pipeline.set_progress_bar_config(disable=True)
    for make in (InsertionBenchmark, RemovalBenchmark):
        benchmark = make(subjects, (photo,))
        (case,) = benchmark.cases(1)
        results, picture = drawn(benchmark, case, rival, tmp_path / benchmark.name)
        task = benchmark.rival_task(case)
        side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        shown, mask = (
            one.resize((side, side), Image.Resampling.LANCZOS) for one in (task.source, task.mask)
        )
        sizes = {"width": side, "height": side}
        generator = torch.Generator().manual_seed(case.seed)
        expected = pipeline(
            task.prompt, image=shown, mask_image=mask, generator=generator, **sizes, **ONE_STEP
        ).images[0]
        expected = expected.resize(task.size, Image.Resampling.LANCZOS)
        assert np.array_equal(as_array(picture), as_array(expected))
        (row,) = score(benchmark, [case], results, Networks())
        judged = row.scores["seam"]
        assert {"model", "truth"} < {*judged}
        assert "exact" not in judged


def test_edits_change_the_source_by_the_target_prompt(place, edits, tmp_path):
    rival = load_rival(place / "change", keywords=ONE_STEP, needs=[Ability.CHANGE])
    case = edits.cases(1, kinds=["colour"])[0]
    _, picture = drawn(edits, case, rival, tmp_path)
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(place / "change")
    pipeline.set_progress_bar_config(disable=True)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    source = to_pil(edits.answer(case).source)[0]
    expected = pipeline(
        case.target_prompt,
        image=source.resize((side, side), Image.Resampling.LANCZOS),
        generator=torch.Generator().manual_seed(0),
        **ONE_STEP,
    ).images[0]
    expected = expected.resize(source.size, Image.Resampling.LANCZOS)
    assert np.array_equal(as_array(picture), as_array(expected))


def test_instructions_come_from_the_benchmark_or_the_pipeline_is_refused(place, edits, tmp_path):
    keywords = {"num_inference_steps": 1}
    rival = load_rival(place / "obey", keywords=keywords, needs=[Ability.CHANGE])
    case = edits.cases(1, kinds=["colour"])[0]
    with pytest.raises(CapabilityError, match="follows instructions"):
        drawn(edits, case, rival, tmp_path / "edits")
    entries = pie_entries()
    for entry in entries.values():
        entry["editing_instruction"] = "make it blue"
    pie = read_pie(write_pie(tmp_path / "pie", entries), limit=1)
    assert pie.rival_task(pie.cases[0]).instruction == "make it blue"
    results, _ = drawn(pie, pie.cases[0], rival, tmp_path / "out")
    assert results.read_facts(pie.cases[0])["total"] > 0


def test_finished_pictures_of_another_size_are_refused(edits, tmp_path):
    case = edits.cases(1, kinds=["colour"])[0]
    Image.new("RGB", (8, 8)).save(tmp_path / f"{case.name}.png")
    pictures = FinishedPictures(tmp_path, (f"{case.name}.png",))
    with pytest.raises(InputError, match="Equal sizes are needed"):
        drawn(edits, case, pictures, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["removals", "--results", "x", "--preset", "mini"], "--preset came with --results"),
        (["removals", "--pipeline-strength", "0.5"], "came without --pipeline"),
        (["removals", "--pipeline", "x", "--adapter", "y"], "no picture of the subject"),
        (["world-edits", "--pipeline", "x", "--editor", "ddim"], "--editor came with --pipeline"),
        (["world-edits", "--results", "x", "--mask", "true"], "--mask came with --results"),
        (["world-edits", "--pipeline", "x", "--mode", "released"], "--mode came with --pipeline"),
    ],
)
def test_choices_that_another_program_does_not_heed_are_refused(samples, tmp_path, options, reason):
    where = ["--data", str(samples), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*options, *where])
    assert isinstance(done.exception, ConfigError), done.output
    assert reason in str(done.exception)
