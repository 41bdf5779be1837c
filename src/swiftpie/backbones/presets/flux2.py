"""FLUX.2 [klein] 4B: a transformer of 4 billion numbers in four steps, at 1024 px."""

from swiftpie.backbones.presets import Capability, Preset, Recipe, shifted
from swiftpie.registry import by_name

CELL_PX = 16


def flow_times(num_steps: int, num_cells: int) -> tuple[float, ...]:
    """Return times in (0, 1000], falling, for a picture of so many cells.

    Larger pictures stay noisy for longer: the shift was fitted by the authors to cells and steps.
    """
    few, many = 8.73809524e-05 * num_cells + 1.89833333, 0.00016927 * num_cells + 0.45666666
    slope = (many - few) / 190  # between 10 and 200 steps
    return shifted(num_steps, many if num_cells > 4300 else slope * num_steps + many - 200 * slope)


PRESETS = by_name(
    Preset(
        name="flux2-klein-4b",
        summary="4 steps, up to eight reference pictures as tokens; 16 GB to fetch.",
        source="hub:black-forest-labs/FLUX.2-klein-4B",
        licence="Apache-2.0",
        is_commercial=True,
        family="flux2",
        networks=("transformer", "vae", "text_encoder"),
        image_size_px=1024,
        timesteps=flow_times(4, (1024 // CELL_PX) ** 2),
        prediction_type="flow",
        noise_scale="flow",
        latent_channels=128,
        latent_cell_px=CELL_PX,
        capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
        detail="joint",
    )
)

RECIPES = by_name(
    Recipe(
        name="klein",
        summary="1024 px in 4 steps, up to eight pictures of a subject; every part is Apache-2.0.",
        preset="flux2-klein-4b",
        weights="black-forest-labs/FLUX.2-klein-4B@e7b7dc27f91deacad38e78976d1f2b499d76a294",
        detail="joint",
    )
)
