"""Drawing batches in one process: pictures go to files, outcomes to the report."""

import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftpie.batch.folder import DONE, FAILED, Outcome
from swiftpie.batch.jobs import Batch, Job, JobRequest, Model
from swiftpie.engine.origin import origin_of_drawing, origin_of_edit
from swiftpie.engine.plan import load_session
from swiftpie.engine.session import Session, draw_apart
from swiftpie.errors import InputError, SwiftPieError, short_reason
from swiftpie.faces import FaceSettings
from swiftpie.imageio.atomic import write_file
from swiftpie.imageio.originals import composite, read_original
from swiftpie.imageio.writing import encode_image
from swiftpie.pipelines.draw import follows_seed
from swiftpie.pipelines.request import EditRequest, Source
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

    def _request(self, session: Session, job: Job) -> JobRequest:
        request, encode = job.request, functools.partial(self._identity, session)
        if isinstance(request, EditRequest):
            brought, sought = request.source, request.where
            request = replace(
                request, source=brought and encode(brought), where=sought and encode(sought)
            )
        else:
            subjects = (replace(one, source=encode(one.source)) for one in request.subjects)
            request = replace(request, subjects=tuple(subjects))
        return session.resolved(request)

    def _identity(self, session: Session, source: Source) -> Identity:
        if source in self._identities:
            self._identities.move_to_end(source)
            return self._identities[source]
        identity = self._identities[source] = session.identity_of(source)
        if len(self._identities) > MAX_IDENTITIES:
            self._identities.popitem(last=False)
        return identity

    def _finish(
        self, session: Session, job: Job, request: JobRequest, drawn: GenerationResult | EditResult
    ) -> dict[str, Any]:
        """Write the file of a picture; return its facts for the report."""
        preset, prompt, seed = session.components.preset, job.spec["prompt"], job.spec["seed"]
        warnings = [*session.advice_on(request), *_cutout_warnings(drawn)]
        image: Image.Image | PictureData
        if isinstance(drawn, EditResult):
            given = job.request
            assert isinstance(request, EditRequest), "an edit result has an edit request"
            assert isinstance(given, EditRequest), "of the same kind"
            assert isinstance(given.image, Path), "lines name files"
            said = {"source_prompt": request.source_prompt, "keyword": request.keyword}
            facts = origin_of_edit(preset, request.settings, drawn, prompt=prompt, **said)
            image = composite(read_original(given.image), drawn.edited, drawn.blend)
            if not follows_seed(session.components, request):
                warnings.append("The seed has no effect: nothing of this edit is random.")
        else:
            facts = origin_of_drawing(preset.name, drawn, prompt=prompt)
            facts["seed"] = str(seed)
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
            "prompt": prompt,
            "seed": seed,
            "preset": preset.name,
            "branches": list(drawn.branches),
            "cutouts": [[picture._asdict() for picture in pictures] for pictures in drawn.cutouts],
            **({"named": [named._asdict() for named in drawn.named]} if drawn.named else {}),
            "warnings": warnings,
        }


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
