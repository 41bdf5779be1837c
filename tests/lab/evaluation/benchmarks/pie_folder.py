"""Random pictures as entries of PIE-Bench."""

import numpy as np
from PIL import Image

SIDE_PX = 48
RUNS = [2 * SIDE_PX + 5, 20, 3 * SIDE_PX + 5, 20, SIDE_PX * SIDE_PX - 4, 99]


def random_picture(seed, *, side=SIDE_PX):
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)
