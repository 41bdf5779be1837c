import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie.faces import FaceBox
from swiftpie_lab.evaluation.case import METRICS
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.metrics.perceptual import crop_face, edited_part


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


class Brightness:
    def similarity(self, image, text):
        return np.mean(np.asarray(image)) / 255 - len(text)


def test_clip_scores_are_hundredfold_and_never_negative(edit_evidence):
    networks = Networks(clip=Brightness())
    white = torch.ones_like(edit_evidence.picture)
    found = score("clip-whole", edit_evidence, picture=white, networks=networks)
    assert found == pytest.approx(100)
    assert score("clip-edited", edit_evidence, picture=white, networks=networks) == 50
    assert score("clip-whole", edit_evidence, prompt="long", networks=networks) == 0
    assert score("clip-large", edit_evidence, prompt="long", networks=networks) < -3


def test_the_edited_part_is_black_outside():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    part = np.asarray(edited_part(Image.new("RGB", (4, 4), (9, 8, 7)), mask))
    assert part.sum() == 4 * (9 + 8 + 7)
    assert (part[1:3, 1:3] == (9, 8, 7)).all()


def test_a_face_that_leaves_the_picture_is_cropped_at_its_border():
    image = Image.new("RGB", (20, 10))
    assert crop_face(image, FaceBox(5, 2, 9, 8)).size == (4, 6)
    assert crop_face(image, FaceBox(-3, -3, 5, 40)).size == (5, 10)
    assert crop_face(image, FaceBox(30, 30, 40, 40)).size == (1, 1)
