"""Pictures of a subject, or of a face, to an `Identity`."""

import itertools
import math
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
from swiftpie.errors import CapabilityError, ImageError, InputError, NoSubject
from swiftpie.faces.choose import ChosenFace, align
from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie.geometry.shading import without_bounce
from swiftpie.imageio.images import (
    carried_on,
    crop_square,
    extrapolate,
    fit_square,
    halved,
    in_8_bits,
    mask_to_pil,
    resized,
    side_px,
    to_pil,
    to_tensor,
)
from swiftpie.masks import HALF, check_mask, grow
from swiftpie.models.cutout import CutOut, cut_out
from swiftpie.models.denoiser import ReferenceFeatures, read_references
from swiftpie.models.outline import GUIDE_PIXELS, box_mean, colours_apart, matted, pooled
from swiftpie.models.search import ANYWHERE, Search
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.types import Cutout, CutoutMethod, Identity
from swiftpie.validation import MAX_REFERENCES, check_references

LARGE_PX = 512  # longest side of a large frame; a megabyte, where twice the detail would take four
SOLID = 0.95  # A mask below it is an edge, which shows some of the ground.
RIMS = 90  # rims as wide in a longer side: so far an outline may be off
APART = 0.35  # Distance from which colours in [-1, 1] tell a mixture.
STEEPER = 1.5  # times, so that noise in plain ground leaves no veil
TELLING, FOLLOWED = (2.0, 5.0), (0.0, 2.0)  # Spreads apart, for a mixture and for a hard rim.
# Squared spreads times the share of a matte far from the outline, and what is added to it: hair.
FURRED, SOFT = (0.4, 0.8), 0.005
# Grain of a subject over its ground's: less has no hair, and a matte shows the ground's. In 8 bits.
SMOOTH, GRAIN = (0.15, 0.25), 2e-5
EDGE_PX = 1.6  # Width of a hard rim in the photograph.
# A hard rim has no bumps of so many pixels, but where the outline loses so much of its own form.
EVEN_PX, LOST = 6.5, (0.08, 0.25)
# From which mean width of edges that colours tell the others are softer, so many times that, and
# which share they tell: hard edges are 1.2 to 2.5 wide, of short fur 3 and of long fur 5.
SHARP_PX, SOFTER, MANY = 2.6, 2.0, 0.25
UNTOLD = 30.0  # times as much as colours the outline counts where they do not tell
MATTED_PX = 512  # longest side of a matted picture; of a larger one, a smaller copy is
EDGES = 320  # edges as wide in a longer side: so far within a mask it may show some, too
FAINT, THIN = 0.02, 0.2  # Opacity that is just seen; weight of the colours so near a rim.
GAPS = 1.25  # A pixel counts as covered at most so many times what its colour says: hair has gaps.
# Shares of its width that the lower and the upper border cut, and of its height that a side does: a
# paw is a tenth, the end of a tail .04.
LOWER_SHARE, UPPER_SHARE, SIDE_SHARE = 0.05, 0.15, 0.03
BORDERS = ("left", "right", "top")  # The others than the lower one, whose cut is a portrait's.
OUTLINES = frozenset((CutoutMethod.MASK, CutoutMethod.NETWORK, CutoutMethod.COLOUR))  # no mattes
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
        NoSubject: No picture shows a subject; one of several is left out.
    """
    check_references(len(images))
    given = masks if masks is not None else [None] * len(images)
    for mask in given:
        if mask is not None:
            check_mask(mask)
    how = searches if searches is not None else [ANYWHERE] * len(images)
    size_px, large = components.preset.image_size_px, None
    frames, left_out = list[Frame](), list[int]()
    rows = zip(images, given, how, names or [""] * len(images), strict=True)
    for number, (image, mask, search, name) in enumerate(rows, start=1):
        is_square = mask is None and search.is_whole and not components.family.shows_own_pixels
        shown = middle_square(image) if is_square else image  # as image encoders were trained
        try:
            found = crop_subject(shown, mask, search, name=name)
        except NoSubject:
            if len(images) == 1:
                raise
            left_out.append(number)
            continue
        if not frames and components.family.shows_own_pixels:  # others place no pixels
            large = large_frame(found, size_px)
        frames.append(frame_of(found, size_px))
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


def aligned_crop(chosen: ChosenFace) -> Image.Image:
    """Return a face upright and centred, as large as image encoders see it."""
    return align(chosen.image, chosen.face.landmarks.astype(np.float64), side_px=FACE_CROP_PX)


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
    tokens, shown = torch.cat(rows), torch.cat(frames).to(device)
    mask = torch.full_like(shown[:, :1], is_seen)
    return replace(_semantic_identity(components, tokens, shown, mask), is_face=True)


def unmixed(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return how much of each pixel (1, 3, H, W) a subject covers near its outline, (1, 1, H, W).

    Colours of both sides of the outline, carried on over it, tell how a pixel mixes them if they
    are apart by their spreads. A matte of both follows the edges of the picture. It stays where it
    is soft far from the outline, as hair is. Elsewhere the rim is hard: where most of the matte
    lies or, between like colours, where the outline lies, and without bumps.
    """
    photo, size, times = pixels, (mask.shape[2], mask.shape[3]), 1
    while max(mask.shape[2:]) > MATTED_PX:
        pixels, mask, times = halved(pixels), halved(mask), 2 * times
    rim = max(2, round(max(mask.shape[2:]) / RIMS))
    solid = (mask > HALF).to(pixels)
    inside, outside = 1 - grow(1 - solid, rim), 1 - grow(solid, 4 * rim // 3)
    ground = extrapolate(pixels, outside)
    apart = extrapolate(pixels, inside) - ground
    square = apart.square().sum(dim=1, keepdim=True)
    share = ((pixels - ground) * apart).sum(dim=1, keepdim=True) / square.clamp_min(FAINT)
    sides, shape = torch.cat([inside, outside]), (mask.shape[2], mask.shape[3])
    spreads = colours_apart(halved(halved(pixels)), halved(halved(sides)), rim)
    near = grow(sides, 2 * rim).prod(dim=0, keepdim=True)
    near *= resized(spreads, shape, mode="bilinear")
    told = (square / APART**2).clamp(max=1) * _ramp(near, TELLING)
    unknown = inside + outside < HALF
    guess = torch.where(unknown, torch.lerp(mask, share.clamp(0, 1), told), inside)
    lines = matted(pixels, guess, told + UNTOLD * (1 - told), unknown=unknown)
    matte = _opacity(lines, pixels)
    stray = (matte - solid).abs() * ((box_mean(mask, 1) - HALF).abs() > 1 / 3)
    grey, known = pixels.mean(dim=1, keepdim=True), torch.cat([unknown.to(stray), sides])
    grain = (grey - box_mean(grey, 1)).square()
    fields = torch.cat([known * torch.cat([stray, grain, grain]), known], dim=1)
    sums, rests = pooled(halved(halved(fields)), 2 * rim + 1, F.avg_pool2d).split(1, dim=1)
    soft, own, other = (sums / rests.clamp_min(GRAIN)).split(1)
    rough = _ramp(((own + GRAIN) / (other + GRAIN)).sqrt(), SMOOTH)
    hair = rough * _ramp(spreads.square() * (soft + SOFT), FURRED)
    furred = resized(hair * _ramp(spreads, TELLING), size, mode="bilinear")
    width = _width(matte, told * unknown * resized(rough, shape, mode="bilinear"), unknown, rim)
    edge_px = min(EDGE_PX / times + SOFTER * max(0.0, width - SHARP_PX), EVEN_PX)
    followed = torch.lerp(mask, matte, _ramp(near, FOLLOWED))
    fields = torch.cat([lines, _hard(followed, mask, edge_px)], dim=1)
    lines, hard = resized(fields, size, mode="bilinear").split([4, 1], dim=1)
    return torch.lerp(hard.clamp(0, 1), _opacity(lines, photo), furred)


def _hard(matte: Tensor, mask: Tensor, edge_px: float) -> Tensor:
    """Return a matte with such an edge, unclamped; its short bumps stay where the mask has some."""
    small = halved(torch.cat([matte, mask], dim=1))
    even, own = pooled(pooled(small, 3, F.avg_pool2d), 3, F.avg_pool2d).split(1, dim=1)
    lost = (3 * (own - HALF) + HALF).clamp(0, 1) - small[:, 1:]
    kept = pooled(_ramp(grow(lost.abs(), 1), LOST), 3, F.avg_pool2d)
    fields = torch.cat([EVEN_PX / edge_px * (even - HALF), kept], dim=1)
    even, kept = resized(fields, (mask.shape[2], mask.shape[3]), mode="bilinear").split(1, dim=1)
    return torch.lerp(even, 3 / min(edge_px, 3) * (box_mean(matte, 1) - HALF), kept) + HALF


def _width(matte: Tensor, told: Tensor, unknown: Tensor, rim: int) -> float:
    """Return the mean width in pixels of edges that colours have `told`; 0 where they tell few."""
    mixed = (matte * (1 - matte) * told).sum() / told.sum().clamp_min(MANY * unknown.sum())
    return 6 * (rim + 4 * rim // 3) * float(mixed)  # of an even slope, a sixth of its width


def _ramp(values: Tensor, span: tuple[float, float]) -> Tensor:
    """Return 0 for values up to a span's start, 1 from its end on."""
    return ((values - span[0]) / (span[1] - span[0])).clamp(0, 1)


def _opacity(lines: Tensor, pixels: Tensor) -> Tensor:
    """Return the matte (1, 1, H, W) of `matted`'s lines, steepened."""
    matte = (lines[:, :3] * pixels).sum(dim=1, keepdim=True) + lines[:, 3:]
    return (STEEPER * (matte - HALF) + HALF).clamp(0, 1)


def own_colours(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return `pixels` (1, 3, H, W) with the subject's colours where `mask` (1, 1, H, W) is soft.

    A photograph shows the subject mixed with its ground there, but for what looks like one of them
    alone. Colours of both are carried on over the rim, and the subject's take what is left.
    """
    solid = (mask > SOLID).to(pixels)
    if not solid.any():
        return pixels
    inner = 1 - grow(1 - solid, max(1, round(max(mask.shape[-2:]) / EDGES)))
    # Parts too thin to have an inside tell theirs, too.
    own = carried_on(pixels, torch.maximum(inner, THIN * solid))
    ground = carried_on(pixels, 1 - grow((mask > FAINT).to(pixels), 1))
    found, cover = torch.where(inner > 0, pixels, own), box_mean(mask, 1)
    at = ((inner < HALF) & (cover > 0)).flatten().nonzero()[:, 0]
    fields = (each.flatten(2)[..., at] for each in (pixels, own, ground, cover, mask))
    seen, own, ground, cover, most = fields
    seen, apart = seen - ground, own - ground
    share = ((seen * apart).sum(1, True) + cover) / (apart.square().sum(1, True) + 1)
    cover = cover.maximum(share.minimum(most)).minimum(GAPS * share.clamp_min(0))
    own += (seen - cover * apart) * (cover / (cover.square() + 1 - cover))
    found.flatten(2)[..., at] = own.clamp_(-1, 1)
    return found


def with_own_colours(photo: Image.Image, outline: Tensor) -> Image.Image:
    """Return a photo of any size cut out by `unmixed`, mode RGBA, in the subject's own colours."""
    photo = photo.convert("RGB")
    times = math.ceil(math.sqrt(photo.width * photo.height / GUIDE_PIXELS))
    small = to_tensor(photo.reduce(times))
    cover = unmixed(small, F.avg_pool2d(outline, times, ceil_mode=True))
    colours = to_pil(own_colours(small, cover))[0].resize(photo.size)
    alpha = mask_to_pil(resized(cover, (photo.height, photo.width), mode="bilinear"))[0]
    cut = Image.composite(photo, colours, alpha.point(lambda value: 255 * (value > 255 * SOLID)))
    cut.putalpha(alpha)
    return cut


def found_or_given(
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
    """Find the subject at `mask` (1, 1, H, W) in [0, 1], or as `search` says if that is None."""
    found = found_or_given(image, mask, search, name=name)
    fill = 1.0 if found.how.way is CutoutMethod.NONE else SUBJECT_FILL
    pixels, cover = crop_square(image, found.mask, fill=fill)
    if found.how.way is CutoutMethod.TRANSPARENCY:  # often cropped to the subject
        return SubjectCrop(pixels, cover, fill, found.how)
    if found.how.way in OUTLINES:
        cover = unmixed(pixels, cover)
    *others, is_cut = cuts = _cut_at(found.mask)
    pixels = own_colours(pixels if is_cut else without_bounce(pixels, cover), cover)
    # What reaches all four borders is a picture that was cropped to it, or a whole one.
    cut_at = "" if all(cuts) else " ".join(itertools.compress(BORDERS, others))
    return SubjectCrop(pixels, cover, fill, found.how._replace(is_cut=is_cut, cut_at=cut_at))


def _cut_at(mask: Tensor) -> list[bool]:
    """Whether a subject (1, 1, H, W) ends at the left, right, upper and lower border only."""
    solid = mask[0, 0] > HALF
    wide, high = solid.any(dim=0).sum(), solid.any(dim=1).sum()
    sides = (SIDE_SHARE * high, SIDE_SHARE * high, UPPER_SHARE * wide, LOWER_SHARE * wide)
    rims = (solid[:, 0], solid[:, -1], solid[0], solid[-1])
    return [bool(rim.sum() > least) for rim, least in zip(rims, sides, strict=True)]


def frame_of(found: SubjectCrop, size_px: int) -> Frame:
    """Cut the subject out; a whole picture fills the frame instead, without any margin."""
    pixels, mask = fit_square(found.pixels, found.mask, size_px=size_px, fill=found.fill)
    return Frame(pixels * mask, mask, found.how)


def large_frame(found: SubjectCrop, size_px: int) -> Tensor | None:
    """Return the frame (1, 4, S', S') in 8 bit, premultiplied, as large as the picture shows it.

    None if that is no larger than `size_px`.
    """
    side = min(side_px(found.mask, found.fill), LARGE_PX)
    if side <= size_px:
        return None
    lit = (found.pixels + 1) / 2 * found.mask  # before it is shrunk, or the ground would shine in
    return in_8_bits(torch.cat(fit_square(lit, found.mask, size_px=side, fill=found.fill), dim=1))


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
