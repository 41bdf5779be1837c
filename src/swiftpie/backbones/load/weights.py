"""Strict reading of network weights, with one plain error for each failure."""

import hashlib
import itertools
import json
import math
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from swiftpie.backbones.hub import PICKLES, STEMS, weight_names
from swiftpie.backbones.load.safe import (
    ALIGNMENT_BYTES,
    check_finite,
    check_safetensors,
    kind_of_file,
    read_as,
    shapes_of,
)
from swiftpie.errors import WeightsError, short_reason
from swiftpie.models.network import SkipInit, read_weights

HASHED_HEAD_BYTES = 4 << 20  # A large file's head, longer than any header.
HALVES = (torch.float16, torch.bfloat16)
TEXT_PREFIX = "text_model."  # transformers 5 dropped it from the names in text towers
HEADED_PREFIX = "model."  # Weights below a head, such as one for words.
POSITION_IDS = "position_ids"  # a count from 0 that older files store

# Attention in autoencoders was spelled so when Stable Diffusion was published.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION_NAME = re.compile(r"\.(query|key|value|proj_attn)\.(weight|bias)$")

MAX_CONFIG_BYTES = 1 << 20  # A network's settings take a few KiB.
SPARE_WEIGHTS = 100  # that a network may have besides twice those of its file

STORED = "stored_weights"  # the attribute of a network that says where its weights are

WHOLE_BYTES = 256 << 20  # files up to this size are hashed whole; larger ones at SAMPLES places
SAMPLES, SAMPLE_BYTES = 256, 64 << 10


@dataclass(frozen=True, eq=False)
class NetworkReader:
    """Reads networks in the layout of diffusers, and notes which files, for the fingerprint."""

    device: str
    dtype: torch.dtype
    allow_pickle: bool
    lets_go: bool = False  # Weights are then read whenever the network runs.
    waits: bool = False  # with reading them at all until it runs for the first time
    files: dict[str, Path] = field(default_factory=dict)

    def read(
        self,
        name: str,
        folder: Path,
        build: Callable[[Path], nn.Module],
        *,
        weights: Path | None = None,
        skips: Callable[[str], bool] = lambda _name: False,
    ) -> Any:  # noqa: ANN401 - any network
        """Return the network `name` whose config is in `folder`; `weights` is a file elsewhere.

        It is in `dtype`, frozen, for evaluation. Nothing is drawn at random first. Weights that it
        `skips` by name are not read: `build` made no place for them.

        Raises:
            WeightsError: A file is missing or unreadable, or does not fit the network exactly.
        """
        check_config(folder, name)
        files = [] if weights is None else [weights]
        if weights is None:
            prefers_half = self.dtype in HALVES
            files = weight_files(folder, prefers_half=prefers_half, allow_pickle=self.allow_pickle)
        self.files.update({f"{name} {number}": file for number, file in enumerate(files)})
        network = self._read(folder, build, files, skips).to(self.device)
        align_memory(network)
        return network

    def keep(
        self,
        name: str,
        folder: Path,
        build: Callable[[Path], nn.Module],
        *,
        stays: bool,
        skips: Callable[[str], bool] = lambda _name: False,
    ) -> Any:  # noqa: ANN401 - any network
        """Return what `read` does, letting go of its weights as `rest` does."""
        read = partial(NetworkReader.read, name=name, folder=folder, build=build, skips=skips)
        network = read(self)
        self.rest(network, read, stays=stays)
        return network

    def rest(
        self, network: nn.Module, read: "Callable[[NetworkReader], nn.Module]", *, stays: bool
    ) -> None:
        """Let go of the weights of `network` until it runs, if `lets_go`; `read` reads them again.

        Those that stay are kept while there is room for the others that come.
        """
        if self.lets_go:
            again = replace(self, files={}, waits=False)
            stored = StoredWeights.of(network, partial(read, again), stays=stays)
            network.__dict__[STORED] = stored
            if not stays:
                stored.leave(network)

    def _read(
        self,
        folder: Path,
        build: Callable[[Path], nn.Module],
        files: Sequence[Path],
        skips: Callable[[str], bool],
    ) -> nn.Module:
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= self._tensors_of(file, skips)
        with _fitting(files[0]):
            network = _filled(build, folder, tensors)
        return network.eval().requires_grad_(requires_grad=False)

    def _tensors_of(self, file: Path, skips: Callable[[str], bool]) -> dict[str, Tensor]:
        if self.waits and kind_of_file(file) == "safetensors":
            shapes = shapes_of(check_safetensors(file))
            found = {name: entry for name, entry in shapes.items() if not skips(name)}
            kinds = {n: self.dtype if t.is_floating_point() else t.dtype for n, t in found.items()}
            return {name: _nothing(entry.shape, kinds[name]) for name, entry in found.items()}
        return read_as(
            file,
            self.dtype,
            allow_pickle=self.allow_pickle,
            maps=self.device != "cpu",  # there most would be copied; see `align_memory`
            as_block=self.lets_go,
            skips=skips,
        )


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """How the weights of a network come back that has none in memory while it does not run."""

    read: Callable[[], nn.Module]  # returns a network with the same weights
    shapes: Mapping[str, torch.Size]
    num_bytes: int
    stays: bool  # whether they are kept while there is room for other networks

    @classmethod
    def of(cls, network: nn.Module, read: Callable[[], nn.Module], *, stays: bool) -> Self:
        tensors = network.state_dict()
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        return cls(read, shapes, sum(tensor.nbytes for tensor in tensors.values()), stays)

    def fits(self, network: nn.Module) -> bool:
        """Whether `network` still has the weights that can be read, and has not been rebuilt."""
        found = _weights_of(network)
        return all(
            name in found
            and type(found[name].data) is Tensor  # no quantised one
            and found[name].shape == shape
            and (self.is_away(network) or found[name].is_contiguous())
            for name, shape in self.shapes.items()
        )

    def is_away(self, network: nn.Module) -> bool:
        """Whether `network` has none in memory."""
        first = _weights_of(network)[next(iter(self.shapes))]
        return first.untyped_storage().nbytes() < first.nbytes

    def arrive(self, network: nn.Module) -> None:
        found = self.read().state_dict()
        shapes = {name: entry.shape for name, entry in found.items()}
        if shapes != self.shapes:
            raise WeightsError(
                "The files of a network have changed since it was loaded. Load the preset again."
            )
        own = _weights_of(network)
        for name, tensor in found.items():
            own[name].data = tensor  # in place: other networks may be around the same weights

    def leave(self, network: nn.Module) -> None:
        """Let go of them; what stands for each has its shape, device and type, and is no number."""
        own = _weights_of(network)
        for name, shape in self.shapes.items():
            own[name].data = _nothing(shape, own[name].dtype)


@contextmanager
def all_here(network: nn.Module) -> Iterator[None]:
    """Read the weights of all parts of `network` that are away, and let go of them at the end."""
    places = [(part, part.__dict__.get(STORED)) for part in network.modules()]
    away = [(part, place) for part, place in places if place is not None and place.is_away(part)]
    for part, place in away:
        place.arrive(part)
    try:
        yield
    finally:
        for part, place in away:
            place.leave(part)


def _nothing(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    value = math.nan if dtype.is_floating_point else 0
    return torch.full((), value, dtype=dtype).expand(shape)


def _weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_buffers()), **dict(network.named_parameters())}


def check_config(folder: Path, name: str) -> None:
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"There is no config.json in '{folder}'. The network {name!r} needs a folder in the "
            "layout of diffusers. Check the path, or get it again."
        )


def check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise WeightsError(
            f"There is no tokenizer.json or vocab.json in '{folder}', so prompts cannot be "
            "tokenized. Check the path, or download the folder again."
        )


def read_tokenizer(folder: Path, kind: Any, **options: bool) -> Any:  # noqa: ANN401 - of `kind`
    check_tokenizer(folder)
    try:
        return kind.from_pretrained(folder, **options)
    except Exception as error:  # the library raises nothing more precise
        raise WeightsError(
            f"The tokenizer in '{folder}' is damaged ({short_reason(error)}). Get it again."
        ) from error


def load_network(build: Callable[[Path], nn.Module], folder: Path) -> Any:  # noqa: ANN401 - any network
    """Build one network from its folder and load its weights, strictly, as float32.

    Strictly, because the libraries' own loaders fill what is missing with random numbers. Nothing
    is drawn at random first, and nothing stays in the file: every weight has memory of its own.

    Raises:
        WeightsError: There are no weights, or they do not fit.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(
            f"There are {len(files)} safetensors files in {folder}, and a network has one. "
            "SwiftPie reads only safetensors: convert other formats first, or reinstall."
        )
    check_safetensors(files[0])
    with _fitting(files[0]):
        tensors = read_weights(files[0])
        network = _filled(build, folder, tensors)
    check_finite(tensors, files[0])
    return network


@contextmanager
def _fitting(file: Path) -> Iterator[None]:
    """Raise `WeightsError` for whatever weights and a config of two networks raise."""
    try:
        yield
    except Exception as error:
        raise WeightsError(
            f"The weights in '{file}' do not fit their network ({short_reason(error)}). Get the "
            "weights and the config of one network, or choose another preset."
        ) from error


def _filled(
    build: Callable[[Path], nn.Module], folder: Path, tensors: Mapping[str, Tensor]
) -> nn.Module:
    network = _built(folder, build, most=len(tensors))
    fitted = _spelled_as(tensors, network.state_dict().keys())
    network.load_state_dict(fitted, strict=True, assign=True)
    _count_positions(network)
    return network


def _built(folder: Path, build: Callable[[Path], nn.Module], *, most: int) -> nn.Module:
    """Return a network without numbers that has hardly more than `most` weights."""
    check_settings(folder)
    count, builder = itertools.count(), threading.get_ident()

    def refuse_more(_module: nn.Module, _name: str, _weight: object) -> None:
        if threading.get_ident() == builder and next(count) > 2 * most + SPARE_WEIGHTS:
            raise ValueError(f"its config asks for more weights than the {most} that there are")

    hook = register_module_parameter_registration_hook(refuse_more)
    try:
        with torch.device("meta"), SkipInit():
            return build(folder)
    finally:
        hook.remove()


def check_settings(folder: Path) -> None:
    with (folder / "config.json").open("rb") as file:
        config = json.loads(file.read(MAX_CONFIG_BYTES))
    if not isinstance(config, dict):  # diffusers takes text for a name on the hub
        raise ValueError(f"config.json holds {type(config).__name__} in place of settings")


def fingerprint_of(folder: Path, *, without: str = "") -> str:
    """Return the sha256 (hexadecimal) over names and contents of all weights in `folder`.

    The folder in it that is named `without` does not count.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        name = path.relative_to(folder)
        if name.parts[0] == without:
            continue
        digest.update(name.as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def weight_files(
    folder: Path, *, prefers_half: bool = False, allow_pickle: bool = False
) -> list[Path]:
    """Return the files of one network in the layout of diffusers; see `weight_names`."""
    names = {path.name for path in folder.glob("*") if path.is_file()}
    if found := weight_names(names, prefers_half=prefers_half, allow_pickle=allow_pickle):
        return [folder / name for name in found if not name.endswith(".json")]
    if pickles := names & {*PICKLES}:
        raise WeightsError(
            f"'{folder}' holds its weights as a pickle, '{min(pickles)}', and a pickle can run "
            "code. SwiftPie reads safetensors. Pass `allow_pickle=True` to read "
            "plain tensors from it without running any code."
        )
    raise WeightsError(
        f"There are no weights in '{folder}'. A folder in the layout of diffusers has "
        f"{STEMS[0]}.safetensors or {STEMS[1]}.safetensors, or all pieces of one. Check the path, "
        "or get it again."
    )


def fingerprint_files(files: Mapping[str, Path], *, settings: str) -> str:
    """Return the sha256 (hexadecimal) over what `files` are for, their content and `settings`.

    Files of many GiB are read at 256 places and at their header only: all of it would take longer
    than loading, and further training changes nearly every weight.
    """
    digest = hashlib.sha256(settings.encode())
    for name, path in sorted(files.items()):
        size = path.stat().st_size
        digest.update(f"{name} {size}".encode())
        with path.open("rb") as file:
            if size <= WHOLE_BYTES:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                continue
            digest.update(file.read(HASHED_HEAD_BYTES))
            for index in range(SAMPLES):
                file.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def unknown_fingerprint() -> str:
    """Return what equals the fingerprint of no other networks."""
    return f"exchanged-{uuid.uuid4().hex}"


def _spelled_as(tensors: Mapping[str, Tensor], names: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Return `tensors` by names among `names`, whose spelling has changed over the years."""
    fitted = {}
    for name, tensor in tensors.items():
        if name.endswith(POSITION_IDS):
            continue
        spellings = (
            name,
            name.removeprefix(TEXT_PREFIX),
            name.removeprefix(HEADED_PREFIX),
            TEXT_PREFIX + name,
            OLD_ATTENTION_NAME.sub(lambda m: f".{OLD_ATTENTION[m[1]]}.{m[2]}", name),
        )
        fitted[next((spelling for spelling in spellings if spelling in names), name)] = tensor
    return fitted


def _count_positions(network: nn.Module) -> None:
    """Fill the only buffers that CLIP towers do not read from files."""
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta:
            path, _, leaf = name.rpartition(".")
            assert leaf == POSITION_IDS, name
            counted = torch.arange(buffer.shape[-1]).expand(1, -1)
            network.get_submodule(path).register_buffer(leaf, counted, persistent=False)


def align_memory(network: nn.Module) -> None:
    """Copy weights out of the file that they are mapped from where they lie badly in it.

    There a tensor may start anywhere, and how it is aligned decides how its sums are rounded; with
    this, the same weights give the same bits, whichever file they come from.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.data_ptr() % ALIGNMENT_BYTES:
            tensor.data = tensor.data.clone()
