"""``scipy.signal``'s convolutions and correlations; :mod:`pyconv.interop.scipy` says where results differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal as theirs

from ...algorithm import Array
from .core import Sum, fits, sum_of, summed

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve", "oaconvolve"]

#: As they were before anybody replaced them.
_convolve, _correlate = theirs.convolve, theirs.correlate
_convolve2d, _correlate2d = theirs.convolve2d, theirs.correlate2d
_fftconvolve, _oaconvolve = theirs.fftconvolve, theirs.oaconvolve

MODES = ("full", "same", "valid")
BOUNDARIES = {"fill": "zeros", "pad": "zeros", "wrap": "circular", "circular": "circular",
              "symm": "symmetric", "symmetric": "symmetric"}  # fmt: skip


def _way_of(in1: Array, in2: Array, mode: Any, bordered: bool = False) -> Sum | None:
    """Return how this is summed, None where it is SciPy's to do or to refuse.

    Ours have axes in equal number, and for "valid" one array that contains the other.
    """
    if mode not in MODES or in1.ndim != in2.ndim or not fits(in1, in2):
        return None
    if in1.dtype.kind == "b" or in2.dtype.kind == "b":
        return None
    larger = [a >= b for a, b in zip(in1.shape, in2.shape, strict=True)]
    smaller = [a <= b for a, b in zip(in1.shape, in2.shape, strict=True)]
    if mode == "valid" and not all(larger) and not all(smaller):
        return None
    # a sum meets each element of either once, but with a border, which is made of in1's
    return sum_of(in1, in2) if bordered or in1.size >= in2.size else sum_of(in2, in1)


def _convolved(
    in1: Array, in2: Array, mode: str, way: Sum, direct: bool = False, pad_mode: str = "zeros", up: bool = False
) -> Array:
    """Return the part of the full convolution that a mode names; the smaller array is the kernel where that may be.

    The middle of an even kernel is the element before its half, or with ``up``, as in correlate2d, the one behind.
    """
    if mode == "valid" and any(a < b for a, b in zip(in1.shape, in2.shape, strict=True)):
        in1, in2 = in2, in1
    starts, sizes = [], []
    for n, k in zip(in1.shape, in2.shape, strict=True):
        starts.append({"full": 0, "same": (k - 1 + up) // 2, "valid": k - 1}[mode])
        sizes.append({"full": n + k - 1, "same": n, "valid": n - k + 1}[mode])
    x, kernel = (in2, in1) if pad_mode == "zeros" and in2.size > in1.size else (in1, in2)
    flipped = kernel[(slice(None, None, -1),) * kernel.ndim]
    first = [start - (k - 1) for start, k in zip(starts, kernel.shape, strict=True)]
    return summed(x[None], flipped, way, first, sizes, pad_mode, direct)[0]  # type: ignore[no-any-return]


def _turned(array: Array) -> Array:
    """Return the array backwards along each axis, conjugated."""
    return array[(slice(None, None, -1),) * array.ndim].conj()


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Array:
    """Convolve two arrays: ``out[i] = sum over k of in1[i - k] in2[k]``.

    Parameters
    ----------
    in1, in2 : array_like
        With as many axes; 1 to 3 of them, and floats, complex numbers or integers, are done here.
    mode : {"full", "same", "valid"}
        Every position, those of in1, or those where one array lies within the other.
    method : {"auto", "direct", "fft"}
        ``"direct"`` sums products; the others leave the choice to pyconv.

    Returns
    -------
    array of the inputs' common type; int64 of integers

    Examples
    --------
    >>> convolve([1.0, 2.0, 3.0], [1.0, 1.0], mode="same")
    array([1., 3., 5.])
    """
    a, b = np.asarray(in1), np.asarray(in2)
    way = _way_of(a, b, mode)
    if method not in ("auto", "direct", "fft") or way is None:
        return np.asarray(_convolve(in1, in2, mode, method))
    return _convolved(a, b, mode, way, method == "direct")


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Array:
    """Correlate two arrays: ``out[i] = sum over k of in1[i + k] conj(in2[k])``, in the order of the full result.

    Parameters
    ----------
    in1, in2, mode, method
        As for :func:`convolve`.

    Examples
    --------
    >>> correlate([1.0, 2.0, 3.0], [0.0, 1.0, 0.5], mode="valid")
    array([3.5])
    """
    a, b = np.asarray(in1), np.asarray(in2)
    way = _way_of(a, b, mode)
    if method not in ("auto", "direct", "fft") or way is None:
        return np.asarray(_correlate(in1, in2, mode, method))
    return _convolved(a, _turned(b), mode, way, method == "direct")


def _two(in1: Array, in2: Array, mode: Any, boundary: Any, fillvalue: Any) -> Sum | None:
    """Return how two planes are summed, None where this is SciPy's to do or to refuse."""
    plain = np.ndim(fillvalue) == 0 and (np.isrealobj(fillvalue)) and bool(np.isfinite(fillvalue))
    if not in1.ndim == in2.ndim == 2 or boundary not in BOUNDARIES or not plain:
        return None
    return _way_of(in1, in2, mode, bordered=BOUNDARIES[boundary] != "zeros")


def _bordered(
    in1: Array, in2: Array, mode: str, boundary: str, fillvalue: Any, way: Sum, up: bool = False
) -> Array | None:
    """Return a plane convolved, going on beyond its border as SciPy's words say; None where SciPy has to do it."""
    pad_mode = BOUNDARIES[boundary]
    if mode == "valid" or (pad_mode == "zeros" and fillvalue == 0):
        return _convolved(in1, in2, mode, way, up=up)
    if pad_mode != "zeros":
        return _convolved(in1, in2, mode, way, pad_mode=pad_mode, up=up)
    filled = np.pad(in1, [(k - 1, k - 1) for k in in2.shape], constant_values=fillvalue)
    within = sum_of(filled, in2)
    if within is None:
        return None
    inner = _convolved(filled, in2, "valid", within)
    if mode == "full":
        return inner
    starts = [(k - 1 + up) // 2 for k in in2.shape]
    return inner[tuple(slice(start, start + n) for start, n in zip(starts, in1.shape, strict=True))]


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Array:
    """Convolve two planes.

    Parameters
    ----------
    in1, in2, mode
        As for :func:`convolve`; two axes.
    boundary : {"fill", "wrap", "symm"}
        ``'fill': 0000|1234|0000``, ``'wrap': 1234|1234|1234``, ``'symm': 4321|1234|4321``.
    fillvalue : scalar
        What fills.

    Examples
    --------
    >>> import numpy as np
    >>> convolve2d(np.eye(2), np.ones((2, 2)), mode="same", boundary="wrap")
    array([[2., 2.],
           [2., 2.]])
    """
    a, b = np.asarray(in1), np.asarray(in2)
    way = _two(a, b, mode, boundary, fillvalue)
    found = None if way is None else _bordered(a, b, mode, boundary, fillvalue, way)
    return np.asarray(_convolve2d(in1, in2, mode, boundary, fillvalue)) if found is None else found


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Array:
    """Correlate two planes; the parameters are those of :func:`convolve2d`.

    Examples
    --------
    >>> import numpy as np
    >>> correlate2d(np.arange(4.0).reshape(2, 2), np.array([[1.0, 0.0], [0.0, 0.0]]), mode="valid")
    array([[0.]])
    """
    a, b = np.asarray(in1), np.asarray(in2)
    way, found = _two(a, b, mode, boundary, fillvalue), None
    if way is not None:
        if mode == "valid" and any(n < k for n, k in zip(a.shape, b.shape, strict=True)):
            # SciPy conjugates whichever is the smaller
            a, b = a.conj(), b.conj()
        found = _bordered(a, _turned(b), mode, boundary, fillvalue, way, up=True)
    return np.asarray(_correlate2d(in1, in2, mode, boundary, fillvalue)) if found is None else found


def _along(in1: Any, in2: Any, mode: str, axes: Any, otherwise: Any) -> Array:
    """Convolve along some axes, the others being many convolutions; integers become float64, as with SciPy."""
    a, b = (np.asarray(array) for array in (in1, in2))
    a, b = (array.astype(np.float64) if array.dtype.kind in "iu" else array for array in (a, b))
    if a.ndim != b.ndim or a.ndim == 0 or mode not in MODES:
        return np.asarray(otherwise(in1, in2, mode, axes=axes))
    if axes is None:
        way = _way_of(a, b, mode)
        return np.asarray(otherwise(in1, in2, mode, axes=axes)) if way is None else _convolved(a, b, mode, way)
    try:
        named = [int(axis) % a.ndim for axis in np.atleast_1d(axes)]
    except (TypeError, ValueError):
        named = []
    others = [axis for axis in range(a.ndim) if axis not in named]
    one_kernel = all(b.shape[axis] == 1 for axis in others)
    floats = a.dtype.char in "fdFD" and b.dtype.char in "fdFD"
    if not named or len(set(named)) != len(named) or len(named) > 3 or not one_kernel or not floats or not a.size:
        return np.asarray(otherwise(in1, in2, mode, axes=axes))
    named.sort()
    sizes = [(a.shape[axis], b.shape[axis]) for axis in named]
    if mode == "valid" and any(n < k for n, k in sizes):
        return np.asarray(otherwise(in1, in2, mode, axes=axes))
    moved = a.transpose(*others, *named)
    batch = moved.reshape(-1, *(n for n, _ in sizes))
    kernel = np.flip(b.transpose(*others, *named).reshape([k for _, k in sizes]))
    way = sum_of(batch, kernel)
    assert way is not None
    first = [{"full": 1 - k, "same": (k - 1) // 2 - (k - 1), "valid": 0}[mode] for _, k in sizes]
    size = [{"full": n + k - 1, "same": n, "valid": n - k + 1}[mode] for n, k in sizes]
    out = summed(batch, kernel, way, first, size).reshape(*(a.shape[axis] for axis in others), *size)
    return out.transpose(np.argsort([*others, *named]))


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Array:
    """Convolve two arrays, by whichever algorithm pyconv chooses.

    Parameters
    ----------
    in1, in2, mode
        As for :func:`convolve`.
    axes : int or sequence of int, optional
        Along these axes only; the others are many convolutions. Done here where in2 is 1 long along the others.

    Returns
    -------
    array of floats

    Examples
    --------
    >>> import numpy as np
    >>> fftconvolve(np.ones((2, 4)), np.ones((1, 3)), mode="same", axes=1).round(6)
    array([[2., 3., 3., 2.],
           [2., 3., 3., 2.]])
    """
    return _along(in1, in2, mode, axes, _fftconvolve)


def oaconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Array:
    """:func:`fftconvolve`: pyconv cuts long arrays into tiles by itself.

    Examples
    --------
    >>> oaconvolve([1.0, 2.0, 3.0], [1.0, 1.0]).round(6)
    array([1., 3., 5., 3.])
    """
    return _along(in1, in2, mode, axes, _oaconvolve)
