"""Pictures and masks in every form that diffusers takes, as subjects."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.images import load_image
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import Subject
from swiftpie.types import Identity

Picture = Image.Image | np.ndarray[Any, Any] | Tensor | str | Path
Pictures = Picture | Sequence[Picture | Sequence[Picture]]


def to_picture(value: Picture) -> Image.Image:
    """Return a picture from a PIL image, a path, an array (H, W, C) or a tensor (C, H, W).

    Arrays of floats and tensors are in [0, 1], arrays of bytes in [0, 255]; (H, W) is grey.

    Raises:
        InputError: It is none of these.
    """
    if isinstance(value, Image.Image | str | Path):
        return load_image(value)
    if isinstance(value, Tensor):
        rows = value[0] if value.ndim == 4 and len(value) == 1 else value
        value = rows.detach().float().cpu().movedim(0, -1 if rows.ndim == 3 else 0).numpy()
    if isinstance(value, np.ndarray) and value.ndim == 2:
        value = value[:, :, None]
    if not isinstance(value, np.ndarray) or value.ndim != 3 or value.shape[2] not in {1, 3, 4}:
        shape = getattr(value, "shape", "")
        raise InputError(
            f"A picture was given as {type(value).__name__} {shape}. A PIL image, a path, an array "
            "(H, W, 3) or a tensor (3, H, W) is needed."
        )
    if value.dtype != np.uint8:
        if value.min() < 0 or value.max() > 1:
            raise InputError(
                f"A picture has values from {value.min():.3g} to {value.max():.3g}; 0 to 1 are "
                "needed. Scale it."
            )
        value = (value * 255).round().astype(np.uint8)
    return Image.fromarray(value[:, :, 0] if value.shape[2] == 1 else value)


def pictured_subjects(
    components: Components, pictures: Pictures, masks: Tensor | Sequence[Tensor] | None
) -> list[Subject]:
    """Encode `ip_adapter_image`, one subject an entry; a nested list is one subject's pictures.

    As in diffusers, a mask of n layers (1, n, H, W) belongs to n pictures of one entry, which then
    are subjects of their own.

    Raises:
        InputError: A picture cannot be used, or masks and pictures differ in number.
    """
    entries = [[to_picture(one) for one in entry] for entry in _entries(pictures)]
    regions = None if masks is None else split_masks(masks)
    if regions is not None and len(regions) == len(entries):
        layers = [region.shape[1] for region in regions]
        regions = [layer for region in regions for layer in region.split(1, dim=1)]
        entries = [
            group
            for entry, count in zip(entries, layers, strict=True)
            for group in ([entry] if count == 1 else [[one] for one in entry])
        ]
    identities = [encode_identity(components, entry) for entry in entries]
    return with_masks([Subject(identity) for identity in identities], regions)


def known_subjects(
    identities: Identity | Sequence[Identity], masks: Tensor | Sequence[Tensor] | None
) -> list[Subject]:
    """Return `ip_adapter_image_embeds` as subjects.

    Raises:
        InputError: They are tensors, or masks differ in number.
    """
    given = [identities] if isinstance(identities, Identity) else list(identities)
    if not all(isinstance(one, Identity) for one in given):
        raise InputError(
            f"ip_adapter_image_embeds holds a {type(given[0]).__name__}; it has no detail branch. "
            "Give what `prepare_ip_adapter_image_embeds` returns."
        )
    regions = None if masks is None else split_masks(masks)
    if regions is not None:
        regions = [layer for region in regions for layer in region.split(1, dim=1)]
    return with_masks([Subject(identity) for identity in given], regions)


def split_masks(masks: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return masks, each (1, n, H, W), as `IPAdapterMaskProcessor` gives them or in a list.

    Raises:
        InputError: They are of another shape, or not in [0, 1].
    """
    rows = list(masks.unsqueeze(1)) if isinstance(masks, Tensor) else list(masks)
    for row in rows:
        is_mask = isinstance(row, Tensor) and row.ndim == 4 and len(row) == 1
        if not is_mask or row.min() < 0 or row.max() > 1:
            raise InputError(
                "ip_adapter_masks are tensors (1, n, H, W) in [0, 1], one an entry of "
                "ip_adapter_image. Make them with IPAdapterMaskProcessor().preprocess(…)."
            )
    return rows


def with_masks(subjects: list[Subject], regions: Sequence[Tensor] | None) -> list[Subject]:
    """Return `subjects` with a region (1, 1, H, W) each.

    Raises:
        InputError: There are more or fewer regions.
    """
    if regions is None:
        return subjects
    if len(regions) != len(subjects):
        raise InputError(
            f"{len(regions)} masks were given for {len(subjects)} subjects. Give one each."
        )
    return [
        replace(subject, mask=region.float().cpu())
        for subject, region in zip(subjects, regions, strict=True)
    ]


def _entries(pictures: Pictures) -> Iterable[Sequence[Picture]]:
    """Return each subject's pictures."""
    if isinstance(pictures, Tensor | np.ndarray) and pictures.ndim == 4:
        pictures = list(pictures)
    if isinstance(pictures, list | tuple):
        return [entry if isinstance(entry, list | tuple) else [entry] for entry in pictures]
    return [[pictures]]  # type: ignore[list-item]  # all sequences of pictures are behind us
