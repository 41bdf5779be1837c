import base64
import io
import json
import sys
import threading
from dataclasses import replace

import pytest
from PIL import Image, ImageDraw

from swiftpie.pipelines.identity_file import identity_bytes
from swiftpie.server.errors import RequestError
from swiftpie.server.store import LEAST_BYTES, MOST_OF_KEY, MOST_OF_OWNER, OwnerStore, StoredKind
from tests.server.conftest import held, picture_in, serving, to_png, until

PROMPT = "a dog on a beach"
ANNA, BEN = ({"cookie": f"other=1; swiftpie_visitor={letter * 32}"} for letter in "ab")
TOKEN = "a long random token"


@pytest.fixture(scope="module")
def of_anna(server, picture_bytes):
    made = server.upload("/v1/identities", headers=ANNA, image=("a.png", picture_bytes), name="mug")
    assert made.status == 201
    return made.json


def opened(answer):
    return Image.open(io.BytesIO(answer.content))


def test_they_are_listed_shown_renamed_and_forgotten(server, picture_bytes):
    made = server.upload("/v1/identities", image=("a.png", picture_bytes), name="mug").json
    place = f"/v1/identities/{made['id']}"
    assert made in server.ask("GET", "/v1/identities").json["data"]
    assert opened(server.ask("GET", made["thumbnail"])).size == (128, 128)
    renamed = server.ask("PATCH", place, body={"name": "cup"})
    assert renamed.json == {**made, "name": "cup"}
    assert renamed.json in server.ask("GET", "/v1/identities").json["data"]
    for body in ({}, {"name": "x" * 201}, {"name": "cup", "model": "other"}):
        assert server.ask("PATCH", place, body=body).status == 400
    assert server.ask("DELETE", place).json["deleted"]
    for method, path in (("GET", made["thumbnail"]), ("DELETE", place), ("PATCH", place)):
        assert server.ask(method, path, body={"name": "cup"}).status == 404


def test_pictures_and_masks_come_back_to_be_cut_out_again(server, sprite):
    photo = Image.new("RGB", (2048, 1024), "white")  # larger than is kept
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).rectangle((512, 256, 1023, 767), fill=255)
    photo.paste("red", mask=mask)
    files = {"image": ("a.png", to_png(photo)), "mask": ("m.png", to_png(mask))}
    facts = server.upload("/v1/identities", **files).json
    ((source, shape),) = [(picture["source"], picture["mask"]) for picture in facts["pictures"]]
    assert opened(server.ask("GET", source)).size == (1024, 512)
    again = opened(server.ask("GET", shape))
    hard = again.point(lambda one: 255 * (one > 127))  # edges blur as they shrink
    assert (again.size, hard.getbbox()) == ((1024, 512), (256, 128, 512, 384))
    found = server.upload("/v1/identities", image=("b.png", to_png(sprite))).json
    (only,) = found["pictures"]
    assert only["mask"] is None
    assert opened(server.ask("GET", only["source"])).mode == "RGBA"
    for path in (only["source"].replace("pictures", "masks"), source[:-1] + "1", source + "x"):
        assert server.ask("GET", path).status in {400, 404}


def test_a_tuned_identity_file_is_a_subject_and_one_of_other_weights_is_refused(server, identity):
    tuned = replace(identity, tokens=identity.tokens + 0.1, tuned="tokens, 20 steps")
    made = server.upload("/v1/identities", identity=("mug.spid", identity_bytes(tuned)))
    assert made.status == 201, made.json
    assert made.json["pictures"] == []
    request = {"prompt": PROMPT, "swiftpie": {"subjects": [{"identity_id": made.json["id"]}]}}
    assert server.ask("POST", "/v1/images/generations", body=request).status == 200
    file = server.ask("GET", f"/v1/identities/{made.json['id']}/file").content
    assert file == identity_bytes(tuned)
    others = replace(tuned, fingerprint="0" * 64)
    for data, code in ((identity_bytes(others), "identity_of_others"), (b"no file", None)):
        refused = server.upload("/v1/identities", identity=("mug.spid", data))
        assert refused.status == 400
        assert code in {None, refused.json["error"]["code"]}
    both = {"identity": ("a.spid", b"1"), "face": ("a.png", b"1")}
    assert server.upload("/v1/identities", **both).status == 400


def test_a_server_that_never_saw_a_subject_draws_it_from_its_file(server, session, of_anna):
    place = f"/v1/identities/{of_anna['id']}"
    assert of_anna["file"] == f"{place}/file"
    data = server.ask("GET", of_anna["file"], headers=ANNA).content
    text, own = base64.b64encode(data).decode(), {"box": [0.1, 0.4, 0.5, 0.9], "name": "dog"}
    wanted = server.draw(
        swiftpie=subjects({"identity_id": of_anna["id"], **own}), seed=4, headers=ANNA
    )
    with serving(session) as other:
        unknown = other.draw(swiftpie=subjects({"identity_id": of_anna["id"]}))
        assert (unknown.status, unknown.json["error"]["code"]) == (404, "identity_not_found")
        assert "identity_file" in unknown.json["error"]["message"]
        in_json = other.draw(swiftpie=subjects({"identity_file": text, **own}), seed=4)
        words = {"prompt": PROMPT, "seed": "4"}
        said = json.dumps(subjects({"identity_file": "0", **own}))
        in_form = other.upload(
            "/v1/images/edits", identity=("a.spid", data), swiftpie=said, **words
        )
        bare = other.upload("/v1/images/edits", identity=("a.spid", data), **words)
        assert other.ask("GET", "/v1/identities").json["data"] == []
        body = {"prompt": PROMPT, "seed": 4, "swiftpie": subjects({"identity_file": text, **own})}
        place = "/v1/jobs/" + other.ask("POST", "/v1/jobs", body=body).json["id"]
        until(lambda: other.ask("GET", place).json["status"] == "completed")
    pixels = [picture_in(answer).tobytes() for answer in (wanted, in_json, in_form, bare)]
    assert pixels[0] == pixels[1] == pixels[2] != pixels[3]


def test_identity_files_in_requests_are_checked_as_uploads_are(server, identity):
    def code_of(text, **more):
        answer = server.draw(swiftpie=subjects({"identity_file": text, **more}))
        assert answer.status == 400, answer.json
        return answer.json["error"]["code"]

    whole = identity_bytes(identity)
    others = identity_bytes(replace(identity, fingerprint="0" * 64))
    faces = identity_bytes(replace(identity, is_face=True))
    assert code_of(base64.b64encode(others).decode()) == "identity_of_others"
    assert code_of(base64.b64encode(faces).decode()) == "faces_not_known"
    for text in ("0", "no base64", base64.b64encode(whole[:-9]).decode(), "AAAA"):
        assert code_of(text) != "identity_of_others"
    assert code_of(base64.b64encode(whole).decode(), library="cat") == "invalid_value"


def test_the_best_of_several_pictures_comes_with_its_scores(server, of_anna):
    own = {**subjects({"identity_id": of_anna["id"]}), "best_of": 3}
    best = server.draw(swiftpie=own, seed=4, n=2, headers=ANNA)
    assert best.status == 200, best.json
    (seed, _), scores = best.json["swiftpie"]["seeds"], best.json["swiftpie"]["scores"]
    assert len(best.json["data"]) == len(scores) == 2
    assert all({"identity_score", "place_score"} == {*score} for score in scores)
    alone = server.draw(swiftpie={**own, "best_of": None}, seed=seed, headers=ANNA)
    assert picture_in(alone).tobytes() == picture_in(best).tobytes()
    assert "scores" not in alone.json["swiftpie"]
    assert server.draw(swiftpie=own, n=4, headers=ANNA).status == 400


def subjects(*shown):
    return {"subjects": [*shown]}


@pytest.mark.parametrize("headers", [BEN, {}, {"cookie": "swiftpie_visitor=short"}], ids=str)
def test_no_visitor_reaches_subjects_and_jobs_of_another(server, of_anna, headers):
    number = of_anna["id"]
    request = {"prompt": PROMPT, "swiftpie": {"subjects": [{"identity_id": number}]}}
    for method, path, body in [
        ("GET", of_anna["thumbnail"], None),
        ("GET", of_anna["pictures"][0]["source"], None),
        ("GET", f"/v1/identities/{number}/file", None),
        ("PATCH", f"/v1/identities/{number}", {"name": "mine"}),
        ("DELETE", f"/v1/identities/{number}", None),
        ("POST", "/v1/images/generations", request),
        ("POST", "/v1/jobs", request),
    ]:
        answer = server.ask(method, path, body=body, headers=headers)
        assert (answer.status, answer.json["error"]["code"]) == (404, "identity_not_found")
    assert of_anna not in server.ask("GET", "/v1/identities", headers=headers).json["data"]
    assert of_anna in server.ask("GET", "/v1/identities", headers=ANNA).json["data"]
    job = server.ask("POST", "/v1/jobs", body=request, headers=ANNA).json["id"]
    for method in ("GET", "DELETE"):
        assert server.ask(method, f"/v1/jobs/{job}", headers=headers).status == 404
        assert server.ask(method, f"/v1/jobs/{job}", headers=ANNA).status == 200


def test_the_page_gives_a_browser_a_name_once(server):
    cookie = server.ask("GET", "/").headers["set-cookie"]
    name, *rules = cookie.split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rules)
    assert "set-cookie" not in server.ask("GET", "/", headers={"cookie": name}).headers
    assert server.ask("GET", "/").headers["set-cookie"] != cookie


def test_users_of_one_token_have_subjects_of_their_own(session, picture_bytes):
    with serving(session, token=TOKEN) as guarded:
        known = {"authorization": f"Bearer {TOKEN}"}
        users = [{**known, "x-swiftpie-user": user} for user in ("anna", "x" * 65, "x" * 64 + "b")]
        for user in users[:2]:
            guarded.upload("/v1/identities", headers=user, image=("a.png", picture_bytes))
        lists = [
            guarded.ask("GET", "/v1/identities", headers=headers).json
            for headers in (*users, known)
        ]
    assert [len(listed["data"]) for listed in lists] == [1, 1, 0, 0]


def test_files_of_the_page_are_sent_once(server):
    page = server.ask("GET", "/")
    script = page.content.decode().partition('src="')[2].partition('"')[0]
    for path in ("/", f"/{script.lstrip('./')}"):
        tag = server.ask("GET", path).headers["etag"]
        again = server.ask("GET", path, headers={"if-none-match": tag})
        assert (again.status, again.content) == (304, b"")
        assert again.headers["cache-control"] == "no-cache"


@pytest.mark.thorough
def test_each_subject_of_a_picture_has_a_mask_and_a_box(server, sprite):
    photo = Image.new("RGB", (512, 384), (70, 110, 160))
    for left in (20, 270):
        shown = sprite.resize((220, 220))
        photo.paste(shown, (left, 120), shown.getchannel("A"))
    found = server.upload("/v1/cutouts", image=("two.png", to_png(photo)), cutout="all")
    first, second = found.json["subjects"]
    assert first["box"][2] < 0.5 < second["box"][0]
    assert Image.open(io.BytesIO(base64.b64decode(first["mask_b64"]))).size == photo.size


def test_cutouts_wait_their_turn_and_words_do_not(session, sprite):
    with serving(session, queue=1) as small:
        answers = []
        picture = {"image": ("a.png", to_png(sprite))}
        asking = [
            threading.Thread(target=lambda: answers.append(small.upload("/v1/cutouts", **picture)))
            for _ in range(2)
        ]
        with held(small.worker) as (begun, *_):
            asking[0].start()
            assert begun.wait(60)
            asking[1].start()
            until(lambda: small.worker.scheduler.num_queued)
            refused = small.upload("/v1/cutouts", **picture)
            words = small.ask("GET", "/v1/models/mini/vocabulary")
        for call in asking:
            call.join(60)
    assert refused.status == 429
    assert "beach" in words.json["vocabulary"]["words"]
    assert [answer.status for answer in answers] == [200, 200]


def stored(limit):
    size = lambda thing: LEAST_BYTES * len(thing)  # noqa: E731
    mib = LEAST_BYTES * limit / 2**20
    kind = StoredKind(
        "thing", "t", size=size, pack=str.encode, unpack=bytes.decode, remedy=" Make it."
    )
    return OwnerStore(kind, limit_mib=mib)


def test_the_owner_that_holds_most_makes_room():
    store = stored(4)
    of_ben = store.put("b", owner="ben")
    old, new = store.put("a1", owner="anna"), store.put("a2", owner="anna")
    assert store.find(of_ben, owner="ben") == "b"
    assert store.items(owner="anna") == [(new, "a2")]
    with pytest.raises(RequestError, match="Make it") as error:
        store.find(old, owner="anna")
    assert (error.value.code, error.value.param) == ("thing_not_found", "thing_id")
    store.replace(new, "c", owner="anna")
    store.put("dd", owner="cleo")  # 1 and 1 and 2: all fit
    assert len(store.items(owner="anna")) == len(store.items(owner="ben")) == 1
    alone = store.put("eeeeeeee", owner="dora")  # larger than the store, and kept alone
    assert store.find(alone, owner="dora")


def test_a_caller_with_many_owners_makes_the_room():
    store = stored(15)
    visitor = store.put("v", owner="visitor", key="here")
    for number in range(28):
        last = store.put("u", owner=f"owner {number}", key="there")
    assert store.find(visitor, owner="visitor") == "v"
    assert store.find(last, owner="owner 27") == "u"
    assert not store.items(owner="owner 0")


def test_of_equal_owners_the_one_that_was_away_longest_makes_room():
    store = stored(3)
    first, *_ = (store.put("u", owner=owner) for owner in "abc")
    store.find(first, owner="a")  # still here
    store.put("u", owner="d")
    assert store.find(first, owner="a") == "u"
    assert not store.items(owner="b")
    alone = stored(4)
    names = [alone.put("u", owner="a") for _ in range(5)]
    assert alone.items(owner="a") == [(name, "u") for name in names[1:]]


def test_of_an_owners_things_the_last_used_is_not_the_first_to_go():
    store = stored(3)
    first, *others = (store.put("u", owner="a") for _ in range(3))
    store.find(first, owner="a")
    for left in ([others[1], first], [first]):
        store.put("u", owner="a")
        assert [*dict(store.items(owner="a"))][: len(left)] == left


@pytest.mark.parametrize("num_keys", [20, 1000])
def test_room_costs_no_more_among_many_callers(num_keys):
    store = stored(2 * num_keys)
    for number in range(2 * num_keys):
        store.put("", owner=f"owner {number % num_keys}", key=f"key {number % num_keys}")
    steps = []
    sys.setprofile(lambda _frame, event, _given: steps.append(event))
    try:
        store.put("x" * 20, owner="large", key="other")  # twenty others go
        store.facts(owner="owner 1")
    finally:
        sys.setprofile(None)
    assert len(steps) < 20 * 200


def test_many_small_things_cost_no_time():
    store = stored(2000)
    for number in range(MOST_OF_KEY):
        store.put("", owner=f"owner {number % 8}", key="flood")  # each counts as one of size 1
    rest = 2000 - MOST_OF_KEY
    large = store.put("x" * rest, owner="large", key="other")
    assert store.find(large, owner="large")  # all fit, to the byte
    steps = []
    sys.setprofile(lambda _frame, event, _given: steps.append(event))
    try:
        store.put("x" * 2000, owner="large", key="flood")  # all others go
    finally:
        sys.setprofile(None)
    assert len(steps) < 150 * MOST_OF_KEY  # they grew by the square of the number
    assert not store.items(owner="owner 1")


def test_an_owner_and_a_key_have_so_many_things():
    store = stored(10_000)
    others = store.put("v", owner="visitor", key="here")
    names = [store.put("u", owner="a", key="there") for _ in range(MOST_OF_OWNER + 1)]
    assert store.items(owner="a") == [(name, "u") for name in names[1:]]
    for number in range(MOST_OF_KEY):
        last = store.put("u", owner=f"owner {number}", key="there")
    left = [
        store.items(owner=owner) for owner in ("a", *(f"owner {n}" for n in range(MOST_OF_KEY)))
    ]
    assert sum(map(len, left)) == MOST_OF_KEY
    assert store.find(last, owner=f"owner {MOST_OF_KEY - 1}")
    assert store.find(others, owner="visitor")


def test_what_is_replaced_still_counts_for_who_sent_it():
    store = stored(6)
    renamed = [store.put("u", owner=f"owner {number}", key="there") for number in range(4)]
    visitors = store.put("v", owner="visitor", key="here")
    for number, name in enumerate(renamed):
        store.replace(name, "w", owner=f"owner {number}")
    store.put("vv", owner="visitor", key="here")
    assert store.find(visitors, owner="visitor") == "v"
    assert not store.items(owner="owner 0")
    store.replace(visitors, "vvvvvv", owner="visitor")  # which makes room as a new one does
    assert store.items(owner="visitor") == [(visitors, "vvvvvv")]
    assert not store.items(owner="owner 3")
    store.drop(visitors, owner="visitor")
    store.put("uuu", owner="a", key="there")
    store.put("vvv", owner="b", key="here")  # both fit: nothing of what went is counted
    assert store.items(owner="a")
