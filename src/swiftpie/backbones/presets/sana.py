"""SANA-Sprint: 1024 px in one to four steps, from words alone."""

from functools import partial

from swiftpie.backbones.presets import Capability, Preset, Recipe, Use, trigflow
from swiftpie.registry import by_name

_preset = partial(
    Preset,
    # As the cards say; the text allows no commercial use, and NVIDIA's processors alone.
    licence="NSCL v2-custom, non-commercial; Gemma's terms for the text encoder",
    is_commercial=False,
    family="sana",
    networks=("transformer", "vae", "text_encoder"),
    image_size_px=1024,
    timesteps=trigflow(2),
    more_steps=(1, 3, 4),
    spacing="trigflow",
    prediction_type="flow",
    noise_scale="flow",
    renoise="lcm",  # all noise is fresh
    latent_channels=32,
    latent_cell_px=32,
    capabilities=frozenset({Capability.TEXT}),
)

PRESETS = by_name(
    _preset(
        name="sana-sprint-0.6b",
        summary="1 to 4 steps from words alone, linear attention, cells of 32 px; 0.6 billion.",
        source="hub:Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers",
    ),
    _preset(
        name="sana-sprint-1.6b",
        summary="As sana-sprint-0.6b, with 1.6 billion numbers in the transformer.",
        source="hub:Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
    ),
)

RECIPES = by_name(
    Recipe(
        name="sana-sprint",
        summary="1024 px from words alone in 2 steps, or 1 to 4; for non-commercial use only.",
        preset="sana-sprint-0.6b",
        use=Use.TEXT,
        weights="Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers@a7d9fc31dd5c3f5e22dbfd78360777ceed56ae97",
    )
)
