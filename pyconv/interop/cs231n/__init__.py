"""The modules ``fast_layers`` and ``im2col`` of the CS231n assignments, without Cython.

``from pyconv.interop.cs231n import *`` gives their names, arguments and caches: ``conv_forward_fast(x, w, b,
{"stride": 1, "pad": 1})``, ``max_pool_backward_fast(dout, cache)``, ``im2col_indices(x, 3, 3)``. The course has several
implementations of the same function (``_fast``, ``_im2col``, ``_strides``, ``_reshape``); here they are one.

Where several elements of a window are its maximum, the gradient goes to the first, as in torch; the course's
``max_pool_backward_reshape`` deals it out to all.

``python -m pyconv.interop.cs231n`` trains the course's three-layer network on scikit-learn's digits
(:mod:`pyconv.interop.cs231n.network`).
"""

from .columns import (
    col2im_6d_cython,
    col2im_cython,
    col2im_indices,
    get_im2col_indices,
    im2col_cython,
    im2col_indices,
)
from .fast_layers import (
    conv_backward_fast,
    conv_backward_im2col,
    conv_backward_strides,
    conv_forward_fast,
    conv_forward_im2col,
    conv_forward_strides,
    max_pool_backward_fast,
    max_pool_backward_im2col,
    max_pool_backward_reshape,
    max_pool_forward_fast,
    max_pool_forward_im2col,
    max_pool_forward_reshape,
)

__all__ = [
    "col2im_6d_cython",
    "col2im_cython",
    "col2im_indices",
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_strides",
    "get_im2col_indices",
    "im2col_cython",
    "im2col_indices",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
]
