"""How good inversion is, in numbers for people."""

from torch import Tensor

from swiftpie.masks import MaskRule, from_noise_difference, iou, resize_mask
from swiftpie.training.stages.inversion.changes import Change, Changes

SHOWN_KINDS = (
    Change.SCENE,
    Change.SUBJECT,
    Change.ACCESSORY,
    Change.SIDE,
    Change.REMOVAL,
    Change.WORD,
)


def mask_figures(
    changes: Changes, located: Tensor, *, source_noise: Tensor, target_noise: Tensor
) -> dict[str, float]:
    """Return how well masks fit true changes (intersection over union), where there are any.

    Args:
        changes: Of B pictures.
        located: Masks that the network found, (B, 1, R, R).
        source_noise: Inverted under the first prompts, (B, C, h, w).
        target_noise: Inverted under the second, from which the rules of editing make masks.
    """
    truth, size = changes.mask, (located.shape[2], located.shape[3])
    masks = {"located": located}
    for rule in MaskRule:
        mask = from_noise_difference(source_noise, target_noise, rule=rule)
        masks[rule.value] = resize_mask(mask, size)
    due = [row for row, kind in enumerate(changes.kinds) if kind is not Change.NOTHING]
    figures = {
        f"iou_{name}": float(iou(mask[due], truth[due]).mean()) for name, mask in masks.items()
    }
    for kind in SHOWN_KINDS:
        rows = [row for row in due if changes.kinds[row] is kind]
        if rows:
            figures[f"iou_of_{kind}"] = float(iou(located[rows], truth[rows]).mean())
    return figures


def psnr_db(pixels: Tensor, truth: Tensor) -> float:
    """Return the mean peak signal-to-noise ratio of pictures (B, 3, H, W) in [-1, 1]."""
    error = (pixels - truth).square().mean((1, 2, 3)) / 4  # the range of pixels is 2 wide
    return float(-10 * error.clamp_min(1e-12).log10().mean())
