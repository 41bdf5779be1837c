import importlib
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from swiftpie.attention.condition import Block, silent_condition
from swiftpie.attention.manipulate import Shaping, power, soft_mask
from swiftpie.engine.graphs.runtime import (
    TELEMETRY,
    Precision,
    Threads,
    load,
    outline,
    outline_and_tensors,
    plain,
    preferred_precision,
    quietly,
    rebuild,
)
from swiftpie.engine.openvino import to_openvino

COUNT = 3
WIDTH = 8


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_what_reports_use_is_never_imported(package):
    load(package)
    assert TELEMETRY not in sys.modules
    assert importlib.util.find_spec(TELEMETRY) is not None  # it is there, and could have been
    used = sys.modules["openvino.tools.ovc.telemetry_utils"].tm
    assert used.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_it_can_be_imported_by_others_afterwards():
    with quietly():
        with pytest.raises(ImportError):
            importlib.import_module(TELEMETRY)
        assert sys.modules[TELEMETRY] is None
    assert TELEMETRY not in sys.modules


def test_the_precision_is_one_that_the_processor_has():
    core = load("openvino").Core()
    has_half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert preferred_precision(core) is (Precision.HALF if has_half else Precision.SINGLE)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(COUNT)
    yield Threads()
    torch.set_num_threads(before)


def test_torch_takes_one_thread_inside_all_for_exports_and_all_again_afterwards(threads):
    with threads.for_openvino():
        assert torch.get_num_threads() == 1
        with threads.for_torch():
            assert torch.get_num_threads() == COUNT
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads.count == COUNT


def test_each_thread_is_limited_by_itself(threads):
    def seen():
        with threads.for_openvino():
            return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(seen).result() == 1
    with ThreadPoolExecutor(1) as pool, threads.for_openvino():
        assert pool.submit(torch.get_num_threads).result() == COUNT


@pytest.mark.usefixtures("threads")
def test_networks_in_openvino_bring_their_scope(session, tmp_path):
    made = to_openvino(session.components, folder=tmp_path)
    for components, count in ((made, 1), (session.components, COUNT)):
        with components.engine.scope():
            assert torch.get_num_threads() == count


def condition(*, batch=2, subjects=1, strength=1.3, kind=power):
    silent = silent_condition(torch.zeros(batch, 4, 6, 6), width=WIDTH, num_subjects=subjects)
    shaping = Shaping({Block.UP: (kind(strength),)})
    layers = {name: torch.randn(batch, subjects, 9, WIDTH) for name in ("up", "down")}
    return silent._replace(
        keys=layers,
        values={name: layers[name] + 1 for name in reversed(layers)},
        reshaping=shaping.at(0, like=silent.text_scale),
    )


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        is_alike = type(one) is type(other) and len(one) == len(other)
        return is_alike and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def test_arguments_come_back_as_they_were():
    given = (condition(), torch.arange(3), None, torch.zeros(2, 0, 5), torch.ones(2).bfloat16())
    tensors = [plain(value) for value in outline_and_tensors(given)[1]]
    assert {tensor.dtype for tensor in tensors} == {torch.float32, torch.int64}
    assert same(rebuild(outline(given), iter(tensors)), given)


@pytest.mark.parametrize("change", [{"batch": 3}, {"subjects": 2}, {"kind": soft_mask}])
def test_other_shapes_and_settings_have_another_outline_and_other_values_the_same(change):
    first, values, other = (repr(outline(condition(**c))) for c in ({}, {"strength": 2.0}, change))
    assert first == values != other


def test_the_order_of_a_dict_does_not_matter():
    one, two = torch.zeros(1), torch.ones(2)
    first, second = {"a": one, "b": two}, {"b": two, "a": one}
    assert repr(outline(first)) == repr(outline(second))
    assert same(*(tuple(outline_and_tensors(each)[1]) for each in (first, second)))
