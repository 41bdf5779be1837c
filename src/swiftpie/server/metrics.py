"""Counters of the server for Prometheus."""

from typing import Any

import prometheus_client as prometheus
from prometheus_client import Counter, Histogram
from starlette.responses import Response

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of one server; none of them holds a prompt, a name or a token."""

    def __init__(self) -> None:
        self._registry = prometheus.CollectorRegistry()
        named: Any = {"registry": self._registry, "namespace": "swiftpie"}
        self._requests = Counter(
            "requests", "Requests answered, by route and status.", ["route", "code"], **named
        )
        self._batch_size = Histogram(
            "batch_size", "Requests drawn together.", buckets=(1, 2, 3, 4, 6, 8, 16), **named
        )
        self._batch_seconds = Histogram(
            "batch_seconds", "Time that a batch took to draw.", buckets=SECONDS, **named
        )
        self.cancelled = Counter("cancelled", "Pictures given up before they were drawn.", **named)
        self.rejected = Counter("rejected", "Requests refused because the queue was full.", **named)

    def count(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()

    def batch(self, size: int, seconds: float) -> None:
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def response(self) -> Response:
        text = prometheus.generate_latest(self._registry)
        return Response(text, media_type=prometheus.CONTENT_TYPE_LATEST)
