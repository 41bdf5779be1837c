"""How the embedded model's work grows: `python -m benchmarks.growth [--plot growth.webp]`.

Times are milliseconds of the processor on one thread, the median of several seeds: by subjects,
references, pixels, frames, and prompts in one pass. With `--served 2000`, a server draws so many
pictures of the subjects of 50 users, and its memory is noted on the way.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw

import swiftpie
from benchmarks.serving import KNOWN, NUM_USERS, USER, Running, connected, serving
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.types import Identity

PROMPT, PLACES = "a dog on a frozen lake", ("on a frozen lake", "in a park", "in a meadow")
SAMPLES = ("1f439", "1f980", "1f995", "1f916")
SUBJECTS, REFERENCES, FRAMES, PROMPTS = (1, 2, 3, 4), (1, 2, 4), (1, 2, 4, 8, 16), (1, 2, 4, 8, 16)
WIDTHS = (256, 512, 768, 1024, 1536, 2048)
CHECKS = 10  # how often a server's memory is noted
SIZE, MARGIN, COLOUR = (300, 220), 44, "#1b6ca8"

Curve = Mapping[int, float]


class Growth(NamedTuple):
    """What is measured of one thing that grows."""

    title: str
    unit: str
    values: Curve


def spent_ms(call: Callable[[int], object], repeats: int) -> float:
    """Return the median over seeds of the processor's milliseconds of a call, the better of two."""

    def once(seed: int) -> float:
        began = time.process_time()
        call(seed)
        return 1000 * (time.process_time() - began)

    call(0)
    found = [min(once(seed), once(seed)) for seed in range(1, repeats + 1)]
    return round(statistics.median(found), 1)


def measured(session: swiftpie.Session, repeats: int) -> list[Growth]:
    """Return how drawing grows in a loaded session."""
    pictures = [str(files("swiftpie") / "assets" / "samples" / f"{code}.webp") for code in SAMPLES]
    encoded = [session.encode_identity(picture) for picture in pictures]
    known = {n: session.encode_identity(pictures[:1] * n) for n in REFERENCES}

    def picture(
        subjects: Identity | Sequence[Subject], width: int = 768
    ) -> Callable[[int], object]:
        size = (width, width * 3 // 4)
        return lambda seed: session.personalize(subjects, PROMPT, seed=seed, size=size)

    def row(count: int) -> list[Subject]:
        share = 0.9 / count
        boxes = [(0.05 + n * share, 0.4, 0.05 + (n + 1) * share, 0.9) for n in range(count)]
        return [Subject(each, box=box) for each, box in zip(encoded, boxes, strict=False)]

    def film(frames: int) -> Callable[[int], object]:
        if frames == 1:
            return picture(encoded[0])
        to = f"{PROMPT} at night"
        return lambda seed: session.animate(
            encoded[0], PROMPT, to=to, num_frames=frames, seed=seed, size=(768, 576)
        )

    def together(count: int) -> Callable[[int], object]:
        return lambda seed: session.draw_together(
            [
                PersonalizeRequest(
                    subjects=(Subject(encoded[n % len(encoded)]),),
                    prompt=f"a thing {PLACES[n % len(PLACES)]}",
                    seeds=(seed + n,),
                    size_px=(576, 768),
                )
                for n in range(count)
            ]
        )

    curves: list[tuple[str, str, Sequence[int], Callable[[int], Callable[[int], object]]]] = [
        ("subjects", "ms", SUBJECTS, lambda n: picture(row(n))),
        ("references of a subject", "ms", REFERENCES, lambda n: picture(known[n])),
        ("pixels across", "ms", WIDTHS, lambda n: picture(encoded[0], n)),
        ("frames, to night", "ms", FRAMES, film),
        ("prompts in a pass", "ms", PROMPTS, together),
    ]
    return [
        Growth(title, unit, {n: spent_ms(made(n), repeats) for n in counts})
        for title, unit, counts, made in curves
    ]


def draw_for(server: Running, user: str, number: int) -> None:
    """Let a server draw a picture for a user, and read it.

    Raises:
        RuntimeError: It draws none.
    """
    body = json.dumps(server.body(number, user))
    kind = {"Content-Type": "application/json", **KNOWN, USER: user}
    with connected(server.port) as connection:
        connection.request("POST", "/v1/images/generations", body, kind)
        answer = connection.getresponse()
        read = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"The server answered {answer.status}: {read.decode()}")


def served(pictures: int, *options: str) -> Growth:
    """Return the memory of a server in MiB after so many pictures of 50 users' subjects."""
    with serving(*options) as server:
        users = [f"user-{number}" for number in range(NUM_USERS)]
        for user in users:
            server.meet(user)
        held: dict[int, float] = {}
        for number in range(pictures + 1):
            if number % max(1, pictures // CHECKS) == 0:
                held[number] = round(sum(server.resident_mib().values()), 1)
            if number < pictures:
                draw_for(server, users[number % NUM_USERS], number)
    return Growth(f"pictures of {NUM_USERS} users", "MiB", held)


def plot(found: Sequence[Growth], file: Path) -> None:
    """Draw a panel for each thing that grows, from 0."""
    width, height = SIZE
    image = Image.new("RGB", (3 * width, height * -(-len(found) // 3)), "white")
    draw = ImageDraw.Draw(image)
    for number, (title, unit, values) in enumerate(found):
        left, top = number % 3 * width, number // 3 * height
        most_x, most_y = max(values), max(values.values())
        line = [
            (
                left + MARGIN + x / most_x * (width - 2 * MARGIN),
                top + height - MARGIN - y / most_y * (height - 2 * MARGIN),
            )
            for x, y in values.items()
        ]
        foot = top + height - MARGIN
        draw.line([(left + MARGIN, foot), (left + width - MARGIN, foot)], fill="#bbbbbb")
        draw.line(line, fill=COLOUR, width=3)
        labels = list(zip(line, values.items(), strict=True))
        for (x, y), (count, value) in (labels[0], labels[-1]):
            draw.text((x - 8, foot + 6), str(count), fill="black")
            draw.text((x - 12, y - 16), f"{value:.0f}", fill=COLOUR)
        draw.text((left + MARGIN, top + 8), f"{title}, {unit}", fill="black")
    image.save(file, lossless=True)


def main() -> None:
    """Print a table, and plot it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="", help="by default PyTorch alone")
    parser.add_argument("--repeats", type=int, default=9, help="seeds of each figure")
    parser.add_argument("--served", type=int, default=0, help="pictures of a server; 0: none")
    parser.add_argument("--plot", type=Path, help="where the picture goes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = [each for each in given.engine.split(",") if each]
    found = measured(swiftpie.load("mini", engine=engine), given.repeats)
    if given.served:
        found.append(served(given.served, *(["--engine", given.engine] if engine else [])))
    for title, unit, values in found:
        line = "  ".join(f"{count}: {value:g}" for count, value in values.items())
        sys.stdout.write(f"{title}, {unit}: {line}\n")
    if given.plot is not None:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
