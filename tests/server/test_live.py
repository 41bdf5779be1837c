import io
import json
import socket
import struct
import time
from contextlib import suppress

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from swiftpie.imageio.writing import read_metadata
from swiftpie.server.guard import BURST_S
from swiftpie.server.listening import MAX_FRAMES
from swiftpie.server.schemas import MAX_TEXT_BYTES
from tests.server.conftest import LIVE, held, to_png

PROMPT = "a dog on a beach"


@pytest.fixture
def live(server):
    with connect(f"ws://127.0.0.1:{server.port}/v1/live", origin=server.url) as one:
        yield one


def send(live, number, identity_id, **more):
    own = {"subjects": [{"identity_id": identity_id}], **more.pop("swiftpie", {})}
    message = {"type": "draw", "id": number, "prompt": PROMPT, "swiftpie": own, **more}
    live.send(json.dumps(message))


def receive(live):
    message = live.recv(timeout=60)
    if isinstance(message, str):
        return json.loads(message), None
    (length,) = struct.unpack(">I", message[:4])
    picture = Image.open(io.BytesIO(message[4 + length :]))
    return json.loads(message[4 : 4 + length]), picture


def test_a_prompt_gives_its_picture(live, identity_id, session, identity):
    send(live, 1, identity_id, seed=4, output_format="png", swiftpie={"return_mask": True})
    header, picture = receive(live)
    assert (header["type"], header["id"], header["seed"]) == ("picture", 1, 4)
    assert picture.tobytes() == session.personalize(identity, PROMPT, seed=4).images[0].tobytes()
    assert header["mask_b64"]
    assert header["milliseconds"] > 0
    assert 0 <= header["subjects_at"][0] < header["subjects_at"][2] <= 1


def test_the_newest_replaces_those_that_wait(server, live, identity_id):
    with held(server.worker) as (begun, gate, _):
        send(live, 1, identity_id)
        assert begun.wait(60)
        for number in (2, 3, 4):
            send(live, number, identity_id, seed=number)
        dropped = [receive(live)[0] for _ in range(2)]
        gate.set()
        drawn = [receive(live)[0] for _ in range(2)]
    assert [(event["type"], event["id"]) for event in dropped] == [("dropped", 2), ("dropped", 3)]
    assert [(event["type"], event["id"]) for event in drawn] == [("picture", 1), ("picture", 4)]


@pytest.fixture(scope="module")
def kept(server, photo):
    plain = Image.frombytes(photo.mode, photo.size, photo.tobytes())
    return server.upload("/v1/pictures", image=("photo.png", to_png(plain))).json


def test_edits_are_live_too(live, session, photo, kept):
    assert (kept["width"], kept["height"], kept["origin"]) == (128, 128, {})
    message = {"type": "edit", "id": 1, "prompt": "a dog at night", "picture_id": kept["id"]}
    own = {"source_prompt": PROMPT, "return_mask": True}
    live.send(json.dumps({**message, "output_format": "png", "swiftpie": own}))
    header, picture = receive(live)
    edited = session.edit(photo, "a dog at night", source_prompt=PROMPT, seed=0)
    assert header["type"] == "picture", header
    assert picture.tobytes() == edited.image.tobytes()


def test_a_proposed_place_is_in_the_answer(live, session, identity, identity_id, photo, kept):
    own = {"task": "insert", "subjects": [{"identity_id": identity_id}], "return_mask": True}
    message = {"type": "edit", "id": 1, "prompt": "a mug", "picture_id": kept["id"]}
    live.send(json.dumps({**message, "output_format": "png", "swiftpie": own}))
    header, picture = receive(live)
    assert header["type"] == "picture", header
    found = read_metadata(picture)
    assert found["task"] == "insert"
    assert json.loads(found["subjects"])[0]["box"] == header["box"]
    again = session.insert(photo, identity, prompt="a mug", box=tuple(header["box"]), seed=0)
    assert picture.tobytes() == again.image.tobytes()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("no json", "JSON"),
        ('{"type": "draw", "id": 1}', "prompt"),
        ('{"type": "edit", "id": 1, "prompt": "a dog", "picture_id": "x"}', "is not known here"),
        ('{"type": "draw", "id": 1, "prompt": "a", "size": "canary"}', "The size is"),
        ('{"type": "draw", "id": 1, "prompt": "a", "size": "' + 5000 * "1" + '"}', "size: "),
        (b'{"type": "draw", "id": 1, "prompt": "a dog"}', "JSON"),
        (json.dumps(dict.fromkeys(map(str, range(65)))), "65 fields; at most 64 are read"),
    ],
)
def test_mistakes_are_answered_and_the_connection_stays(live, identity_id, caplog, message, said):
    live.send(message)
    found, _ = receive(live)
    assert found["type"] == "error"
    assert said in found["error"]["message"]
    assert len(found["error"]["message"]) < 300
    assert ".." not in found["error"]["message"].replace("…", "")
    assert "canary" not in caplog.text
    send(live, 2, identity_id)
    assert receive(live)[0]["id"] == 2


def test_an_error_of_our_own_is_answered_and_its_words_are_not_logged(
    server, live, identity_id, caplog
):
    original = server.worker.backend.answer

    def broken(work, check):
        check("batched")
        raise LookupError(work[0].prompt)

    server.worker.backend.answer = broken
    try:
        send(live, 1, identity_id, prompt="a dog and a canary")
        found = receive(live)[0]
        dog = {"subjects": [{"library": "dog"}]}
        answer = server.draw("a dog and a canary", swiftpie=dog)
        stream = server.draw("a dog and a canary", stream=True)
    finally:
        server.worker.backend.answer = original
    assert (found["type"], found["id"]) == ("error", 1)
    assert answer.status == 500
    assert b'"type": "error"' in stream.content
    assert "LookupError" in caplog.text
    assert "canary" not in caplog.text
    send(live, 2, identity_id)
    assert receive(live)[0]["id"] == 2


MASK = bytes(4)
REASON = f"more than {MAX_FRAMES} messages a second".encode()
MOST_SENT = 1 << 28  # bytes, far more than the buffers of two sockets hold
SAID = struct.pack(">BBH", 0x88, 2 + len(REASON), 1008) + REASON
FLOODS = {
    "empty parts": (b"\x01\x80" + MASK, b"\x00\x80" + MASK),
    "pings": (b"", b"\x89\x80" + MASK),
    "pongs": (b"", b"\x8a\x80" + MASK),
    "messages": (b"", b"\x81\x82" + MASK + b"{}"),
    "binary messages": (b"", b"\x82\x80" + MASK),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_ends_its_connection(server, name):
    first, frame = FLOODS[name]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        raw.sendall(LIVE.encode())
        assert raw.recv(1 << 16).startswith(b"HTTP/1.1 101")
        answer = b""
        raw.sendall(first + 40_000 * frame)
        while not answer.endswith(SAID):
            piece = raw.recv(1 << 16)
            assert piece, "the connection ends without a reason"
            answer += piece
    assert server.ask("GET", "/health/live").status == 200
    assert len(answer) < 200_000  # of 200 answers, not of 40,000


def test_a_flood_that_goes_on_is_not_read_for_long(server):
    first, frame = FLOODS["messages"]
    piece, sent = 10_000 * frame, 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        raw.sendall(LIVE.encode() + first)
        with suppress(ConnectionError):
            while sent < MOST_SENT:
                raw.sendall(piece)
                sent += len(piece)
        assert sent < MOST_SENT


def test_as_many_messages_as_typing_sends_are_answered(live):
    for _ in range(100):
        live.send("{}")
    assert {receive(live)[0]["type"] for _ in range(100)} == {"error"}


def test_a_message_that_is_too_long_ends_its_connection(live):
    live.send(json.dumps({"prompt": "x" * (MAX_TEXT_BYTES << 3)}))
    with pytest.raises(ConnectionClosed) as closed:
        live.recv(timeout=60)
    assert closed.value.rcvd.code == 1009
    assert str(MAX_TEXT_BYTES) in closed.value.rcvd.reason


def test_what_breaks_the_protocol_ends_its_connection_with_a_reason(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        raw.sendall(LIVE.encode())
        assert raw.recv(1 << 16).startswith(b"HTTP/1.1 101")
        raw.sendall(b"\x81\x02{}" + bytes(1 << 20))  # without a mask
        assert raw.recv(1 << 16)[2:4] == struct.pack(">H", 1002)


def test_messages_that_come_too_quickly_end_their_connection(server, live):
    known = server.guard._pace._until
    known["127.0.0.1 "] = time.monotonic() + 2 * BURST_S
    live.send("{}")
    with pytest.raises(ConnectionClosed) as closed:
        live.recv(timeout=60)
    known.clear()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "rate_limit_exceeded")
