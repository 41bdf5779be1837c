"""How many files a call goes through, and that the page about them lists them in order.

A file counts if it lies in `swiftpie` and one of its functions runs during a call of a session that
has drawn before, in the thread of the call. Methods that `dataclass` generates belong to no file. A
file hands on if one of its functions calls into another file; the others hold formulas and values.
"""

import logging
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import swiftpie
from swiftpie.imageio.images import sample_pictures
from tests.policy.project import ROOT

logger = logging.getLogger(__name__)  # the files, with --log-cli-level=INFO

SOURCE = f"{Path(swiftpie.__file__).parent}/"
PAGE = ROOT / "docs" / "concepts.md"
MOST_FILES = {"personalize": 39, "scene": 42, "insert": 43, "edit": 38}
MOST_HANDING_ON = {"personalize": 21, "scene": 22, "insert": 21, "edit": 20}


class Trace(NamedTuple):
    files: list[str]  # by their first use
    handing_on: list[str]  # those of them that call into others


def trace(call):
    """The files below `swiftpie` that a second `call` goes through."""
    call()  # encodes prompts and opens what later calls find open
    files, handing_on = {}, set()

    def place_of(frame):
        name = frame.f_code.co_filename
        return name.removeprefix(SOURCE) if name.startswith(SOURCE) else None

    def look(frame, event, _):
        if event != "call" or (file := place_of(frame)) is None:
            return
        files[file] = None
        while (frame := frame.f_back) is not None and place_of(frame) is None:
            pass  # a caller behind a library's frames, as a network's behind those of PyTorch
        if frame is not None and place_of(frame) != file:
            handing_on.add(place_of(frame))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return Trace(list(files), [file for file in files if file in handing_on])


@pytest.fixture(scope="module")
def traces(session):
    identity = session.encode_identity(sample_pictures(1)[0])
    photo = session.personalize(identity, "a dog on a beach", seed=1).images[0]
    calls = {
        "personalize": lambda: session.personalize(identity, "a dog", seed=1),
        "scene": lambda: session.personalize(identity, "a dog in rain at dusk on a beach", seed=1),
        "insert": lambda: session.insert(photo, identity, prompt="a dog", seed=1),
        "edit": lambda: session.edit(
            photo, "a dog in the snow", source_prompt="a dog on a beach", seed=1
        ),
    }
    return {name: trace(call) for name, call in calls.items()}


@pytest.mark.parametrize("name", MOST_FILES)
def test_a_call_goes_through_few_files(traces, name):
    files, handing_on = traces[name]
    lines = [f"{'>' if file in handing_on else ' '} {file}" for file in files]
    counts = f"{name}: {len(files)} files, {len(handing_on)} of which hand on"
    logger.info("%s", "\n  ".join([counts, *lines]))
    assert len(files) <= MOST_FILES[name]
    assert len(handing_on) <= MOST_HANDING_ON[name]


def test_the_page_lists_the_files_that_hand_a_drawing_on_in_order(traces):
    text = PAGE.read_text()
    section = text[text.index("## From call to pixels") :].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w/]+\.py)` \|", section, re.M) == traces["personalize"].handing_on
