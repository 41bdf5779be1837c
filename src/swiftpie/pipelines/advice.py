"""Warnings about a request: unknown words, unusual sizes, and options without effect."""

import logging
import math
from collections.abc import Iterator

from swiftpie.backbones.components import MAX_SIDE_PX, Components
from swiftpie.guidance import Branch, Plain, branches_of
from swiftpie.library import packaged
from swiftpie.models.vocabulary import Vocabulary, words_in
from swiftpie.pipelines.drawing.request import (
    MAX_SUBJECTS,
    EditRequest,
    FaceRequest,
    PersonalizeRequest,
    RepaintRequest,
    Request,
    Subject,
    resolved_scales,
)
from swiftpie.pipelines.drawing.settings import EditMode, EditSettings, MaskSource, ResolvedScales
from swiftpie.pipelines.naming import (
    ENGLISH,
    PromptReading,
    is_foreign,
    names_people,
    people_warning,
    read_prompt,
    unknown_subjects_warning,
)
from swiftpie.pipelines.photographs.restage import reading_of, reads_words
from swiftpie.pipelines.photographs.scene import drawn_size, has_scene, size_of
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)

UNTOUCHED = ResolvedScales()
SAME_AREA = 1.25  # areas within this factor count as the size of the training pictures


def advise(components: Components, request: Request) -> None:
    """Log each sentence of `advice_on` as a warning."""
    for sentence in advice_on(components, request):
        logger.warning(sentence)


def advice_on(components: Components, request: Request) -> Iterator[str]:
    """Yield warnings: words and sizes that the model was not trained on, options without effect."""
    preset, vocabulary = components.preset, components.text.vocabulary
    is_read = (
        isinstance(request, EditRequest)
        and request.identity is None
        and reading_of(components, request) is not None
    )
    if vocabulary is not None and isinstance(request, PersonalizeRequest):
        yield from _advice_on_words(components, vocabulary, request)
        named = [subject.identity.named for subject in request.subjects]
        if any(one is not None and names_people(one.name) for one in named):
            yield people_warning(preset.name)
    elif vocabulary is not None and not is_read and (unknown := unknown_words(vocabulary, request)):
        yield vocabulary.advice_on(unknown, preset=preset.name)
    side = preset.image_size_px
    height, width = _size_of(components, request) or (side, side)
    is_other = height != width or height not in {side, *preset.more_sizes_px}
    if components.family.knows_shapes:
        is_other = abs(math.log(max(1, height * width) / side**2)) > math.log(SAME_AREA)
    if is_other:
        yield (
            f"The size is {width}x{height} px, and preset {preset.name!r} was trained on pictures "
            f"of {side}x{side} px. Subject and scene may be doubled, cut or blurred. Leave the "
            "size out for the best pictures."
        )
    if isinstance(request, PersonalizeRequest):
        yield from _shrunk_scene(components, request)
    if isinstance(request, FaceRequest):
        request = request.as_personalize()
    if isinstance(request, RepaintRequest):
        idle: Iterator[str] = iter(())
    elif isinstance(request, EditRequest):
        idle = _idle_edit(components, request)
    else:
        idle = _idle_drawing(components, request)
    yield from (*idle, *_idle_steering(components, request))


def unknown_words(vocabulary: Vocabulary, request: Request) -> list[str]:
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
        found = [word for text in _texts(request) for word in vocabulary.unknown_in(text)]
    return list(dict.fromkeys(found))


def _texts(request: Request) -> tuple[str, ...]:
    """Return the prompts of a request; none if they are encoded."""
    if isinstance(request.prompt, TextCondition):
        return ()
    return (request.prompt,) if isinstance(request.prompt, str) else tuple(request.prompt)


def _advice_on_words(
    components: Components, vocabulary: Vocabulary, request: PersonalizeRequest
) -> Iterator[str]:
    """Yield warnings of what a drawing leaves out of its prompts."""
    name, lost = components.preset.name, dict[str, None]()
    texts = [(text, read_prompt(text, vocabulary)) for text in _texts(request)]
    if has_scene(components, request):
        is_own = any(subject.identity.named is None for subject in request.subjects)
        for text, reading in texts:
            unknown = vocabulary.unknown_in(text)  # others are a name, which a picture explains
            lost |= dict.fromkeys(
                word
                for word in reading.lost
                if not is_own or vocabulary.knows(word) or not {*words_in(word)}.isdisjoint(unknown)
            )
    else:
        lost |= dict.fromkeys(unknown_words(vocabulary, request))
    unknown = [word for word in lost if not vocabulary.knows(word)]
    apart = [word for word in lost if vocabulary.knows(word)]
    if unknown:
        yield vocabulary.advice_on(unknown, preset=name)
    if apart:
        yield (
            f"Of the prompt, {', '.join(map(repr, apart))} is not drawn where it stands. "
            "docs/quickstart.md, 'What to write', says how prompts name places and accessories."
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
        yield unknown_subjects_warning(unknown)
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
        if mention.number == 1 and mention not in missing and packaged().is_plural(mention.words):
            yield (
                f"{mention.words!r} is drawn once. Say how many there are, up to {MAX_SUBJECTS}, "
                f"as in 'two {mention.words}'."
            )


def _name_of(subject: Subject) -> str:
    named = subject.identity.named
    return subject.name or ("" if named is None else named.word)


def _shrunk_scene(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    scene = request.scene
    if not isinstance(scene, str) and request.size_px is None and max(scene.size) > MAX_SIDE_PX:
        height, width = size_of(components, request)
        yield (
            f"The scene is {scene.width}x{scene.height} px, and pictures have at most "
            f"{MAX_SIDE_PX} px a side. This one has {width}x{height} px. `insert` keeps all pixels."
        )


def _size_of(components: Components, request: Request) -> tuple[int, int] | None:
    """Return height and width that the user chose and the model draws, None without such a choice.

    A drawing that is put before a larger scene has a size of the model's own.
    """
    if isinstance(request, EditRequest):
        side = request.settings.size_px
        return None if side is None else (side, side)
    if isinstance(request, PersonalizeRequest):
        return request.size_px if drawn_size(components, request) == request.size_px else None
    return None if isinstance(request, RepaintRequest) else request.size_px


def _idle_drawing(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    subjects, preset = request.subjects, components.preset
    given, scales = request.scales.given, resolved_scales(preset, request)
    if not subjects:
        for name in sorted(given.keys() & {"identity_scale", "detail_scale"}):
            yield f"`{name}={given[name]}` has no effect, because no subject is shown."
        return
    places = components.layout_predictor is not None
    takes_pictures = components.denoiser.installation.most_pictures > 0
    has_detail = places or takes_pictures or any(subject.identity.keys for subject in subjects)
    if "detail_scale" in given and not has_detail:
        yield f"`detail_scale={scales.detail_scale}` has no effect: {why_no_detail(components)}"
    limits = (request.detail_mask, *(subject.detail_mask for subject in subjects))
    is_silent = not has_detail or scales.detail_scale == 0
    if is_silent and any(limit is not None for limit in limits):
        yield "`detail_mask=` has no effect, because the detail branch is off."
    if request.mask is MaskSource.NONE and all(subject.mask is None for subject in subjects):
        for name in sorted(given.keys() & {"background_scale", "text_background_scale"}):
            if given[name] != getattr(UNTOUCHED, name):
                yield (
                    f"`{name}={given[name]}` has no effect, because the region is the whole "
                    "picture. Set the region with `mask=`."
                )
    has_box = any(subject.box is not None for subject in subjects)
    if has_box and not (places or takes_pictures) and request.mask is not MaskSource.BOX:
        yield (
            f"`box=` has no effect: preset {preset.name!r} does not place subjects. With "
            '`mask="box"` subjects act inside of the box.'
        )


def why_no_detail(components: Components) -> str:
    """Return why the detail branch is off when no subject has features for it."""
    if components.denoiser.installation.detail:
        return "the subject has no features that the detail branch could read."
    return (
        'the adapter has no detail branch. Load the preset with `detail="joint"`, a branch that '
        "needs no training."
    )


def _idle_edit(components: Components, request: EditRequest) -> Iterator[str]:
    settings = request.settings
    mode = settings.in_mode_of(components.preset).mode
    if reads_words(components, request):
        for name, value in (*settings.scales.given.items(), *_of_networks(settings)):
            yield f"`{name}={value}` has no effect on this edit, which no denoiser draws."
        return
    if request.mask is not None:
        if request.keyword:
            yield f'`keyword="{request.keyword}"` has no effect, because the region was given.'
        if settings.rule is not None:
            yield f"`rule={settings.rule}` has no effect, because the region was given."
    names = {"detail_scale"}
    if mode is EditMode.RELEASED:
        names |= {"text_background_scale", "energy_cap"}
    for name in sorted(settings.scales.given.keys() & names):
        value = settings.scales.given[name]
        yield f"`{name}={value}` has no effect in an edit in the {mode} mode."


def _of_networks(settings: EditSettings) -> Iterator[tuple[str, object]]:
    """Yield what is set of the inversion network and the denoiser, by name."""
    usual = EditSettings()
    for name in ("mode", "start", "rule", "variation"):
        if (value := getattr(settings, name)) != getattr(usual, name):
            yield name, value


def _idle_steering(
    components: Components, request: PersonalizeRequest | EditRequest | RepaintRequest
) -> Iterator[str]:
    num_steps = len(components.schedule.steps)
    guidance = request.steered(num_steps).guidance or Plain()
    used = branches_of(guidance, num_steps)
    if used == {Branch.BOTH} and not isinstance(guidance, Plain):
        yield (
            f"Guidance has no effect in {num_steps} steps, because all of its scales are 1. "
            "Choose a preset with more `steps=`."
        )
    elif all(branch.has_text for branch in used) and not _is_empty(request.negative_prompt):
        yield "`negative_prompt=` has no effect without guidance."


def _is_empty(prompts: object) -> bool:
    return prompts == "" or (isinstance(prompts, tuple) and not any(map(bool, prompts)))
