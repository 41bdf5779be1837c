"""The rows of the ablation table."""

from collections.abc import Sequence
from dataclasses import replace

from swiftpie.evaluation.ablations.setting import Region, Setting, Untried
from swiftpie.guidance.style import Style
from swiftpie.pipelines.request import Scales

EVERYTHING = "everything"
BRANCHES, PLACE, MERGE, MASKS, RESCALING, REFERENCES, STEPS, WEIGHTS = (
    "branches",
    "place",
    "merge",
    "masks",
    "rescaling, true mask",
    "references",
    "steps",
    "other weights",
)
IDENTITY_SWEEP, DETAIL_SWEEP = "identity scale", "detail scale"
STYLES, STYLES_ALONE = "style, 4 steps", "style, 4 steps, semantic branch alone"
HALF_BRANCHES = "branches at half scale, no skip"  # where no single branch does everything
UNCUT = "rescaling, references not cut out, no skip"
STRONG = "rescaling, scales tripled, no skip"  # where branches overwhelm the scene
BRANCH_SWEEP = "both scales, no skip"  # what the branches do where nothing is aligned

SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAKS = (0.0, 0.1, 0.25, 0.5)
WIDE_CONTEXT = 1.25
MANY_REFERENCES = 3
STRONG_SCALE = 3.0
STYLED_STEPS = 4  # what the styles' own schedules are made for

UNTRIED = (
    Untried(
        MERGE,
        "joint",
        "Needs its own training: how reference keys meet a layer's own is part of the network, and "
        "these weights were trained with a second softmax. 'decoupled' is the row 'everything'.",
    ),
)


def all_settings(
    base: Scales, *, step_counts: Sequence[int], against: Sequence[str] = ()
) -> list[Setting]:
    """Return every row, from the preset's own scales.

    Args:
        base: The preset's own scales.
        step_counts: How many steps the weights were trained to take.
        against: Names of other weights to compare with.
    """
    return [
        *_branches(base),
        *_places(base),
        *(Setting(MASKS, region.value, base, region=region) for region in Region),
        *_half_branches(base),
        *_rescaling(base),
        *(
            Setting(REFERENCES, str(count), base, num_references=count)
            for count in (1, MANY_REFERENCES)
        ),
        *(Setting(IDENTITY_SWEEP, f"{x:g}", replace(base, identity_scale=x)) for x in SWEEP),
        *(Setting(DETAIL_SWEEP, f"{x:g}", replace(base, detail_scale=x)) for x in SWEEP),
        *(
            Setting(
                BRANCH_SWEEP,
                f"{x:g}",
                replace(base, identity_scale=x, detail_scale=x),
                has_skip=False,
            )
            for x in SWEEP
        ),
        *(_styles(base) if STYLED_STEPS in step_counts else ()),
        *(Setting(STEPS, str(count), base, num_steps=count) for count in step_counts),
        *(Setting(WEIGHTS, name, base, weights=name) for name in against),
    ]


def _branches(base: Scales) -> list[Setting]:
    """Return every choice of the three ways in which a subject reaches the picture."""
    plain = replace(base, identity_scale=0.0)  # without the semantic branch
    return [
        Setting(BRANCHES, EVERYTHING, base),
        Setting(BRANCHES, "text only", replace(plain, detail_scale=0.0)),
        Setting(BRANCHES, "semantic", base, has_detail=False, has_skip=False),
        Setting(BRANCHES, "detail", plain, has_skip=False),
        Setting(BRANCHES, "skip", plain, has_detail=False),
        Setting(BRANCHES, "semantic, detail", base, has_skip=False),
        Setting(BRANCHES, "semantic, skip", base, has_detail=False),
        Setting(BRANCHES, "detail, skip", plain),
    ]


def _half_branches(base: Scales) -> list[Setting]:
    half = replace(base, identity_scale=base.identity_scale / 2, detail_scale=base.detail_scale / 2)
    return [
        Setting(HALF_BRANCHES, "semantic", replace(half, detail_scale=0.0), has_skip=False),
        Setting(HALF_BRANCHES, "detail", replace(half, identity_scale=0.0), has_skip=False),
        Setting(HALF_BRANCHES, "semantic, detail", half, has_skip=False),
    ]


def _places(base: Scales) -> list[Setting]:
    return [
        Setting(PLACE, "prior off", base, knows_place=False),
        Setting(PLACE, "prior off, no skip", base, has_skip=False, knows_place=False),
    ]


def _styles(base: Scales) -> list[Setting]:
    """Return FastFace's styles, with all that carries the subject and with what they reshape."""
    return [
        *(Setting(STYLES, one, base, num_steps=STYLED_STEPS, style=one) for one in Style),
        *(
            Setting(
                STYLES_ALONE,
                one,
                base,
                num_steps=STYLED_STEPS,
                style=one,
                has_detail=False,
                has_skip=False,
            )
            for one in Style
        ),
    ]


def _rescaling(base: Scales) -> list[Setting]:
    """Return rows with the true mask, so that what a mask gets wrong does not count."""
    wide = replace(base, text_background_scale=WIDE_CONTEXT)
    strong = replace(
        base,
        identity_scale=STRONG_SCALE * base.identity_scale,
        detail_scale=STRONG_SCALE * base.detail_scale,
    )
    return [
        *(Setting(RESCALING, name, one, region=Region.TRUE) for name, one in _off_and_on(base)),
        Setting(RESCALING, f"context {WIDE_CONTEXT:g}", wide, region=Region.TRUE),
        *(
            Setting(RESCALING, f"leak {x:g}", replace(base, background_scale=x), region=Region.TRUE)
            for x in LEAKS
        ),
        *(
            Setting(UNCUT, name, one, region=Region.TRUE, has_skip=False, is_cut_out=False)
            for name, one in _off_and_on(base)
        ),
        *(
            Setting(STRONG, name, one, region=Region.TRUE, has_skip=False)
            for name, one in _off_and_on(strong)
        ),
    ]


def _off_and_on(base: Scales) -> tuple[tuple[str, Scales], tuple[str, Scales]]:
    """Return the same scales with the branches everywhere, and inside of the mask alone."""
    return (
        "off",
        replace(
            base, background_scale=base.identity_scale, text_scale=1.0, text_background_scale=1.0
        ),
    ), ("on", base)
