"""Tells how `swiftpie serve` answers others while one caller tries to stop it.

Run `python -m benchmarks.serving_attacks` in the folder of the repository, on a machine that does
nothing else. The server is started as users start it. The callers who attack run in a process that
gives way to all others. Meanwhile `/health/live` is asked every 20 ms.
"""

import argparse
import io
import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks._machine import machine, write_report
from benchmarks.serving import TOKEN, USER, Running, percentile, say, serving

EVERY_S = 0.02
LARGEST = "512x512"  # that `mini` draws in a server
OVER = "2048x2048"
BOMB_PX = 6300
MANY_CONNECTIONS = 600
ATTACK_S = 5.0  # at least, each attack over and over again
SECRET = f"Authorization: Bearer {TOKEN}\r\n{USER}: attacker\r\n"
MASK = bytes(4)
HANDSHAKE = (
    f"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\n{SECRET}Connection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def asked(
    port: int, method: str, path: str, body: bytes = b"", kind: str = "application/json"
) -> tuple[int, bytes]:
    """Return the status and the body of an answer; 0 where the connection ends before."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{SECRET}Content-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as raw:
        try:
            raw.sendall(head.encode() + body)
            while piece := raw.recv(1 << 16):
                answer += piece
        except ConnectionError:  # refused with something unread
            pass
    head_of, _, content = answer.partition(b"\r\n\r\n")
    return int(head_of.split()[1]) if head_of else 0, content


def many_keys(port: int, *, count: int, path: str) -> None:
    """Send unknown keys, each of which would be an error."""
    keys = ",".join(f'"{number}": 0' for number in range(count))
    asked(port, "POST", path, f'{{"prompt": "a", "swiftpie": {{{keys}}}}}'.encode())


def base64_text(port: int) -> None:
    """Send four pictures in base64 that are none, almost as much as a request may have."""
    picture = {"image_url": "data:image/png;base64," + "A" * (13 << 20)}
    body = json.dumps({"prompt": "a", "images": [picture] * 4})
    asked(port, "POST", "/v1/images/edits", body.encode())


def frames(port: int, first: bytes, frame: bytes, count: int) -> None:
    """Send frames over a live connection until it ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(HANDSHAKE.encode())
        raw.recv(1 << 16)
        try:
            raw.sendall(first + count * frame)
            while raw.recv(1 << 16):
                pass
        except ConnectionError:
            pass


def bombs(port: int, *, path: str) -> None:
    """Send small files that unpack to many pixels, eight at once."""
    data = io.BytesIO()
    Image.new("RGBA", (BOMB_PX, BOMB_PX)).save(data, "PNG")
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body, kind = head + data.getvalue() + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"
    callers = [
        threading.Thread(target=asked, args=(port, "POST", path, body, kind)) for _ in range(8)
    ]
    for one in callers:
        one.start()
    for caller in callers:
        caller.join()


def half_open(port: int) -> None:
    """Hold connections that send nothing."""
    held: list[socket.socket] = []
    try:
        while len(held) < MANY_CONNECTIONS:
            held.append(socket.create_connection(("127.0.0.1", port), timeout=10))
    except OSError:
        pass
    time.sleep(1)
    for one in held:
        one.close()


ATTACKS: Mapping[str, Callable[[int], None]] = {
    "nothing": lambda _: time.sleep(1),
    "100,000 unknown keys": lambda port: many_keys(port, count=100_000, path="/v1/jobs"),
    "7 MiB of unknown keys": lambda port: many_keys(port, count=500_000, path="/v1/images/edits"),
    "52 MiB of base64": base64_text,
    "five live messages of 1 MiB": lambda port: frames(
        port, b"", b"\x81\xff" + (1 << 20).to_bytes(8) + MASK + b"[" * (1 << 20), 5
    ),
    "112,000 live messages": lambda port: frames(port, b"", b"\x81\x82" + MASK + b"{}", 112_000),
    "840,000 empty parts": lambda port: frames(
        port, b"\x01\x80" + MASK, b"\x00\x80" + MASK, 840_000
    ),
    "eight picture bombs": lambda port: bombs(port, path="/v1/identities"),
    "600 connections": half_open,
}


def lives(port: int, until: Callable[[], bool]) -> list[float]:
    """Return how long answers about health took, in ms, until something ends."""
    times = []
    request = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    while not until():
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), timeout=120) as raw:
            raw.sendall(request)
            assert raw.recv(1 << 16).startswith(b"HTTP/1.1 200")
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(EVERY_S)
    return sorted(times)


def attacked(running: Running, attack: Callable[[int], None]) -> dict[str, Any]:
    """Return the delays of health beside an attack."""

    def gently() -> None:
        os.nice(19)
        end = time.monotonic() + ATTACK_S
        while time.monotonic() < end:
            attack(running.port)

    apart = multiprocessing.get_context("fork").Process(target=gently)
    apart.start()
    times = lives(running.port, lambda: not apart.is_alive())
    apart.join()
    return {
        "answers": len(times),
        "p50_ms": percentile(times, 50),
        "worst_ms": percentile(times, 100),
        "server_mib": round(running.resident_mib()["server"]),
    }


def cancelled(running: Running) -> dict[str, Any]:
    """Return how soon another caller is drawn after a job of the largest size was deleted."""
    running.meet("other")
    refused, _ = asked(
        running.port, "POST", "/v1/jobs", json.dumps({"prompt": "a dog", "size": OVER}).encode()
    )
    alone, after = [], []
    for number in range(5):
        alone.append(_drawn_ms(running, number))
        body = json.dumps({"prompt": "a cat and a dog", "size": LARGEST, "n": 8}).encode()
        job = json.loads(asked(running.port, "POST", "/v1/jobs", body)[1])["id"]
        time.sleep(0.3)  # it is drawn by now
        asked(running.port, "DELETE", f"/v1/jobs/{job}")
        after.append(_drawn_ms(running, 100 + number))
    return {
        f"status_of_{OVER}": refused,
        "another_alone_ms": percentile(sorted(alone), 100),
        f"another_after_a_deleted_{LARGEST}_ms": percentile(sorted(after), 100),
    }


def _drawn_ms(running: Running, number: int) -> float:
    began = time.perf_counter()
    body = json.dumps(running.body(number, "other")).encode()
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {TOKEN}\r\n{USER}: other\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port), timeout=120) as raw:
        raw.sendall(head.encode() + body)
        answer = raw.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
        while raw.recv(1 << 16):
            pass
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Measure, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a file instead of standard output")
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(torch.device("cpu")), "health": {}}
    with serving() as running:
        for name, attack in ATTACKS.items():
            found["health"][name] = attacked(running, attack)
            say(f"{name}: {found['health'][name]}")
        found["cancelled"] = cancelled(running)
        say(f"cancelled: {found['cancelled']}")
    write_report(found, options.out)


if __name__ == "__main__":
    main()
