"""How the embedded model draws, what it reads in prompts, and what it warns of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from swiftpie.backbones.components import Components, Prompt
from swiftpie.backbones.presets import Preset
from swiftpie.library import Named, subject_library
from swiftpie.mini import inpainting, placing, relight, scene, word_edits
from swiftpie.mini.edit_reading import REPLACED, read_edit
from swiftpie.mini.naming import (
    ENGLISH,
    PromptReading,
    is_foreign,
    names_people,
    new_subjects,
    read_prompt,
)
from swiftpie.mini.vocabulary import Vocabulary, vocabulary_of, words_in
from swiftpie.pipelines.denoise import Clock
from swiftpie.pipelines.draw import Plan, Technique
from swiftpie.pipelines.edit_region import encode_picture, in_hole
from swiftpie.pipelines.request import (
    MAX_SUBJECTS,
    EditRequest,
    PersonalizeRequest,
    Request,
    Subject,
    texts_of,
)
from swiftpie.pipelines.techniques.personalize import check_subjects, prepare_subjects


def _prepare_empty_scene(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    return Plan(request, partial(scene.draw_empty, components, request, clock))


def _prepare_scene(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Prepare subjects from words, and the place before which they are put."""
    check_subjects(components, request)
    words = scene.drawn_from_words(components, request)
    boxes = scene.standing(components, request)
    place = partial(placing.place, boxes=boxes)
    start = prepare_subjects(components, words, clock, place=place)
    plan = scene.plan(components, request, start)
    clock.lap("scene")
    return Plan(words, partial(scene.finish, plan=plan, clock=clock), start)


def _is_relit(components: Components, request: EditRequest) -> bool:
    """Whether all of a picture changes; of what a source prompt shows, a season changes a part."""
    if request.settings.method is not None or not relight.only_changes_all(request):
        return False
    reading = word_edits.reading_of(components, request) if request.source_prompt.strip() else None
    return reading is None or not reading.changes_season_alone


def _prepare_relit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    edit = partial(relight.edit, components, request, clock)
    return Plan(request, edit, region=partial(relight.find_region, request))


def _prepare_word_edit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    word_edits.check_method(components, request)
    request = in_hole(request)
    picture = encode_picture(components, request, clock)
    reading = word_edits.reading_of(components, request)
    edit = word_edits.prepare_word_edit(components, request, reading, picture, clock)
    finish = partial(word_edits.finish, edit, clock)
    return Plan(request, finish, region=partial(word_edits.find_region, edit))


@dataclass(frozen=True)
class ReadPrompt(Prompt):
    """A prompt, read by the words that the model was taught."""

    text: str
    vocabulary: Vocabulary | None

    def named_besides(self, given: Sequence[str]) -> tuple[Named, ...]:
        """Return the subjects of the library besides those `given`; see `Prompt`."""
        return new_subjects(self.text, self.vocabulary, given=given)

    def named_newcomer(self, shown: str) -> Named | None:
        """Return the subject of the library that an edit brings; see `Prompt`."""
        reading = read_edit(self.text, self.vocabulary, source_prompt=shown)
        newcomer = None if reading is None else reading.newcomer
        return None if newcomer is None else newcomer.subject


_scene = partial(Technique, PersonalizeRequest, draws_by_seed=True, drawn_size=scene.drawn_size)
TECHNIQUES = (
    _scene(_prepare_empty_scene, scene.is_empty),
    _scene(_prepare_scene, scene.has_scene),
    Technique(EditRequest, _prepare_relit, _is_relit, is_by_formula=True),
    Technique(
        EditRequest, _prepare_word_edit, follows_seed=word_edits.follows_seed, is_by_formula=True
    ),
    inpainting.REPAINT,
)
"""In the order in which they are tried."""


def read(prompt: str, by: Preset | Components) -> Prompt:
    """Return the subjects that a prompt names, by the words that the networks were taught."""
    return ReadPrompt(prompt, vocabulary_of(by))


def advice(components: Components, request: Request) -> Iterator[str]:
    """Yield warnings of words that the model was not taught, and of what it leaves out."""
    vocabulary, name = vocabulary_of(components), components.preset.name
    if vocabulary is None:
        return
    if isinstance(request, PersonalizeRequest):
        yield from _advice_on_words(components, vocabulary, request)
        named = [subject.identity.named for subject in request.subjects]
        if any(each is not None and names_people(each.name) for each in named):
            yield (
                f"Preset {name!r} draws animals, plants and things. Its people are small figures "
                "of the library. For a person, give a photograph that shows the whole of them."
            )
        return
    if isinstance(request, EditRequest):
        is_put_in = request.mask is not None and request.identity is not None
        words = replace(request, mask=None) if is_put_in else request
        reading = word_edits.reading_of(components, words)
        if reading is not None and reading is not REPLACED:
            if is_put_in and (reading.changes_place or reading.changes_light or reading.rendition):
                yield "A subject is put into the mask: words of place, light or art are not drawn."
            return
    if unknown := _unknown_words(vocabulary, request):
        yield vocabulary.advice_on(unknown, preset=name)


def _unknown_words(vocabulary: Vocabulary, request: Request) -> list[str]:
    """Return the words of a request that are not in the model's vocabulary.

    The name of a subject may be any word if a picture shows the subject. An edit without a picture
    of a new subject draws that subject by its name alone.
    """
    if isinstance(request, EditRequest):
        shown = words_in(request.source_prompt) if request.identity is None else None
        found = vocabulary.unknown_in(request.source_prompt)
        for text in (request.prompt, request.keyword):
            found += vocabulary.unknown_in(text, shown=shown)
    else:
        found = [word for text in texts_of(request.prompt) for word in vocabulary.unknown_in(text)]
    return list(dict.fromkeys(found))


def _advice_on_words(
    components: Components, vocabulary: Vocabulary, request: PersonalizeRequest
) -> Iterator[str]:
    """Yield warnings of what a drawing leaves out of its prompts."""
    name, lost = components.preset.name, dict[str, None]()
    texts = [(text, read_prompt(text, vocabulary)) for text in texts_of(request.prompt)]
    if scene.has_scene(components, request):
        is_own = any(subject.identity.named is None for subject in request.subjects)
        for text, reading in texts:
            unknown = vocabulary.unknown_in(text)  # others are a name, which a picture explains
            lost |= dict.fromkeys(
                word
                for word in reading.lost
                if not is_own or vocabulary.knows(word) or not {*words_in(word)}.isdisjoint(unknown)
            )
    else:
        lost |= dict.fromkeys(_unknown_words(vocabulary, request))
    unknown = [word for word in lost if not vocabulary.knows(word)]
    apart = [word for word in lost if vocabulary.knows(word)]
    if unknown:
        yield vocabulary.advice_on(unknown, preset=name)
    if apart:
        yield (
            f"Of the prompt, {', '.join(map(repr, apart))} is not drawn where it stands. "
            "docs/quickstart.md, 'What to write', says how prompts name places."
        )
    worn = dict.fromkeys(filter(None, (reading.scene.words.worn for _, reading in texts)))
    if worn and scene.has_scene(components, request):
        yield (
            f"Preset {name!r} leaves out {', '.join(map(repr, worn))}: it draws nothing that a "
            "subject wears or holds. Use a larger model for that."
        )
    if any(is_foreign(text, vocabulary) for text, _ in texts):
        yield ENGLISH
    for _, reading in texts:
        yield from _missing_subjects(reading, request)


def _missing_subjects(reading: PromptReading, request: PersonalizeRequest) -> Iterator[str]:
    """Yield warnings of subjects that a prompt names without a picture."""
    given = [_name_of(subject) for subject in request.subjects]
    missing = reading.besides(given)
    unknown = [mention.words for mention in missing if mention.subject is None]
    known = [mention.words for mention in missing if mention.subject is not None]
    if unknown:
        library = subject_library()
        near = {words: ", ".join(library.near(words)) for words in unknown}
        names = (
            f"{word!r} (spelled like {alike})" if alike else repr(word)
            for word, alike in near.items()
        )
        yield (
            f"There is no picture of {', '.join(names)}, and the library has no such name. Words "
            "alone mostly draw a blur. Choose a name of `swiftpie library`, or give a picture."
        )
    listed = ", ".join(map(repr, known))
    if known and len(given) >= MAX_SUBJECTS:
        yield f"A picture holds {MAX_SUBJECTS} subjects, and {listed} is left out."
    elif known:
        yield (
            f"There is no picture of {listed}. Words alone mostly draw a blur. "
            "`session.generate` takes the picture from the library, or give one."
        )
    if not missing and 0 < len(given) < reading.num_subjects:
        yield (
            f"The prompt asks for {reading.num_subjects} subjects, and {len(given)} is drawn. Give "
            "a picture of each."
        )
    for mention in reading.mentions:
        if (
            mention.number == 1
            and mention not in missing
            and subject_library().is_plural(mention.words)
        ):
            yield (
                f"{mention.words!r} is drawn once. Say how many there are, up to {MAX_SUBJECTS}, "
                f"as in 'two {mention.words}'."
            )


def _name_of(subject: Subject) -> str:
    named = subject.identity.named
    return subject.name or ("" if named is None else named.word)
