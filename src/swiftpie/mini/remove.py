"""Removes things from photographs, which go on from around them, or where LaMa fills them."""

import logging
from functools import partial

import torch
from torch import Tensor

from swiftpie.errors import InputError
from swiftpie.photo.filling import inpaint
from swiftpie.photo.networks import NETWORKS
from swiftpie.photo.search import Search
from swiftpie.pipelines.choose import Choice, Clock, Technique
from swiftpie.pipelines.denoise import Plan
from swiftpie.pipelines.insertion import Insertion, insertion_of, pasted, patch_of
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.types import EditedImage

logger = logging.getLogger(__name__)

# Of six removals of more than a half, four of 51 to 57 % were fair, and larger ones are a smear.
MOST_REMOVED = 0.6
# How doubtful a filling may be: of 74 removals by a click 42 are above the first, 37 of them bad by
# eye, of three between both two are bad, and of 29 below also two. How much of a picture goes tells
# less: of 20 removals of 5 to 53 % of DreamBench's photographs 8 are in no doubt, and all are good.
HOPELESS, DOUBTED = 0.88, 0.76


@torch.no_grad()
def prepare_remove(choice: Choice[RetouchRequest]) -> Plan:
    """Prepare to continue a photograph from around what is removed.

    Raises:
        InputError: Most of it is to go.
    """
    removal = insertion_of(choice)
    share = (removal.hole > 0).float().mean().item()
    if share > MOST_REMOVED:
        raise InputError(
            f"The area to remove covers {share:.0%} of the picture. At most {MOST_REMOVED:.0%} can "
            "be filled from the rest. Mark less by a mask or a box, or take a picture that shows "
            "more around the object."
        )
    return Plan(removal.request, partial(removed, removal, choice.clock), region=removal.region)


def removed(insertion: Insertion, clock: Clock) -> EditedImage:
    """Return the photograph of a change without what goes, and with nothing that comes."""
    assert insertion.hole_box is not None, "something goes"
    removal = insertion._replace(subject=None, room=insertion.hole, patch=insertion.hole_box)
    return pasted(removal, _filled(removal, clock), clock)


def _filled(removal: Insertion, clock: Clock) -> Tensor:
    """Return the patch with what goes filled from its surroundings, or by LaMa if in doubt."""
    patch, lama, doubts = patch_of(removal, clock), NETWORKS["lama"], [0.0]
    filled = inpaint(patch.pixels, patch.hole, on_band=clock.check, on_doubt=doubts.append)
    if max(doubts) <= DOUBTED or not lama.is_here:
        check_uncertainty(removal.request, max(doubts))
        return filled.clamp_(0, 1)
    drawn = lama.fill(patch.pixels[0].movedim(0, -1).numpy(), patch.hole[0, 0].numpy())
    clock.check()
    return torch.from_numpy(drawn).movedim(-1, 0)[None]


def check_uncertainty(request: RetouchRequest, uncertainty: float) -> None:
    """Refuse a smear in place of what a click or a box finds, and warn of what is in doubt."""
    if uncertainty > HOPELESS and isinstance(request.mask, Search):
        raise InputError(
            "The background of the object cannot be filled from around it, or a part of the object "
            "would stay as a smear. Run `swiftpie fetch lama`, a network that fills it, add points "
            "on the rest of it, or paint what goes as a mask, as for `--mask`, which is used "
            "exactly."
        )
    if uncertainty > DOUBTED:
        logger.warning(
            "The background of the object is uneven, so its filling is a guess: edges may break "
            "off or run on. `swiftpie fetch lama` brings a network that fills it, or add points on "
            "parts of the object that are left."
        )


REMOVE = Technique(
    RetouchRequest,
    prepare_remove,
    lambda _, request: request.identity is None and not request.keep_pose,
    follows_seed=lambda _, __: False,
    advice=lambda _, __: iter(()),
)
