"""Bounds of a server and its replicas; loads no package of the server."""

import re
from dataclasses import dataclass
from typing import Annotated

from swiftpie.config import Option
from swiftpie.errors import ConfigError

RANGE = re.compile(r"([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?")


@dataclass(frozen=True)
class Limits:
    """Bounds of a server."""

    body_mib: Annotated[float, Option("Largest request, in MiB.", least=0)] = 64.0
    body_s: Annotated[float, Option("Seconds that a request may take to arrive.", least=0)] = 30.0
    deadline_s: Annotated[
        float, Option("Seconds after which a picture is no longer drawn.", least=0)
    ] = 30.0
    queue: Annotated[int, Option("Pictures that may wait.", least=1)] = 64
    queue_per_key: Annotated[int, Option("Pictures of one user that may wait.", least=1)] = 8
    batch: Annotated[
        int,
        Option(
            "Pictures drawn together at most; 0, the default, is 4 on accelerators. On processors "
            "it is 1, as several at once are hardly quicker there and all callers wait longer.",
            least=0,
        ),
    ] = 0
    cache_mib: Annotated[float, Option("Identities and pictures kept, in MiB.", least=0)] = 256.0
    identities_mib: Annotated[
        float, Option("Of identities that one user keeps at --identities, in MiB.", least=0)
    ] = 256.0


@dataclass(frozen=True)
class RayReplicas:
    """Processes of Ray Serve that draw."""

    replicas: Annotated[
        str,
        Option(
            "With --ray, how many processes draw: N, or from MIN to MAX under load.",
            metavar="N|MIN-MAX",
        ),
    ] = "1"
    replica_cpus: Annotated[float, Option("Processors that each of them holds.", least=0)] = 1.0
    replica_gpus: Annotated[float, Option("GPUs that each holds; 0.5 is half.", least=0)] = 0.0

    def __post_init__(self) -> None:
        found = RANGE.fullmatch(self.replicas)
        if found is None or self.least > self.most:
            raise ConfigError(
                f"--replicas {self.replicas!r} is no number of replicas. A number, or the least "
                "and the most, is needed. Write for example 2, or 1-4."
            )

    @property
    def least(self) -> int:
        """Replicas at any time."""
        return int(self.replicas.partition("-")[0])

    @property
    def most(self) -> int:
        """Replicas under load."""
        return int(self.replicas.rpartition("-")[2])
