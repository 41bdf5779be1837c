"""A compiled graph that several threads may call."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swiftpie.engine.openvino.arguments import plain
from swiftpie.engine.openvino.export import number_of
from swiftpie.engine.openvino.runtime import load


class Graph:
    """A network's computation, ready for this processor."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - OpenVINO's class
        self._compiled = compiled
        self._wrap = load("openvino").Tensor
        self._order = [number_of(place) for place in compiled.inputs]
        self._idle: deque[Any] = deque()  # a call has a request of its own while it lasts

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return all outputs in float32 or int64; inputs that the graph ignores are dropped."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        arrays = [plain(tensors[k]).numpy() for k in self._order]
        for place, array in enumerate(arrays):
            request.set_input_tensor(place, self._wrap(array, shared_memory=True))
        found = request.infer(share_outputs=True)
        outputs = tuple(torch.from_numpy(found[i].copy()) for i in range(len(found)))
        self._idle.append(request)
        return outputs
