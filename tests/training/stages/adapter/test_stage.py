"""The adapter stage on tiny networks: it learns, leaves the base alone, resumes and exports."""

import torch

from swiftpie.training.loop import LoopConfig, fit
from swiftpie.training.stages.adapter_networks import AdapterNetworks
from swiftpie.training.stages.adapter_settings import AdapterDrops, LossWeights
from swiftpie.training.state import read_state

NEVER = AdapterDrops(semantic=0, detail=0, both=0, text=0, rescaled=0)
LOOP = LoopConfig(
    steps=30,
    learning_rate=5e-3,
    warmup_steps=1,
    log_every=1,
    sample_every=100,
    save_every=100,
    ema_decay=0.9,
    uses_muon=False,
)


def first_terms(stage, network, draw):
    return next(stage.updates(network, draw, draw)).terms


def gradients(stage, network, draw):
    network.zero_grad()
    torch.stack(list(first_terms(stage, network, draw).values())).sum().backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def stored(folder):
    """Every tensor in a run's state."""
    return read_state(folder).tensors


def base_state(stage):
    """Every weight that must not change; worn layers belong to the adapter."""
    unet = stage.base.denoiser.unet
    frozen = {n: t.clone() for n, t in unet.state_dict().items() if ".processor." not in n}
    for name in ("autoencoder", "tower"):
        part = getattr(stage.base, name)
        frozen |= {f"{name} {n}": t.clone() for n, t in part.state_dict().items()}
    return frozen


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
        first, last = (sum(float(one[name].detach()) for one in rows) for rows in terms)
        assert last < 0.97 * first, name
    after = base_state(stage)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"hinge", "r1", "adversarial", "identity"} <= events[0].losses.keys()
    assert (tmp_path / "samples.png").stat().st_size > 0
    assert -1 <= events[-1].losses["identity_cosine"] <= 1
    changed = dict(trained.named_parameters())
    for name, weight in started.named_parameters():
        assert torch.equal(weight, changed[name]) == (not weight.requires_grad), name
    parts = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    assert parts == {"projector", "semantic", "detail", "discriminator"}


def test_a_stopped_run_goes_on_bit_for_bit(build, tmp_path):
    loop = LoopConfig(steps=3, learning_rate=1e-3, save_every=1, log_every=1, uses_muon=False)
    changes = {"checkpointing": True, "autocast": True, "pixel_samples": 1}
    list(fit(build(**changes), loop, tmp_path / "whole"))
    list(fit(build(**changes), loop, tmp_path / "parts", time_limit_s=0.0))
    list(fit(build(**changes), loop, tmp_path / "parts"))
    whole, parts = (stored(tmp_path / name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_checkpointing_changes_memory_not_gradients(build):
    kept, twice = build(), build(checkpointing=True)
    for draw in range(2):
        first, second = (gradients(stage, stage.network(), draw) for stage in (kept, twice))
        assert first.keys() == second.keys()
        for name, gradient in first.items():
            torch.testing.assert_close(gradient, second[name], atol=1e-6, rtol=1e-4)


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


def test_losses_of_weight_zero_are_left_out(build):
    only = LossWeights(latents=1, subject=0, whole=0, identity=0, maps=0, adversarial=0)
    stage = build(loss=only)
    updates = list(stage.updates(stage.network(), 0, 0))
    assert [update.group for update in updates] == ["adapter"]
    assert updates[0].terms.keys() == {"latents"}
