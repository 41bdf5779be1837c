"""Other programs draw the cases of benchmarks; pipelines draw what diffusers alone draws."""

import json
from importlib.resources import as_file, files
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPVisionModelWithProjection
from typer.testing import CliRunner

from swiftpie.errors import CapabilityError, ConfigError, InputError, WeightsError
from swiftpie.imageio.images import to_pil
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks._pie import read_pie
from swiftpie_lab.evaluation.benchmarks.insertions import InsertionBenchmark, open_backgrounds
from swiftpie_lab.evaluation.benchmarks.removals import RemovalBenchmark
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.programs import Ability, FinishedPictures, ProgramTask, load_pipeline
from swiftpie_lab.evaluation.run import Results, draw, score
from tests.backbones.tiny_models import make_pipeline, make_public_adapter
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench
from tests.lab.evaluation.benchmarks.pie_folder import pie_entries, write_pie

CALL = {"num_inference_steps": 2, "guidance_scale": 3.0}
BENCHMARK = SimpleNamespace(needs=Ability.DRAW, program_choices=())


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A pipeline, an image encoder and an adapter."""
    adapted = tmp_path_factory.mktemp("adapted")
    make_pipeline(adapted / "pipeline", "sd15", is_shallow=True)
    make_public_adapter(adapted / "adapter.safetensors", "sd15", is_shallow=True)
    return adapted


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


def drawn(drawer, case, folder):
    """Return the picture of one case."""
    results = Results(folder)
    list(draw(drawer.benchmark, [case], drawer, results=results))
    return results, results.read(case, next(iter(drawer.benchmark.candidates)))


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
def test_pipelines_that_do_something_else_are_refused(place, edits, name, needs, reason):
    with pytest.raises(CapabilityError, match=reason):
        load_pipeline(edits, place / name, keywords={}, needs=[needs])


def test_settings_that_a_pipeline_does_not_know_are_refused(place, edits):
    with pytest.raises(ConfigError, match="takes no strength"):
        load_pipeline(edits, place / "words", keywords={"strength": 0.5}, needs=[Ability.DRAW])


@pytest.mark.thorough
def test_photographs_are_filled_by_the_pipelines_own_call(place, subjects, tmp_path):
    pytest.importorskip("cv2", reason="needs swiftpie[evaluate]")
    (photo,) = open_backgrounds(None)
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(place / "fill")
    pipeline.set_progress_bar_config(disable=True)
    for make in (InsertionBenchmark, RemovalBenchmark):
        benchmark = make(subjects, (photo,))
        drawer = load_pipeline(benchmark, place / "fill", keywords=ONE_STEP)
        (case,) = benchmark.cases(1)
        results, picture = drawn(drawer, case, tmp_path / benchmark.name)
        task = benchmark.program_task(case)
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
    drawer = load_pipeline(edits, place / "change", keywords=ONE_STEP)
    case = edits.cases(1, kinds=["colour"])[0]
    _, picture = drawn(drawer, case, tmp_path)
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
    drawer = load_pipeline(edits, place / "obey", keywords=keywords)
    case = edits.cases(1, kinds=["colour"])[0]
    with pytest.raises(CapabilityError, match="follows instructions"):
        drawn(drawer, case, tmp_path / "edits")
    entries = pie_entries()
    for entry in entries.values():
        entry["editing_instruction"] = "make it blue"
    pie = read_pie(write_pie(tmp_path / "pie", entries), limit=1)
    assert pie.program_task(pie.cases[0]).instruction == "make it blue"
    drawer = load_pipeline(pie, place / "obey", keywords=keywords)
    results, _ = drawn(drawer, pie.cases[0], tmp_path / "out")
    assert results.read_facts(pie.cases[0])["total"] > 0


def test_finished_pictures_of_another_size_are_refused(edits, tmp_path):
    case = edits.cases(1, kinds=["colour"])[0]
    Image.new("RGB", (8, 8)).save(tmp_path / f"{case.name}.png")
    pictures = FinishedPictures(edits, tmp_path, [case])
    with pytest.raises(InputError, match="Equal sizes are needed"):
        drawn(pictures, case, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["removals", "--results", "x", "--preset", "mini"], "--preset came with --results"),
        (["removals", "--pipeline-strength", "0.5"], "came without --pipeline"),
        (["removals", "--pipeline", "x", "--adapter", "y"], "no picture of the subject"),
        (["world-edits", "--pipeline", "x", "--editor", "ddim"], "--editor came with --pipeline"),
        (["world-edits", "--results", "x", "--mask", "true"], "--mask came with --results"),
        (["world-edits", "--pipeline", "x", "--mode", "released"], "--mode came with --pipeline"),
        (["removals", "--pipeline", "x", "--results", "y"], "--pipeline came with --results"),
        (["removals", "--pipeline", "x", "--steps", "2"], "--steps came with --pipeline"),
    ],
)
def test_choices_that_another_program_does_not_heed_are_refused(samples, tmp_path, options, reason):
    where = ["--data", str(samples), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*options, *where])
    assert isinstance(done.exception, ConfigError), done.output
    assert reason in str(done.exception)


def theirs(adapted, prompt, image, seed):
    """What diffusers' own calls draw."""
    encoder = CLIPVisionModelWithProjection.from_pretrained(adapted / "encoder")
    pipeline = StableDiffusionPipeline.from_pretrained(adapted / "pipeline", image_encoder=encoder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter(
        str(adapted), subfolder="", weight_name="adapter.safetensors", image_encoder_folder=None
    )
    pipeline.set_ip_adapter_scale(0.6)
    generator = torch.Generator().manual_seed(seed)
    return pipeline(prompt, ip_adapter_image=image, generator=generator, **CALL).images[0]


def load(adapted, **changes):
    parts = {
        "adapter": adapted / "adapter.safetensors",
        "image_encoder": adapted / "encoder",
        "adapter_scale": 0.6,
        "keywords": CALL,
    }
    return load_pipeline(BENCHMARK, adapted / "pipeline", **{**parts, **changes})


def asked(*images):
    return ProgramTask("a dog", 1, references=images)


def test_a_benchmarks_pictures_are_those_of_diffusers_alone(adapted, tmp_path):
    root = write_dreambench(tmp_path)
    out = tmp_path / "out"
    options = ["--prompts", 1, "--seeds", 1, "--subjects", 1, "--seed", 5, "--out", out, "--json"]
    options += ["--pipeline", adapted / "pipeline", "--adapter", adapted / "adapter.safetensors"]
    options += ["--image-encoder", adapted / "encoder", "--pipeline-steps", 2, "--device", "cpu"]
    options += ["--pipeline-guidance", 3, "--pipeline-adapter-scale", 0.6]
    done = CliRunner().invoke(app, ["dreambench", str(root), *map(str, options)])
    assert done.exit_code == 0, done.output
    photo = Image.open(root / "dog" / "00.jpg").convert("RGB")
    expected = theirs(adapted, "a dog in the snow", photo, 5)
    drawn = Image.open(out / "images" / "dog-00-5.drawn.png")
    assert np.array_equal(np.array(drawn), np.array(expected))
    run = json.loads(done.stdout)["run"]
    assert run["num_steps"] == 2
    assert run["preset"] == (
        "diffusers' StableDiffusionPipeline of pipeline, adapter, num inference steps 2, "
        "guidance scale 3, adapter scale 0.6, one reference"
    )


def test_the_adapter_its_scale_and_each_picture_count(adapted):
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    drawer, words = (
        load(adapted),
        load(adapted, adapter=None, image_encoder=None, adapter_scale=None),
    )
    drawn = [np.array(drawer.picture(asked(image), name="")) for image in (first, second)]
    assert not np.array_equal(*drawn)
    assert np.array_equal(drawn[0], np.array(drawer.picture(asked(first), name="")))
    assert not np.array_equal(drawn[0], np.array(drawer.picture(asked(first, second), name="")))
    assert np.array_equal(*(np.array(words.picture(asked(x), name="")) for x in (first, second)))
    assert words.maker.name.startswith(
        "diffusers' StableDiffusionPipeline of pipeline, words alone"
    )
    assert load(adapted, adapter_scale=1.0).maker.fingerprint == drawer.maker.fingerprint
    assert words.maker.fingerprint != drawer.maker.fingerprint


def test_what_another_program_cannot_use_is_refused(adapted, tmp_path):
    with pytest.raises(ConfigError, match="without --adapter"):
        load(adapted, adapter=None)
    with pytest.raises(WeightsError, match="needs an image encoder"):
        load(adapted, image_encoder=None)
    with pytest.raises(WeightsError, match="is no file"):
        load(adapted, adapter=tmp_path / "nothing.safetensors")
    pickled = tmp_path / "adapter.bin"
    pickled.write_bytes(b"")
    with pytest.raises(WeightsError, match="--allow-pickle"):
        load(adapted, adapter=pickled)
    with pytest.raises(WeightsError, match="cannot be read as a pipeline"):
        load_pipeline(BENCHMARK, tmp_path, keywords={})
