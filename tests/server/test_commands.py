import asyncio
import pickle
from functools import partial

import pytest

from swiftpie.backbones.presets import describe
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError, ImageError, InputError, NoSubject, UnknownSubjectError
from swiftpie.models.cutout import search_of
from swiftpie.pipelines.request import (
    EditRequest,
    IdentityRef,
    PersonalizeRequest,
    Pictures,
    Subject,
)
from swiftpie.server.commands import (
    Command,
    encode_pictures,
    find_cutout,
    requests_of,
    vocabulary_of,
)
from swiftpie.server.drawing import DrawingThread
from swiftpie.server.schemas import Drawing, RequestError, problem_of
from swiftpie.server.store import Models, ServedModel
from tests.pipelines.tiny_editor import tiny_editor
from tests.server.conftest import models_of

PROMPT = "a dog on a beach"
OWN = {"scales": {"identity_scale": 0.5}, "edit": {"variation": 0.25}, "source_prompt": PROMPT}


@pytest.fixture(scope="module")
def drawer(session):
    return DrawingThread(models_of(session))


def answers(drawer, *work, model="mini"):
    commands = [Command(model, request) for request in work]

    async def drawn():
        return await drawer.draw(commands)

    return asyncio.run(drawn())


def moved(thing):
    return pickle.loads(pickle.dumps(thing))


def drawings(identity, photo):
    body = Drawing(prompt=PROMPT, seed=5, n=2, swiftpie=OWN)
    known = (Subject(IdentityRef(identity), box=(0.1, 0.2, 0.7, 0.9), name="dog"),)
    return requests_of(body, subjects=known, images=[photo] if photo else [], mask=None)


@pytest.mark.parametrize("kind", [PersonalizeRequest, EditRequest])
def test_a_moved_request_draws_the_same_picture(drawer, identity, photo, kind):
    made = drawings(identity, photo if kind is EditRequest else None)
    assert {type(request) for request in made} == {kind}
    for request in made:
        here, there = answers(drawer, request), answers(drawer, moved(request))
        for a, b in zip(here, moved(there), strict=True):
            assert a.image.tobytes() == b.image.tobytes()
            assert a.mask.tobytes() == b.mask.tobytes()
            assert (a.seed, a.origin, a.warnings) == (b.seed, b.origin, b.warnings)


def test_a_model_that_knows_all_words_draws_a_prompt_alone_and_inserts_no_subject(photo):
    published = Session(tiny_editor())
    offer = ServedModel(lambda: published, describe(published.components.preset))
    drawer = DrawingThread(Models({"published": offer}))

    def drawn_of(images, **own):
        body = Drawing(prompt=PROMPT, seed=5, swiftpie=own)
        requests = requests_of(body, subjects=(), images=images, mask=None)
        return answers(drawer, *requests, model="published")

    (drawn,) = drawn_of([])
    assert drawn.image.tobytes() == published.generate(PROMPT, seed=5).images[0].tobytes()
    (refused,) = drawn_of([photo], task="insert", box=(0.2, 0.2, 0.8, 0.8))
    assert isinstance(refused, UnknownSubjectError), refused


def test_a_moved_task_encodes_the_same_subject_and_finds_the_same_mask(drawer, identity, sprite):
    encoded = partial(encode_pictures, pictures=Pictures((sprite,)))
    (there,) = answers(drawer, moved(encoded))
    there = moved(there)
    assert there.fingerprint == identity.fingerprint
    assert there.keys.keys() == identity.keys.keys()
    for name in ("tokens", "pooled", "pixels", "mask"):
        assert getattr(there, name).equal(getattr(identity, name))
    search = partial(find_cutout, image=sprite, search=search_of("0.1,0.1,0.9,0.9"))
    ((mask, how), (other, its)) = answers(drawer, search) + answers(drawer, moved(search))
    assert mask.tobytes() == other.tobytes()
    assert how == moved(its)
    assert "beach" in moved(answers(drawer, vocabulary_of)[0])["words"]


def test_an_identity_moves_with_all_its_tensors(identity):
    there = identity.to("meta")
    tensors = (there.tokens, there.pooled, there.pixels, there.mask)
    kept = (*tensors, *there.keys.values(), *there.values.values())
    assert {name.device.type for name in kept} == {"meta"}
    assert len(there.keys) == len(identity.keys) > 0


@pytest.mark.parametrize(
    "error",
    [
        RequestError("gone", status=404, code="identity_not_found", param="identity_id"),
        NoSubject("Grey everywhere.", "Use --mask."),
        UnknownSubjectError("Unknown.", word="elefant", near=("elephant",)),
        ImageError("broken"),
        InputError("too long"),
        ConfigError("no such"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_moved_error_reads_alike(error):
    there = moved(error)
    assert type(there) is type(error)
    assert (str(there), problem_of(there)) == (str(error), problem_of(error))
