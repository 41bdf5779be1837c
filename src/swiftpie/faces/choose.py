"""Chooses the face of a picture, aligns it as recognisers expect, marks and compares faces."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from swiftpie.errors import ImageError
from swiftpie.faces import Face, FaceBox, FaceEncoder

MIN_FACE_PX = 24  # recognisers see 112 px, and less than a quarter of that gives no useful vector
MAX_OUTSIDE = 0.05  # a face with a greater share outside the picture counts as cut off
NEAR_LARGEST = 0.8  # faces with this share of the largest area count as just as large
TURNS = (90, 270, 180)  # degrees, likelier ones first
SURE = 0.9  # upright faces score more; detectors also find faces upside down, and misread them
CLEARLY = 0.05  # by which the score of a turned picture has to be higher

CROP_PX = 112
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where ArcFace (arXiv:1801.07698) puts eyes, nose and mouth corners in 112 x 112 pixels."""

# Detectors' boxes end at brow, chin and cheeks. The ellipse has to hold the whole box, and the rest
# of the head, whose outline belongs to a person.
WIDER, HIGHER = 1.45, 1.7
RISE = 0.1  # the middle moves up by this share of the box, as a head is higher than its face

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of a picture, turned so that they are upright."""

    image: Image.Image  # RGB, turned
    turn: int  # degrees that the picture was turned to the left
    faces: tuple[Face, ...]  # ordered from left to right


@dataclass(frozen=True, eq=False)
class ChosenFace:
    """The chosen face."""

    face: Face
    image: Image.Image  # RGB, turned, the picture it is in
    number: int  # position from the left; the first is 1
    num_faces: int
    turn: int
    notes: tuple[str, ...]  # what the user should know


def find_faces(encoder: FaceEncoder, image: Image.Image) -> FoundFaces:
    """Return the faces of a picture; without a sure one, turned copies are searched as well.

    Pictures may have any mode; transparency becomes white.
    """
    upright = on_white(image)
    best, best_score = _look(encoder, upright, turn=0)
    for turn in TURNS:
        if best_score >= SURE:
            break
        look, score = _look(encoder, upright, turn=turn)
        if score > best_score + (CLEARLY if best.turn == 0 and best.faces else 0.0):
            best, best_score = look, score
    ordered = sorted(best.faces, key=lambda face: face.box.left + face.box.right)
    return FoundFaces(best.image, best.turn, tuple(ordered))


def choose_face(
    found: FoundFaces, *, number: int | None = None, name: str = "picture"
) -> ChosenFace:
    """Return the face with this number, or the largest; of several large ones, the most central.

    Numbers count from the left, from 1; errors call the picture `name`.

    Raises:
        ImageError: There is no such face, or it is too small or cut off.
    """
    faces, size = found.faces, found.image.size
    if not faces:
        raise ImageError(
            f"No face was found in '{name}' ({size[0]}x{size[1]} px), upright or on its side. One "
            f"seen from the front, {MIN_FACE_PX} px or more, is needed. Choose or crop another."
        )
    if number is not None and not 1 <= number <= len(faces):
        raise ImageError(
            f"Face {number} of '{name}' does not exist; the picture shows {len(faces)}. Count from "
            f"the left, from 1{f' to {len(faces)}' if len(faces) > 1 else ''}, as `number=`."
        )
    index = main_face(faces, size) if number is None else number - 1
    face = faces[index]
    _check(face, size, name)
    notes = _notes(found, index, is_chosen=number is not None)
    return ChosenFace(face, found.image, index + 1, len(faces), found.turn, notes)


def main_face(faces: Sequence[Face], size: tuple[int, int]) -> int:
    """Return the index of the largest face of a picture of (width, height).

    Of several large ones it is the most central.
    """
    largest = max(face.box.area for face in faces)
    middle = (size[0] / 2, size[1] / 2)
    near = [i for i, face in enumerate(faces) if face.box.area >= NEAR_LARGEST * largest]
    return min(near, key=lambda i: math.dist(middle_of(faces[i].box), middle))


class FaceRegion(NamedTuple):
    """The place of a face in a photograph."""

    mask: Image.Image  # mode L, as large as the photograph; 255 is the face
    notes: tuple[str, ...]  # what the user should know


def face_region(encoder: FaceEncoder, image: Image.Image) -> FaceRegion:
    """Return the place of the largest, most central face, or raise ImageError if there is none."""
    found = find_faces(encoder, image)
    if not found.faces:
        raise ImageError(
            f"No face was found in the picture to edit ({image.width}x{image.height} px), so "
            "nothing says where the new face goes. Mark the place by a mask or a box, or name it "
            "by a keyword."
        )
    index = main_face(found.faces, found.image.size)
    box = found.faces[index].box
    x, y = middle_of(box)
    y -= RISE * box.height
    across, down = WIDER * box.width / 2, HIGHER * box.height / 2
    mask = Image.new("L", found.image.size)
    ImageDraw.Draw(mask).ellipse((x - across, y - down, x + across, y + down), fill=255)
    notes: tuple[str, ...] = ()
    if (count := len(found.faces)) > 1:
        notes = (
            f"{count} faces were found in the picture to edit, and number {index + 1} from the "
            "left changes, the largest or most central. Mark another by a mask or a box.",
        )
    return FaceRegion(mask.rotate(-found.turn, expand=True), notes)


def share_outside(box: FaceBox, size: tuple[int, int]) -> float:
    """Return how much of `box` lies beyond a picture of (width, height), 0 to 1."""
    width = max(0.0, min(box.right, size[0]) - max(box.left, 0.0))
    height = max(0.0, min(box.bottom, size[1]) - max(box.top, 0.0))
    return 1 - width * height / box.area if box.area > 0 else 1.0


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture as RGB, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")


def similarity_transform(points: Matrix, targets: Matrix) -> Matrix:
    """Return rotation, one scale and shift (2, 3) that bring `points` (N, 2) nearest to `targets`.

    With points as complex numbers, not all the same, the map is `a * z + b`, and least squares
    gives `a` as a ratio of two sums over the centred points; no mirror image can come out.
    """
    z, w = (places[:, 0] + 1j * places[:, 1] for places in (points, targets))
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(image: Image.Image, landmarks: Matrix, *, side_px: int = CROP_PX) -> Image.Image:
    """Return the face as a square RGB crop of an RGB picture; what lies beyond it is black.

    `landmarks` (5, 2) are in pixels, 0 being the middle of the first; the template is scaled.
    """
    matrix = similarity_transform(landmarks, TEMPLATE * (side_px / CROP_PX))
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    # Pillow counts from the edge of the first pixel, recognisers from its middle.
    back[:, 2] += 0.5 - 0.5 * back[:, :2].sum(axis=1)
    coefficients = tuple(map(float, back.ravel()))
    return image.transform(
        (side_px, side_px), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )


def _look(encoder: FaceEncoder, upright: Image.Image, *, turn: int) -> tuple[FoundFaces, float]:
    image = upright.rotate(turn, expand=True) if turn else upright
    faces = tuple(encoder.find(image))
    return FoundFaces(image, turn, faces), max((face.score for face in faces), default=0.0)


def _check(face: Face, size: tuple[int, int], name: str) -> None:
    box = face.box
    if min(box.width, box.height) < MIN_FACE_PX:
        raise ImageError(
            f"The face in '{name}' is {box.width:.0f}x{box.height:.0f} px; {MIN_FACE_PX} px or "
            f"more are needed, {CROP_PX} are best. Choose a larger picture, or crop it less."
        )
    beyond = (face.landmarks < 0) | (face.landmarks > np.array(size) - 1)
    if missing := int(beyond.any(axis=1).sum()):
        raise ImageError(
            f"The face in '{name}' is cut off: {missing} of its 5 landmarks lie beyond the "
            f"picture. Eyes, nose and mouth are needed. Choose a picture that shows all of it."
        )


def _notes(found: FoundFaces, index: int, *, is_chosen: bool) -> tuple[str, ...]:
    face, size = found.faces[index], found.image.size
    box, notes = face.box, []
    if found.turn:
        notes.append(
            f"the picture was turned to the left by {found.turn} degrees to find the face upright"
        )
    if len(found.faces) > 1 and not is_chosen:
        notes.append(
            f"{len(found.faces)} faces were found; number {index + 1} from the left was taken, the "
            "largest or most central; choose with `number=`"
        )
    if min(box.width, box.height) < CROP_PX:
        notes.append(
            f"the face is {box.width:.0f}x{box.height:.0f} px, less than the {CROP_PX} that "
            "recognisers see"
        )
    if (outside := share_outside(box, size)) > MAX_OUTSIDE:
        notes.append(f"{100 * outside:.0f} % of the face lie beyond the edge of the picture")
    return tuple(notes)


def middle_of(box: FaceBox) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2
