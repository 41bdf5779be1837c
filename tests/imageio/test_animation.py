"""Files of animations hold all frames, their speed and their origin."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image, ImageSequence

from swiftpie import InputError, save_animation
from swiftpie.imageio.writing import RECORD_BOX, boxed, encode_animation, read_metadata

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
    assert read_metadata(path) == FACTS
    assert b"trainedAlgorithmicMedia" in path.read_bytes()


@pytest.mark.parametrize("fps", [7, 8, 12, 15, 30, 40, 50])
@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_a_film_takes_its_time(suffix, fps):
    frames = [Image.new("RGB", (8, 8), (15 * number, 0, 0)) for number in range(16)]
    data = encode_animation(frames, suffix, fps=fps, metadata=FACTS)
    with Image.open(io.BytesIO(data)) as found:
        spent = []
        for frame in ImageSequence.Iterator(found):
            frame.load()
            spent.append(frame.info["duration"])
    assert sum(spent) == pytest.approx(16_000 / fps, abs=5.01)
    assert max(spent) - min(spent) <= 10


def test_what_stands_still_is_equal_in_all_frames_of_a_gif():
    ground = Image.merge(
        "RGB", [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.linear_gradient("L")]
    )
    frames = []
    for number in range(5):
        frames.append(ground.copy())
        frames[-1].paste((255 - 40 * number, 30, 60), (50 * number, 20, 50 * number + 40, 60))
    data = encode_animation(frames, ".gif", fps=8, metadata=FACTS)
    with Image.open(io.BytesIO(data)) as found:
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(found)]
    shown, true = np.stack(shown).astype(int), np.stack([np.asarray(frame) for frame in frames])
    is_still = np.ptp(true, axis=0).max(-1) == 0
    assert is_still.mean() > 0.5
    assert np.ptp(shown, axis=0).max(-1)[is_still].max() == 0
    assert np.abs(shown - true).mean() < 6


@pytest.mark.parametrize("quality", [None, 80])
@pytest.mark.parametrize("suffix", [".webp", ".gif", ".mp4"])
def test_light_that_changes_slowly_arrives_in_every_block_of_every_frame(suffix, quality):
    if suffix == ".mp4":
        pytest.importorskip("av", reason="needs swiftpie[video]")
    place = np.asarray(Image.radial_gradient("L").resize((96, 64)))[..., None]
    true = [np.repeat(place * (1 - 0.008 * number), 3, axis=2) for number in range(24)]
    frames = [Image.fromarray(each.round().astype(np.uint8)) for each in true]
    data = encode_animation(frames, suffix, fps=8, metadata=FACTS, quality=quality)
    off = np.stack(decoded(data, suffix)).astype(float) - np.stack(true)
    assert np.abs(off.reshape(24, 8, 8, 12, 8, 3).mean((2, 4))).max() < 3.5  # by blocks of 8 px


def decoded(data, suffix):
    if suffix == ".mp4":
        import av

        with av.open(io.BytesIO(data)) as film:
            return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with Image.open(io.BytesIO(data)) as film:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]


def test_a_webp_film_keeps_transparency_and_frames_of_odd_sides():
    frames = [Image.new("RGBA", (33, 23), (200, 60 * number, 9, 0)) for number in range(3)]
    for number, frame in enumerate(frames):
        frame.paste((200, 60 * number, 9, 255), (4, 5, 20, 19))
    data = encode_animation(frames, ".webp", fps=8, metadata=FACTS)
    for shown, own in zip(
        ImageSequence.Iterator(Image.open(io.BytesIO(data))), frames, strict=True
    ):
        assert shown.convert("RGBA").getchannel("A").tobytes() == own.getchannel("A").tobytes()
        off = np.asarray(shown.convert("RGBA")).astype(int)[9, 9] - np.asarray(own)[9, 9]
        assert np.abs(off).max() <= 6


def test_a_film_holds_all_frames_and_their_speed(frames, tmp_path):
    av = pytest.importorskip("av", reason="needs swiftpie[video]")
    path = tmp_path / "out.mp4"
    odd = [frame.crop((0, 0, 33, 23)) for frame in frames]
    save_animation(odd, path, fps=12.5, metadata=FACTS)
    assert read_metadata(path) == read_metadata(path.read_bytes()) == FACTS
    assert b"trainedAlgorithmicMedia" in path.read_bytes()
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


@pytest.mark.parametrize(
    ("name", "fps"),
    [("out.avi", 8), ("out.gif", 0.999), ("out.gif", 51), ("out.webp", 1e-7), ("out", 0)],
)
def test_what_cannot_be_written_is_refused(frames, tmp_path, name, fps):
    with pytest.raises(InputError):
        save_animation(frames, tmp_path / name, fps=fps, metadata=FACTS)


def box(kind, data, *, is_long=False):
    if is_long:
        return struct.pack(">I4sQ", 1, kind, 16 + len(data)) + data
    return struct.pack(">I4s", 8 + len(data), kind) + data


RECORD = boxed(RECORD_BOX, b'{"prompt": "a dog"}')


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (box(b"ftyp", b"isom") + RECORD, {"prompt": "a dog"}),
        (
            box(b"ftyp", b"isom") + box(b"mdat", bytes(99), is_long=True) + RECORD,
            {"prompt": "a dog"},
        ),
        (box(b"ftyp", b"isom") + box(b"uuid", bytes(40)) + RECORD, {"prompt": "a dog"}),
        (box(b"ftyp", b"isom") + box(b"mdat", RECORD), {}),
        (box(b"ftyp", b"isom") + bytes(8) + RECORD, {}),
        (box(b"ftyp", b"isom") + RECORD[:30], {}),
        (box(b"ftyp", b"isom") + struct.pack(">I4s", 2**32 - 1, b"uuid") + RECORD, {}),
        (box(b"ftyp", b"isom") * 2_000 + RECORD, {}),
        (box(b"ftyp", b"isom") + boxed(RECORD_BOX, b"[]"), {}),
    ],
    ids=range(9),
)
def test_what_made_an_mp4_is_read_within_bounds(data, found):
    assert read_metadata(data) == found


@pytest.mark.parametrize("name", ["out", "out.gif"])
def test_no_folder_is_replaced_and_a_film_is_unless_that_is_forbidden(frames, tmp_path, name):
    save_animation(frames, tmp_path / name, fps=8, metadata=FACTS)
    with pytest.raises(InputError, match="exists"):
        save_animation(frames, tmp_path / name, fps=8, metadata=FACTS, force=name == "out")
    save_animation(frames[:1], tmp_path / "out.gif", fps=8, metadata=FACTS)
    with Image.open(tmp_path / "out.gif") as film:
        assert film.n_frames == 1
