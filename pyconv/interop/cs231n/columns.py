"""The course's ``im2col``: windows as columns, and back.

A row stands for a channel and a tap, a column for an output position and an image, the images fastest:
``cols[(c, p, q), (i, j, n)] = x[n, c, s i + p - pad, s j + q - pad]``. Zeros stand for what lies in the padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import pyconv

from ...algorithm import Array

__all__ = [
    "col2im_6d_cython",
    "col2im_cython",
    "col2im_indices",
    "get_im2col_indices",
    "im2col_cython",
    "im2col_indices",
]


def _outputs(size: int, field: int, padding: int, stride: int) -> int:
    return (size + 2 * padding - field) // stride + 1


def get_im2col_indices(
    x_shape: Sequence[int], field_height: int, field_width: int, padding: int = 1, stride: int = 1
) -> tuple[Array, Array, Array]:
    """Return (k, i, j), such that ``padded[:, k, i, j]`` are the windows: channels, rows and columns.

    Parameters
    ----------
    x_shape : (N, C, H, W)
    field_height, field_width, padding, stride : int

    Examples
    --------
    >>> k, i, j = get_im2col_indices((1, 1, 3, 3), 2, 2, padding=0)
    >>> i.tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]
    """
    _, channels, height, width = x_shape
    rows, columns = (_outputs(height, field_height, padding, stride), _outputs(width, field_width, padding, stride))
    c, p, q = np.indices((channels, field_height, field_width)).reshape(3, -1, 1)
    i, j = np.indices((rows, columns)).reshape(2, 1, -1)
    return c, p + stride * i, q + stride * j


def im2col_indices(x: Array, field_height: int, field_width: int, padding: int = 1, stride: int = 1) -> Array:
    """Return the windows of x as columns.

    Parameters
    ----------
    x : (N, C, H, W)
    field_height, field_width, padding, stride : int

    Returns
    -------
    (C * field_height * field_width, H' * W' * N)

    Examples
    --------
    >>> import numpy as np
    >>> im2col_indices(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2, padding=0)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    columns = pyconv.unfold(x, (field_height, field_width), padding=padding, stride=stride)
    return columns.transpose(1, 2, 0).reshape(columns.shape[1], -1)


def col2im_indices(
    cols: Array, x_shape: Sequence[int], field_height: int = 3, field_width: int = 3, padding: int = 1, stride: int = 1
) -> Array:
    """Add columns up where their elements came from: the gradient of :func:`im2col_indices`.

    Parameters
    ----------
    cols : (C * field_height * field_width, H' * W' * N)
    x_shape : (N, C, H, W)
    field_height, field_width, padding, stride : int

    Examples
    --------
    >>> import numpy as np
    >>> col2im_indices(np.ones((4, 4)), (1, 1, 3, 3), 2, 2, padding=0)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    n, _, height, width = x_shape
    columns = np.ascontiguousarray(cols.reshape(cols.shape[0], -1, n).transpose(2, 0, 1))
    return pyconv.fold(columns, (height, width), (field_height, field_width), padding=padding, stride=stride)


def col2im_6d_cython(cols: Array, n: int, c: int, h: int, w: int, hh: int, ww: int, pad: int, stride: int) -> Array:
    """Add columns up where their elements came from, given with an axis for everything.

    Parameters
    ----------
    cols : (C, HH, WW, N, H', W')
    n, c, h, w : int
        Shape of the result.
    hh, ww, pad, stride : int
        Height and width of the windows, their padding and stride.

    Examples
    --------
    >>> import numpy as np
    >>> col2im_6d_cython(np.ones((1, 2, 2, 1, 2, 2)), 1, 1, 3, 3, 2, 2, 0, 1)[0, 0, 1]
    array([2., 4., 2.])
    """
    columns = np.ascontiguousarray(cols.transpose(3, 0, 1, 2, 4, 5)).reshape(n, c * hh * ww, -1)
    return pyconv.fold(columns, (h, w), (hh, ww), padding=pad, stride=stride)


im2col_cython = im2col_indices


def col2im_cython(
    cols: Array, n: int, c: int, h: int, w: int, field_height: int, field_width: int, padding: int, stride: int
) -> Array:
    """:func:`col2im_indices` with the arguments of the course's Cython function."""
    return col2im_indices(cols, (n, c, h, w), field_height, field_width, padding, stride)
