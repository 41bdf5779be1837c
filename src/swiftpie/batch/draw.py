"""Drawing batches in one process: pictures go to files, outcomes to the report."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from swiftpie.batch.folder import DONE, FAILED, Outcome
from swiftpie.batch.jobs import Batch, Job, JobSubject, Model, is_mask_file
from swiftpie.engine.origin import origin_of_drawing, origin_of_edit
from swiftpie.engine.plan import load_session
from swiftpie.engine.session import Session, draw_apart
from swiftpie.errors import InputError, SwiftPieError, short_reason
from swiftpie.faces import FaceSettings
from swiftpie.imageio.atomic import write_file
from swiftpie.imageio.decoding import is_safetensors, load_image
from swiftpie.imageio.originals import composite, read_original
from swiftpie.imageio.writing import encode_image
from swiftpie.library import packaged as packaged_library
from swiftpie.masks import load_mask
from swiftpie.pipelines.draw import follows_seed
from swiftpie.pipelines.drawing.request import (
    EditRequest,
    FacePicture,
    IdentityRef,
    PersonalizeRequest,
    Pictures,
    Request,
    Source,
    Subject,
)
from swiftpie.pipelines.drawing.settings import EditSettings, MaskSource, Scales
from swiftpie.types import EditResult, GenerationResult, Identity

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.imageio.writing import PictureData

MAX_IDENTITIES = 8  # kept at hand; jobs of one subject follow each other


class CannotWrite(SwiftPieError):  # noqa: N818 - reads as what it is
    """The folder takes no more files, so the run has to stop."""


@dataclass(frozen=True)
class Work:
    """What every process of a run needs."""

    root: Path  # where names of files begin
    folder: Path  # where pictures go
    suffix: str
    loading: Mapping[Model, Mapping[str, Any]]  # keywords of `load`
    missing: Mapping[Model, str] = field(default_factory=dict)  # why models cannot be loaded
    faces: Mapping[Model, FaceSettings] = field(default_factory=dict)  # of models with such jobs
    load: Callable[..., Session] = load_session

    def path_of(self, name: str) -> Path:
        """Return the file of a job's picture."""
        return self.folder / f"{name}{self.suffix}"


class Drawer:
    """Draws batches, one model at a time; subjects are encoded once."""

    def __init__(self, work: Work, *, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Prepare; the first batch loads its model.

        Args:
            work: The run.
            is_wanted: Whether the run is still active; called before each picture is written.
        """
        self._work = work
        self._is_wanted = is_wanted
        self._missing = dict(work.missing)
        self._loaded: tuple[Model, Session] | None = None
        self._identities: OrderedDict[object, Identity] = OrderedDict()

    def draw(self, batch: Batch) -> list[Outcome]:
        """Draw a batch and return the outcomes of its wanted jobs.

        A job that fails has an outcome too; the others of the batch are drawn without it.

        Raises:
            CannotWrite: The folder takes no more files.
            SwiftPieError: The only model of the run cannot be loaded.
        """
        session = self._session(batch.model)
        if session is None:
            failed = {"status": FAILED, "reason": self._missing[batch.model]}
            jobs = [job for job in batch.jobs if job.id in batch.wanted]
            return [{"id": job.id, "place": job.place, **failed} for job in jobs]
        started = time.perf_counter()
        made: dict[str, Any] = {job.id: _attempt(self._request, session, job) for job in batch.jobs}
        ready = [job for job in batch.jobs if not isinstance(made[job.id], Exception)]
        requests = [made[job.id] for job in ready]
        drawn = draw_apart(session, requests, failures=Exception)
        made.update(zip([job.id for job in ready], drawn, strict=True))
        spent = (time.perf_counter() - started) * 1000 / len(batch.jobs)
        request_of = dict(zip([job.id for job in ready], requests, strict=True))
        outcomes: list[Outcome] = []
        for job in batch.jobs:
            if job.id not in batch.wanted or not self._is_wanted():
                continue
            outcome = made[job.id]
            if not isinstance(outcome, Exception):
                outcome = _attempt(self._finish, session, job, request_of[job.id], outcome)
            if isinstance(outcome, CannotWrite):
                raise outcome
            if isinstance(outcome, Exception):
                outcome = {"status": FAILED, "reason": reason_of(outcome)}
            outcomes.append({"id": job.id, "place": job.place, **outcome, "ms": round(spent, 1)})
        return outcomes

    def _session(self, model: Model) -> Session | None:
        """Return the session of a model; None if `_missing` says why there is none."""
        if model in self._missing:
            return None
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # frees memory for the next
            self._identities.clear()
            try:
                self._loaded = (model, self._load(model))
            except SwiftPieError as error:
                if len(self._work.loading) == 1:
                    raise
                self._missing[model] = str(error)
                return None
        return self._loaded[1]

    def _load(self, model: Model) -> Session:
        session, faces = self._work.load(**self._work.loading[model]), self._work.faces.get(model)
        return session if faces is None else session.with_face_encoder(faces.open())

    def _request(self, session: Session, job: Job) -> Request:
        request = self._edit(session, job) if job.image else self._drawing(session, job)
        return session.resolved(request)

    def _drawing(self, session: Session, job: Job) -> PersonalizeRequest:
        preset, texts = session.components.preset, dict(job.texts)
        height, width = job.size_px or (preset.image_size_px,) * 2
        if job.scene_file is not None:
            scene = texts["scene"] = load_image(self._path(job.scene_file))
            height, width = job.size_px or (scene.height, scene.width)
        mask, region = self._mask(job.mask, (width, height))
        limited, limit = None, None
        if job.detail_mask is not None:
            limited, limit = self._mask(job.detail_mask, (width, height))
        given = [
            Subject(self._identity(session, subject), **subject.shown) for subject in job.subjects
        ]
        everyone = session.with_named(job.prompt, given)
        if job.style_file is not None:
            texts["style_reference"] = load_image(self._path(job.style_file))
        return PersonalizeRequest(
            subjects=tuple(
                replace(subject, mask=region, detail_mask=limit) for subject in everyone
            ),
            prompt=job.prompt,
            seeds=(job.seed,),
            scales=Scales(**job.scales),
            mask=mask,
            detail_mask=limited,
            size_px=job.size_px,
            **texts,
        )

    def _edit(self, session: Session, job: Job) -> EditRequest:
        assert job.image is not None, "edits have a picture"
        image = load_image(self._path(job.image))
        identity = self._identity(session, job.subjects[0]) if job.subjects else None
        is_file = job.mask not in {*MaskSource}
        return EditRequest(
            image=image,
            prompt=job.prompt,
            seed=job.seed,
            mask=load_mask(self._path(job.mask), image.size) if is_file else job.box,
            where=None if job.where is None else self._identity(session, job.where),
            source=identity,
            takes_named=True,
            settings=EditSettings(**job.settings, scales=Scales(**job.scales)),
            **job.texts,
        )

    def _mask(self, mask: str, size: tuple[int, int]) -> tuple[MaskSource, Tensor | None]:
        if mask in {*MaskSource}:
            return MaskSource(mask), None
        return MaskSource.NONE, load_mask(self._path(mask), size)

    def _identity(self, session: Session, subject: JobSubject) -> Identity:
        known = subject.key
        if known in self._identities:
            self._identities.move_to_end(known)
            return self._identities[known]
        identity = self._identities[known] = session.identity_of(self._source(subject))
        if len(self._identities) > MAX_IDENTITIES:
            self._identities.popitem(last=False)
        return identity

    def _source(self, subject: JobSubject) -> Source:
        if subject.face:
            return FacePicture(self._path(subject.face), subject.face_number)
        if subject.word:
            return packaged_library().find(subject.word)
        pictures = tuple(self._path(picture) for picture in subject.pictures)
        if is_safetensors(pictures[0]):
            return IdentityRef(pictures[0])
        cutouts = subject.cutouts * (len(pictures) if len(subject.cutouts) == 1 else 1)
        are_files = [is_mask_file(cutout) for cutout in cutouts]
        each = list(zip(cutouts, are_files, strict=True))
        return Pictures(
            pictures,
            masks=tuple(self._path(cutout) if is_file else None for cutout, is_file in each),
            cutouts=tuple("auto" if is_file else cutout for cutout, is_file in each),
        )

    def _finish(
        self,
        session: Session,
        job: Job,
        request: PersonalizeRequest | EditRequest,
        drawn: GenerationResult | EditResult,
    ) -> dict[str, Any]:
        """Write the file of a picture; return its facts for the report."""
        preset = session.components.preset
        warnings = [*session.advice_on(request), *_cutout_warnings(drawn)]
        image: Image.Image | PictureData
        if isinstance(drawn, EditResult):
            assert isinstance(request, EditRequest), "an edit result has an edit request"
            said = {name: job.texts.get(name, "") for name in ("source_prompt", "keyword")}
            facts = origin_of_edit(preset, request.settings, drawn, prompt=job.prompt, **said)
            image = composite(read_original(self._path(job.image or "")), drawn.edited, drawn.blend)
            if not follows_seed(session.components, request):
                warnings.append("The seed has no effect: nothing of this edit is random.")
        else:
            assert isinstance(request, PersonalizeRequest), "a drawing has a drawing request"
            facts = origin_of_drawing(preset.name, drawn, prompt=job.prompt)
            facts["seed"] = str(job.seed)
            image = drawn.images[0]
        path = self._work.path_of(job.id)
        data = encode_image(image, path.suffix, metadata=facts, name=f"'{path.name}'")
        try:
            write_file(path, data, force=True)
        except InputError as error:
            raise CannotWrite(f"{error} Finished pictures are kept.") from error
        return {
            "status": DONE,
            "file": path.name,
            "bytes": len(data),
            "prompt": job.prompt,
            "seed": job.seed,
            "preset": preset.name,
            "branches": list(drawn.branches),
            "cutouts": [[picture._asdict() for picture in pictures] for pictures in drawn.cutouts],
            **({"named": [named._asdict() for named in drawn.named]} if drawn.named else {}),
            "warnings": warnings,
        }

    def _path(self, name: str) -> Path:
        return self._work.root / name


def reason_of(error: BaseException) -> str:
    """Return the reason of a failure, for the report."""
    if isinstance(error, SwiftPieError):
        return str(error)
    return f"{type(error).__name__}: {short_reason(error)}. SwiftPie did not expect this."


def _attempt(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - what it returns
    """Return what a function returns or raises, so that one job cannot stop the others."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - the report names it
        return error


def _cutout_warnings(drawn: GenerationResult | EditResult) -> list[str]:
    return [
        f"The cut-out of picture {number} may be wrong. Name the subject's place with 'cutout': a "
        "box such as 0.2,0.1,0.8,0.95, or a mask."
        for pictures in drawn.cutouts
        for number, picture in enumerate(pictures, start=1)
        if picture.is_doubtful
    ]
