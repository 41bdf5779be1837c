import asyncio
import gc
import json
import math
import os
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from swiftpie.errors import ImageError
from swiftpie.imageio.decoding import to_plain
from swiftpie.imageio.writing import METADATA_KEY, encode_image
from swiftpie.server import decoding
from swiftpie.server.decoding import Decoder
from tests.fuzz.pictures import encoded
from tests.server.conftest import turns_until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def decoder():
    async with Decoder() as one:
        yield one


async def test_pixels_arrive_as_they_are(decoder, sprite):
    photo = sprite.convert("RGB").resize((300, 200))
    clear, opaque = [(await decoder.decode(encoded(each, "PNG"))).image for each in (sprite, photo)]
    assert (clear.mode, clear.tobytes()) == ("RGBA", to_plain(sprite).tobytes())
    assert (opaque.mode, opaque.tobytes()) == ("RGB", photo.tobytes())


async def test_what_made_a_picture_is_read_in_the_same_process(decoder, sprite):
    data = encode_image(sprite, ".png", metadata={"prompt": "a dog"})
    assert (await decoder.decode(data)).origin == {"prompt": "a dog"}
    assert (await decoder.decode(encoded(sprite, "PNG"))).origin == {}


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
    before = kept._keys.num_bytes
    picture = encoded(sprite, "PNG", pnginfo=note)
    answer = server.upload("/v1/pictures", image=("a.png", picture))
    assert (answer.status, answer.json["origin"]) == (201, {})
    assert kept._keys.num_bytes - before == len(sprite.tobytes())


async def test_a_broken_picture_is_refused_and_the_next_one_is_read(decoder, sprite):
    good, huge = encoded(sprite, "PNG"), encoded(Image.new("1", (20000, 9)), "PNG")
    for data, said in (
        *((good[:200], "'image' .*is broken or cut off"), (b"<svg/>", "is an SVG drawing")),
        (huge, "20000x9"),
    ):
        with pytest.raises(ImageError, match=said):
            await decoder.decode(data, name="'image'")
    assert (await decoder.decode(good)).image.size == sprite.size


async def test_a_process_that_died_costs_the_next_picture_nothing(decoder, sprite):
    good = encoded(sprite, "PNG")
    for _ in range(2):
        child = decoder._child
        os.kill(child.pid, signal.SIGKILL)
        assert (await decoder.decode(good)).image.size == sprite.size
        assert decoder._child is not child


async def test_a_process_that_hangs_is_replaced(decoder, sprite, monkeypatch):
    good = encoded(sprite, "PNG")
    await decoder.decode(good)
    os.kill(decoder._child.pid, signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        impatient.setattr(decoding, "PATIENCE", 0.02)
        with pytest.raises(ImageError, match="takes more than"):
            await decoder.decode(good)
    assert decoder._child is None
    assert (await decoder.decode(good)).image.size == sprite.size


async def test_keys_take_turns(sprite):
    done = []
    async with Decoder(has_spare=False) as decoder:

        async def one(key, number):
            await decoder.decode(encoded(sprite, "PNG"), key=key)
            done.append((key, number))

        many = [asyncio.ensure_future(one("many", number)) for number in range(6)]
        await asyncio.sleep(0)  # all of them wait
        await asyncio.gather(*many, one("other", 0))
    assert done.index(("other", 0)) <= 1


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
async def test_pictures_are_shrunk_where_they_are_decoded(decoder, sprite, file_format):
    data = encoded(sprite.convert("RGB").resize((900, 300)), file_format)
    whole, small = [(await decoder.decode(data, most_px=px)).image for px in (None, 300)]
    assert (whole.size, small.size) == ((900, 300), (300, 100))
    assert (
        abs(sum(small.resize((1, 1)).getpixel((0, 0))) - sum(whole.resize((1, 1)).getpixel((0, 0))))
        < 9
    )


async def test_what_does_not_fit_into_memory_waits_before_it_is_decoded(sprite, monkeypatch):
    large, small = (encoded(sprite.resize((side, side)), "PNG") for side in (400, 40))
    bytes_of = {side: side**2 * decoding.SHOWN_BYTES for side in (400, 40)}
    monkeypatch.setattr(decoding, "LARGE_BYTES", bytes_of[400] // 2)
    monkeypatch.setattr(decoding, "BUDGETS", {True: int(2.5 * bytes_of[400]), False: bytes_of[40]})
    async with Decoder() as decoder:
        budget = decoder._budgets[True]
        held = [await decoder.decode(large, key=key) for key in "ab"]
        assert budget.taken == 2 * bytes_of[400]
        waiting = [asyncio.ensure_future(decoder.decode(large, key=key)) for key in "cde"]
        for key in "cfg":  # small ones pass, also of who waits
            assert (await decoder.decode(small, key=key)).image.size == (40, 40)
            gc.collect()
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()  # its caller left
        held.clear()
        for task in waiting[1:]:  # in order
            await turns_until(task.done)
            assert task.result().image.size == (400, 400)
        whole = asyncio.ensure_future(decoder.decode(large, key="h", pixel_bytes=10**6))
        await asyncio.sleep(0.01)
        assert not whole.done()  # it takes all that there is
        waiting.clear()
        del task
        await whole
        assert budget.taken == int(2.5 * bytes_of[400])
        whole = None
        gc.collect()
        await turns_until(lambda: not budget.taken)


async def test_pictures_of_two_requests_do_not_wait_for_each_other(sprite, monkeypatch):
    uploads = [decoding.Upload(encoded(sprite, "PNG"))] * 3
    num_bytes = math.prod(sprite.size) * decoding.SHOWN_BYTES
    monkeypatch.setattr(decoding, "BUDGETS", {True: 0, False: 4 * num_bytes})
    async with Decoder() as decoder, asyncio.timeout(60):
        both = await asyncio.gather(*map(size_after, [decoder] * 2, [uploads] * 2, "ab"))
        assert both == [3, 3]
        with pytest.raises(ImageError, match=r"'second' .*no.* a readable"):
            await decoder.decode_all([uploads[0], decoding.Upload(b"x", "'second'")])
        gc.collect()
        await turns_until(lambda: not decoder._budgets[False].taken)


async def size_after(decoder, uploads, key):
    return len(await decoder.decode_all(uploads, key=key))


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process holds from /proc")
async def test_the_memory_of_bombs_goes_back(decoder):
    bomb = encoded(Image.new("RGBA", (6300, 6300)), "PNG")
    assert len(bomb) < 200_000

    def held_mib(process="self"):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    before, child = held_mib(), decoder._child
    for _ in range(3):
        await decoder.decode(bomb)
    gc.collect()
    assert held_mib() - before < 100
    assert held_mib(child.pid) < 200


async def test_a_picture_that_takes_long_lets_another_caller_pass(decoder, sprite):
    good = encoded(sprite, "PNG")
    os.kill(decoder._child.pid, signal.SIGSTOP)  # in the midst of it
    long = [asyncio.ensure_future(decoder.decode(good, key="a")) for _ in range(2)]
    await turns_until(decoder._free.locked)
    assert (await decoder.decode(good, key="b")).image.size == sprite.size
    assert not any(task.done() for task in long)
    os.kill(decoder._child.pid, signal.SIGCONT)
    await asyncio.gather(*long)
