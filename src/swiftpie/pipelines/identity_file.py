"""Identities as safetensors files; whatever a file says is checked before it is used."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor

from swiftpie.arguments import checked
from swiftpie.attention.condition import token_grid
from swiftpie.backbones.components import Components
from swiftpie.backbones.load.safe import (
    METADATA,
    check_safetensors,
    header_in,
    read_tensors,
    tensors_in,
)
from swiftpie.errors import InputError, WeightsError, short_reason
from swiftpie.imageio.atomic import write_file
from swiftpie.imageio.decoding import SMALL
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.identity import BORDERS, LARGE_PX, identity_of_frames
from swiftpie.types import Cutout, Identity
from swiftpie.validation import MAX_REFERENCES

FORMAT = "swiftpie-identity/1"
KEY = "swiftpie"  # The facts' name in the file's metadata.
KEYS, VALUES = "keys/", "values/"  # before the layers' names
PLAIN = ("tokens", "pooled", "pixels", "mask")  # the fields that are a tensor each
LARGE = "large"  # the optional field with the first frame as large as its picture shows it
MAX_TOKENS = 1024  # Tokens of a picture; the largest public projector makes 257.
ROUNDING = 1e-2  # Half precision and resizing move values so far.
MAX_TEXT = 200  # characters of a preset's name or of a fingerprint
MOST_SMALL_BYTES = 16 << 20  # unpacked, so that a few bytes cannot fill the memory

T = TypeVar("T")


@checked
def save_identity(identity: Identity, path: str | Path, *, force: bool = True) -> None:
    """Write `identity` as one safetensors file, atomically.

    Raises:
        InputError: The file exists (and not `force`), or its folder cannot be written.
    """
    write_file(path, identity_bytes(identity), force=force)


def identity_bytes(identity: Identity, *, is_small: bool = False) -> bytes:
    """Return what `save_identity` writes.

    With `is_small`, features of pictures are left out, as `prepare_identity` computes the same, and
    the rest is compressed, to a tenth. Faces, what was tuned and large files are written whole.
    """
    if is_small and not (identity.is_face or identity.tuned):
        plain = identity_bytes(identity.without_detail())
        if len(plain) <= MOST_SMALL_BYTES:
            return SMALL + zlib.compress(plain, 1)
    header = {
        "format": FORMAT,
        "preset": identity.preset,
        "fingerprint": identity.fingerprint,
        "cutouts": [list(cutout) for cutout in identity.cutouts],
        "is_face": identity.is_face,
        "tuned": identity.tuned,
    }
    whole = {name: tensor.cpu().contiguous() for name, tensor in _tensors_of(identity).items()}
    return save(whole, metadata={KEY: json.dumps(header)})


@dataclass(frozen=True)
class IdentityFile:
    """The header of an identity file; no network has checked it."""

    preset: str  # printable
    fingerprint: str
    shapes: Mapping[str, tuple[int, ...]]  # by the tensor's name
    cutouts: tuple[Cutout, ...] = ()  # One for each picture, where known.
    is_face: bool = False  # whether it is a person by the face
    tuned: str = ""  # how it was tuned, printable; empty if it was not

    @property
    def num_references(self) -> int:
        """Pictures of the subject."""
        return self.shapes["pixels"][0]

    @property
    def num_tokens(self) -> int:
        """Identity tokens, of all pictures together."""
        return self.shapes["tokens"][1]

    @property
    def picture_px(self) -> int:
        """Side of the largest picture of the subject in the file, which anyone can look at."""
        return self.shapes.get(LARGE, self.shapes["pixels"])[-1]


def load_identity(path: str | Path, components: Components) -> Identity:
    """Read an identity file that the same networks wrote.

    Raises:
        InputError: The file is missing, no identity file, or damaged.
        WeightsError: Other networks wrote it, so its features would mean nothing here.
    """
    return prepare_identity(read_identity_file(path, components), components, name=str(path))


def read_identity_file(path: str | Path, components: Components) -> Identity:
    """Return an identity, which `prepare_identity` completes; errors are `load_identity`'s."""
    header = read_identity_header(path)
    _check_weights(header, components, name=str(path))
    if small := _small_in(path):
        return read_identity(small, str(path))
    try:
        return _identity_of(header, read_tensors(path))
    except WeightsError as error:
        raise InputError(_damaged(path, error)) from error


def read_identity(data: bytes, name: str) -> Identity:
    """Return the identity in the bytes of a file; errors call the file `name`.

    Only `prepare_identity` checks that networks can use it.

    Raises:
        InputError: It is no identity file, or damaged.
    """
    data = _unpacked(data, name)
    header = _header(partial(header_in, data, name), name)
    try:
        return _identity_of(header, tensors_in(data, name))
    except WeightsError as error:
        raise InputError(_damaged(name, error)) from error


def prepare_identity(identity: Identity, components: Components, *, name: str) -> Identity:
    """Return an identity of `read_identity` on the device of the networks that made it.

    What a small file lacks is computed.

    Raises:
        InputError: It is damaged.
    """
    tensors = _tensors_of(identity)
    _check_weights(identity, components, name=name)
    try:
        _check_shapes({n: tuple(tensor.shape) for n, tensor in tensors.items()}, components)
        _check_types(tensors, components)
        _check_ranges(tensors, components)
    except ValueError as error:
        raise InputError(_damaged(name, error)) from error
    identity = identity.to(components.device)
    if not lacks_features(identity, components):
        return identity
    made = identity_of_frames(components, identity.pixels, identity.mask)
    return replace(identity, keys=made.keys, values=made.values)


def lacks_features(identity: Identity, components: Components) -> bool:
    """Whether an identity is of a small file, for networks that read more of pictures."""
    is_of_pictures = not (identity.is_face or identity.tuned or identity.keys)
    return is_of_pictures and bool(components.denoiser.installation.detail)


def read_identity_header(path: str | Path) -> IdentityFile:
    """Return the header of an identity file; no tensor is read."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}. Write one with `identity save`.")
    if small := _small_in(path):
        return _header(partial(header_in, _unpacked(small, path), str(path)), path)
    return _header(partial(check_safetensors, path), path)


def _small_in(path: str | Path) -> bytes:
    """Return the bytes of a small file, nothing of another."""
    with Path(path).open("rb") as file:
        start = file.read(len(SMALL))
        return start + file.read(MOST_SMALL_BYTES) if start == SMALL else b""


def _unpacked(data: bytes, path: str | Path) -> bytes:
    """Return the bytes of a plain file."""
    if not data.startswith(SMALL):
        return data
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(data[len(SMALL) :], MOST_SMALL_BYTES)
    except zlib.error as error:
        raise InputError(_damaged(path, error)) from error
    if not unpacking.eof:
        raise InputError(_damaged(path, "it is cut off, or too large"))
    return plain


def _header(read: Callable[[], dict[str, Any]], path: str | Path) -> IdentityFile:
    """Check and return the header that `read` returns."""
    try:
        entries = read()
        header = json.loads(entries.pop(METADATA)[KEY])
        written = str(header["format"])
        preset, fingerprint = (header[name] for name in ("preset", "fingerprint"))
        stored, is_face = header.get("cutouts", []), header.get("is_face", False)
        tuned = header.get("tuned", "")
    except Exception as error:  # an unchecked header holds values of any type
        reason = f"no {error}" if isinstance(error, KeyError) else short_reason(error)
        raise InputError(
            f"{path} is not an identity file ({reason}). Write one with `swiftpie identity save`."
        ) from error
    if written != FORMAT:
        raise InputError(
            f"{path} has format {short_reason(written)!r}; this version reads {FORMAT!r}. "
            "Encode the pictures again."
        )
    try:
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        for text in (preset, fingerprint, tuned):
            if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
                raise ValueError("its preset, fingerprint or tuning is no short text")
        _check_form(shapes, is_face)
        cutouts = _read_cutouts(stored, pictures=shapes["pixels"][0])
    except ValueError as error:
        raise InputError(_damaged(path, error)) from error
    return IdentityFile(preset, fingerprint, shapes, cutouts, is_face, tuned)


def _tensors_of(identity: Identity) -> dict[str, Tensor]:
    tensors = {name: getattr(identity, name) for name in PLAIN}
    if identity.large is not None:
        tensors[LARGE] = identity.large
    tensors |= {f"{KEYS}{name}": rows for name, rows in identity.keys.items()}
    return tensors | {f"{VALUES}{name}": rows for name, rows in identity.values.items()}


def _identity_of(header: IdentityFile, tensors: Mapping[str, Tensor]) -> Identity:
    return Identity(
        preset=header.preset,
        fingerprint=header.fingerprint,
        cutouts=header.cutouts,
        left_out=(),
        named=None,  # files may have any name, so no library word belongs to them
        keys=_below(tensors, KEYS),
        values=_below(tensors, VALUES),
        **{name: tensors[name] for name in PLAIN},
        large=tensors.get(LARGE),
        is_face=header.is_face,
        tuned=header.tuned,
    )


def _check_weights(made: IdentityFile | Identity, components: Components, *, name: str) -> None:
    """Check that these networks made an identity."""
    if made.fingerprint != components.fingerprint:
        raise WeightsError(
            f"{name} was encoded by other weights (preset {made.preset!r}) than those "
            f"loaded (preset {components.preset.name!r}). Encode the pictures again."
        )


def _check_form(shapes: Mapping[str, tuple[int, ...]], is_face: object) -> None:
    """Check what the identities of all networks have in common."""
    if not isinstance(is_face, bool):
        raise ValueError("whether it is a face is neither true nor false")
    if missing := [name for name in PLAIN if name not in shapes]:
        raise ValueError(f"it has no {missing[0]}")
    match [shapes[name] for name in PLAIN]:
        case (
            [1, tokens, width],
            [1, pooled_width],
            [pictures, 3, height, side],
            [masks, 1, mask_height, mask_side],
        ) if (
            width == pooled_width
            and pictures == masks
            and len({height, side, mask_height, mask_side}) == 1
            and 1 <= pictures <= MAX_REFERENCES
            and 1 <= tokens <= MAX_TOKENS * pictures
            and tokens % pictures == 0
        ):
            pass
        case _:
            raise ValueError("its tokens, pixels and mask do not belong together")
    match shapes.get(LARGE):
        case None:
            pass
        case [1, 4, height, side] if height == side and shapes["pixels"][-1] < side <= LARGE_PX:
            pass
        case other:
            raise ValueError(f"its large frame has the shape {other}")
    keys, values = _below(shapes, KEYS), _below(shapes, VALUES)
    if keys != values or len(shapes) != len(PLAIN) + (LARGE in shapes) + 2 * len(keys):
        raise ValueError("its keys and values do not belong together")


def _read_cutouts(stored: object, *, pictures: int) -> tuple[Cutout, ...]:
    """Return how the subject was cut out of each picture, as the header says."""
    found = []
    for entry in stored if isinstance(stored, list) else [None]:
        match entry:
            case [str(way), (int() | float() | None) as sure, *rest] if [*map(type, rest)] in (
                [],
                [bool],
                [bool, str],
            ):
                is_plain = len(way) <= MAX_TEXT and way.isprintable()
                is_plain &= {*" ".join(rest[1:]).split()} <= {*BORDERS}
                if not is_plain or not (sure is None or 0 <= sure <= 1):
                    raise ValueError("how it was cut out cannot be read")
                found.append(Cutout(way, sure, *rest))
            case _:
                raise ValueError("how it was cut out cannot be read")
    if len(found) not in {0, pictures}:
        raise ValueError("how it was cut out is not given for each picture")
    return tuple(found)


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], components: Components) -> None:
    """Check that shapes are those of identities that these networks make."""
    installation, preset = components.denoiser.installation, components.preset
    pictures, side = shapes["pixels"][0], shapes["pixels"][-1]
    cells = side // preset.latent_cell_px
    if side != preset.image_size_px or shapes["tokens"][2] != installation.plan.token_width:
        raise ValueError(f"its pictures or tokens are of other sizes than {preset.name!r} makes")
    if LARGE in shapes and not components.family.shows_own_pixels:
        raise ValueError(f"{preset.name!r} makes no large frames")
    keys = _below(shapes, KEYS)
    layers = installation.detail
    if keys and keys.keys() != layers.keys():
        raise ValueError("its layers are not those of the denoiser")
    for name, shape in keys.items():
        if len(shape) != 3 or shape[0] != 1 or shape[2] != layers[name].width:
            raise ValueError(f"the keys of {name} have the shape {shape}")
        num_cells, rest = divmod(shape[1], pictures)
        if rest:
            raise ValueError(f"the keys of {name} are not as many for each picture")
        token_grid(num_cells, cells, cells)


def _check_types(tensors: Mapping[str, Tensor], components: Components) -> None:
    weight: Tensor = next(components.denoiser.installation.network.parameters())
    usual = {torch.float32, weight.dtype}
    if wrong := {tensor.dtype for name, tensor in tensors.items() if name != LARGE} - usual:
        raise ValueError(f"it holds {wrong.pop()}, which these networks do not compute in")
    if LARGE in tensors and tensors[LARGE].dtype is not torch.uint8:
        raise ValueError(f"its large frame holds {tensors[LARGE].dtype} instead of bytes")


def _check_ranges(tensors: Mapping[str, Tensor], components: Components) -> None:
    """Check that pictures and masks have values of pictures and masks, and show a subject."""
    for name, lowest in (("pixels", -1), ("mask", 0)):
        low, high = tensors[name].float().aminmax()
        if not (low >= lowest - ROUNDING and high <= 1 + ROUNDING):
            raise ValueError(f"its {name} range from {low:.3g} to {high:.3g}, not {lowest} to 1")
    shown = tensors["mask"].flatten(1).amax(1) > ROUNDING
    # A face identity without a crop has grey pictures and empty masks: its encoder reads a vector.
    is_face = isinstance(components.image_encoder, FaceIdentityEncoder)
    if not shown.all() and (shown.any() or not is_face or tensors["pixels"].any()):
        raise ValueError("the mask of a picture is empty")
    if LARGE in tensors:
        lit, alpha = tensors[LARGE].int().split((3, 1), dim=1)
        if not alpha.any() or (lit > alpha + 1).any():  # each is rounded by itself
            raise ValueError("its large frame is empty, or brighter than its mask allows")


def _damaged(path: str | Path, reason: object) -> str:
    return f"{path} is damaged ({short_reason(reason)}). Encode the pictures again."


def _below(values: Mapping[str, T], prefix: str) -> dict[str, T]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
