"""Files of animations hold all frames, their speed and their origin."""

import json

import numpy as np
import pytest
from PIL import Image, ImageSequence

from swiftpie import InputError, save_animation
from swiftpie.imageio.writing import read_metadata

FACTS = {"prompt": "a dog", "seed": "3"}


@pytest.fixture
def frames():
    return [Image.new("RGB", (34, 24), (60 * number, 90, 200)) for number in range(4)]


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_pictures_that_move_hold_all_frames_and_their_speed(frames, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    save_animation(frames, path, fps=10, metadata=FACTS)
    with Image.open(path) as found:
        found.load()
        assert (found.n_frames, found.info["duration"], found.info["loop"]) == (4, 100, 0)
        for frame, own in zip(ImageSequence.Iterator(found), frames, strict=True):
            shown = np.asarray(frame.convert("RGB")).astype(int)
            assert np.abs(shown - np.asarray(own)).max() <= 8
    if suffix == ".webp":
        assert read_metadata(path) == FACTS


def test_a_film_holds_all_frames_and_their_speed(frames, tmp_path):
    av = pytest.importorskip("av", reason="needs swiftpie[video]")
    path = tmp_path / "out.mp4"
    odd = [frame.crop((0, 0, 33, 23)) for frame in frames]
    save_animation(odd, path, fps=12.5, metadata=FACTS)
    with av.open(str(path)) as film:
        assert json.loads(film.metadata["swiftpie"]) == FACTS
        assert float(film.streams.video[0].average_rate) == 12.5
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]
    assert [frame.shape for frame in shown] == [(22, 32, 3)] * 4
    for frame, own in zip(shown, frames, strict=True):
        assert np.abs(frame - np.asarray(own)[:22, :32]).max() <= 12


def test_a_folder_holds_every_pixel(frames, tmp_path):
    save_animation(frames, tmp_path / "out", fps=8, metadata=FACTS)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"frame-{number:04}.png" for number in range(1, 5)]
    for file, frame in zip(files, frames, strict=True):
        assert Image.open(file).tobytes() == frame.tobytes()
        assert read_metadata(file) == FACTS


@pytest.mark.parametrize(("name", "fps"), [("out.avi", 8), ("out.gif", 0), ("out.gif", 51)])
def test_what_cannot_be_written_is_refused(frames, tmp_path, name, fps):
    with pytest.raises(InputError):
        save_animation(frames, tmp_path / name, fps=fps, metadata=FACTS)


@pytest.mark.parametrize("name", ["out", "out.gif"])
def test_nothing_is_replaced(frames, tmp_path, name):
    save_animation(frames, tmp_path / name, fps=8, metadata=FACTS)
    with pytest.raises(InputError, match="exists"):
        save_animation(frames, tmp_path / name, fps=8, metadata=FACTS)
