"""The queue: order, fairness, deadlines, and that nobody draws for those who left."""

import asyncio

import pytest

from swiftpie.server import jobs
from swiftpie.server.jobs import Expired, Overloaded, Scheduler, State, whole_seconds
from tests.server.conftest import drained


class Drawer:
    """Draws by noting; waits at the gate while that is shut."""

    def __init__(self):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.stopped = []

    async def __call__(self, work):
        self.batches.append(list(work))
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(list(work))
            raise
        return [ValueError(one) if str(one).startswith("bad") else f"drawn {one}" for one in work]


def running(test):
    """Run a coroutine with a scheduler whose loop ends with it."""

    def run():
        async def body():
            draw = Drawer()
            scheduler = Scheduler(draw, max_queued=6, max_per_key=4, max_batch=3)
            try:
                await asyncio.wait_for(test(scheduler, draw), 20)
            finally:
                draw.gate.set()
                scheduler.close()

        asyncio.run(body())

    run.__name__ = test.__name__
    return run


async def busy(scheduler, draw):
    """Occupy the thread with one job; others queue behind it until the gate opens."""
    draw.gate.clear()
    draw.begun.clear()
    first = scheduler.submit("first", group="x", key="other", deadline_s=20)
    await draw.begun.wait()
    return first


@running
async def test_alike_jobs_of_several_keys_are_drawn_together_in_turns(scheduler, draw):
    await busy(scheduler, draw)
    for number in range(3):
        scheduler.submit(f"a{number}", group="g", key="a", deadline_s=20)
    jobs = [scheduler.submit(f"b{n}", group="g", key="b", deadline_s=20) for n in range(2)]
    draw.gate.set()
    assert await scheduler.result(jobs[-1]) == "drawn b1"
    assert draw.batches == [["first"], ["a0", "b0", "a1"], ["b1", "a2"]]


@running
async def test_other_groups_wait_for_a_batch_of_their_own(scheduler, draw):
    await busy(scheduler, draw)
    wanted = [("a", "small"), ("b", "large"), ("c", "small")]
    jobs = [scheduler.submit(key, group=group, key=key, deadline_s=20) for key, group in wanted]
    draw.gate.set()
    assert [await scheduler.result(job) for job in jobs] == ["drawn a", "drawn b", "drawn c"]
    assert draw.batches == [["first"], ["a", "c"], ["b"]]


@running
async def test_who_comes_while_another_is_drawn_goes_before_that_ones_next(scheduler, draw):
    await busy(scheduler, draw)
    own = scheduler.submit("next", group="x", key="other", deadline_s=20)
    scheduler.submit("newcomer", group="y", key="new", deadline_s=20)
    draw.gate.set()
    await scheduler.result(own)
    assert draw.batches == [["first"], ["newcomer"], ["next"]]


@running
async def test_who_was_given_little_waits_for_nobody_who_was_given_much(scheduler, draw):
    draw.gate.set()
    for number in range(6):
        last = scheduler.submit(f"much{number}", group=number, key="much", deadline_s=20)
        await scheduler.result(last)
    await busy(scheduler, draw)
    waiting = [scheduler.submit("queued", group="q", key="much", deadline_s=20)]
    waiting += [scheduler.submit(n, group=n, key="little", deadline_s=20) for n in "abc"]
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, waiting))
    assert draw.batches[-4:] == [["a"], ["b"], ["c"], ["queued"]]


@running
async def test_a_drawing_of_a_key_with_many_more_gives_way_once(scheduler, draw):
    first = await busy(scheduler, draw)
    more = [scheduler.submit(n, group="x", key="other", deadline_s=20) for n in ("2", "3")]
    urgent = scheduler.submit("urgent", group="y", key="guest", deadline_s=20)
    while draw.stopped != [["first"]]:
        await asyncio.sleep(0)
    another = scheduler.submit("another", group="y", key="third", deadline_s=20)
    draw.gate.set()
    assert await scheduler.result(urgent) == "drawn urgent"
    await asyncio.gather(*map(scheduler.result, (first, *more, another)))
    assert draw.batches == [["first"], ["urgent", "another"], ["first", "2", "3"]]
    assert first.state is State.DONE


@running
async def test_what_gave_way_once_is_drawn_to_its_end(scheduler, draw):
    first = await busy(scheduler, draw)
    more = [scheduler.submit(n, group="x", key="other", deadline_s=20) for n in "2345"]
    guest = scheduler.submit("guest", group="y", key="guest", deadline_s=20)
    while draw.batches[-1] != ["guest"]:
        await asyncio.sleep(0)
    scheduler.cancel(guest)
    while draw.batches[-1][0] != "first":
        await asyncio.sleep(0)
    scheduler.submit("late", group="y", key="third", deadline_s=20)
    await asyncio.sleep(0.01)
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, (first, *more)))
    assert draw.stopped == [["first"], ["guest"]]


@running
async def test_what_gives_way_keeps_its_order(scheduler, draw):
    draw.gate.clear()
    waiting = [scheduler.submit(n, group="x", key="other", deadline_s=20) for n in "ab"]
    await draw.begun.wait()
    waiting += [scheduler.submit(n, group="x", key="other", deadline_s=20) for n in "cd"]
    waiting.append(scheduler.submit("guest", group="y", key="guest", deadline_s=20))
    while draw.stopped != [["a", "b"]]:
        await asyncio.sleep(0)
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, waiting))
    assert draw.batches == [["a", "b"], ["guest"], ["a", "b", "c"], ["d"]]


@pytest.mark.parametrize("others", [0, 1])
def test_few_pictures_and_a_key_that_has_some_here_break_nothing_off(others):
    @running
    async def test(scheduler, draw):
        first = await busy(scheduler, draw)
        waiting = [
            scheduler.submit(n, group="x", key="other", deadline_s=20) for n in range(1 + others)
        ]
        key = "other" if others else "guest"
        waiting.append(scheduler.submit("late", group="y", key=key, deadline_s=20))
        await asyncio.sleep(0.01)
        draw.gate.set()
        await asyncio.gather(*map(scheduler.result, (first, *waiting)))
        assert not draw.stopped

    test()


@running
async def test_what_gives_way_can_still_be_cancelled(scheduler, draw):
    first = await busy(scheduler, draw)
    more = [scheduler.submit(n, group="x", key="other", deadline_s=20) for n in ("2", "3")]
    guest = scheduler.submit("guest", group="y", key="guest", deadline_s=20)
    scheduler.cancel(first)
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, (guest, *more)))
    assert first.state is State.CANCELLED
    assert draw.batches.count(["first"]) == 1


@running
async def test_what_was_given_fades(scheduler, draw):
    draw.gate.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "FADING_S", 0.01)
        for number in range(8):
            await scheduler.result(scheduler.submit(number, group="g", key="much", deadline_s=20))
        await asyncio.sleep(0.1)
        await scheduler.result(scheduler.submit("one", group="g", key="little", deadline_s=20))
        await busy(scheduler, draw)
        late = scheduler.submit("of little", group="x", key="little", deadline_s=20)
        scheduler.submit("of much", group="y", key="much", deadline_s=20)
        draw.gate.set()
        await scheduler.result(late)
    assert draw.batches[-2:] == [["of much"], ["of little"]]


@running
async def test_a_full_queue_and_a_greedy_key_are_refused(scheduler, draw):
    await busy(scheduler, draw)
    for number in range(4):
        scheduler.submit(number, group="g", key="a", deadline_s=20)
    with pytest.raises(Overloaded) as of_key:
        scheduler.submit(5, group="g", key="a", deadline_s=20)
    scheduler.submit(6, group="g", key="b", deadline_s=20)
    scheduler.submit(7, group="g", key="b", deadline_s=20)
    with pytest.raises(Overloaded) as of_all:
        scheduler.submit(8, group="g", key="c", deadline_s=20)
    assert of_key.value.of_key
    assert not of_all.value.of_key
    assert of_all.value.retry_after_s == pytest.approx(7 * scheduler.job_s)


@running
async def test_cancelled_in_the_queue_is_never_drawn(scheduler, draw):
    first = await busy(scheduler, draw)
    job = scheduler.submit("gone", group="g", key="a", deadline_s=20)
    scheduler.cancel(job)
    assert scheduler.num_queued == 0
    draw.gate.set()
    await scheduler.result(first)
    await drained(scheduler)
    assert draw.batches == [["first"]]
    assert job.state is State.CANCELLED


@running
async def test_a_drawing_that_nobody_waits_for_stops_at_its_next_stage(scheduler, draw):
    first = await busy(scheduler, draw)
    waiting = asyncio.ensure_future(scheduler.result(first))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await drained(scheduler)
    assert draw.stopped == [["first"]]
    assert first.state is State.CANCELLED


@running
async def test_a_batch_goes_on_for_those_who_stay(scheduler, draw):
    await busy(scheduler, draw)
    gone, stays = (scheduler.submit(k, group="g", key=k, deadline_s=20) for k in "ab")
    draw.begun.clear()
    draw.gate.set()
    await draw.begun.wait()
    scheduler.cancel(gone)
    assert await scheduler.result(stays) == "drawn b"


@running
async def test_deadlines_hold_in_the_queue(scheduler, draw):
    await busy(scheduler, draw)
    late = scheduler.submit("late", group="g", key="a", deadline_s=0.02)
    with pytest.raises(Expired):
        await scheduler.result(late)
    draw.gate.set()
    await drained(scheduler)
    assert draw.batches == [["first"]]


@running
async def test_an_error_is_its_own_jobs_alone(scheduler, draw):
    await busy(scheduler, draw)
    bad = scheduler.submit("bad", group="g", key="a", deadline_s=20)
    good = scheduler.submit("good", group="g", key="b", deadline_s=20)
    draw.gate.set()
    with pytest.raises(ValueError, match="bad"):
        await scheduler.result(bad)
    assert await scheduler.result(good) == "drawn good"
    assert bad.state is State.FAILED


@running
async def test_an_error_of_the_drawer_reaches_everyone(scheduler, draw):
    async def broken(work):
        await draw(work)
        raise RuntimeError("no memory")

    scheduler.draw = broken
    jobs = [scheduler.submit(k, group="g", key=k, deadline_s=20) for k in "ab"]
    for job in jobs:
        with pytest.raises(RuntimeError, match="no memory"):
            await scheduler.result(job)


@pytest.mark.parametrize("lanes", [1, 2])
def test_lanes_hold_so_many_batches_and_do_not_wait_for_each_other(lanes):
    async def run():
        draw = Drawer()
        draw.gate.clear()
        scheduler = Scheduler(draw, lanes={"draw": lanes, "encode": 1}, max_batch=1)
        jobs = [
            scheduler.submit(name, group="g", key=name, deadline_s=20, lane=lane)
            for name, lane in [("a", "draw"), ("b", "draw"), ("c", "draw"), ("d", "encode")]
        ]
        while len(draw.batches) < lanes + 1:
            await asyncio.sleep(0)
        begun = [one for (one,) in draw.batches]
        draw.gate.set()
        drawn = [await scheduler.result(one) for one in jobs]
        await drained(scheduler)
        return begun, drawn, scheduler.num_queued

    begun, drawn, left = asyncio.run(run())
    assert begun == [*"abc"[:lanes], "d"]
    assert drawn == [f"drawn {one}" for one in "abcd"]
    assert left == 0


def test_a_key_that_draws_in_one_lane_breaks_nothing_off_in_another():
    async def run():
        draw = Drawer()
        draw.gate.clear()
        scheduler = Scheduler(
            draw, lanes={"draw": 1, "encode": 1}, max_queued=6, max_per_key=4, max_batch=1
        )
        jobs = [
            scheduler.submit(name, group="g", key=key, deadline_s=20, lane=lane)
            for name, key, lane in [
                *(("first", "many", "draw"), ("own", "guest", "encode")),
                *((name, "many", "draw") for name in "abc"),
            ]
        ]
        while len(draw.batches) < 2:
            await asyncio.sleep(0)
        jobs.append(scheduler.submit("more", group="g", key="guest", deadline_s=20, lane="draw"))
        await asyncio.sleep(0.01)
        draw.gate.set()
        await asyncio.gather(*map(scheduler.result, jobs))
        return draw.stopped

    assert asyncio.run(run()) == []


@running
async def test_what_a_picture_takes_is_its_share_of_a_batch(scheduler, draw):
    taken = []
    scheduler.on_batch = lambda count, seconds: taken.append((count, seconds))
    before = scheduler.job_s
    draw.gate.clear()
    waiting = [scheduler.submit(n, group="x", key="a", deadline_s=20) for n in "abc"]
    await draw.begun.wait()
    await asyncio.sleep(0.05)
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, waiting))
    ((count, seconds),) = taken
    assert count == 3
    assert scheduler.job_s == pytest.approx(before + jobs.MEMORY * (seconds / 3 - before))


@running
async def test_whoever_is_late_stops_the_drawing_though_nobody_listens(scheduler, draw):
    draw.gate.clear()
    job = scheduler.submit("slow", group="x", key="a", deadline_s=0.02)
    await drained(scheduler)
    assert draw.stopped == [["slow"]]
    with pytest.raises(Expired):
        await scheduler.result(job)


def test_retry_after_is_never_zero():
    assert [whole_seconds(one) for one in (0, 0.2, 1, 1.01)] == [1, 1, 1, 2]
