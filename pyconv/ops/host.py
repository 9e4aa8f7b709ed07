"""Arrays of other libraries in host memory: how they are read, and how results of the same kind are made.

As in GPU memory (:mod:`.device`), the first array of a call says what its results are. torch's tensors are answered
with tensors, and arrays of a library that follows the array API standard with arrays of that library, by its
``from_dlpack``; both over the memory of the result. Anything else that exports an array interface or DLPack has no way
to be made, and is answered with NumPy's arrays, as these are themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..algorithm import Array

__all__ = ["HostArray", "delivered", "in_kind_of", "is_exported", "marked", "read"]

#: What libraries raise for an array that they cannot hand over: sparse, on another device, of a type that NumPy lacks.
_REFUSALS = (AttributeError, BufferError, RuntimeError, TypeError, ValueError)


class Kind(NamedTuple):
    """What a library has to say for its arrays."""

    #: read(argument's name, an array of theirs) -> an array over the same memory
    read: Callable[[str, Any], Array]
    #: wrap(a result, the array of theirs whose kind it takes) -> an array of theirs over the same memory; None: NumPy's
    wrap: Callable[[Array, Any], Any] | None = None


class HostArray(np.ndarray):
    """The first array of a call, where results are to be arrays of another library.

    ``like`` is the caller's object. It gets no further than ``ops``: kernels are handed plain arrays.
    """

    like: Any

    def __array_finalize__(self, source: Any) -> None:
        """Keep the caller's object through views and arithmetic."""
        self.like = getattr(source, "like", None)


def _exported(name: str, value: Any) -> Array:
    return np.asarray(value) if hasattr(value, "__array_interface__") else np.from_dlpack(value)


def _tensor_read(name: str, tensor: Any) -> Array:
    if tensor.requires_grad:
        if sys.modules["torch"].is_grad_enabled():
            raise TypeError(
                f"{name} is a tensor that requires a gradient, and nothing here would record the call; use "
                f"pyconv.interop.torch, or pass {name}.detach()"
            )
        tensor = tensor.detach()
    found: Array = tensor.numpy()
    return found


def _tensor_of(result: Array, like: Any) -> Any:
    return sys.modules["torch"].from_numpy(result)


def _standard_of(result: Array, like: Any) -> Any:
    from_dlpack = like.__array_namespace__().from_dlpack
    try:
        return from_dlpack(result)
    except _REFUSALS:
        # a library that knows one memory order only
        return from_dlpack(np.array(result, order="C", copy=True))


_PLAIN, _TENSOR, _STANDARD = Kind(_exported), Kind(_tensor_read, _tensor_of), Kind(_exported, _standard_of)


def _kind_of(value: Any) -> Kind:
    if isinstance(value, np.ndarray):
        return _PLAIN
    if isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ())):
        return _TENSOR
    namespace = getattr(value, "__array_namespace__", None)
    if namespace is not None and (found := namespace()) is not np and hasattr(found, "from_dlpack"):
        return _STANDARD
    return _PLAIN


def is_exported(value: Any) -> bool:
    """Whether this is an array of a library other than NumPy, by what it exports."""
    return not isinstance(value, (np.ndarray, np.generic)) and (
        hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__")
    )


def read(name: str, value: Any) -> Array:
    """Return an array over the memory of what exports an array interface or DLPack."""
    try:
        return _kind_of(value).read(name, value)
    except _REFUSALS as error:
        if isinstance(error, TypeError) and str(error).startswith(f"{name} "):
            raise
        raise TypeError(f"{name} cannot be read as an array in host memory: {error}") from None


def marked(array: Array, like: Any) -> Array:
    """Return the array that was read of ``like``, as the first of a call: results are to be of this kind."""
    if _kind_of(like).wrap is None:
        return array
    found = array.view(HostArray)
    found.like = like
    return found


def in_kind_of(first: Any, result: Array) -> Any:
    """Return a result as an array of the kind of a call's first one."""
    if first.__class__ is np.ndarray:
        return result
    like = first.like if isinstance(first, HostArray) else first
    wrap = _kind_of(like).wrap
    return result if wrap is None else wrap(result, like)


def delivered(first: Any, outs: Sequence[Any], results: Sequence[Any]) -> tuple[Any, ...]:
    """Return what the caller gets: an array of the caller's own that was written, else one of the first's kind."""
    return tuple(
        out if out is not None else None if result is None else in_kind_of(first, result)
        for out, result in zip(outs, results, strict=True)
    )
