"""Windows over chunked arrays; :mod:`pyconv.interop.dask` says how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np

import pyconv

from ...algorithm import Array
from ...errors import InvalidProblem, Unsupported
from ...options import options

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

#: pyconv's padding modes in the words of ``dask.array.pad``.
_MODES = {
    "zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric",
}  # fmt: skip


def _alone(block: Array, function: Callable[..., Array], arguments: tuple[Any, ...], settings: dict[str, Any]) -> Array:
    """Run on one chunk, on this thread alone."""
    with options(threads=1):
        return function(block, *arguments, **settings)


def _starts(chunks: tuple[int, ...], size_out: int, stride: int, reach: int) -> list[int]:
    """Return where chunks begin: at whole strides, each long enough to complete the windows of the one before."""
    least, last = max(reach - 1, 1), (size_out - 1) * stride
    starts = [0]
    for end in np.cumsum(chunks).tolist():
        start = end // stride * stride
        if start - starts[-1] >= least and start <= last:
            starts.append(start)
    return starts


def _over_windows(
    x: Any, problem: Any, channels: int, fill: Any, mode: str, function: Callable[..., Array],
    arguments: tuple[Any, ...], **settings: Any,
) -> Any:  # fmt: skip
    """Return a function of windows without padding, of an array that is padded first.

    ``problem`` has the windows' sizes and the padding; ``channels`` are the result's.
    """
    for (before, after), n in zip(problem.padding, problem.spatial, strict=True):
        longest = {"reflect": n - 1, "symmetric": n, "circular": n}.get(mode, before + after)
        if max(before, after) > longest:
            raise Unsupported(
                f"{mode} padding of a chunked array must be at most {longest} here, got {(before, after)}"
            )
    if any(map(any, problem.padding)):
        more = {"constant_values": fill} if mode == "zeros" else {}
        x = da.pad(x, ((0, 0), (0, 0), *problem.padding), mode=_MODES[mode], **more)
    reaches = [d * (k - 1) + 1 for k, d in zip(problem.kernel, problem.dilation, strict=True)]
    cuts, outs = [], []
    for chunks, size, size_out, stride, reach in zip(
        x.chunks[2:], x.shape[2:], problem.out_spatial, problem.stride, reaches, strict=True
    ):
        starts = _starts(chunks, size_out, stride, reach)
        cuts.append(tuple(np.diff([*starts, size]).tolist()))
        outs.append(tuple(np.diff([*(start // stride for start in starts), size_out]).tolist()))
    x = x.rechunk((x.chunks[0], x.shape[1], *cuts))
    return da.map_overlap(
        _alone,
        x,
        depth={axis + 2: (0, reach - 1) for axis, reach in enumerate(reaches)},
        boundary="none",
        trim=False,
        chunks=(x.chunks[0], (channels,), *outs),
        dtype=x.dtype,
        meta=np.empty((0,) * x.ndim, x.dtype),
        function=function,
        arguments=arguments,
        settings=settings,
    )


def _batched(name: str, rank: int, x: Any) -> tuple[Any, bool]:
    """Return an array with a batch axis, and whether it had none."""
    if not isinstance(x, da.Array):
        raise TypeError(f"{name}: x must be a dask.array.Array, got {type(x).__name__}; see pyconv.{name} for others")
    if any(np.isnan(x.shape)):
        raise InvalidProblem(f"{name}: x has chunks of unknown size; x.compute_chunk_sizes() finds them out")
    return (x[None], True) if x.ndim == rank + 1 else (x, False)


def _stand_in(x: Any) -> Array:
    """Return an array of this shape and type that takes up one element."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)


_CONV = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
_MAX = {1: pyconv.max_pool1d, 2: pyconv.max_pool2d, 3: pyconv.max_pool3d}
_AVG = {1: pyconv.avg_pool1d, 2: pyconv.avg_pool2d, 3: pyconv.avg_pool3d}


def _convolved(
    rank: int, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, padding_mode: str,
    activation: Any, algorithm: str,
) -> Any:  # fmt: skip
    x, lifted = _batched(f"conv{rank}d", rank, x)
    problem: Any = pyconv.explain(
        _CONV[rank], _stand_in(x), w, bias, stride, padding, dilation, groups, padding_mode=padding_mode,
        activation=activation,
    ).problem  # fmt: skip
    y = _over_windows(
        x, problem, problem.c_out, 0, padding_mode, _CONV[rank], (w, bias), stride=problem.stride,
        dilation=problem.dilation, groups=problem.groups, activation=activation, algorithm=algorithm,
    )  # fmt: skip
    return y[0] if lifted else y


def _largest(rank: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, algorithm: str) -> Any:
    x, lifted = _batched(f"max_pool{rank}d", rank, x)
    problem: Any = pyconv.explain(_MAX[rank], _stand_in(x), kernel_size, stride, padding, dilation).problem
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    y = _over_windows(
        x, problem, problem.c, least, "zeros", _MAX[rank], (problem.kernel, problem.stride),
        dilation=problem.dilation, algorithm=algorithm,
    )  # fmt: skip
    return y[0] if lifted else y


def _average(
    rank: int, x: Any, kernel_size: Any, stride: Any, padding: Any, count_include_pad: bool, divisor: Any,
    algorithm: str,
) -> Any:  # fmt: skip
    x, lifted = _batched(f"avg_pool{rank}d", rank, x)
    settings = {"count_include_pad": count_include_pad} | ({} if divisor is None else {"divisor_override": divisor})
    problem: Any = pyconv.explain(_AVG[rank], _stand_in(x), kernel_size, stride, padding, **settings).problem
    if not count_include_pad and divisor is None and any(map(any, problem.padding)):
        raise Unsupported(f"avg_pool{rank}d of a chunked array counts its padding; pad it yourself, or set a divisor")
    more = {} if divisor is None else {"divisor_override": divisor}
    y = _over_windows(
        x, problem, problem.c, 0, "zeros", _AVG[rank], (problem.kernel, problem.stride), algorithm=algorithm, **more
    )
    return y[0] if lifted else y


def conv1d(
    x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, *,
    padding_mode: str = "zeros", activation: Any = None, algorithm: str = "auto",
) -> Any:  # fmt: skip
    """Convolve chunked signals; the parameters are those of :func:`pyconv.conv1d`, and as :func:`conv2d` has them.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> x = da.from_array(np.arange(8.0).reshape(1, 1, 8), chunks=(1, 1, 3))
    >>> conv1d(x, np.ones((1, 1, 2))).compute()
    array([[[ 1.,  3.,  5.,  7.,  9., 11., 13.]]])
    """
    return _convolved(1, x, w, bias, stride, padding, dilation, groups, padding_mode, activation, algorithm)


def conv2d(
    x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, *,
    padding_mode: str = "zeros", activation: Any = None, algorithm: str = "auto",
) -> Any:  # fmt: skip
    """Convolve chunked images.

    Parameters
    ----------
    x : dask.array.Array
        (n, c_in, h, w) or (c_in, h, w) float16, float32 or float64, of known chunks.
    w, bias : arrays in memory
        As :func:`pyconv.conv2d` has them.
    stride, padding, dilation, groups, padding_mode, activation, algorithm
        As there; padding that mirrors or repeats is at most one axis long.

    Returns
    -------
    dask.array.Array
        (n, c_out, h_out, w_out), chunked as x is where its chunks suit windows and stride.

    Raises
    ------
    TypeError, InvalidProblem, Unsupported
        As :func:`pyconv.conv2d`, when it is called and before anything is computed; TypeError if x is not chunked.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> x = da.ones((1, 2, 6, 7), chunks=(1, 2, 4, 3), dtype=np.float32)
    >>> y = conv2d(x, np.ones((3, 2, 3, 3), np.float32), stride=2)
    >>> y.chunks, float(y.sum().compute())
    (((1,), (3,), (2,), (1, 2)), 324.0)
    """
    return _convolved(2, x, w, bias, stride, padding, dilation, groups, padding_mode, activation, algorithm)


def conv3d(
    x: Any, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, *,
    padding_mode: str = "zeros", activation: Any = None, algorithm: str = "auto",
) -> Any:  # fmt: skip
    """Convolve chunked volumes; the parameters are those of :func:`pyconv.conv3d`, and as :func:`conv2d` has them.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> x = da.ones((1, 1, 4, 4, 4), chunks=2)
    >>> conv3d(x, np.ones((1, 1, 3, 3, 3)), padding=1)[0, 0, 1, 1].compute()
    array([18., 27., 27., 18.])
    """
    return _convolved(3, x, w, bias, stride, padding, dilation, groups, padding_mode, activation, algorithm)


def max_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, algorithm: str = "auto"
) -> Any:
    """Take the largest of windows of chunked signals; as :func:`max_pool2d`.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> max_pool1d(da.from_array(np.arange(7.0).reshape(1, 1, 7), chunks=3), 2).compute()
    array([[[1., 3., 5.]]])
    """
    return _largest(1, x, kernel_size, stride, padding, dilation, algorithm)


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, algorithm: str = "auto"
) -> Any:
    """Take the largest of windows of chunked images.

    Parameters
    ----------
    x : dask.array.Array
        (n, c, h, w) or (c, h, w) floats or integers, of known chunks.
    kernel_size, stride, padding, dilation, algorithm
        As :func:`pyconv.max_pool2d` has them; neither ``ceil_mode`` nor indices.

    Returns
    -------
    dask.array.Array

    Raises
    ------
    TypeError, InvalidProblem, Unsupported
        As :func:`conv2d`.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> x = da.from_array(np.arange(16).reshape(1, 1, 4, 4), chunks=(1, 1, 3, 2))
    >>> max_pool2d(x, 3, stride=1, padding=1).compute()[0, 0]
    array([[ 5,  6,  7,  7],
           [ 9, 10, 11, 11],
           [13, 14, 15, 15],
           [13, 14, 15, 15]])
    """
    return _largest(2, x, kernel_size, stride, padding, dilation, algorithm)


def max_pool3d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, algorithm: str = "auto"
) -> Any:
    """Take the largest of windows of chunked volumes; as :func:`max_pool2d`.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> max_pool3d(da.from_array(np.arange(64).reshape(1, 1, 4, 4, 4), chunks=2), 2).compute().ravel()
    array([21, 23, 29, 31, 53, 55, 61, 63])
    """
    return _largest(3, x, kernel_size, stride, padding, dilation, algorithm)


def avg_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True,
    algorithm: str = "auto",
) -> Any:  # fmt: skip
    """Take the mean of windows of chunked signals; as :func:`avg_pool2d`, without a divisor.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> avg_pool1d(da.from_array(np.arange(7.0).reshape(1, 1, 7), chunks=3), 3, stride=2).compute()
    array([[[1., 3., 5.]]])
    """
    return _average(1, x, kernel_size, stride, padding, count_include_pad, None, algorithm)


def avg_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True,
    divisor_override: int | None = None, algorithm: str = "auto",
) -> Any:  # fmt: skip
    """Take the mean of windows of chunked images.

    Parameters
    ----------
    x : dask.array.Array
        (n, c, h, w) or (c, h, w) floats, of known chunks.
    kernel_size, stride, padding, count_include_pad, divisor_override, algorithm
        As :func:`pyconv.avg_pool2d` has them; no ``ceil_mode``, and padding is counted.

    Returns
    -------
    dask.array.Array

    Raises
    ------
    TypeError, InvalidProblem
        As :func:`conv2d`.
    Unsupported
        Padding that is not to be counted, without a divisor.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> avg_pool2d(da.ones((1, 1, 4, 4), chunks=3), 2, padding=1).compute()[0, 0]
    array([[0.25, 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ],
           [0.25, 0.5 , 0.25]])
    """
    return _average(2, x, kernel_size, stride, padding, count_include_pad, divisor_override, algorithm)


def avg_pool3d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True,
    divisor_override: int | None = None, algorithm: str = "auto",
) -> Any:  # fmt: skip
    """Take the mean of windows of chunked volumes; as :func:`avg_pool2d`.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> avg_pool3d(da.from_array(np.arange(64.0).reshape(1, 1, 4, 4, 4), chunks=2), 2).compute().ravel()
    array([10.5, 12.5, 18.5, 20.5, 42.5, 44.5, 50.5, 52.5])
    """
    return _average(3, x, kernel_size, stride, padding, count_include_pad, divisor_override, algorithm)
