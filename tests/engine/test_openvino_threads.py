"""Torch leaves the cores to OpenVINO, in one thread and for a while."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from swiftpie.engine.openvino.components import to_openvino
from swiftpie.engine.openvino.threads import Threads

COUNT = 3


@pytest.fixture
def threads():
    """Torch had three threads when the networks were loaded."""
    before = torch.get_num_threads()
    torch.set_num_threads(COUNT)
    yield Threads()
    torch.set_num_threads(before)


def test_torch_takes_one_thread_inside_and_all_again_afterwards(threads):
    with threads.for_openvino():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads.count == COUNT


def test_exports_inside_take_all(threads):
    with threads.for_openvino():
        with threads.for_torch():
            assert torch.get_num_threads() == COUNT
        assert torch.get_num_threads() == 1


def test_other_threads_are_not_concerned(threads):
    with ThreadPoolExecutor(1) as pool, threads.for_openvino():
        assert pool.submit(torch.get_num_threads).result() == COUNT


@pytest.mark.usefixtures("threads")
def test_networks_in_openvino_bring_their_scope(session, tmp_path):
    made = to_openvino(session.components, folder=tmp_path)
    for components, count in ((made, 1), (session.components, COUNT)):
        with components.scope():
            assert torch.get_num_threads() == count
