"""Draws subjects into scenes with exported graphs and numpy."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.backbones.presets import PRESETS, Preset
from swiftpie.engine.onnx import frame
from swiftpie.engine.onnx.graphs import (
    DRAW,
    IDENTITY,
    PIXELS,
    PLACE,
    SUBJECT_MASK,
    TEXT,
    Graph,
    Graphs,
)
from swiftpie.engine.onnx.scene import SceneGraphs, scene_of
from swiftpie.errors import WeightsError
from swiftpie.imageio.cutout import CutoutMethod
from swiftpie.imageio.decoding import Source, load_image
from swiftpie.library import Named, origin_of
from swiftpie.library import packaged as packaged_library
from swiftpie.models.vocabulary import Vocabulary
from swiftpie.pipelines.drawing.settings import BALANCE_OF_IDENTITY, BALANCE_OF_TEXT, Scales
from swiftpie.pipelines.naming import names_people, people_warning
from swiftpie.scenes import OWN_PICTURE, WORDS_ALONE, plainly, read_setting
from swiftpie.scenes import packaged as packaged_scenes
from swiftpie.types import Cutout, IdentityBranch
from swiftpie.validation import Box, check_box, check_prompts, seeds_from

if TYPE_CHECKING:
    from torch import Tensor

    from swiftpie.geometry.layout import Layout

logger = logging.getLogger(__name__)

Array = NDArray[Any]
ASSETS = Path(__file__).parents[2] / "assets"

STATE_WORDS = 624
SEEDING_FACTOR = 1812433253  # of the twister's authors
WORD = 0xFFFFFFFF
UNIFORM_BITS = 24
BLOCK = 16


@dataclass(frozen=True, eq=False)
class OnnxIdentity:
    """An encoded subject in numpy; `Identity` is its counterpart in PyTorch."""

    features: Mapping[str, Array]  # by the names of the graphs' tensors
    cutouts: tuple[Cutout, ...]
    named: Named | None = None  # the word and name of a subject of the library


@dataclass(frozen=True, eq=False)
class OnnxResult:
    """Finished pictures with the fields of `GenerationResult`; tensors are made on first use."""

    images: tuple[Image.Image, ...]
    subject_masks: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    places: Array  # (B, 9): centre, scale, rotation, flip and pose
    cells: tuple[int, int]  # of the latents
    branches: tuple[IdentityBranch, ...]
    cutouts: tuple[tuple[Cutout, ...], ...]
    timings_ms: Mapping[str, float]
    engine: str  # the runtime
    named: tuple[Named, ...] = ()
    scene: str | None = None  # the names of the scenes
    tensor: None = None

    @property
    def origin(self) -> dict[str, str]:
        """Names of the library; there is neither a recipe nor another decoder."""
        return origin_of(self.named) | ({} if self.scene is None else {"scene": self.scene})

    @property
    def regions(self) -> "Tensor":
        """What rescaling used, (B, 1, h, w): everywhere, as nobody said where the subject is."""
        import torch

        return torch.ones(len(self.images), 1, *self.cells)

    @property
    def layouts(self) -> "tuple[Layout, ...]":
        """Where the subject was placed, one row a picture."""
        import torch

        from swiftpie.geometry.layout import Layout

        rows = torch.from_numpy(self.places)
        centre, scale, rotation, flip, pose = rows.split((2, rows.shape[1] - 8, 1, 1, 4), dim=1)
        scale = scale if scale.shape[1] == 2 else scale[:, 0]
        return (Layout(centre, scale, rotation[:, 0], flip[:, 0], pose),)


class OnnxModel:
    """An exported model that draws; threads may share it."""

    def __init__(self, graphs: Graphs, cutout: Graph) -> None:
        self.graphs = graphs
        self._cutout, self._scenes = cutout, SceneGraphs(ASSETS, graphs.runtime)

    @property
    def preset(self) -> Preset:
        """The exported preset."""
        return PRESETS.get(self.graphs.sheet.preset)

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The words that the model was taught."""
        return Vocabulary.stored(self.graphs.sheet.taught)

    def open_soon(self) -> None:
        """Start to open all graphs in other threads."""
        for name in (IDENTITY, DRAW, TEXT):  # many pictures need no network to be cut out
            self.graphs[name].open_soon()

    def encode_identity(self, picture: Source, *, whole: bool = False) -> OnnxIdentity | None:
        """Return the subject of a picture, all of it with `whole`, or None if that is in doubt."""
        image = load_image(picture)
        found: frame.SubjectMask | None = None
        if whole:
            found = frame.SubjectMask(
                np.ones((image.height, image.width), np.float32), CutoutMethod.NONE, None
            )
        else:
            found = frame.find(image, lambda view: self._cutout({"view": view})["logits"])
        if found is None or not (found.mask > 0.5).any():
            return None
        pixels, mask = frame.fit(
            image,
            found.mask,
            size_px=self.graphs.sheet.frame_px,
            fill=1.0 if whole else frame.SUBJECT_FILL,
        )
        frames = {"pixels": pixels, "mask": mask}
        features = {**frames, **self.graphs[IDENTITY](frames)}
        return OnnxIdentity(features, (Cutout(found.way, found.confidence),))

    def named(self, word: str) -> OnnxIdentity:
        """Return a subject of the library; see `Session.named`.

        Raises:
            NobodyNamed: There is none of this name.
        """
        library = packaged_library()
        who = library.find(word)
        identity = self.encode_identity(library.image(who.name))
        assert identity is not None, "sprites are cut out"
        return replace(identity, named=who)

    def personalize(
        self,
        identity: OnnxIdentity,
        prompt: str,
        *,
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        box: Box | None = None,
        scene: "Image.Image | str" = "",
    ) -> OnnxResult:
        """Draw the subject into the scene of `prompt`; see `Session.personalize`.

        Raises:
            InputError: The prompt is empty or a number is out of range.
            WeightsError: The drawn pixels are not finite.
        """
        check_prompts(prompt)
        seeds = seeds_from(seed, num_images)
        chosen = scales or Scales.of(self.preset)
        known, shown = self.vocabulary, prompt
        if scene != WORDS_ALONE:
            shown = packaged_scenes().in_known_words(prompt)
        if known is not None and (strange := known.unknown_in(shown)):
            logger.warning(known.advice_on(strange, preset=self.preset.name))
        if identity.named is not None and names_people(identity.named.name):
            logger.warning(people_warning(self.preset.name))
        clock = _Clock()
        drawn = prompt if scene else packaged_scenes().with_place(prompt)
        inputs = {**self.graphs.defaults(), **identity.features, **_inputs(chosen)}
        if box is not None:
            inputs["box"] = np.array([check_box(box)], np.float32)
            inputs["has_box"] = np.ones(1, np.float32)
        if scene != WORDS_ALONE:
            self._scenes.open_soon(read_setting(prompt))
            named = identity.named
            drawn = plainly(drawn, names={} if named is None else {named.word: named.name})
        inputs |= self.graphs.read(drawn if known is None else known.as_taught(drawn))
        clock.lap("text")
        count, _, *shape = self.graphs.sheet.graphs[DRAW].inputs["noise"].shape
        rows, names = [], []
        for number in seeds:  # each alone, so that it is the same in every batch
            noise = draw_noise(number, tuple(shape), count=count)
            row = self.graphs[DRAW]({**inputs, "noise": noise})
            clock.lap("draw")
            place = scene_of(scene, prompt, noise[0])
            if place is not None:
                row = self._scenes.finish(row, place, noise[0])
                names.append(place.name or OWN_PICTURE)
                clock.lap("scene")
            rows.append(row)
        if not all(np.isfinite(row[PIXELS]).all() for row in rows):
            raise WeightsError(
                f"Preset {self.preset.name!r} drew infinite or NaN values with "
                f"{self.graphs.runtime}, so its weights are damaged. Reinstall SwiftPie."
            )
        images = tuple(_picture(row[PIXELS]) for row in rows)
        masks = tuple(_mask(row[SUBJECT_MASK]) for row in rows)
        clock.lap("decode")
        return OnnxResult(
            images=images,
            subject_masks=masks,
            seeds=seeds,
            places=np.concatenate([row[PLACE] for row in rows]),
            cells=(shape[1], shape[2]),
            branches=_branches(chosen),
            cutouts=(identity.cutouts,),
            timings_ms=clock.timings(),
            engine=self.graphs.runtime,
            named=() if identity.named is None else (identity.named,),
            scene=", ".join(dict.fromkeys(names)) or None,
        )


@cache
def packaged(runtime: str | None = None) -> OnnxModel:
    """Return mini as the package holds it."""
    graphs = Graphs(ASSETS / "mini", runtime=runtime)
    return OnnxModel(graphs, Graph(ASSETS / "cutout" / "cutout.onnx", graphs.runtime))


def _inputs(scales: Scales) -> dict[str, Array]:
    """Return the graph's inputs for scales; the balance is multiplied in."""
    more = 1 + BALANCE_OF_IDENTITY * scales.balance
    factors = {"identity_scale": more, "detail_scale": more}
    factors["text_scale"] = 1 - BALANCE_OF_TEXT * scales.balance
    given = {name: value for name, value in vars(scales).items() if name != "balance"}
    given["energy_cap"] = min(scales.energy_cap, float(np.finfo(np.float32).max))
    return {
        name: np.array([value * factors.get(name, 1.0)], np.float32)
        for name, value in given.items()
    }


def _branches(scales: Scales) -> tuple[IdentityBranch, ...]:
    """Return the branches that could change anything of a picture whose region is everywhere."""
    semantic = [IdentityBranch.SEMANTIC] if scales.identity_scale > 0 else []
    detail = [IdentityBranch.DETAIL, IdentityBranch.ALIGNED] if scales.detail_scale > 0 else []
    return (*semantic, *detail)


def _picture(pixels: Array) -> Image.Image:
    """Return pixels (1, 3, H, W) in [-1, 1] as a picture."""
    planes = np.round((np.clip(pixels[0], -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _mask(mask: Array) -> Image.Image:
    """Return a mask (1, 1, H, W) in [0, 1] as a picture."""
    return Image.fromarray(np.round(np.clip(mask[0, 0], 0, 1) * 255).astype(np.uint8))


class _Clock:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = self._laps.get(name, 0.0) + 1000 * (now - self._last)
        self._last = now

    def timings(self) -> dict[str, float]:
        return {**self._laps, "total": 1000 * (self._last - self._started)}


def draw_noise(seed: int, shape: tuple[int, ...], *, count: int = 1) -> Array:
    """Return `count` draws (count, 1, *shape) of standard normal noise in numpy.

    They are the numbers of `swiftpie.noise.draw_noise`, so a seed means the same picture. PyTorch's
    generator on the CPU is the Mersenne Twister, seeded by the lower 32 bits of a seed. It makes 16
    or more normal numbers from uniform ones of 24 bits, by the method of Box and Muller in blocks
    of 16: cosines in the first half of a block, sines in the second. A draw has 16 numbers or more;
    PyTorch makes fewer in another way.
    """
    generator = _twister(seed)
    draws = [_normals(generator, int(np.prod(shape))) for _ in range(count)]
    return np.stack(draws).reshape(count, 1, *shape)


def _twister(seed: int) -> np.random.MT19937:
    words = [seed & WORD]
    for index in range(1, STATE_WORDS):
        last = words[-1]
        words.append((SEEDING_FACTOR * (last ^ (last >> 30)) + index) & WORD)
    generator = np.random.MT19937()
    key = np.array(words, dtype=np.uint32)
    generator.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": STATE_WORDS}}
    return generator


def _uniforms(generator: np.random.MT19937, count: int) -> Array:
    words = generator.random_raw(count) & ((1 << UNIFORM_BITS) - 1)
    return words.astype(np.float32) * np.float32(2.0**-UNIFORM_BITS)


def _normals(generator: np.random.MT19937, count: int) -> Array:
    assert count >= BLOCK, "fewer numbers are drawn in another way"
    values = _uniforms(generator, count)
    whole = count - count % BLOCK
    values[:whole] = _box_muller(values[:whole])
    if whole < count:  # the last block begins anew, and covers the end of the one before
        values[-BLOCK:] = _box_muller(_uniforms(generator, BLOCK))
    return values


def _box_muller(uniforms: Array) -> Array:
    first, second = np.split(uniforms.reshape(-1, BLOCK), 2, axis=1)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - first))
    angle = np.float32(2 * np.pi) * second
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()
