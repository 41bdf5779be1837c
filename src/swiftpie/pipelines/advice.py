"""What a model is asked for and was never made for: told before it draws, as a warning."""

import logging
import math

from swiftpie.backbones.components import Components
from swiftpie.models.vocabulary import Vocabulary, words_in
from swiftpie.pipelines.request import EditRequest, Request
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)

SAME_AREA = 1.25  # times; shapes that a model was trained on are alike up to this


def advise(components: Components, request: Request) -> None:
    """Warn of words that the model was not taught, and of sizes that it was not trained for."""
    preset, vocabulary = components.preset, components.text.vocabulary
    if vocabulary is not None and (strange := strange_words(vocabulary, request)):
        logger.warning(
            "Preset %r was never taught %s. Such words change nothing, or turn the picture into "
            "haze. Use words that it knows: see docs/quickstart.md, 'What to write'.",
            preset.name,
            ", ".join(_beside_near(vocabulary, word) for word in strange),
        )
    side = preset.image_size_px
    height, width = _size_of(request) or (side, side)
    is_other = (height, width) != (side, side)
    if components.family.knows_shapes:
        is_other = abs(math.log(max(1, height * width) / side**2)) > math.log(SAME_AREA)
    if is_other:
        logger.warning(
            "Preset %r was trained on pictures of %sx%s px and shall draw %sx%s. Subject and scene "
            "may come out doubled, cut or blurred. Leave the size out for what it was made for.",
            *(preset.name, side, side, width, height),
        )


def strange_words(vocabulary: Vocabulary, request: Request) -> list[str]:
    """Return the words of a request that mean nothing to a model of `vocabulary`.

    A subject of which a picture is given may be called anything. An edit that is given none draws
    a subject of another name by that name alone.
    """
    if isinstance(request, EditRequest):
        shown = words_in(request.source_prompt) if request.identity is None else None
        found = vocabulary.unknown_in(request.source_prompt)
        for text in (request.prompt, request.keyword):
            found += vocabulary.unknown_in(text, shown=shown)
    else:
        prompts = () if isinstance(request.prompt, TextCondition) else request.prompt
        each = (prompts,) if isinstance(prompts, str) else prompts
        found = [word for prompt in each for word in vocabulary.unknown_in(prompt)]
    return list(dict.fromkeys(found))


def _beside_near(vocabulary: Vocabulary, word: str) -> str:
    near = vocabulary.near(word)
    return f"{word!r} (near: {', '.join(near)})" if near else repr(word)


def _size_of(request: Request) -> tuple[int, int] | None:
    if isinstance(request, EditRequest):
        side = request.settings.size_px
        return None if side is None else (side, side)
    return request.size_px
