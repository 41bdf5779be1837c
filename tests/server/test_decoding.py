import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from swiftpie.errors import ImageError
from swiftpie.imageio.decoding import to_plain
from swiftpie.imageio.writing import METADATA_KEY, encode_image
from swiftpie.server import decoding
from swiftpie.server.decoding import Decoder
from swiftpie.server.errors import Overloaded
from tests.fuzz.pictures import encoded
from tests.server.conftest import turns_until


def decode(*pictures):
    """Decode one after the other in one process; an error stands for what it is about."""

    async def run():
        found = []
        async with Decoder() as decoder:
            for data in pictures:
                try:
                    found.append((await decoder.decode(data, name="'image'")).image)
                except ImageError as error:
                    found.append(error)
        return found

    return asyncio.run(run())


def test_pixels_arrive_as_they_are(sprite):
    photo = sprite.convert("RGB").resize((300, 200))
    clear, opaque = decode(encoded(sprite, "PNG"), encoded(photo, "PNG"))
    assert (clear.mode, clear.tobytes()) == ("RGBA", to_plain(sprite).tobytes())
    assert (opaque.mode, opaque.tobytes()) == ("RGB", photo.tobytes())


def test_what_made_a_picture_is_read_in_the_same_process(sprite):
    data = encode_image(sprite, ".png", metadata={"prompt": "a dog"})

    async def run():
        async with Decoder() as decoder:
            return await decoder.decode(data), await decoder.decode(encoded(sprite, "PNG"))

    assert [picture.origin for picture in asyncio.run(run())] == [{"prompt": "a dog"}, {}]


@pytest.mark.parametrize(
    "stored",
    [
        *({"prompt": "x" * 1_000_000}, {"prompt": "x" * 5_000}, {"prompt": "\ud800"}),
        *({"secret": "x"}, ["prompt"]),
    ],
    ids=["bomb", "long", "half of a letter", "other", "list"],
)
def test_metadata_of_others_are_neither_kept_nor_sent_back(server, sprite, stored):
    note = PngImagePlugin.PngInfo()
    note.add_itxt(METADATA_KEY, json.dumps(stored), zip=True)
    kept = server.worker.pictures
    before = kept._held
    picture = encoded(sprite, "PNG", pnginfo=note)
    answer = server.upload("/v1/pictures", image=("a.png", picture))
    assert (answer.status, answer.json["origin"]) == (201, {})
    assert kept._held - before == len(sprite.tobytes())


def test_a_broken_picture_is_refused_and_the_next_one_is_read(sprite):
    good = encoded(sprite, "PNG")
    cut, text, huge, fine = decode(
        good[:200], b"<svg/>", encoded(Image.new("1", (20000, 9)), "PNG"), good
    )
    assert "'image'" in str(cut)
    assert "is broken or cut off" in str(cut)
    assert "is not a readable picture" in str(text)
    assert "20000x9" in str(huge)
    assert fine.size == sprite.size


def test_a_process_that_died_costs_the_next_picture_nothing(sprite):
    good = encoded(sprite, "PNG")

    async def run():
        async with Decoder() as decoder:
            for _ in range(2):
                child = decoder._child
                os.kill(child.pid, signal.SIGKILL)
                assert (await decoder.decode(good)).image.size == sprite.size
                assert decoder._child is not child

    asyncio.run(run())


def test_a_process_that_hangs_is_replaced(sprite, monkeypatch):
    good = encoded(sprite, "PNG")

    async def run():
        async with Decoder() as decoder:
            await decoder.decode(good)
            child = decoder._child
            os.kill(child.pid, signal.SIGSTOP)
            with monkeypatch.context() as impatient:
                impatient.setattr(decoding, "PATIENCE", 0.02)
                with pytest.raises(ImageError, match="takes more than"):
                    await decoder.decode(good)
            assert decoder._child is None
            return (await decoder.decode(good)).image

    assert asyncio.run(run()).size == sprite.size


def test_keys_take_turns(sprite):
    async def run():
        done = []
        async with Decoder(has_spare=False) as decoder:

            async def one(key, number):
                await decoder.decode(encoded(sprite, "PNG"), key=key)
                done.append((key, number))

            many = [asyncio.ensure_future(one("many", number)) for number in range(6)]
            await asyncio.sleep(0)  # all of them wait
            await asyncio.gather(*many, one("other", 0))
        return done

    assert asyncio.run(run()).index(("other", 0)) <= 1


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_pictures_are_shrunk_where_they_are_decoded(sprite, file_format):
    photo = sprite.convert("RGB").resize((900, 300))

    async def run():
        async with Decoder() as decoder:
            data = encoded(photo, file_format)
            whole = (await decoder.decode(data)).image
            return whole, (await decoder.decode(data, most_px=300)).image

    whole, small = asyncio.run(run())
    assert (whole.size, small.size) == ((900, 300), (300, 100))
    assert (
        abs(sum(small.resize((1, 1)).getpixel((0, 0))) - sum(whole.resize((1, 1)).getpixel((0, 0))))
        < 9
    )


def test_what_a_caller_and_what_all_hold_is_bounded(sprite, monkeypatch):
    picture, fits = encoded(sprite, "PNG"), 3
    monkeypatch.setattr(decoding, "MAX_KEY_PIXELS", fits * sprite.width * sprite.height)
    monkeypatch.setattr(decoding, "MAX_HELD_PIXELS", 2 * decoding.MAX_KEY_PIXELS)

    async def run():
        async with Decoder() as decoder:
            held = [(await decoder.decode(picture, key="a")).image for _ in range(fits)]
            with pytest.raises(Overloaded) as of_key:
                await decoder.decode(picture, key="a")
            held += [(await decoder.decode(picture, key="b")).image for _ in range(fits)]
            with pytest.raises(Overloaded) as of_all:
                await decoder.decode(picture, key="c")
            held.clear()
            gc.collect()
            await asyncio.sleep(0)
            again = (await decoder.decode(picture, key="a")).image
            return again.size, of_key.value.of_key, of_all.value.of_key

    assert asyncio.run(run()) == (sprite.size, True, False)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process holds from /proc")
def test_the_memory_of_bombs_goes_back():
    bomb = encoded(Image.new("RGBA", (6300, 6300)), "PNG")
    assert len(bomb) < 200_000

    def held_mib():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    async def run():
        async with Decoder() as decoder:
            before = held_mib()
            child = decoder._child
            for _ in range(3):
                await decoder.decode(bomb)
            gc.collect()
            pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
            return held_mib() - before, pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    server, decoder = asyncio.run(run())
    assert server < 100
    assert decoder < 200


def test_memory_and_time_have_bounds():
    # In this process the limits would stay, so they are looked at in the one that has them.
    probe = (
        "import resource, sys; from swiftpie.server import decoding as d; d._limit_memory(); "
        "d._limit_time(); print(resource.getrlimit(resource.RLIMIT_DATA)[0], "
        "resource.getrlimit(resource.RLIMIT_CPU)[0])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    memory, seconds = map(int, done.stdout.split())
    assert memory == decoding.MAX_MIB << 20
    assert seconds <= 10


def test_the_process_loads_no_tensor_library():
    probe = "import sys, swiftpie.server.decoding; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_picture_that_takes_long_lets_another_caller_pass(sprite):
    good = encoded(sprite, "PNG")

    async def run():
        async with Decoder() as decoder:
            os.kill(decoder._child.pid, signal.SIGSTOP)  # in the midst of it
            long = [asyncio.ensure_future(decoder.decode(good, key="a")) for _ in range(2)]
            await turns_until(decoder._free.locked)
            image = (await decoder.decode(good, key="b")).image
            assert image.size == sprite.size
            assert not any(one.done() for one in long)
            os.kill(decoder._child.pid, signal.SIGCONT)
            await asyncio.gather(*long)

    asyncio.run(run())
