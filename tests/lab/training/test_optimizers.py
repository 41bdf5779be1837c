import pytest
import torch
from torch import nn

from swiftpie_lab.training.optimizers import Muon, make_groups, named_optimizers


@pytest.fixture
def network():
    return nn.ModuleDict({"a": nn.Linear(32, 32), "b": nn.Linear(32, 1), "c": nn.Linear(2, 2)})


def groups_of(network, owners, rates):
    return make_groups(network, owners, rates=rates, uses_muon=True)


def test_one_objective_trains_everything_under_plain_names(network):
    groups = groups_of(network, None, [1e-3])
    assert sorted(named_optimizers(groups)) == ["adamw", "muon"]
    assert len(groups[""].parameters) == 6


def test_groups_have_optimizers_and_rates_of_their_own(network):
    network["c"].requires_grad_(False)
    groups = groups_of(network, {"one": ("a",), "two": ("b",)}, [1e-3, 2e-3])
    assert sorted(named_optimizers(groups)) == ["one.adamw", "one.muon", "two.adamw"]
    assert [*groups["two"].parameters] == ["b.weight", "b.bias"]
    groups["two"].set_learning_rate(0.5)
    assert groups["two"].optimizers["adamw"].param_groups[0]["lr"] == 1e-3


def test_matrices_take_the_steps_of_torch():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(24, 40, generator=generator)
    own, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimizers = (
        Muon([own], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        own.grad = torch.randn(start.shape, generator=generator)
        theirs.grad = own.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    apart, moved = (own - theirs).norm(), (own - start).norm()
    assert apart < 0.05 * moved, "sums in bfloat16 have another order"
