import dataclasses

import pytest
import torch
from torch.nn import functional as F

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.judges import load_judges
from swiftpie_lab.judges import ATTRIBUTES
from swiftpie_lab.stickers.stickers import StickerWorld
from swiftpie_lab.training.stages.judges import (
    JudgesConfig,
    JudgesStage,
    attribute_labels,
    attribute_loss,
    contrastive_loss,
)

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
    assert float(contrastive_loss(vectors, vectors)) < 0.01
    assert float(contrastive_loss(vectors, vectors.roll(1, 0))) > 5


def test_right_answers_cost_less_than_wrong_ones():
    wanted = {"size": torch.tensor([0, 1, 2]), "colour": torch.tensor([0, 1, 0])}
    sure = {name: 9 * F.one_hot(labels).float() for name, labels in wanted.items()}
    assert float(attribute_loss(sure, wanted)) < 0.01
    for name in wanted:
        wrong = sure | {name: -sure[name]}
        assert float(attribute_loss(wrong, wanted)) > 4


def test_the_same_step_gives_the_same_losses_and_another_step_others(stage, network):
    first, again, other = (stage.losses(network, step) for step in (1, 1, 2))
    assert set(first) == {"subject", "scene", "attributes"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["subject"], other["subject"])


def test_one_step_downhill_lowers_the_loss(stage):
    network = stage.network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    before = sum(stage.losses(network, 5).values())
    before.backward()
    optimizer.step()
    assert float(sum(stage.losses(network, 5).values()).detach()) < float(before.detach())


def test_labels_say_what_the_renderer_was_told(stage):
    batch = stage.world.batch(12, 8, seed=3)
    labels = attribute_labels(batch)
    assert labels.keys() == ATTRIBUTES.keys()
    rows = [
        {question: ATTRIBUTES[question][int(found[row])] for question, found in labels.items()}
        for row in range(len(batch.attributes))
    ]
    assert len({said["size"] for said in rows}) == len({said["accessory"] for said in rows}) == 3
    for said, told in zip(rows, batch.attributes, strict=True):
        assert (said["size"], said["accessory"]) == (told.size, told.accessory)
        assert (said["colour"] == "black and white") == told.is_black_and_white


def test_the_place_is_that_of_the_centre(stage):
    batch = stage.world.batch(4, 3, seed=3)
    x = torch.tensor([0.1, 0.41, 0.43, 0.5, 0.57, 0.59, 0.9]).repeat(2)[:12]
    moved = batch.layout._replace(centre=torch.stack([x, x], dim=1))
    place = attribute_labels(dataclasses.replace(batch, layout=moved))["place"]
    words = [ATTRIBUTES["place"][int(answer)] for answer in place[:7]]
    assert words == ["left", "left", "middle", "middle", "middle", "right", "right"]


def test_the_sample_holds_shares_and_a_picture(stage, network, tmp_path):
    figures = stage.sample(network, tmp_path / "samples.png")
    questions = {f"{question}_accuracy" for question in ATTRIBUTES}
    assert set(figures) == {"retrieval", "scene_accuracy"} | questions
    assert all(0 <= share <= 1 for share in figures.values())
    assert (tmp_path / "samples.png").is_file()


def test_exported_judges_are_small_and_come_back_as_they_were(stage, network, tmp_path):
    stage.export(network, tmp_path)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 3
    assert all(path.stat().st_size <= MAX_BYTES for path in files)
    embedder, scenes, attributes = load_judges(tmp_path)
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(
        embedder(pixels), network.subject_embedder(pixels), atol=0.01, rtol=0
    )
    torch.testing.assert_close(scenes(pixels), network.scene_classifier(pixels), atol=0.02, rtol=0)
    expected = network.attribute_classifier(pixels, pixels)
    for question, found in attributes(pixels, pixels).items():
        torch.testing.assert_close(found, expected[question], atol=0.02, rtol=0)
    assert next(network.parameters()).dtype == torch.float32
