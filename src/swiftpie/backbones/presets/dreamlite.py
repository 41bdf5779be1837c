"""DreamLite-mobile: a U-Net of 0.39 billion numbers in four steps, which edits too, at 1024 px."""

from swiftpie.backbones.presets import Capability, Preset, Recipe, shifted
from swiftpie.registry import by_name

CELL_PX = 8
CELLS_A_TOKEN = 4  # of those that the shift was fitted to
FEW, MANY = (256, 0.5), (4096, 1.15)  # tokens of a picture, and its shift


def flow_times(num_steps: int, num_cells: int) -> tuple[float, ...]:
    """Return times in (0, 1000], falling, for a picture of so many cells.

    Larger pictures stay noisy for longer: the shift is a straight line in the number of cells.
    """
    slope = (MANY[1] - FEW[1]) / (MANY[0] - FEW[0])
    tokens = num_cells // CELLS_A_TOKEN
    return shifted(num_steps, FEW[1] + slope * (tokens - FEW[0]))


PRESETS = by_name(
    Preset(
        name="dreamlite-mobile",
        summary="4 steps, draws and edits by a sentence, 0.39 B; 5.0 GB to fetch, most of it text.",
        source="hub:carlofkl/DreamLite-mobile@diffusers",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        family="dreamlite",
        image_size_px=1024,
        timesteps=flow_times(4, (1024 // CELL_PX) ** 2),
        prediction_type="flow",
        noise_scale="flow",
        latent_cell_px=CELL_PX,
        capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
        detail="joint",
    )
)

RECIPES = by_name(
    Recipe(
        name="dreamlite",
        summary="Edits by a sentence, 1024 px in 4 steps within 8 GB; one picture of a subject.",
        preset="dreamlite-mobile",
        weights="carlofkl/DreamLite-mobile@6695c3f4be230f0493fa5dbf78be3bc4d3bb2ab4",
        detail="joint",
    )
)
