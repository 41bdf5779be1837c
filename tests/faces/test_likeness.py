import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.faces.face import FACE_ENCODERS
from swiftpie.faces.likeness import likeness, open_judge, see_again, shown_face
from tests.faces.tiny_faces import make_models, recogniser, steady_detector

ARCFACE = "face_recognition_arcface.onnx"


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = make_models(tmp_path_factory.mktemp("judge"), recognisers=[(ARCFACE, 2)])
    return FACE_ENCODERS.get("arcface").open(folder)


@pytest.fixture(scope="module")
def other_judge(tmp_path_factory):
    """A folder for a judge, the same recogniser as that of the tests' encoder."""
    return make_models(tmp_path_factory.mktemp("other"), recognisers=[(ARCFACE, 1)])


def test_the_same_face_is_wholly_alike_and_a_changed_one_less(judge, encoder, portrait):
    chosen = choose_face(find_faces(encoder, portrait))
    reference = see_again(judge, chosen)
    assert likeness(reference, shown_face(judge, portrait)) == pytest.approx(1, abs=1e-6)
    other = Image.eval(portrait.convert("L"), lambda value: value // 2 + 60).convert("RGB")
    assert likeness(reference, shown_face(judge, other)) < 0.999


def test_without_a_face_there_is_no_number(judge, encoder, portrait):
    reference = see_again(judge, choose_face(find_faces(encoder, portrait)))
    blank = Image.new("RGB", (64, 64))
    assert shown_face(judge, blank) is None
    assert likeness(reference, None) is None
    assert likeness(None, reference) is None


def test_the_judge_looks_at_the_chosen_face_and_not_at_another(judge, encoder, portrait):
    half = portrait.crop((64, 0, 192, 256))
    pair = Image.new("RGB", (256, 256))
    pair.paste(half)
    pair.paste(half, (128, 0))
    for number in (1, 2):
        chosen = choose_face(find_faces(encoder, pair), number=number)
        seen = see_again(judge, chosen)
        assert np.allclose(seen.box, chosen.face.box, atol=1e-3)


def test_a_judge_that_sees_a_face_elsewhere_has_not_seen_the_chosen_one(
    tmp_path, encoder, portrait
):
    folder = make_models(tmp_path, detector=steady_detector(), recognisers=[(ARCFACE, 2)])
    steady = FACE_ENCODERS.get("arcface").open(folder)
    aside = Image.new("RGB", portrait.size)
    aside.paste(portrait, (70, 0))
    chosen = choose_face(find_faces(encoder, aside))
    assert len(steady.find(aside)) == 1
    assert see_again(steady, chosen) is None
    assert see_again(steady, choose_face(find_faces(encoder, portrait))) is not None


def test_a_second_encoder_is_found_by_its_files(encoder, face_models, tmp_path):
    assert open_judge(encoder, None) is None
    assert open_judge(encoder, face_models) is None
    folder = shutil.copytree(face_models, tmp_path / "models")
    onnx.save(recogniser(2), folder / ARCFACE)
    found = open_judge(encoder, folder)
    assert (found.name, found.fingerprint) != (encoder.name, encoder.fingerprint)


def test_an_encoder_does_not_judge_its_own_work(encoder, other_judge):
    with pytest.raises(ConfigError, match="same recogniser"):
        open_judge(encoder, other_judge, name="arcface")
    assert open_judge(encoder, other_judge) is None
