import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from swiftpie import InputError, WeightsError
from swiftpie.backbones.load.safe import MAX_TENSORS, read_metadata, read_tensors, write_tensors
from swiftpie.errors import ImageError
from swiftpie.imageio.decoding import MAX_TENSOR_HEADER_BYTES, load_image
from tests.processes import no_file_beyond
from tests.tiny.networks import same

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


class Bomb:
    def __reduce__(self):
        return sys.exit, ()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(TENSORS, path, metadata={"note": "text"})
    return path


@pytest.fixture(autouse=True)
def unpickled(lookups):
    """Nothing in this file may look up a global for a pickle."""
    yield
    assert lookups == []


def raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(*, dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_safetensors_are_read_whatever_their_name(file, tmp_path):
    disguised = file.rename(tmp_path / "weights.bin")
    assert same(read_tensors(disguised), TENSORS)
    assert read_metadata(disguised) == {"note": "text"}


def test_a_pointer_in_place_of_weights_is_called_so(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    for read in (read_tensors, read_metadata):
        with pytest.raises(WeightsError, match="git lfs pull"):
            read(path)
    with pytest.raises(ImageError, match="git lfs pull"):
        load_image(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_is_read_only_where_allowed(tmp_path, zipped):
    path = tmp_path / "weights.safetensors"
    nested = {"a": {"weight": TENSORS["a.weight"]}, "b": torch.nn.Parameter(TENSORS["b"])}
    torch.save(nested, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="allow_pickle=True"):
        read_tensors(path)
    assert same(read_tensors(path, allow_pickle=True), TENSORS)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_metadata(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_torch_file_is_refused_and_not_run(tmp_path, zipped):
    path = tmp_path / "weights.bin"
    torch.save(TENSORS | {"c": Bomb()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="more than plain tensors"):
        read_tensors(path, allow_pickle=True)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_plain_pickle_is_refused_and_not_run(tmp_path, protocol):
    path = tmp_path / "weights.bin"
    path.write_bytes(pickle.dumps({"a": Bomb()}, protocol=protocol))
    for allow in (False, True):
        with pytest.raises(WeightsError, match=r"pickle|plain tensors"):
            read_tensors(path, allow_pickle=allow)


def shared(leaf, *, width, depth):
    for _ in range(depth):
        leaf = dict.fromkeys(map(str, range(width)), leaf)
    return leaf


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"epoch": 3}, "."),
        ({"a": {"b": {"c": {"d": {"e": torch.ones(1)}}}}}, "."),
        ({3: torch.ones(1)}, "."),
        ({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "."),
        ({"a": [torch.ones(1)]}, "."),
        ({"a": torch.ones(1).expand(1 << 30)}, "."),
        ({"a": torch.ones(2, 2).to_sparse()}, "."),
        (torch.ones(1), "."),
        ("text", "."),
        ({"a" * 5000: torch.ones(1)}, "longer names"),
        # What shares is counted before it is written out.
        (shared({}, width=1000, depth=3), "more than 10000"),
        (shared(torch.ones(1), width=1000, depth=3), "more than 10000"),
        (dict.fromkeys(map(str, range(100)), torch.ones(10_000)), "share"),
    ],
    ids=range(13),
)
def test_anything_but_plain_tensors_by_name_is_refused(tmp_path, content, word):
    path = tmp_path / "weights.bin"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=word):
        read_tensors(path, allow_pickle=True)


def test_numpy_files_pipes_folders_and_missing_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    np.save(tmp_path / "objects.npy", np.array([Bomb], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    np.savez_compressed(tmp_path / "packed.npz", a=np.ones(3))
    for path in [*tmp_path.iterdir(), tmp_path, tmp_path / "none", "nul\0byte"]:
        with pytest.raises(WeightsError):
            read_tensors(path, allow_pickle=True)


@pytest.mark.parametrize(
    "data", [b"", b"GGUF" + bytes(60), b"\x89PNG\r\n", b"\x80", b"\x80\x09abc", b"import os\n" * 9]
)
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="neither"):
        read_tensors(path, allow_pickle=True)


def test_every_truncation_is_refused(file):
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_tensors(file)


def test_a_truncated_torch_file_is_refused(tmp_path):
    path = tmp_path / "weights.bin"
    torch.save(TENSORS, path)
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_tensors(path, allow_pickle=True)


def test_compressed_archives_are_refused(tmp_path):
    torch.save(TENSORS, tmp_path / "plain.bin")
    with (
        zipfile.ZipFile(tmp_path / "plain.bin") as plain,
        zipfile.ZipFile(tmp_path / "packed.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match="compressed"):
        read_tensors(tmp_path / "packed.bin", allow_pickle=True)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(offsets=(0, 8))},
        {"a": entry(offsets=(4, 8))},
        {"a": entry(), "b": entry()},
        {"a": entry(shape=(-1,))},
        {"a": entry(shape=(1 << 62, 1 << 62))},
        {"a": entry(shape=(1.0,))},
        {"a": entry(shape=(True,))},
        {"a": entry(dtype="F3")},
        {"a": entry(dtype=["F32"])},
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": entry(offsets=(0,))},
        {"a": [], "b": entry()},
        {"a": entry(), "__metadata__": {"x": 3}},
        {"a": entry(), "__metadata__": []},
        b"{" + b'"a":[' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b"{\xff}",
        b"{" + b" " * MAX_TENSOR_HEADER_BYTES,
    ],
)
def test_lying_headers_are_refused(tmp_path, header):
    path = tmp_path / "weights.safetensors"
    assert read_tensors(raw(path, {"a": entry()}, bytes(4)))["a"].item() == 0
    with pytest.raises(WeightsError):
        read_tensors(raw(path, header, bytes(4)))


def test_too_many_tensors_are_refused(tmp_path):
    header = {f"t{n}": entry(shape=(0,), offsets=(0, 0)) for n in range(MAX_TENSORS + 1)}
    with pytest.raises(WeightsError, match=f"at most {MAX_TENSORS}"):
        read_tensors(raw(tmp_path / "weights.safetensors", header))


def test_a_header_that_promises_the_size_of_memory_is_not_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(WeightsError, match="header of"):
        read_tensors(path)


def test_a_failed_write_keeps_what_was_there(file):
    before = file.read_bytes()
    with no_file_beyond(1024), pytest.raises(InputError, match="cannot be written"):
        write_tensors(file, {"other": torch.ones(1000)}, force=True)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("shape", [(0, 2**63), (0, 2**62, 2**62), [int("9" * 4299)] * 900])
def test_shapes_that_no_tensor_has_are_refused_before_they_are_multiplied(tmp_path, shape):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(raw(path, {"a": entry(shape=shape, offsets=(0, 0))}))


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        (torch.float32, float("nan")),
        (torch.float32, float("inf")),
        (torch.bfloat16, float("-inf")),
        (torch.float8_e4m3fn, float("nan")),
    ],
)
def test_weights_that_are_no_numbers_are_refused(tmp_path, dtype, bad):
    weights = torch.full((3, 3), 1.0).to(dtype)
    save_file({"a": weights, "b": torch.full((9,), 3e38)}, tmp_path / "right.safetensors")
    assert read_tensors(tmp_path / "right.safetensors").keys() == {"a", "b"}
    weights[1, 1] = bad
    save_file({"a": weights}, tmp_path / "weights.safetensors")
    torch.save({"a": weights}, tmp_path / "weights.bin")
    for name in ("weights.safetensors", "weights.bin"):
        with pytest.raises(WeightsError, match="have to be finite"):
            read_tensors(tmp_path / name, allow_pickle=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_storages_are_no_longer_than_what_is_stored(tmp_path, zipped):
    path = tmp_path / "weights.bin"
    torch.save({"a": torch.arange(10.0)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    assert data.count(b"K\n") >= 2  # ten numbers, in the storage and in the shape
    path.write_bytes(data.replace(b"K\n", b"K\xff"))
    with pytest.raises(WeightsError):
        read_tensors(path, allow_pickle=True)
