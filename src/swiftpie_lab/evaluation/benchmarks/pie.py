"""Edits of PIE-Bench (arXiv:2310.01506), from a folder of the user's, by its own definitions."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from swiftpie.config import read_fields
from swiftpie.errors import ConfigError, InputError, short_reason
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_tensor
from swiftpie.pipelines.settings import Scales
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.case import Evidence, Row
from swiftpie_lab.evaluation.command import (
    BenchmarkCommand,
    PieNetworks,
    Trial,
    changed,
    drawer_of,
    open_model,
    open_networks,
)
from swiftpie_lab.evaluation.edits import EditBenchmark, EditDrawer, EditTask, MaskChoice, with_edit
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Results

Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="PIE-Bench's folder, with mapping_file.json and annotation_images."
    ),
]
FirstCases = Annotated[
    int | None, typer.Option("--cases", min=1, metavar="N", help="Only the first N.")
]

MAPPING, PICTURES = "mapping_file.json", "annotation_images"
COMPOSITE = "composite"  # candidate: the edit with pixels of the source put back around it
MAX_MAPPING_MIB = 256  # the published one has a few

TYPES: Mapping[int, str] = {
    0: "random",
    1: "change object",
    2: "add object",
    3: "delete object",
    4: "change content",
    5: "change pose",
    6: "change colour",
    7: "change material",
    8: "change background",
    9: "change style",
}

RELEASED: Mapping[str, str] = {  # by name here: what the released code calls each of the seven
    "structure-distance": "structure_distance",
    "unedited-psnr": "psnr_unedit_part",
    "unedited-lpips": "lpips_unedit_part",
    "unedited-mse": "mse_unedit_part",
    "unedited-ssim": "ssim_unedit_part",
    "clip-whole": "clip_similarity_target_image",
    "clip-edited": "clip_similarity_target_image_edit_part",
}

_NAME = re.compile(r"[\w-]{1,100}", re.ASCII)


@dataclass(frozen=True)
class PieCase:
    """One entry of the mapping."""

    name: str
    type_id: int  # key of TYPES
    picture: Path
    source_prompt: str
    target_prompt: str
    runs: tuple[int, ...]  # start and length by turns, over the rows of the picture


@dataclass(frozen=True, eq=False)
class PieBenchmark(EditBenchmark[PieCase]):
    """All entries in the order of the mapping."""

    root: Path
    cases: tuple[PieCase, ...]
    mapping: str  # its sha256
    seed: int = 0

    name = "pie"
    title = "Edits"
    metrics = (*RELEASED, "time")
    candidates = MappingProxyType(
        {
            "edit": "edit",
            COMPOSITE: "edit, source put back outside of the used mask",
            "source": "untouched source",
        }
    )
    strip = MappingProxyType(
        {
            "source": "before",
            "uncomposed": "after, as drawn",
            "edit": "after, as returned",
            "mask": "true mask",
            "edit-mask": "used mask",
        }
    )
    ranked_by = ("clip-edited", "unedited-psnr")

    @property
    def fingerprint(self) -> str:
        return self.mapping

    def task(self, case: PieCase) -> EditTask:
        source = load_image(case.picture).convert("RGB")
        mask = decode_mask(case.runs, height=source.height, width=source.width)
        return EditTask(
            name=case.name,
            source=source,
            source_prompt=case.source_prompt,
            target_prompt=case.target_prompt,
            mask=mask,
            seed=0,
            known={"source": source, "mask": mask},
        )

    def finished_name(self, case: PieCase) -> str:
        base = (self.root / PICTURES).resolve()
        return f"{PICTURES}/{case.picture.relative_to(base).as_posix()}"

    def evidence(
        self, case: PieCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the edit as it was drawn, as it was returned if that differs, and the source.

        Other programs are judged by what they draw, so pixels of the source that were put back
        afterwards do not count for the edit itself.
        """
        task = self.task(case)
        source = to_tensor(task.source)
        known = Evidence(
            picture=source,
            source=source,
            mask=task.mask,
            prompt=case.target_prompt,
            networks=networks,
        )
        returned = with_edit(known, case, results)
        if returned.uncomposed is None:
            yield "edit", returned
        else:
            yield "edit", replace(returned, picture=returned.uncomposed)
            yield COMPOSITE, returned
        yield "source", known

    def words(self, case: PieCase) -> list[str]:
        return [case.source_prompt, f"→ {case.target_prompt}"]

    def groups(self, rows: Sequence[Row[PieCase]]) -> dict[str, list[Row[PieCase]]]:
        return {
            f"{number} {title}": [row for row in rows if row.case.type_id == number]
            for number, title in TYPES.items()
            if any(row.case.type_id == number for row in rows)
        }

    def facts(self, rows: Sequence[Row[PieCase]]) -> dict[str, object]:
        del rows
        return {"released_names": dict(RELEASED)}

    def as_json(self, case: PieCase) -> dict[str, object]:
        return {"name": case.name, "type_id": case.type_id, "picture": case.picture.name}


def read_pie(root: Path, *, limit: int | None = None) -> PieBenchmark:
    """Read the mapping in `root`, or its first entries; InputError if a part is missing."""
    path = root / MAPPING
    try:
        if path.stat().st_size > MAX_MAPPING_MIB << 20:
            raise InputError(
                f"'{path}' has more than {MAX_MAPPING_MIB} MiB; no mapping of PIE-Bench has. "
                "Download it again."
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read ({error.strerror}). PIE-Bench's folder with {MAPPING} and "
            f"{PICTURES}/ is needed. Check the path."
        ) from error
    try:
        mapping = json.loads(data)
        if not isinstance(mapping, dict) or not mapping:
            raise ValueError("it holds no entries by name")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"'{path}' is no mapping in JSON ({str(error)[:100]}). Download PIE-Bench's again."
        ) from error
    cases = tuple(_case(root, name, entry) for name, entry in list(mapping.items())[:limit])
    return PieBenchmark(root, cases, hashlib.sha256(data).hexdigest())


def decode_mask(runs: Sequence[int], *, height: int, width: int) -> Tensor:
    """Return the mask (1, 1, H, W), 1 = edited; its outermost pixels are 1 whatever `runs` say.

    Args:
        runs: Start and length by turns, in pixels row by row; what lies beyond the picture is cut
            off, as the published decoder does.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    count = height * width
    flat = torch.zeros(count)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : min(start + length, count)] = 1
    mask = flat.view(1, 1, height, width)
    mask[..., [0, -1], :] = 1
    mask[..., :, [0, -1]] = 1
    return mask


@dataclass(frozen=True)
class _Entry:
    """One of the mapping, with the fields that are read."""

    image_path: str
    original_prompt: str
    editing_prompt: str
    editing_type_id: int | str
    mask: tuple[int, ...]


def _case(root: Path, name: str, entry: Any) -> PieCase:  # noqa: ANN401 - of any type
    base = (root / PICTURES).resolve()
    try:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, - and _ alone, as files are named by it")
        read = _Entry(**read_fields(_Entry, entry))
        number, picture = int(read.editing_type_id), (base / read.image_path).resolve()
        source, target = (
            re.sub(r"[\[\]]", "", prompt)  # brackets mark what changes
            for prompt in (read.original_prompt, read.editing_prompt)
        )
        if number not in TYPES or not (source.strip() and target.strip()):
            raise ValueError("the editing_type_id is 0 to 9, and prompts are not empty")
        if len(read.mask) % 2 or min(read.mask, default=0) < 0:
            raise ValueError("a mask is start and length by turns, 0 or more")
        if not picture.is_relative_to(base) or not picture.is_file():
            raise ValueError(f"{PICTURES}/ has no picture {read.image_path[:80]!r}")
    except (ConfigError, OSError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"Entry {name[:40]!r} of the mapping cannot be used ({short_reason(error)}). The "
            "published mapping and its pictures are needed. Download them again."
        ) from error
    return PieCase(name, number, picture, source, target, read.mask)


def open_pie(
    *,
    dataset: Dataset,
    results: given.Finished = None,
    mask: given.MaskName = "found",
    cases: FirstCases = None,
    files: PieNetworks,
    scales: given.EditScales,
    rules: given.EditRules,
    loading: given.LoadedToEdit,
) -> Trial[PieCase]:
    """Judge edits of PIE-Bench by its own definitions; bring the dataset yourself.

    Figures that need CLIP or DINO take weights that you give, and are otherwise reported as
    not computed. An interrupted run goes on where it stopped; one a scale is a sweep.
    """
    rules = replace(rules, scales=Scales(**scales))
    benchmark = read_pie(dataset, limit=cases)
    networks = open_networks(files, loading)

    def own() -> EditDrawer[PieCase]:
        session = open_model(loading)
        return EditDrawer(benchmark, session, MaskChoice(mask), rules)

    choices = {"mask": mask != "found"} | changed(rules)
    drawer = drawer_of(benchmark, benchmark.cases, results, loading, own, **choices)
    return Trial(benchmark, benchmark.cases, drawer, networks)


BENCHMARK = BenchmarkCommand(
    open_pie,
    (
        "swiftpie evaluate pie PIE-Bench_v1 --recipe swiftedit --clip clip-vit-large-patch14 "
        "--dino dino-vitb8 --lpips lpips-squeeze --allow-pickle",
        "swiftpie evaluate pie PIE-Bench_v1 --results other-method --out out/other-method",
        "swiftpie evaluate pie PIE-Bench_v1 --recipe swiftedit --text-scale 2 --out out/text-2",
    ),
)
