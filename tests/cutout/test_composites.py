"""Composites are the same at each run, and show their subject before its rivals."""

import math

import numpy as np
import pytest
from PIL import Image

from benchmarks.composites import area_under_curve, draw, photographs
from swiftpie.imageio.images import bounding_box
from swiftpie.library import ASSETS
from swiftpie.masks import iou
from swiftpie.photo.cutout import cutout_network, find_with, find_with_prior
from tests.lab.collages import collection_of


def test_a_composite_shows_the_same_subject_alone_and_before_rivals(tmp_path):
    photos, cutouts, _ = collection_of(tmp_path)
    for number in range(3):
        alone, again, rivalled = (
            draw(cutouts, photos, number, has_rivals=has_rivals)
            for has_rivals in (False, False, True)
        )
        assert np.array_equal(alone.photo, again.photo)
        assert not np.array_equal(alone.photo, rivalled.photo)
        assert alone.mask.shape[2:] == rivalled.mask.shape[2:] == alone.photo.size[::-1]
        assert (rivalled.mask <= alone.mask).all(), "an edge hides what is below it"
        assert bounding_box(alone.mask)[:2] == bounding_box(rivalled.mask)[:2]


def test_a_subject_in_doubt_is_found_beside_rivals_that_it_was_taken_together_with():
    subjects = []
    for path in sorted((ASSETS.parent / "samples").glob("*.webp")):
        with Image.open(path) as opened:
            subjects.append(opened.crop(opened.getchannel("A").getbbox()))
    places = photographs()
    for number in (25, 31, 40):
        drawn = draw(subjects, places, number, has_rivals=True)
        first = find_with(cutout_network(), drawn.photo)
        found = find_with_prior(cutout_network(), drawn.photo)
        assert iou(first.mask, drawn.mask) < 0.8
        assert iou(found.mask, drawn.mask) > 0.9
        assert found.how.confidence > 0.6


def test_confidence_is_judged_by_pairs_of_a_good_and_a_bad_outline():
    assert area_under_curve([0.9, 0.9, 0.2, 0.2], [0.8, 0.3, 0.3, 0.1]) == pytest.approx(3.5 / 4)
    assert math.isnan(area_under_curve([0.9], [0.8]))
