"""One sum for all of SciPy's: outputs ``first`` to ``first + size`` of a correlation along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import pyconv
from pyconv.options import options

from ...algorithm import Array

__all__ = ["Sum", "fits", "sum_of", "summed"]

_CONV = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
#: Integers up to these are float32 and float64 values: sums of products which stay below are exact in any order.
_EXACT_NARROW, _EXACT_WIDE = 2**24, 2**53
#: Sums up to this are still nearest to their integers with the rounding of an FFT, some 2^-45 of the magnitudes.
_EXACT_BY_FFT = 2**44
#: Taps beyond which an FFT of float64 takes less time than products of float32.
_FEW_TAPS = 256


class Sum(NamedTuple):
    """How products of two types are summed."""

    #: the result's type
    dtype: np.dtype[Any]
    #: the type of the arithmetic; of complex numbers that of their parts
    work: np.dtype[Any]
    #: whether nothing but products may be summed, because the result has to be exact
    direct: bool


def fits(*arrays: Array) -> bool:
    """Whether arrays have 1 to 3 axes of numbers that pyconv sums: real or complex floats of 4 or 8 bytes, integers."""
    return all(
        1 <= array.ndim <= 3 and array.size > 0 and (array.dtype.kind in "iub" or array.dtype.char in "fdFD")
        for array in arrays
    )


def _largest(array: Array) -> int:
    """Return a bound of the magnitudes: that of the type where it is small, else that of the elements."""
    if array.dtype.kind == "b":
        return 1
    if array.dtype.itemsize <= 2:
        limits = np.iinfo(array.dtype)
        return max(-int(limits.min), int(limits.max))
    return max(abs(int(array.min())), abs(int(array.max())))


def sum_of(x: Array, kernel: Array) -> Sum | None:
    """Return how they are summed: integers exactly, as int64; None where these are too large for float64 to hold."""
    if x.dtype.kind in "iub" and kernel.dtype.kind in "iub":
        total = _largest(x) * float(np.abs(kernel.astype(np.float64)).sum())
        if total < _EXACT_NARROW and kernel.size <= _FEW_TAPS:
            return Sum(np.dtype(np.int64), np.dtype(np.float32), direct=True)
        wide = Sum(np.dtype(np.int64), np.dtype(np.float64), direct=total > _EXACT_BY_FFT)
        return wide if total < _EXACT_WIDE else None
    dtype = np.result_type(x, kernel)
    return Sum(dtype, np.dtype(np.float32 if dtype.char in "fF" else np.float64), direct=False)


def _channels(x: Array, work: np.dtype[Any]) -> Array:
    """Return arrays (n, ...) as (n, c, ...): one channel, or the two parts of complex numbers, where they lie."""
    if x.dtype.kind != "c":
        return x.astype(work, copy=False)[:, None]
    pairs = np.ascontiguousarray(x, np.result_type(work, np.complex64)).view(work)
    return np.moveaxis(pairs.reshape(*x.shape, 2), -1, 1)


def _filters(kernel: Array, work: np.dtype[Any], of_complex: bool) -> tuple[Array, int]:
    """Return a kernel as filters (c_out, c_in, ...) for these channels, and their groups."""
    parts = np.stack([kernel.real, kernel.imag] if kernel.dtype.kind == "c" else [kernel]).astype(work, copy=False)
    if not of_complex:
        return parts[:, None], 1
    if len(parts) == 1:
        return np.stack([parts, parts]), 2
    return np.stack([np.stack([parts[0], -parts[1]]), parts[::-1]]), 1


def summed(
    x: Array, kernel: Array, way: Sum, first: Sequence[int], size: Sequence[int], mode: str = "zeros",
    direct: bool = False,
) -> Array:  # fmt: skip
    """Return ``out[n, i] = sum over k of kernel[k] x[n, first + i + k]`` for i below ``size``, x continued at its ends.

    Parameters
    ----------
    x : (n, ...), with 1 to 3 axes after the first, of the types that :func:`fits` takes
    kernel : (...), with these axes
    way : Sum
        :func:`sum_of` them, or of arrays that hold no smaller numbers; the result has its type.
    first, size : sequence of int
        One entry an axis.
    mode : str
        How x goes on: one of pyconv's padding modes.
    direct : bool
        Whether to sum products only.

    Notes
    -----
    The parts of complex numbers are two channels. A real kernel is a filter for each, in groups; a complex one,
    c + i d, is a filter for each part of the result, ``(c, -d)`` and ``(d, c)``.
    """
    filters, groups = _filters(kernel, way.work, x.dtype.kind == "c")
    found = _correlation(_channels(x, way.work), filters, groups, first, size, mode, direct or way.direct)
    if way.dtype.kind == "c":
        result: Array = np.empty((len(x), *size), way.dtype)
        result.real, result.imag = found[:, 0], found[:, 1]
        return result
    if way.dtype.kind == "i" and not way.direct:
        np.rint(found, out=found)
    return found[:, 0].astype(way.dtype, copy=False)


def _correlation(
    x: Array, kernel: Array, groups: int, first: Sequence[int], size: Sequence[int], mode: str, direct: bool
) -> Array:
    """Return the same of x (n, c_in, ...) and kernels (c_out, c_in / groups, ...): (n, c_out, *size)."""
    pads, cut = [], []
    for n, k, begin, count in zip(x.shape[2:], kernel.shape[2:], first, size, strict=True):
        before, after = -begin, begin + count + k - 1 - n
        if mode == "zeros":
            # what no output reads is left away
            cut.append(slice(max(0, -before), n - max(0, -after)))
            pads.append((max(0, before), max(0, after)))
        else:
            cut.append(slice(None))
            pads.append((max(0, before), max(0, after)))
    window = x[(slice(None), slice(None), *cut)]
    if 0 in window.shape:
        return np.zeros((len(x), len(kernel), *size), x.dtype)
    with options(accuracy="strict") if direct else options():
        out: Array = _CONV[len(cut)](window, kernel, padding=tuple(pads), groups=groups, padding_mode=mode)
    if mode != "zeros":
        # outputs that begin inside
        begun = [slice(max(0, begin), max(0, begin) + count) for begin, count in zip(first, size, strict=True)]
        out = out[(slice(None), slice(None), *begun)]
    return out
