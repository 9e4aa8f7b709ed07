"""Which tensors pyconv takes, tensors as arrays and back, and calls on as many threads as torch has."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

import pyconv

from ...algorithm import Array
from ...errors import InvalidProblem, Unsupported
from ...options import call_under, current, with_threads

try:
    from ...backends.c import join_team
except ImportError:
    join_team = None  # type: ignore[assignment]

__all__ = [
    "DIRECT",
    "OPERATOR",
    "RECORDED",
    "REFUSALS",
    "THEIRS",
    "Declined",
    "array_of",
    "call",
    "each",
    "empty",
    "is_channels_last",
    "stand_in",
    "tensor_of",
    "way_of",
]


class Declined(Exception):
    """pyconv does not take this tensor: torch has to."""


#: What is said to calls that are then torch's to answer, or to refuse in its own words; the last one of what is no
#: tensor.
REFUSALS = (Declined, InvalidProblem, Unsupported, TypeError, AttributeError)
#: The ways of a call: torch's own function; pyconv's, with nothing between; pyconv's, recorded for its gradient; an
#: operator of torch's dispatcher, for whoever has to see it.
THEIRS, DIRECT, RECORDED, OPERATOR = range(4)

_FLOATS = frozenset({torch.float16, torch.float32, torch.float64})
_MOST_THREADS = 256
_Tensor, _Parameter = torch.Tensor, torch.nn.Parameter
_from_numpy = torch.from_numpy
_ndarray = np.ndarray
_get_num_threads = torch.get_num_threads
_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_is_autocast_enabled = torch.is_autocast_enabled
_transforms = torch._C._are_functorch_transforms_active
_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


@cache
def _on_gpu() -> bool:
    """Whether this pyconv has GPU kernels that can run."""
    return any(id.endswith("@cuda") for id in pyconv.algorithms())


def way_of(first: Any, *others: Any) -> int:
    """Say which way a call with these tensors goes; None stands for one that was not given.

    Everything that another part of torch wants to see on its way goes by an operator, or is torch's.
    """
    if first is None:
        return THEIRS
    if _is_compiling():
        given = [tensor for tensor in (first, *others) if tensor is not None]
        plain = all(tensor.device.type == "cpu" and tensor.layout is torch.strided for tensor in given)
        return OPERATOR if plain and first.dtype in _FLOATS and not _is_autocast_enabled("cpu") else THEIRS
    way, wants_gradient = DIRECT, False
    for tensor in (first, *others):
        if tensor is None:
            continue
        kind = tensor.__class__
        if kind is not _Tensor and kind is not _Parameter:
            if kind is not FakeTensor or tensor.device.type != "cpu":
                return THEIRS
            way = OPERATOR
        wants_gradient |= tensor.requires_grad
    if first.dtype not in _FLOATS or _transforms() or _function_modes() or _tracing() is not None:
        return THEIRS
    if forward_ad._current_level >= 0:
        return THEIRS
    on_gpu = first.is_cuda
    if _is_autocast_enabled("cuda" if on_gpu else "cpu"):
        return THEIRS
    if _dispatch_modes():
        way = OPERATOR
    elif way == DIRECT and wants_gradient and _is_grad_enabled():
        way = RECORDED
    # the GPU kernels have no gradients that could be promised here
    return THEIRS if on_gpu and (way != DIRECT or not _on_gpu()) else way


def array_of(tensor: torch.Tensor) -> Any:
    """Return an array over the tensor's memory; a tensor in GPU memory as it is."""
    try:
        return (tensor.detach() if tensor.requires_grad else tensor).numpy()
    except (RuntimeError, TypeError) as error:
        # sparse, quantized, bfloat16, with a lazy minus, ...
        if not tensor.is_cuda:
            raise Declined(str(error)) from None
        return tensor.detach()


def tensor_of(array: Any) -> torch.Tensor:
    """Return a tensor over the array's memory; what a GPU kernel returns for tensors is one already."""
    return _from_numpy(array) if array.__class__ is _ndarray else array


class _Thread(threading.local):
    joined = False


_thread = _Thread()


@cache
def _team() -> tuple[int, int] | None:
    """Addresses of ``GOMP_parallel`` and ``omp_get_thread_num`` in the run time that torch's threads belong to."""
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        library = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
        functions = library.GOMP_parallel, library.omp_get_thread_num
    except (OSError, AttributeError):
        return None
    parallel, number = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return parallel, number


def _join() -> None:
    """Let this thread's kernels run on torch's threads, which spin between torch's layers and would be in the way."""
    _thread.joined = True
    if join_team is not None and (team := _team()) is not None:
        join_team(*team)


def call(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call a function of pyconv on as many threads as torch would use."""
    if not _thread.joined:
        _join()
    threads, here = _get_num_threads(), current()
    if here.threads == threads:
        return function(*arguments, **settings)
    return call_under(with_threads(here, min(threads, _MOST_THREADS)), function, *arguments, **settings)


def each(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """Return one integer for each axis, from one or from a sequence; what is neither is torch's to refuse."""
    if value.__class__ is int:
        return (value,) * rank
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(found) == 1:
        found *= rank
    for entry in found:
        if not isinstance(entry, (int, torch.SymInt)):
            raise Declined(f"{name} must be integers, got {value!r}")
    if len(found) != rank:
        raise Declined(f"{name} must be an integer or {rank} of them, got {value!r}")
    return found


def is_channels_last(tensor: torch.Tensor, channel: int) -> bool:
    """Whether channels are fastest in memory and nothing else out of order: pyconv's rule, by torch's strides."""
    return bool(tensor.movedim(channel, -1).is_contiguous() and not tensor.is_contiguous())


def empty(like: torch.Tensor, shape: Sequence[Any], channel: int | None, last: bool) -> torch.Tensor:
    """Return a tensor as pyconv returns them, contents arbitrary: its channels last in memory or not."""
    if not last or channel is None:
        return like.new_empty(tuple(shape))
    moved = [size for axis, size in enumerate(shape) if axis != channel]
    return like.new_empty((*moved, shape[channel])).movedim(-1, channel)


def stand_in(shape: Sequence[int], dtype: np.dtype[Any], channel: int | None = None, last: bool = False) -> Array:
    """Return an array for an argument of which only shape, type and memory order matter; nothing touches its memory."""
    if not last or channel is None:
        return np.empty(tuple(shape), dtype)
    moved = [size for axis, size in enumerate(shape) if axis != channel]
    return np.moveaxis(np.empty((*moved, shape[channel]), dtype), -1, channel)
