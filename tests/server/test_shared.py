import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

from swiftpie.errors import InputError, WeightsError
from swiftpie.pipelines.identity_file import identity_bytes
from swiftpie.server.schemas import RequestError
from swiftpie.server.shared import ABANDONED_S, SharedIdentities
from swiftpie.server.store import IdentityInfo, NotFound, StoredIdentity
from tests.server.conftest import serving, to_png

ANNA, BEN = "anna", "ben"
PROMPT = "a dog on a beach"


def opened(address, **options):
    return SharedIdentities(str(address), **{"owner_mib": 64} | options)


def call(coroutine):
    return asyncio.run(coroutine)


@pytest.fixture(scope="module")
def known(session, sprite):
    identity = session.encode_identity(sprite.resize((200, 200)))
    files = {"thumbnail": to_png(Image.new("RGB", (8, 8), "red")), "pictures/0": b"webp"}
    return StoredIdentity(
        IdentityInfo("mug", "mini", tuple(files), ("a warning",)), identity, files
    )


@pytest.fixture
def address(tmp_path):
    return tmp_path / "kept"


def test_two_servers_on_one_folder_see_the_same(address, known):
    one, other = opened(address), opened(address)
    assert call(one.items(owner=ANNA)) == []
    number = call(one.put(known, owner=ANNA))
    assert call(other.items(owner=ANNA)) == [(number, known.info)]
    for store in (one, other):
        answer, identity = call(store.find(number, owner=ANNA))
        assert answer == known.info
        assert identity_bytes(identity) == identity_bytes(known.identity)
        assert call(store.file(number, "thumbnail", owner=ANNA)) == known.files["thumbnail"]
        assert call(store.file(number, "masks/0", owner=ANNA)) is None
        assert call(store.items(owner=BEN)) == []
        for request in (store.find, store.drop):
            with pytest.raises(NotFound):
                call(request(number, owner=BEN))
    assert call(other.rename(number, "cup", owner=ANNA)).name == "cup"
    assert call(one.find(number, owner=ANNA))[0].name == "cup"
    second = call(other.put(known, owner=ANNA))
    assert [who for who, _ in call(one.items(owner=ANNA))] == [number, second]
    call(other.drop(number, owner=ANNA))
    with pytest.raises(NotFound, match="POST /v1/identities"):
        call(one.find(number, owner=ANNA))
    assert [who for who, _ in call(one.items(owner=ANNA))] == [second]
    call(one.drop(second, owner=ANNA))


@pytest.mark.thorough
def test_a_picture_of_one_server_is_drawn_by_another(session, server, sprite, address):
    with (
        serving(session, identities=opened(address)) as first,
        serving(session, identities=opened(address)) as second,
    ):
        files = {"image": ("a.png", to_png(sprite)), "mask": ("m.png", to_png(sprite.split()[3]))}
        here, there = (
            store.upload("/v1/identities", **files, name="mug").json for store in (first, server)
        )
        assert second.ask("GET", "/v1/identities").json["data"] == [here]
        request = {"prompt": PROMPT, "seed": 3, "swiftpie": {"subjects": [{}]}}
        drawn = []
        for one, outcome in ((first, here), (second, here), (server, there)):
            request["swiftpie"]["subjects"][0]["identity_id"] = outcome["id"]
            answer = one.ask("POST", "/v1/images/generations", body=request)
            drawn.append(answer.json["data"])
        assert drawn[0] == drawn[1] == drawn[2]
        (of_here,), (of_there,) = here["pictures"], there["pictures"]
        pairs = [(here["thumbnail"], there["thumbnail"]), (of_here["mask"], of_there["mask"])]
        for shared, own in pairs:  # drawn anew, without loss
            assert second.ask("GET", shared).content == server.ask("GET", own).content
        assert second.ask("GET", of_here["source"]).content[8:12] == b"WEBP"
        place = f"/v1/identities/{here['id']}"
        assert second.ask("PATCH", place, body={"name": "cup"}).json["name"] == "cup"
        assert first.ask("GET", "/v1/identities").json["data"][0]["name"] == "cup"
        assert second.ask("DELETE", place).status == 200
        assert first.ask("GET", here["thumbnail"]).json["error"]["code"] == "identity_not_found"


@pytest.mark.parametrize(
    "number",
    ["", "..", "id_../../../../../etc/pa", "id_" + "/" * 22, "id_" + "a" * 22, "id_%2e" * 9],
)
def test_numbers_are_no_paths(address, number):
    store = opened(address)
    for request in (store.find, store.drop):
        with pytest.raises(NotFound):
            call(request(number, owner=ANNA))


def test_an_owner_keeps_so_much_and_loses_nothing(address, known):
    store = opened(address, owner_mib=2.5 * known.num_bytes / 2**20)
    first, second = (call(store.put(known, owner=ANNA)) for _ in range(2))
    with pytest.raises(RequestError, match="DELETE /v1/identities") as error:
        call(store.put(known, owner=ANNA))
    assert (error.value.status, error.value.code) == (413, "quota_exceeded")
    assert {who for who, _ in call(store.items(owner=ANNA))} == {first, second}
    call(store.put(known, owner=BEN))
    call(store.drop(first, owner=ANNA))
    call(store.put(known, owner=ANNA))


@pytest.mark.skipif(sys.platform == "win32", reason="has no bounds of files")
def test_a_full_store_says_so_and_holds_nothing_half_written(tmp_path, known):
    import resource

    store = opened(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(RequestError, match="is full") as error:
            call(store.put(known, owner=ANNA))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (error.value.status, error.value.code) == (507, "identities_full")
    assert call(store.items(owner=ANNA)) == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert call(store.put(known, owner=ANNA))


@pytest.mark.skipif(sys.platform == "win32", reason="has no such permissions")
def test_no_folder_can_be_read_by_others(tmp_path, known):
    call(opened(tmp_path / "new" / "kept").put(known, owner=ANNA))
    folders = [path for path in (tmp_path / "new").rglob("*") if path.is_dir()]
    assert len(folders) >= 4
    assert {folder.stat().st_mode & 0o777 for folder in [tmp_path / "new", *folders]} == {0o700}


def test_what_a_killed_server_left_goes_after_a_while(tmp_path, known):
    store = opened(tmp_path)
    call(store.put(known, owner=ANNA))
    for record in tmp_path.glob("*/*/record.json"):
        record.unlink()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    call(store.put(known, owner=ANNA))
    assert all(path.exists() for path in left)  # another server may be writing it
    for path in left:
        os.utime(path, (time.time() - ABANDONED_S - 60,) * 2)
    call(store.put(known, owner=ANNA))
    assert len(left) == 3
    assert not any(path.exists() for path in left)


def test_readers_see_all_of_a_record_or_its_predecessor(tmp_path, known):
    store = opened(tmp_path)
    number = call(store.put(known, owner=ANNA))
    names = ["a" * 200, "b"]
    call(store.rename(number, names[0], owner=ANNA))

    def write():
        for count in range(60):
            call(store.rename(number, names[count % 2], owner=ANNA))

    writing = threading.Thread(target=write)
    writing.start()
    seen = set()
    while writing.is_alive():
        seen.add(call(store.find(number, owner=ANNA))[0].name)
    writing.join()
    assert seen <= set(names)


def rewritten(folder, change):
    (path,) = folder.glob("*/*/record.json")
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record))


def planted(folder, data):
    (path,) = folder.glob("*/*/identity")
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.clear(),
        lambda record: record.update(format="swiftpie-kept/1"),
        lambda record: record.update(more=1),
        lambda record: record.update(name="x" * 201),
        lambda record: record.update(name=["mug"]),
        lambda record: record.update(warnings=["x" * 100_000]),
        lambda record: record.update(made=float("nan")),
        lambda record: record.update(files=["../x"]),
    ],
)
def test_a_record_of_another_form_is_not_read(tmp_path, known, change):
    store = opened(tmp_path)
    number = call(store.put(known, owner=ANNA))
    rewritten(tmp_path, change)
    assert call(store.items(owner=ANNA)) == []
    with pytest.raises(RequestError, match="Delete it") as error:
        call(store.find(number, owner=ANNA))
    assert (error.value.status, error.value.code) == (404, "identity_damaged")
    call(store.drop(number, owner=ANNA))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "data", [b"no", b"\x80\x04\x95pickle", b"\xff" * 64, b"PK\x03\x04", b"\2" + b"\0" * 7 + b"{}"]
)
def test_what_is_no_identity_is_not_loaded(tmp_path, known, data):
    number = call(opened(tmp_path).put(known, owner=ANNA))
    planted(tmp_path, data)
    with pytest.raises(RequestError, match="damaged"):
        call(opened(tmp_path).find(number, owner=ANNA))


def test_identities_that_networks_cannot_use_are_refused(session, identity, tmp_path, known):
    with pytest.raises(WeightsError, match="other weights"):
        session.fitted(replace(identity, fingerprint="0" * 64), name="it")
    for field in ("tokens", "keys"):
        value = getattr(identity, field)
        cut = value[..., 1:] if field == "tokens" else {name: value[name][:, 1:] for name in value}
        with pytest.raises(InputError, match="damaged"):
            session.fitted(replace(identity, **{field: cut}), name="it")
    assert identity_bytes(session.fitted(identity, name="it")) == identity_bytes(identity)
    poisoned = identity_bytes(replace(identity, tokens=torch.full_like(identity.tokens, torch.nan)))
    number = call(opened(tmp_path).put(known, owner=ANNA))
    planted(tmp_path, poisoned)
    with pytest.raises(RequestError, match="damaged"):
        call(opened(tmp_path).find(number, owner=ANNA))
