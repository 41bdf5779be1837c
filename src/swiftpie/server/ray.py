"""Drawing by replicas of Ray Serve; the queue and what users keep stay in this process.

Ray Serve starts, watches, replaces and scales the replicas. Callers do not come through its proxy:
slow heads, live connections and fairness need our own socket, and one queue before all replicas.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from swiftpie.errors import ConfigError, SwiftPieError
from swiftpie.server.drawing import DrawingBackend, DrawnPicture
from swiftpie.server.errors import RequestError
from swiftpie.server.jobs import Job
from swiftpie.server.store import Models, ServedModel
from swiftpie.types import Identity

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger(__name__)

APPLICATION, DEPLOYMENT = "swiftpie", "replica"
LOOK_S, LOST_S = 0.5, 30.0  # between two looks; how long the end waits for a lost machine
HEALTH_S = 1.0  # after which an idle replica that died is noticed
TRIES = 2  # of a batch whose replica is lost
# Seconds of more requests than replicas until one more starts, whose callers wait meanwhile, and of
# fewer until one ends, as its networks have to be loaded again; averages are of so long, too.
UP_S, DOWN_S, MEAN_S = 3.0, 600.0, 3.0


class Replica(DrawingBackend):
    """A process of Ray's that draws as the thread of a server does, and makes the files."""

    def __init__(self, served: Mapping[str, ServedModel], batch: int) -> None:
        """Get ready; Ray Serve sends nothing before."""
        # No caller waits for a stand-in here.
        super().__init__(
            Models({name: replace(one, stand_in=None) for name, one in served.items()})
        )
        for draw in self._stages(batch).values():
            draw()

    async def most(self) -> int:
        return self.together

    async def answers(
        self, model: str, works: Sequence[tuple[Any, Callable[..., list[DrawnPicture]] | None]]
    ) -> list[Any]:
        """Return pictures as files, or what tasks give, or errors; cancelled, it stops drawing."""
        started = time.perf_counter()
        made = await self.draw([Job(work, model=model) for work, _ in works])
        spent = (time.perf_counter() - started) * 1000
        pairs = zip(made, (finish for _, finish in works), strict=True)
        return [await asyncio.to_thread(_sendable, *pair, spent) for pair in pairs]


def _sendable(made: Any, finish: Callable[..., list[DrawnPicture]] | None, spent: float) -> Any:  # noqa: ANN401
    if isinstance(made, Exception):
        return made
    if finish is not None:
        try:
            return finish(*made, milliseconds=spent)
        except (SwiftPieError, RequestError) as error:
            return error
    if isinstance(made, tuple):
        return tuple(_sendable(part, None, spent) for part in made)
    # The server may have no such device as this one.
    return made.to("cpu") if isinstance(made, Identity) else made


class RayBackend(DrawingBackend):
    """Draws by replicas on the cluster that this process is connected to.

    There are `least` of them, and `most` while the queue is full. Each holds processors and
    accelerators, or a part of one.
    """

    def __init__(
        self,
        models: Models,
        *,
        least: int,
        most: int,
        cpus: float,
        gpus: float,
        drain_s: float,
        down_s: float = DOWN_S,
    ) -> None:
        super().__init__(models)
        self.replicas, self.is_ready = most, False
        count: dict[str, float] = {"min_replicas": least, "max_replicas": most}
        count |= {"upscale_delay_s": UP_S, "downscale_delay_s": down_s}
        count |= {"look_back_period_s": MEAN_S, "target_ongoing_requests": 1}
        self._options: dict[str, Any] = {
            "ray_actor_options": {"num_cpus": cpus, "num_gpus": gpus},
            "autoscaling_config": count,
            # The queue is in the server; one batch more waits, so that no replica is idle.
            "max_ongoing_requests": 2,
            "graceful_shutdown_timeout_s": drain_s,
            "health_check_period_s": HEALTH_S,
        }
        self._handle: DeploymentHandle[Replica] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def get_ready(self, batch: int, tell: Callable[[str], None]) -> int:
        tell(f"starting {self._options['autoscaling_config']['min_replicas']} replicas")
        await asyncio.to_thread(self._deploy, batch)
        assert self._handle is not None, "it was made now"
        together: int = await self._handle.most.remote()
        self._watching = asyncio.ensure_future(self._watch())
        self.is_ready = True
        self.loaded = {self.models.names[0]}
        tell("ready")
        return together

    def _deploy(self, batch: int) -> None:
        from ray import serve

        serve.start(proxy_location="Disabled")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it logs each step
        ended_s = time.monotonic() + LOST_S + self._options["graceful_shutdown_timeout_s"]
        while (found := serve.status().applications.get(APPLICATION)) is not None:
            if found.status != "DELETING" or time.monotonic() > ended_s:
                raise ConfigError(
                    f"This cluster runs {APPLICATION!r} already, of another server or of one that "
                    "was killed. It runs one. Stop that server, or run `serve shutdown` on the "
                    "cluster."
                )
            time.sleep(LOOK_S)  # a server before ends
        served = {name: self.models.served(name) for name in self.models.names}
        made = serve.deployment(name=DEPLOYMENT, **self._options)(Replica).bind(served, batch)
        self._handle = serve.run(made, name=APPLICATION, route_prefix=None)

    async def _watch(self) -> None:
        """Keep `is_ready`: whether any replica runs."""
        from ray import serve

        while True:
            await asyncio.sleep(LOOK_S)
            try:
                found: Any = (await asyncio.to_thread(serve.status)).applications[APPLICATION]
                self.is_ready = found.deployments[DEPLOYMENT].replica_states.get("RUNNING", 0) > 0
            except Exception:  # noqa: BLE001 - the cluster does not answer
                self.is_ready = False

    async def change_to_quick(self, tell: Callable[[str], None]) -> None:
        """Do nothing: replicas load the quick networks at once."""

    def draw(self, jobs: Sequence[Job]) -> Awaitable[Sequence[Any]]:
        return asyncio.ensure_future(self._drawn(jobs))

    async def _drawn(self, jobs: Sequence[Job]) -> list[Any]:
        from ray.exceptions import RayActorError

        assert self._handle is not None, "it draws once it is ready"
        works = [(job.work, job.finish) for job in jobs]
        for job in jobs:
            job.stage = "turn"
        for _ in range(TRIES):
            response: Any = self._handle.answers.remote(jobs[0].model, works)
            try:
                made: list[Any] = await response
            except asyncio.CancelledError:
                response.cancel()
                raise
            except RayActorError as error:
                logger.warning("a replica was lost while it drew: %s", type(error).__name__)
                continue
            self.loaded = {*self.loaded, jobs[0].model} - {""}
            return [_as_finished(job, one) for job, one in zip(jobs, made, strict=True)]
        message = f"What drew the picture was lost, {TRIES} times. Ask again."
        raise RequestError(message, status=503, code="replica_lost", retry_after_s=HEALTH_S)

    def close(self) -> None:
        from ray import serve

        super().close()
        if self._watching is not None:
            self._watching.cancel()
        if self._handle is not None:  # else the application is another server's
            with suppress(Exception):  # the cluster has ended
                serve.delete(APPLICATION, _blocking=False)  # it would wait for a lost machine


def _as_finished(job: Job, made: Any) -> Any:  # noqa: ANN401 - whatever was made
    """Return what was made for a job, whose file is there already."""
    if job.finish is None or isinstance(made, Exception):
        return made
    job.finish = _timed
    return (made,)


def _timed(pictures: Sequence[DrawnPicture], *, milliseconds: float) -> list[DrawnPicture]:
    return [replace(picture, milliseconds=milliseconds) for picture in pictures]
