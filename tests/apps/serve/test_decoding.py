"""Pictures of strangers: whatever they are, the server's own process stays as it was."""

import asyncio
import io
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from swiftpie.apps.serve import decoding
from swiftpie.apps.serve.decoding import Decoders
from swiftpie.errors import ImageError
from swiftpie.imageio.writing import encode_image


def decode(*pictures):
    """Decode one after the other in one process; an error stands for what it is about."""

    async def run():
        found = []
        async with Decoders(1) as decoders:
            for data in pictures:
                try:
                    found.append((await decoders.decode(data, name="'image'")).image)
                except ImageError as error:
                    found.append(error)
        return found

    return asyncio.run(run())


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def test_pixels_arrive_as_they_are(sprite):
    photo = sprite.convert("RGB").resize((300, 200))
    clear, opaque = decode(encoded(sprite, "PNG"), encoded(photo, "PNG"))
    assert (clear.mode, clear.tobytes()) == ("RGBA", sprite.tobytes())
    assert (opaque.mode, opaque.tobytes()) == ("RGB", photo.tobytes())


def test_what_made_a_picture_is_read_in_the_same_process(sprite):
    data = encode_image(sprite, ".png", metadata={"prompt": "a dog"})

    async def run():
        async with Decoders(1) as decoders:
            return await decoders.decode(data), await decoders.decode(encoded(sprite, "PNG"))

    ours, other = asyncio.run(run())
    assert (ours.origin, other.origin) == ({"prompt": "a dog"}, {})


def test_broken_pictures_are_told_and_the_next_one_is_read(sprite):
    good = encoded(sprite, "PNG")
    cut, text, huge, fine = decode(
        good[:200], b"<svg/>", encoded(Image.new("1", (20000, 9)), "PNG"), good
    )
    assert "'image'" in str(cut)
    assert "is broken or cut off" in str(cut)
    assert "is not a readable picture" in str(text)
    assert "20000x9" in str(huge)
    assert fine.size == sprite.size


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_is_replaced(sprite, monkeypatch, what):
    good = encoded(sprite, "PNG")

    async def run():
        async with Decoders(1) as decoders:
            await decoders.decode(good)
            (child,) = decoders._all
            os.kill(child._process.pid, what)
            with monkeypatch.context() as impatient:
                impatient.setattr(decoding, "PATIENCE", 0.02)
                with pytest.raises(ImageError, match="takes more than"):
                    await decoders.decode(good)
            assert not decoders._all
            return (await decoders.decode(good)).image

    assert asyncio.run(run()).size == sprite.size


def test_whoever_leaves_in_the_midst_stops_the_decoder(sprite):
    async def run():
        async with Decoders(1) as decoders:
            asked = asyncio.ensure_future(decoders.decode(encoded(sprite, "PNG")))
            await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert not decoders._all
            return (await decoders.decode(encoded(sprite, "PNG"))).image

    assert asyncio.run(run()).size == sprite.size


def test_memory_and_time_have_bounds():
    # In this process the limits would stay, so they are looked at in the one that has them.
    probe = (
        "import resource, sys; from swiftpie.apps.serve import decoding as d; d._limit_memory(); "
        "d._limit_time(); print(resource.getrlimit(resource.RLIMIT_DATA)[0], "
        "resource.getrlimit(resource.RLIMIT_CPU)[0])"
    )
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    memory, seconds = map(int, told.stdout.split())
    assert memory == decoding.MAX_MIB << 20
    assert seconds <= 10


def test_the_process_loads_no_tensor_library():
    probe = "import sys, swiftpie.apps.serve.decoding; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
