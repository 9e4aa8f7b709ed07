"""Checks and conversions that every operation shares."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import ACTIVATIONS, DEFAULT_SLOPES, DTYPES, FLOATS, Pads
from .device import DeviceArray
from .host import HostArray, is_exported, marked, read

__all__ = [
    "activation_of",
    "as_array",
    "as_array_anywhere",
    "as_first",
    "as_first_anywhere",
    "dtype_of",
    "flag",
    "hashable",
    "is_plain",
    "numbers",
    "padding_of",
    "plain",
    "real",
]


def as_array(name: str, value: Any) -> Array:
    """Return an ndarray over the caller's memory, for anything that exports an array interface or DLPack."""
    if value.__class__ is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; pass {name}.filled(...) to say what masked elements count as")
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray)
    if _is_on_gpu(name, value):
        raise TypeError(f"{name} lives on a GPU; copy it to the host first (no GPU kernel does this)")
    if is_exported(value) or isinstance(value, np.generic):
        return read(name, value)
    raise TypeError(f"{name} must be an array, got {type(value).__name__}; use numpy.asarray(...) if that is meant")


def as_array_anywhere(name: str, value: Any) -> Any:
    """Return :func:`as_array` of it, or a :class:`DeviceArray` over GPU memory."""
    if value.__class__ is np.ndarray or value.__class__ is DeviceArray:
        return value
    if not isinstance(value, np.ndarray) and _is_on_gpu(name, value):
        return DeviceArray(name, value)
    return as_array(name, value)


def as_first(name: str, value: Any) -> Array:
    """Return :func:`as_array` of the first array of a call, whose kind the results are to have."""
    if value.__class__ is np.ndarray or value.__class__ is HostArray:
        return value
    return marked(as_array(name, value), value)


def as_first_anywhere(name: str, value: Any) -> Any:
    """Return :func:`as_first` of it, or a :class:`DeviceArray` over GPU memory."""
    if value.__class__ is np.ndarray or value.__class__ is HostArray or value.__class__ is DeviceArray:
        return value
    found = as_array_anywhere(name, value)
    return found if found.__class__ is DeviceArray else marked(found, value)


def _is_on_gpu(name: str, value: Any) -> bool:
    try:
        return hasattr(value, "__cuda_array_interface__") and not hasattr(value, "__array_interface__")
    except RuntimeError as error:  # a tensor that requires a gradient says so when it is asked
        raise TypeError(f"{name} cannot be read where it is: {error}") from None


def hashable(value: Any) -> Any:
    """Return lists as tuples, anything else as it is."""
    return tuple(hashable(entry) for entry in value) if isinstance(value, (list, tuple)) else value


@cache
def _word_of(dtype: np.dtype[Any]) -> str | None:
    return DTYPES.get(dtype.newbyteorder("=").name)


def dtype_of(name: str, dtype: np.dtype[Any], words: Iterable[str] = FLOATS) -> str:
    """Return the short word of an element type, in any byte order: one of ``words``."""
    word = _word_of(dtype)
    if word is None or word not in words:
        taken = [known for known, word in DTYPES.items() if word in words]
        raise TypeError(
            f"{name} must be {', '.join(taken)}, got {dtype.name}; convert it, for example {name}.astype(numpy.float32)"
        )
    return word


def is_plain(dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether kernels can read the array where it is: native byte order, strides in whole elements."""
    if not dtype.isnative:
        return False
    return all(stride % dtype.itemsize == 0 for stride, size in zip(strides, shape, strict=True) if size > 1)


def plain(array: Array) -> Array:
    """Return a contiguous, aligned copy in native byte order."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True, subok=False)


def numbers(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """Return one integer for each axis, from an integer or a sequence of them."""
    try:
        return (operator.index(value),) * rank
    except TypeError:
        pass
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be an integer or {rank} of them, got {value!r}")
    try:
        found = tuple(map(operator.index, value))
    except TypeError:
        raise TypeError(f"{name} must be an integer or {rank} of them, got {value!r}") from None
    if len(found) == 1:
        found *= rank
    if len(found) != rank:
        raise InvalidProblem(f"{name} must be an integer or {rank} of them, got {value!r}")
    return found


def flag(name: str, value: Any) -> bool:
    """Return a truth value; nothing else counts as one."""
    if value is True or value is False:
        return value
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def real(name: str, value: Any) -> float:
    """Return a finite number."""
    if isinstance(value, (str, bytes, bool, np.bool_, complex)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise InvalidProblem(f"{name} must be finite, got {number}")
    return number


def padding_of(
    value: Any, rank: int, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Pads:
    """Return (before, after) for each axis, from any form of ``padding``."""
    if isinstance(value, str):
        if value == "valid":
            return ((0, 0),) * rank
        if value != "same":
            raise InvalidProblem(f'padding must be numbers, "same" or "valid", got {value!r}')
        if any(s != 1 for s in stride):
            raise InvalidProblem(f'padding="same" needs stride 1, got stride {stride}; give the numbers instead')
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    if isinstance(value, Iterable):
        entries = list(value)
        if entries and all(isinstance(entry, Iterable) and not isinstance(entry, str) for entry in entries):
            pairs = [numbers("padding", entry, 2) for entry in entries]
            if len(pairs) != rank:
                raise InvalidProblem(f"padding must have a (before, after) pair for each of {rank} axes, got {value!r}")
            return tuple((before, after) for before, after in pairs)
    return tuple((p, p) for p in numbers("padding", value, rank))


def activation_of(value: Any) -> tuple[str | None, float]:
    """Return the activation's name and slope, from None, a name or (name, slope)."""
    if value is None:
        return None, 0.0
    if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] in DEFAULT_SLOPES:
        try:
            return str(value[0]), float(value[1])
        except (TypeError, ValueError):
            raise TypeError(f"the slope of {value[0]} must be a number, got {value[1]!r}") from None
    if isinstance(value, str) and value in ACTIVATIONS:
        return value, DEFAULT_SLOPES.get(value, 0.0)
    raise InvalidProblem(
        f"activation must be None, one of {', '.join(ACTIVATIONS)}, or (name, slope) with leaky_relu or elu; "
        f"got {value!r}"
    )
