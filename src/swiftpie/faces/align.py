"""Faces into one place: the similarity transform that recognisers were trained with."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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

Matrix = NDArray[np.float64]


def similarity_transform(points: Matrix, targets: Matrix) -> Matrix:
    """Return rotation, one scale and shift (2, 3) that bring `points` (N, 2) nearest to `targets`.

    With points as complex numbers, not all the same, the map is `a * z + b`, and least squares
    gives `a` as a ratio of two sums over the centred points; no mirror image can come out.
    """
    z, w = (one[:, 0] + 1j * one[:, 1] for one in (points, targets))
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
    coefficients = tuple(float(one) for one in back.ravel())
    return image.transform(
        (side_px, side_px), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
