import asyncio
import itertools
from contextlib import suppress

import pytest

from swiftpie.server import jobs
from swiftpie.server.errors import Expired, Overloaded
from swiftpie.server.jobs import Scheduler
from tests.server.conftest import drained, turns_until

pytestmark = pytest.mark.anyio


class Drawer:
    """Draws by noting; waits at the gate while that is shut."""

    def __init__(self):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.stopped = []

    async def __call__(self, jobs):
        work = [job.work for job in jobs]
        self.batches.append(list(work))
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(list(work))
            raise
        return [ValueError(job) if str(job).startswith("bad") else f"drawn {job}" for job in work]


@pytest.fixture
def draw():
    return Drawer()


@pytest.fixture
async def scheduler(draw):
    one = Scheduler(draw, max_queued=6, max_per_key=4, max_batch=3)
    yield one
    draw.gate.set()
    one.close()


def submit(scheduler, work, group, key, *, deadline_s=20, **facts):
    return scheduler.submit(jobs.Job(work, key, group=group, **facts), deadline_s=deadline_s)


async def busy(scheduler, draw):
    """Occupy the thread with one job; others queue behind it until the gate opens."""
    draw.gate.clear()
    draw.begun.clear()
    first = submit(scheduler, "first", "x", "other")
    await draw.begun.wait()
    return first


ORDERS = {  # jobs that wait, as (work, group, key), and the batches that they are drawn in
    "alike ones of several keys together, in turns": (
        ["a0 g a", "a1 g a", "a2 g a", "b0 g b", "b1 g b"],
        [["a0", "b0", "a1"], ["b1", "a2"]],
    ),
    "other groups alone": (["a s a", "b l b", "c s c"], [["a", "c"], ["b"]]),
    "a new key before the one that was drawn": (
        ["next x other", "newcomer y new"],
        [["newcomer"], ["next"]],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
async def test_jobs_that_wait_are_drawn_in_order(scheduler, draw, name):
    waiting, batches = ORDERS[name]
    await busy(scheduler, draw)
    jobs = [submit(scheduler, *line.split()) for line in waiting]
    draw.gate.set()
    drawn = [await scheduler.result(job) for job in jobs]
    assert drawn == [f"drawn {line.split()[0]}" for line in waiting]
    assert draw.batches == [["first"], *batches]


async def test_a_key_with_little_use_is_drawn_before_a_key_with_much(scheduler, draw):
    draw.gate.set()
    for number in range(6):
        last = submit(scheduler, f"much{number}", number, "much")
        await scheduler.result(last)
    await busy(scheduler, draw)
    waiting = [submit(scheduler, "queued", "q", "much")]
    waiting += [submit(scheduler, n, n, "little") for n in "abc"]
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, waiting))
    assert draw.batches[-4:] == [["a"], ["b"], ["c"], ["queued"]]


async def test_use_fades(scheduler, draw):
    draw.gate.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "FADING_S", 0.01)
        for number in range(8):
            await scheduler.result(submit(scheduler, number, "g", "much"))
        await asyncio.sleep(0.1)
        await scheduler.result(submit(scheduler, "one", "g", "little"))
        await busy(scheduler, draw)
        late = submit(scheduler, "of little", "x", "little")
        submit(scheduler, "of much", "y", "much")
        draw.gate.set()
        await scheduler.result(late)
    assert draw.batches[-2:] == [["of much"], ["of little"]]


async def test_a_full_queue_and_a_greedy_key_are_refused(scheduler, draw):
    await busy(scheduler, draw)
    for number in range(4):
        submit(scheduler, number, "g", "a")
    with pytest.raises(Overloaded) as of_key:
        submit(scheduler, 5, "g", "a")
    submit(scheduler, 6, "g", "b")
    submit(scheduler, 7, "g", "b")
    with pytest.raises(Overloaded) as of_all:
        submit(scheduler, 8, "g", "c")
    assert of_key.value.of_key
    assert not of_all.value.of_key
    assert of_all.value.retry_after_s == pytest.approx(7 * scheduler.job_s)


async def test_an_error_is_its_own_jobs_alone(scheduler, draw):
    await busy(scheduler, draw)
    bad = submit(scheduler, "bad", "g", "a")
    good = submit(scheduler, "good", "g", "b")
    draw.gate.set()
    with pytest.raises(ValueError, match="bad"):
        await scheduler.result(bad)
    assert await scheduler.result(good) == "drawn good"


async def test_an_error_of_the_drawer_reaches_all_callers(scheduler, draw):
    async def broken(waiting):
        await draw(waiting)
        raise RuntimeError("no memory")

    scheduler.draw = broken
    jobs = [submit(scheduler, k, "g", k) for k in "ab"]
    for job in jobs:
        with pytest.raises(RuntimeError, match="no memory"):
            await scheduler.result(job)


async def test_what_a_picture_takes_is_its_share_of_a_batch(scheduler, draw):
    taken, scheduler.batches = [], 8  # so that a guess counts no more
    scheduler.on_batch = lambda count, seconds: taken.append((count, seconds))
    before = scheduler.job_s
    draw.gate.clear()
    waiting = [submit(scheduler, n, "x", "a") for n in "abc"]
    await draw.begun.wait()
    await asyncio.sleep(0.05)
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, waiting))
    ((count, seconds),) = taken
    assert count == 3
    assert scheduler.job_s == pytest.approx(before + jobs.MEMORY * (seconds / 3 - before))


async def test_a_late_drawing_stops_without_a_listener(scheduler, draw):
    draw.gate.clear()
    scheduler.job_s = 0.01
    job = submit(scheduler, "slow", "x", "a", deadline_s=0.2)
    await drained(scheduler)
    assert draw.stopped == [["slow"]]
    with pytest.raises(Expired):
        await scheduler.result(job)


def test_retry_after_is_never_zero():
    waits = [Overloaded(seconds, of_key=False) for seconds in (0, 0.2, 1, 1.01)]
    assert [error.headers["retry-after"] for error in waits] == ["1", "1", "1", "2"]


async def test_a_batch_goes_on_for_those_who_wait_while_another_leaves(scheduler, draw):
    draw.gate.clear()
    left, waits = (submit(scheduler, name, "g", name) for name in "ab")
    await draw.begun.wait()
    scheduler.cancel(left)
    draw.gate.set()
    assert await scheduler.result(waits) == "drawn b"
    assert draw.batches == [["a", "b"]]


async def test_seconds_count_and_not_pictures(scheduler, draw):
    for number in range(3):
        await scheduler.result(submit(scheduler, number, "g", "quick"))
    draw.gate.clear()
    slow = submit(scheduler, "slow", "g", "slow")
    await asyncio.sleep(50 * jobs.LEAST_S)
    draw.gate.set()
    await scheduler.result(slow)
    await busy(scheduler, draw)
    late = [submit(scheduler, f"of {key}", key, key) for key in ("slow", "quick")]
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, late))
    assert draw.batches[-2:] == [["of quick"], ["of slow"]]


async def test_what_would_be_late_is_refused_and_says_when_it_would_not_be(scheduler, draw):
    scheduler.job_s = 10.0
    await busy(scheduler, draw)
    facts = {"group": "g", "deadline_s": 48}
    kept = [submit(scheduler, 0, key=key, **facts) for key in "ab"]
    long = submit(scheduler, "long", key="c", units=1.25, **facts)
    with pytest.raises(Overloaded, match=r"after about 5\d s, and is given 48 s") as refused:
        submit(scheduler, "last", key="d", **facts)
    assert 5 < refused.value.retry_after_s < 15
    # The second of a key comes after the first ones of all others, which it does not make late.
    with pytest.raises(Overloaded, match="fewer frames"):
        submit(scheduler, "second", key="a", **facts)
    assert scheduler.num_queued == 3
    scheduler.cancel(long)
    assert submit(scheduler, "last", key="d", **facts)
    draw.gate.set()
    assert await scheduler.result(kept[0]) == "drawn 0"


async def test_what_a_kind_takes_is_learned_also_from_what_was_late(scheduler, draw):
    scheduler.job_s = 0.01
    draw.gate.clear()
    facts = {"group": "g", "key": "a", "kind": "film", "units": 2}
    late = submit(scheduler, "film", deadline_s=0.2, **facts)
    with pytest.raises(Expired):
        await scheduler.result(late)
    await drained(scheduler)
    draw.gate.set()
    takes = scheduler._taken["film"]
    assert takes >= 0.1
    assert scheduler.job_s == 0.01  # others are as quick as before
    with pytest.raises(Overloaded):
        submit(scheduler, "film", deadline_s=0.15, **facts)
    assert scheduler._taken["film"] == takes
    await scheduler.result(submit(scheduler, "film", deadline_s=20, **facts))
    assert 0.7 < scheduler._taken["film"] / takes < 1  # it was quick this time


async def test_refusals_because_others_wait_let_no_more_in_than_can_be_drawn(scheduler, draw):
    scheduler._taken["film"], scheduler.max_queued = 0.1, 64
    await busy(scheduler, draw)
    for number in range(96):
        facts = {"group": number, "key": f"k{number % 24}", "kind": "film", "deadline_s": 2}
        with suppress(Overloaded):
            submit(scheduler, number, **facts)
    assert 10 < scheduler.num_queued < 20
    assert scheduler._taken["film"] == 0.1


async def test_one_caller_may_hope_that_a_kind_is_quicker_and_others_wait_no_less(scheduler, draw):
    scheduler._taken["film"], scheduler.job_s = 10.0, 0.01
    first = await busy(scheduler, draw)
    facts = {"group": "g", "kind": "film", "deadline_s": 2}
    for _ in range(30):
        with pytest.raises(Overloaded, match=r"after about (10|9) s"):
            submit(scheduler, "film", key="a", **facts)
    assert scheduler._hopes["a", "film"][0] == jobs.HOPE  # one step, as one drawing was going on
    draw.gate.set()
    await scheduler.result(first)
    for _ in range(30):  # nothing is drawn, so a try harms no other caller
        with suppress(Overloaded):
            tried = submit(scheduler, "film", key="a", **facts)
            break
    with pytest.raises(Overloaded, match="after about 21 s"):  # two, as they were measured
        submit(scheduler, "film", key="b", **facts)
    with pytest.raises(Overloaded, match="after about 11 s"):
        submit(scheduler, "short", group="h", key="b", deadline_s=2)
    assert await scheduler.result(tried) == "drawn film"
    assert scheduler._hopes.keys() == {("b", "film")}  # of the other it is known again
    assert scheduler._taken["film"] < 10
    for _ in range(300):
        with pytest.raises(Overloaded):
            submit(scheduler, "film", key="b", **{**facts, "deadline_s": 0.001})
    assert scheduler._hopes["b", "film"][0] == jobs.LEAST_HOPE


async def test_all_keys_of_a_batch_are_charged(scheduler, draw):
    await asyncio.gather(
        *(scheduler.result(submit(scheduler, key, "g", key)) for key in ("first", "second"))
    )
    assert draw.batches == [["first", "second"]]
    await scheduler.result(submit(scheduler, "x", "x", "third"))
    await busy(scheduler, draw)
    late = [submit(scheduler, f"of {key}", key, key) for key in ("second", "newcomer")]
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, late))
    assert draw.batches[-2:] == [["of newcomer"], ["of second"]]


@pytest.fixture
async def long(scheduler, draw):
    scheduler.lanes, scheduler.job_s = 2, 0.01
    draw.gate.clear()
    return submit(scheduler, "long", "x", "a", units=100)


async def test_what_is_quick_for_another_caller_is_drawn_beside_what_takes_long(
    scheduler, draw, long
):
    await draw.begun.wait()
    others = [
        *(submit(scheduler, "again", "x", "a"), submit(scheduler, "live", "x", f"a{jobs.LIVE}")),
        submit(scheduler, "longish", "y", "b", units=60),
        *(submit(scheduler, f"quick {key}", key, key) for key in "cd"),
    ]
    await turns_until(lambda: len(draw.batches) > 1)
    assert draw.batches == [["long"], ["quick c"]]  # one beside the long one
    draw.gate.set()
    await asyncio.gather(*map(scheduler.result, (long, *others)))
    assert scheduler.being_drawn == []
    assert sorted(itertools.chain(*draw.batches)) == sorted(
        ["again", "live", "long", "longish", "quick c", "quick d"]
    )


async def test_what_turns_out_to_take_long_is_overtaken_too(scheduler, draw):
    scheduler.lanes, scheduler.job_s = 2, 0.01
    draw.gate.clear()
    first = submit(scheduler, "seems quick", "x", "a", units=2)
    other = submit(scheduler, "other", "y", "b")
    await turns_until(lambda: draw.batches)
    assert draw.batches == [["seems quick"]]
    await turns_until(lambda: len(draw.batches) > 1)
    assert draw.batches == [["seems quick"], ["other"]]
    scheduler.cancel(first)
    await turns_until(lambda: draw.stopped[-1:] == [["seems quick"]])  # and the other one goes on
    draw.gate.set()
    assert await scheduler.result(other) == "drawn other"


async def test_what_is_quick_is_not_late_where_others_take_long(scheduler, draw, long):
    await draw.begun.wait()
    submit(scheduler, "long too", "x", "b", units=100)
    with pytest.raises(Overloaded):
        submit(scheduler, "longish", group="g", key="c", deadline_s=1, units=50)
    assert submit(scheduler, "quick", group="g", key="d", deadline_s=1)
    assert not long.done.done()


async def test_what_is_quick_waits_for_a_batch_that_takes_too_little_to_be_overtaken(
    scheduler, draw
):
    scheduler.lanes, scheduler.job_s = 2, 0.01
    draw.gate.clear()
    units = 0.8 * jobs.LONG_S / scheduler.job_s
    submit(scheduler, "short of long", "x", "a", units=units)
    await draw.begun.wait()
    with pytest.raises(Overloaded, match="would be there"):
        submit(scheduler, "quick", "g", "b", deadline_s=0.5 * jobs.LONG_S)
    assert submit(scheduler, "quick", "g", "b", deadline_s=2 * jobs.LONG_S)
