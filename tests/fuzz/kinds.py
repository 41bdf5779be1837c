"""What is fuzzed: for every kind of file its hostile cases by seed, and what reads it.

`cases(seed)` yields names and contents; the same seed gives the same cases. `read` takes a content
and an empty folder, and raises nothing but what SwiftPie raises on purpose.
"""

import functools
import io
import itertools
import json
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from safetensors.torch import load, save

import swiftpie
from swiftpie.attention.install import BranchPlan, install
from swiftpie.backbones import adapters as adapter_file
from swiftpie.backbones.adapters import open_adapter
from swiftpie.backbones.load.ip_adapter import load_into
from swiftpie.backbones.load.safe import flatten, read_metadata, read_tensors
from swiftpie.backbones.load.weights import load_network
from swiftpie.imageio.decoding import is_safetensors, load_image
from swiftpie.imageio.originals import read_original
from swiftpie.imageio.writing import encode_image
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.pipelines.identity import crop_subject, frame_of
from swiftpie.pipelines.identity_file import read_identity_header
from tests.fuzz import pictures
from tests.fuzz.damage import damaged, put_together, spelled, taken_apart, tampered, twisted
from tests.tiny.adapters import ADAPTERS, adapter_tensors, make_own_adapter
from tests.tiny.networks import WIDTHS, tiny_unet

CASES = 20  # of a seed
SAMPLES = Path(swiftpie.__file__).parent / "assets" / "samples"
ENCODER = Path(swiftpie.__file__).parent / "assets" / "mini" / "image_encoder"
WEIGHTS = "diffusion_pytorch_model.safetensors"
DRAWN = 16  # one in so many identities and pictures that can be read is also used


class Kind(NamedTuple):
    cases: Callable[[int], Iterator[tuple[str, bytes]]]
    read: Callable[[bytes, Path], object]


def tensor_files(valid, seed, *, key=None, signed=None):
    """Yield damaged safetensors files; those of `key` hold JSON there, which `signed` renews."""
    random = Random(seed)
    header, content = taken_apart(valid)
    for number in range(CASES):
        match random.randrange(4):
            case 0:
                yield f"{number} bytes", damaged(valid, random)
            case 1:
                yield f"{number} header", put_together(twisted(header, random), content)
            case 2 if key is not None:
                facts = twisted(json.loads(header["__metadata__"][key]), random)
                metadata = {"__metadata__": {key: json.dumps(facts)}}
                changed = put_together(header | metadata, content)
                yield f"{number} facts", changed if signed is None else signed(changed, facts)
            case _:
                tensors = tampered(load(valid), random)
                metadata = header.get("__metadata__")
                changed = save({n: t.contiguous() for n, t in tensors.items()}, metadata)
                facts = None if key is None else json.loads(metadata[key])
                yield f"{number} tensors", changed if signed is None else signed(changed, facts)


# --- identities ---------------------------------------------------------------------------------


@functools.cache
def session():
    return swiftpie.load("mini")


@functools.cache
def identity_file():
    from tempfile import TemporaryDirectory

    identity = session().encode_identity(sorted(SAMPLES.glob("*.webp"))[0])
    with TemporaryDirectory() as folder:
        session().save_identity(identity, Path(folder) / "x.spid")
        return (Path(folder) / "x.spid").read_bytes()


def identities(seed):
    return tensor_files(identity_file(), seed, key="swiftpie")


def read_identity(data, folder):
    path = folder / "x.spid"
    path.write_bytes(data)
    is_safetensors(path)
    read_identity_header(path)
    identity = session().load_identity(path)
    if zlib.crc32(data) % DRAWN == 0:
        session().personalize(identity, "a photo of a dog in the snow", seed=0)


# --- weights ------------------------------------------------------------------------------------


@functools.cache
def adapter_files():
    from tempfile import TemporaryDirectory

    torch.manual_seed(0)
    public = save(flatten(adapter_tensors(ADAPTERS["sd15"], tiny_unet("sd15", is_shallow=False))))
    with TemporaryDirectory() as folder:
        own = make_own_adapter(Path(folder) / "own", "sd15", is_shallow=False).read_bytes()
    return public, own


@functools.cache
def branches(plan):
    return install(tiny_unet("sd15", is_shallow=False), plan)


def signed(data, facts):
    try:
        header, content = taken_apart(data)
        unsigned = {name: one for name, one in facts.items() if name != "sha256"}
        unsigned["sha256"] = adapter_file._fingerprint(unsigned, load(data))
        return put_together(header | {"__metadata__": {"swiftpie": json.dumps(unsigned)}}, content)
    except Exception:  # noqa: BLE001 - what cannot be signed stays unchanged
        return data


def adapters(seed):
    public, own = adapter_files()
    if seed % 2:
        return tensor_files(public, seed)
    return tensor_files(own, seed, key="swiftpie", signed=signed)


def read_adapter(data, folder):
    path = folder / "ip-adapter_sd15.safetensors"
    path.write_bytes(data)
    read_metadata(path)
    opened = open_adapter(path)
    if not opened.is_ours:
        load_into(opened, branches(BranchPlan(token_width=WIDTHS["sd15"])))
    else:
        assert opened.plan.token_width <= 4096
        adapter_file.load_adapter(path, installation=branches(opened.plan))


def pickles(seed):
    random = Random(seed)
    tensors = {"image_proj": {"a": torch.ones(2, 3)}, "ip_adapter": {"0.b": torch.zeros(4)}}
    for number in range(CASES):
        buffer = io.BytesIO()
        match random.randrange(5):
            case 0:
                yield f"{number} shared", shared_dictionaries(random)
            case 1:
                torch.save(strange(random), buffer)
                yield f"{number} strange", buffer.getvalue()
            case 2:
                torch.save(tensors, buffer)
                yield f"{number} record", changed_records(buffer.getvalue(), random)
            case _:
                is_zip = random.random() < 0.5
                kept = tensors if is_zip else {"a": torch.ones(2, 3)}  # of one storage, see below
                torch.save(kept, buffer, _use_new_zipfile_serialization=is_zip)
                data = buffer.getvalue() if is_zip else renumbered(buffer.getvalue())
                yield f"{number} bytes", damaged(data, random)


def renumbered(data):
    """Return an older torch file, which tells where its storages were in memory, without that.

    Several would be in the order of these places.
    """
    return re.sub(rb"\d{9,}", lambda place: b"1" * len(place[0]), data)


def shared_dictionaries(random):
    width, depth = random.choice([(3, 3), (30, 4), (300, 3), (300, 4), (2, 40)])
    leaf = random.choice([{}, {"a": torch.ones(1)}, [], ()])
    for _ in range(depth):
        many = [leaf] * width
        leaf = dict(zip(map(str, range(width)), many, strict=True)) if leaf != () else tuple(many)
        leaf = leaf if leaf else ((),)
    buffer = io.BytesIO()
    torch.save({leaf: 1} if depth == 2 else {"all": leaf}, buffer)
    return buffer.getvalue()


def strange(random):
    some = torch.ones(3)
    return random.choice(
        [
            {("a", ("b",)): some},
            {"a" * 100_000: {"b" * 100_000: some}},
            OrderedDict((str(number), some) for number in range(2000)),
            {str(number): some.expand(10**6, 3) for number in range(3)},
            {"a": bytearray(1000), "b": {1, 2}, "c": 1j},
            {"a": some.to(torch.complex64), "b": some.to_sparse()},
            [some] * 5,
            some,
            None,
        ]
    )


def changed_records(data, random):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(out, "w") as changed:
        names = given.namelist()
        chosen = random.choice(names)
        for name in names:
            content = given.read(name)
            if name == chosen:
                content = random.choice(
                    [b"", content[:-1], content * 3, damaged(content, random) or b"x"]
                )
                if name.endswith("data.pkl") and random.random() < 0.5:
                    content = pickle.dumps(random.choice([{"a": 1}, ["a"], "a", {1: {}}]), 2)
            changed.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def read_pickle(data, folder):
    path = folder / "weights.bin"
    path.write_bytes(data)
    for tensor in read_tensors(path, allow_pickle=True).values():
        tensor.sum()


def json_files(valid, random):
    for number in range(CASES):
        if random.random() < 0.3:
            yield f"{number} bytes", damaged(valid, random)
        else:
            yield f"{number} values", spelled(twisted(json.loads(valid), random))


def networks(seed):
    yield from json_files((ENCODER / "config.json").read_bytes(), Random(seed))


def read_network(data, folder):
    (folder / "config.json").write_bytes(data)
    (folder / WEIGHTS).symlink_to(ENCODER / WEIGHTS)
    load_network(ConvImageEncoder.built, folder)


# --- pictures -----------------------------------------------------------------------------------


def some_pictures(seed):
    return itertools.islice(pictures.cases(seed), CASES)


def read_picture(data, folder):
    del folder
    picture = load_image(data)
    encode_image(read_original(data).stored, ".png", metadata={})
    if zlib.crc32(data) % DRAWN == 0:
        frame_of(crop_subject(picture, None), 128)


KINDS = {
    "pictures": Kind(some_pictures, read_picture),
    "identities": Kind(identities, read_identity),
    "adapters": Kind(adapters, read_adapter),
    "pickles": Kind(pickles, read_pickle),
    "networks": Kind(networks, read_network),
}
