import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from swiftpie.engine.graphs.cache import GRAPH, SUMS, GraphStore
from swiftpie.engine.graphs.runtime import load
from swiftpie.imageio.atomic import TEMPORARY


@pytest.fixture(scope="module")
def openvino():
    return load("openvino")


@pytest.fixture
def graph(openvino):
    """Adds a large constant, so that a graph weighs 40 kB."""
    inputs = openvino.opset15.parameter([100, 100], np.float32)
    constant = openvino.opset15.constant(np.arange(10_000, dtype=np.float32).reshape(100, 100))
    return openvino.Model([openvino.opset15.add(inputs, constant)], [inputs])


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def use(store, name, when):
    os.utime(store.folder / name, (when, when))


def test_what_was_written_is_read_and_a_second_writer_changes_nothing(tmp_path, openvino, graph):
    store, core = GraphStore(tmp_path / "deep" / "folder"), openvino.Core()
    assert store.read("one", core) is None
    store.write("one", graph)
    assert names_in(store.folder) == ["one"]
    found = core.compile_model(store.read("one", core).graph, "CPU")(
        [np.ones((100, 100), np.float32)]
    )
    assert found[0].flatten()[:3].tolist() == [1, 2, 3]
    before = (store.folder / "one" / GRAPH).stat().st_ino
    store.write("one", graph)
    assert (store.folder / "one" / GRAPH).stat().st_ino == before
    assert names_in(store.folder) == ["one"]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells what is held")
def test_pages_of_weights_go_back_to_the_system_and_come_again(tmp_path, openvino, graph):
    def held():
        parts = Path("/proc/self/smaps").read_text().split(str(tmp_path))[1:]
        return sum(int(part.split("Rss:")[1].split()[0]) for part in parts)

    store, core = GraphStore(tmp_path), openvino.Core()
    store.write("one", graph)
    read = store.read("one", core)
    constant = next(node for node in read.graph.get_ops() if node.get_type_name() == "Constant")
    before = constant.get_data().sum()
    assert held() > 0
    store.release_pages()
    assert held() == 0
    assert constant.get_data().sum() == before


def test_those_used_longest_ago_go_first(tmp_path, graph):
    store = GraphStore(tmp_path, max_bytes=130_000)
    for when, name in enumerate("abc"):
        store.write(name, graph)
        use(store, name, when)
    use(store, "a", 10)
    store.write("d", graph)
    assert names_in(tmp_path) == ["a", "c", "d"]


def test_the_graph_just_written_stays_even_if_it_alone_is_too_large(tmp_path, graph):
    store = GraphStore(tmp_path, max_bytes=1)
    store.write("a", graph)
    store.write("b", graph)
    assert names_in(tmp_path) == ["b"]


def test_a_folder_that_cannot_be_written_to_costs_no_more_than_a_warning(tmp_path, graph, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        GraphStore(tmp_path / "file").write("one", graph)
    assert "cannot keep" in caplog.text


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda place: place.symlink_to("lost")])
def test_what_is_no_graph_makes_room_for_one(tmp_path, openvino, graph, make):
    store, core = GraphStore(tmp_path), openvino.Core()
    make(tmp_path / "one")
    assert store.read("one", core) is None
    store.write("one", graph)
    assert store.read("one", core) is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
def test_the_folder_of_another_user_is_read_without_being_marked(openvino, graph):
    # All users may pass through this folder, whatever TMPDIR is.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        store, core = GraphStore(Path(place)), openvino.Core()
        store.write("one", graph)
        Path(place).chmod(0o755)
        os.seteuid(65534)
        try:
            if not os.access(openvino.__file__, os.R_OK, effective_ids=True):
                pytest.skip("another user may not read the installed OpenVINO")
            assert store.read("one", core) is not None
            store.write("two", graph)
        finally:
            os.seteuid(0)
        (Path(place) / "one").chmod(0o700)
        os.seteuid(65534)
        try:
            assert store.read("one", core) is None
        finally:
            os.seteuid(0)
        assert names_in(store.folder) == ["one"]


def test_nothing_half_written_is_ever_read(tmp_path, openvino, graph):
    store = GraphStore(tmp_path)
    store.write("one", graph)
    (tmp_path / "one").rename(tmp_path / TEMPORARY.replace("*", "one"))
    assert store.read("one", openvino.Core()) is None


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path))
    assert GraphStore().folder == tmp_path / "openvino"
    monkeypatch.delenv("SWIFTPIE_HOME")
    assert GraphStore().folder.parts[-3:] == (".cache", "swiftpie", "openvino")


def flip(place):
    """Flips a bit of the weights, of which OpenVINO would not complain."""

    def change(folder):
        weights = folder / GRAPH.replace(".xml", ".bin")
        data = bytearray(weights.read_bytes())
        data[place] ^= 1
        weights.write_bytes(data)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        *map(flip, (0, 17, -1)),
        lambda folder: (folder / GRAPH).write_text("<net"),
        lambda folder: (folder / SUMS).unlink(),
    ],
)
def test_a_damaged_graph_is_removed_with_a_warning_and_remade(
    tmp_path, openvino, graph, caplog, damage
):
    store, core = GraphStore(tmp_path), openvino.Core()
    store.write("one", graph)
    damage(tmp_path / "one")
    with caplog.at_level(logging.WARNING):
        assert store.read("one", core) is None
    assert "damaged" in caplog.text
    assert names_in(tmp_path) == []
    store.write("one", graph)
    assert store.read("one", core) is not None
