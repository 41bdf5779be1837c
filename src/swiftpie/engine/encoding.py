"""Encodes pictures and faces as identities, once each."""

import logging
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from swiftpie.arguments import checked
from swiftpie.backbones.components import Components
from swiftpie.engine.runner import Key, Runner, content_key
from swiftpie.errors import InputError
from swiftpie.faces import FaceEncoder
from swiftpie.faces.choose import ChosenFace, choose_face, find_faces
from swiftpie.imageio.decoding import BAND_PIXELS, is_picture, load_image
from swiftpie.masks import load_mask
from swiftpie.models.search import Search, search_of
from swiftpie.pipelines import identity as identities
from swiftpie.pipelines.identity import aligned_crop, face_identity
from swiftpie.types import Identity, Picture

logger = logging.getLogger(__name__)

Face = Picture | ChosenFace | Tensor | NDArray[np.float32]


class Encoding:
    """How a session turns pictures and faces into identities, once each."""

    _runner: Runner
    face_encoder: FaceEncoder | None  # finds faces in photographs

    @checked
    def encode_identity(
        self,
        images: Picture | Sequence[Picture],
        *,
        masks: Picture | Sequence[Picture | None] | None = None,
        cutout: str | Search | Sequence[str | Search] = "auto",
    ) -> Identity:
        """Return the identity of one subject, which any number of later calls can draw.

        Args:
            images: One or several pictures of the subject, as `load_image` reads them.
            masks: One mask a picture, white where the subject is; None finds the subject.
            cutout: How to find it, for all pictures or one entry each: "auto" by transparency, or
                else a network; "none" takes whole pictures, or for published adapters their middle
                squares. "0.2,0.1,0.8,0.95" is a box around the subject, "0.5,0.4 not:0.1,0.9" are
                points on it and off it.

        Raises:
            InputError: A picture cannot be read, or the subject cannot be found in it.
        """
        components = self._runner.cached
        sources = _as_list(images)
        mask_sources = [None] * len(sources) if masks is None else _as_list(masks)
        if len(mask_sources) != len(sources):
            raise InputError(
                f"{len(sources)} pictures came with {len(mask_sources)} masks. Pass one mask for "
                "each picture, and None for a picture whose subject is to be found."
            )
        pictures = [load_image(source) for source in sources]
        regions = [
            None if mask is None else load_mask(mask, picture.size, of_subject=True)
            for picture, mask in zip(pictures, mask_sources, strict=True)
        ]
        searches = _searches(cutout, len(pictures))
        names = [str(source) if isinstance(source, str | Path) else "" for source in sources]
        key = _key_of(components, "identity", pictures, regions, notes=[*map(str, searches)])
        identity = self._runner.cache.get_or_make(
            key,
            lambda: identities.encode_identity(
                components, pictures, masks=regions, searches=searches, names=names
            ),
        )
        for number in identity.left_out:
            logger.warning(
                "Picture %d%s shows no subject that stands out, so it is left out. Give it a mask, "
                "or say where the subject is.",
                *(number, f" ('{names[number - 1]}')" if names[number - 1] else ""),
            )
        return identity

    @checked
    def encode_face(
        self,
        face: Face,
        *,
        encoder: FaceEncoder | None = None,
        number: int | None = None,
        crop: Image.Image | Sequence[Image.Image] | None = None,
    ) -> Identity:
        """Return the identity of a person by the face, which any number of later calls can draw.

        Args:
            face: A photograph, a face found in one, or vectors of a face recogniser.
            encoder: A face encoder, which finds the face; only a photograph needs it. By default
                that of the session, see `with_face_encoder`.
            number: Which face of a photograph, counted from the left from 1; None is the largest.
            crop: The aligned face of each vector, for adapters that read pictures too.

        Raises:
            CapabilityError: No loaded adapter reads faces of this kind.
            InputError: There is no such face, or vectors and crops do not match.
        """
        components, encoder = self._runner.cached, encoder or self.face_encoder
        is_vectors = isinstance(face, Tensor | np.ndarray) and not is_picture(face)
        if not (is_vectors or isinstance(face, ChosenFace)):
            if encoder is None:
                raise InputError(
                    "A photograph came without a face encoder, so no face can be found in it. "
                    "Open one, as FACE_ENCODERS.get('opencv').open(folder), and pass `encoder=`."
                )
            face = choose_face(
                find_faces(encoder, load_image(cast("Picture", face))), number=number
            )
        if isinstance(face, ChosenFace):
            crop, face = aligned_crop(face), face.face.embedding
        vectors = torch.as_tensor(face)
        crops = [crop] if isinstance(crop, Image.Image) else list(crop or [])
        return self._runner.cache.get_or_make(
            _key_of(components, "face", crops, [vectors]),
            lambda: face_identity(components, vectors, crop=crops),
        )


def _key_of(
    components: Components,
    kind: str,
    pictures: Sequence[Image.Image],
    tensors: Sequence[Tensor | None],
    notes: Sequence[str] = (),
) -> Key:
    """Return what an identity depends on: the networks, their frame, and all pixels."""
    preset = components.preset
    parts: list[str | bytes] = [preset.name, str(preset.image_size_px), *notes]
    for picture in pictures:
        parts += [f"{picture.mode} {picture.size}", _digest(picture)]
    known = ("" if tensor is None else tensor for tensor in tensors)
    return content_key(kind, components.fingerprint, *parts, *known)


def _digest(picture: Image.Image) -> bytes:
    """Return the sha256 of all pixels, read in bands so that no second copy exists."""
    digest, rows = sha256(), max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        digest.update(picture.crop((0, top, picture.width, bottom)).tobytes())
    return digest.digest()


def _searches(cutout: str | Search | Sequence[str | Search], count: int) -> list[Search]:
    given = [cutout] * count if isinstance(cutout, str | Search) else list(cutout)
    if len(given) != count:
        raise InputError(
            f"{count} pictures came with {len(given)} cut-outs. Pass one for all pictures, or one "
            'for each, as in `cutout=["auto", "none"]`.'
        )
    return [search_of(search) for search in given]


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - pictures, or what is refused as one
    is_list = isinstance(value, Sequence) and not is_picture(value)
    return list(value) if is_list else [value]
