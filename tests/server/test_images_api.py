"""OpenAI's own client against our server, and what the API adds to it."""

import base64
import gc
import io
import json
import weakref
from functools import partial

import pytest
from PIL import Image, ImageChops, ImageDraw

from swiftpie.imageio.writing import read_metadata
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import LEAST_BYTES
from tests.policy.test_docs import SERVING, blocks
from tests.server.conftest import held, picture_in, serving, to_png, until

openai = pytest.importorskip("openai", reason="needs `pip install openai`")

PROMPT = "a dog on a beach"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def own(identity_id):
    return {"swiftpie": {"subjects": [{"identity_id": identity_id}]}}


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def picture_of(one):
    return opened(one.b64_json)


def ended(server, place):
    """Return the answer of a job as soon as it has ended."""

    def found():
        job = server.ask("GET", place).json
        return job if job["status"] not in {"queued", "running"} else None

    return until(found, seconds=60)


def are_gone(references):
    gc.collect()
    return not any(reference() for reference in references)


def alike(one, other):
    return max(high for _, high in ImageChops.difference(one, other).getextrema()) <= 1


def test_generations_are_what_the_library_draws(client, own, session, identity):
    answer = client.images.generate(
        model="mini", prompt=PROMPT, n=2, extra_body={**own, "seed": 11}
    )
    drawn = session.personalize(identity, PROMPT, seed=11, num_images=2)
    for one, image in zip(answer.data, drawn.images, strict=True):
        assert alike(picture_of(one), image)
    assert answer.size == "128x128"
    assert answer.output_format == "png"
    assert answer.model_extra["swiftpie"]["seeds"] == [11, 12]
    assert read_metadata(base64.b64decode(answer.data[0].b64_json))["prompt"] == PROMPT


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({}, "output_format"),
        ({"output_format": "webp", "swiftpie": {"animate": {"num_frames": 999}}}, "swiftpie"),
        ({"output_format": "webp", "swiftpie": {"animate": {}}}, None),
    ],
)
def test_an_animation_that_cannot_be_answered_is_refused(client, change, param):
    body = {"swiftpie": {"animate": {"to": [f"{PROMPT} at night"]}}, **change}
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model="mini", prompt=PROMPT, extra_body=body)
    assert param is None or raised.value.param.startswith(param)


def test_edits_keep_what_the_mask_does_not_show(client, photo):
    mask = Image.new("RGBA", photo.size, "black")
    ImageDraw.Draw(mask).rectangle((20, 20, 80, 80), fill=(0, 0, 0, 0))
    answer = client.images.edit(
        image=("photo.png", to_png(photo)),
        mask=("mask.png", to_png(mask)),
        prompt="a dog in the snow",
        extra_body={"seed": 5, "swiftpie": f'{{"source_prompt": "{PROMPT}"}}'},
    )
    edited = picture_of(answer.data[0])
    assert edited.size == photo.size
    kept = mask.getchannel("A").point(lambda one: 255 if one else 0)
    black = Image.new("RGB", photo.size)
    outside = [Image.composite(picture, black, kept).tobytes() for picture in (edited, photo)]
    assert outside[0] == outside[1]
    assert edited.tobytes() != photo.tobytes()


def test_white_strokes_on_a_clear_layer_mark_what_goes_where_white_is_asked_for(server, photo):
    layer = Image.new("RGBA", photo.size, (0, 0, 0, 0))
    layer.paste("white", (20, 20, 60, 60))
    own = json.dumps({"task": "remove", "mask_mode": "white"})
    given = {"image": ("photo.png", to_png(photo)), "mask": ("mask.png", to_png(layer))}
    answer = server.upload("/v1/images/edits", **given, prompt="a dog", swiftpie=own)
    made = picture_in(answer)
    assert made.tobytes() != photo.tobytes()
    made.paste(photo.crop((20, 20, 60, 60)), (20, 20))
    assert made.tobytes() == photo.tobytes()


def test_edits_come_as_json_too_and_each_seed_draws_its_picture_alone(server, photo):
    url = "data:image/png;base64," + base64.b64encode(to_png(photo)).decode()
    body = {"prompt": "a dog at night", "images": [{"image_url": url}], "n": 2, "seed": 1}
    answer = server.ask("POST", "/v1/images/edits", body=body)
    assert answer.status == 200, answer.json
    assert not answer.json["swiftpie"]["warnings"]  # another seed gives other lights
    alone = server.ask("POST", "/v1/images/edits", body={**body, "n": 1, "seed": 2})
    assert alike(picture_in(answer, 1), picture_in(alone))
    body["prompt"] = "make it red"
    (warning,) = server.ask("POST", "/v1/images/edits", body=body).json["swiftpie"]["warnings"]
    assert "All 2 pictures are the same" in warning


def test_what_an_edit_may_change_is_shown_before_it_is_drawn(server, photo):
    own = json.dumps({"source_prompt": PROMPT, "return_mask": True})
    given = {"prompt": "a dog in the snow", "image": ("photo.png", to_png(photo))}
    found = server.upload("/v1/images/edits/region", **given, seed="5", swiftpie=own)
    assert found.status == 200, found.json
    edited = server.upload("/v1/images/edits", **given, seed="5", swiftpie=own).json
    mask = opened(edited["swiftpie"]["masks_b64"][0])
    assert Image.open(io.BytesIO(found.content)).tobytes() == mask.tobytes()
    own = json.dumps({"task": "remove", "box": [0, 0, 0.5, 0.5]})
    refused = server.upload("/v1/images/edits/region", **given, swiftpie=own)
    assert (refused.status, refused.json["error"]["param"]) == (400, "swiftpie.task")


def test_a_hole_is_what_goes_from_a_photograph_without_a_mask(client, photo):
    hole = photo.convert("RGBA")
    hole.paste((255, 0, 255, 0), (20, 20, 60, 60))
    answer = client.images.edit(
        image=("photo.png", to_png(hole)),
        prompt="a dog",
        extra_body={"seed": 5, "swiftpie": '{"task": "remove"}'},
    )
    kept = picture_of(answer.data[0]).convert("RGB")
    assert kept.tobytes() != photo.tobytes()
    kept.paste(photo.crop((20, 20, 60, 60)), (20, 20))
    assert kept.tobytes() == photo.tobytes()


def test_streams_give_each_picture_as_it_is_done(client, own, photo):
    drawn = {"prompt": PROMPT, "n": 2, "stream": True, "extra_body": {**own, "seed": 1}}
    events = list(client.images.generate(**drawn))
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert picture_of(events[0]).size == (128, 128)
    more = {"seed": 1, "swiftpie": f'{{"source_prompt": "{PROMPT}"}}'}
    edit = {"image": ("photo.png", to_png(photo)), "prompt": "a dog at night", "extra_body": more}
    (event,) = client.images.edit(**edit, stream=True)
    assert event.type == "image_edit.completed"
    (whole,) = client.images.edit(**edit).data
    assert alike(picture_of(event), picture_of(whole))


def test_jobs_are_fetched_later_and_can_be_deleted(server, own):
    started = server.ask("POST", "/v1/jobs", body={"prompt": PROMPT, **own})
    place = f"/v1/jobs/{started.json['id']}"
    job = ended(server, place)
    assert job["status"] == "completed"
    assert job["result"]["data"][0]["b64_json"]
    assert server.ask("DELETE", place).json["status"] == "cancelled"
    assert server.ask("GET", place).status == 404


def test_a_job_that_has_ended_keeps_its_answer_alone(server):
    film = {"prompt": PROMPT, "size": "64x64", "output_format": "webp"}
    store, running = server.worker.answers, server.worker.running
    for to, status in ((f"{PROMPT} at night", "completed"), ("a cat in a castle", "failed")):
        body = {**film, "swiftpie": {"animate": {"to": [to], "num_frames": 3}}}
        with held(server.worker):  # else it may have ended before it is looked at
            number = server.ask("POST", "/v1/jobs", body=body).json["id"]
            pictures = [weakref.ref(job) for job in running[number].jobs]
        assert ended(server, f"/v1/jobs/{number}")["status"] == status
        found = server.ask("GET", f"/v1/jobs/{number}")
        assert store.find(number, owner="127.0.0.1 ") == found.content
        assert number not in running
        assert found.json["progress"] == {"drawn": 1, "of": 1, "stage": "all"}
        assert store._things[number].size == max(LEAST_BYTES, len(found.content))
        until(partial(are_gone, pictures))


def test_a_full_queue_says_when_to_come_back_and_reads_no_more(session):
    with serving(session, queue=8, queue_per_key=2, token="a long random token") as small:
        known = {"authorization": "Bearer a long random token", "x-swiftpie-user": "anna"}
        job = {"prompt": PROMPT}
        with held(small.worker):
            for _ in range(3):  # one is drawn, two wait
                assert small.ask("POST", "/v1/jobs", body=job, headers=known).status == 202
                until(lambda: small.worker.scheduler.being_drawn)
            unread = {**known, "content-type": "application/json"}
            refused = small.ask("POST", "/v1/images/generations", body=b"no JSON", headers=unread)
            ben = {**known, "x-swiftpie-user": "ben"}
            other = small.ask("POST", "/v1/jobs", body=job, headers=ben)
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert float(refused.headers["retry-after-ms"]) > 0
        assert other.status != 429


def test_a_client_that_leaves_is_not_drawn_for(session):
    with serving(session) as alone, held(alone.worker) as (begun, gate, stopped):
        with alone.asked({"prompt": PROMPT}):
            assert begun.wait(60)
            (job,) = until(lambda: alone.worker.scheduler.being_drawn)
        until(job.done.cancelled)
        gate.set()
        assert stopped.wait(60)


@pytest.mark.usefixtures("identity_id")
def test_health_models_and_metrics(server):
    assert server.ask("GET", "/health/ready").json == {"status": "ready"}
    listed = server.ask("GET", "/v1/models").json["data"]
    assert [model["id"] for model in listed] == ["mini"]
    assert server.ask("GET", "/v1/models/mini").json == listed[0]
    assert server.ask("GET", "/v1/models/none").status == 404
    words = server.ask("GET", "/v1/models/mini/vocabulary").json["vocabulary"]["words"]
    assert "beach" in words
    text = server.ask("GET", "/metrics").content.decode()
    assert 'swiftpie_requests_total{code="201",route="/v1/identities"}' in text


def test_the_pages_programs_run(server, sprite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sprite.convert("RGB").save("dog.jpg")
    program, _ = blocks(SERVING, "python")
    exec(program.replace("http://127.0.0.1:8000", server.url), {})
    with Image.open("beach.png") as drawn:
        assert drawn.size == (128, 128)
    wanted, _ = blocks(SERVING, "json")
    assert Drawing.model_validate_json(wanted).n == 2
