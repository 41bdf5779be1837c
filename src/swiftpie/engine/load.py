"""Loads a preset; what loads it is imported at the first call."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.machine import AUTO

if TYPE_CHECKING:
    from swiftpie.backbones.presets import Recipe
    from swiftpie.engine.session import Session


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector inside the block.

    Importing PyTorch and its libraries makes over 500,000 objects that all stay, and Python would
    search them after every 700 new ones: a twentieth of the time to the first picture. After the
    pause, they count as old, so the next collection does not search them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # objects that others froze stay frozen
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()


@gc_paused()
def load(
    preset: str | None = None,
    *,
    recipe: "str | Recipe | None" = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    cache_mib: float | None = None,
    **choices: Unpack[Choices],
) -> "Session":
    """Load a preset by name, or a recipe; without either the embedded model, mini.

    Args:
        preset: One of `swiftpie presets`.
        recipe: One of `swiftpie recipes`, or a `Recipe`, instead of a preset. It chooses a preset
            and its further weights.
        device: A torch device, as "cpu" or "cuda". "auto" is the best one of this machine, and the
            processor for networks as small as those of mini.
        engine: Transforms that save time or memory, any of `swiftpie engine`, or "auto". By
            default there are none, so the first picture waits for no export, and pictures are the
            same to the last bit whatever is installed. Networks that are too large for their
            device are offloaded in any case, which changes no picture.
        cache_mib: Limit in MiB of what is kept for later calls; see `Session`.
        **choices: What to load in place of networks of the preset, or in addition: `weights`,
            `base`, `adapter`, `image_encoder`, `inversion` are paths; `steps`,
            `dtype`, `allow_pickle` and `offline` are settings. See `swiftpie.backbones.choices`.

    Raises:
        ConfigError: No such preset, recipe or transform, preset and recipe together, a choice that
            the preset does not have, or a negative limit of the cache.
        CapabilityError: A transform cannot be applied to these networks.
        WeightsError: Weights are missing, damaged or of another model.
        MissingExtra: The preset or a transform needs a package that is not installed.
    """
    from swiftpie.engine.plan import load_session

    limit = {} if cache_mib is None else {"cache_mib": cache_mib}
    return load_session(preset, recipe=recipe, device=device, engine=engine, **limit, **choices)
