"""One sum for all of SciPy's: outputs ``first`` to ``first + size`` of a correlation along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import pyconv
from pyconv.options import options

from ...algorithm import Array

__all__ = ["CONV", "correlation", "exact_type", "fits", "summed"]

CONV = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
#: Integers up to this are float64 values.
_EXACT = 2**53


def fits(*arrays: Array) -> bool:
    """Whether arrays have 1 to 3 axes of numbers that pyconv sums: real or complex floats of 4 or 8 bytes, integers."""
    return all(
        1 <= array.ndim <= 3 and array.size > 0 and (array.dtype.kind in "iub" or array.dtype.char in "fdFD")
        for array in arrays
    )


def exact_type(x: Array, kernel: Array) -> np.dtype[Any] | None:
    """Return the type of a sum; int64 of integers, None where they are too large for float64 to hold."""
    if x.dtype.kind in "iub" and kernel.dtype.kind in "iub":
        largest = max(abs(int(x.min())), abs(int(x.max())))
        total = float(np.abs(kernel.astype(np.float64)).sum())
        return np.dtype(np.int64) if largest * total < _EXACT else None
    return np.result_type(x, kernel)


def summed(
    x: Array, kernel: Array, first: Sequence[int], size: Sequence[int], mode: str = "zeros", **words: Any
) -> Array:
    """Return :func:`correlation` of all types that :func:`fits` takes: complex numbers by parts, integers exactly.

    The result has the type of :func:`exact_type`, which must not be None.
    """
    dtype = exact_type(x, kernel)
    assert dtype is not None
    if dtype.kind == "c":
        parts = []
        for array in (x, kernel):
            real, imaginary = array.real, array.imag if array.dtype.kind == "c" else None
            parts.append((real, imaginary))
        (a, b), (c, d) = parts
        result = np.zeros(tuple(size), dtype)

        def part(p: Array, q: Array) -> Array:
            return summed(p, q, first, size, mode, **words)

        result.real = part(a, c)
        if d is not None:
            result.imag = part(a, d)
        if b is not None:
            result.imag += part(b, c)
            if d is not None:
                result.real -= part(b, d)
        return result
    work = np.dtype(np.float32) if dtype == np.float32 else np.dtype(np.float64)
    found = correlation(x.astype(work, copy=False), kernel.astype(work, copy=False), first, size, mode, **words)
    return np.rint(found).astype(dtype) if dtype.kind == "i" else found.astype(dtype, copy=False)


def correlation(
    x: Array, kernel: Array, first: Sequence[int], size: Sequence[int], mode: str = "zeros", direct: bool = False
) -> Array:
    """Return ``out[i] = sum over k of kernel[k] x[first + i + k]`` for i below ``size``, x continued beyond its ends.

    Parameters
    ----------
    x, kernel : 1 to 3 axes, float32 or float64
    first, size : sequence of int
        One entry an axis.
    mode : str
        How x goes on: one of pyconv's padding modes.
    direct : bool
        Whether to sum products only.
    """
    pads, cut = [], []
    for n, k, begin, count in zip(x.shape, kernel.shape, first, size, strict=True):
        before, after = -begin, begin + count + k - 1 - n
        if mode == "zeros":
            # what no output reads is left away
            cut.append(slice(max(0, -before), n - max(0, -after)))
            pads.append((max(0, before), max(0, after)))
        else:
            cut.append(slice(None))
            pads.append((max(0, before), max(0, after)))
    window = x[tuple(cut)]
    if 0 in window.shape:
        return np.zeros(tuple(size), x.dtype)
    with options(accuracy="strict") if direct else options():
        out: Array = CONV[x.ndim](window[None, None], kernel[None, None], padding=tuple(pads), padding_mode=mode)[0, 0]
    if mode != "zeros":
        # outputs that begin inside
        out = out[tuple(slice(max(0, begin), max(0, begin) + count) for begin, count in zip(first, size, strict=True))]
    return out
