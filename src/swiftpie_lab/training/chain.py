"""The runs that train all weights of the package from nothing, in order, and what each costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from swiftpie.config import override
from swiftpie_lab.training.loop import ContinuesRuns, TrainConfig
from swiftpie_lab.training.recipes import mini as recipes

MINI = "swiftpie/assets/mini"
JUDGES = "swiftpie_lab/assets/judges"
MINUTE_H = 1 / 60


@dataclass(frozen=True)
class ChainRun:
    """One run of the chain.

    Its settings name the earlier runs that it goes on from, as `stage.start=model_128`.
    """

    name: str  # of its folder, and as later runs read it
    recipe: Callable[[], TrainConfig]
    settings: tuple[str, ...]  # as `swiftpie train --set` takes them
    core_hours: float  # of the packaged weights, as the cards tell them; one core, all steps
    ships: tuple[tuple[str, str], ...] = ()  # folders of its export, and what they are in src/

    @property
    def is_judge(self) -> bool:
        """Whether it trains what judges pictures, and nothing that draws them."""
        return bool(self.ships) and all(target.startswith(JUDGES) for _, target in self.ships)

    @property
    def recipe_name(self) -> str:
        """As `swiftpie train` takes it."""
        return self.recipe.__name__.replace("_", "-")

    def configured(self, *, scale: float = 1.0, overrides: Sequence[str] = ()) -> TrainConfig:
        """Return the settings of the run, with that share of its steps.

        Raises:
            ConfigError: A setting does not exist, or its value has the wrong type.
        """
        config = override(self.recipe(), [*self.settings, *overrides])
        steps = max(1, round(config.loop.steps * scale))
        return replace(config, loop=replace(config.loop, steps=steps))

    def reads(self) -> tuple[str, ...]:
        """Return the runs of the chain that this one goes on from."""
        stage = self.configured().stage
        sources = stage.sources if isinstance(stage, ContinuesRuns) else ()
        return tuple(source for source in sources if source in RUNS)


def shipped_as(*parts: str, folder: str) -> tuple[tuple[str, str], ...]:
    """Parts of an export that lie in `folder` by their own names."""
    return tuple((part, str(PurePosixPath(folder) / part)) for part in parts)


# Where the packaged weights took another way, docs/speedrun.md says so.
CHAIN = (
    ChainRun(
        "autoencoder", recipes.world_autoencoder, ("stage.start=", "loop.steps=2300"), 20 * MINUTE_H
    ),
    ChainRun(
        "model_128", recipes.mini_world, ("stage.autoencoder=autoencoder", "loop.steps=8500"), 9
    ),
    ChainRun("light", recipes.world_light, ("stage.start=model_128", "loop.steps=2550"), 2),
    ChainRun(
        "model_256",
        recipes.mini_world,
        ("stage.start=light", "stage.size_px=256", "loop.steps=500"),
        80 * MINUTE_H,
    ),
    ChainRun(
        "model_both",
        recipes.mini_world,
        ("stage.start=model_256", "stage.grown_share=0.35", "loop.steps=360"),
        40 * MINUTE_H,
    ),
    ChainRun(
        "sharpening",
        recipes.world_sharpening,
        ("stage.model.start=model_both", "stage.model.grown_share=0.45", "loop.steps=400"),
        1,
    ),
    ChainRun(
        "renditions",
        recipes.world_sharpening,
        (
            *("stage.model.start=sharpening", "stage.model.grown_share=0.75", "loop.steps=325"),
            *("stage.model.shares.rendition=0.42", "stage.model.shares.accessory=0.38"),
            "stage.model.shares.look=0.34",
        ),
        75 * MINUTE_H,
    ),
    ChainRun(
        "semantic",
        recipes.world_semantic,
        ("stage.start=renditions", "loop.steps=1330"),
        40 * MINUTE_H,
    ),
    ChainRun(
        "semantic_sharpening",
        recipes.world_semantic_sharpening,
        ("stage.model.start=semantic", "loop.steps=530"),
        75 * MINUTE_H,
    ),
    ChainRun(
        "layout",
        recipes.world_layout,
        ("stage.start=semantic_sharpening", "loop.steps=1200"),
        20 * MINUTE_H,
        shipped_as(
            *("autoencoder", "denoiser", "image_encoder", "layout_predictor"),
            *("text_encoder", "tokenizer"),
            folder=MINI,
        ),
    ),
    ChainRun(
        "inversion_128",
        recipes.world_inversion,
        ("stage.generator=layout", "loop.steps=1600"),
        50 * MINUTE_H,
    ),
    ChainRun(
        "inversion_256",
        recipes.world_inversion,
        (
            *("stage.generator=layout", "stage.start_from=inversion_128", "loop.steps=950"),
            *("stage.scenes.size_px=256", "stage.scenes.num_subjects=4"),
        ),
        2,
        shipped_as("inversion", folder=MINI),
    ),
    ChainRun(
        "scene",
        recipes.world_scene,
        ("stage.autoencoder=autoencoder", "loop.steps=16000"),
        2.5,
        shipped_as("scene", folder="swiftpie/assets"),
    ),
    ChainRun(
        "cutout",
        recipes.mini_cutout,
        ("loop.steps=1900",),
        25 * MINUTE_H,
        shipped_as("cutout", folder="swiftpie/assets"),
    ),
    ChainRun(
        "judges",
        recipes.world_judges,
        ("loop.steps=7100",),
        4,
        shipped_as("subject_embedder", "picture_reader", folder=JUDGES),
    ),
)
RUNS = {run.name: run for run in CHAIN}


def parts_of_package() -> dict[str, ChainRun]:
    """Return the folders of weights below src/ and the run that each comes from."""
    return {target: run for run in CHAIN for _, target in run.ships}
