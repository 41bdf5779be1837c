"""Returns the `Identity` of the subject that pictures show, or of a face."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.backbones.licences import check_commercial
from swiftpie.errors import CapabilityError, ImageError, InputError, NoSubject
from swiftpie.faces.choose import ChosenFace, align
from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie.geometry.shading import without_bounce
from swiftpie.imageio.images import crop_square, fit_square, in_8_bits, side_px, to_tensor
from swiftpie.masks import HALF, check_mask
from swiftpie.models.denoiser import ReferenceFeatures, read_references
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.photo.cutout import CutOut, cut_out
from swiftpie.photo.matte import own_colours, unmixed
from swiftpie.photo.search import ANYWHERE, Search
from swiftpie.types import Cutout, CutoutMethod, Identity
from swiftpie.validation import MAX_REFERENCES, check_references

LARGE_PX = 512  # longest side of a large frame; a megabyte, where twice the detail would take four
# A border cuts a subject off if it crosses more than this share of its width, or of its height at a
# side, by eye. A paw crosses about .1, a tail's tip .04.
LOWER_SHARE, UPPER_SHARE, SIDE_SHARE = 0.05, 0.15, 0.03
BORDERS = ("left", "right", "top")  # all but the lower one, which makes a portrait
FACE_CROP_PX = 224  # what image encoders see of an aligned face


@torch.no_grad()
def encode_identity(
    components: Components,
    images: Sequence[Image.Image],
    *,
    masks: Sequence[Tensor | None] | None = None,
    searches: Sequence[Search] | None = None,
    names: Sequence[str] = (),
) -> Identity:
    """Return the identity of the one subject that all `images` show.

    Args:
        components: The networks that will also generate.
        images: 1 to 8 pictures of the subject, RGB or RGBA.
        masks: For each picture where the subject is, (1, 1, H, W) in [0, 1], or None to find it.
        searches: How, for each picture; by default by its transparency, or else by a network that
            warns where it is not sure.
        names: What a warning calls each picture, such as its file.

    Raises:
        InputError: No picture, or too many.
        ConfigError: The licence of a network that a search names is stricter than was chosen.
        NoSubject: No picture shows a subject; one of several is left out.
    """
    check_references(len(images))
    image_masks = masks if masks is not None else [None] * len(images)
    for mask in image_masks:
        if mask is not None:
            check_mask(mask)
    image_searches = searches if searches is not None else [ANYWHERE] * len(images)
    if components.commercial_only:
        networks = {search.network for search in image_searches} - {""}
        check_commercial(None, {"commercial_only": True}, files=networks)
    size_px, large = components.preset.image_size_px, None
    frames, left_out = list[Frame](), list[int]()
    rows = zip(images, image_masks, image_searches, names or [""] * len(images), strict=True)
    for number, (image, mask, search, name) in enumerate(rows, start=1):
        is_square = mask is None and search.is_whole and not components.family.shows_own_pixels
        picture = middle_square(image) if is_square else image  # as image encoders were trained
        try:
            crop = crop_subject(picture, mask, search, name=name)
        except NoSubject:
            if len(images) == 1:
                raise
            left_out.append(number)
            continue
        if not frames and components.family.shows_own_pixels:  # others place no pixels
            large = large_frame(crop, size_px)
        frames.append(frame_of(crop, size_px))
    if not frames:
        raise NoSubject(
            f"None of the {len(images)} pictures shows a subject that stands out.",
            "Supply masks, or a box around it, as in `cutout=0.2,0.1,0.8,0.95`.",
        )
    pixels = torch.cat([frame.pixels for frame in frames]).to(components.device)
    mask = torch.cat([frame.mask for frame in frames]).to(components.device)
    cutouts = tuple(frame.how for frame in frames)
    identity = identity_of_frames(components, pixels, mask)
    return replace(identity, cutouts=cutouts, large=large, left_out=tuple(left_out))


@torch.no_grad()
def identity_of_frames(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    """Return the identity of frames that are cut out already.

    `pixels` (R, 3, S, S) in [-1, 1] are grey (0) outside of the subject, which `mask`
    (R, 1, S, S) in [0, 1] shows.

    Raises:
        CapabilityError: Nothing reads references: no identity adapter is loaded.
    """
    components.check_knows_subjects()
    text = None
    if components.denoiser.installation.detail:  # else text would be encoded for nothing
        text = components.family.reference_text(components)
        text = components.text.encode([""]) if text is None else text
    networks = components.denoiser, components.image_encoder, components.autoencoder
    features = read_references(*networks, pixels=pixels, mask=mask, empty_text=text)
    by = {"preset": components.preset.name, "fingerprint": components.fingerprint}
    return features.as_identity(pixels, mask, **by)


@torch.no_grad()
def appearance_of_frame(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    """Return the identity of one frame for the semantic branch alone; the denoiser stays idle.

    The arguments are those of `identity_of_frames`, with R = 1.

    Raises:
        CapabilityError: No identity adapter is loaded.
    """
    tokens: Tensor = components.encoder_of_identity()(pixels, mask)
    return _semantic_identity(components, tokens, pixels, mask)


def whole_picture_identity(components: Components, image: Image.Image) -> Identity:
    """Return all of a picture as an identity without detail, as SwiftEdit conditions on it."""
    side = components.preset.image_size_px
    pixels = to_tensor(image.resize((side, side), Image.Resampling.BICUBIC)).to(components.device)
    return appearance_of_frame(components, pixels, torch.ones_like(pixels[:, :1]))


def aligned_crop(choice: ChosenFace) -> Image.Image:
    """Return a face upright and centred, as large as image encoders see it."""
    return align(choice.image, choice.face.landmarks.astype(np.float64), side_px=FACE_CROP_PX)


@torch.no_grad()
def face_identity(
    components: Components,
    embedding: Tensor | NDArray[np.float32],
    *,
    crop: Image.Image | Sequence[Image.Image] | None = None,
) -> Identity:
    """Return the identity of the one person that all faces show, as the loaded adapter reads it.

    FaceID adapters read the vectors, for the semantic branch alone. Other adapters read the crops.
    Tokens of several faces are concatenated, as the portrait adapters were trained; a mean of the
    vectors would be shorter than any vector that an adapter has seen.

    Args:
        components: The networks that will also generate.
        embedding: 1 to 8 vectors (R, F) of a face recogniser, or a single one (F,); of length 1,
            unless the adapter was published as 'unnorm'.
        crop: A square picture of the aligned face for each vector. FaceID Plus and adapters that
            read pictures need it; others keep it as the picture of the identity.

    Raises:
        CapabilityError: No adapter that reads faces is loaded, and there is no crop to look at.
        InputError: Vectors or crops are missing, of wrong sizes, or do not belong together.
    """
    encoder = components.encoder_of_identity()
    crops = [crop] if isinstance(crop, Image.Image) else list(crop or [])
    if not isinstance(encoder, FaceIdentityEncoder):
        return replace(_identity_of_crops(components, crops), is_face=True)
    vectors = _checked_vectors(embedding, encoder.face_width)
    _check_crops(crops, num_faces=len(vectors), is_needed=encoder.needs_crops)
    device, side = components.device, components.preset.image_size_px
    blank, is_seen = torch.zeros(1, 3, side, side), float(bool(crops))
    pictures = [to_tensor(picture) for picture in crops] or [blank] * len(vectors)
    rows, frames = [], []
    for vector, picture in zip(vectors, pictures, strict=True):
        pixels = picture.to(device)
        mask = torch.full_like(pixels[:, :1], is_seen)
        rows.append(encoder(pixels, mask, vector[None].to(device)))
        small = F.interpolate(picture, size=(side, side), mode="bicubic", antialias=True)
        frames.append(small.clamp(-1, 1))
    tokens, pictures_seen = torch.cat(rows), torch.cat(frames).to(device)
    mask = torch.full_like(pictures_seen[:, :1], is_seen)
    return replace(_semantic_identity(components, tokens, pictures_seen, mask), is_face=True)


def subject_in(
    image: Image.Image, mask: Tensor | None, search: Search = ANYWHERE, *, name: str = ""
) -> CutOut:
    """Return the subject at `mask` (1, 1, H, W), or where `search` finds it if that is None."""
    if mask is None:
        return cut_out(image, search, name=name)
    return CutOut(mask, Cutout(CutoutMethod.MASK, 1.0))


def middle_square(image: Image.Image) -> Image.Image:
    """Return the largest square in the middle of `image`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


class Frame(NamedTuple):
    """A subject cut out, centred and upright, as the encoders were trained to see it."""

    pixels: Tensor  # (1, 3, S, S) in [-1, 1], grey (0) outside of the subject
    mask: Tensor  # (1, 1, S, S) in [0, 1]
    how: Cutout


class SubjectCrop(NamedTuple):
    """The square part of a picture around its subject, before it is resized to a frame."""

    pixels: Tensor  # (1, 3, H, W) in [-1, 1]
    mask: Tensor  # (1, 1, H, W) in [0, 1]
    fill: float  # share of the frame's side that the subject covers
    how: Cutout


def crop_subject(
    image: Image.Image, mask: Tensor | None, search: Search = ANYWHERE, *, name: str = ""
) -> SubjectCrop:
    """Return the part of a picture around the subject of `subject_in`, in its own colours."""
    subject = subject_in(image, mask, search, name=name)
    fill = 1.0 if subject.how.way is CutoutMethod.NONE else SUBJECT_FILL
    pixels, cover = crop_square(image, subject.mask, fill=fill)
    if subject.how.way is CutoutMethod.TRANSPARENCY:  # often cropped to the subject
        return SubjectCrop(pixels, cover, fill, subject.how)
    if subject.how.way is not CutoutMethod.NONE:
        cover = unmixed(pixels, cover)
    *cuts_at_sides, is_cut = cuts = _cut_at(subject.mask)
    pixels = own_colours(pixels if is_cut else without_bounce(pixels, cover), cover)
    # What reaches all four borders is a picture that was cropped to it, or a whole one.
    cut_at = "" if all(cuts) else " ".join(itertools.compress(BORDERS, cuts_at_sides))
    return SubjectCrop(pixels, cover, fill, subject.how._replace(is_cut=is_cut, cut_at=cut_at))


def _cut_at(mask: Tensor) -> list[bool]:
    """Whether a subject (1, 1, H, W) ends at the left, right, upper and lower border only."""
    solid = mask[0, 0] > HALF
    wide, high = solid.any(dim=0).sum(), solid.any(dim=1).sum()
    sides = (SIDE_SHARE * high, SIDE_SHARE * high, UPPER_SHARE * wide, LOWER_SHARE * wide)
    rims = (solid[:, 0], solid[:, -1], solid[0], solid[-1])
    return [bool(rim.sum() > least) for rim, least in zip(rims, sides, strict=True)]


def frame_of(crop: SubjectCrop, size_px: int) -> Frame:
    """Return the subject in a frame of that side; a whole picture fills it without a margin."""
    pixels, mask = fit_square(crop.pixels, crop.mask, size_px=size_px, fill=crop.fill)
    return Frame(pixels * mask, mask, crop.how)


def large_frame(crop: SubjectCrop, size_px: int) -> Tensor | None:
    """Return the frame (1, 4, S', S') in 8 bit, premultiplied, as large as the picture shows it.

    None if that is no larger than `size_px`.
    """
    side = min(side_px(crop.mask, crop.fill), LARGE_PX)
    if side <= size_px:
        return None
    colours = (crop.pixels + 1) / 2 * crop.mask  # before it is shrunk, or the ground would shine in
    return in_8_bits(torch.cat(fit_square(colours, crop.mask, size_px=side, fill=crop.fill), dim=1))


def _semantic_identity(
    components: Components, tokens: Tensor, pixels: Tensor, mask: Tensor
) -> Identity:
    """Return an identity without detail of `tokens` (R, K, D), the first of each a summary."""
    by = {"preset": components.preset.name, "fingerprint": components.fingerprint}
    return ReferenceFeatures(tokens, tokens[:, 0], {}, {}).as_identity(pixels, mask, **by)


def _identity_of_crops(components: Components, crops: Sequence[Image.Image]) -> Identity:
    if not crops:
        raise CapabilityError(
            f"Preset {components.preset.name!r} was loaded without an adapter that reads faces. "
            "An IP-Adapter FaceID is needed. Load it with `adapter=`, give the aligned crop, or "
            "make the identity from pictures with encode_identity()."
        )
    _check_crops(crops, num_faces=len(crops), is_needed=True)
    side = components.preset.image_size_px
    squares = (crop.resize((side, side), Image.Resampling.BICUBIC) for crop in crops)
    pixels = torch.cat([*map(to_tensor, squares)]).to(components.device)
    return identity_of_frames(components, pixels, torch.ones_like(pixels[:, :1]))


def _checked_vectors(embedding: Tensor | NDArray[np.float32], width: int) -> Tensor:
    numbers = torch.as_tensor(embedding)
    vectors = numbers[None] if numbers.ndim == 1 else numbers
    is_one_person = vectors.ndim == 2 and 1 <= len(vectors) <= MAX_REFERENCES
    if not is_one_person or vectors.shape[1] != width:
        raise InputError(
            f"A face embedding of shape {tuple(numbers.shape)} was given. This adapter needs 1 "
            f"to {MAX_REFERENCES} vectors of {width} numbers. Use the face recogniser that it was "
            "trained with."
        )
    if not vectors.is_floating_point() or not vectors.isfinite().all():
        raise InputError(
            "The face embedding is not a vector of finite floating-point numbers, as face "
            "recognisers return it. Detect the face again."
        )
    return vectors.float()


def _check_crops(crops: Sequence[Image.Image], *, num_faces: int, is_needed: bool) -> None:
    if len(crops) != num_faces and (crops or is_needed):
        raise InputError(
            f"{num_faces} face embeddings cannot be combined with {len(crops)} crops: this adapter "
            f"needs one {'' if is_needed else 'or none '}for each. Pass them as `crop=`."
        )
    for number, crop in enumerate(crops):
        if crop.width != crop.height:
            raise ImageError(
                f"Face crop {number} has {crop.width}x{crop.height} px. A square one of the "
                "aligned face is needed. Cut it out again."
            )
