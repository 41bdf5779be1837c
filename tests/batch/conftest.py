"""Folders with a few subjects, and jobs about them."""

import itertools
import json

import pytest
from PIL import Image

from swiftpie.batch.jobs import DEFAULT_MODEL
from swiftpie.batch.lists import read_lines
from swiftpie.batch.rows import JobDefaults, collect
from swiftpie.batch.run import Work, draw, open_run
from swiftpie.imageio.images import sample_pictures
from tests.cli.conftest import one_thread

__all__ = ["one_thread"]


@pytest.fixture
def folder(tmp_path):
    first, second = sample_pictures(2)
    (tmp_path / "dog.webp").write_bytes(first.read_bytes())
    (tmp_path / "cat").mkdir()
    for name in ("front.webp", "side.webp"):
        (tmp_path / "cat" / name).write_bytes(second.read_bytes())
    with Image.open(first) as image:
        image.convert("RGBA").getchannel("A").save(tmp_path / "mask.png")
    return tmp_path


@pytest.fixture
def collected(folder):
    """Makes jobs of rows, written as lines of JSON; texts are lines as they are."""

    def make(*rows, name="jobs.jsonl", **defaults):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
        found = read_lines(folder / name)
        return collect(found, root=folder, defaults=JobDefaults(**defaults))

    return make


SMALL = {"size": "64x64", "subject": "dog.webp"}  # the least that `mini` draws


@pytest.fixture
def working(folder, session):
    """Makes what a run has to know, with the embedded model in place of one that is loaded."""

    def make(name="out", suffix=".png"):
        return Work(folder / name, suffix, {DEFAULT_MODEL: {}}, load=lambda: session)

    return make


@pytest.fixture
def run(working):
    """Draws jobs, all or as many as are wanted; returns the lines of the report by place."""

    def make(jobs, name="out", *, batch=3, count=None, suffix=".png", work=None, **choices):
        work = work or working(name, suffix)
        with open_run(jobs, work, batch=batch, settings={}, **choices) as manifest:
            drawn = draw(manifest, work)
            for _ in itertools.islice(drawn, count):
                pass
            drawn.close()
        return {row["place"].rpartition(" ")[2]: row for row in manifest.report.rows}

    return make
