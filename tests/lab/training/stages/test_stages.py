"""What every plain stage does: a part of it learns, progress is shown, and the export loads."""

import copy
import functools
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.photo.cutout import cutout_network
from swiftpie.photo.cutout_net import CutoutNet
from swiftpie.places.scene_network import scene_relighter
from swiftpie_lab.data.collages import draw_collages
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.judges import load_judges
from swiftpie_lab.training.stages.autoencoder import AutoencoderConfig, AutoencoderStage
from swiftpie_lab.training.stages.cutout import CutoutConfig, CutoutStage
from swiftpie_lab.training.stages.judges import (
    CLOSE_QUESTIONS,
    WHOLE_QUESTIONS,
    WorldJudgesConfig,
    WorldJudgesStage,
)
from swiftpie_lab.training.stages.layout_predictor import (
    LayoutConfig,
    LayoutStage,
    LightConfig,
    LightStage,
)
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_lab.training.stages.one_step.tasks import Tasks
from swiftpie_lab.training.stages.scene import UNCOVERED, SceneConfig
from swiftpie_lab.training.stages.sharpening import SharpeningConfig, SharpeningStage
from swiftpie_world.sampler import World
from swiftpie_world.textures import make_textures
from tests.lab.collages import collection_of, write_pictures
from tests.lab.training.stages.conftest import check_learning, small_model


def world(**options):
    return World(sample_subjects(), "held_out", **options)


def judges(*_):
    return WorldJudgesStage(world(), world(), config=WorldJudgesConfig(num_subjects=8))


def light(*_):
    textured = world(surfaces=make_textures(8, sample_subjects().tiles, seed=0))
    model = small_model(textured, OneStepConfig(sceneries=4))
    return LightStage(model, LightConfig(num_pictures=4, validation_pictures=4))


def layout(*_):
    config = LayoutConfig(num_subjects=2, views=3, validation_pictures=64)
    return LayoutStage(small_model(world(), OneStepConfig()), config)


def scene(context, _):
    return SceneConfig(size_px=128, batch_size=2, validation_pictures=2).build(context)


def cutout(_, folder):
    draw = functools.partial(draw_collages, collection_of(folder), count=2)
    torch.manual_seed(0)
    return CutoutStage(lambda seed: draw(seed=seed), draw(seed=0), 2, "cpu", CutoutNet())


def placing(network, folder):
    assert (folder / "denoiser").is_dir()
    return [type(network).from_pretrained(folder / "layout_predictor").float()]


STAGES = {  # what builds it, a rate to learn at, what learns, and what reads its export
    "judges": (
        *(judges, 0.02, ("subject_embedder.", "picture_reader.")),
        lambda _, folder: load_judges(folder, WHOLE_QUESTIONS, CLOSE_QUESTIONS),
    ),
    "light": (
        *(light, 0.05),
        tuple(f"light_reader.{name}." for name in ("reference", "own", "scenery", "mood", "vote")),
        placing,
    ),
    "layout": (layout, 0.01, ("layers.",), placing),
    "scene": (
        *(scene, 0.01, ("",)),
        lambda network, folder: [type(network).from_pretrained(folder / "scene").float()],
    ),
    "cutout": (
        *(cutout, 1e-3, ("decoder.",)),
        lambda _, folder: [CutoutNet.from_pretrained(folder / "cutout")],
    ),
}
FIGURES = {
    "judges": {f"{name}_accuracy" for name in WHOLE_QUESTIONS | CLOSE_QUESTIONS} | {"retrieval"},
    "scene": {"covered_psnr_db", "held_out_psnr_db"},
}


@pytest.fixture(scope="module")
def built(context, tmp_path_factory):
    return functools.cache(lambda name: STAGES[name][0](context, tmp_path_factory.mktemp(name)))


@pytest.mark.thorough
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_teaches_its_part_shows_progress_and_exports_what_it_has(name, built, tmp_path):
    stage = built(name)
    _, rate, parts, load = STAGES[name]
    learned = check_learning(stage, rate=rate, draw=5)
    assert all(name.startswith(parts) for name in learned)
    assert all(any(name.startswith(part) for name in learned) for part in parts)
    network = copy.deepcopy(stage.network()).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator()))
    figures = stage.sample(network, tmp_path / "sheet.png")
    assert FIGURES.get(name, set()) <= figures.keys()
    assert all(map(math.isfinite, figures.values()))
    assert (tmp_path / "sheet.png").stat().st_size > 0
    stage.export(network, tmp_path)
    own = {key: weight.detach() for key, weight in network.named_parameters()}
    for part in load(network, tmp_path):
        for key, weight in part.named_parameters():
            (mine,) = [value for full, value in own.items() if full.endswith(key)]
            scale = float(mine.abs().max()) + 1e-6
            assert (weight - mine).abs().max() < 0.02 * scale, key
    for config in tmp_path.rglob("config.json"):
        assert str(tmp_path) not in config.read_text()


@pytest.mark.thorough
def test_training_goes_on_from_packaged_networks(context, tmp_path):
    network = SceneConfig(start="mini", size_px=128).build(context).network()
    shipped = scene_relighter().network.state_dict()
    assert all(torch.equal(value, shipped[key]) for key, value in network.state_dict().items())
    assert network.config.num_seasons == UNCOVERED + 1
    assert all(weight.requires_grad for weight in network.parameters())
    photos, cutouts = (
        str(write_pictures(tmp_path / mode, mode, count=4)) for mode in ("RGB", "RGBA")
    )
    network = CutoutConfig(photos=photos, cutouts=cutouts, start="mini").build(context).network()
    shipped = cutout_network().state_dict()
    assert all(torch.equal(value, shipped[key]) for key, value in network.state_dict().items())


@pytest.mark.thorough
def test_a_mirror_turns_pictures_and_lights_together(built):
    seen = built("light").shown(4, seed=5)
    rows = torch.tensor([True, False, True, False])
    mirrored = seen.mirrored(rows)
    assert torch.equal(mirrored.given[0], seen.given[0].flip(-1))
    assert torch.equal(mirrored.given[1], seen.given[1])
    for lit, before in zip(mirrored.truth, seen.truth, strict=True):
        assert torch.equal(lit.direction[::2, 0], -before.direction[::2, 0])
        assert torch.equal(lit.direction[:, 1:], before.direction[:, 1:])
        assert torch.equal(lit.direction[1::2], before.direction[1::2])
    assert torch.equal(mirrored.mirrored(rows).given, seen.given)


@pytest.mark.slow
def test_an_autoencoder_starts_well_learns_and_has_latents_of_unit_size(tmp_path):
    stage = AutoencoderStage(world(), world(), config=AutoencoderConfig(num_subjects=2))
    network = stage.network()
    assert stage.sample(network, tmp_path / "samples.png")["psnr_db"] > 22
    check_learning(replace(stage, start=network), rate=0.01, draw=5)
    with torch.no_grad():
        network.linear_encoder.weight *= 3
        network.linear_encoder.bias += 1
        stage.export(network, tmp_path)
        loaded = PatchAutoencoder.from_pretrained(tmp_path / "autoencoder")
        pixels = stage.held_out.batch(16, 4, seed=3).pixels
        latents = loaded.encode(pixels)
        assert latents.mean((0, 2, 3)).abs().max() < 0.3
        assert latents.std((0, 2, 3)).log().abs().max() < 0.5
        expected = network.decode_raw(network.encode_raw(pixels))
        torch.testing.assert_close(loaded.decode(latents), expected, atol=1e-4, rtol=0)


PLAIN = OneStepConfig(num_subjects=2, views=1, tasks=Tasks(0.0, 0.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def stage():
    world = World(sample_subjects(), "held_out")
    return SharpeningStage(small_model(world, PLAIN), SharpeningConfig(PLAIN, critic_width=32))


@pytest.mark.thorough
def test_the_model_is_drawn_to_what_the_critic_takes_for_true(stage):
    network = stage.network()
    model = next(iter(stage.updates(network, 0, 2)))
    attempt = stage.model.attempt(network.model, 2)
    noise, drawn = attempt.answer.noise, attempt.outcome.prediction.sample.float()
    ahead = network.critic(attempt.latents, noise) - network.critic(drawn, noise)
    assert model.group == "model"
    torch.testing.assert_close(model.terms.pop("adversarial"), 0.5 * F.softplus(ahead).mean())
    plain = stage.model.losses(network.model, 2)
    assert plain.keys() == model.terms.keys()
    for name, term in plain.items():
        torch.testing.assert_close(model.terms[name], term)
