"""From cases to pictures on disk; what is there already is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from PIL import Image

from swiftpie import __version__
from swiftpie.data.stickers import NOISE_SHAPE
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark, paste
from swiftpie.evaluation.case import Case
from swiftpie.evaluation.folder import Folder, Run
from swiftpie.images import mask_to_pil, to_pil, to_tensor
from swiftpie.masks import load_mask
from swiftpie.pipelines.condition import Strength

NO_SUBJECT = Strength(identity=0.0, detail=0.0)


def generate(
    session: Session,
    benchmark: StickerBenchmark,
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
        benchmark="stickers",
        version=__version__,
        preset=components.preset.name,
        weights=components.fingerprint,
        data=benchmark.fingerprint,
        seed=benchmark.seed,
    )
    folder.start(run, force=force)
    for case in cases:
        missing = folder.missing(case)
        _draw_known(benchmark, case, folder, missing)
        _draw_generated(session, case, folder, missing)
        if "paste" in missing:
            _draw_paste(benchmark, case, folder)
        yield case
    folder.write_rows("manifest.jsonl", (asdict(case) for case in cases))


def _draw_known(benchmark: StickerBenchmark, case: Case, folder: Folder, missing: set[str]) -> None:
    if missing & {"reference", "reference-mask"}:
        pixels, mask = benchmark.reference(case)
        reference = {"reference": to_pil(pixels)[0], "reference-mask": mask_to_pil(mask)[0]}
        _write(folder, case, reference, missing)
    if missing & {"truth", "truth-mask"}:
        truth = benchmark.truth(case)
        answer = {"truth": to_pil(truth.pixels)[0], "truth-mask": mask_to_pil(truth.mask)[0]}
        _write(folder, case, answer, missing)


def _draw_generated(session: Session, case: Case, folder: Folder, missing: set[str]) -> None:
    if not missing & {"model", "model-mask", "text"}:
        return
    identity = session.encode_identity(
        folder.read(case, "reference"), masks=folder.read(case, "reference-mask")
    )
    if missing & {"model", "model-mask"}:
        result = session.personalize(identity, case.prompt, seed=case.seed)
        drawn = {"model": result.images[0], "model-mask": result.masks[0]}
        _write(folder, case, drawn, missing)
    if "text" in missing:
        plain = session.personalize(identity, case.prompt, seed=case.seed, strength=NO_SUBJECT)
        _write(folder, case, {"text": plain.images[0]}, missing)


@torch.no_grad()
def _draw_paste(benchmark: StickerBenchmark, case: Case, folder: Folder) -> None:
    reference, scenery = folder.read(case, "reference"), folder.read(case, "text")
    pasted = paste(
        to_tensor(reference),
        load_mask(folder.read(case, "reference-mask"), reference.size),
        scenery=to_tensor(scenery),
        layout=benchmark.truth(case).layout,
    )
    folder.write(case, "paste", to_pil(pasted)[0])


def _write(
    folder: Folder, case: Case, pictures: Mapping[str, Image.Image], missing: set[str]
) -> None:
    for kind, image in pictures.items():
        if kind in missing:
            folder.write(case, kind, image)
