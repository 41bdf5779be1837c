"""Tells how long `mini` previews edits of a photograph: `python -m benchmarks.previews PHOTO`.

The photograph is enlarged or shrunk to 1024 px. Kinds take turns, and each preview is compared with
the region of its edit, which has to be the same.
"""

import argparse
import time

import torch
from PIL import Image

import swiftpie
from benchmarks._machine import machine, usable_cores, write_report
from benchmarks._timing import spread
from swiftpie.imageio.decoding import load_image

SIDE_PX = 1024
KINDS = {  # source prompt and prompt, of a SUBJECT
    "colour": ("a {}", "a red {}"),
    "crown": ("a {}", "a {} wearing a crown"),
    "glasses": ("a {}", "a {} wearing glasses"),
    "size": ("a {}", "a tiny {}"),
    "upside down": ("a {}", "a {} upside down"),
    "bent": ("a {}", "a {} bending over"),
    "view": ("a {}", "a {} seen from the left"),
    "removal": ("a {}", "nothing"),
    "place": ("a {}", "a {} on a beach"),
    "winter to summer": ("a {} in winter", "a {} in summer"),
    "autumn to winter": ("a {} in autumn", "a {} in winter"),
}


def main() -> None:
    """Measure and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", help="of one subject")
    parser.add_argument("--subject", default="dog", help="its name")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of PyTorch")
    parser.add_argument("--engine", action="append", default=[], help="as of `swiftpie edit`")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    session = swiftpie.load("mini", engine=given.engine)
    photo = load_image(given.photo).convert("RGB")
    scale = SIDE_PX / max(photo.size)
    size = (round(photo.width * scale), round(photo.height * scale))
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    texts = {kind: [text.format(given.subject) for text in both] for kind, both in KINDS.items()}
    wrong = []
    for kind, (before, after) in texts.items():
        edited = session.edit(photo, after, source_prompt=before, seed=0)
        found = session.find_region(photo, after, source_prompt=before)
        if edited.region.tobytes() != found.tobytes():
            wrong.append(kind)
    taken: dict[str, list[float]] = {kind: [] for kind in texts}
    for _ in range(given.repeats):
        for kind, (before, after) in texts.items():
            started = time.perf_counter()
            session.find_region(photo, after, source_prompt=before)
            taken[kind].append((time.perf_counter() - started) * 1000)
    times = {kind: spread(values) for kind, values in taken.items()}
    write_report({"machine": machine(torch.device("cpu")), "ms": times, "unlike_their_edit": wrong})


if __name__ == "__main__":
    main()
