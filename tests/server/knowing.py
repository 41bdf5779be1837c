"""Lets schemathesis name what a server knows, which generated requests would never guess.

Set `SCHEMATHESIS_HOOKS` to this file and `SERVER` to the server's address. Three requests of four
then bring a real picture or name a real identity, model or job, and keep what else was generated,
so that they come as far as drawing. It loads nothing of the library, nor of the server.
"""

import itertools
import json
import os
from base64 import b64encode
from pathlib import Path

import requests
import schemathesis

SERVER = os.environ["SERVER"]
SAMPLES = Path(__file__).parents[2] / "src" / "swiftpie" / "assets" / "samples"
PICTURE = min(SAMPLES.glob("*.webp")).read_bytes()
FILES = ("image", "image[]", "mask")
numbers = itertools.count()


def new_identity():
    answer = requests.post(f"{SERVER}/v1/identities", files={"image": PICTURE}, timeout=60)
    return answer.json()["id"]


IDENTITY = new_identity()


def new_job():
    asked = {"prompt": "a dog", "swiftpie": {"subjects": [{"identity_id": IDENTITY}]}}
    return requests.post(f"{SERVER}/v1/jobs", json=asked, timeout=60).json().get("id", "none")


@schemathesis.hook
def before_call(_context, case, **_options):
    """Put real things in the place of generated ones."""
    number = next(numbers)
    if number % 4 == 0:
        return
    for name in case.path_parameters:
        made = {"model": lambda: "mini", "job_id": new_job, "number": lambda: number % 2}
        forgets = case.method.upper() == "DELETE" and name == "identity_id"
        if forgets or name != "identity_id":
            case.path_parameters[name] = made.get(name, new_identity)()
        else:
            case.path_parameters[name] = IDENTITY
    if isinstance(case.body, dict):
        case.body = known(dict(case.body), number, is_form=case.media_type != "application/json")


def known(body, number, *, is_form):
    """Return a body whose pictures and names are real."""
    for name in FILES if is_form else ():
        if isinstance(body.get(name), list):
            body[name] = [PICTURE] * min(len(body[name]) or 1, 2)
        elif name in body and (name != "mask" or number % 3):
            body[name] = PICTURE
    if "model" in body:
        body["model"] = "mini"
    if "images" in body:
        body["images"] = [{"image_url": url(PICTURE)}]
    if "prompt" in body:
        body["swiftpie"] = own(body.get("swiftpie"), number)
    return body


def own(given, number):
    """Return the part that is ours with a subject that is there, as text where it was text."""
    try:
        told = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return given
    if told is not None and not isinstance(told, dict):
        return given
    subjects = (told or {}).get("subjects") or [{}]
    if not isinstance(subjects, list):
        return given
    named = [{**one, "identity_id": IDENTITY} for one in subjects[:4] if isinstance(one, dict)]
    more = {} if number % 5 else {"task": "personalize"}
    whole = {**(told or {}), **more, "subjects": named}
    return json.dumps(whole) if isinstance(given, str) else whole


def url(data):
    return f"data:image/webp;base64,{b64encode(data).decode()}"
