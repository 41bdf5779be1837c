"""A compiled graph that several threads may call."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swiftpie.engine.openvino.export import number_of


class Graph:
    """A network's computation, ready for this processor."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - OpenVINO's class
        self._compiled = compiled
        self._order = [number_of(place) for place in compiled.inputs]
        self._idle: deque[_Request] = deque()  # a call has one of its own while it lasts

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return all outputs in float32 or int64; inputs that the graph ignores are dropped."""
        request = self._filled(tensors)
        request.inner.infer(share_outputs=True)  # what it returns else is one copy more
        return self._emptied(request)

    def each(self, calls: Sequence[Sequence[Tensor]]) -> list[tuple[Tensor, ...]]:
        """Return all outputs of each call; as many as the graph has streams run at a time."""
        requests = [self._filled(tensors) for tensors in calls]
        for request in requests:
            request.inner.start_async()
        for request in requests:
            request.inner.wait()
        return [self._emptied(request) for request in requests]

    def _filled(self, tensors: Sequence[Tensor]) -> "_Request":
        try:
            request = self._idle.pop()
        except IndexError:
            request = _Request(self._compiled)
        for place, number in zip(request.inputs, self._order, strict=True):
            place.copy_(tensors[number])
        return request

    def _emptied(self, request: "_Request") -> tuple[Tensor, ...]:
        found = tuple(one.clone() for one in request.outputs)
        self._idle.append(request)
        return found


class _Request:
    """One call at a time, with memory of its own for what enters and leaves."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - OpenVINO's class
        self.inner = compiled.create_infer_request()
        self.inputs = [torch.from_numpy(one.data) for one in self.inner.input_tensors]
        self.outputs = [torch.from_numpy(one.data) for one in self.inner.output_tensors]
