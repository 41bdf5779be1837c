"""The best of several pictures: those that show their subjects, and the prompt, most clearly."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import ImageError, InputError
from swiftpie.faces import FaceEncoder
from swiftpie.faces.choose import find_faces
from swiftpie.geometry.layout import Layout
from swiftpie.imageio.images import bounding_box, plane, to_pil, to_tensor
from swiftpie.masks import box_mask
from swiftpie.models.vision import ClipIdentityEncoder, FaceIdentityEncoder
from swiftpie.photo.search import Search
from swiftpie.pipelines.choose import Choice, identities_in
from swiftpie.pipelines.identity import crop_subject, frame_of
from swiftpie.pipelines.request import PersonalizeRequest, Subject, texts_of
from swiftpie.pipelines.tasks import Request
from swiftpie.types import EditResult, GenerationResult

LATENT_CELLS = 8  # a side, where no image encoder is loaded and latents are compared
AROUND = 0.3  # share of a face's crop that is added around it
EMPTY = 1e-6
SEEN = ("identity_score", "prompt_score")

Scores = dict[str, float]


@torch.no_grad()
def best_of(choice: Choice[Any], drawn: GenerationResult) -> GenerationResult:
    """Return the best pictures of `drawn`, as many as are kept, the best first, with scores.

    `identity_score` is the cosine of the subjects and their references, of several the mean: by a
    face encoder for people, else by the image encoder of the networks. `prompt_score` is that of
    picture and prompt, where one space has both. `place_score` says how large and how near to the
    middle subjects are, where the networks tell. The family says by which of them it ranks.
    """
    components, request = choice.components, choice.request
    assert isinstance(request, PersonalizeRequest), "new pictures alone are compared"
    images = drawn.images if drawn.tensor is None else to_pil(drawn.tensor)
    masks = [plane(mask) for mask in drawn.subject_masks]
    scores = [
        _scores(components, request, request.subjects, image, mask, choice.faces)
        for image, mask in zip(images, masks, strict=True)
    ]
    order = ranked(scores, components.family.ranks_by)[: choice.num_kept]
    return replace(
        drawn,
        images=tuple(drawn.images[row] for row in order if drawn.images),
        subject_masks=tuple(drawn.subject_masks[row] for row in order),
        regions=drawn.regions[order],
        seeds=tuple(drawn.seeds[row] for row in order),
        layouts=tuple(Layout(*(values[order] for values in layout)) for layout in drawn.layouts),
        tensor=None if drawn.tensor is None else drawn.tensor[order],
        scores=tuple(scores[row] for row in order),
    )


@torch.no_grad()
def best_change(choice: Choice[Any], results: Sequence[EditResult]) -> EditResult:
    """Return the best of several changes of one picture, with the scores that `best_of` gives.

    `place_score` is left out, as all stand in one place.
    """
    scores, request = [], choice.request
    components, faces = choice.components, choice.faces
    assert not isinstance(request, PersonalizeRequest), "it changes a picture"
    for result in results:
        mask = plane(result.region)
        box = result.box or (bounding_box(mask) if mask.any() else None)
        subjects = [Subject(request.source, box=box)] if request.source is not None else []
        result_scores = _scores(components, request, subjects, result.image, mask, faces)
        scores.append({name: result_scores[name] for name in SEEN if name in result_scores})
    best = ranked(scores, SEEN)[0]
    return replace(results[best], scores=(scores[best],))


@torch.no_grad()
def check_comparable(components: Components, request: Request, count: int) -> None:
    """Refuse the best of `count` where no score compares pictures with what they should show."""
    has_picture = any(identity.mask.any() for identity in identities_in(request))
    if not has_picture and _read(components, request) is None:
        raise InputError(
            f"`best_of={count}` cannot be combined with a face given only as vectors, or with an "
            "edit by words: no loaded network can score the pictures. Pass a crop of the face, "
            "load an adapter whose image encoder also reads the prompt, or leave `best_of` out."
        )


def ranked(scores: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[int]:
    """Return the rows of scores, the best first.

    Each score counts by its deviations from the mean, as their spreads differ; the first decides
    between equal sums, and then the order.
    """
    judges = [name for name in names if name in scores[0]]

    def worth(row: int) -> tuple[float, float]:
        sums = 0.0
        for name in judges:
            values = [each[name] for each in scores]
            sums += (values[row] - fmean(values)) / max(pstdev(values), EMPTY)
        return round(sums, 6), scores[row][judges[0]] if judges else 0.0

    return sorted(range(len(scores)), key=worth, reverse=True)


def _scores(
    components: Components,
    request: Request,
    subjects: Sequence[Subject],
    image: Image.Image,
    mask: Tensor,
    faces: FaceEncoder | None,
) -> Scores:
    likenesses = (_likeness(components, subject, image, mask, faces) for subject in subjects)
    visible = [score for score in likenesses if score is not None]
    scores = {"identity_score": fmean(visible)} if visible else {}
    follows = _follows(components, request, image)
    if follows is not None:
        scores["prompt_score"] = follows
    if components.preset.predicts_layout:
        scores["place_score"] = place_score(mask)
    return {name: round(value, 4) for name, value in scores.items()}


def place_score(mask: Tensor) -> float:
    """Return the side of a subject (1, 1, H, W), less the nearer it is to the left or right edge.

    Chosen by eye on 22 subjects of DreamBench with 8 seeds each: `python -m benchmarks.best_of`.
    """
    if (total := mask.sum()) < EMPTY:
        return 0.0
    across = (torch.arange(mask.shape[-1]) + 0.5) / mask.shape[-1]
    middle = float((mask * across).sum() / total)
    return float(mask.mean()) ** 0.5 * (1 - 2 * abs(middle - 0.5))


def _likeness(
    components: Components,
    subject: Subject,
    image: Image.Image,
    mask: Tensor,
    faces: FaceEncoder | None,
) -> float | None:
    """Return how much a picture shows a subject; None of one whose identity has no picture."""
    identity = subject.identity
    if not identity.mask.any():
        return None
    if identity.is_face and faces is not None:
        kind = f"face {faces.fingerprint}"
        face = components.keep(kind, identity, lambda: _face_of(faces, identity.pixels))
        if len(face):
            face_vectors = _faces_in(faces, image)
            return float((face @ face_vectors.T).max()) if len(face_vectors) else -1.0
    reference_vector = components.keep(
        "likeness", identity, lambda: look(components, identity.pixels, identity.mask)
    )
    pixels, cover = _subject_in(components, subject, image, mask)
    vectors = look(components, pixels.to(components.device), cover.to(components.device))
    return float(F.cosine_similarity(reference_vector, vectors.to(reference_vector)).max())


def _faces_in(encoder: FaceEncoder, image: Image.Image) -> Tensor:
    """Return the vector of each face of a picture, (F, D)."""
    vectors = [face.embedding for face in find_faces(encoder, image).faces]
    return torch.as_tensor(np.array(vectors))


def _face_of(encoder: FaceEncoder, crops: Tensor) -> Tensor:
    """Return the vector of the face in a crop, (1, D), or (0,); detectors may want it smaller."""
    around = round(AROUND * crops.shape[-1])
    crop = crops[:1].float().cpu()
    looks = (crop, F.pad(crop, (around,) * 4))
    vectors_of = (_faces_in(encoder, to_pil(picture)[0]) for picture in looks)
    return next((vectors[:1] for vectors in vectors_of if len(vectors)), torch.empty(0))


def _subject_in(
    components: Components, subject: Subject, image: Image.Image, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the frame of a subject in a picture; all of the picture where none stands out."""
    size_px, is_placed = components.preset.image_size_px, components.preset.predicts_layout
    if is_placed and subject.box is not None:
        mask = mask * box_mask(subject.box, height=image.height, width=image.width)
    where, search = mask if is_placed else None, Search(box=subject.box)
    try:
        frame = frame_of(crop_subject(image, where, search), size_px)
    except ImageError:
        square = image.resize((size_px, size_px), Image.Resampling.BICUBIC)
        pixels = to_tensor(square)
        return pixels, torch.ones_like(pixels[:, :1])
    return frame.pixels, frame.mask


def _encoder(components: Components) -> nn.Module | None:
    """Return the image encoder; of a face adapter the one of its pictures, or None without one."""
    encoder = components.image_encoder
    encoder = getattr(encoder, "uncached", encoder)  # a cache answers with tokens alone
    if isinstance(encoder, FaceIdentityEncoder):
        return encoder.reader if encoder.needs_crops else None
    return encoder


def look(components: Components, pixels: Tensor, mask: Tensor) -> Tensor:
    """Return a vector (R, D) of each frame (R, 3, S, S), as the networks see it.

    That is the projected vector of CLIP, else the tokens of the image encoder, else, with neither,
    coarse latents.
    """
    encoder = _encoder(components)
    if isinstance(encoder, ClipIdentityEncoder):
        return encoder.look(pixels, mask)
    if encoder is not None:
        tokens: Tensor = encoder(pixels, mask)
        return tokens.flatten(1).float()
    latents = components.autoencoder.encode(pixels).float()
    return F.adaptive_avg_pool2d(latents, LATENT_CELLS).flatten(1)


def _follows(components: Components, request: Request, image: Image.Image) -> float | None:
    """Return the cosine of picture and prompt; None unless one CLIP was trained with both."""
    text_vector, encoder = _read(components, request), _encoder(components)
    if text_vector is None:
        return None
    assert isinstance(encoder, ClipIdentityEncoder), "no other has a vector of a prompt"
    pixels = to_tensor(image).to(components.device)
    image_vector = encoder.look(pixels, torch.ones_like(pixels[:, :1]))
    return float(F.cosine_similarity(image_vector.cpu(), text_vector))


def _read(components: Components, request: Request) -> Tensor | None:
    """Return the vector (1, D) of a prompt in the space of the image encoder; None without one."""
    encoder, texts = _encoder(components), texts_of(request.prompt)
    has_vectors = components.family.needs_pooled_text and bool(texts)
    if not (isinstance(encoder, ClipIdentityEncoder) and has_vectors):
        return None
    pooled = components.text.encode([texts[0]]).pooled.float().cpu()
    # The tower of another CLIP has vectors of another length.
    return pooled if pooled.shape[-1] == encoder.tower.config.projection_dim else None
