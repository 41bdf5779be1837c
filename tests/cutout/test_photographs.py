"""How the subjects of real photographs are found; these are measured on and never trained on."""

import json
import os
import statistics
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import cutout
from swiftpie.errors import InputError
from swiftpie.masks import box_mask, iou
from swiftpie.photo.cutout import cutout_network, find_with_prior
from swiftpie.photo.search import Search
from swiftpie.types import DOUBTFUL

FOLDER = "SWIFTPIE_DREAMBENCH"
SQUARE = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
HOLE = [(0.375, 0.375), (0.625, 0.375), (0.625, 0.625), (0.375, 0.625)]


def test_a_ring_within_a_ring_is_a_hole():
    mask = cutout.Outline("", "", (80, 40), [SQUARE, HOLE]).mask()
    assert mask.shape == (1, 1, 40, 80)
    assert mask[0, 0, 12, 40] == 1
    assert mask[0, 0, 20, 40] == mask[0, 0, 5, 40] == 0
    assert mask.mean().item() == pytest.approx(1 / 4 - 1 / 16, abs=0.02)


def test_every_outline_stays_in_its_photo_and_leaves_ground():
    outlines = [*cutout.read_outlines().values()]
    assert len({outline.sha256 for outline in outlines}) == len(outlines) == 22
    for outline in [*outlines, *cutout.read_outlines(whole=True).values()]:
        assert all(0 <= x <= 1 and 0 <= y <= 1 for ring in outline.rings for x, y in ring)
        assert max(map(len, outline.rings)) >= 25, outline.file
        assert 0.02 < outline.mask().mean() < 0.7, outline.file


def test_hints_say_where_the_outline_is():
    for outline in [*cutout.read_outlines().values()][::11]:
        mask = outline.mask()
        height, width = mask.shape[2:]
        box, loose = (cutout.hint_of(mask, kind, seed=1).box for kind in ("box", "loose"))
        assert mask[box_mask(box, height=height, width=width) == 0].max() <= 0.5
        assert 0 < max(abs(a - b) for a, b in zip(box, loose, strict=True)) <= cutout.LOOSE
        ((x, y),) = cutout.hint_of(mask, "point", seed=1).points
        assert mask[0, 0, round(y * height), round(x * width)] > 0.5
        assert cutout.hint_of(mask, None, seed=1) == Search()


def test_outlines_hold_no_picture():
    assert {key for row in json.loads(cutout.OUTLINES.read_text()) for key in row} == {
        *cutout.Outline._fields
    }


def test_another_photo_is_refused(tmp_path):
    outline = cutout.read_outlines()["backpack"]
    path = tmp_path / outline.file
    path.parent.mkdir()
    Image.new("RGB", outline.size).save(path)
    with pytest.raises(InputError, match="not the photograph that was outlined"):
        cutout.open_photo(tmp_path, outline)


def test_a_summary_counts_what_is_good():
    assert cutout.summary([0.2, cutout.GOOD_IOU, 0.9]) == "median 0.850, 2 of 3 at least 0.85"


def test_warnings_are_counted_for_bad_and_good_outlines():
    message = cutout.warnings([0.2, 0.3, 0.9, cutout.GOOD_IOU], [0.1, 0.9, 0.2, 0.9])
    assert message == f"confidence below {DOUBTFUL}: 1 of 2 bad and 1 of 2 good"


@pytest.mark.skipif(
    FOLDER not in os.environ, reason=f"{FOLDER} does not name the folder of the photographs"
)
def test_the_network_finds_most_subjects():
    folder, scores = Path(os.environ[FOLDER]), []
    for outline in cutout.read_outlines().values():
        found = find_with_prior(cutout_network(), cutout.open_photo(folder, outline))
        scores.append(float(iou(found.mask, outline.mask())))
    assert statistics.median(scores) > 0.8
    assert sum(score >= cutout.GOOD_IOU for score in scores) >= 10
