"""Packed weights, kept for as long as the tensor that they were packed from is there and unchanged."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

import pyconv

from ...algorithm import Array

__all__ = ["clear_packs", "kept"]

#: Ways of calling one weight tensor that are kept.
_MOST_CALLS = 8


class _Seen:
    """A tensor as it was: where it lay, how often it had been written to, and a sample of its values.

    The version is not told of writes through ``.data``, or through an array over the same memory: hence the sample. The
    memory is held, so that no other tensor can come to lie at its address.
    """

    __slots__ = ("alias", "dtype", "places", "pointer", "shape", "strides", "values", "version")

    def __init__(self, tensor: torch.Tensor, array: Array) -> None:
        self.alias = tensor.detach()
        self.version, self.pointer = tensor._version, tensor.data_ptr()
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        counts = (64,) if array.ndim == 1 else (16, 4, *(1,) * (array.ndim - 2))
        steps = [max(1, -(-size // count)) for size, count in zip(array.shape, counts, strict=True)]
        self.places = tuple(
            slice(min(step // 2, size), None, step) for step, size in zip(steps, self.shape, strict=True)
        )
        self.values = array[self.places].tobytes()

    def is_still(self, tensor: torch.Tensor, array: Array) -> bool:
        """Whether nothing has happened to it."""
        return (
            tensor._version == self.version
            and tensor.data_ptr() == self.pointer
            and array.shape == self.shape
            and array.strides == self.strides
            and array.dtype == self.dtype
            and array[self.places].tobytes() == self.values
        )


class _Call:
    __slots__ = ("bias", "run")

    def __init__(self, run: Callable[..., Any], bias: _Seen | None) -> None:
        self.run, self.bias = run, bias


class _Entry:
    __slots__ = ("calls", "reference", "w")

    def __init__(self, reference: weakref.ref[torch.Tensor], w: _Seen) -> None:
        self.reference, self.w = reference, w
        self.calls: dict[tuple[Any, ...], _Call] = {}


#: By the identity of the weights: tensors compare element by element, and are no keys.
_entries: dict[int, _Entry] = {}


def kept(
    function: Callable[..., Any],
    w: torch.Tensor,
    bias: torch.Tensor | None,
    w_array: Array,
    bias_array: Array | None,
    settings: tuple[Any, ...],
) -> Callable[..., Any] | None:
    """Return what :func:`pyconv.prepare` makes of these weights; None when they are met for the first time like this.

    So weights that change between any two calls, as in training, are never kept.
    """
    if w.is_inference() or (bias is not None and bias.is_inference()):
        return None  # no versions
    identity = id(w)
    entry = _entries.get(identity)
    if entry is None or not entry.w.is_still(w, w_array):
        _entries[identity] = _Entry(weakref.ref(w, lambda _: _entries.pop(identity, None)), _Seen(w, w_array))
        return None
    key = (function, settings, None if bias is None else id(bias))
    found = entry.calls.get(key)
    if found is None or (found.bias is not None and not found.bias.is_still(bias, bias_array)):  # type: ignore[arg-type]
        if len(entry.calls) >= _MOST_CALLS:
            entry.calls.clear()
        run = pyconv.prepare(function, w_array, bias_array, **dict(settings))
        seen = None if bias is None or bias_array is None else _Seen(bias, bias_array)
        found = entry.calls[key] = _Call(run, seen)
    return found.run


def clear_packs() -> None:
    """Forget all packed weights. They go with their tensors anyway; this frees their memory before.

    Examples
    --------
    >>> import torch
    >>> from pyconv.interop.torch import clear_packs, linear
    >>> with torch.no_grad():
    ...     linear(torch.ones(1, 2), torch.ones(3, 2))
    tensor([[2., 2., 2.]])
    >>> clear_packs()
    """
    _entries.clear()
