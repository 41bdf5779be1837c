"""The server: an HTTP interface, live drawing, and a page, around sessions of the library."""

from dataclasses import dataclass
from typing import Annotated

from swiftpie.config import Option


@dataclass(frozen=True)
class Limits:
    """Bounds of a server."""

    body_mib: Annotated[float, Option("Largest request, in MiB.", least=0)] = 64.0
    body_s: Annotated[
        float, Option("Longest time for a request to arrive, in seconds.", least=0)
    ] = 30.0
    deadline_s: Annotated[float, Option("Longest wait for a picture, in seconds.", least=0)] = 30.0
    queue: Annotated[int, Option("Pictures that may wait.", least=1)] = 64
    queue_per_key: Annotated[int, Option("Pictures of one user that may wait.", least=1)] = 10
    batch: Annotated[
        int,
        Option(
            "Largest number of pictures drawn together; 0 means 4 on accelerators and 1 on "
            "processors, where more are hardly quicker.",
            least=0,
        ),
    ] = 0
    cache_mib: Annotated[float, Option("Identities and pictures kept, in MiB.", least=0)] = 1024.0
