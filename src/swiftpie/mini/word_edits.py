"""Edits whose words are understood: of the light of a picture, and of the look of its subject.

The subject is dyed or remade in its outline, and then the whole picture is shown in another light.
A season alone leaves the subject as it is.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import chain, dropwhile, pairwise
from typing import NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie import lexicon
from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, short_reason
from swiftpie.geometry.relief import height, normals
from swiftpie.imageio import images
from swiftpie.imageio.images import mask_to_pil, plane, resized, shrunk_to, to_pil, to_tensor
from swiftpie.lexicon import (
    ARTICLES,
    FILLERS,
    LISTS,
    NAMED_MATERIALS,
    PLAIN,
    PREPOSITIONS,
    SETTING_WORDS,
    SceneSetting,
    plain,
    words_in,
)
from swiftpie.masks import grow, resize_mask
from swiftpie.noise import draw_noise
from swiftpie.photo.cutout import cutout_network, find_inside, find_verified, find_with
from swiftpie.photo.search import Search
from swiftpie.pipelines.choose import Choice
from swiftpie.pipelines.denoise import Plan
from swiftpie.pipelines.edit_region import UNCHANGED, blend_mask, given_mask, in_hole, where_changed
from swiftpie.pipelines.settings import owners
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.places.looks import COLOURS, MATERIALS, recolour, remake
from swiftpie.places.reading import HOLDS, MESSAGES, UNREAD, Outcome, Reading, read
from swiftpie.places.relight import NOISE_SHAPE, add_weather, relight
from swiftpie.places.vocabulary import BEFORE_NOUNS, SHADES, Vocabulary, spelled_alike, subjects_in
from swiftpie.types import EditedImage

# Masks of other shares of the picture are no outlines of subjects.
MIN_SHARE, MAX_SHARE = 0.005, 0.9
UNSURE = 0.8  # Agreement of the first guess and the outline below which it is found anew.
AGREED = 0.66  # least agreement of two outlines; of 20 photographs, 10 bad and 3 good lay below it
SOLID = 0.95  # opacity from which a colour is the subject's alone
VISIBLE_LEVELS = 5  # a smaller change, in levels of 255, is not seen
LARGE_PX = 1024  # longer side of what is dyed
LISTED = "turns", "into", "comes", "paints", "scenery", "artworks", "of_air", "apparel", "felt"
TURNS, INTO, COMES, PAINTS, SCENERY, ARTWORKS, OF_AIR, APPAREL, FELT = map(lexicon.listed, LISTED)
AROUND = re.compile(rf"\s*\b(?:in|into|to|on|over|behind) (?:the|its) (?:{'|'.join(SCENERY)})\b")
KEEPS = re.compile(rf"(?:\b(?:but|and|while)\s+)?\b(?:{'|'.join(LISTS['keeps'])})\b", re.IGNORECASE)
LOOKS = {
    name: tuple(
        " ".join(word for word in each.split() if word not in FILLERS | lexicon.FUNCTIONS)
        for each in phrases
    )
    for name, phrases in {
        **{name: (*words, *lexicon.SAID_OF[name]) for name, words in lexicon.COLOUR_WORDS.items()},
        **{name: (*lexicon.MATERIAL_PHRASES[name], *NAMED_MATERIALS[name]) for name in MATERIALS},
    }.items()
}
LOOKING = lexicon.LOOK_WORDS - SETTING_WORDS
DRAWN_WORDS = SETTING_WORDS | lexicon.LOOK_WORDS
LARGER = "the recipe swiftedit, which `swiftpie fetch swiftedit` gets"


class NotDrawn(StrEnum):
    """What an edit asks for that is not drawn; `advice.toml` says what draws it."""

    OTHER = "other"
    STILL = "still"
    LANGUAGE = "language"
    MATERIAL = "material"
    PART = "part"
    POSE = "pose"
    SCENERY = "scenery"
    SEVERAL = "several"
    BACKGROUND = "background"
    EXPOSURE = "exposure"
    BLURRED = "blurred"
    PLACE = "place"
    SUBJECT = "subject"
    WORN = "worn"
    ART = "art"
    LIGHT = "light"
    TYPO = "typo"

    @property
    def remedy(self) -> str:
        """Why it is not drawn, and what to do."""
        return MESSAGES["edits"][self].format(larger=LARGER, materials=", ".join(MATERIALS))


REFUSED = {
    why: re.compile(rf"\b(?:{'|'.join(patterns)})(?!\w)")
    for why, patterns in LISTS["refused"].items()
}
REFUSALS = {why: NotDrawn[why.upper()] for why in ("part", "worn", "place")}
REFUSALS |= dict.fromkeys(("attribute", "pose"), NotDrawn.POSE)
"""What is not drawn of words that have no effect on new pictures."""


class EditReading(NamedTuple):
    """What an edit changes."""

    setting: SceneSetting | None = None  # the new setting; pictures are taken to show `PLAIN`
    look: str | None = None  # one of `COLOURS` or `MATERIALS`, of the subject
    keeps_subject: bool = False  # whether plants and ground alone change with the setting
    lost: tuple[tuple[str, str], ...] = ()  # words without effect, and why

    @property
    def changes_light(self) -> bool:
        return self.setting not in (None, PLAIN)


def follows_seed(components: Components, request: EditRequest) -> bool:
    """Whether another seed gives another edit."""
    reading = reading_of(components, request)
    return isinstance(reading, EditReading) and reading.changes_light


def advice(_components: Components, request: EditRequest) -> Iterator[str]:
    """Yield warnings of strengths and options that no formula reads."""
    settings = request.settings
    readers = {name: f" Only `method={owners()[name].name}` reads it." for name, _ in settings.own}
    for name, value in (*settings.scales.given.items(), *settings.own):
        why = f"which no denoiser draws.{readers.get(name, '')}"
        yield f"`{name}={value}` has no effect on this edit, {why}"


def reading_of(components: Components, request: EditRequest) -> EditReading | NotDrawn:
    """Return what an edit changes, or why it is not drawn."""
    if request.identity is not None:
        return NotDrawn.SUBJECT
    shown, is_marked = request.source_prompt or request.keyword, request.mask is not None
    return read_edit(request.prompt, components.own.vocabulary, shown=shown, is_marked=is_marked)


@torch.no_grad()
def prepare_word_edit(choice: Choice[EditRequest]) -> Plan:
    """Read the words of an edit, and find the subject if it needs that.

    Raises:
        CapabilityError: The words are not understood, or what they name is not in the picture; or
            the request brings a subject.
    """
    components, request = choice.components, in_hole(choice.request)
    reading = reading_of(components, request)
    if isinstance(reading, NotDrawn):
        slips = chain(*map(spelled_alike, words_in(request.prompt)))
        meant = f" Did you mean {' or '.join(map(repr, slips))}?" * (reading is NotDrawn.TYPO)
        raise CapabilityError(
            f"Preset {components.preset.name!r} cannot make the edit "
            f"{short_reason(request.prompt)!r}. {reading.remedy}{meant}"
        )
    for why in dict.fromkeys(why for _, why in reading.lost):
        words = ", ".join(repr(word) for word, other in reading.lost if other == why)
        choice.warn(MESSAGES["words"][why].format(words=words))
    if reading.look is None and not reading.changes_light:
        choice.warn(UNCHANGED if reading.setting is None else MESSAGES["drawings"]["summer"])
    is_guess = request.mask is None and not (request.source_prompt or request.keyword)
    if reading.look is not None and is_guess and (name := _name_in(request.prompt, components)):
        choice.warn(MESSAGES["drawings"]["dyed"].format(name=name))
    original, outline = images.as_rgb(request.picture), None
    if reading.look is not None:
        outline = _outline(request, original)
    elif reading.keeps_subject:
        outline = find_with(cutout_network(), original, Search()).mask
    choice.clock.end_stage("find")
    edit = WordEdit(replace(choice, request=request), reading, original, outline)
    return Plan(request, edit.finish, region=edit.region)


def _outline(request: EditRequest, original: Image.Image) -> Tensor:
    """Return the opacity (1, 1, H, W) of what is changed in an RGB picture.

    A mask and a box say where it is. Where the network for cut-outs is unsure without them, only
    what it finds against the odds counts.

    Raises:
        CapabilityError: Nothing stands out, or its outline is not sure.
    """
    mask, fault = request.mask, ""
    if isinstance(mask, Tensor):
        marked = given_mask(mask, (original.height, original.width)).float() / 255
        opacity = find_inside(cutout_network(), original, marked)
    else:
        box = mask if isinstance(mask, tuple) else None  # `Session.resolved` opens files
        cutout = find_with(cutout_network(), original, Search(box=box))
        if box is None and (cutout.how.confidence or 0) < UNSURE:
            cutout = find_verified(cutout_network(), original)
            assert cutout.how.confidence is not None, "the network for cut-outs is"
            fault = "its outline is uncertain" * (cutout.how.confidence < AGREED)
        opacity = cutout.mask
    share = (opacity > 0.5).float().mean()
    if not MIN_SHARE < share < MAX_SHARE:
        fault = "nothing stands out there as one subject"
    if fault:
        remedy = "Mark it by a mask or a box."
        if mask is not None:
            remedy = "Mark a place that holds all of it and some of its ground."
        raise CapabilityError(
            f"The edit {short_reason(request.prompt)!r} changes the subject of the picture, and "
            f"{fault}. {remedy}"
        )
    return opacity


@dataclass(frozen=True, eq=False)
class WordEdit:
    """What is known of an edit before anything is drawn."""

    choice: Choice[EditRequest]
    reading: EditReading
    original: Image.Image
    outline: Tensor | None  # (1, 1, H, W) in [0, 1] of the subject, where it counts

    @property
    def _is_of_all(self) -> bool:
        return self.reading.changes_light and not self.reading.keeps_subject

    def region(self) -> Image.Image:
        """Return what `finish` changes, white in mode L."""
        return self._region(None if self._is_of_all else self._drawn())

    def _region(self, drawn: Image.Image | None) -> Image.Image:
        """Return where `drawn` differs visibly, or all of the picture, within a given mask."""
        region, mask = Image.new("L", self.original.size, 255), self.choice.request.mask
        if drawn is not None:
            seen = where_changed(self.original, drawn, least=VISIBLE_LEVELS)
            region = mask_to_pil(seen)[0]
        if mask is None:
            return region
        return ImageChops.darker(region, mask_to_pil(given_mask(mask, region.size[::-1]))[0])

    @torch.no_grad()
    def _drawn(self) -> Image.Image:
        picture, reading = self.original, self.reading
        if reading.look is not None and self.outline is not None:
            picture = _remade(picture, self.outline, reading.look)
            self.choice.clock.end_stage("subject")
        if reading.setting is None:
            return picture
        noise = draw_noise([self.choice.request.seed], NOISE_SHAPE)
        run, on_band = self.choice.components.engine.run, self.choice.clock.check
        lit = relight(picture, reading.setting, noise=noise, run=run, on_band=on_band)
        if reading.keeps_subject and self.outline is not None:
            lit = Image.composite(picture, lit, mask_to_pil(self.outline)[0])
        weathered = add_weather(lit, reading.setting, noise=noise, on_band=on_band)
        self.choice.clock.end_stage("relight")
        return weathered

    def finish(self) -> EditedImage:
        """Return the edited picture; all that does not change visibly is the given one's own."""
        edited = self._drawn()
        region = self._region(None if self._is_of_all else edited)
        blend = region
        if self._is_of_all and self.choice.request.mask is not None:
            blend = blend_mask(plane(region))
        # Before there is one picture more, as a plane of a large one fills memory.
        latent_region = resize_mask(plane(region), NOISE_SHAPE[1:])
        image = Image.composite(edited, self.original, blend)
        self.choice.clock.end_stage("join")
        return EditedImage(image, edited, blend, region, latent_region, facts={"method": "words"})


def _remade(picture: Image.Image, outline: Tensor, look: str) -> Image.Image:
    """Return a picture whose subject has another look; its rim takes on that of its inside.

    A large subject is changed at `LARGE_PX`, and keeps its finer detail.
    """
    window = images.extent_of((outline > 0).float())
    assert window is not None, "an outline holds something"
    left, top, right, bottom = window
    size = (bottom - top, right - left)
    pixels, small = to_tensor(picture.crop(window)) / 2 + 0.5, shrunk_to(LARGE_PX, size)
    cover, colours = resized(outline[..., top:bottom, left:right], small), resized(pixels, small)
    is_solid, before = cover > SOLID, colours
    inside = 1 - grow((~is_solid).to(torch.uint8), 1)
    if bool(inside.any()):
        colours = torch.where(is_solid, colours, images.carried_on(colours, inside.to(colours)))
    frame = torch.cat([colours * cover, cover], dim=1)
    if look in COLOURS:
        frame = recolour(frame, [look])
    else:
        frame = remake(frame, normals(height(cover)), [look], MATERIALS)
    after = before * (1 - frame[:, 3:]) + frame[:, :3]
    pixels += resized(after - before, size, mode="bilinear")
    result = picture.copy()
    result.paste(to_pil(2 * pixels.clamp(0, 1) - 1)[0], (left, top))
    return result


@lru_cache(maxsize=64)  # the choice of seeds and the edit itself need it
def read_edit(
    prompt: str, vocabulary: Vocabulary | None, *, shown: str = "", is_marked: bool = False
) -> EditReading | NotDrawn:
    """Return what an edit changes, or why it is not drawn.

    Without a source prompt a noun is what the picture shows, and "make it summer" asks for what
    the picture is taken to show. What the prompt does not mention stays.

    Args:
        prompt: What the picture shall show, or what changes.
        vocabulary: The words that the model was taught.
        shown: What the picture shows, or the part of it that changes.
        is_marked: Whether a mask or a box says what changes, which may be a part.
    """
    if vocabulary is None:
        return NotDrawn.OTHER
    before, prompt = read(shown, vocabulary), plain(prompt)
    if kept := KEEPS.search(prompt):
        rest = KEEPS.sub("", prompt).strip(" ,.;").removeprefix("but ").removeprefix("and ")
        edit = read_edit(rest, vocabulary, shown=shown, is_marked=is_marked)
        is_around = not SCENERY.isdisjoint(words_in(kept[0]))
        if isinstance(edit, NotDrawn) or (edit.look is None and not is_around):
            return edit if isinstance(edit, NotDrawn) else edit._replace(keeps_subject=True)
        return edit if is_around and edit.setting is None else NotDrawn.SEVERAL
    new = [word for word in words_in(prompt) if word not in words_in(shown)]
    by_editors = ("background", "exposure", "blurred") if LOOKING.isdisjoint(new) else ()
    if (why := next((why for why in by_editors if REFUSED[why].search(prompt)), None)) is not None:
        return NotDrawn(why)
    is_worn = bool(lexicon.WORN_PHRASE.search(prompt)) or not HOLDS.isdisjoint(words_in(prompt))
    is_look = not LOOKING.isdisjoint(new)
    parts = lexicon.PARTS | APPAREL if is_look and not is_worn else lexicon.PARTS
    verb, _, rest = prompt.strip().partition(" ")
    if not (is_marked or parts.isdisjoint(new)):
        return NotDrawn.SUBJECT if REFUSED["subject"].match(verb) else NotDrawn.PART
    everywhere = AROUND.sub("", rest)
    is_weather = verb in COMES and not _without(read(everywhere, vocabulary).subject_tokens, ())
    if is_weather and everywhere != rest:
        edit = read_edit(everywhere, vocabulary, shown=shown, is_marked=is_marked)
        lost = () if is_marked else tuple((part.strip(), "whole") for part in AROUND.findall(rest))
        return edit if isinstance(edit, NotDrawn) else edit._replace(lost=(*edit.lost, *lost))
    if is_weather or (verb in PAINTS and rest):
        prompt = rest  # "add some fog", "paint the dog purple"
    after, is_described = read(prompt, vocabulary), bool(shown.strip())
    more = _more_than_words(before, after)
    changed = more or _changes(before, after, is_described=is_described)
    is_slip = any(not DRAWN_WORDS.isdisjoint(spelled_alike(word)) for word in new)
    return NotDrawn.TYPO if is_slip and isinstance(changed, NotDrawn) else changed


def _changes(before: Reading, after: Reading, *, is_described: bool) -> EditReading | NotDrawn:
    """Return what changes from one reading to another, or what of it is not drawn."""
    new, look = _looking(_new_words(before, after, is_described=is_described))
    old, faded = _looking(_without(before.subject_tokens, after.subject_tokens))
    is_lost = bool(new or old or (faded and not look))  # how it looks without is unknown
    added = [mention for mention in after.mentions if not mention.is_in(before.mentions)]
    if look and before.num_subjects > 1:
        return NotDrawn.SEVERAL
    if is_lost and added and (before.mentions or after.subject_tokens[0] in TURNS):
        return NotDrawn.SUBJECT
    if not is_described:
        if after.num_subjects > 1:
            return NotDrawn.SEVERAL
        of_air = frozenset[str]() if look else OF_AIR  # "under a cloudy sky"
        if not (SCENERY - of_air).isdisjoint(after.subject_tokens):
            return NotDrawn.SCENERY
        new = [word for word in new if word not in of_air]
    phrases = after.phrases(after.accounts)
    lost = [(one.word, one.why) for one in phrases if one.why in {"sky", *UNREAD}]
    is_comfort = after.shown_setting != PLAIN  # "foggy and cold"
    felt = [one for one in after.accounts if one.word in FELT and one.outcome is Outcome.WARNED]
    lost += [(one.word, "felt") for one in felt if is_comfort and one.why not in UNREAD]
    moons = [one.word for one in phrases if not lexicon.SKY.isdisjoint(one.word.split())]
    lost += [(one.word, "sky") for one in phrases if one.why == "subject" and one.word in moons]
    is_hazed = after.setting.in_photographs.time != after.setting.time
    hazed = [(one.word, "hazed") for one in phrases if one.why == "time" and is_hazed]
    new = _without(new, " ".join(word for word, _ in lost).split())
    if new or old or (faded and not look):
        whys = {
            word: "attribute" if word in lexicon.ATTRIBUTES else why
            for word, _, why in after.accounts
        }
        return next((REFUSALS[whys[w]] for w in new if whys.get(w) in REFUSALS), NotDrawn.OTHER)
    changes = [*zip(before.shown_setting, after.shown_setting, PLAIN, strict=True)]
    if any(plain != old != new for old, new, plain in changes):
        return NotDrawn.LIGHT
    is_same = after.shown_setting == before.shown_setting
    is_said = not is_same or (not is_described and after.unset != after.tokens)
    if not (is_said or look or is_described):
        return NotDrawn.SCENERY if lost else NotDrawn.STILL
    comes = SceneSetting(*(plain if new == old else new for old, new, plain in changes))
    setting = comes if is_said else None
    is_season = setting is not None and setting._replace(season=PLAIN.season) == PLAIN != setting
    keeps = is_season and bool(is_described or _without(after.subject_tokens, ()))
    return EditReading(setting, look, keeps, (*lost, *hazed))


def _name_in(prompt: str, components: Components) -> str:
    """Return what an edit calls the thing that it changes, as "dog" in "make the dog purple"."""
    vocabulary, says_nothing = components.own.vocabulary, (FILLERS - BEFORE_NOUNS) | PAINTS
    said = [word for word in read(prompt, vocabulary).subject_tokens if word not in says_nothing]
    mentions, _ = subjects_in(_looking(said)[0], vocabulary.words)
    return mentions[0].words if mentions else ""


def _more_than_words(before: Reading, after: Reading) -> NotDrawn | None:
    """Return which of things, light, art and the place an edit changes besides; None for none."""
    taken = [account for account in after.accounts if account.why in {"left out", "kept", "both"}]
    if not {account.word for account in taken} <= {*words_in(before.text)}:
        words = chain.from_iterable(account.word.split("-") for account in taken)
        is_light = not (SETTING_WORDS - FILLERS).isdisjoint(words)
        return NotDrawn.LIGHT if is_light else NotDrawn.SUBJECT
    # "In the snow" is winter.
    place = {*_without(after.tokens, after.others)} - SETTING_WORDS - PREPOSITIONS - ARTICLES
    is_moved = bool(place) and after.place not in (None, before.place)
    is_dyed = bool(SCENERY.intersection(place) and _looking(after.others)[1])
    tints = [one for one in after.accounts if one.why == "tint" and one not in before.accounts]
    refused = {
        why
        for why, pattern in REFUSED.items()
        if pattern.search(after.text) and not pattern.search(before.plain)
    }
    arts = ARTWORKS.intersection(_without(after.tokens, before.tokens))
    is_what = {
        NotDrawn.ART: before.art != after.art or bool(arts),
        NotDrawn.WORN: before.worn != after.worn
        or ("give" in after.tokens and not lexicon.WORN_NOUNS.isdisjoint(after.tokens)),
        NotDrawn.MATERIAL: "material" in refused or before.texture != after.texture,
        NotDrawn.SUBJECT: refused & {"subject", "scenery"} == {"subject"}
        or not lexicon.NO_SUBJECT.isdisjoint(after.subject_tokens),
        NotDrawn.SCENERY: ("scenery" in refused and not (is_moved and "background" in after.tokens))
        or bool(tints)
        or (is_moved and is_dyed),
        NotDrawn.PLACE: is_moved,
        NotDrawn.LANGUAGE: after.is_foreign and not before.is_foreign,
    }
    return next((why for why, is_so in is_what.items() if is_so), None)


def _new_words(before: Reading, after: Reading, *, is_described: bool) -> list[str]:
    """Return the words that come; what a picture shows that nothing tells is no news."""
    tokens = after.subject_tokens if is_described else (*after.skipped, *after.others)
    if is_described:
        return _without(tokens, before.subject_tokens)
    if TURNS.intersection(tokens[:1]) and not INTO.isdisjoint(tokens):
        return _without([*dropwhile(lambda word: word not in INTO, tokens)][1:], ())
    assert after.vocabulary is not None, "it was read by one"
    uncoloured, _ = _looking(_without(tokens, ()))
    others = {*_without(tokens, uncoloured), *(FILLERS - BEFORE_NOUNS)}
    mentions, _ = subjects_in(
        [word for word in tokens if word not in others], after.vocabulary.words
    )
    nouns = [mention.units[0].noun[0 if mention.subject else -1 :] for mention in mentions]
    is_coloured = uncoloured != _without(tokens, ())
    is_told = bool(after.mentions) and (after.mentions[0].has_article or is_coloured)
    return _without(tokens, [*chain.from_iterable(nouns)] if is_told else ())


def _looking(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return words but for those of a look, and the colour or material that most of them name."""
    text = f" {' '.join(word.replace(' ', '_') for word in words)} "  # a name is one word
    looks = lexicon.phrases_in(text, LOOKS)
    if not looks:
        return [*words], None
    name, phrase = max(looks, key=lambda look: (len(look.phrase), look))
    shades = [a for a, b in pairwise(words) if a in SHADES and b == phrase.split()[0]]
    return _without(words, (*phrase.split(), *shades)), name


def _without(words: Sequence[str], others: Collection[str]) -> list[str]:
    """Return words that say something, without as many of each as the others have."""
    left, kept = Counter(others), []
    for word in words:
        if left[word] > 0:
            left[word] -= 1
        elif word not in FILLERS | lexicon.FUNCTIONS:
            kept.append(word)
    return kept
