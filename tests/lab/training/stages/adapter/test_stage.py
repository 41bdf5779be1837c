from dataclasses import replace

import numpy as np
import pytest
import torch

from swiftpie.backbones.adapters import open_adapter
from swiftpie.backbones.components import load_components
from swiftpie.engine.session import Session
from swiftpie.pipelines.settings import Scales
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.stages.adapter.networks import AdapterDrops, AdapterNetworks, LossWeights
from swiftpie_lab.training.stages.adapter.stage import ADAPTER_FILE
from swiftpie_lab.training.state import read_state
from tests.lab.training.stages import conftest
from tests.tiny.folders import choices_in, make_unet
from tests.tiny.sessions import preset_of, subject

NEVER = AdapterDrops(semantic=0, detail=0, both=0, text=0, rescaled=0)
LOOP = replace(conftest.LOOP, ema_decay=0.9)


def first_terms(stage, network, draw):
    return next(stage.updates(network, draw, draw)).terms


def gradients(stage, network, draw):
    network.zero_grad()
    torch.stack(list(first_terms(stage, network, draw).values())).sum().backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def stored(folder):
    return read_state(folder).tensors


def base_state(stage):
    """Every weight that must not change; worn layers belong to the adapter."""
    unet = stage.base.denoiser.unet
    frozen = {n: t.clone() for n, t in unet.state_dict().items() if ".processor." not in n}
    for name in ("autoencoder", "tower"):
        part = getattr(stage.base, name)
        frozen |= {f"{name} {n}": t.clone() for n, t in part.state_dict().items()}
    return frozen


@pytest.mark.thorough
def test_losses_fall_on_one_subject_and_the_base_stays_as_it_was(build, place, tmp_path):
    stage = build(data=place / "photos" / "red_cup", drops=NEVER)
    before, started = base_state(stage), stage.network()
    events = list(fit(stage, LOOP, tmp_path))
    state, trained = stored(tmp_path), stage.network()
    prefix = "network/network/"
    trained.load_state_dict(
        {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    )
    terms = [
        [first_terms(stage, network, draw) for draw in (100, 101)] for network in (started, trained)
    ]
    for name in ("subject", "whole", "maps"):
        first, last = (sum(float(row[name].detach()) for row in rows) for rows in terms)
        assert last < 0.97 * first, name
    after = base_state(stage)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"hinge", "r1", "adversarial", "identity"} <= events[0].losses.keys()
    assert (tmp_path / "samples.png").stat().st_size > 0
    assert 0 <= events[-1].losses["semantic_own"] <= 2
    changed = dict(trained.named_parameters())
    for name, weight in started.named_parameters():
        assert torch.equal(weight, changed[name]) == (not weight.requires_grad), name
    parts = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    assert parts == {"projector", "semantic", "detail", "discriminator"}


def test_every_trained_weight_of_the_adapter_gets_a_gradient(build):
    stage = build(drops=NEVER)
    network = stage.network()
    found = gradients(stage, network, 0)
    assert isinstance(network, AdapterNetworks)
    parts = ("projector", "semantic", "detail")
    wanted = [n for n, p in network.named_parameters() if p.requires_grad and n.startswith(parts)]
    # At this size the coarsest layer may see one key only, and then its logit does not matter.
    wanted = [name for name in wanted if not ("up_blocks/1" in name and "to_k_ref" in name)]
    assert any("to_k_ref" in name for name in wanted)
    assert [name for name in wanted if name not in found or not found[name].any()] == []


@pytest.mark.parametrize("settings", [{"mixed_precision": True}, {"checkpointing": True}])
def test_what_saves_time_or_memory_leaves_gradients_as_they_are(build, settings):
    plain, thrifty = (
        torch.cat([gradient.flatten() for gradient in gradients(s, s.network(), 0).values()])
        for s in (build(drops=NEVER), build(drops=NEVER, **settings))
    )
    assert (thrifty - plain).norm() < 3e-2 * plain.norm()


def test_another_frozen_network_reads_references_at_a_small_noise_level(build, place, tmp_path):
    alone = build(drops=NEVER)
    changed = make_unet(tmp_path / "teacher", "sd21")
    same, other = (
        build(drops=NEVER, reference=str(folder)) for folder in (place / "pipeline/unet", changed)
    )
    reader = other.base.denoiser.reference
    assert not any(weight.requires_grad for weight in reader.parameters())
    seen = []
    reader.register_forward_pre_hook(lambda _, given: seen.append(float(given[1])))
    stages = (alone, same, other)
    own, again, others = (first_terms(stage, stage.network(), 0) for stage in stages)
    assert all(torch.equal(own[name], again[name]) for name in own)
    assert any(not torch.equal(own[name], others[name]) for name in own)
    assert 100 <= seen[0] <= 400


@pytest.mark.thorough
def test_withheld_conditions_reach_no_weight(build):
    for drops, silent in (
        (AdapterDrops(semantic=1, detail=0, both=0, text=0), "to_v_ip"),
        (AdapterDrops(semantic=0, detail=1, both=0, text=0), "to_v_ref"),
    ):
        stage = build(drops=drops, loss=LossWeights(adversarial=0, maps=0))
        found = gradients(stage, stage.network(), 0)
        named = {name: gradient for name, gradient in found.items() if "to_v_" in name}
        assert any(gradient.any() for name, gradient in named.items() if silent not in name)
        assert not any(gradient.any() for name, gradient in named.items() if silent in name)


PROMPT = "a red cube on the moon"
SEED = 3


@pytest.fixture
def exported(build, tmp_path):
    stage = build()
    network = stage.network()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    stage.export(network, tmp_path)
    stage.export(network, tmp_path)  # a later one replaces it
    return tmp_path / ADAPTER_FILE


def drawn(session, *, identity, detail):
    scales = Scales(identity_scale=identity, detail_scale=detail)
    found = session.encode_identity(subject())
    (image,) = session.personalize(found, PROMPT, seed=SEED, scales=scales).images
    return np.array(image, dtype=np.int64)


@pytest.mark.thorough
def test_both_branches_speak_and_at_scale_zero_the_base_does(exported, build, place, tmp_path):
    fresh = build()
    fresh.export(fresh.network(), tmp_path / "fresh")
    files = (exported, tmp_path / "fresh" / ADAPTER_FILE)
    choices = (choices_in(place, file) for file in files)
    ours, other = (Session(load_components(preset_of("sd21"), **chosen)) for chosen in choices)
    silent = drawn(ours, identity=0, detail=0)
    assert np.array_equal(silent, drawn(other, identity=0, detail=0))
    for identity, detail in ((1, 0), (0, 1)):
        assert np.abs(drawn(ours, identity=identity, detail=detail) - silent).max() > 1


@pytest.mark.thorough
def test_a_run_goes_on_bit_for_bit(build, tmp_path):
    conftest.check_goes_on(lambda: build(is_new=True), tmp_path, ema_decay=0.9)


def test_training_goes_on_from_an_exported_adapter(exported, build):
    stage = build(adapter=exported)
    settings = open_adapter(exported)
    plan = stage.base.denoiser.installation.plan
    assert (plan.semantic, plan.detail) == (settings.plan.semantic, settings.plan.detail)
    stage.export(stage.network(), exported.parent / "again")
    assert (exported.parent / "again" / ADAPTER_FILE).read_bytes() == exported.read_bytes()
