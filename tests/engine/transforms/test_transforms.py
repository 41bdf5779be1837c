import pytest

from swiftpie.engine.transforms import TRANSFORMS, Phase, Transform, choose, transform
from swiftpie.errors import ConfigError


def test_the_order_of_names_does_not_matter():
    names = ["offload", "folded-upsampling"]
    chosen = [TRANSFORMS.get(name) for name in names[::-1]]
    assert choose(names) == choose(names[::-1]) == chosen


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_auto_adds_to_other_names_and_takes_none_away(device):
    beside = choose(["auto", "folded-upsampling"], device=device)
    assert beside == choose(["folded-upsampling", "auto"], device=device)
    assert {*beside} == {*choose("auto", device=device), *choose("folded-upsampling")}


def test_no_names_change_nothing(session):
    assert transform(session.components, ()) is session.components


def test_two_ways_to_call_networks_exclude_each_other():
    callers = [name for name, one in TRANSFORMS.all().items() if one.phase is Phase.CALLS]
    with pytest.raises(ConfigError, match=callers[0]):
        choose(callers[:2])


def test_a_package_that_is_missing_is_noticed():
    one = Transform("…", apply=lambda one: one, extra="none", packages=("torch", "no_such"))
    assert not one.is_installed
    assert Transform("…", apply=lambda one: one, extra="none", packages=("torch",)).is_installed
