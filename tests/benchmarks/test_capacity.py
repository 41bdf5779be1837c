import pytest

from benchmarks.capacity import Pool, delays, p95_ms


def test_no_picture_is_lost_or_drawn_twice_when_a_replica_dies():
    alone = delays(Pool(2, 0.03), load=0.5, count=500, seed=1)
    one_dies = delays(Pool(2, 0.03, dies=True, restart_s=3.0), load=0.5, count=500, seed=1)
    assert len(alone) == len(one_dies) == 500
    assert min(one_dies) >= 0.03 - 1e-9
    assert sum(one_dies) > sum(alone)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_server_waits_as_queues_with_equal_services_do(load):
    found = delays(Pool(1, 1.0), load=load, count=40_000, seed=3)
    waited = sum(found) / len(found) - 1
    assert waited == pytest.approx(load / (2 * (1 - load)), rel=0.1)  # Pollaczek and Khinchine


def test_more_replicas_wait_less_at_an_equal_share_of_load():
    few, many = (p95_ms(Pool(n, 0.03), load=0.9, count=5000, seed=0) for n in (1, 16))
    assert many < 0.3 * few
