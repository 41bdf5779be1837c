"""From cases to pictures on disk; what is there already is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from PIL import Image

from swiftpie import __version__
from swiftpie.data.stickers import NOISE_SHAPE
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.evaluation.benchmark import Benchmark
from swiftpie.evaluation.benchmarks.stickers import paste
from swiftpie.evaluation.case import Case
from swiftpie.evaluation.folder import Folder, Run
from swiftpie.images import to_pil, to_tensor
from swiftpie.layout import Layout
from swiftpie.masks import Box, load_mask
from swiftpie.pipelines.request import MaskSource, Scales, Subject

NO_SUBJECT = Scales(identity_scale=0.0, detail_scale=0.0)
REFERENCES = ("reference", "other-reference")  # of a case's subjects, from left to right


def generate(
    session: Session,
    benchmark: Benchmark,
    cases: Sequence[Case],
    *,
    folder: Folder,
    force: bool = False,
) -> Iterator[Case]:
    """Draw every picture that is missing in `folder`; yield each case when it is complete.

    Args:
        session: The model under test.
        benchmark: Draws references and right answers.
        cases: What to draw.
        folder: Where the pictures go, with a manifest at the end.
        force: Forget what was drawn before.

    Raises:
        CapabilityError: The preset starts from other noise than the renderer.
        InputError: The folder holds pictures of another run.
    """
    components = session.components
    shape = (components.preset.latent_channels, *components.cells_of(None))
    if shape != NOISE_SHAPE:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws from noise of shape {shape}; sticker scenes "
            f"need {NOISE_SHAPE}, so that the right answer is known. Use the preset 'mini'."
        )
    run = Run(
        benchmark=benchmark.name,
        version=__version__,
        preset=components.preset.name,
        weights=components.fingerprint,
        data=benchmark.fingerprint,
        seed=benchmark.seed,
        num_steps=len(components.schedule.steps),
    )
    folder.start(run, force=force)
    for case in cases:
        missing = folder.missing(case)
        if missing:
            _write(folder, case, benchmark.known(case), missing)
            _draw_generated(session, case, folder, missing, boxes=benchmark.boxes(case))
            _draw_paste(case, folder, missing, layouts=benchmark.layouts(case))
        yield case
    folder.write_rows("manifest.jsonl", (asdict(case) for case in cases))


def _draw_generated(
    session: Session,
    case: Case,
    folder: Folder,
    missing: set[str],
    *,
    boxes: Sequence[Box | None],
) -> None:
    if not missing & {"model", "model-mask", "text"}:
        return
    subjects = [
        Subject(
            session.encode_identity(
                folder.read(case, kind), masks=folder.read(case, f"{kind}-mask")
            ),
            box=box,
        )
        for kind, box in zip(REFERENCES, boxes, strict=False)
    ]
    # A box keeps each of several subjects to its own place; a single one has all of the picture.
    region = MaskSource.BOX if len(subjects) > 1 else MaskSource.NONE
    if missing & {"model", "model-mask"}:
        result = session.personalize(subjects, case.prompt, seed=case.seed, mask=region)
        drawn = {"model": result.images[0], "model-mask": result.subject_masks[0]}
        _write(folder, case, drawn, missing)
    if "text" in missing:
        plain = session.personalize(subjects, case.prompt, seed=case.seed, scales=NO_SUBJECT)
        _write(folder, case, {"text": plain.images[0]}, missing)


@torch.no_grad()
def _draw_paste(
    case: Case, folder: Folder, missing: set[str], *, layouts: Sequence[Layout]
) -> None:
    """Lay every reference on the text-only picture, where it is in the truth."""
    if "paste" not in missing:
        return
    pasted = to_tensor(folder.read(case, "text"))
    for kind, layout in zip(REFERENCES, layouts, strict=False):
        reference = folder.read(case, kind)
        mask = load_mask(folder.read(case, f"{kind}-mask"), reference.size)
        pasted = paste(to_tensor(reference), mask, scenery=pasted, layout=layout)
    folder.write(case, "paste", to_pil(pasted)[0])


def _write(
    folder: Folder, case: Case, pictures: Mapping[str, Image.Image], missing: set[str]
) -> None:
    for kind, image in pictures.items():
        if kind in missing:
            folder.write(case, kind, image)
