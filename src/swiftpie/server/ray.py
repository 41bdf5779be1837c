"""Drawing by replicas of Ray Serve; the queue and what users store stay in this process.

Ray Serve starts, watches, replaces and scales the replicas, and takes each batch to one that is
free. Callers do not come through its proxy: heads that never end, live connections and fairness
need our own listening socket and one queue before all replicas.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

APPLICATION, DEPLOYMENT = "swiftpie", "generator"  # of Ray Serve
LOOK_S = 0.2  # between two looks at how far replicas are
TELL_S = 10.0  # between two messages on what they wait for
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

    Enter before anything listens to signals, as Ray takes them from their owner. Each replica loads
    `models` for itself, and draws on for `drain_s` when it is no longer needed. `on_retry` is for a
    batch that is drawn again, as its replica was lost.

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
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # as it logs each step
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

    def __init__(self, models: Callable[[], Models], batch: int) -> None:
        """Get ready; Ray Serve asks nothing of it before."""
        self._drawer = DrawingThread(models())
        for info in self._drawer.readying(batch):
            logger.info("%s", info)

    def facts(self) -> Facts:
        """Return its facts."""
        return Facts(self._drawer.together, self._drawer.models.vocabularies)

    async def draw(self, commands: Sequence[Command]) -> list[Any]:
        """Return what was made, or an error, for each; cancelled, it stops at its next stage."""
        made = await self._drawer.draw(commands)
        # The server may have no such device as this one.
        return [outcome.to("cpu") if isinstance(outcome, Identity) else outcome for outcome in made]


class RayBackend:
    """Draws by replicas of Ray Serve; see `on_ray` and `DrawingBackend`."""

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
        self._handle: DeploymentHandle | None = None  # once they are started
        self.at_once = replicas.most
        self.loaded: set[str] = set()  # by any replica, as far as it has reported
        self.vocabularies: dict[str, Any] = {}

    async def get_ready(self, batch: int, tell: Callable[[str], None]) -> int:
        """Start the replicas, and wait for them."""
        await asyncio.to_thread(self._deploy, batch)
        loop, info = asyncio.get_running_loop(), -math.inf
        while waiting := await asyncio.to_thread(_waiting):
            if loop.time() - info > TELL_S:
                info = loop.time()
                tell(f"starting replicas: {waiting}")
            await asyncio.sleep(LOOK_S)
        assert self._handle is not None
        facts: Facts = await self._handle.facts.remote()
        self.vocabularies |= facts.vocabularies
        self.loaded = set(facts.vocabularies)
        tell(f"ready: {self._replicas.least} of at most {self._replicas.most} replicas")
        return facts.together

    def _deploy(self, batch: int) -> None:
        from ray import serve

        if APPLICATION in serve.status().applications:
            raise ConfigError(
                f"This cluster runs {APPLICATION} already, of another server or of one that was "
                "killed. Stop that one, or run `serve shutdown` on the cluster."
            )
        deployment = serve.deployment(
            name=DEPLOYMENT,
            graceful_shutdown_timeout_s=self._drain_s,
            health_check_period_s=HEALTH_S,
            max_constructor_retry_count=TRIES,
            **_scaling(self._replicas),
        )
        target = serve.RunTarget(
            deployment(Replica).bind(self._models, batch), name=APPLICATION, route_prefix=None
        )
        (self._handle,) = serve.run_many([target], wait_for_applications_running=False)

    async def draw(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return what was made, or an error, for each."""
        from ray.exceptions import RayActorError

        assert self._handle is not None, "the server draws once it is ready"
        for number in range(TRIES):
            if number:
                self._on_retry()
            response = self._handle.draw.remote(commands)
            try:
                made: Sequence[Any] = await response
            except asyncio.CancelledError:
                response.cancel()
                raise
            except RayActorError as error:
                logger.warning("a replica was lost while it drew: %s", type(error).__name__)
                continue
            model, work = commands[0].model, commands[0].work
            self.loaded |= {model} - {""}
            if getattr(work, "func", None) is vocabulary_of:
                self.vocabularies[model] = made[0]
            return made
        raise RequestError(
            f"The process that drew the picture was lost, {TRIES} times. Ask again.",
            status=503,
            code="replica_lost",
        )

    async def close(self) -> None:
        """Stop the replicas."""
        from ray import serve

        if self._handle is not None:  # else the application is another server's
            await asyncio.to_thread(serve.delete, APPLICATION)


def _scaling(replicas: RayReplicas) -> dict[str, Any]:
    """Return how many replicas there are, and what each holds and is given at a time.

    That is one batch, as the queue is in the server, where it is fair.
    """
    options = {"num_cpus": replicas.replica_cpus, "num_gpus": replicas.replica_gpus}
    held: dict[str, Any] = {"ray_actor_options": options}
    if replicas.least == replicas.most:
        return {**held, "num_replicas": replicas.most, "max_ongoing_requests": 1}
    scaling = {
        "min_replicas": replicas.least,
        "max_replicas": replicas.most,
        "target_ongoing_requests": 1,  # batches, of which a replica draws one at a time
    }
    # One more batch may wait for a replica, so that no replica is idle while others start.
    return {**held, "autoscaling_config": scaling, "max_ongoing_requests": 2}


def _waiting() -> str:
    """Return the reason why replicas are not ready, empty once all are."""
    from ray import serve

    state = serve.status().applications[APPLICATION]
    if state.status in {"DEPLOY_FAILED", "UNHEALTHY"}:
        raise SwiftPieError(f"Replicas cannot be started: {state.message}")
    if state.status == "RUNNING":
        return ""
    messages = [
        deployment.message for deployment in state.deployments.values() if deployment.message
    ]
    return short_reason(" ".join(messages) or state.status.lower())
