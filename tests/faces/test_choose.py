import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.errors import ConfigError, ImageError
from swiftpie.faces import FACE_ENCODERS, Face, FaceBox
from swiftpie.faces.choose import (
    MIN_FACE_PX,
    FoundFaces,
    choose_face,
    face_region,
    find_faces,
    main_face,
    share_outside,
)
from swiftpie.imageio.decoding import load_image
from swiftpie_lab.evaluation.benchmarks.fastface import open_judge, same_face, shown_face
from swiftpie_lab.evaluation.metrics.judges import face_ratio, likeness
from tests.fuzz.pictures import encoded
from tests.tiny.faces import BOX, make_models, recogniser, steady_detector

ARCFACE = "face_recognition_arcface.onnx"

UPRIGHT = 1  # values of EXIF's orientation
NEEDS_TURN = {3: 180, 6: 270, 8: 90}


def face_at(left, top, right, bottom):
    box = FaceBox(left, top, right, bottom)
    landmarks = np.array([[(left + right) / 2, (top + bottom) / 2]] * 5, dtype=np.float32)
    return Face(box, landmarks, 0.95, Image.new("RGB", (112, 112)), np.ones(4, dtype=np.float32))


def found(*boxes, size=(400, 300)):
    return FoundFaces(Image.new("RGB", size), 0, tuple(face_at(*box) for box in boxes))


@pytest.mark.parametrize("turn", [0, 270])
def test_a_turned_picture_is_turned_back_to_the_same_face(encoder, portrait, turn):
    upright = choose_face(find_faces(encoder, portrait))
    chosen = choose_face(find_faces(encoder, portrait.rotate(turn, expand=True)))
    assert chosen.turn == (360 - turn) % 360
    assert np.array_equal(chosen.face.embedding, upright.face.embedding)
    assert any("turned" in note for note in chosen.notes) == (turn != 0)


@pytest.mark.parametrize("orientation", [UPRIGHT, 8])
def test_a_camera_that_was_held_sideways_makes_no_difference(encoder, portrait, orientation):
    stored = portrait.rotate(-NEEDS_TURN.get(orientation, 0), expand=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    chosen = choose_face(find_faces(encoder, load_image(encoded(stored, exif=exif))))
    assert chosen.turn == 0
    assert np.allclose(chosen.face.embedding, encoder.find(portrait)[0].embedding, atol=1e-6)


def test_of_several_the_most_central_of_the_largest_is_taken_and_it_is_said():
    several = found((0, 0, 100, 100), (150, 100, 250, 190), (300, 100, 330, 130))
    chosen = choose_face(several)
    assert (chosen.number, chosen.num_faces) == (2, 3)
    assert "3 faces" in chosen.notes[0]
    assert "number 2 from the left" in chosen.notes[0]
    assert "`number=`" in chosen.notes[0]


def test_a_much_larger_face_wins_over_a_central_one():
    assert main_face(found((0, 0, 200, 200), (180, 130, 220, 170)).faces, (400, 300)) == 0


@pytest.mark.parametrize("number", [1, 2])
def test_a_number_chooses_from_the_left(number):
    both = found((10, 0, 60, 60), (200, 0, 380, 200))
    chosen = choose_face(both, number=number)
    assert chosen.face is both.faces[number - 1]
    assert not any("faces were found" in note for note in chosen.notes)


def test_two_faces_of_one_picture_are_found_from_left_to_right(encoder, portrait):
    half = portrait.crop((64, 0, 192, 256))
    pair = Image.new("RGB", (256, 256))
    pair.paste(half)
    pair.paste(half, (128, 0))
    both = find_faces(encoder, pair).faces
    assert len(both) == 2
    assert both[1].box.left - both[0].box.left == pytest.approx(128, abs=8)


def test_the_share_beyond_the_edge_is_measured_and_reported():
    assert share_outside(FaceBox(-50, 0, 50, 100), (400, 300)) == 0.5
    assert share_outside(FaceBox(0, 0, 100, 100), (400, 300)) == 0
    chosen = choose_face(found((-40, 0, 160, 200)))
    assert "20 % of the face" in chosen.notes[-1]
    assert face_ratio(chosen.face, (400, 300)) == pytest.approx(160 * 200 / (400 * 300))


def test_a_small_face_is_reported_with_its_size():
    (note,) = choose_face(found((10, 10, 70, 90))).notes
    assert "60x80 px" in note
    assert "112" in note


@pytest.mark.parametrize(
    ("boxes", "number", "message"),
    [
        ((), None, r"No face was found in 'me.jpg' \(400x300 px\)"),
        (((0, 0, 20, 30),), None, rf"is 20x30 px; {MIN_FACE_PX} px or more"),
        (((-120, 0, 100, 200),), None, r"cut off: 5 of its 5 landmarks"),
        (((0, 0, 90, 90),), 2, r"Face 2 of 'me.jpg' does not exist; the picture shows 1\."),
    ],
)
def test_a_face_that_cannot_be_used_is_refused_with_numbers(boxes, number, message):
    with pytest.raises(ImageError, match=message):
        choose_face(found(*boxes), number=number, name="me.jpg")


def test_a_picture_without_faces_has_none_in_any_turn(encoder):
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    assert find_faces(encoder, Image.fromarray(noise)).faces == ()


def test_what_is_transparent_counts_as_white(encoder, portrait):
    cutout = portrait.convert("RGBA")
    cutout.putalpha(Image.new("L", portrait.size, 0))
    assert find_faces(encoder, cutout).faces == ()
    cutout.putalpha(Image.new("L", portrait.size, 255))
    assert len(find_faces(encoder, cutout).faces) == 1


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = make_models(tmp_path_factory.mktemp("judge"), recognisers=[(ARCFACE, 2)])
    return FACE_ENCODERS.get("arcface").open(folder)


@pytest.fixture(scope="module")
def other_judge(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("other"), recognisers=[(ARCFACE, 1)])


def test_the_same_face_is_wholly_alike_and_a_changed_one_less(judge, encoder, portrait):
    reference = same_face(judge, choose_face(find_faces(encoder, portrait)))
    assert likeness(reference, shown_face(judge, portrait)) == pytest.approx(1, abs=1e-6)
    other = Image.eval(portrait.convert("L"), lambda value: value // 2 + 60).convert("RGB")
    assert likeness(reference, shown_face(judge, other)) < 0.999


def test_without_a_face_there_is_no_number(judge, encoder, portrait):
    reference = same_face(judge, choose_face(find_faces(encoder, portrait)))
    assert shown_face(judge, Image.new("RGB", (64, 64))) is None
    assert likeness(reference, None) is None
    assert likeness(None, reference) is None


def test_the_judge_looks_at_the_chosen_face_and_not_at_another(judge, encoder, portrait):
    half = portrait.crop((64, 0, 192, 256))
    pair = Image.new("RGB", (256, 256))
    pair.paste(half)
    pair.paste(half, (128, 0))
    for number in (1, 2):
        chosen = choose_face(find_faces(encoder, pair), number=number)
        assert np.allclose(same_face(judge, chosen).box, chosen.face.box, atol=1e-3)


def test_a_judge_that_sees_a_face_elsewhere_has_not_seen_the_chosen_one(
    tmp_path, encoder, portrait
):
    folder = make_models(tmp_path, detector=steady_detector(), recognisers=[(ARCFACE, 2)])
    steady = FACE_ENCODERS.get("arcface").open(folder)
    aside = Image.new("RGB", portrait.size)
    aside.paste(portrait, (70, 0))
    chosen = choose_face(find_faces(encoder, aside))
    assert len(steady.find(aside)) == 1
    assert same_face(steady, chosen) is None
    assert same_face(steady, choose_face(find_faces(encoder, portrait))) is not None


def test_a_second_encoder_judges(encoder, face_models, tmp_path):
    folder = shutil.copytree(face_models, tmp_path / "models")
    onnx.save(recogniser(2), folder / ARCFACE)
    found = open_judge(encoder, folder, name="arcface")
    assert (found.name, found.fingerprint) != (encoder.name, encoder.fingerprint)


def test_an_encoder_does_not_judge_its_own_work(encoder, other_judge):
    with pytest.raises(ConfigError, match="same recogniser"):
        open_judge(encoder, other_judge, name="arcface")


def test_the_region_holds_the_face_and_little_else(encoder, portrait):
    mask = np.asarray(face_region(encoder, portrait).mask) > 0
    left, top, right, bottom = (round(edge) for edge in BOX)
    assert mask[top:bottom, left:right].all()
    assert mask.shape == (256, 256)
    assert mask.mean() < 2.5 * (right - left) * (bottom - top) / mask.size


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_the_region_of_a_turned_photograph_turns_with_it(encoder, portrait, turn):
    upright = np.asarray(face_region(encoder, portrait).mask)
    turned = face_region(encoder, portrait.rotate(turn)).mask.rotate(-turn)
    assert np.mean(upright != np.asarray(turned)) < 0.01


def test_a_picture_without_a_face_is_refused_with_what_to_do(encoder):
    with pytest.raises(ImageError, match=r"80x60 px.*by a mask or a box"):
        face_region(encoder, Image.new("RGB", (80, 60)))
