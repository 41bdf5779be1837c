"""Pictures of a subject to an `Identity`, and identities as files."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from swiftpie.backbones.checkpoints.safe import MAX_HEADER_BYTES
from swiftpie.backbones.components import Components
from swiftpie.errors import InputError, WeightsError
from swiftpie.files import write_file
from swiftpie.images import cut_square, to_tensor
from swiftpie.layout import SUBJECT_FILL
from swiftpie.masks import check_mask
from swiftpie.models.cutout import subject_mask
from swiftpie.models.denoiser import read_references
from swiftpie.types import Identity

FORMAT = "swiftpie-identity/1"
MAX_REFERENCES = 8
PLAIN = ("tokens", "pooled", "pixels", "mask")  # the fields that are a tensor each


@torch.no_grad()
def encode_identity(
    components: Components,
    images: Sequence[Image.Image],
    *,
    masks: Sequence[Tensor | None] | None = None,
) -> Identity:
    """Return the identity of the one subject that all `images` show.

    Args:
        components: The networks that will also generate.
        images: 1 to 8 pictures of the subject, RGB or RGBA.
        masks: For each picture where the subject is, (1, 1, H, W) in [0, 1], or None to find it
            by transparency or against a plain background.

    Raises:
        InputError: No picture, too many, or a subject that cannot be found.
    """
    if not 1 <= len(images) <= MAX_REFERENCES:
        raise InputError(
            f"{len(images)} reference pictures were given; an identity needs 1 to "
            f"{MAX_REFERENCES} of one subject."
        )
    given = masks if masks is not None else [None] * len(images)
    for mask in given:
        if mask is not None:
            check_mask(mask)
    frames = [
        canonical_frame(image, mask, components.preset.image_size_px)
        for image, mask in zip(images, given, strict=True)
    ]
    pixels = torch.cat([frame[0] for frame in frames]).to(components.device)
    mask = torch.cat([frame[1] for frame in frames]).to(components.device)
    return identity_of_frames(components, pixels, mask)


@torch.no_grad()
def identity_of_frames(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    """Return the identity of frames that are cut out already.

    `pixels` (R, 3, S, S) in [-1, 1] are grey (0) outside of the subject, which `mask`
    (R, 1, S, S) in [0, 1] shows.

    Raises:
        CapabilityError: No identity adapter is loaded.
    """
    features = read_references(
        components.denoiser,
        components.encoder_of_identity(),
        components.autoencoder,
        pixels=pixels,
        mask=mask,
        empty_text=components.text.encode([""]),
    )
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        tokens=features.tokens.flatten(0, 1)[None],
        pooled=features.pooled.mean(0, keepdim=True),
        keys={name: rows.flatten(0, 1)[None] for name, rows in features.keys.items()},
        values={name: rows.flatten(0, 1)[None] for name, rows in features.values.items()},
        pixels=pixels,
        mask=mask,
    )


@torch.no_grad()
def appearance_of_frame(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    """Return the identity of one frame for the semantic branch alone; the denoiser stays idle.

    The arguments are those of `identity_of_frames`, with R = 1.

    Raises:
        CapabilityError: No identity adapter is loaded.
    """
    tokens: Tensor = components.encoder_of_identity()(pixels, mask)
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        tokens=tokens,
        pooled=tokens[:, 0],
        keys={},
        values={},
        pixels=pixels,
        mask=mask,
    )


def whole_picture_identity(components: Components, image: Image.Image) -> Identity:
    """Return all of a picture as an identity without detail, as SwiftEdit conditions on it.

    Raises:
        CapabilityError: No identity adapter is loaded.
    """
    side = components.preset.image_size_px
    square = image.resize((side, side), Image.Resampling.BICUBIC)
    pixels = to_tensor(square).to(components.device)
    return appearance_of_frame(components, pixels, torch.ones_like(pixels[:, :1]))


def save_identity(identity: Identity, path: str | Path, *, force: bool = False) -> None:
    """Write `identity` as one safetensors file, atomically.

    Raises:
        InputError: The file exists (and not `force`), or its folder cannot be written.
    """
    tensors = {name: getattr(identity, name) for name in PLAIN}
    tensors |= {f"keys/{name}": value for name, value in identity.keys.items()}
    tensors |= {f"values/{name}": value for name, value in identity.values.items()}
    header = {"format": FORMAT, "preset": identity.preset, "fingerprint": identity.fingerprint}
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_file(path, save(whole, metadata={"swiftpie": json.dumps(header)}), force=force)


def load_identity(path: str | Path, components: Components) -> Identity:
    """Read an identity file that the same networks wrote.

    Raises:
        InputError: The file is missing or no identity file.
        WeightsError: Other networks wrote it, so its features would mean nothing here.
    """
    header = read_identity_header(path)
    if header["fingerprint"] != components.fingerprint:
        raise WeightsError(
            f"{path} was encoded by other weights (preset {header['preset']!r}) than the ones "
            f"loaded (preset {components.preset.name!r}). Encode the pictures again."
        )
    with safe_open(str(path), framework="pt", device=str(components.device)) as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    return Identity(
        preset=header["preset"],
        fingerprint=header["fingerprint"],
        keys=_below(tensors, "keys/"),
        values=_below(tensors, "values/"),
        **{name: tensors[name] for name in PLAIN},
    )


def read_identity_header(path: str | Path) -> dict[str, str]:
    """Return format, preset and fingerprint of an identity file.

    Raises:
        InputError: The file is missing or no identity file.
    """
    try:
        with safe_open(str(path), framework="pt") as stored:
            header: dict[str, str] = json.loads((stored.metadata() or {})["swiftpie"])
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}. Write one with `identity save`.") from error
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{path} is not an identity file ({error}). Write one with `swiftpie identity save`."
        ) from error
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {header.get('format')!r}; this version reads {FORMAT!r}. "
            "Encode the pictures again."
        )
    return header


def is_identity_file(path: str | Path) -> bool:
    """Whether `path` holds safetensors rather than a picture, told by its first bytes."""
    try:
        if not Path(path).is_file():  # a pipe would wait for somebody to write
            return False
        with Path(path).open("rb") as file:
            start = file.read(9)
    except (OSError, ValueError):
        return False
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES


def canonical_frame(image: Image.Image, mask: Tensor | None, size_px: int) -> tuple[Tensor, Tensor]:
    """Cut the subject out, centred and upright, as the encoders were trained to see it.

    `mask` (1, 1, H, W) in [0, 1] is where it is; None finds it. Returns pixels (1, 3, S, S), grey
    (0) outside of the subject, and its mask (1, 1, S, S), where S is `size_px`.
    """
    found = subject_mask(image) if mask is None else mask
    pixels, fitted = cut_square(image, found, size_px=size_px, fill=SUBJECT_FILL)
    return pixels * fitted, fitted


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
