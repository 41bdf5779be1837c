from dataclasses import replace

import pytest
import torch

import swiftpie
from swiftpie.errors import ConfigError, WeightsError
from swiftpie.mini.text_encoder import TextEncoder
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.stages.autoencoder import fit_linear, standardise
from swiftpie_lab.training.stages.one_step.networks import (
    load_trained,
    nearest_tokens,
    new_networks,
    train_tokenizer,
    trainable,
)
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_lab.training.stages.one_step.tasks import Tasks, TrainingTask
from swiftpie_world.sampler import World
from swiftpie_world.textures import make_textures
from tests.lab.training.stages.conftest import SMALL, small_model

CONFIG = OneStepConfig(
    num_subjects=2, views=1, pixel_weight=0.5, pixel_samples=1, validation_pictures=2
)
EXTRA = "_extra_state"  # PyTorch's name for what `get_extra_state` returns


@pytest.fixture(scope="module")
def stage(subjects):
    surfaces = make_textures(8, subjects.tiles, seed=0)
    stage = small_model(World(subjects, "held_out", surfaces=surfaces), CONFIG)
    pixels = stage.world.batch(4, 2, seed=0).pixels
    fit_linear(stage.autoencoder, pixels)
    standardise(stage.autoencoder, pixels)
    return stage


@pytest.mark.thorough
def test_an_export_loads_as_a_preset_and_draws(stage, tmp_path, sprite):
    config = LoopConfig(steps=1, learning_rate=1e-3, sample_every=1, uses_muon=False)
    event = list(fit(stage, config, tmp_path))[-1]
    assert {"psnr_db", "subject_psnr_db", "mask_iou"} <= event.losses.keys()
    session = swiftpie.load("mini", weights=tmp_path / "export", size_px=128)
    result = session.personalize(session.encode_identity(sprite), "a robot on a beach")
    assert result.images[0].size == (128, 128)


@pytest.mark.thorough
def test_training_goes_on_from_the_packaged_weights(stage):
    networks, autoencoder = load_trained(None, device="cpu")
    plain = replace(stage.config, tasks=Tasks(**dict.fromkeys(vars(Tasks()), 0.0)))
    new = replace(stage, autoencoder=autoencoder, config=plain)
    further = replace(new, initial=networks)
    network, packaged = further.network(), networks.state_dict()
    assert all(torch.equal(value, packaged[name]) for name, value in network.state_dict().items())
    assert all(weight.requires_grad for weight in network.parameters())
    assert further.losses(network, 3)["latents"] < 0.5 * new.losses(new.network(), 3)["latents"]


def doing(stage, task):
    shares = dict.fromkeys(vars(Tasks()), 0.0)
    shares |= {task.value: 1.0} if task.value in shares else {}
    return replace(stage, config=replace(stage.config, tasks=Tasks(**shares)))


@pytest.mark.thorough
def test_every_task_is_learned_and_together_they_reach_every_weight(stage):
    network = stage.network()
    for task in TrainingTask:
        first = network.denoiser.unet.conv_in.weight
        first.grad = None
        terms = doing(stage, task).losses(network, 1)
        sum(terms.values()).backward()
        assert all(torch.isfinite(term).all() for term in terms.values()), task
        assert first.grad.abs().sum() > 0, task
    sceneries = replace(stage, config=replace(stage.config, sceneries=1))
    sceneries.losses(network, 1)["votes"].backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert idle == []
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_the_semantic_branch_learns_where_nothing_else_shows_the_subject(stage):
    only, network = doing(stage, TrainingTask.SEMANTIC), stage.network()
    sum(only.losses(network, 1).values()).backward()
    read = {
        name: float(weight.grad.abs().sum()) if weight.grad is not None else 0.0
        for name, weight in network.denoiser.named_parameters()
    }
    assert all(size > 0 for name, size in read.items() if "to_v_ip" in name)
    assert not any(size for name, size in read.items() if "_ref" in name)


@pytest.mark.thorough
def test_the_semantic_branch_is_taught_where_to_look(stage):
    only = doing(stage, TrainingTask.SEMANTIC)
    stage = replace(only, config=replace(only.config, lookup_weight=1.0))
    network, found = stage.network(), []
    optimizer = torch.optim.Adam(network.denoiser.parameters(), lr=6e-3)
    for _ in range(3):
        loss = stage.losses(network, 1)["lookup"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.97 * found[0]
    hooks = [hook for module in network.modules() for hook in module._forward_hooks]
    assert hooks == []


@pytest.mark.thorough
def test_some_batches_are_of_larger_pictures(subjects, stage, tmp_path):
    world = World(subjects, "held_out", size_px=2 * stage.world.size_px)
    grown = replace(stage, world=world, held_out=world)
    config = replace(stage.config, grown_share=0.5)
    both, network = replace(stage, grown=grown, config=config), stage.network()
    one, other = stage.losses(network, 1)["latents"], grown.losses(network, 1)["latents"]
    chosen = [both.losses(network, step)["latents"] for step in (1, 2)]
    assert torch.equal(chosen[0], other)
    assert torch.equal(chosen[1], stage.losses(network, 2)["latents"])
    assert not torch.equal(one, other)
    figures = both.sample(network, tmp_path / "samples.png")
    assert figures["grown_psnr_db"] != figures["psnr_db"]
    assert (tmp_path / "samples_grown.png").exists()


@pytest.fixture(scope="module")
def tokenizer(subjects):
    return train_tokenizer(World(subjects).corpus(), SMALL)


def test_a_damaged_or_foreign_one_is_refused(tokenizer):
    networks = new_networks(tokenizer, SMALL)
    state = networks.state_dict()
    with pytest.raises(WeightsError, match="stored tokenizer cannot be read"):
        networks.load_state_dict(state | {EXTRA: state[EXTRA][:-9]})
    small = new_networks(tokenizer, SMALL)
    small.text_encoder = TextEncoder(100)
    with pytest.raises(WeightsError, match="the text encoder knows 100"):
        small.set_extra_state(state[EXTRA])


def test_an_export_with_a_damaged_tokenizer_is_refused(subjects, tmp_path):
    stage = small_model(World(subjects, "held_out"), OneStepConfig())
    stage.export(stage.network(), tmp_path)
    path = tmp_path / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(WeightsError, match="is damaged"):
        load_trained(tmp_path, device="cpu")
    path.unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer\.json"):
        load_trained(tmp_path, device="cpu")


def test_only_named_parts_go_on_training(tokenizer):
    networks = new_networks(tokenizer, SMALL)
    trained = trainable(networks, ["image_encoder", "to_k_ip"])
    for name, weight in trained.named_parameters():
        assert weight.requires_grad == ("image_encoder" in name or "to_k_ip" in name)
    with pytest.raises(ConfigError, match="to_k_pi"):
        trainable(networks, ["to_k_pi"])


def test_a_place_is_shown_by_the_tokens_around_it():
    places = torch.tensor([[[-0.75, 0.25], [0.0, -1.0], [1.0, 1.0]]])  # x and y
    shares = nearest_tokens(places, 4).unflatten(-1, (4, 4))[0]  # (N, rows, columns)
    assert torch.allclose(shares.sum((1, 2)), torch.ones(3))
    assert shares[0, 2, 0] == 1  # the middle of a token
    assert torch.equal(shares[1, 0], torch.tensor([0.0, 0.5, 0.5, 0.0]))  # between two, at the edge
    assert shares[2, 3, 3] == 1  # in the corner
