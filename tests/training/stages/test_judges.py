import pytest
import torch
from torch.nn import functional as F

from swiftpie.data.stickers import StickerWorld
from swiftpie.data.subjects import sample_subjects
from swiftpie.evaluation.judges import load_judges
from swiftpie.training.stages.judges import JudgesConfig, JudgesStage, contrast

MAX_BYTES = 2**20


@pytest.fixture(scope="module")
def stage():
    world = StickerWorld(sample_subjects(), "held_out", size_px=64)
    return JudgesStage(world, world, config=JudgesConfig(num_subjects=4))


@pytest.fixture(scope="module")
def network(stage):
    return stage.network()


def test_partners_that_agree_cost_less_than_strangers():
    vectors = F.normalize(torch.eye(4, 8), dim=1)
    assert float(contrast(vectors, vectors)) < 0.01
    assert float(contrast(vectors, vectors.roll(1, 0))) > 5


def test_the_same_step_gives_the_same_losses_and_another_step_others(stage, network):
    first, again, other = (stage.losses(network, step) for step in (1, 1, 2))
    assert set(first) == {"subject", "scene"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["subject"], other["subject"])


def test_one_step_downhill_lowers_the_loss(stage):
    network = stage.network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    before = sum(stage.losses(network, 5).values())
    before.backward()
    optimizer.step()
    assert float(sum(stage.losses(network, 5).values()).detach()) < float(before.detach())


def test_the_sample_holds_shares_and_a_picture(stage, network, tmp_path):
    figures = stage.sample(network, tmp_path / "samples.png")
    assert set(figures) == {"retrieval", "scene_accuracy"}
    assert all(0 <= share <= 1 for share in figures.values())
    assert (tmp_path / "samples.png").is_file()


def test_exported_judges_are_small_and_come_back_as_they_were(stage, network, tmp_path):
    stage.export(network, tmp_path)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2
    assert all(path.stat().st_size <= MAX_BYTES for path in files)
    embedder, classifier = load_judges(tmp_path)
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(
        embedder(pixels), network.subject_embedder(pixels), atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        classifier(pixels), network.scene_classifier(pixels), atol=0.02, rtol=0
    )
    assert next(network.parameters()).dtype == torch.float32
