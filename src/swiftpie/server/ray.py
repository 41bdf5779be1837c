"""The same drawing on Ray Serve: its replicas draw; queue, callers and their things stay here.

Ray Serve starts, watches, replaces and scales the replicas, and takes each batch to one that is
free. Callers do not come through its proxy: heads that never end, live connections and fairness
need our own listening socket and one queue before all replicas.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from swiftpie.errors import ConfigError, SwiftPieError, require, short_reason
from swiftpie.server.commands import Command, vocabulary_of
from swiftpie.server.drawing import DrawingThread
from swiftpie.server.limits import RayReplicas
from swiftpie.server.schemas import RequestError
from swiftpie.server.store import Models
from swiftpie.types import Identity

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger(__name__)

GENERATOR, ENCODER = "generator", "encoder"  # lanes, and deployments of Ray Serve
APPLICATION = "swiftpie-{lane}"
LOOK_S = 0.2  # between two looks at how far replicas are
TELL_S = 10.0  # between two words on what they wait for
HEALTH_S = 1.0  # after which an idle replica that died is noticed
TRIES = 2  # of a batch whose replica was lost, and of a replica that does not start


@contextmanager
def on_ray(
    models: Callable[[], Models],
    replicas: RayReplicas,
    *,
    drain_s: float,
    on_retry: Callable[[], object] = lambda: None,
) -> "Iterator[RayBackend]":
    """Connect to the cluster that RAY_ADDRESS names, or start Ray here for so long.

    Enter before anything listens to signals, as Ray takes them from their owner.

    Args:
        models: What each replica loads for itself.
        replicas: The replicas.
        drain_s: How long a replica that is no longer needed may draw on.
        on_retry: Called when a batch is drawn again, as its replica was lost.

    Raises:
        MissingExtra: Ray Serve is not installed.
    """
    require("ray.serve", extra="serve,ray", use="--ray")
    import ray
    from ray import serve

    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    try:
        serve.start(proxy_location="Disabled")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # as it tells each step
        yield RayBackend(models, replicas, drain_s=drain_s, on_retry=on_retry)
    finally:
        if is_ours:
            ray.shutdown()


class Facts(NamedTuple):
    """What a replica knows once it is ready."""

    together: int  # pictures that are drawn in one pass
    vocabularies: Mapping[str, Any]


class Replica:
    """A process of Ray's that draws as a thread of the server does."""

    def __init__(self, models: Callable[[], Models], batch: int, lane: str) -> None:
        """Get ready; Ray Serve asks nothing of it before."""
        self._drawer = DrawingThread(models())
        stages = self._drawer.readying(batch)
        for info in stages if lane == GENERATOR else islice(stages, 2):  # loads, encodes once
            logger.info("%s", info)

    def facts(self) -> Facts:
        """Return what the server wants to know."""
        return Facts(self._drawer.together, self._drawer.models.vocabularies)

    async def draw(self, commands: Sequence[Command]) -> list[Any]:
        """Return what was made, or an error, for each; cancelled, it stops at its next stage."""
        made = await self._drawer.draw(commands)
        # The server may have no such device as this one.
        return [one.to("cpu") if isinstance(one, Identity) else one for one in made]


class RayBackend:
    """Draws by replicas of Ray Serve; see `on_ray`."""

    def __init__(
        self,
        models: Callable[[], Models],
        replicas: RayReplicas,
        *,
        drain_s: float,
        on_retry: Callable[[], object],
    ) -> None:
        self._models, self._replicas = models, replicas
        self._drain_s, self._on_retry = drain_s, on_retry
        self._handles: dict[str, DeploymentHandle] = {}
        self.loaded: Collection[str] = set()  # by any replica, as far as it has reported
        self.vocabularies: dict[str, Any] = {}

    @property
    def lanes(self) -> Mapping[str, int]:
        """As many as there may be replicas."""
        return {GENERATOR: self._replicas.most, ENCODER: 1}

    def lane_of(self, command: Command) -> str:
        """Return the lane of a command."""
        return GENERATOR if command.is_drawing else ENCODER

    async def get_ready(self, batch: int, tell: Callable[[str], None]) -> int:
        """Start the replicas, and wait for them; see `DrawingBackend.get_ready`."""
        await asyncio.to_thread(self._deploy, batch)
        loop, info = asyncio.get_running_loop(), -math.inf
        while waiting := await asyncio.to_thread(_waiting):
            if loop.time() - info > TELL_S:
                info = loop.time()
                tell(f"starting replicas: {waiting}")
            await asyncio.sleep(LOOK_S)
        facts: Facts = await self._handles[GENERATOR].facts.remote()
        self.vocabularies |= facts.vocabularies
        self.loaded = set(facts.vocabularies)
        tell(f"ready: {self._replicas.least} of at most {self._replicas.most} replicas")
        return facts.together

    def _deploy(self, batch: int) -> None:
        """Start the replicas."""
        from ray import serve

        known = serve.status().applications
        if taken := sorted({_application(lane) for lane in self.lanes} & set(known)):
            raise ConfigError(
                f"This cluster runs {' and '.join(taken)} already, of another server or of one "
                "that was killed. Stop that one, or run `serve shutdown` on the cluster."
            )
        targets = [
            serve.RunTarget(self._bound(lane, batch), name=_application(lane), route_prefix=None)
            for lane in self.lanes
        ]
        handles = serve.run_many(targets, wait_for_applications_running=False)
        self._handles = dict(zip(self.lanes, handles, strict=True))

    def _bound(self, lane: str, batch: int) -> Any:  # noqa: ANN401 - Ray has no types
        from ray import serve

        deployment = serve.deployment(
            name=lane,
            graceful_shutdown_timeout_s=self._drain_s,
            health_check_period_s=HEALTH_S,
            max_constructor_retry_count=TRIES,
            **_held(self._replicas, lane),
        )
        return deployment(Replica).bind(self._models, batch, lane)

    async def draw(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return what was made, or an error, for each; see `DrawingBackend.draw`."""
        from ray.exceptions import RayActorError

        for number in range(TRIES):
            if number:
                self._on_retry()
            response = self._handles[self.lane_of(commands[0])].draw.remote(commands)
            try:
                made: Sequence[Any] = await response
            except asyncio.CancelledError:
                response.cancel()
                raise
            except RayActorError as error:
                logger.warning("a replica was lost while it drew: %s", type(error).__name__)
                continue
            self._learn(commands[0], made[0])
            return made
        raise RequestError(
            f"The process that drew the picture was lost, {TRIES} times. Ask again.",
            status=503,
            code="replica_lost",
        )

    def _learn(self, command: Command, made: object) -> None:
        self.loaded = {*self.loaded, command.model} - {""}
        if getattr(command.work, "func", None) is vocabulary_of:
            self.vocabularies[command.model] = made

    async def close(self) -> None:
        """Stop the replicas."""
        from ray import serve

        for lane in self._handles:
            await asyncio.to_thread(serve.delete, _application(lane))


def _held(replicas: RayReplicas, lane: str) -> dict[str, Any]:
    """Return how many replicas a lane has, and what each holds and is given at a time.

    That is one batch, as the queue is in the server, where it is fair.
    One encoder serves all generators, in bursts, so that it holds no processor of its own.
    """
    if lane == ENCODER:
        held = {"num_cpus": 0, "num_gpus": replicas.replica_gpus}
        return {"num_replicas": 1, "max_ongoing_requests": 1, "ray_actor_options": held}
    held = {"num_cpus": replicas.replica_cpus, "num_gpus": replicas.replica_gpus}
    if replicas.least == replicas.most:
        return {"num_replicas": replicas.most, "max_ongoing_requests": 1, "ray_actor_options": held}
    scaling = {
        "min_replicas": replicas.least,
        "max_replicas": replicas.most,
        "target_ongoing_requests": 1,  # batches, of which a replica draws one at a time
    }
    # One more may wait for a replica, so that it is never idle while there are fewer than lanes.
    return {"autoscaling_config": scaling, "max_ongoing_requests": 2, "ray_actor_options": held}


def _application(lane: str) -> str:
    return APPLICATION.format(lane=lane)


def _waiting() -> str:
    """Return what replicas wait for, nothing once all are there."""
    from ray import serve

    waiting = []
    for lane in (GENERATOR, ENCODER):
        state = serve.status().applications[_application(lane)]
        if state.status in {"DEPLOY_FAILED", "UNHEALTHY"}:
            raise SwiftPieError(f"Replicas cannot be started: {state.message}")
        if state.status != "RUNNING":
            info = [one.message for one in state.deployments.values() if one.message]
            waiting.append(f"{lane}: {short_reason(' '.join(info) or state.status.lower())}")
    return "; ".join(waiting)
