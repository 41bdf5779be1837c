"""The model of queues: what is known of it in theory, and what it says of runs that it made."""

import json
import math
import random

import pytest

from benchmarks.scale import (
    MOST_LOAD,
    RESULTS,
    SEEN,
    SHARES,
    Model,
    checks,
    erlang_c,
    fit,
    percentiles,
    plan,
    report,
)
from benchmarks.serving import moments

EXPONENTIAL = Model(service_ms=100, spread=1.0, beside_ms=0)


def run_of(model, *, servers=1, seconds=60, seed=0):
    """A run as if servers were as a model says."""
    capacity = servers * 1000 / model.service_ms
    loads = []
    for number, share in enumerate(SHARES):
        when = [
            moments(rate=capacity * share / servers, seconds=seconds, seed=seed + 10 * number + n)
            for n in range(servers)
        ]
        times = [
            one.answers(each)[: len(each)]
            for one, each in zip([model] * servers, when, strict=True)
        ]
        queues = [{"moments": w, "milliseconds": t} for w, t in zip(when, times, strict=True)]
        loads.append({"share": share, "queues": queues})
    facts = {"servers": servers, "seconds": seconds, "cpu_ms": 90, "resident_mib": 700}
    return {**facts, "capacity_a_second": capacity, "loads": loads}


@pytest.mark.parametrize("rate", [1, 5, 9])
def test_one_server_of_exponential_times_is_as_theory_says(rate):
    for percent in (50, 95):
        known = -math.log(1 - percent / 100) * 1000 / (10 - rate)
        assert EXPONENTIAL.percentile(percent, rate=rate) == pytest.approx(known, rel=0.02)
    assert EXPONENTIAL.percentile(50, rate=10) == math.inf


def test_several_servers_wait_as_erlang_says():
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 0.5) == pytest.approx(1 / 3)
    assert erlang_c(100, 0.9) == pytest.approx(0.2169, abs=1e-4)


@pytest.mark.parametrize(("servers", "spread"), [(1, 0.2), (3, 0.2), (3, 1.0)])
def test_plans_are_for_what_requests_without_end_would_find(servers, spread):
    model = Model(100, spread, 20)
    when = moments(rate=8 * servers, seconds=60, seed=servers)
    found = percentiles(model.answers(when, servers=servers))
    random.seed(0)
    told = [model.percentile(p, rate=len(when) / 60, servers=servers) for p in (50, 95)]
    assert found == pytest.approx(told, rel=0.35)  # as so few requests differ from their average


def test_a_fit_finds_the_model_that_made_the_runs():
    true = Model(80, 0.3, 30)
    found = fit(run_of(true))
    assert found.service_ms == pytest.approx(80)
    assert found.spread == pytest.approx(0.3, abs=0.2)
    assert found.beside_ms == pytest.approx(30, abs=8)
    model, compared = checks([run_of(true), run_of(true, servers=2, seed=500)])
    assert model == found
    assert [one.was_seen for one in compared] == [s in SEEN for s in SHARES] + [False] * 4
    assert max(abs(error) for one in compared for error in one.errors) < 0.25


def test_a_plan_is_the_fewest_servers_in_time():
    model = Model(80, 0.3, 30)
    sizes = {}
    for has_one_queue in (True, False):
        found = plan(model, rate=300, p95_ms=250, has_one_queue=has_one_queue)
        shared, each = (found.servers, 300) if has_one_queue else (1, 300 / found.servers)
        assert model.percentile(95, rate=each, servers=shared) == found.p95_ms <= 250
        fewer = found.servers - 1
        shared, each = (fewer, 300) if has_one_queue else (1, 300 / fewer)
        is_late = model.percentile(95, rate=each, servers=shared) > 250
        assert is_late or 300 * 0.08 / fewer > MOST_LOAD
        sizes[has_one_queue] = found.servers
    assert sizes[True] < sizes[False]
    assert plan(model, rate=1, p95_ms=50, has_one_queue=True) is None


def test_a_report_tells_errors_and_what_it_costs():
    told = report([run_of(EXPONENTIAL)], rate=100, p95_ms=400, cores=2, price=0.5)
    assert "At loads that it did not see, p95 is off by" in told
    servers, cores = told.splitlines()[-1].split(" | ")[1], told.splitlines()[-1].split(" | ")[5]
    assert float(cores) == 2 * int(servers)
    assert f"{int(servers):.2f} an hour" in told


def test_what_was_measured_is_what_the_page_tells():
    runs = json.loads(RESULTS.read_text())["runs"]
    page = (RESULTS.parents[2] / "docs" / "serving.md").read_text()
    told = report(runs, rate=1000, p95_ms=500, cores=1, price=None)
    for line in told[told.index("At loads") :].splitlines():
        assert line in page, line
