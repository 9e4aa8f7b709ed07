"""Arrays in GPU memory: what they say of themselves, and how results of the same kind are made.

They come by ``__cuda_array_interface__``. CuPy arrays and torch tensors are answered with such, made by their own
allocators and on their current stream; anything else with Numba's device arrays, on the stream that the interface
names.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..problem import standard_strides

__all__ = ["KINDS", "DeviceArray", "Kind", "check_one_place"]


def _numba_copy(like: Any) -> Any:
    from numba import cuda

    source: Any = cuda.as_cuda_array(like)  # type: ignore[no-untyped-call]
    found = cuda.device_array(source.shape, source.dtype)
    found.copy_to_device(source)
    return found


class Kind(NamedTuple):
    """What a library has to say for its arrays."""

    #: empty(shape, dtype name, transposition or None, an array on the same GPU) -> a fresh array
    empty: Callable[[tuple[int, ...], str, tuple[int, ...] | None, Any], Any]
    #: stream(an array) -> the handle of the stream that the caller works on
    stream: Callable[[Any], int]
    #: gpu(an array) -> the number of its GPU, None where it does not say
    gpu: Callable[[Any], int | None]
    #: integer(an array of one) -> its value; this waits for it
    integer: Callable[[Any], int] = lambda array: int(array[0])
    #: copy(an array) -> a contiguous one of its own memory, on the same GPU; "" takes only contiguous ones
    copy: Callable[[Any], Any] = _numba_copy


def _torch_empty(shape: tuple[int, ...], dtype: str, axes: tuple[int, ...] | None, like: Any) -> Any:
    torch = sys.modules["torch"]
    found = torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)
    return found if axes is None else found.permute(axes)


def _torch_copy(like: Any) -> Any:
    return like.detach().clone(memory_format=sys.modules["torch"].contiguous_format)


def _cupy_copy(like: Any) -> Any:
    with like.device:
        return sys.modules["cupy"].array(like, order="C")


def _cupy_empty(shape: tuple[int, ...], dtype: str, axes: tuple[int, ...] | None, like: Any) -> Any:
    with like.device:
        found = sys.modules["cupy"].empty(shape, dtype)
    return found if axes is None else found.transpose(axes)


def _numba_empty(shape: tuple[int, ...], dtype: str, axes: tuple[int, ...] | None, like: Any) -> Any:
    from numba import cuda

    found = cuda.device_array(shape, np.dtype(dtype))
    if axes is None:
        return found
    interface = dict(found.__cuda_array_interface__)
    strides = standard_strides(shape, False, np.dtype(dtype).itemsize)
    interface |= {"shape": tuple(shape[axis] for axis in axes), "strides": tuple(strides[axis] for axis in axes)}
    return cuda.from_cuda_array_interface(interface, owner=found)


#: By the name of the package that an array's class is from; "" stands for the rest.
KINDS = {
    "torch": Kind(
        _torch_empty,
        lambda like: int(sys.modules["torch"].cuda.current_stream(like.device).cuda_stream),
        lambda like: int(like.device.index),
        copy=_torch_copy,
    ),
    "cupy": Kind(
        _cupy_empty,
        lambda like: int(sys.modules["cupy"].cuda.get_current_stream().ptr),
        lambda like: int(like.device.id),
        copy=_cupy_copy,
    ),
    "": Kind(_numba_empty, lambda like: int(like.__cuda_array_interface__.get("stream") or 0), lambda like: None),
}


class DeviceArray:
    """An array in GPU memory, with as much of a NumPy array's manners as planning asks for.

    ``base`` is the caller's object, ``owner`` what keeps the memory; ``strides`` are in bytes, ``pointer`` is where the
    first element lies.
    """

    __slots__ = ("base", "dtype", "owner", "pointer", "readonly", "shape", "strides")

    def __init__(self, name: str, base: Any) -> None:
        interface = base.__cuda_array_interface__
        lacking = [key for key in ("shape", "typestr", "data") if key not in interface]
        if lacking:
            raise TypeError(f"{name} lives on a GPU, but its __cuda_array_interface__ lacks {', '.join(lacking)}")
        if interface.get("mask") is not None:
            raise TypeError(f"{name} is a masked array; masks are not taken")
        self.base = self.owner = base
        self.dtype = np.dtype(interface["typestr"])
        self.shape = tuple(interface["shape"])
        strides = interface.get("strides")
        self.strides = standard_strides(self.shape, False, self.dtype.itemsize) if strides is None else tuple(strides)
        self.pointer, self.readonly = interface["data"]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def kind(self) -> Kind:
        """What its library has to say."""
        return KINDS.get(type(self.base).__module__.partition(".")[0], KINDS[""])

    def __getitem__(self, key: Any) -> DeviceArray:
        """Return the same memory with an axis of one element in front, or the first elements along the last axes.

        ``array[None]``, and ``array[..., :h, :w]`` with sizes up to the array's: no more is asked of it.
        """
        if key is None:
            return self.seen_as((1, *self.shape), (0, *self.strides))
        if isinstance(key, tuple) and key[0] is Ellipsis:
            sizes = tuple(part.stop for part in key[1:])
            return self.seen_as((*self.shape[: -len(sizes)], *sizes), self.strides)
        raise TypeError("a DeviceArray has no elements to look at")

    def seen_as(self, shape: tuple[int, ...], strides: tuple[int, ...], memory: Any = None) -> DeviceArray:
        """Return the same memory with other axes; or a kernel's scratch, which has a pointer, an owner and a dtype.

        Scratch is on this array's GPU, and the stream to use it on is this array's.
        """
        found: DeviceArray = object.__new__(DeviceArray)
        source = self if memory is None else memory
        found.base, found.readonly = self.base, self.readonly and memory is None
        found.owner, found.dtype, found.pointer = source.owner, source.dtype, source.pointer
        found.shape, found.strides = shape, strides
        return found

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements are in order, without gaps."""
        wanted = standard_strides(self.shape, False, self.dtype.itemsize)
        return all(s == t for s, t, size in zip(self.strides, wanted, self.shape, strict=True) if size > 1)

    def images(self, first: int, end: int) -> DeviceArray:
        """Return some of the first axis."""
        found = self.seen_as((end - first, *self.shape[1:]), self.strides)
        found.pointer += first * self.strides[0]
        return found

    def as_rows(self) -> DeviceArray | None:
        """Return an array (..., features) as (rows, features); None where one stride does not lead from row to row."""
        *sizes, features = self.shape
        kept = [(size, stride) for size, stride in zip(sizes, self.strides[:-1], strict=True) if size > 1]
        for (_, stride), (size, inner) in itertools.pairwise(kept):
            if 0 not in self.shape and stride != size * inner:
                return None
        step = kept[-1][1] if kept else features * self.dtype.itemsize
        return self.seen_as((math.prod(sizes), features), (step, self.strides[-1]))

    def span(self) -> tuple[int, int]:
        """Return the addresses of its first byte and behind its last; equal ones of an empty array."""
        if 0 in self.shape:
            return self.pointer, self.pointer
        reach = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        first = self.pointer + sum(step for step in reach if step < 0)
        return first, self.pointer + sum(step for step in reach if step > 0) + self.dtype.itemsize

    def overlaps(self, other: DeviceArray) -> bool:
        """Whether the memory between the first and the last elements has a byte in common."""
        (first, end), (other_first, other_end) = self.span(), other.span()
        return max(first, other_first) < min(end, other_end)


def check_one_place(arrays: dict[str, Any]) -> None:
    """Refuse a call with arrays in host memory and in a GPU's, or on two GPUs; None stands for one not given."""
    given = {name: array for name, array in arrays.items() if array is not None}
    there = [name for name, array in given.items() if isinstance(array, DeviceArray)]
    here = [name for name in given if name not in there]
    if there and here:
        raise TypeError(
            f"all arrays must be in one memory: {', '.join(there)} on a GPU, {', '.join(here)} on the host; move one"
        )
    found = {given[name].kind.gpu(given[name].base): name for name in there}
    found.pop(None, None)
    if len(found) > 1:
        raise TypeError(f"all arrays must be on one GPU; {', '.join(found.values())} are on different ones")
