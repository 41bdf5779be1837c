"""Ray Data draws the same files, and the report is the same."""

from dataclasses import replace

import pytest

import swiftpie
from swiftpie.batch.folder import read_done
from swiftpie.batch.ray import draw_by_actors
from swiftpie.batch.run import draw, open_run
from swiftpie.errors import MissingExtra
from tests.batch.conftest import SMALL

TIMES = ("ms",)


def draw_on_ray(jobs, work):
    with open_run(jobs, work, batch=2, settings={}, processes=2) as manifest:
        return [*draw(manifest, work, by=draw_by_actors)]


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # of Ray's own
def test_ray_draws_the_same_files_with_the_same_report(collected, working, run, folder):
    ray = pytest.importorskip("ray", reason="needs swiftpie[ray]")
    rows = [{**SMALL, "prompt": "a dog at sea", "seed": n} for n in range(3)]
    jobs = collected(*rows, {**SMALL, "subject": "gone.webp", "prompt": "a dog"})
    run(jobs, "whole", batch=2)
    try:
        drawn = draw_on_ray(jobs, replace(working(), load=swiftpie.load))
    finally:
        ray.shutdown()
    assert {row["status"] for row in drawn} == {"done"}
    told = [
        {name: {k: v for k, v in row.items() if k not in TIMES} for name, row in done.items()}
        for done in (read_done(folder / "out"), read_done(folder / "whole"))
    ]
    assert told[0] == told[1]
    for row in drawn:
        name = row["file"]
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def test_without_ray_the_extra_is_named(collected, working):
    try:
        import ray.data  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("Ray is installed")
    jobs = collected({**SMALL, "prompt": "a dog"})
    with pytest.raises(MissingExtra, match=r"swiftpie\[ray\]"):
        draw_on_ray(jobs, working())
