"""Packed weights, kept for as long as the tensor that they were packed from is there and unchanged."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import pyconv

from .tensors import array_of

__all__ = ["clear_packs", "kept"]

#: Ways of calling one weight tensor that are kept.
_MOST_CALLS = 8
#: Elements that are looked at in each call.
_SAMPLE = 64


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Return the elements as they lie in memory; what has gaps between them is no view of that kind, and an error."""
    axes = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    return tensor.detach().permute(axes).view(-1)


class _Seen:
    """A tensor as it was: where it lay, how often it had been written to, and a sample of its values.

    The version is not told of writes through ``.data``, or through an array over the same memory: hence the sample. The
    memory is held, so that no other tensor can come to lie at its address.
    """

    __slots__ = ("alias", "dtype", "pointer", "sample", "shape", "strides", "values", "version")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.alias = tensor.detach()
        self.version, self.pointer, self.dtype = tensor._version, tensor.data_ptr(), tensor.dtype
        self.shape, self.strides = tensor.shape, tensor.stride()
        flat = array_of(_flat(tensor))
        step = max(1, flat.size // _SAMPLE)
        while math.gcd(step, flat.size) > 1:  # so that all rows, columns and channels have their turn
            step += 1
        #: A view: it shows the memory as it is now.
        self.sample = flat[::step]
        self.values = self.sample.tobytes()

    def is_still(self, tensor: torch.Tensor) -> bool:
        """Whether nothing has happened to it."""
        return (
            tensor._version == self.version
            and tensor.data_ptr() == self.pointer
            and tensor.shape == self.shape
            and tensor.stride() == self.strides
            and tensor.dtype is self.dtype
            and self.sample.tobytes() == self.values
        )


def _has_history(tensor: torch.Tensor) -> bool:
    """Whether changes of it can be told: it lies in memory, without gaps, and has a version."""
    if tensor.is_inference() or not tensor.is_cpu or tensor.layout is not torch.strided:
        return False
    try:
        _flat(tensor)
    except RuntimeError:
        return False
    return True


class _Call:
    __slots__ = ("bias", "run")

    def __init__(self, run: Callable[..., Any], bias: _Seen | None) -> None:
        self.run, self.bias = run, bias


class _Entry:
    """What is known of one tensor of weights; ``w`` is None until something has been packed."""

    __slots__ = ("calls", "pointer", "reference", "version", "w")

    def __init__(self, reference: weakref.ref[torch.Tensor], version: int, pointer: int) -> None:
        self.reference, self.version, self.pointer = reference, version, pointer
        self.w: _Seen | None = None
        self.calls: dict[tuple[Any, ...], _Call] = {}

    def is_still(self, tensor: torch.Tensor) -> bool:
        """Whether nothing has happened to the weights since."""
        if self.w is not None:
            return self.w.is_still(tensor)
        return bool(tensor._version == self.version and tensor.data_ptr() == self.pointer)


#: By the identity of the weights: tensors compare element by element, and are no keys.
_entries: dict[int, _Entry] = {}


def _forget(identity: int, reference: Any) -> None:
    """Let go of the weights that this reference was to; another tensor may have their identity by now."""
    entry = _entries.get(identity)
    if entry is not None and entry.reference is reference:
        _entries.pop(identity, None)


def kept(
    function: Callable[..., Any], w: torch.Tensor, bias: torch.Tensor | None, settings: tuple[tuple[str, Any], ...]
) -> Callable[..., Any] | None:
    """Return what :func:`pyconv.prepare` makes of these weights; None when they are met for the first time like this.

    So weights that change between any two calls, as in training, are never kept.
    """
    identity = id(w)
    entry = _entries.get(identity)
    if entry is None or not entry.is_still(w):
        if _has_history(w) and (bias is None or _has_history(bias)):
            forget = partial(_forget, identity)
            _entries[identity] = _Entry(weakref.ref(w, forget), w._version, w.data_ptr())
        return None
    key = (function, settings, None if bias is None else id(bias))
    found = entry.calls.get(key)
    if found is None or (found.bias is not None and not found.bias.is_still(bias)):
        if bias is not None and not _has_history(bias):
            return None
        if len(entry.calls) >= _MOST_CALLS:
            entry.calls.clear()
        entry.w = entry.w or _Seen(w)
        run = pyconv.prepare(function, array_of(w), None if bias is None else array_of(bias), **dict(settings))
        found = entry.calls[key] = _Call(run, None if bias is None else _Seen(bias))
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
