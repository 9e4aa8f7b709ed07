"""``scipy.ndimage``'s linear filters; :mod:`pyconv.interop.scipy` says where results differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage as theirs

from ...algorithm import Array
from .core import fits, sum_of, summed

__all__ = ["convolve", "convolve1d", "correlate", "correlate1d"]

#: As they were before anybody replaced them.
_convolve, _correlate = theirs.convolve, theirs.correlate
_convolve1d, _correlate1d = theirs.convolve1d, theirs.correlate1d

#: SciPy's words and pyconv's. What SciPy calls "reflect" repeats the edge.
MODES = {
    "reflect": "symmetric", "grid-mirror": "symmetric", "mirror": "reflect", "nearest": "replicate",
    "wrap": "circular", "grid-wrap": "circular", "constant": "zeros", "grid-constant": "zeros",
}  # fmt: skip


def _result_type(x: Array, weights: Array) -> np.dtype[Any]:
    """Return what SciPy returns: the input's type, of integers int64 here; complex where either is."""
    real = np.dtype(np.int64) if x.dtype.kind in "iub" else x.dtype
    return np.result_type(real, np.complex64) if weights.dtype.kind == "c" and real.kind != "c" else real


def _wide_enough(x: Array, cval: float) -> Array:
    """Return integers in a type that holds what continues them as well."""
    if x.dtype.kind not in "iub":
        return x
    if not cval.is_integer():
        return x.astype(np.float64)
    return x if x.dtype.kind != "b" and int(cval) in range(*_limits(x.dtype)) else x.astype(np.int64)


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max) + 1


def _filtered(
    x: Array, weights: Array, output: Any, mode: Any, cval: Any, origins: Sequence[int], turned: bool
) -> Array | None:
    """Return the filtered array; None where this is SciPy's to do or to refuse."""
    if mode not in MODES or x.ndim != weights.ndim or not fits(x, weights) or weights.dtype.kind == "b":
        return None
    if np.ndim(cval) or not np.isrealobj(cval):
        return None
    centres = []
    for size, origin in zip(weights.shape, origins, strict=True):
        # a convolution is a correlation with the weights backwards and the origin on the other side
        shift = -origin - (size % 2 == 0) if turned else origin
        centre = size // 2 + shift
        if not 0 <= centre < size:
            return None
        centres.append(centre)
    kernel = weights[(slice(None, None, -1),) * weights.ndim] if turned else weights.conj()
    if output is None:
        target = np.dtype(_result_type(x, weights))
    elif isinstance(output, np.ndarray):
        if output.shape != x.shape:
            return None
        target = output.dtype
    else:
        try:
            target = np.dtype(output)
        except TypeError:
            return None
    if target.kind not in "iufc" or (target.kind != "c" and np.result_type(x, weights).kind == "c"):
        return None
    if x.dtype == np.float32 and weights.dtype.char in "df":
        # the weights' type is no matter of the result's
        kernel = kernel.astype(np.float32)
    pad_mode, first = MODES[mode], [-centre for centre in centres]
    if pad_mode == "zeros" and cval != 0:
        widths = [(centre, size - 1 - centre) for centre, size in zip(centres, kernel.shape, strict=True)]
        x, first, pad_mode = np.pad(_wide_enough(x, float(cval)), widths, constant_values=cval), [0] * x.ndim, "zeros"
        sizes = [n - k + 1 for n, k in zip(x.shape, kernel.shape, strict=True)]
    else:
        sizes = list(x.shape)
    if pad_mode == "reflect" and any(n == 1 < k for n, k in zip(x.shape, kernel.shape, strict=True)):
        return None
    way = sum_of(x, kernel)
    if way is None:
        return None
    found: Array = summed(x[None], kernel, way, first, sizes, pad_mode)[0]
    if target.kind in "iu" and found.dtype.kind == "f":
        found = np.trunc(found)
    if isinstance(output, np.ndarray):
        output[...] = found.astype(target, copy=False)
        return output
    return found.astype(target, copy=False)


def _origins(origin: Any, rank: int) -> list[int] | None:
    try:
        found = [int(value) for value in np.atleast_1d(origin)]
    except (TypeError, ValueError):
        return None
    found = found * rank if len(found) == 1 else found
    return found if len(found) == rank else None


def _several(
    turned: bool, input: Any, weights: Any, output: Any, mode: Any, cval: Any, origin: Any, words: dict[str, Any]
) -> Array:
    x, kernel = np.asarray(input), np.asarray(weights)
    origins = _origins(origin, x.ndim)
    if origins is not None and words.get("axes") is None and isinstance(mode, str):
        found = _filtered(x, kernel, output, mode, cval, origins, turned)
        if found is not None:
            return found
    otherwise = _convolve if turned else _correlate
    return np.asarray(otherwise(input, weights, output, mode, cval, origin, **words))


def correlate(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    **words: Any,
) -> Array:
    """Correlate an array with weights: ``out[i] = sum over k of weights[k] input[i + k - size // 2 - origin]``.

    Parameters
    ----------
    input, weights : array_like
        With as many axes; 1 to 3 of them, and floats, complex numbers or integers, are done here.
    output : array or dtype, optional
        Where to write, or the type of the result; by default the input's, int64 of integers.
    mode : {"reflect", "mirror", "nearest", "wrap", "constant"}
        ``'reflect': 4321|1234|4321``, ``'mirror': 432|1234|321``, ``'nearest': 1111|1234|4444``,
        ``'wrap': 1234|1234|1234``, ``'constant'``: ``cval``.
    cval : scalar
    origin : int or sequence of int
    **words
        ``axes``, which SciPy does.

    Examples
    --------
    >>> import numpy as np
    >>> correlate(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 0.0]))
    array([1., 1., 2.])
    """
    return _several(False, input, weights, output, mode, cval, origin, words)


def convolve(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    **words: Any,
) -> Array:
    """Convolve an array with weights; the parameters are those of :func:`correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> convolve(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 0.0]))
    array([2., 3., 3.])
    """
    return _several(True, input, weights, output, mode, cval, origin, words)


def _one(turned: bool, input: Any, weights: Any, axis: Any, output: Any, mode: Any, cval: Any, origin: Any) -> Array:
    x, kernel = np.asarray(input), np.asarray(weights)
    if kernel.ndim == 1 and isinstance(mode, str) and np.ndim(axis) == 0 and x.ndim and -x.ndim <= int(axis) < x.ndim:
        axis = int(axis) % x.ndim
        # the axis with what lies before and behind it in memory; axes of windows of one cost nothing but their number
        sizes = (int(np.prod(x.shape[:axis])), x.shape[axis], int(np.prod(x.shape[axis + 1 :])))
        kept = [place for place in range(3) if place == 1 or sizes[place] > 1]
        origins = _origins(origin, 1)
        usable = not isinstance(output, np.ndarray) or (output.flags.c_contiguous and output.shape == x.shape)
        if x.size and origins is not None and usable:
            shape = [sizes[place] for place in kept]
            window = kernel.reshape([-1 if place == 1 else 1 for place in kept])
            around = [origins[0] if place == 1 else 0 for place in kept]
            into = output.reshape(shape) if isinstance(output, np.ndarray) else output
            found = _filtered(x.reshape(shape), window, into, mode, cval, around, turned)
            if found is not None:
                return output if isinstance(output, np.ndarray) else found.reshape(x.shape)
    otherwise = _convolve1d if turned else _correlate1d
    return np.asarray(otherwise(input, weights, axis, output, mode, cval, origin))


def correlate1d(
    input: Any,
    weights: Any,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Array:
    """Correlate along one axis; the parameters are those of :func:`correlate`, but for one axis of weights.

    Examples
    --------
    >>> import numpy as np
    >>> correlate1d(np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([0.0, -1.0, 1.0]), axis=0)
    array([[2., 3.],
           [0., 0.]])
    """
    return _one(False, input, weights, axis, output, mode, cval, origin)


def convolve1d(
    input: Any,
    weights: Any,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Array:
    """Convolve along one axis; the parameters are those of :func:`correlate1d`.

    Examples
    --------
    >>> import numpy as np
    >>> convolve1d(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0]))
    array([3., 5., 6.])
    """
    return _one(True, input, weights, axis, output, mode, cval, origin)
