"""What users do with results: save them, look at them in notebooks, wait for them."""

import base64
import copy
import html
import io
import re

import pytest
from PIL import Image

from swiftpie import InputError
from swiftpie.engine.runner import progress_bar
from swiftpie.imageio.writing import read_metadata
from tests.parity.edit import photograph

PROMPT = "a dog on a beach"
KINDS = b"http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED, COMPOSITE = KINDS + b"trainedAlgorithmicMedia", KINDS + b"compositeWithTrained"


@pytest.fixture(scope="module")
def result(session, identity):
    return session.personalize(identity, PROMPT, seed=3, num_images=2)


@pytest.fixture(scope="module")
def edited(session):
    return session.edit(photograph(40, 30), "at night", seed=5)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_pictures_say_what_made_them_however_they_are_saved(result, tmp_path, suffix):
    second = result.images[1]
    second.save(path := tmp_path / f"plain.{suffix}")
    second.crop((0, 0, 64, 64)).save(part := io.BytesIO(), {"jpg": "jpeg"}.get(suffix, suffix))
    for data in (path.read_bytes(), part.getvalue()):
        assert COMPOSITE in data  # its beach is a photograph
        assert {"prompt": PROMPT, "seed": "4", "preset": "mini"}.items() <= read_metadata(
            data
        ).items()
    with Image.open(path) as opened:
        assert opened.size == second.size


def test_what_a_photograph_is_a_part_of_is_marked_as_a_composite(session, edited, identity):
    words = session.personalize(identity, PROMPT, seed=3, scene="words")
    own = session.personalize(identity, PROMPT, seed=3, scene=photograph(256, 256))
    drawn = session.generate("a cat on a beach", seed=3)
    empty = session.generate("a beach", seed=3)
    film = session.animate(identity, PROMPT, to=f"{PROMPT} at night", num_frames=2, seed=2)
    results = (words, False), (drawn, False), (own, True), (empty, True), (film, True)
    for image, is_part in [(edited.image, True), *((each.images[0], so) for each, so in results)]:
        image.save(file := io.BytesIO(), "PNG")
        assert [kind in file.getvalue() for kind in (TRAINED, COMPOSITE)] == [not is_part, is_part]


def test_a_gif_keeps_the_record_as_its_comment(result, tmp_path):
    result.images[0].save(path := tmp_path / "one.gif")
    assert read_metadata(path)["prompt"] == PROMPT


def test_options_of_pillow_go_on_working(result):
    small, large = io.BytesIO(), io.BytesIO()
    result.images[0].save(small, format="JPEG", quality=20)
    result.images[0].save(large, format="JPEG", quality=95)
    assert len(small.getvalue()) < len(large.getvalue())
    with pytest.raises(ValueError, match="extension"):
        result.images[0].save(io.BytesIO())
    assert copy.deepcopy(result.images[0]).tobytes() == result.images[0].tobytes()


def test_what_is_drawn_from_a_result_has_a_record_of_its_own(session, result):
    edited = session.edit(result.images[0], "at night", seed=9)
    edited.image.save(data := io.BytesIO(), "PNG")
    assert read_metadata(data.getvalue())["prompt"] == "at night"


def test_a_result_replaces_files_unless_that_is_forbidden(result, edited, tmp_path):
    files = result.save(tmp_path / "out.png")
    assert [file.name for file in files] == ["out-1.png", "out-2.png"]
    assert [read_metadata(file)["seed"] for file in files] == ["3", "4"]
    with pytest.raises(InputError, match="force=True"):
        result.save(tmp_path / "out.png", force=False)
    for path in (tmp_path / "edit.webp", tmp_path / "out-1.png"):
        assert read_metadata(edited.save(path))["prompt"] == "at night"
        with pytest.raises(InputError, match="force=True"):
            edited.save(path, force=False)
    assert [read_metadata(file)["seed"] for file in result.save(tmp_path / "out.png")] == ["3", "4"]


def test_frames_of_one_seed_are_saved_as_a_film(session, identity, tmp_path):
    film = session.animate(identity, PROMPT, to=f"{PROMPT} at night", num_frames=3, seed=2)
    (file,) = film.save(tmp_path / "film.webp", fps=4)
    with Image.open(file) as opened:
        assert opened.n_frames == 3
    assert read_metadata(file)["prompt"] == PROMPT


def test_notebooks_and_terminals_show_results_in_short(result, edited, identity):
    assert repr(result).startswith("GenerationResult(2 pictures of 128x128 px, seeds 3, 4, ")
    assert repr(edited).startswith("EditResult(1 picture of 40x30 px, seed 5, ")
    assert repr(identity) == "Identity('mini': 1 picture of 128x128 px, transparency 1.00)"
    for shown in (result, edited, identity):
        assert in_notebook(shown).format == "PNG"
    assert in_notebook(result).size == (512, 256)


SOURCE = re.compile(r'<img src="data:image/(\w+);base64,([^"]*)"><br><code>(.*)</code>')


def in_notebook(shown):
    """The picture that a notebook shows, which it stores once."""
    kind, data, words = SOURCE.fullmatch(shown._repr_html_()).groups()
    assert [name for name in dir(shown) if name.startswith("_repr_")] == ["_repr_html_"]
    assert words == html.escape(repr(shown))
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format.lower() == kind
    return picture


def test_a_film_moves_in_a_notebook_and_a_picture_is_stored_once(session, identity, result):
    film = session.animate(identity, PROMPT, to=f"{PROMPT} at night", num_frames=3, seed=2)
    assert in_notebook(film).n_frames == 3
    offered = [name for name in ("_repr_png_", "_repr_jpeg_") if getattr(result.images[0], name)]
    assert offered == ["_repr_png_"]
    assert repr(session) == "Session('mini' on cpu)"


def test_a_bar_shows_long_calls_and_can_be_turned_off(capsys):
    with progress_bar("drawing", is_on=True, delay_s=-1) as advance:
        advance("text")
        advance("check")
    assert "drawing: text" in capsys.readouterr().err
    for is_on in (None, False):  # standard error is no terminal here
        with progress_bar("drawing", is_on=is_on) as advance:
            assert advance is None
