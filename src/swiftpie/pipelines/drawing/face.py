"""FastFace: a found face to an `Identity`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, ImageError, InputError
from swiftpie.faces.align import align
from swiftpie.faces.choose import ChosenFace
from swiftpie.imageio.images import to_tensor
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.identity import MAX_REFERENCES, identity_of_frames
from swiftpie.types import Identity

CROP_PX = 224  # what image encoders see of an aligned face


def aligned_crop(chosen: ChosenFace) -> Image.Image:
    """Return a face upright and centred, as large as image encoders see it."""
    landmarks = chosen.face.landmarks.astype(np.float64)
    return align(chosen.image, landmarks, side_px=CROP_PX)


@torch.no_grad()
def face_identity(
    components: Components,
    embedding: Tensor | NDArray[np.float32],
    *,
    crop: Image.Image | Sequence[Image.Image] | None = None,
) -> Identity:
    """Return the identity of the one person that all faces show, as the loaded adapter reads it.

    Adapters of the FaceID kind read the vectors, for the semantic branch alone; others look at
    the crops.

    The tokens of several faces stand beside each other, like those of several pictures of a
    subject. So the portrait adapters were trained, a face that is given twice counts as if given
    once, and no vector gets shorter than any that the adapter has seen, as their mean would.

    `embedding` is 1 to 8 vectors (R, F) of a face recogniser, or a single one (F,); of length 1,
    unless the adapter was published as 'unnorm'. `crop` is for each vector the square picture of
    the aligned face; FaceID Plus needs it, and so do adapters that look at pictures. Others keep
    it as the picture of the identity.

    Raises:
        CapabilityError: No adapter that reads faces is loaded, and there is no crop to look at.
        InputError: Vectors or crops are missing, of wrong sizes, or do not belong together.
    """
    encoder = components.encoder_of_identity()
    crops = [crop] if isinstance(crop, Image.Image) else list(crop or [])
    if not isinstance(encoder, FaceIdentityEncoder):
        return _identity_of_crops(components, crops)
    vectors = _checked_vectors(embedding, encoder.face_width)
    _check_crops(crops, num_faces=len(vectors), is_needed=encoder.needs_crops)
    device, side = components.device, components.preset.image_size_px
    pictures = [to_tensor(one) for one in crops] or [torch.zeros(1, 3, side, side)] * len(vectors)
    rows, frames, is_seen = [], [], float(bool(crops))
    for vector, picture in zip(vectors, pictures, strict=True):
        pixels = picture.to(device)
        rows.append(
            encoder(pixels, torch.full_like(pixels[:, :1], is_seen), vector[None].to(device))
        )
        small = F.interpolate(picture, size=(side, side), mode="bicubic", antialias=True)
        frames.append(small.clamp(-1, 1))
    tokens, shown = torch.cat(rows), torch.cat(frames).to(device)
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        tokens=tokens.flatten(0, 1)[None],
        pooled=tokens[:, 0].mean(0, keepdim=True),
        keys={},
        values={},
        pixels=shown,
        mask=torch.full_like(shown[:, :1], is_seen),
    )


def _identity_of_crops(components: Components, crops: Sequence[Image.Image]) -> Identity:
    if not crops:
        raise CapabilityError(
            f"Preset {components.preset.name!r} was loaded without an adapter that reads faces. "
            "An IP-Adapter FaceID is needed. Load it with `adapter=`, give the aligned crop, or "
            "make the identity from pictures with encode_identity()."
        )
    _check_crops(crops, num_faces=len(crops), is_needed=True)
    side = components.preset.image_size_px
    pixels = torch.cat(
        [to_tensor(one.resize((side, side), Image.Resampling.BICUBIC)) for one in crops]
    ).to(components.device)
    return identity_of_frames(components, pixels, torch.ones_like(pixels[:, :1]))


def _checked_vectors(embedding: Tensor | NDArray[np.float32], width: int) -> Tensor:
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
