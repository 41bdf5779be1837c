"""SwiftEdit by the embedded model: its inversion network, and edits of what its denoiser draws."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import SUBJECT_FILL, WAVES, Layout, from_box, position_codes
from swiftpie.imageio.images import bounding_box, fit_square
from swiftpie.masks import resize_mask, subject_extent
from swiftpie.mini.denoiser import MASK_CELLS
from swiftpie.mini.insert import PlacedSubject, insertion_condition, unchanged_frame
from swiftpie.mini.word_edits import LARGER
from swiftpie.models.inversion import INVERSION_TIMESTEP, START
from swiftpie.models.network import Network, keep_settings
from swiftpie.models.unet import UNet
from swiftpie.noise import COUPLED_CHANNELS
from swiftpie.pipelines import inversion
from swiftpie.pipelines.choose import Choice, Technique, resolved_scales
from swiftpie.pipelines.edit_region import region_of, widened_region
from swiftpie.pipelines.identity import appearance_of_frame
from swiftpie.pipelines.inversion import InversionInput, Inverted, guided_region
from swiftpie.pipelines.methods.inversion import InversionOptions, follows_seed
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.places.reading import read
from swiftpie.types import Identity, TextCondition

NUM_NOTES = 32  # channels for the comparison of two prompts
BLOCKS = 4  # a side of the lattice of noise means that place things
HIDDEN = 128  # width of the perceptron that sees the whole picture
LEARNED_GROW_PX = 5  # the trained mask, finer than latent cells, grows by this
SURROUNDINGS_SHARE = 0.5  # an edit of a larger share of the picture changes the surroundings
MIN_SUBJECT_SHARE = 0.005  # a subject with a smaller share of the picture is an error of the mask
# Through the autoencoder and back, drawings of the denoiser come within 50 to 53 dB of themselves,
# and photographs of the samples, of the documentation and of the library within 26 to 41.
DRAWN_DB = 46.0
SMEAR = (
    "The small model did not draw this picture from words alone, and its inversion smears most "
    "photographs."
)

BLUR = (
    "The edit changes the subject, and words alone mostly draw a blur. Give a picture of the new "
    "one as the subject of the edit."
)


class InversionOutput(NamedTuple):
    """What the network finds in pictures with a prompt each."""

    noise: Tensor  # (B, C, h, w)
    doubt: Tensor  # (B, 1, h, w) logits of disagreement between picture and prompt
    subject: Tensor  # (B, 1, 4h, 4w) logits of the subject's mask
    notes: Tensor  # (B, K, h, w) for comparing prompts
    prompt: Tensor  # (B, D) the prompt itself, pooled

    def rows(self, first: int, end: int) -> "InversionOutput":
        return InversionOutput(*(value[first:end] for value in self))


class PromptDifference(NamedTuple):
    """The change from a source prompt to a target prompt."""

    mask: Tensor  # (B, 1, 4h, 4w) logits of where
    same_subject: Tensor  # (B,) logits that the target prompt is about the same subject


class TinyInversion(Network):
    """Inversion network of 128 px pictures.

    The channels that pictures depend on hold the expected noise, so they vanish where a picture
    does not show its noise. All other channels hold how far the prompt fails to describe a cell, in
    [0, 1], so that the noise of two prompts differs where they disagree.
    """

    @keep_settings
    def __init__(
        self,
        latent_channels: int = 32,
        widths: tuple[int, int] = (72, 96),
        heads: tuple[int, int] = (2, 2),
        text_width: int = 160,
        embedding_width: int = 160,
        start: str = START,  # noqa: ARG002 - read from the config
        timestep: int = INVERSION_TIMESTEP,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(text_width)
        self.unet = UNet(
            latent_channels + 4 * len(WAVES),
            COUPLED_CHANNELS + 1 + NUM_NOTES,
            widths=widths,
            heads=heads,
            text_width=text_width,
            embedding_width=embedding_width,
            class_width=text_width,
        )
        cells = BLOCKS**2
        last = nn.Linear(HIDDEN, COUPLED_CHANNELS // 4 * cells)
        self.overview = nn.Sequential(nn.Linear(NUM_NOTES * cells, HIDDEN), nn.SiLU(), last)
        self.outline = _mask_head(NUM_NOTES)
        self.differ = _mask_head(2 * NUM_NOTES)
        self.recognise = nn.Sequential(
            nn.Linear(2 * text_width, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1)
        )

        with torch.no_grad():  # starts near the mean of all noise, which is the best first guess
            self.unet.conv_out.weight.mul_(0.3)
            last.weight.mul_(0.3)

    def forward(self, latents: Tensor, text: TextCondition) -> Tensor:
        return self.read(latents, text).noise

    def read(self, latents: Tensor, text: TextCondition) -> InversionOutput:
        """Return all outputs for clean `latents` (B, C, h, w)."""
        count, channels, rows, columns = latents.shape
        prompt = self.text_norm(text.pooled)
        places = position_codes(rows, columns, like=latents)
        output: Tensor = self.unet(
            torch.cat([latents, places.expand(count, -1, -1, -1)], dim=1),
            self.config.timestep,
            text.hidden_states,
            class_labels=prompt,
            text_mask=text.attention_mask,
        ).float()
        coupled, doubt, notes = output.split([COUPLED_CHANNELS, 1, NUM_NOTES], dim=1)
        free = torch.sigmoid(doubt).expand(-1, channels - COUPLED_CHANNELS, -1, -1)
        noise = torch.cat([coupled + self._means(notes, (rows, columns)), free], dim=1)
        subject = F.pixel_shuffle(self.outline(notes).float(), MASK_CELLS)
        return InversionOutput(noise, doubt, subject, notes, prompt)

    def compare(self, source: InversionOutput, target: InversionOutput) -> PromptDifference:
        """Return what two prompts disagree about."""
        pair = torch.cat([source.notes, target.notes - source.notes], dim=1)
        prompts = torch.cat([source.prompt, target.prompt - source.prompt], dim=1)
        return PromptDifference(
            mask=F.pixel_shuffle(self.differ(pair).float(), MASK_CELLS),
            same_subject=self.recognise(prompts).float().squeeze(1),
        )

    def _means(self, notes: Tensor, cells: tuple[int, int]) -> Tensor:
        """Return the means of blocks of noise, predicted from the whole picture, (B, 16, h, w).

        Objects anywhere in a picture decide about noise at fixed places, which local layers learn
        badly.
        """
        seen = F.adaptive_avg_pool2d(notes, BLOCKS).flatten(1)
        means = self.overview(seen).float().unflatten(1, (-1, BLOCKS, BLOCKS))
        fields = F.interpolate(means, size=(2 * cells[0], 2 * cells[1]), mode="nearest")
        return F.pixel_unshuffle(fields, 2)


def _mask_head(channels: int) -> nn.Sequential:
    """Return layers from notes to the logits of a mask, `MASK_CELLS` squared to a cell."""
    return nn.Sequential(
        nn.Conv2d(channels, NUM_NOTES, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(NUM_NOTES, MASK_CELLS**2, 3, padding=1),
    )


def invert(choice: Choice[EditRequest], shown: InversionInput) -> Inverted:
    """Return what the trained network finds in a picture, with what stays of it in place.

    Raises:
        CapabilityError: The denoiser has not drawn the picture, and no smear was accepted.
    """
    components, request = choice.components, choice.request
    network, mask, canvas = components.inverter(), shown.mask, shown.canvas
    assert isinstance(network, TinyInversion), "the family has no other"
    _check_drawn(choice, shown.pixels)
    both = network.read(shown.latents.expand(2, -1, -1, -1), shown.contrast.text)
    source, target = both.rows(0, 1), both.rows(1, 2)
    difference = network.compare(source, target)
    if mask is None and request.settings.of(InversionOptions).self_mask is not None:
        region = guided_region(choice, source.noise, target.noise, canvas)
    else:
        if mask is None:
            mask = widened_region(choice, torch.sigmoid(difference.mask), canvas, LEARNED_GROW_PX)
        region = region_of(mask, canvas, like=shown.latents)
    choice.clock.end_stage("invert")
    changes = canvas.enter_mask(region.pixels).to(shown.pixels)
    keeps = bool(difference.same_subject > 0) or _names_the_same(components, request)
    placed = _subject(choice, shown, changes, source, keeps=keeps)
    condition = insertion_condition(
        components,
        shown.pixels,
        changes,
        subject=placed,
        shows=(0.0 if placed is None else 1.0,),
        class_tokens=components.text.find_words(request.prompt, [""] * (1 + (placed is not None))),
        scales=resolved_scales(components.preset, request),
    )
    return Inverted(source.noise, region, condition)


def _names_the_same(components: Components, request: EditRequest) -> bool:
    """Whether both prompts of an edit name the same subjects."""
    before, after = (
        [mention.words for mention in read(text, components.own.vocabulary).mentions]
        for text in (request.source_prompt, request.prompt)
    )
    return bool(after) and before == after


def _check_drawn(choice: Choice[EditRequest], pixels: Tensor) -> None:
    """Refuse a picture that the denoiser has not drawn, or warn where a smear was accepted."""
    autoencoder = choice.components.autoencoder
    again = autoencoder.decode(autoencoder.encode(pixels)).clamp(-1, 1)
    error = (again - pixels).square().mean()
    if 10 * torch.log10(4 / error.clamp(min=1e-12)) > DRAWN_DB:
        return
    if not choice.request.settings.of(InversionOptions).accept_smear:
        raise CapabilityError(
            f"{SMEAR} Leave the method out to change light and looks, accept the smear by "
            f"`accept_smear`, or edit with a larger model, as {LARGER}."
        )
    choice.warn(SMEAR)


def _subject(
    choice: Choice[EditRequest],
    shown: InversionInput,
    changes: Tensor,
    source: InversionOutput,
    *,
    keeps: bool,  # whether the new prompt is about the same subject
) -> PlacedSubject | None:
    """Return the subject to draw: a given one, or the picture's own if the edit needs it."""
    components, request = choice.components, choice.request
    text = components.text.encode([request.prompt])
    if request.identity is not None:
        identity, layout = request.identity, _box_layout(changes)
    else:
        mask = resize_mask(torch.sigmoid(source.subject), shown.canvas.padded).to(changes)
        is_subject = mask > 0.5
        if is_subject.float().mean() < MIN_SUBJECT_SHARE:
            return None
        if changes[is_subject].mean() <= 0.5:
            moves = False  # its surroundings change, and it keeps its place
            if changes.mean() <= SURROUNDINGS_SHARE:
                return None
        elif keeps:
            moves = True
        else:
            choice.warn(BLUR)
            return None
        identity, layout = _frame_of(components, shown.pixels, mask), _box_layout(mask)
        if moves:
            pooled = torch.cat([shown.prompts.text.pooled[:1], text.pooled])
            layout = _moved(components, layout, identity.mask, source.noise, pooled)
    given = unchanged_frame(components, shown.pixels, changes)
    reference = {"pixels": identity.pixels[:1], "mask": identity.mask[:1]}
    light = components.own.layout_predictor.light
    lighting = light(source.noise, text.pooled, **reference, given=given)
    return PlacedSubject(identity, layout, lighting)


def _moved(
    components: Components, layout: Layout, mask: Tensor, noise: Tensor, texts: Tensor
) -> Layout:
    """Return a layout moved and scaled as what two prompts (2, D) predict differs."""
    extent = subject_extent(mask).to(noise).expand(2, -1)
    both = components.own.layout_predictor(noise.expand(2, -1, -1, -1), texts, extent).layout
    growth = (both.scale[1:] / both.scale[:1]).view(1, *[1] * (layout.scale.ndim - 1))
    centre = layout.centre + both.centre[1:] - both.centre[:1]
    return layout._replace(centre=centre.to(layout.centre), scale=layout.scale * growth)


def _frame_of(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    """Return the appearance of a picture's own subject."""
    side = components.preset.image_size_px
    frame, cut = fit_square(pixels.cpu(), mask.cpu(), size_px=side, fill=SUBJECT_FILL)
    frame, cut = frame.to(pixels), cut.to(pixels)
    return appearance_of_frame(components, frame * cut, cut)


def _box_layout(mask: Tensor) -> Layout:
    """Return the layout of a subject that fills the bounding box of `mask` (1, 1, H, W)."""
    layout = from_box(bounding_box(mask), size=(mask.shape[2], mask.shape[3]))
    return Layout(*(value.to(mask) for value in layout))


INVERSION = Technique(
    EditRequest,
    partial(inversion.prepare_edit, invert=invert),
    None,
    follows_seed,
    name="inversion",
    about="an inversion network",
    options=InversionOptions,
    advice=inversion.advice,
)
