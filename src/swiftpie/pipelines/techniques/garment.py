"""Garments: a subject takes the place of what a region shows, and pose and folds stay.

It is an edit whose words stay and whose subject is new, so the photograph carries what stays.
ChordEdit (arXiv:2602.19083) adds to its latents the way from the words alone to the words with the
subject, for the same noise. With an inversion network, the subject is drawn from the noise behind
the photograph (arXiv:2412.04301). Both branches read the subject, in the region alone: as in
IDM-VTON (arXiv:2403.05139), self-attention reads the features of the garment. Differs from it: no
pose is estimated, and nothing was trained on garments.
"""

from dataclasses import replace
from typing import Any

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.imageio.images import as_rgb
from swiftpie.photo.cutout import cut_out
from swiftpie.photo.search import Search
from swiftpie.pipelines.choose import Choice, Technique, choose
from swiftpie.pipelines.denoise import Plan
from swiftpie.pipelines.insertion import DEFAULT_PROMPT
from swiftpie.pipelines.methods.inversion import InversionOptions
from swiftpie.pipelines.settings import EditMode, EditSettings, Scales
from swiftpie.pipelines.tasks import EditRequest, RetouchRequest

SHARED = (
    *("image", "source", "seed", "negative_prompt"),
    *("guidance", "shaping", "identity_guidance", "style_reference", "style_scale"),
)


def prepare_garment(choice: Choice[RetouchRequest]) -> Plan:
    """Prepare the edit that a garment is; outside of the region the photograph stays bit for bit.

    Raises:
        CapabilityError: The networks show no subject in the pose of another, or only its meaning.
        InputError: Nothing says where it goes.
    """
    components, request = choice.components, choice.request
    scales = request.scales
    if scales.detail_scale is None:
        scales = replace(scales, detail_scale=Scales.of(components.preset).detail_scale)
    _check(components, request, scales)
    edit = choose(components, _as_edit(request, EditSettings(scales=scales)))
    if edit.technique.options is InversionOptions:
        settings = EditSettings(mode=EditMode.PAPER, scales=scales)
        edit = choose(components, _as_edit(request, settings))
    return choice.prepared_by(edit.technique, edit.request)


def _as_edit(request: RetouchRequest, settings: EditSettings) -> EditRequest:
    """Return the edit in which the subject is all that is new."""
    words, mask = request.prompt or DEFAULT_PROMPT, request.mask
    shared: dict[str, Any] = {name: getattr(request, name) for name in SHARED}
    return EditRequest(
        **shared,
        prompt=words,
        source_prompt=words,
        keyword="" if mask is not None else words,  # found as in other edits
        mask=cut_out(as_rgb(request.picture), mask).mask if isinstance(mask, Search) else mask,
        settings=settings,
    )


def _check(components: Components, request: RetouchRequest, scales: Scales) -> None:
    """Refuse what networks or request lack."""
    name, subject = components.preset.name, request.identity
    if not components.family.takes_adapters:
        raise CapabilityError(
            f"Preset {name!r} cannot keep a pose: it draws no subject in the shape of another. "
            "Load a model that takes adapters (the recipe sdxl-turbo), leave `keep_pose` out, or "
            'change colour and material by words: `edit(photo, "a red shirt", mask=…)`.'
        )
    if scales.detail_scale and subject is not None and not subject.keys:
        raise CapabilityError(
            f"The subject has no details, which carry the pattern of a garment: preset {name!r} "
            'has no detail branch. Load it with `detail="joint"`, or set `detail_scale=0`.'
        )
    if request.mask is None and not request.prompt:
        raise InputError(
            "Nothing says what the subject replaces. Give a mask, or name what the photograph "
            'shows there in the prompt, as in "a shirt".'
        )


TECHNIQUE = Technique(
    RetouchRequest, prepare_garment, needs="keep_pose", instead_of="insert", draws_style=True
)
