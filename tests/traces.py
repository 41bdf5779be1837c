"""Which files of `swiftpie` calls go through: `python -m tests.traces`.

A file counts if it lies in `swiftpie` and one of its functions runs during a call of a session that
has drawn before, in the thread of the call. Methods that `dataclass` generates belong to no file. A
file hands on if one of its functions calls into another file; the others hold formulas and values.
Two wrappers are looked through, as a reader of a call never opens them: `checked` with the checks
of arguments, and that of `later`, which imports a function with its first call. A change of file is
a call of a function of another file than that of the call before, a wrapper's as well.
"""

import gc
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import swiftpie
from swiftpie.imageio.images import sample_pictures
from swiftpie.places.reading import read_all
from swiftpie.scenes import scene_library
from tests.golden.networks import random_networks

SOURCE = f"{Path(swiftpie.__file__).parent}/"
WRAPPERS = ("arguments.py", "registry.py")


class Trace(NamedTuple):
    files: list[str]  # by their first use
    handing_on: list[str]  # those of them that call into others
    num_changes: int  # how often the call changes its file
    num_reads: int  # how often it reads the prompts of its request

    @property
    def counts(self):
        return [len(self.files), len(self.handing_on), self.num_changes, self.num_reads]

    def __str__(self):
        return "\n".join(f"{'>' if file in self.handing_on else ' '} {file}" for file in self.files)


def trace(call):
    call()  # encodes prompts and opens what later calls find open
    files, handing_on, calls = {}, set(), []

    def place_of(frame):
        name = frame.f_code.co_filename
        file = name.removeprefix(SOURCE) if name.startswith(SOURCE) else None
        return None if file in WRAPPERS else file

    def look(frame, event, _):
        if event != "call" or not (name := frame.f_code.co_filename).startswith(SOURCE):
            return
        calls.append((name, frame.f_code.co_name))
        if (file := place_of(frame)) is None:
            return
        files[file] = None
        while (frame := frame.f_back) is not None and place_of(frame) is None:
            pass  # a caller behind a library's frames, as a network's behind those of PyTorch
        if frame is not None and place_of(frame) != file:
            handing_on.add(place_of(frame))

    before = sys.getprofile()
    gc.collect()
    gc.disable()  # what ends with garbage runs in the middle of any function
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
        gc.enable()
    return Trace(
        list(files),
        [file for file in files if file in handing_on],
        sum(file != after for (file, _), (after, _) in pairwise(calls)),
        sum(name == read_all.__name__ for _, name in calls),
    )


def traces(session, other):
    """Trace calls of the embedded model, and one of a session with an adapter."""
    subject = other.encode_identity(sample_pictures(1)[0])
    identity = session.encode_identity(sample_pictures(1)[0])
    drawn = session.personalize(identity, "a dog on a beach", seed=1).images[0]
    photo = Image.fromarray(np.asarray(drawn))  # of a camera: nothing says how it was made
    place = scene_library().image("park")
    calls = {
        "sd15": lambda: other.personalize(subject, "a dog", seed=1),
        "personalize": lambda: session.personalize(identity, "a dog on a beach", seed=1),
        "scene": lambda: session.personalize(identity, "a dog in rain at dusk on a beach", seed=1),
        "insert": lambda: session.insert(place, identity, prompt="a dog", seed=1),
        "photo": lambda: session.insert(photo, identity, prompt="a dog", seed=1),
        "edit": lambda: session.edit(
            photo, "a blue dog on a beach", source_prompt="a dog on a beach", seed=1
        ),
    }
    return {name: trace(call) for name, call in calls.items()}


def describe(found):
    return "\n\n".join(
        f"# {name}: {len(one.files)} files, {len(one.handing_on)} hand on, {one.num_changes} "
        f"changes of file, {one.num_reads} readings\n{one}"
        for name, one in found.items()
    )


if __name__ == "__main__":
    found = traces(swiftpie.load("mini"), random_networks("sd15"))
    sys.stdout.write(describe(found) + "\n")
