"""Batches of the world: pictures, references, captions and all that is known of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import Layout
from swiftpie.geometry.relief import Turned, normals, turn
from swiftpie_world.accessories import ACCESSORIES, open_wardrobe
from swiftpie_world.air import Setting
from swiftpie_world.captions import (
    AS_USUAL,
    NONE,
    SceneSpec,
    SpecShares,
    draw_caption,
    draw_empty_caption,
    draw_pair_caption,
    draw_spec,
)
from swiftpie_world.compositor import (
    GroundTruth,
    PlacedSprite,
    Rendering,
    base_of,
    render,
    render_on,
)
from swiftpie_world.grounds import DrawnGround, draw_ground
from swiftpie_world.lighting import REFERENCE_NUMBERS, Light, light_of_reference, opposite_numbers
from swiftpie_world.photographs import (
    Insertion,
    Scenery,
    Sight,
    bystanders,
    draw_scenery,
    insert_subject,
)
from swiftpie_world.placement import place, side_by_side
from swiftpie_world.places import PLACES, is_held_out, settings
from swiftpie_world.references import (
    SUBJECT_NUMBERS,
    draw_references,
    other_side,
    subject_frames,
    subject_relief,
)
from swiftpie_world.subjects import Split, Subjects

NOISE_CHANNELS, NOISE_CELLS = 32, (16, 16)  # the shape that models of 128 px read
CELL_PX = 8  # pixels of a picture to a side of a latent cell
SMALLEST_PX = 128
LEAST_SEEN = 0.01  # less of a subject, as a share of the picture, cannot be recognised
LEAST_CHANGE = 0.06  # pixels that differ less, in [-1, 1], look the same
CAPTIONS_A_SUBJECT = 12  # captions of each subject that a tokenizer learns from


@dataclass(frozen=True, eq=False)
class WorldBatch:
    """G subjects in V pictures each; rows i * V to (i + 1) * V of B show subject i."""

    noise: Tensor  # (B, 32, R / 8, R / 8)
    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    mask: Tensor  # (B, 1, R, R) in [0, 1], visible subject and accessory
    background: Tensor  # (B, 3, R, R) in [-1, 1], the picture without its subject
    worn: Tensor  # (B, 1, R, R) in [0, 1], accessories where they stand out of the subject
    layout: Layout
    captions: list[str]
    reference: Tensor  # (G, 3, R, R) in [-1, 1]
    reference_mask: Tensor  # (G, 1, R, R) in [0, 1]
    frames: Tensor  # (G, 4, 128, 128) subjects as they are, before pose and look
    relief: Tensor  # (G, 1, h, w) their heights
    subject: Tensor  # (B,) long, row of the subject in `Subjects`
    specs: tuple[SceneSpec, ...]  # one a row
    light: Light
    reference_light: Light  # light of the references, (G, …)
    companion_mask: Tensor  # (B, 1, R, R) in [0, 1], the second subject, 0 if there is none
    companion_layout: Layout | None  # its place; it is the subject of the V pictures before
    is_off_distribution: bool = False  # the pictures show no place of the world

    @property
    def touched(self) -> Tensor:
        """Return the region that changes when the subject is added or removed, (B, 1, R, R).

        It covers the subject, its shadow and all that a rendition draws differently because of it.
        """
        change = (self.pixels - self.background).abs().amax(dim=1, keepdim=True)
        return torch.maximum(self.mask, (change > LEAST_CHANGE).to(change))

    def empty_caption(self, random: Random, row: int) -> str:
        """Describe the place of a row without its subject."""
        return draw_empty_caption(
            random, None if self.is_off_distribution else self.specs[row].setting
        )


@dataclass(frozen=True, eq=False)
class PlacedSubjects:
    """G subjects in V places each, of which nothing is drawn; rows as of `WorldBatch`."""

    noise: Tensor  # (B, 32, 16, 16)
    frames: Tensor  # (G, 4, 128, 128)
    layout: Layout
    captions: list[str]
    specs: tuple[SceneSpec, ...]


class World:
    """Draws batches of one half of the subjects on one device."""

    def __init__(
        self,
        subjects: Subjects,
        split: Split = "train",
        *,
        size_px: int = 128,
        device: str | torch.device = "cpu",
        surfaces: Tensor | None = None,
        shares: SpecShares = AS_USUAL,
    ) -> None:
        """Take one half of the subjects; the training half excludes held-out settings.

        Args:
            subjects: The whole pack.
            split: Which half.
            size_px: Side of the pictures.
            device: Where everything is drawn.
            surfaces: Textures (T, 3, t, t) in 8 bit for off-distribution pictures.
            shares: How often pictures have each attribute.

        Raises:
            ConfigError: The pack lacks an accessory, or the size is not a multiple of 128 px.
        """
        if size_px % SMALLEST_PX:
            raise ConfigError(
                f"size_px is {size_px}. The world is drawn from noise for {SMALLEST_PX} px and "
                f"multiples of it. Choose one of them."
            )
        self.subjects = subjects
        worn = {accessory.code for accessory in ACCESSORIES}
        self.pool = [i for i in subjects.indices(split) if subjects.codes[i] not in worn]
        self.size_px, self.shares = size_px, shares
        self.tiles = subjects.tiles.to(device)
        self.surfaces = None if surfaces is None else surfaces.to(device)
        self.wardrobe = open_wardrobe(subjects.sprite, device)
        self.settings = [
            setting for setting in settings() if split == "held_out" or not is_held_out(setting)
        ]
        self._by_place = [
            [setting for setting in self.settings if setting.place == index]
            for index in range(len(PLACES))
        ]
        self._with_floor = [setting for setting in self.settings if PLACES[setting.place].grounded]

    def batch(
        self,
        num_subjects: int,
        views: int,
        *,
        seed: int,
        augment: bool = True,
        free_places: bool = False,
        pairs: bool = False,
        off_distribution: bool = False,
        specs: Sequence[SceneSpec] | None = None,
    ) -> WorldBatch:
        """Draw `views` pictures of each of `num_subjects`; the seed decides everything.

        Args:
            num_subjects: Distinct ones as long as the split has so many.
            views: Pictures of each subject; they share one reference.
            seed: The same seed gives the same batch, on devices of one kind.
            augment: Turn, mirror and recolour subjects now and then.
            free_places: Place subjects by other noise than the picture's own.
            pairs: Draw two subjects, placed freely; the second is that of the pictures before.
            off_distribution: Draw pictures that look like no place and follow from no noise. Their
                settings decide only how high subjects stand, and captions do not mention them.
            specs: What each picture shows; drawn if not given.

        Raises:
            ConfigError: `off_distribution` needs surfaces, and this world has none; or the pack has
                no subject of this half.
        """
        if not self.pool:
            raise ConfigError(
                f"None of the {len(self.subjects.codes)} subjects of the pack is for this half. "
                "Build the whole pack with `swiftpie data prepare`."
            )
        device = self.tiles.device
        random, generator = Random(seed), torch.Generator(device).manual_seed(seed)
        draw = random.sample if num_subjects <= len(self.pool) else random.choices
        chosen, count = draw(self.pool, k=num_subjects), num_subjects * views
        if specs is None:
            places = self._settings(random, count, off_distribution=off_distribution)
            specs = [draw_spec(random, setting, self.shares) for setting in places]
        if off_distribution:
            specs = [replace(spec, rendition=NONE) for spec in specs]
        if pairs:
            specs = [SceneSpec(spec.setting, rendition=spec.rendition) for spec in specs]
        cells = self.size_px // CELL_PX
        shape = (3, count, NOISE_CHANNELS, cells, cells)
        noise, other, third = torch.randn(shape, generator=generator, device=device)
        numbers = torch.rand(num_subjects, SUBJECT_NUMBERS, generator=generator, device=device)
        rows = torch.arange(num_subjects, device=device).repeat_interleave(views)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):  # places need all bits
            frames = subject_frames(self.tiles[chosen], numbers, augment=augment)
            relief = subject_relief(frames, numbers)
            shown, heights = frames[rows], relief[rows]
            layout = place(
                other if free_places or pairs or off_distribution else noise, shown, specs
            )
            subject, companion = PlacedSprite(shown, heights, layout), None
            if pairs:
                layout, beside = side_by_side(layout, shown, specs, third)
                subject = subject._replace(layout=layout)
                companion = PlacedSprite(shown.roll(views, 0), heights.roll(views, 0), beside)
            if off_distribution:
                ground = self._ground(subject, seed)
                others = bystanders(subject, third, views)
                rendering = render_on(ground, subject, specs, self.wardrobe, bystanders=others)
            else:
                rendering = self.draw(noise, subject, specs, companion=companion)
            reference, reference_mask = self._references(frames, relief, numbers)
        names = [self.subjects.names[i] for i in chosen]
        captions = [
            draw_pair_caption(random, spec, names=(names[g], names[(g - 1) % num_subjects]))
            if pairs
            else self._caption(random, spec, chosen[g], says_where=not off_distribution)
            for g, spec in zip(rows.tolist(), specs, strict=True)
        ]
        return WorldBatch(
            noise=noise,
            pixels=rendering.pixels,
            mask=rendering.mask,
            background=rendering.background,
            worn=rendering.worn,
            layout=subject.layout,
            captions=captions,
            reference=reference,
            reference_mask=reference_mask,
            frames=frames,
            relief=relief,
            subject=torch.tensor(chosen, device=device)[rows],
            specs=tuple(specs),
            light=rendering.light,
            reference_light=light_of_reference(numbers[:, -REFERENCE_NUMBERS:]),
            companion_mask=rendering.companion_mask,
            companion_layout=None if companion is None else companion.layout,
            is_off_distribution=off_distribution,
        )

    def placed(self, num_subjects: int, views: int, *, seed: int) -> PlacedSubjects:
        """Place subjects as `batch` does, and draw no picture."""
        random, device = Random(seed), self.tiles.device
        generator = torch.Generator(device).manual_seed(seed)
        chosen, count = random.choices(self.pool, k=num_subjects), num_subjects * views
        specs = [
            draw_spec(random, setting, self.shares) for setting in self._settings(random, count)
        ]
        noise = torch.randn(count, NOISE_CHANNELS, *NOISE_CELLS, generator=generator, device=device)
        numbers = torch.rand(num_subjects, SUBJECT_NUMBERS, generator=generator, device=device)
        frames = subject_frames(self.tiles[chosen], numbers, augment=True)
        layout = place(noise, frames.repeat_interleave(views, dim=0), specs)
        captions = [
            self._caption(random, spec, chosen[row // views]) for row, spec in enumerate(specs)
        ]
        return PlacedSubjects(noise, frames, layout, captions, tuple(specs))

    def _caption(
        self, random: Random, spec: SceneSpec, index: int, *, says_where: bool = True
    ) -> str:
        return draw_caption(
            random,
            spec,
            name=self.subjects.names[index],
            synonyms=self.subjects.synonyms[index],
            says_where=says_where,
        )

    def answer(
        self,
        noise: Tensor,
        chosen: Sequence[int],
        specs: Sequence[SceneSpec],
        *,
        numbers: Tensor,
        opposed: bool = False,
    ) -> GroundTruth:
        """Draw what belongs to given noise, each picture with a reference of its own.

        Args:
            noise: Standard normal, (B, 32, R / 8, R / 8).
            chosen: Rows of the subjects, drawn as they are.
            specs: What each picture shows.
            numbers: Uniform in [0, 1], (B, 16): roundness, and the reference's wall and light.
            opposed: Light references strongly from the side opposite to the picture's light.
        """
        subject = self.figures(noise, chosen, specs, numbers=numbers)
        rendering = self.draw(noise, subject, specs)
        if opposed:
            against = opposite_numbers(rendering.light, subject.layout)
            numbers = torch.cat([numbers[:, :-REFERENCE_NUMBERS], against], dim=1)
        reference = self._references(subject.frames, subject.relief, numbers)
        return GroundTruth(rendering, subject.layout, *reference)

    def figures(
        self, noise: Tensor, chosen: Sequence[int], specs: Sequence[SceneSpec], *, numbers: Tensor
    ) -> PlacedSprite:
        """Return subjects as they are, where `noise` places them; see `answer`."""
        frames = subject_frames(self.tiles[list(chosen)], numbers, augment=False)
        return PlacedSprite(frames, subject_relief(frames, numbers), place(noise, frames, specs))

    def draw(
        self,
        noise: Tensor,
        subject: PlacedSprite,
        specs: Sequence[SceneSpec],
        *,
        companion: PlacedSprite | None = None,
    ) -> Rendering:
        """Draw one picture a row with the subject at its layout; see `render`."""
        with torch.no_grad(), torch.autocast(noise.device.type, enabled=False):
            return render(
                noise, subject, specs, self.wardrobe, size_px=self.size_px, companion=companion
            )

    def insert(
        self, photo: Tensor, chosen: Sequence[int], *, seed: int, sight: Sight | None = None
    ) -> Insertion:
        """Put one subject into a photograph, upright, as a whole and seen as in its reference.

        Without a `sight`, smaller bystanders are in it already; their shading shows the light.

        Args:
            photo: The picture (1, 3, R, R) in [0, 1].
            chosen: Rows of the subject and of the bystanders.
            seed: Decides place, light, roundness and reference.
            sight: Where a subject stands in it and in what light, if that is known.
        """
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, 1, NOISE_CHANNELS, *NOISE_CELLS, generator=generator)
        return insert_subject(
            photo,
            self.tiles[list(chosen)],
            self.wardrobe,
            setting=self._with_floor[0],
            noise=noise,
            numbers=torch.rand(len(chosen), SUBJECT_NUMBERS, generator=generator),
            reference_px=self.size_px,
            seed=seed,
            sight=sight,
        )

    def scenery(self, count: int, *, seed: int) -> Scenery:
        """Draw off-distribution pictures with bystanders and a gap in place of each subject.

        Args:
            count: How many.
            seed: The same seed gives the same pictures, on devices of one kind.

        Raises:
            ConfigError: As of `batch`.
        """
        random, device = Random(seed), self.tiles.device
        generator = torch.Generator(device).manual_seed(seed)
        specs = [
            SceneSpec(setting) for setting in self._settings(random, count, off_distribution=True)
        ]
        shape = (2, count, NOISE_CHANNELS, *NOISE_CELLS)
        noise, other = torch.randn(shape, generator=generator, device=device)
        numbers = torch.rand(count, SUBJECT_NUMBERS, generator=generator, device=device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            chosen = random.choices(self.pool, k=count)
            frames = subject_frames(self.tiles[chosen], numbers, augment=True)
            relief = subject_relief(frames, numbers)
            subject = PlacedSprite(frames, relief, place(noise, frames, specs))
            ground = self._ground(subject, seed)
            return draw_scenery(ground, subject, specs, self.wardrobe, noise=other, numbers=numbers)

    def corpus(self) -> Iterator[str]:
        """Yield captions of all subjects, of both halves, for a tokenizer to learn from."""
        random, subjects = Random(0), self.subjects
        for name, synonyms in zip(subjects.names, subjects.synonyms, strict=True):
            for setting in self._settings(random, CAPTIONS_A_SUBJECT):
                specs = draw_spec(random, setting)
                yield draw_caption(random, specs, name=name, synonyms=synonyms)

    def draw_specs(self, count: int, *, seed: int) -> list[SceneSpec]:
        """Draw the specs of `count` pictures, as `batch` does by itself."""
        random = Random(seed)
        return [
            draw_spec(random, setting, self.shares) for setting in self._settings(random, count)
        ]

    def _settings(
        self, random: Random, count: int, *, off_distribution: bool = False
    ) -> list[Setting]:
        if off_distribution:
            return random.choices(self._with_floor, k=count)
        # Half as many as pictures, so that rows are drawn together; every place equally often.
        places: list[int] = []
        while len(places) < count:
            places += random.sample(range(len(PLACES)), len(PLACES))
        half = places[: math.ceil(count / 2)]
        return [random.choice(self._by_place[place]) for place in (half * 2)[:count]]

    def _ground(self, subject: PlacedSprite, seed: int) -> DrawnGround:
        if self.surfaces is None:
            raise ConfigError(
                "Off-distribution pictures need surfaces, and this world has none. Pass some: "
                "World(subjects, surfaces=make_textures(...))."
            )
        base, pool = base_of(subject.frames, subject.layout), self.tiles[self.pool]
        return draw_ground(
            pool, self.surfaces, base=base, layout=subject.layout, size_px=self.size_px, seed=seed
        )

    def other_sides(self, batch: WorldBatch, *, seed: int) -> tuple[Tensor, Tensor]:
        """Return a second reference of each subject, from another side and in another light.

        Pixels (G, 3, R, R) in [-1, 1] and masks (G, 1, R, R), as `batch` has the first ones.
        """
        generator = torch.Generator(self.tiles.device).manual_seed(seed)
        size = (len(batch.frames), SUBJECT_NUMBERS)
        numbers = torch.rand(size, generator=generator, device=self.tiles.device)
        with torch.no_grad(), torch.autocast(self.tiles.device.type, enabled=False):
            return self.seen_in(other_side(numbers), batch.frames, batch.relief, numbers)

    def seen_in(
        self, pose: Tensor, frames: Tensor, relief: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return references, see `references`, of subjects that are turned to a `pose` (B, 4)."""
        turned = turn(frames, relief, pose)
        return draw_references(turned, numbers, size_px=self.size_px)

    def references(self, chosen: Sequence[int], numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return a reference of each row of `chosen`: pixels (B, 3, R, R) and masks (B, 1, R, R).

        Roundness, wall and light follow from `numbers`, uniform in [0, 1], (B, 16).
        """
        frames = subject_frames(self.tiles[list(chosen)], numbers, augment=False)
        with torch.no_grad():
            return self._references(frames, subject_relief(frames, numbers), numbers)

    def _references(self, frames: Tensor, relief: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        turned = Turned(frames, relief, normals(relief))
        return draw_references(turned, numbers, size_px=self.size_px)
