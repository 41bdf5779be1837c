"""Faces to an `Identity`, for adapters that read the vector of a face recogniser."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, ImageError, InputError
from swiftpie.images import to_tensor
from swiftpie.models.face.encoder import FaceIdentityEncoder
from swiftpie.pipelines.identity import MAX_REFERENCES
from swiftpie.types import Identity


@torch.no_grad()
def face_identity(
    components: Components,
    embedding: Tensor | NDArray[np.float32],
    *,
    crop: Image.Image | Sequence[Image.Image] | None = None,
) -> Identity:
    """Return the identity of the one person that all faces show, for the semantic branch.

    The tokens of several faces stand beside each other, like those of several pictures of a
    subject. So the portrait adapters were trained, a face that is given twice counts as if given
    once, and no vector gets shorter than any that the adapter has seen, as their mean would.

    Args:
        components: The networks that will also generate.
        embedding: 1 to 8 vectors (R, F) of a face recogniser, or a single one (F,); of length 1,
            unless the adapter was published as 'unnorm'.
        crop: For each vector the square picture of the aligned face; FaceID Plus needs it, others
            keep it as the picture of the identity.

    Raises:
        CapabilityError: No adapter that reads faces is loaded.
        InputError: Vectors or crops are missing, of wrong sizes, or do not belong together.
    """
    encoder = _face_encoder(components)
    vectors = _checked_vectors(embedding, encoder.face_width)
    crops = [crop] if isinstance(crop, Image.Image) else list(crop or [])
    _check_crops(crops, num_faces=len(vectors), is_needed=encoder.needs_crops)
    pictures = [to_tensor(one) for one in crops] or _nobody(components, len(vectors))
    return _encode(components, encoder, vectors, pictures, is_seen=bool(crops))


@torch.no_grad()
def null_identity(components: Components, *, num_faces: int = 1) -> Identity:
    """Return the identity of nobody, for the rows of guidance that know no identity.

    As in the pipelines that FaceID was published with, a vector of zeros goes through the
    projection, and with it a picture in which nothing is seen. That differs from an identity
    scale of 0.

    Args:
        components: The networks that will also generate.
        num_faces: Of the identity that it stands beside; repeated tokens change nothing.

    Raises:
        CapabilityError: No adapter that reads faces is loaded.
    """
    encoder = _face_encoder(components)
    vectors = torch.zeros(num_faces, encoder.face_width)
    return _encode(components, encoder, vectors, _nobody(components, num_faces), is_seen=False)


def _encode(
    components: Components,
    encoder: FaceIdentityEncoder,
    vectors: Tensor,
    pictures: Sequence[Tensor],
    *,
    is_seen: bool,
) -> Identity:
    """Return the identity of `vectors` (R, F) with R `pictures`, each (1, 3, H, W)."""
    device, side = components.device, components.preset.image_size_px
    rows = []
    for vector, picture in zip(vectors, pictures, strict=True):
        pixels = picture.to(device)
        seen = torch.full_like(pixels[:, :1], float(is_seen))
        rows.append(encoder(pixels, seen, vector[None].to(device)))
    tokens = torch.cat(rows)
    frames = torch.cat([_resized(one, side) for one in pictures]).to(device)
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        tokens=tokens.flatten(0, 1)[None],
        pooled=tokens[:, 0].mean(0, keepdim=True),
        keys={},
        values={},
        pixels=frames,
        mask=torch.full_like(frames[:, :1], float(is_seen)),
    )


def _face_encoder(components: Components) -> FaceIdentityEncoder:
    """Return the encoder of faces.

    Raises:
        CapabilityError: There is none.
    """
    encoder = components.encoder_of_identity()
    if not isinstance(encoder, FaceIdentityEncoder):
        raise CapabilityError(
            f"Preset {components.preset.name!r} was loaded without an adapter that reads faces. "
            "An IP-Adapter FaceID is needed. Load it with `adapter=`, or make the identity from "
            "pictures with encode_identity()."
        )
    return encoder


def _checked_vectors(embedding: Tensor | NDArray[np.float32], width: int) -> Tensor:
    """Return the vectors as (R, F).

    Raises:
        InputError: They are too many, of another width or no numbers.
    """
    given = torch.as_tensor(embedding)
    vectors = given[None] if given.ndim == 1 else given
    is_one_person = vectors.ndim == 2 and 1 <= len(vectors) <= MAX_REFERENCES
    if not is_one_person or vectors.shape[1] != width:
        raise InputError(
            f"A face embedding of shape {tuple(given.shape)} was given. This adapter needs 1 "
            f"to {MAX_REFERENCES} vectors of {width} numbers. Use the face recogniser that it was "
            "trained with."
        )
    if not vectors.is_floating_point() or not vectors.isfinite().all():
        raise InputError(
            "The face embedding holds something else than finite floating-point numbers. The "
            "vector of a face recogniser is needed. Detect the face again."
        )
    return vectors.float()


def _check_crops(crops: Sequence[Image.Image], *, num_faces: int, is_needed: bool) -> None:
    """Refuse pictures that do not belong to the vectors.

    Raises:
        InputError: One is missing or superfluous.
        ImageError: One is not square.
    """
    if len(crops) != num_faces and (crops or is_needed):
        raise InputError(
            f"{num_faces} face embeddings came with {len(crops)} crops. This adapter needs one "
            f"{'' if is_needed else 'or none '}for each. Pass them as `crop=`."
        )
    for number, crop in enumerate(crops):
        if crop.width != crop.height:
            raise ImageError(
                f"Face crop {number} has {crop.width}x{crop.height} px. A square one of the "
                "aligned face is needed. Cut it out again."
            )


def _nobody(components: Components, num_faces: int) -> list[Tensor]:
    """Return grey pictures."""
    side = components.preset.image_size_px
    return [torch.zeros(1, 3, side, side)] * num_faces


def _resized(picture: Tensor, side: int) -> Tensor:
    small = F.interpolate(picture, size=(side, side), mode="bicubic", antialias=True)
    return small.clamp(-1, 1)
