"""A device beside the processor that computes on it: tensors of two devices do not meet."""

from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta", 0)  # a name that needs no driver; without a number nothing is there
COPIES = ("aten._to_copy", "aten.copy_")  # take tensors of any two devices
INDEXED = ("aten.index.", "aten.index_put", "aten._index_put")  # take indices of the processor
JOINED = ("aten.cat", "aten.stack")  # take no number of another device, as others do
FROM_PYTHON = {torch.tensor, torch.as_tensor, Tensor.new_tensor}  # what operations do not show


@contextmanager
def one_device():
    """In the block, tensors may be on `DEVICE`, and an operation on two devices is an error."""
    with patch("torch.autocast", lambda *_args, **_kwargs: nullcontext()), _FromPython(), _Mode():
        yield


class OnDevice(Tensor):
    """A tensor of the device; `values` holds its numbers."""

    @staticmethod
    def __new__(cls, values):
        self = cls._make_wrapper_subclass(
            *(cls, values.size(), values.stride(), values.storage_offset()),
            dtype=values.dtype,
            device=DEVICE,
        )
        self.values = values
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, _types, args=(), kwargs=None):
        return _computed(operation, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, operation, _types, args=(), kwargs=None):
        return _computed(operation, args, kwargs or {})


class _FromPython(TorchFunctionMode):
    def __torch_function__(self, called, _types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if called in {Tensor.__getitem__, Tensor.__setitem__}:
            tensor, index, *value = args
            index = tree_map_only(list, torch.tensor, index, is_leaf=lambda one: type(one) is list)
            return called(tensor, index, *value)
        if called is Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].values.tolist()
        if called not in FROM_PYTHON:
            return called(*args, **kwargs)
        device = kwargs.pop("device", None)
        if called is Tensor.new_tensor:
            like, *args = args
            kwargs, device = {"dtype": like.dtype} | kwargs, device or like.device
        elif called is torch.as_tensor and isinstance(args[0], Tensor):
            return args[0].to(device=device or args[0].device, **kwargs)
        args = tree_map_only(OnDevice, lambda one: one.values.tolist(), args)
        made = (torch.tensor if called is Tensor.new_tensor else called)(*args, **kwargs)
        return made.to(device or "cpu")


def _computed(operation, args, kwargs):
    name = str(operation)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, OnDevice)}
    others = [tensor for tensor in tensors if not isinstance(tensor, OnDevice)]
    is_ours = bool(ours)
    if name.startswith((*COPIES, *INDEXED)):
        is_ours = isinstance(args[0], OnDevice)
    if name.startswith(INDEXED):
        ends = [arg for arg in (args[0], *args[2:3]) if isinstance(arg, Tensor)]
        others = [end for end in ends if not isinstance(end, OnDevice)]
    if ours and not name.startswith(COPIES):
        met = [other for other in others if other.dim() > 0 or name.startswith(JOINED)]
        assert not met, (
            f"{name} on two devices: {[(*tensor.shape,) for tensor in met]} is not on ours"
        )
    if kwargs.get("device") is not None:
        is_ours = torch.device(kwargs["device"]) == DEVICE
        kwargs = {**kwargs, "device": "cpu"} if is_ours else kwargs
    args, kwargs = tree_map_only(OnDevice, lambda one: one.values, (args, kwargs))
    returned = operation(*args, **kwargs)
    if is_ours:
        returned = tree_map_only(Tensor, _wrapped(ours), returned)
    return returned


def _wrapped(ours):
    return lambda one: ours[id(one)] if id(one) in ours else OnDevice(one)
