"""Edits whose words are understood: of the light of a picture, and of the look of its subject.

The subject is dyed or remade in its outline, and then the whole picture is shown in another light.
A season alone leaves the subject as it is.
"""

import logging
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, short_reason
from swiftpie.geometry.relief import height, normals
from swiftpie.imageio.images import (
    as_rgb,
    carried_on,
    extent_of,
    mask_to_pil,
    plane,
    resized,
    shrunk_to,
    to_pil,
    to_tensor,
)
from swiftpie.masks import grow, resize_mask
from swiftpie.mini.edit_reading import EditReading, NotDrawn, read_edit
from swiftpie.mini.fields import paste
from swiftpie.mini.looks import COLOURS, recolour
from swiftpie.mini.materials import MATERIALS, remake
from swiftpie.mini.relight import NOISE_SHAPE, add_weather, relight
from swiftpie.models.cutout import Search, cutout_network, find_as_guessed, find_with
from swiftpie.noise import draw_noise
from swiftpie.pipelines.denoise import Clock
from swiftpie.pipelines.draw import Plan
from swiftpie.pipelines.edit_region import (
    UNCHANGED,
    blend_mask,
    encode_picture,
    given_mask,
    in_hole,
    read_source,
)
from swiftpie.pipelines.request import EditRequest, resolved_scales
from swiftpie.types import EditResult

logger = logging.getLogger(__name__)

MIN_SHARE, MAX_SHARE = 0.005, 0.9  # of the picture; other masks are no outlines of subjects
SURE = 1e-3  # of an opacity, so that its log-odds are finite
AGREED = 0.66  # of the outline by two guesses with one; of 20 photographs below lay 10 bad, 3 good
SOLID = 0.95  # opacity from which a colour is the subject's alone
VISIBLE_LEVELS = 4  # of 255: a smaller change is not seen
LARGE_PX = 1024  # longer side of what is dyed
SEEN_PX = 2  # what is around a visible change is taken to change
SUMMER = (
    "A picture without a source prompt is taken to show a clear summer day, so nothing in it will "
    "change."
)


def follows_seed(components: Components, request: EditRequest) -> bool:
    """Whether another seed gives another edit."""
    reading = reading_of(components, request)
    return isinstance(reading, EditReading) and reading.changes_light


def reading_of(components: Components, request: EditRequest) -> EditReading | NotDrawn:
    """Return what an edit changes, or why it is not drawn."""
    if request.identity is not None:
        return NotDrawn.SUBJECT
    shown = request.source_prompt or request.keyword
    return read_edit(request.prompt, components.vocabulary, shown=shown)


@torch.no_grad()
def prepare_word_edit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    """Read the words of an edit, and find the subject if it needs that.

    Raises:
        CapabilityError: The words are not understood, or what they name is not in the picture; the
            request brings a subject, or chooses a technique that draws by networks, which
            photographs do not survive.
    """
    method, name = request.settings.method, components.preset.name
    if method is not None:
        raise CapabilityError(
            f"`method={method}` came with preset {name!r}, whose networks turn photographs into a "
            "smear: it edits only by what the words change. Leave the method out, or edit with a "
            "larger model, as by `--recipe swiftedit`."
        )
    reading = reading_of(components, request)
    if isinstance(reading, NotDrawn):
        raise CapabilityError(
            f"Preset {name!r} cannot make the edit {short_reason(request.prompt)!r}. {reading}"
        )
    if reading.look is None and not reading.changes_light:
        logger.warning(UNCHANGED if reading.setting is None else SUMMER)
    request = in_hole(request)
    original, outline = as_rgb(request.picture), None
    if reading.look is not None:
        outline = _outline(components, request, original, clock)
    elif reading.keeps_subject:
        outline = find_with(cutout_network(), original, Search()).mask
    clock.lap("find")
    edit = WordEdit(components, request, reading, original, outline, clock)
    return Plan(request, edit.finish, region=edit.region)


def _outline(
    components: Components, request: EditRequest, original: Image.Image, clock: Clock
) -> Tensor:
    """Return the opacity (1, 1, H, W) of what is changed in an RGB picture.

    A mask is its outline, and a box says where it is. Where the network for cut-outs is unsure, the
    inversion network, which reads the source prompt, guesses with it.

    Raises:
        CapabilityError: Nothing stands out, or its outline is not sure.
    """
    mask, fault = request.mask, ""
    if isinstance(mask, Tensor):
        opacity = given_mask(mask, (original.height, original.width)).float() / 255
    else:
        box = mask if isinstance(mask, tuple) else None  # `Session.resolved` opens files
        found = find_with(cutout_network(), original, Search(box=box))
        if box is None and found.how.is_doubtful:
            picture = encode_picture(components, request, clock)
            source = read_source(components, picture.latents, picture.prompts)
            share = picture.canvas.leave_mask(source.subject_mask.float().cpu())
            guess = torch.logit(share.clamp(SURE, 1 - SURE))
            found = find_as_guessed(cutout_network(), original, guess)
            assert found.how.confidence is not None, "the network for cut-outs is"
            fault = "its outline is not found for sure" * (found.how.confidence < AGREED)
        opacity = found.mask
    share = (opacity > 0.5).float().mean()
    if not MIN_SHARE < share < MAX_SHARE:
        fault = "nothing stands out there as one subject"
    if fault:
        raise CapabilityError(
            f"The edit {short_reason(request.prompt)!r} changes the subject of the picture, and "
            f"{fault}. Mark it by a mask or a box."
        )
    return opacity


@dataclass(frozen=True, eq=False)
class WordEdit:
    """What is known of an edit before anything is drawn."""

    components: Components
    request: EditRequest
    reading: EditReading
    original: Image.Image
    outline: Tensor | None  # (1, 1, H, W) in [0, 1] of the subject, where it counts
    clock: Clock

    @property
    def _is_of_all(self) -> bool:
        return self.reading.changes_light and not self.reading.keeps_subject

    def region(self) -> Image.Image:
        """Return what `finish` changes, white in mode L."""
        return self._region(None if self._is_of_all else self._drawn())

    def _region(self, drawn: Image.Image | None) -> Image.Image:
        """Return where `drawn` differs visibly, or all of the picture, within a given mask."""
        region, mask = Image.new("L", self.original.size, 255), self.request.mask
        if drawn is not None:
            red, green, blue = ImageChops.difference(self.original, drawn).split()
            most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
            seen = most.point([float(level > VISIBLE_LEVELS) for level in range(256)])
            region = mask_to_pil(grow(plane(seen) * 255, SEEN_PX))[0]
        if mask is None:
            return region
        return ImageChops.darker(region, mask_to_pil(given_mask(mask, region.size[::-1]))[0])

    @torch.no_grad()
    def _drawn(self) -> Image.Image:
        """Return the whole picture, edited."""
        picture, reading = self.original, self.reading
        if reading.look is not None and self.outline is not None:
            picture = _remade(picture, self.outline, reading.look)
            self.clock.lap("subject")
        if reading.setting is None:
            return picture
        noise = draw_noise([self.request.seed], NOISE_SHAPE)
        run, on_band = self.components.run, partial(self.clock.lap, "relight")
        lit = relight(picture, reading.setting, noise=noise, run=run, on_band=on_band)
        if reading.keeps_subject and self.outline is not None:
            lit = Image.composite(picture, lit, mask_to_pil(self.outline)[0])
        return add_weather(lit, reading.setting, noise=noise, on_band=on_band)

    def finish(self) -> EditResult:
        """Return the edited picture; all that does not change visibly is the given one's own."""
        edited, components = self._drawn(), self.components
        region = self._region(None if self._is_of_all else edited)
        blend = region
        if self._is_of_all and self.request.mask is not None:
            blend = blend_mask(plane(region))
        image = Image.composite(edited, self.original, blend)
        self.clock.lap("join")
        return EditResult(
            image=image,
            region=region,
            edited=edited,
            reconstruction=None,
            blend=blend,
            latent_region=resize_mask(plane(region), NOISE_SHAPE[1:]),
            branches=(),
            cutouts=(),
            seed=self.request.seed,
            timings_ms=self.clock.timings(),
            scales=resolved_scales(components.preset, self.request).given,
            origin={**components.origin, "method": "words"},
        )


def _remade(picture: Image.Image, outline: Tensor, look: str) -> Image.Image:
    """Return a picture whose subject has another look; its rim takes on that of its inside.

    A large subject is changed at `LARGE_PX`, and keeps its finer detail.
    """
    window = extent_of((outline > 0).float())
    assert window is not None, "an outline holds something"
    left, top, right, bottom = window
    size = (bottom - top, right - left)
    pixels, small = to_tensor(picture.crop(window)) / 2 + 0.5, shrunk_to(LARGE_PX, size)
    cover, colours = resized(outline[..., top:bottom, left:right], small), resized(pixels, small)
    is_solid, before = cover > SOLID, colours
    inside = 1 - grow((~is_solid).to(torch.uint8), 1)
    if bool(inside.any()):
        colours = torch.where(is_solid, colours, carried_on(colours, inside.to(colours)))
    frame = torch.cat([colours * cover, cover], dim=1)
    if look in COLOURS:
        frame = recolour(frame, [look])
    else:
        frame = remake(frame, normals(height(cover)), [look], MATERIALS).frame
    pixels += resized(paste(before, frame) - before, size, mode="bilinear")
    result = picture.copy()
    result.paste(to_pil(2 * pixels.clamp(0, 1) - 1)[0], (left, top))
    return result
