"""Styles from pictures: subjects drawn as the renderer drew something else, with exact answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from PIL import Image

from swiftpie.imageio.images import to_pil
from swiftpie.pipelines.drawing.request import Subject
from swiftpie_lab.evaluation.benchmarks.world import (
    PLACE_NAMES,
    FirstPhrase,
    WorldBenchmark,
    WorldCase,
    WorldDrawer,
    WorldKind,
    draw_own,
)
from swiftpie_lab.evaluation.bounds import REFERENCES, SUBJECT_MASKS
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.run import File
from swiftpie_lab.world.air import SEASONS, TIMES, WEATHERS
from swiftpie_lab.world.captions import NONE, draw_caption
from swiftpie_lab.world.places import settings

NUM_CASES = 28  # two of each rendition
STYLE_SEED = 2**23  # from the seed of a case to that of its style picture


@dataclass(frozen=True, eq=False)
class StyleBenchmark(WorldBenchmark):
    """Deals cases of art, each with a style picture: another subject elsewhere, in the same art.

    The right picture is the renderer's from the same noise. `words` gets the art in the prompt
    instead of the picture, which a model is made for; `plain` gets neither.
    """

    name: ClassVar = "styles"
    title: ClassVar = "Styles from pictures"
    metrics: ClassVar = ("rendition-accuracy", "subject-recognition", "subject-mistaken")
    candidates: ClassVar = MappingProxyType(
        {"model": "style picture", "words": "words", "plain": "no style", "truth": "truth"}
    )
    strip: ClassVar = MappingProxyType({"reference": "reference", "style": "style", **candidates})
    ranked_by: ClassVar = ("rendition-accuracy",)
    headline: ClassVar = ("rendition-accuracy", "subject-recognition")

    def cases(self, count: int = NUM_CASES) -> list[WorldCase]:
        """Deal `count` cases; every rendition comes as often."""
        return [*self.deal(WorldKind.ART, count)]

    def style(self, case: WorldCase) -> Image.Image:
        """Draw the style picture of a case."""
        random, pool = Random(case.seed), self.world.pool
        other = random.choice([row for row in pool if self.subjects.codes[row] != case.code])
        setting = random.choice([one for one in settings() if PLACE_NAMES[one.place] != case.place])
        shown = replace(
            case,
            code=self.subjects.codes[other],
            seed=case.seed + STYLE_SEED,
            place=PLACE_NAMES[setting.place],
            time=TIMES[setting.time],
            weather=WEATHERS[setting.weather],
            season=SEASONS[setting.season],
        )
        return to_pil(self.answer(shown).rendering.pixels)[0]

    def plainly(self, case: WorldCase) -> str:
        """Return the prompt of a case without its art."""
        plain = replace(case.requested, rendition=NONE)
        return draw_caption(FirstPhrase(), plain, name=case.subject)

    def groups(self, rows: Sequence[Row[WorldCase]]) -> dict[str, list[Row[WorldCase]]]:
        """Return the cases by rendition."""
        arts = dict.fromkeys(row.case.answer for row in rows)
        return {art: [row for row in rows if row.case.answer == art] for art in arts}


@dataclass(frozen=True)
class StyleDrawer(WorldDrawer):
    """Draws each case by its style picture, by words, and plainly."""

    benchmark: StyleBenchmark

    def kinds(self, case: WorldCase) -> tuple[str, ...]:
        """Return references, answer and candidates, with their masks."""
        del case
        known = (REFERENCES[0], f"{REFERENCES[0]}-mask", "truth", SUBJECT_MASKS[0])
        return (*known, "style", "model", "model-mask", "words", "plain")

    def draw(self, case: WorldCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is missing; all start from the noise of the answer."""
        known: Mapping[str, Image.Image] = self.benchmark.known(case)
        yield from known.items()
        style = self.benchmark.style(case)
        yield "style", style
        shown, mask = known[REFERENCES[0]], known[f"{REFERENCES[0]}-mask"]
        subjects = [Subject(self.session.encode_identity(shown, masks=mask))]
        plain = self.benchmark.plainly(case)
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            "model": (plain, {"style_reference": style}),
            "words": (case.prompt, {}),
            "plain": (plain, {}),
        }
        for kind in [kind for kind in ways if kind in missing]:
            prompt, options = ways[kind]
            result = draw_own(self.session, subjects, prompt, seed=case.seed, **options)
            yield kind, result.images[0]
            if kind == "model":
                yield "model-mask", result.subject_masks[0]
