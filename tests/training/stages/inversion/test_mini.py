"""The stage of the mini model on the packaged sprites: it learns, resumes and exports."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import swiftpie
from swiftpie.models.inversion import TinyInversion
from swiftpie.training.loop import LoopConfig, fit
from swiftpie.training.stages.distillation import SceneSettings
from swiftpie.training.stages.inversion_mini import MiniInversionConfig, MiniInversionStage
from swiftpie.training.stages.one_step_tasks import Drops
from swiftpie.training.state import STATE_FILE

LOOP = LoopConfig(steps=2, learning_rate=1e-3, save_every=1, sample_every=100, warmup_steps=1)


@pytest.fixture(autouse=True)
def _one_thread():
    """The order of a sum, and so its last bit, depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def stage(models):
    scenes = SceneSettings(num_subjects=2, views=1, drops=Drops(everything=0.5))
    config = MiniInversionConfig(scenes=scenes, reconstruct_every=1)
    return MiniInversionStage(models[1], config=config)


@pytest.fixture(scope="module")
def quick(stage):
    """Without passes through the generator."""
    return replace(stage, config=replace(stage.config, latents_weight=0.0, generated_share=0.0))


@pytest.fixture(scope="module")
def with_teacher(stage):
    config = replace(
        stage.config, pixels_weight=1.0, pixel_samples=1, score_weight=1.0, asks_judge=True
    )
    return replace(stage, config=config, teacher=stage.generator)


def test_the_same_draw_has_the_same_losses(stage):
    network = stage.network()
    first, again = (stage.losses(network, 5) for _ in range(2))
    assert first.keys() == again.keys() == {"noise", "edits", "subject", "latents"}
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_all_of_the_network_is_trained_and_nothing_of_the_generator(with_teacher):
    network = with_teacher.network()
    frozen = [with_teacher.generator.networks, with_teacher.generator.stage.autoencoder]
    before = copy.deepcopy([part.state_dict() for part in frozen])
    terms = with_teacher.losses(network, 0)
    assert terms.keys() == {"noise", "edits", "subject", "latents", "pixels", "score"}
    torch.stack(list(terms.values())).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    for old, part in zip(before, frozen, strict=True):
        assert all(torch.equal(old[name], now) for name, now in part.state_dict().items())
        assert all(weight.grad is None for weight in part.parameters())


@pytest.mark.parametrize("name", ["latents", "pixels", "score"])
def test_each_term_beyond_the_noise_teaches_the_noise(with_teacher, name):
    network = with_teacher.network()
    with_teacher.losses(network, 0)[name].backward()
    assert network.unet.conv_out.weight.grad.abs().max() > 0


def test_noise_and_masks_get_better(quick):
    network = quick.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    history = []
    for _ in range(25):
        terms = quick.losses(network, 0)
        history.append({name: float(term.detach()) for name, term in terms.items()})
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    assert all(history[-1][name] < 0.9 * history[0][name] for name in history[0])


def test_a_stopped_run_continues_bit_for_bit(quick, tmp_path):
    list(fit(_Blind(quick), LOOP, tmp_path / "whole"))
    list(fit(_Blind(quick), LOOP, tmp_path / "parts", time_limit_s=0.0))
    list(fit(_Blind(quick), LOOP, tmp_path / "parts"))
    whole, parts = (load_file(tmp_path / run / STATE_FILE) for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_an_export_beside_its_generator_loads_with_it(stage, tmp_path):
    network = stage.network()
    figures = stage.sample(network, tmp_path / "samples.png")
    assert {"layout_error", "texture_error", "psnr_db", "iou_located", "iou_smooth"} <= set(figures)
    assert (tmp_path / "samples.png").is_file()
    stage.generator.stage.export(stage.generator.networks, tmp_path / "export")
    stage.export(network, tmp_path / "export")
    components = swiftpie.load("mini", weights=tmp_path / "export").components
    assert isinstance(components.inversion, TinyInversion)
    latents = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    text = components.text.encode(["a cat on a beach"])
    with torch.no_grad():
        error = components.inversion(latents, text) - network(latents, text)
    assert error.abs().max() < 0.02  # half precision


class _Blind:
    """A stage that neither looks nor exports, which its test need not pay for."""

    def __init__(self, stage):
        self.network, self.losses = stage.network, stage.losses
        self.samples_per_step = stage.samples_per_step

    def sample(self, *_):
        return {}

    def export(self, *_):
        pass
