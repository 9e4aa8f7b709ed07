"""Convolution and pooling of chunked arrays, larger than memory, on as many threads, processes or machines as dask has.

>>> import dask.array as da, numpy as np
>>> from pyconv.interop import dask as chunked
>>> x = da.ones((1, 1, 1000, 1000), chunks=(1, 1, 256, 256), dtype=np.float32)
>>> y = chunked.conv2d(x, np.ones((1, 1, 3, 3), np.float32), padding=1)
>>> y.shape, float(y[0, 0, 0, 0].compute()), float(y[0, 0, 256, 256].compute())
((1, 1, 1000, 1000), 4.0, 9.0)

Nothing is computed until dask is told to. x is padded by ``dask.array.pad`` and cut at whole strides, near where it was
cut before; ``dask.array.map_overlap`` completes the windows of a chunk by elements of the next one. Channels become one
chunk. A chunk runs on one thread: dask's workers are side by side already.

Results are those of :mod:`pyconv`'s functions of the same names, but for rounding: an algorithm is chosen for a chunk.
"""

from .windows import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

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
