import asyncio

from swiftpie.backbones.presets import describe
from swiftpie.engine.session import Session
from swiftpie.errors import UnknownSubjectError
from swiftpie.server.commands import Command, requests_of
from swiftpie.server.drawing import DrawingThread
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import Models, ServedModel
from tests.pipelines.tiny_editor import tiny_editor


def test_a_model_that_knows_all_words_draws_a_prompt_alone_and_inserts_no_subject(photo):
    published = Session(tiny_editor())
    offer = ServedModel(lambda: published, describe(published.components.preset))
    drawer = DrawingThread(Models({"published": offer}))

    def drawn_of(images, **own):
        body = Drawing(prompt="a dog on a beach", seed=5, swiftpie=own)
        (request,) = requests_of(body, subjects=(), images=images, mask=None)

        async def drawn():
            return await drawer.draw([Command("published", request)])

        return asyncio.run(drawn())[0]

    alone = published.generate("a dog on a beach", seed=5).images[0]
    assert drawn_of([]).image.tobytes() == alone.tobytes()
    refused = drawn_of([photo], task="insert", box=(0.2, 0.2, 0.8, 0.8))
    assert isinstance(refused, UnknownSubjectError), refused
