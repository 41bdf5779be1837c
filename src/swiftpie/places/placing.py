"""What the pictures of a request stand on, and the rules by which subjects get boxes in them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import MAX_SIDE_PX, MIN_SIDE_PX, Components
from swiftpie.backbones.presets import Preset
from swiftpie.geometry.ground import (
    SMALL_M,
    Ground,
    Member,
    heights_in,
    stand_together,
    times_larger,
)
from swiftpie.geometry.layout import THINNEST
from swiftpie.imageio.images import bounding_box
from swiftpie.lexicon import FOG, HOLDERS, LISTS, PLAIN, WINTER, tokens_in, words_in
from swiftpie.library import subject_library
from swiftpie.masks import HALF, Box, subject_extent
from swiftpie.pipelines.insertion import AS_SHOWN, Posture, posture_of, proposed_box
from swiftpie.pipelines.request import (
    MAX_SUBJECTS,
    WORDS_ALONE,
    Output,
    PersonalizeRequest,
    Subject,
    cells_of,
    near_size,
)
from swiftpie.places.looks import COLOURS, MATERIALS
from swiftpie.places.reading import UNREAD, Account, Outcome, Reading, read_all, vocabulary_of
from swiftpie.places.relight import SIDE_PX
from swiftpie.places.vocabulary import NUMBERS, tokens_at
from swiftpie.scenes import DRAWN, INDOORS, scene_library
from swiftpie.types import Identity
from swiftpie.validation import Size

# Where and how large subjects stand that words place, chosen by eye in twelve photographed places.
ACROSS = {"left": 0.0, "middle": 0.5, "right": 1.0}
ALONG = {"near": 1.0, "far": 0.1}
TIMES = {"tiny": 0.5, "small": 0.7, "big": 1.3, "huge": 1.7, "near": 1.5}
LEAPS = frozenset(("jumping", "in mid air"))
# Where drawn places have ground; a metre is as high as the picture in front.
FLOOR_END = 0.9
EDGES = ((0.0, 0.7), (1.0, 0.7), (1.0, FLOOR_END), (0.0, FLOOR_END))
FLOOR = Ground(EDGES, ((0.7, 0.4), (FLOOR_END, 1.0)), is_near=False)
# On that ground a dog is so high, and the height of others differs less than theirs in metres.
DOG_M, DOG_HIGH, SOFTENED = 0.6, 0.45, 0.35
# Metres of food, games and objects of the library that no table has.
GROUP_M = {4: 0.1, 6: 0.2, 7: 0.2}
# The model draws so many times fewer cells across and down than its own size has. Light is soft;
# colours of a look are not. Chosen by eye on 32 pictures; `evaluate world` finds a lighting error
# of 8.1 levels in place of 7.5 for light at half of the size.
FOR_LOOKS, FOR_LIGHT, LEAST_CELLS = 2, 4, 4
# Looks of a subject's own pixels. The drawing shows others, as wood, on a subject that is grey.
OWN_LOOKS = COLOURS.keys() | MATERIALS.keys()


class StagedPrompt(NamedTuple):
    """What one prompt of a request says of its pictures."""

    reading: Reading  # without weather and season if the place is indoors
    heights: tuple[float | None, ...]  # of its subjects in metres; None where no table has one
    is_small: bool  # whether there are subjects, all of them known to be small
    named: str  # place of the library that prompt or request name; "" for a picture or words alone
    shown: str  # that place, or before drawings of the library one that is drawn, too
    is_open: bool  # whether nothing names a place, so that a seed chooses a backdrop
    has_photos: bool  # whether photographs show the place that is named
    px: Size  # width and height of the pictures of the place that is shown

    @property
    def is_photo(self) -> bool:
        """Whether pictures show a photograph of the library."""
        return self.has_photos and self.shown == self.named

    def place_at(self, share: float) -> str:
        """Return the place of the library that a picture shows; `share` in [0, 1) is by seed."""
        return self.reading.place_for(share) if self.is_open else self.shown


@dataclass(frozen=True, eq=False)
class Staged:
    """What the pictures of a request stand on, made once: advice, cost and drawing read it."""

    request: PersonalizeRequest
    photograph: Image.Image | None  # the picture of the user's own that is the place
    identities: tuple[Identity, ...]  # those of its subjects
    borders: tuple[str, ...]  # borders of its photograph that cut each off; see `Identity.cut_at`
    are_cut: tuple[bool, ...]  # whether the lower border cuts each off
    readings: tuple[Reading, ...]  # one a prompt; none of encoded prompts
    prompts: tuple[StagedPrompt, ...]
    is_art: bool  # whether all prompts ask for a drawing or a painting, at no place that is given
    is_scene: bool  # whether subjects come before a picture of a place
    is_empty: bool  # whether no subject is shown or named, so that no denoiser draws it
    size: tuple[int, int]  # height and width of its pictures in pixels
    model_cells: tuple[int, int]  # latent rows and columns of the model's own size in that shape
    drawn_cells: tuple[int, int]  # those that the model draws before a scene, even numbers
    drawn_px: tuple[int, int]  # height and width of these

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Height and width of pictures that are drawn from words; None: the preset's."""
        return self.request.size_px


def stage(components: Components, request: PersonalizeRequest) -> Staged:
    """Return what the pictures of a request stand on.

    By default they show places. From noise, from encoded prompts and for latents a model draws
    everything from words, and so it draws arts.

    Raises:
        InputError: There is no such scene, or no picture of such a size.
    """
    scene, preset = request.scene, components.preset
    assert isinstance(scene, str | Image.Image), "`Session.resolved` opens it"
    identities = tuple(map(attrgetter("identity"), request.subjects))
    named = [getattr(identity.named, "word", "") for identity in identities]
    names = [subject.name or word for subject, word in zip(request.subjects, named, strict=True)]
    readings = tuple(read_all(components, request, tuple(names)))
    vocabulary = vocabulary_of(components)
    cuts = [(identity.cut_at, identity.is_cut) for identity in identities]
    prompts = tuple(_prompt_of(request, identities, reading) for reading in readings)
    arts = [reading.rendition for reading in readings]
    is_art = scene == "" and bool(arts) and None not in arts
    is_free = request.noise is None and request.output is not Output.LATENTS
    has_names = vocabulary is None or any(reading.mentions for reading in readings)
    by_words = is_free and bool(readings) and not is_art
    size = _picture_size(preset, request, prompts)
    cells = _model_cells(preset, size)
    coarse_cells = _drawn_cells(preset, readings, cells)
    return Staged(
        request,
        scene if isinstance(scene, Image.Image) else None,
        identities,
        tuple(border for border, _ in cuts),
        tuple(is_cut for _, is_cut in cuts),
        readings,
        prompts,
        is_art=is_art,
        is_scene=scene != WORDS_ALONE and (bool(scene) or by_words),
        is_empty=not identities and not has_names,
        size=size,
        model_cells=cells,
        drawn_cells=coarse_cells,
        drawn_px=(coarse_cells[0] * preset.latent_cell_px, coarse_cells[1] * preset.latent_cell_px),
    )


def _prompt_of(
    request: PersonalizeRequest, identities: Sequence[Identity], reading: Reading
) -> StagedPrompt:
    """Return what a prompt says; InputError if the request names a place that there is not."""
    scene, library = request.scene, scene_library()
    heights = _heights_of(request.subjects, identities, reading)
    is_small = bool(heights) and all(metres is not None and metres < SMALL_M for metres in heights)
    is_drawn = bool(identities) and all(identity.named is not None for identity in identities)
    if scene == "":
        place = reading.place or reading.place_for(0.0, is_small=is_small)
        place = LISTS["small_at"].get(place, place) if is_small and not is_drawn else place
    else:
        has_name = isinstance(scene, str) and scene != WORDS_ALONE
        place = library.find(str(scene)) if has_name else ""
    shown_place = library.drawing_of(place) if is_drawn and scene == "" else place
    is_open = scene == "" and reading.place is None and reading.shown_setting == PLAIN
    has_photos, px = library.is_photographed(place), library.size_of(shown_place)
    reading = reading.shown_at(shown_place)
    return StagedPrompt(reading, heights, is_small, place, shown_place, is_open, has_photos, px)


def all_accounts(staged: Staged) -> list[Account]:
    """Return what becomes of each word of the prompts of a request."""
    return [account for prompt in staged.prompts for account in accounts_of(staged, prompt)]


def accounts_of(staged: Staged, prompt: StagedPrompt) -> list[Account]:
    """Return what becomes of each word of one prompt of a request."""
    request, vocabulary = staged.request, prompt.reading.vocabulary
    named = [one.named for one in staged.identities if one.named is not None]
    names = [subject.name for subject in request.subjects] + [" ".join(one[:2]) for one in named]
    is_any_lost = any(account.outcome is Outcome.WARNED for account in prompt.reading.accounts)
    shown = {*words_in(" ".join(names))} if is_any_lost else set[str]()
    if len(named) < len(staged.identities):
        shown |= HOLDERS  # a picture of a bowl of berries shows both
    reading, lost = prompt.reading, _lost_at(staged, prompt)

    def account_of(account: Account) -> Account:
        word, outcome, why = account
        if not staged.is_scene:  # the denoiser draws from words all that it was taught
            if outcome is not Outcome.WARNED or why in {"name", "colourless", "unknown", *UNREAD}:
                return account
            is_taught = vocabulary is None or why == "kept" or vocabulary.knows(word)
            return Account(
                word, *((Outcome.OBEYED, "words") if is_taught else (outcome, "unknown"))
            )
        if outcome is Outcome.WARNED and word in shown:
            return Account(word, Outcome.OBEYED, "subject")
        if outcome is Outcome.OBEYED:
            return Account(word, Outcome.WARNED, lost[why]) if why in lost else account
        is_second = why == "place" and bool(request.scene or reading.place)
        return Account(word, outcome, "another" if is_second else why)

    accounts = [account_of(account) for account in prompt.reading.accounts]
    for at, why in _without_picture(prompt.reading, len(request.subjects)).items():
        accounts[at] = Account(accounts[at].word, Outcome.WARNED, why)
    return accounts


def _lost_at(staged: Staged, prompt: StagedPrompt) -> dict[str, str]:
    """Return what of it words set that the pictures of a prompt do not show, and why."""
    is_own, reading = staged.photograph is not None, prompt.reading
    lost = {"clear": "clear"}
    if (is_own or prompt.is_photo) and not reading.is_turned:
        lost["pose"] = "pose"
    if is_own or any(subject.box is not None for subject in staged.request.subjects):
        lost["position"] = "position"
    if prompt.shown.removeprefix(DRAWN) in INDOORS:
        lost |= dict.fromkeys(("weather", "season"), "indoors")
    setting = reading.shown_setting
    if prompt.is_photo and setting.weather == FOG and setting.in_photographs != setting:
        lost["time"] = "hazed"
    in_winter = prompt.is_photo and setting.season == WINTER
    if in_winter and scene_library().stays_green(prompt.named, is_small=prompt.is_small):
        is_named = any(account.why == "season" for account in reading.accounts)
        lost["season" if is_named else "weather"] = "green"  # else by "in the snow"
    return lost


def _without_picture(reading: Reading, num_pictures: int) -> dict[int, str]:
    """Return the tokens of subjects that no picture shows, and why, a message of `advice.toml`."""
    order, tokens = reading.order, dict[int, str]()
    if order is None:
        return tokens
    shown = [reading.units[at] for at in order if at is not None]
    for mention in reading.mentions:
        for unit in mention.units:
            given = sum(each is unit for each in shown)
            why = "missing" if num_pictures < MAX_SUBJECTS else "too_many"
            why = "strange" if mention.subject is None else why
            if 0 < given < unit.number:
                tokens |= dict.fromkeys(
                    tokens_at(word for word in unit.head if word in NUMBERS), "fewer"
                )
            elif not given:
                tokens |= dict.fromkeys(tokens_at(unit.noun), why)
    for mention in reading.lone_plurals if HOLDERS.isdisjoint(reading.loose) else ():
        tokens = dict.fromkeys(tokens_at(mention.units[0].noun), "once") | tokens
    return tokens


def picture_size(components: Components, request: PersonalizeRequest) -> tuple[int, int]:
    """Return height and width in pixels of the pictures that a request gets."""
    return stage(components, request).size


def _picture_size(
    preset: Preset, request: PersonalizeRequest, prompts: Sequence[StagedPrompt]
) -> tuple[int, int]:
    """Return height and width in pixels: the request's, else the place's own, else the preset's.

    Pictures of one request have one size: that of the smallest photograph of their places, shrunk
    to `MAX_SIDE_PX`. A model that was loaded for smaller pictures than its own draws those.
    """
    is_open = request.size_px is None and preset.image_size_px >= SIDE_PX
    sizes = [prompt.px for prompt in prompts if prompt.has_photos]
    if is_open and sizes:
        return min(sizes)[::-1]
    if request.size_px is None and isinstance(request.scene, Image.Image):
        width, height = request.scene.size
        shrunk = min(1, MAX_SIDE_PX / max(width, height))
        return round(shrunk * height), round(shrunk * width)
    rows, columns = cells_of(preset, request.size_px)
    return rows * preset.latent_cell_px, columns * preset.latent_cell_px


def _model_cells(preset: Preset, size: tuple[int, int]) -> tuple[int, int]:
    """Return latent rows and columns, multiples of 4, of the model's own size in a shape."""
    cell_px = preset.latent_cell_px
    height, width = near_size(size, side_px=preset.image_size_px, unit_px=4 * cell_px)
    return height // cell_px, width // cell_px


def _drawn_cells(
    preset: Preset, readings: Sequence[Reading], cells: tuple[int, int]
) -> tuple[int, int]:
    """Return latent rows and columns of what the model draws before a scene, even numbers."""
    looks = [look for reading in readings for look in reading.looks]
    is_dyed = any(look is not None and look.name not in OWN_LOOKS for look in looks)
    is_small = preset.image_size_px < FOR_LIGHT * MIN_SIDE_PX
    coarser = FOR_LOOKS if is_dyed or is_small else FOR_LIGHT
    rows, columns = (max(LEAST_CELLS, 2 * math.floor(side / coarser / 2 + 0.5)) for side in cells)
    return rows, columns


def _heights_of(
    subjects: Sequence[Subject], identities: Sequence[Identity], reading: Reading
) -> tuple[float | None, ...]:
    """Return the usual height of each subject in metres; None for names that no table has."""
    mentioned, heights = heights_in(reading.subject_tokens), list[float | None]()
    for number, (subject, identity) in enumerate(zip(subjects, identities, strict=True)):
        library_name = getattr(identity.named, "name", "")
        name = subject.name or library_name
        by_name = heights_in(tokens_in(name)) if name else []
        metres = by_name or mentioned[number : number + 1]
        group = subject_library().entry(library_name).group if library_name else 0
        heights.append(metres[0] if metres else GROUP_M.get(group))
    return tuple(heights)


Boxes = Sequence[Box | None]


def postures_of(components: Components, staged: Staged) -> tuple[Posture, ...]:
    """Return how each subject is turned that no box, view or tilt turns or leaves as it is."""
    request, identities = staged.request, staged.identities
    things = list[str]()
    if staged.readings and len(identities) > 1:
        # Words in a row name one thing, as `heights_in` counts them.
        words = staged.readings[0].subject_tokens
        runs = groupby(words, key=lambda word: bool(heights_in([word])))
        things = [" ".join(run) for is_thing, run in runs if is_thing]
    postures = []
    for number, (subject, identity) in enumerate(zip(request.subjects, identities, strict=True)):
        is_set = subject.box is not None or subject.view or request.tilt
        if is_set or identity.named or staged.are_cut[number]:
            postures.append(AS_SHOWN)
            continue
        text = subject.name or (things[number] if len(things) == len(identities) else "")
        if text:
            text = " ".join(tokens_in(text))
        elif staged.readings:
            text = staged.readings[0].plain
        make = partial(posture_of, identity, text)
        postures.append(components.keep(f"stance {text}", identity, make))
    return tuple(postures)


class Situation(NamedTuple):
    """What decides in which boxes the subjects of one picture stand."""

    staged: Staged
    prompt: StagedPrompt
    postures: Sequence[Posture]
    ground: Ground | None  # of a photographed place
    view: Box  # The part of a drawn place that a wide picture shows.
    is_ground: bool  # whether the place has ground
    near: float  # in [0, 1), by seed: how near they stand
    aside: float  # in [0, 1), by seed: where one stands, from the left

    @property
    def regions(self) -> list[Tensor | None]:
        """The regions of the user's own, None for a subject without one."""
        masks = [subject.mask for subject in self.staged.request.subjects]
        return [mask if isinstance(mask, Tensor) else None for mask in masks]

    @property
    def is_boxed(self) -> bool:
        """Whether a subject has a box of the user's own."""
        return any(subject.box is not None for subject in self.staged.request.subjects)

    def standing(self, members: Sequence[Member], x: float | None = None) -> list[Box]:
        """Return boxes of subjects on one row, from left to right, around `x` or as words say."""
        places = self.prompt.reading.placed
        if x is None:
            across = [ACROSS[name] for name in places if name in ACROSS]
            is_of_all = len(across) == 1 and not (members[1:] and any(self.prompt.reading.sides))
            x = across[0] if is_of_all else 0.3 + 0.4 * self.aside
        way = next((ALONG[name] for name in places if name in ALONG), None)
        return stand_together(self.floor, members, share=self.near, x=x, way=way)

    @property
    def floor(self) -> Ground:
        """The ground, or the rows where drawn places have it, with heights as in all of them."""
        if self.ground is not None:
            return self.ground
        shown = FLOOR.seen_in(self.view)
        (far, _), (near, _) = shown.metre
        (_, low), (_, high) = FLOOR.metre
        return shown._replace(metre=((far, low), (near, high)))


def _inserted(spot: Situation) -> Boxes:
    """Return the box where an insertion puts a subject."""
    photograph, (identity,) = spot.staged.photograph, spot.staged.identities
    assert photograph is not None, "the user gave one"
    return [proposed_box(photograph, identity, spot.prompt.reading.text, *spot.postures)]


def _in_a_row(spot: Situation) -> Boxes:
    """Return boxes in the order that words say, beside what a border cuts off."""
    members, sides = _members(spot), spot.prompt.reading.sides
    side = round(1 - sum(spot.floor.span_at(1.0)), 1)  # where busts leave ground free
    order = [side * member.is_bust for member in members]
    if len(sides) == len(members) and any(sides):
        order = [ACROSS[name or "middle"] for name in sides]
    ends = [(member.cut_at == "right") - (member.cut_at == "left") for member in members]
    row = sorted(range(len(members)), key=lambda number: (ends[number], order[number]))
    boxes = spot.standing([members[number] for number in row])
    return [boxes[row.index(number)] for number in range(len(members))]


def _each_alone(spot: Situation) -> Boxes:
    """Return a box for each that stands on ground, that a border cuts off or that words place.

    The model places the others: what leaps or bends in a drawn place, or one without ground, and
    several before a picture of the user's own.
    """
    reading, members = spot.prompt.reading, _members(spot)
    poses, count = reading.pose_phrases, len(members)
    stays = spot.is_ground and not (poses["torn"] or LEAPS & {*poses["kept"]})
    is_said = bool(stays or reading.placed or any(reading.sizes)) and not spot.staged.photograph
    boxes = list[Box | None]()
    for number, member in enumerate(members):
        x = None if count == 1 else (number + 0.5) / count
        is_placed = spot.ground or member.is_bust or member.cut_at or is_said
        boxes.append(spot.standing([member], x)[0] if is_placed else None)
    return boxes


RULES: Mapping[str, tuple[Callable[[Situation], bool], Callable[[Situation], Boxes]]] = {
    "left to the model": (
        lambda spot: spot.is_boxed or spot.prompt.reading.is_turned,
        lambda spot: [None] * len(spot.postures),
    ),
    "in its region": (
        lambda spot: any(mask is not None and mask.min() < HALF for mask in spot.regions),
        lambda spot: [None if mask is None else bounding_box(mask) for mask in spot.regions],
    ),
    # What is no larger than the model's own pictures is a place like those that it draws.
    "inserted": (
        lambda spot: (
            len(spot.postures) == 1
            and spot.staged.photograph is not None
            and max(spot.staged.photograph.size) > SIDE_PX
        ),
        _inserted,
    ),
    "in a row": (
        lambda spot: (
            len(spot.postures) > 1
            and spot.staged.photograph is None
            and {*spot.staged.borders} <= {"", "left", "right"}
        ),
        _in_a_row,
    ),
    "each alone": (lambda _: True, _each_alone),
}
"""Ways to find boxes: when one is taken, and what it returns. The first that is taken counts."""


def rule_for(spot: Situation) -> str:
    """Return the name of the rule by which the subjects of a picture get their boxes."""
    return next(name for name, (holds, _) in RULES.items() if holds(spot))


def choose_boxes(spot: Situation) -> tuple[Box | None, ...]:
    """Return the boxes in which the subjects of a picture stand; None: the model places one.

    A wide picture shows a part of a drawn place: subjects stand on the same rows there, so many
    times as large, as far as it has room.
    """
    _, boxes = RULES[rule_for(spot)]
    return tuple(boxes(spot))


def _members(spot: Situation) -> list[Member]:
    """Return what is known of subjects before they stand."""
    staged, ground = spot.staged, spot.ground
    request, (height, width) = staged.request, staged.size
    heights = [*spot.prompt.heights]
    tallest = max((metres for metres in heights if metres is not None), default=None)
    if tallest is not None:
        usual = DOG_HIGH * (tallest / DOG_M) ** SOFTENED
        times = times_larger(ground, tallest, share=spot.near) if ground else usual / tallest
        heights = [None if metres is None else times * metres for metres in heights]
    members, reading = list[Member](), spot.prompt.reading
    shown = 1.0 if ground else spot.view[3] - spot.view[1]
    turned = {"left": "right", "right": "left"} if request.flip else {}
    for number, (identity, posture) in enumerate(
        zip(staged.identities, spot.postures, strict=True)
    ):
        stance, lean = posture
        wide, high = stance.extent if stance else subject_extent(identity.mask[:1])[0].tolist()
        shape = max(wide, THINNEST) * height / (max(high, THINNEST) * width)
        if lies := ground is not None and lean is not None:
            depth = ground.depth_at(sum(ground.near_and_far()) / 2, lean)
            shape, deep = shape / depth, depth if lean else depth * high / wide
            heights[number] = (heights[number] or 0.0) * deep or None
        cut_at = " ".join(turned.get(border, border) for border in staged.borders[number].split())
        words = (*reading.placed, *reading.sizes[number : number + 1])
        times = math.prod(TIMES[name] for name in words if name in TIMES) / shown
        is_bust = staged.are_cut[number]
        members.append(Member(shape, heights[number], times, is_bust, cut_at, lies))
    return members
