import json

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from swiftpie.errors import ImageError
from swiftpie.evaluation.photos.draw import Lost, Portrait
from swiftpie.evaluation.photos.likeness import compare, describe, summarise

PICTURE = Image.new("RGB", (4, 4))


def portraits(similarity):
    """Three subjects at right angles, each drawn with this cosine to its own reference."""
    rest = (1 - similarity**2) ** 0.5
    basis = torch.eye(6)
    return [
        Portrait(
            name=str(number),
            reference=PICTURE,
            cutout=PICTURE,
            pictures=(PICTURE,) * 2,
            wanted=basis[number : number + 1],
            found=(similarity * basis[number] + rest * basis[number + 3]).expand(2, -1),
        )
        for number in range(3)
    ]


def test_a_share_is_what_photographs_keep_of_what_sprites_do():
    found = compare(portraits(0.6), portraits(0.8))
    assert found.photos.same.mean == pytest.approx(0.6)
    assert found.sprites.same.mean == pytest.approx(0.8)
    assert found.photos.other.mean == pytest.approx(0.0)
    for share in (found.share, found.share_above_bound):
        assert (share.mean, share.low, share.high) == pytest.approx((0.75,) * 3)


def test_what_all_subjects_share_does_not_count_above_the_bound():
    common = torch.ones(1, 6)
    shifted = [
        Portrait(
            **{**vars(one), "wanted": F.normalize(one.wanted + common)}
            | {"found": F.normalize(one.found + common)}
        )
        for one in portraits(0.6)
    ]
    found = compare(shifted, portraits(0.8))
    assert found.share.mean > 0.9
    assert found.share_above_bound.mean < 0.6


def test_one_subject_has_no_bound():
    found = compare(portraits(0.6)[:1], portraits(0.8))
    assert found.photos.other is None
    assert found.share_above_bound is None
    assert len(describe(found)) == 3


def test_the_report_names_what_was_left_out(session):
    drawn = [Lost("grey", "no subject"), *portraits(0.6)]
    report = summarise(session.components, drawn, portraits(0.8), scenes=["snow"], seed=3)
    stored = json.loads(report.to_json())
    assert stored["lost"] == [{"name": "grey", "reason": "no subject"}]
    assert stored["subjects"] == ["0", "1", "2"]
    assert stored["num_steps"] == 1
    with pytest.raises(ImageError, match="any of 1 photographs"):
        summarise(session.components, drawn[:1], portraits(0.8), scenes=["snow"], seed=3)
