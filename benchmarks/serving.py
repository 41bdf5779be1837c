"""Tells what `swiftpie serve` does under load: rates, delays, refusals, fairness, live pictures.

Run `python -m benchmarks.serving` in the folder of the repository, on a machine that does nothing
else. A server is started as users start it; clients and server share this machine. Requests come
at moments that were drawn before (an open loop), so a slow answer delays no other request, and
times are counted from the moment at which a request should have been sent.
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]  # it has none
import torch
import websockets

from benchmarks._machine import machine, write_report

SAMPLES = ("1f36a", "1f370", "1f3b2", "1f439")
SCENES = ("on a beach", "in the snow", "in space", "in a city", "at sunset", "in a desert")
SHARES = (0.25, 0.5, 0.75, 0.9, 10.0)  # of the capacity
PARTS = ("load", "fairness", "live")
LEAVING = 0.05  # of those who ask while it is watched for long
LOOKING_S = 5
EVERY_S = {"typed": 0.04, "dragged": 1 / 60}  # between what a live connection sends
SIZE = "256x256"  # a photographed place is larger otherwise
MIN_ANSWERS = 200  # of which a 95th percentile is taken
STANDS_IN, QUICK = "quicker networks are made", "quicker networks are ready"  # in the log
TOKEN = "of this benchmark"
USER = "X-SwiftPie-User"
NUM_USERS = 50
KNOWN = {"Authorization": f"Bearer {TOKEN}"}  # who holds it may ask for several users


class Answer(NamedTuple):
    """What came of one request."""

    status: int
    milliseconds: float  # since it should have been sent
    answer_ms: float  # since it was sent
    has_retry_after: bool


class Running:
    """A server process and how to ask it, by several users with a subject each."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self.ready_s = 0.0  # after its start
        self._identities: dict[str, str] = {}

    def meet(self, user: str) -> None:
        """Encode the subject of a user who has none yet."""
        if user in self._identities:
            return
        code = SAMPLES[len(self._identities) % len(SAMPLES)]
        data = (files("swiftpie") / "assets" / "samples" / f"{code}.webp").read_bytes()
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.webp"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x", **KNOWN, USER: user}
        with connected(self.port) as connection:
            connection.request("POST", "/v1/identities", head + data + b"\r\n--x--\r\n", kind)
            self._identities[user] = str(json.loads(connection.getresponse().read())["id"])

    def body(self, number: int, user: str) -> dict[str, Any]:
        """Return a request that no other one is alike."""
        return {
            "prompt": f"a thing {SCENES[number % len(SCENES)]}",
            "seed": number,
            "size": SIZE,
            "output_format": "jpeg",
            "swiftpie": {"subjects": [{"identity_id": self._identities[user]}]},
        }

    def metrics(self) -> str:
        """Return what the server counts, as Prometheus reads it."""
        with connected(self.port) as connection:
            connection.request("GET", "/metrics", headers=KNOWN)
            return connection.getresponse().read().decode()

    def resident_mib(self) -> dict[str, float]:
        """Return what the server holds in memory, and what those hold that decode pictures."""
        server = psutil.Process(self.process.pid)
        held = {"server": server, **{f"decoder {n}": p for n, p in enumerate(server.children())}}
        return {name: process.memory_info().rss / 2**20 for name, process in held.items()}


@contextmanager
def serving(*options: str) -> Iterator[Running]:
    """Start `swiftpie serve` on a free port, and stop it in the end.

    Raises:
        RuntimeError: It does not start.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = home / "log.txt"  # a pipe without a reader would stop the server
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "swiftpie", "serve", "--port", "0", *options],
                stderr=stack.enter_context(log.open("w")),
                cwd=home,
                env={**os.environ, "SWIFTPIE_TOKEN": TOKEN},
            )
        )
        stack.callback(process.terminate)
        while not (found := re.search(r"serving on \S+:(\d+)", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError("The server did not start. Run `swiftpie serve` to see why.")
            time.sleep(0.1)
        port = int(found[1])
        while not is_ready(port):
            time.sleep(0.1)
        running, said = Running(port, process), log.read_text
        running.ready_s = time.perf_counter() - began
        while STANDS_IN in said() and QUICK not in said():
            time.sleep(0.1)
        yield running


def is_ready(port: int) -> bool:
    """Whether the server takes requests."""
    with connected(port) as connection:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200


def connected(port: int) -> closing[http.client.HTTPConnection]:
    """Return a connection to a server of this machine, which is closed after use."""
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120))


async def ask(
    port: int,
    body: Mapping[str, Any],
    *,
    due: float,
    user: str = "",
    leaves_after: float | None = None,
) -> Answer:
    """Send one request on a connection of its own, whose end `leaves_after` some seconds."""
    data = json.dumps(body).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {TOKEN}\r\n{USER}: {user}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + data
    )
    if leaves_after is not None:
        await asyncio.sleep(leaves_after)
        writer.close()
        return Answer(0, 0.0, 0.0, has_retry_after=False)
    answer = await reader.read()
    now = time.perf_counter()
    writer.close()
    head = answer.partition(b"\r\n\r\n")[0].lower()
    status = int(head.split()[1]) if head else 0
    times = ((now - due) * 1000, (now - began) * 1000)
    return Answer(status, *times, b"retry-after:" in head)


def moments(*, rate: float, seconds: float, seed: int) -> list[float]:
    """Return when requests of a Poisson process come, as many as the rate says.

    Their number would vary by some percent of its own, and so would the load: a server that gets
    95 % of its capacity in place of 90 % lets callers wait for twice as long.
    """
    drawn = random.Random(seed)
    return sorted(drawn.uniform(0, seconds) for _ in range(round(rate * seconds)))


async def open_loop(
    running: Running, *, rate: float, seconds: float, seed: int, user: str = ""
) -> list[Answer]:
    """Send requests at the `moments` of a Poisson process."""
    when = moments(rate=rate, seconds=seconds, seed=seed)
    users = [user] if user else [f"u{number}" for number in range(NUM_USERS)]
    for name in users:
        running.meet(name)
    start = time.perf_counter()

    async def one(number: int, moment: float) -> Answer:
        due = start + moment
        await asyncio.sleep(due - time.perf_counter())
        name = users[number % len(users)]
        body = running.body(seed * 100_000 + number, name)
        return await ask(running.port, body, due=due, user=name)

    return list(await asyncio.gather(*(one(*pair) for pair in enumerate(when))))


async def closed_loop(running: Running, *, clients: int, seconds: float, seed: int) -> float:
    """Return answers a second where every client sends its next request after an answer."""
    for client in range(clients):
        running.meet(f"c{client}")
    end, counted = time.perf_counter() + seconds, 0

    async def one(client: int) -> None:
        nonlocal counted
        number = 0
        while time.perf_counter() < end:
            body = running.body(seed * 100_000 + client * 1000 + number, f"c{client}")
            found = await ask(running.port, body, due=time.perf_counter(), user=f"c{client}")
            counted += found.status == 200
            number += 1

    await asyncio.gather(*map(one, range(clients)))
    return counted / seconds


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    """Return percentiles of what was drawn, and what became of the rest."""
    drawn = sorted(answer.milliseconds for answer in answers if answer.status == 200)
    refused = [answer for answer in answers if answer.status == 429]
    return {
        "sent": len(answers),
        "drawn": len(drawn),
        "drawn_a_second": round(len(drawn) / seconds, 2),
        **{f"p{p}_ms": percentile(drawn, p) for p in (50, 95, 99)},
        "refused": len(refused),
        "refused_p95_ms": percentile(sorted(answer.answer_ms for answer in refused), 95),
        "refused_with_retry_after": sum(answer.has_retry_after for answer in refused),
        "others": counted(answers, known=(200, 429)),
    }


def counted(answers: Sequence[Answer], *, known: Sequence[int]) -> dict[int, int]:
    """Return how many answers had each status that is none of `known`."""
    return dict(Counter(answer.status for answer in answers if answer.status not in known))


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return a percentile of sorted values."""
    if not values:
        return None
    return round(values[min(len(values) - 1, len(values) * percent // 100)], 1)


async def live(running: Running, *, seconds: float, every_s: float) -> dict[str, Any]:
    """Type for some seconds over one live connection, or drag, which sends more."""
    sent: dict[int, float] = {}
    times: list[float] = []
    text = "a thing on a beach at sunset in the snow "
    address = f"ws://127.0.0.1:{running.port}/v1/live"
    running.meet("typist")
    kind = {**KNOWN, USER: "typist"}
    async with websockets.connect(address, additional_headers=kind) as socket:

        async def hear() -> None:
            while True:
                message = await socket.recv()
                if isinstance(message, bytes):
                    (length,) = struct.unpack(">I", message[:4])
                    number = json.loads(message[4 : 4 + length])["id"]
                    times.append((time.perf_counter() - sent[number]) * 1000)

        hearing = asyncio.ensure_future(hear())
        start, number = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            own = running.body(0, "typist")["swiftpie"]
            prompt = text[: 7 + number % (len(text) - 7)]
            sent[number] = time.perf_counter()
            request = {"type": "draw", "id": number, "prompt": prompt, "swiftpie": own}
            await socket.send(json.dumps(request))
            number += 1
            await asyncio.sleep(max(0, start + number * every_s - time.perf_counter()))
        await asyncio.sleep(0.5)
        hearing.cancel()
    times.sort()
    return {
        "pictures_a_second": round(len(times) / seconds, 1),
        **{f"p{p}_ms": percentile(times, p) for p in (50, 95, 99)},
        "keystrokes": number,
    }


async def fairness(running: Running, *, capacity: float, seconds: float) -> dict[str, Any]:
    """Return the delays of a user at a tenth of the capacity, alone and next to one at 10 times.

    The flood comes from a process that gives way to all others: what it takes to send it would be
    another machine's work.
    """
    rate = capacity / 10
    seconds = max(seconds, MIN_ANSWERS / rate)
    alone = await open_loop(running, rate=rate, seconds=seconds, seed=71, user="victim")
    running.meet("flood")
    apart = multiprocessing.get_context("fork")
    flood = apart.Process(
        target=_flood, args=(running,), kwargs={"rate": capacity * 10, "seconds": seconds}
    )
    flood.start()
    found = await open_loop(running, rate=rate, seconds=seconds, seed=71, user="victim")
    flood.join()
    solo, crowded = summary(alone, seconds), summary(found, seconds)
    times = (
        round(crowded["p95_ms"] / solo["p95_ms"], 2) if crowded["drawn"] and solo["drawn"] else None
    )
    return {"alone": solo, "beside_a_flood": crowded, "times": times}


def _flood(running: Running, *, rate: float, seconds: float) -> None:
    os.nice(19)
    asyncio.run(open_loop(running, rate=rate, seconds=seconds, seed=73, user="flood"))


async def soak(running: Running, *, capacity: float, minutes: float) -> dict[str, Any]:
    """Return how memory grows at half of the capacity, where a twentieth leaves before an answer.

    Slopes are fitted to the second half, when caches are full.
    """
    for number in range(NUM_USERS):
        running.meet(f"u{number}")
    drawn, end = random.Random(91), time.perf_counter() + minutes * 60
    rows: list[tuple[float, dict[str, float]]] = []
    answers: list[Answer] = []

    async def one(number: int) -> None:
        leaves = drawn.uniform(0, 0.2) if drawn.random() < LEAVING else None
        begun, user = time.perf_counter(), f"u{number % NUM_USERS}"
        body = running.body(9_000_000 + number, user)
        answers.append(await ask(running.port, body, due=begun, user=user, leaves_after=leaves))

    async def looking() -> None:
        while time.perf_counter() < end:
            rows.append((time.perf_counter(), running.resident_mib()))
            await asyncio.sleep(LOOKING_S)

    looks = asyncio.ensure_future(looking())
    requests: list[asyncio.Future[None]] = []
    while time.perf_counter() < end:
        requests.append(asyncio.ensure_future(one(len(requests))))
        await asyncio.sleep(drawn.expovariate(capacity / 2))
    await asyncio.gather(looks, *requests)
    half = rows[len(rows) // 2 :]
    slopes = {
        name: round(3600 * slope([(moment, held[name]) for moment, held in half]), 2)
        for name in rows[-1][1]
        if all(name in held for _, held in half)
    }
    return {
        "minutes": minutes,
        "drawn": sum(answer.status == 200 for answer in answers),
        "left": sum(answer.status == 0 for answer in answers),
        "refused": sum(answer.status == 429 for answer in answers),
        "others": counted(answers, known=(0, 200, 429)),
        "first_mib": rows[0][1],
        "last_mib": rows[-1][1],
        "mib_an_hour": slopes,
    }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much the second number grows with the first, by least squares."""
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def measure(
    engine: str, *, seconds: float, parts: Sequence[str], soak_minutes: float, batch: int
) -> dict[str, Any]:
    """Return the figures of one engine."""
    options = ["--batch", str(batch), *(["--engine", engine] if engine else [])]
    began = time.perf_counter()
    with serving(*options) as running:
        quick_s = time.perf_counter() - began
        say(f"{engine or 'eager'}: ready after {running.ready_s:.1f} s, quick after {quick_s:.1f}")
        asyncio.run(closed_loop(running, clients=8, seconds=5, seed=1))  # warms up
        capacity = asyncio.run(closed_loop(running, clients=8, seconds=seconds, seed=2))
        found: dict[str, Any] = {"ready_s": round(running.ready_s, 1), "quick_s": round(quick_s, 1)}
        found |= {"capacity_a_second": round(capacity, 2), "load": {}}
        say(f"{engine or 'eager'}: {capacity:.1f} pictures a second")
        for number, share in enumerate(SHARES if "load" in parts else ()):
            answers = asyncio.run(
                open_loop(running, rate=capacity * share, seconds=seconds, seed=10 + number)
            )
            found["load"][str(share)] = summary(answers, seconds)
            say(f"{share} of it: {found['load'][str(share)]}")
        if "fairness" in parts:
            found["fairness"] = asyncio.run(fairness(running, capacity=capacity, seconds=seconds))
            say(f"fairness: {found['fairness']}")
        if "live" in parts:
            for way, every_s in EVERY_S.items():
                found[way] = asyncio.run(live(running, seconds=seconds, every_s=every_s))
                say(f"live, {way}: {found[way]}")
        if soak_minutes:
            found["soak"] = asyncio.run(soak(running, capacity=capacity, minutes=soak_minutes))
            say(f"soak: {found['soak']}")
        found["resident_mib"] = running.resident_mib()
    return found


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(text + "\n")


def main() -> None:
    """Measure, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default=",openvino", help="joined by commas; empty: eager")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--parts", default=",".join(PARTS), help="joined by commas")
    parser.add_argument("--batch", type=int, default=0, help="as of `swiftpie serve`")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="0: none")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - {*PARTS, ""}:
        parser.error(f"--parts {', '.join(sorted(unknown))}: some of {', '.join(PARTS)} are known")
    found: dict[str, Any] = {"machine": machine(torch.device("cpu")), "engines": {}}
    for engine in options.engines.split(","):
        figures = measure(
            engine,
            seconds=options.seconds,
            parts=parts,
            soak_minutes=options.soak,
            batch=options.batch,
        )
        found["engines"][engine or "eager"] = figures
    write_report(found)


if __name__ == "__main__":
    main()
