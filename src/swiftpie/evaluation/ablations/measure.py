"""From rows and cases to scores on disk; what is there already is kept."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.evaluation.ablations.draw import draw
from swiftpie.evaluation.ablations.setting import Region, Setting
from swiftpie.evaluation.ablations.views import references_of
from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
from swiftpie.evaluation.case import Case
from swiftpie.evaluation.judges import Panel
from swiftpie.evaluation.metric import METRICS, Evidence
from swiftpie.files import write_file
from swiftpie.images import mask_to_pil, to_pil, to_tensor
from swiftpie.masks import iou, load_mask, resize_mask
from swiftpie.pipelines.identity import encode_identity
from swiftpie.types import GenerationResult, Identity

REGION_IOU = "region-iou"  # of a mask that was found, against the true one
SHOWN_CASES = 6  # the first cases, whose pictures are kept for the page
FOUND = {Region.INLINE, Region.TWO_PASS, Region.PREDICTED}

Scores = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Row:
    """A setting with the networks that draw it."""

    setting: Setting
    components: Components

    @classmethod
    def of(cls, setting: Setting, components: Components) -> "Row":
        """Return the row with the schedule that the setting asks for."""
        preset = with_steps(components.preset, setting.num_steps)
        return cls(setting, replace(components, preset=preset, schedule=schedule_of(preset)))


@dataclass(frozen=True, eq=False)
class Study:
    """What an ablation measures: rows times cases."""

    rows: Sequence[Row]
    cases: Sequence[Case]
    benchmark: StickerBenchmark
    panel: Panel
    facts: Mapping[str, str]  # whatever else decides about scores: versions, weights of judges
    root: Path

    @cached_property
    def data(self) -> str:
        """Return sha256 over the subjects."""
        return self.benchmark.fingerprint

    def key(self, row: Row) -> str:
        """Return a name of everything that decides about the scores of a row."""
        parts = [
            row.setting.key,
            row.components.fingerprint,
            row.components.schedule,
            self.data,
            self.benchmark.seed,
            sorted(self.facts.items()),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def picture(self, case: Case, row: Row) -> Path:
        """Return where the picture of a row is kept, if it is."""
        return self.root / "images" / f"{case.name}.{self.key(row)}.png"

    def scores(self, case: Case) -> dict[str, Scores]:
        """Return what is known about a case, by key of the row; an unreadable file is nothing."""
        try:
            stored = json.loads(self._file(case).read_text(encoding="utf-8"))
            if stored["case"] != json.loads(json.dumps(asdict(case))):
                return {}
            return {
                str(key): {str(name): float(value) for name, value in scores.items()}
                for key, scores in stored["rows"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def keep(self, case: Case, known: Mapping[str, Scores]) -> None:
        """Write down what is known about a case."""
        text = json.dumps({"case": asdict(case), "rows": known}, indent=1, allow_nan=False)
        write_file(self._file(case), text.encode(), force=True)

    def _file(self, case: Case) -> Path:
        return self.root / "scores" / f"{case.name}.json"


def measure(study: Study) -> Iterator[Case]:
    """Draw and judge what is not known yet; yield each case when it is complete."""
    for folder in ("images", "scores"):
        (study.root / folder).mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(study.cases):
        known, shows = study.scores(case), number < SHOWN_CASES
        missing = {
            study.key(row): row  # rows that come out the same are drawn once
            for row in study.rows
            if study.key(row) not in known or (shows and not study.picture(case, row).is_file())
        }
        if missing:
            sitting = _Sitting.of(study, case)
            for key, row in missing.items():
                known[key] = sitting.judge(row, shows=shows)
            study.keep(case, known)
        yield case


@dataclass(frozen=True, eq=False)
class _Sitting:
    """One case with its right answer, and identities that rows share."""

    study: Study
    case: Case
    truth: Tensor  # (1, 3, H, W)
    mask: Tensor  # (1, 1, H, W)
    encode: Callable[[Components, Setting], Identity]

    @classmethod
    def of(cls, study: Study, case: Case) -> "_Sitting":
        truth = study.benchmark.truth(case)
        mask = mask_to_pil(truth.mask)[0]
        # Through 8 bits, as the pictures on disk that the other benchmarks judge.
        pixels = to_tensor(to_pil(truth.pixels)[0])
        encode = _encoder(study.benchmark, case)
        return cls(study, case, pixels, load_mask(mask, mask.size), encode)

    def judge(self, row: Row, *, shows: bool) -> Scores:
        """Return the scores of one row, and keep its picture if it `shows`."""
        setting = row.setting
        identity = self.encode(row.components, setting)
        result = draw(row.components, setting, identity, case=self.case, truth=self.mask)
        if shows:
            path = self.study.picture(self.case, row)
            write_file(path, _png(result.images[0]), force=True)
        return self._scores(setting, result)

    def _scores(self, setting: Setting, result: GenerationResult) -> Scores:
        found = result.subject_masks[0]
        evidence = Evidence(
            case=self.case,
            code=self.case.code,
            picture=to_tensor(result.images[0]),
            truth=self.truth,
            mask=self.mask,
            found=(to_tensor(found)[:, :1] + 1) / 2,
            panel=self.study.panel,
        )
        scores = {
            name: metric.score(evidence)
            for name, metric in METRICS.all().items()
            if "model" in metric.candidates and self.case.kind in metric.applies_to
        }
        if setting.region in FOUND:
            height, width = self.mask.shape[-2:]
            scores[REGION_IOU] = float(iou(resize_mask(result.regions, (height, width)), self.mask))
        return {name: value for name, value in scores.items() if value is not None}


def _encoder(benchmark: StickerBenchmark, case: Case) -> Callable[[Components, Setting], Identity]:
    """Return a function that encodes the subject of `case` once for each of its arguments."""
    known: dict[tuple[str, int, bool], Identity] = {}

    def encode(components: Components, setting: Setting) -> Identity:
        key = (components.fingerprint, setting.num_references, setting.is_cut_out)
        if key not in known:
            views = references_of(benchmark, case, setting.num_references)
            masks = [load_mask(view.mask, view.image.size) for view in views]
            known[key] = encode_identity(
                components,
                [view.image for view in views],
                masks=masks if setting.is_cut_out else [torch.ones_like(mask) for mask in masks],
            )
        return known[key]

    return encode


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
