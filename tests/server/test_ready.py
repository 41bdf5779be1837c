from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from PIL import Image
from torch import nn

import swiftpie
from swiftpie.backbones.components import Engine
from swiftpie.backbones.presets import PRESETS, describe
from swiftpie.engine.graphs.runtime import outline
from swiftpie.engine.session import Session
from swiftpie.engine.warm_up import batch_sizes
from swiftpie.engine.wrappers import JoinedAutoencoder
from swiftpie.errors import UnknownSubjectError, WeightsError
from swiftpie.models.denoiser import WrappedDenoiser
from swiftpie.server import Limits
from swiftpie.server.drawing import DrawingBackend
from swiftpie.server.jobs import Job
from swiftpie.server.requests import requests_of
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import Caller, Models, ServedModel, StoredIdentity
from swiftpie.server.worker import Worker
from tests.server.conftest import turns_until
from tests.tiny.editor import tiny_editor

pytestmark = pytest.mark.anyio
PROMPT = "a dog on a beach"


class NotingDenoiser(WrappedDenoiser):
    """Notes of which forms its calls are, as each would cost a graph."""

    def __init__(self, inner, forms):
        super().__init__(inner)
        self.forms = forms

    def _predict(self, call):
        self.forms.add(("denoiser", repr(outline(call))))
        return super()._predict(call)


class NotingDecoder(nn.Module):
    def __init__(self, inner, forms):
        super().__init__()
        self.inner, self.forms = inner, forms

    def decode(self, latents):
        self.forms.add(("decoder", repr(outline(latents))))
        return self.inner.decode(latents)


@asynccontextmanager
async def working(load, progress, **limits):
    offer = ServedModel(load, describe(PRESETS.get("mini")))
    worker = Worker(Models({"mini": offer}), limits=Limits(**limits), tell=progress.append)
    async with worker:
        yield worker


@pytest.fixture
def forms():
    return set()


@pytest.fixture
def sized(session, forms):
    whole = session.components
    decoder = NotingDecoder(whole.autoencoder, forms)
    return Session(
        replace(
            whole,
            denoiser=NotingDenoiser(whole.denoiser, forms),
            autoencoder=JoinedAutoencoder(whole.autoencoder, decoder),
            engine=Engine(has_fixed_sizes=True),
        )
    )


@pytest.mark.thorough
async def test_once_ready_no_mix_of_requests_compiles_anything(sized, forms, identity):
    progress = []
    async with working(lambda: sized, progress, batch=4) as worker:
        await worker.getting_ready
        ready = frozenset(forms)
        who = worker.identities.put(StoredIdentity(identity, "mini"), owner="me")
        one, two = ({"subjects": [{"identity_id": who}] * count} for count in (1, 2))
        photo = Image.effect_noise((128, 128), 60).convert("RGB")
        removal = {"task": "remove", "box": [0.2, 0.2, 0.8, 0.8]}
        for own, images, counts in [(one, [], [2, 3, 5]), (two, [], [2]), (removal, [photo], [2])]:
            for count in counts:
                body = Drawing(prompt=PROMPT, seed=count, n=count, swiftpie=own)
                caller = Caller("key", "me")
                made = await worker.builder.jobs_of(body, caller=caller, images=images)
                assert len([picture async for picture in worker.draw(made)]) == count
                assert forms == ready, (own, count)
        assert worker.scheduler.batches == 6  # 5 do not fit into a batch of 4
    assert progress[0] == "getting ready, 1 of 8: subject"
    assert progress[-1] == "ready"


@pytest.mark.thorough
async def test_what_stands_in_draws_until_the_model_is_ready(session, identity):
    facts = describe(PRESETS.get("mini"))
    load = partial(swiftpie.load, "mini", size_px=128)
    models = Models({"mini": ServedModel(load, facts, stand_in=lambda: session)})
    async with Worker(models, limits=Limits()) as worker:
        await turns_until(lambda: worker.is_ready)
        who = worker.identities.put(StoredIdentity(identity, "mini"), owner="me")
        body = Drawing(prompt=PROMPT, seed=1, swiftpie={"subjects": [{"identity_id": who}]})
        drawn = []
        for drawer in (session, None):
            assert drawer in (worker.models.loaded["mini"], None)
            jobs = await worker.builder.jobs_of(body, caller=Caller("key", "me"))
            drawn += [picture.data async for picture in worker.draw(jobs)]
            await worker.getting_ready
        assert worker.models.loaded["mini"] is not session
    before, after = drawn
    assert before == after


def test_batches_are_of_few_sizes():
    assert [batch_sizes(most) for most in (1, 3, 4, 6)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 4)]


async def test_a_model_that_cannot_be_loaded_is_reported(caplog):
    progress = []

    def load():
        raise WeightsError("The weights are damaged.")

    async with working(load, progress) as worker:
        with pytest.raises(WeightsError):
            await worker.getting_ready
        assert not worker.is_ready
    assert progress == ["error: The weights are damaged."]
    assert "could not be made ready" in caplog.text


async def test_a_model_that_knows_all_words_draws_a_prompt_alone_and_inserts_no_subject(photo):
    published = Session(tiny_editor())
    offer = ServedModel(lambda: published, describe(published.components.preset))
    drawer = DrawingBackend(Models({"published": offer}))

    async def drawn_of(images, **own):
        body = Drawing(prompt="a dog on a beach", seed=5, swiftpie=own)
        (request,) = requests_of(body, subjects=(), images=images, mask=None)
        return (await drawer.draw([Job(request, model="published")]))[0]

    alone = published.generate("a dog on a beach", seed=5).images[0]
    _, drawn = await drawn_of([])
    assert drawn.images[0].tobytes() == alone.tobytes()
    refused = await drawn_of([photo], task="insert", box=(0.2, 0.2, 0.8, 0.8))
    assert isinstance(refused, UnknownSubjectError), refused
