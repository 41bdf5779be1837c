"""Edits whose words are understood: of a place, of its light, and of the picture's own subject.

The subject is cut out, and what was behind it is filled. It is dyed, turned, moved and lit from its
own pixels, and put back in its place or into a new one. The place keeps its pixels, or shows them
in another light. The region is what changes visibly.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, short_reason
from swiftpie.geometry.layout import from_box
from swiftpie.geometry.shading import Illumination, are_alike, cast_on_ground, usual_shadow
from swiftpie.imageio.images import extent_of, mask_to_pil, plane, to_pil, to_tensor
from swiftpie.library import origin_of
from swiftpie.masks import Box, bounding_box, grow, resize_mask, subject_extent
from swiftpie.mini.compositing import large_frame_of
from swiftpie.mini.edit_reading import NOTHING_SAID, REPLACED, Cast, EditReading, read_edit
from swiftpie.mini.layers import (
    MIN_SHARE,
    SOLID,
    VISIBLE_LEVELS,
    Layer,
    OwnSubject,
    brightest,
    find_subject,
    finished,
    light_by_words,
    light_on,
    paste_layers,
    touched,
)
from swiftpie.mini.looks import MATERIALS
from swiftpie.mini.relight import NOISE_SHAPE, add_weather, relight, without_weather
from swiftpie.mini.scenes import scene_library
from swiftpie.noise import draw_noise, share_of
from swiftpie.pipelines.denoise import Clock
from swiftpie.pipelines.draw import Plan
from swiftpie.pipelines.edit_region import (
    EncodedPicture,
    SourceReading,
    encode_picture,
    given_mask,
    in_hole,
    read_source,
    says_the_same,
    square_around,
)
from swiftpie.pipelines.filling import OnBand, inpaint
from swiftpie.pipelines.removal import EDGE, LEAST_THERE, with_surroundings
from swiftpie.pipelines.request import EditRequest, resolved_scales
from swiftpie.types import EditResult, Identity, TextCondition

CHANGES = (
    f"time, weather, season and place, the colour or material ({', '.join(MATERIALS)}) of one "
    "subject, and the subject itself for one of its library or none"
)
SEEN_PX = 2  # what is around a visible change is taken to change
LEAST_SHADE = VISIBLE_LEVELS / 255  # share of the ground's light that is seen to be missing
SEE_THROUGH = frozenset(("glass", "ice"))
EDGE_GAP = 0.02  # of the picture's width: between its edge and a second subject
LEAST_BESIDE, MOST_BESIDE = 0.35, 0.5  # of either side: a second subject
MAX_SHARE = 0.9  # of the picture; a given mask of more is no outline of a subject
THINNEST = 0.05  # of a frame, so that a thin subject has a size


@dataclass(frozen=True, eq=False)
class WordEdit:
    """What is known of an edit before anything is drawn."""

    components: Components
    request: EditRequest
    reading: EditReading
    picture: EncodedPicture
    source: Callable[[], SourceReading]  # reads the picture once, where something needs that
    subject: OwnSubject | None  # of the picture; None if it has none
    gone: Tensor | None = None  # (1, 1, H, W) of bytes: what is filled

    @property
    def original(self) -> Image.Image:
        """The picture."""
        return self.picture.original

    @property
    def size(self) -> tuple[int, int]:
        """Its height and width."""
        return self.original.height, self.original.width

    @property
    def noise(self) -> Tensor:
        """The noise behind the picture, (1, C, h, w)."""
        return self.source().noise

    @property
    def before(self) -> TextCondition:
        """What the source prompt says of the picture; without one, what the prompt does."""
        return self.picture.prompts.text.row(0 if self.request.source_prompt else 1)

    @property
    def after(self) -> TextCondition:
        """What the prompt says."""
        return self.picture.prompts.text.row(1)

    @property
    def is_on_ground(self) -> bool:
        """Whether subjects stand on the ground of the place."""
        place = self.reading.after.place or self.reading.before.place
        return place is None or scene_library().is_ground(place)

    def around(self) -> Tensor:
        """Return the picture without its subject, pixels in [-1, 1] and mask, (1, 4, S, S)."""
        side = self.components.preset.image_size_px
        small = to_tensor(self.original.resize((side, side), Image.Resampling.BOX))
        stays = torch.ones_like(small[:, :1])
        if self.subject is not None:
            stays = 1 - resize_mask(self.subject.opacity, (side, side))
        return torch.cat([small * stays, stays], dim=1)


def reading_of(components: Components, request: EditRequest) -> EditReading | None:
    """Return what an edit changes; None if its words are not understood, or are not all it has."""
    if request.mask is not None and request.identity is not None:
        return REPLACED
    reading = read_edit(
        request.prompt,
        components.vocabulary,
        source_prompt=request.source_prompt or request.keyword,
        brings=request.identity is not None,
    )
    if reading is None:
        return None
    comes = reading.cast in {Cast.IS_REPLACED, Cast.IS_JOINED}
    if comes and request.identity is None:
        return None  # a request is drawn as it stands
    return reading


def follows_seed(components: Components, request: EditRequest) -> bool:
    """Whether another seed gives another edit."""
    reading = reading_of(components, request)
    return reading is not None and (reading.changes_place or reading.changes_light)


@torch.no_grad()
def prepare_word_edit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    """Find the subject of a picture and what goes with it.

    Raises:
        CapabilityError: The words are not understood, what they name is not in the picture, or the
            request chooses a technique that draws by networks, which photographs do not survive.
    """
    method, name = request.settings.method, components.preset.name
    if method is not None:
        raise CapabilityError(
            f"`method={method}` came with preset {name!r}, whose networks turn photographs into a "
            "smear: it edits only by what the words change. Leave the method out, or edit with a "
            "larger model, as by `--recipe swiftedit`."
        )
    request = in_hole(request)
    picture = encode_picture(components, request, clock)
    edit = _found(components, request, picture, _understood(components, request, picture), clock)
    if edit.subject is not None:
        edit = replace(edit, gone=_hole(edit, edit.subject))
    return Plan(request, partial(_finish, edit, clock), region=partial(_find_region, edit))


def _understood(
    components: Components, request: EditRequest, picture: EncodedPicture
) -> EditReading:
    """Return what an edit changes.

    Raises:
        CapabilityError: Its words are not understood, or are of art or of what a subject wears.
    """
    reading, name = reading_of(components, request), components.preset.name
    if reading is None and request.source_prompt.strip() and says_the_same(picture.prompts):
        return EditReading(NOTHING_SAID, NOTHING_SAID)
    if reading is None:
        place = " where a mask is given" if request.mask is not None else ""
        raise CapabilityError(
            f"Preset {name!r} cannot make the edit {short_reason(request.prompt)!r}{place}. It "
            f"changes {CHANGES}. Name one such change alone, as in 'made of gold', or say in the "
            "source prompt what the picture shows. A larger model makes other edits, as by "
            "`--recipe swiftedit`."
        )
    if reading.changes_worn or reading.changes_art:
        what = "the art of the picture"
        if reading.changes_worn:
            what = "what the subject wears or holds (`remove` takes away what a mask marks)"
        raise CapabilityError(
            f"The edit {short_reason(request.prompt)!r} changes {what}, and preset {name!r} cannot "
            "do that. Edit with a larger model, as by `--recipe swiftedit`."
        )
    return reading


def _found(
    components: Components,
    request: EditRequest,
    picture: EncodedPicture,
    reading: EditReading,
    clock: Clock,
) -> WordEdit:
    """Return an edit with the subject of its picture, if it needs that.

    Raises:
        CapabilityError: What the words change is not in the picture.
    """
    source = cache(partial(read_source, components, picture.latents, picture.prompts))
    subject = None
    if reading.changes_subject or reading.changes_light:
        subject = _subject(request, reading, picture, source)
        if subject is not None and (reading.clears or reading.changes_place):
            clear = without_weather(picture.original, reading.before.setting)
            subject = replace(subject, picture=clear)
        clock.lap("find")
    if subject is None and reading.changes_subject:
        raise CapabilityError(
            f"The edit {short_reason(request.prompt)!r} changes the subject of the picture, and "
            "nothing stands out there as one subject. Mark it by a mask or a box, or insert a "
            "subject by `insert`."
        )
    _check_outline(request, reading, subject)
    return WordEdit(components, request, reading, picture, source, subject)


def _check_outline(request: EditRequest, reading: EditReading, subject: OwnSubject | None) -> None:
    """Refuse to change a subject whose outline may be wrong: half of it would change.

    Raises:
        CapabilityError: An edit asks for that.
    """
    changes_it = reading.changes_subject and reading.cast is not Cast.IS_JOINED
    if subject is None or not subject.is_doubtful or not changes_it:
        return
    remedy = "Mark it by a mask or a box."
    if not reading.stays_in_outline:
        remedy = "Draw it by `personalize` with a cut-out of your own, or take a clearer picture."
    raise CapabilityError(
        f"The edit {short_reason(request.prompt)!r} changes the subject of the picture, whose "
        f"outline is not found for sure. {remedy}"
    )


@torch.no_grad()
def _find_region(edit: WordEdit) -> Image.Image:
    """Return what `_finish` changes, white in mode L.

    What goes is all part of it, so it need not be filled, unless that shows elsewhere.
    """
    reading = edit.reading
    fills = not reading.moves or reading.clears
    return _region(edit, *_drawn(edit, Clock(None), fills=fills))


@torch.no_grad()
def _finish(edit: WordEdit, clock: Clock) -> EditResult:
    """Return the edited picture; all that does not change visibly is the given one's own."""
    request, original = edit.request, edit.original
    edited, layers = _drawn(edit, clock, fills=True)
    region = _region(edit, edited, layers)
    image = Image.composite(edited, original, region)
    clock.lap("join")
    identity, components = request.identity, edit.components
    named = () if identity is None or identity.named is None else (identity.named,)
    cells = (edit.picture.latents.shape[2], edit.picture.latents.shape[3])
    return EditResult(
        image=image,
        region=region,
        edited=edited,
        reconstruction=None,
        blend=region,
        latent_region=resize_mask(plane(region), cells),
        branches=(),
        cutouts=() if identity is None else (identity.cutouts,),
        named=named,
        seed=request.seed,
        timings_ms=clock.timings(),
        scales=resolved_scales(components.preset, request).given,
        origin={**components.origin, **origin_of(named), "method": "words"},
    )


def visible_change(before: Image.Image, after: Image.Image) -> Tensor:
    """Return where two pictures of one size differ visibly, as bytes (1, 1, H, W), 0 or 255."""
    most = brightest(ImageChops.difference(before, after))
    seen = most.point([255 * (level > VISIBLE_LEVELS) for level in range(256)])
    return torch.from_numpy(np.array(seen))[None, None]


def _drawn(edit: WordEdit, clock: Clock, *, fills: bool) -> tuple[Image.Image, list[Layer]]:
    """Return the picture drawn anew, with its layers; unless it `fills`, what goes is in it."""
    reading, noise = edit.reading, draw_noise([edit.request.seed], NOISE_SHAPE)
    edited = _place(edit, noise, clock)
    clock.lap("place")
    if edit.subject is not None and reading.changes_season_alone and not reading.changes_place:
        stays = mask_to_pil(edit.subject.opacity)[0]
        edited = Image.composite(edit.original, edited, stays)
    if edit.gone is not None and fills:
        edited = _filled(edited, edit.gone, partial(clock.lap, "place"))
    clock.lap("place")
    layers = _layers(edit)
    edited = paste_layers(edited, layers)
    if reading.changes_place or reading.clears:
        on_band = partial(clock.lap, "subject")
        edited = add_weather(edited, reading.after.setting, noise=noise, on_band=on_band)
        edited = _with_own_pixels(edited, edit, layers)
    clock.lap("subject")
    return edited, layers


def _with_own_pixels(edited: Image.Image, edit: WordEdit, layers: Sequence[Layer]) -> Image.Image:
    """Return `edited` with the pixels of a subject that nothing changes, with what falls on it."""
    reading, subject = edit.reading, edit.subject
    is_same = len(layers) == 1 and layers[0].shown is layers[0].frame
    if subject is None or not is_same or reading.changes_light:
        return edited
    inner = -grow(-(subject.opacity > SOLID).float(), 1)
    return Image.composite(edit.original, edited, mask_to_pil(inner)[0])


def _region(edit: WordEdit, edited: Image.Image, layers: Sequence[Layer]) -> Image.Image:
    """Return what changes within a given mask, white in mode L."""
    region, mask = _changed(edit, edited, layers), edit.request.mask
    if mask is None:
        return region
    return ImageChops.darker(region, mask_to_pil(given_mask(mask, edit.size))[0])


def _changed(edit: WordEdit, edited: Image.Image, layers: Sequence[Layer]) -> Image.Image:
    """Return what changes visibly and all of a subject that goes, comes or moves, with room."""
    changed = visible_change(edit.original, edited)
    if edit.reading.moves:
        for layer in layers:
            part = touched(layer, edit.original)
            changed = torch.maximum(changed, 255 * part.to(torch.uint8))
    if edit.gone is None:
        return mask_to_pil(grow(changed, SEEN_PX))[0]
    gone = 255 * (edit.gone > 0).to(torch.uint8)  # is filled, and has room around it
    around = torch.minimum(changed, 255 - gone)
    return mask_to_pil(torch.maximum(grow(around, SEEN_PX), gone))[0]


def _subject(
    request: EditRequest,
    reading: EditReading,
    picture: EncodedPicture,
    source: Callable[[], SourceReading],
) -> OwnSubject | None:
    """Return the subject of a picture: what is found, or what a mask of its outline shows.

    One that takes on a look is found in a box.
    """
    original, box = picture.original, None
    is_outline = reading.stays_in_outline or reading.cast is Cast.IS_JOINED
    if isinstance(request.mask, tuple) and reading.look is not None:
        is_outline, box = False, request.mask
    if request.mask is None or not is_outline:
        return find_subject(original, picture.canvas, lambda: source().subject_mask, box=box)
    opacity = given_mask(request.mask, (original.height, original.width)).float() / 255
    if not MIN_SHARE < float((opacity > 0.5).float().mean()) < MAX_SHARE:
        return None
    return OwnSubject(original, opacity)


def _hole(edit: WordEdit, subject: OwnSubject) -> Tensor | None:
    """Return what shows what was behind the subject, (1, 1, H, W) of bytes; None if nothing does.

    The shadow that is expected goes, and what is found next to the subject, if that is no larger.
    """
    reading, picture = edit.reading, edit.original
    is_clear = reading.look is not None and reading.look.material in SEE_THROUGH
    leaves = reading.cast in {Cast.GOES, Cast.IS_REPLACED}
    if reading.changes_place or not (leaves or is_clear):
        return None
    if edit.request.mask is not None:
        return given_mask(edit.request.mask, edit.size)
    thing = (subject.opacity > LEAST_THERE).to(torch.uint8)
    side = float(subject.layout.scale.max()) * picture.width
    wide = grow(thing.float(), math.ceil(EDGE * side)).to(torch.uint8)
    if not leaves:
        return 255 * wide
    find = partial(with_surroundings, picture, thing, room=EDGE, gap=EDGE)
    shade = _shade(edit, subject)
    if shade is None:
        return find()
    darker = (shade > LEAST_SHADE).to(torch.uint8)
    gone = find(most_shadow=float((darker * (1 - wide)).sum() / thing.sum()))
    return gone if reading.cast is Cast.IS_REPLACED else torch.maximum(gone, 255 * darker)


def _shade(edit: WordEdit, subject: OwnSubject) -> Tensor | None:
    """Return the share of the ground's light that a subject takes by what the source prompt says.

    It is (1, 1, H, W). None if nothing says what light there is.
    """
    if not edit.request.source_prompt:
        return None
    _, scene = _lights(edit, subject)
    if scene is None:
        return None
    if not edit.is_on_ground:
        return torch.zeros_like(subject.opacity)
    return cast_on_ground(subject.opacity, subject.layout, usual_shadow(scene))


def _place(edit: WordEdit, noise: Tensor, clock: Clock) -> Image.Image:
    """Return the place of the edit, as large as the picture; the old subject may be in it."""
    on_band = partial(clock.lap, "place")
    reading, original = edit.reading, edit.original
    before, after = reading.before, reading.after
    drawn: dict[str, Any] = {"noise": noise, "run": edit.components.run, "on_band": on_band}
    if reading.changes_place:
        assert after.place is not None, "a new place has a name"
        scene = scene_library().dealt(after.place, share_of(noise), original.size)
        place = None if scene_library().is_photographed(after.place) else after.place
        return relight(scene, after.setting, place=place, **drawn)
    if reading.clears:
        original = without_weather(original, before.setting)
    return relight(original, after.setting, before=before.setting, place=before.place, **drawn)


def _filled(picture: Image.Image, gone: Tensor, on_band: OnBand) -> Image.Image:
    """Return a picture with the part that is `gone` inpainted from what is around it."""
    extent = extent_of((gone > 0).float())
    if extent is None:
        return picture
    size = (picture.height, picture.width)
    window = square_around(extent, size, least_px=min(size))
    left, top, right, bottom = window
    goes = (gone[..., top:bottom, left:right] > 0).float()
    patch = to_tensor(picture.crop(window)) / 2 + 0.5
    filled = picture.copy()
    inner = inpaint(patch, goes, on_band=on_band)
    filled.paste(to_pil(2 * inner.clamp(0, 1) - 1)[0], (left, top))
    return filled


def _layers(edit: WordEdit) -> list[Layer]:
    """Return what stands before the place, finished, from the back to the front."""
    identity, own = edit.request.identity, _own(edit)
    newcomers = [] if identity is None else [_newcomer(edit, identity)]
    return [*map(finished, newcomers if own is None else [*newcomers, own])]


def _own(edit: WordEdit) -> Layer | None:
    """Return the picture's own subject; None if it is gone, or as it was."""
    reading, subject = edit.reading, edit.subject
    if subject is None or reading.cast in {Cast.GOES, Cast.IS_REPLACED}:
        return None
    changes_its_light = reading.changes_light and not reading.changes_season_alone
    is_relit = reading.changes_place or changes_its_light
    look = reading.look
    if not (look or is_relit):
        return None
    own, scene = _lights(edit, subject)
    return Layer(
        subject.frame,
        subject.layout,
        own=own,
        scene=scene,
        colour=None if look is None else look.colour,
        material=None if look is None else look.material,
        casts=reading.changes_place and edit.is_on_ground,
    )


def _lights(edit: WordEdit, subject: OwnSubject) -> tuple[Illumination | None, Illumination | None]:
    """Return the light on the picture's own subject, and that of the edited picture."""
    reading = edit.reading
    changes = reading.changes_place or reading.look is not None
    if reading.changes_season_alone and not changes:
        return None, None  # the subject keeps its own, whatever that is
    light = partial(light_by_words, edit.components, edit.noise)
    is_told = bool(edit.request.source_prompt)
    if is_told and reading.changes_place and not reading.changes_light:
        before, after = light(edit.before), light(edit.after)
        if before is not None and after is not None and are_alike(before, after):
            return after, after
    seen = light(edit.before, given=edit.around())
    if seen is None:
        return None, None
    if not (reading.changes_place or reading.changes_light) or reading.changes_season_alone:
        return seen, seen
    return (seen if is_told else light_on(edit.components, subject.small)), light(edit.after)


def _newcomer(edit: WordEdit, identity: Identity) -> Layer:
    """Return a new subject in place of the picture's own, or next to it."""
    subject = edit.subject
    assert subject is not None, "a picture without a subject is left to the inversion network"
    frame, extent = large_frame_of(identity), subject_extent(identity.mask[:1].float().cpu())
    box = bounding_box((subject.opacity > LEAST_THERE).float())
    is_beside = edit.reading.cast is Cast.IS_JOINED and edit.request.mask is None
    if is_beside:
        box = _beside(box, extent, edit.size)
    return Layer(
        frame,
        from_box(box, size=edit.size, extent=extent),
        own=light_on(edit.components, frame),
        scene=light_by_words(edit.components, edit.noise, edit.after, given=edit.around()),
        before=subject.opacity if is_beside else None,
        casts=edit.is_on_ground,
    )


def _beside(box: Box, extent: Tensor, size: tuple[int, int]) -> Box:
    """Return the place of a second subject: about as large as the first, where is more room."""
    left, top, right, bottom = box
    wide, tall = extent[0].clamp_min(THINNEST).tolist()
    aspect = size[0] / size[1]
    longest = max((right - left) / aspect, bottom - top)  # in heights of the picture
    longest = min(max(longest, LEAST_BESIDE), MOST_BESIDE, MOST_BESIDE / aspect)
    width, height = longest * aspect * wide / max(wide, tall), longest * tall / max(wide, tall)
    is_left = left > 1 - right
    near_edge = max((left if is_left else 1 - right) - width, 2 * EDGE_GAP) / 2
    start = near_edge if is_left else 1 - near_edge - width
    return start, bottom - height, start + width, bottom
