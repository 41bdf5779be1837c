"""Thumbnails of pictures, the sheet that they are stored on, and how far two of them differ."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SHEET = Path(__file__).with_name("thumbnails.png")
NAMES = Path(__file__).with_name("thumbnails.json")  # name: number of thumbnails, row by row
SIDE_PX = 32
# Levels of 255. Threads, versions of PyTorch and older processors' instructions move the mean by
# 0.001 and single values by 1; 2 % of a scale that counts move it by 0.02 in some case at least.
MAX_MEAN, MAX_MOST = 0.01, 2.0
REMEDY = "If pictures shall change, run `make golden` and look at the new sheet before committing."


class Difference(NamedTuple):
    mean: float  # of the thumbnail that differs most
    most: float

    @property
    def is_tolerable(self):
        return self.mean <= MAX_MEAN and self.most <= MAX_MOST


def thumbnails(pictures):
    """Area-averaged small pictures side by side, (32, 32 n, 3)."""
    small = [
        np.asarray(picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
        for picture in pictures
    ]
    return np.concatenate(small, axis=1)


def difference(found, stored):
    assert found.shape == stored.shape, "a case draws another number of pictures than it did"
    gap = np.abs(found.astype(np.float64) - stored)
    tiles = gap.reshape(SIDE_PX, -1, SIDE_PX, 3)
    return Difference(tiles.mean(axis=(0, 2, 3)).max(), gap.max())


def read():
    if not NAMES.exists():
        return {}
    counts, sheet = json.loads(NAMES.read_text()), np.asarray(Image.open(SHEET))
    return {
        name: sheet[SIDE_PX * row : SIDE_PX * (row + 1), : SIDE_PX * count]
        for row, (name, count) in enumerate(counts.items())
    }


def write(rows):
    widest = max(row.shape[1] for row in rows.values())
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows.values()]
    Image.fromarray(np.concatenate(padded)).save(SHEET, optimize=True)
    counts = {name: row.shape[1] // SIDE_PX for name, row in rows.items()}
    NAMES.write_text(json.dumps(counts, indent=1) + "\n")
