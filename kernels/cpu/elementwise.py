"""layers_elementwise: the activations on their own, and their gradients, in one pass over arrays of any strides.

    out[i] = f(x[i])        or        out[i] = f'(x[i]) grad_output[i]

f and f' are math.py's, so that conv2d(activation="silu") and silu(conv2d()) are the same bits. The axes have been
merged into at most four loops, the last of them a run. Runs of neighbours are read where they lie; others go through a
stretch of values on the stack. A task is a number of rows or a piece of one row; each element is computed by itself,
so neither strides nor the cut change a bit. Memory: each array once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel, word
from .simd import advance, call, lanes, pointer, stack
from .tile import copy

__all__ = ["ELEMENTWISE", "LOOPS", "layers_elementwise", "row_offset"]

#: Vectors of a stretch.
STRETCH = 16

#: Loops over arrays of any strides, outermost first; step[a, i] is array a's in loop i.
LOOPS = (("size", np.int64, (4,)), ("step", np.int64, (3, 4)))
#: csrc/pyconv.h's pc_elementwise; arrays: x, grad_output, out.
ELEMENTWISE = np.dtype([*LOOPS, *((name, np.int64) for name in ("rows", "piece", "n_pieces", "n_tasks"))])


@word
def row_offset(p: Any, array: int, row: int) -> int:
    """Return where row ``row`` of the outer loops begins in an array."""
    if p.size[0] == 1 and p.size[1] == 1:  # divisions take as long as a short run
        return row * p.step[array, 2]
    rest, i2 = divmod(row, p.size[2])
    i0, i1 = divmod(rest, p.size[1])
    return i2 * p.step[array, 2] + i1 * p.step[array, 1] + i0 * p.step[array, 0]


@word
def _gather(dst: Any, src: Any, step: int, n: int) -> None:
    """dst[:n] = src[::step]."""
    if step == 1:
        copy(dst, src, n)
    else:
        for i in range(n):
            dst[i] = src[i * step]


@word
def _scatter(dst: Any, src: Any, step: int, n: int) -> None:
    """dst[::step] = src[:n]."""
    if step == 1:
        copy(dst, src, n)
    else:
        for i in range(n):
            dst[i * step] = src[i]


@kernel
def layers_elementwise(
    params: Any, first: int, last: int, x: int, g: int, out: int, function: int, slope: Any
) -> int:  # fmt: skip
    """Compute tasks first .. last by :func:`~.math.elementwise`'s function; arrays by address, g 0 for none.

    Returns how many tasks were done.
    """
    p = params[0]
    rows = p.size[0] * p.size[1] * p.size[2]
    x_step, g_step, out_step = p.step[0, 3], p.step[1, 3], p.step[2, 3]
    values, g_values = stack(pointer(x, slope), STRETCH), stack(pointer(x, slope), STRETCH)
    most = STRETCH * lanes(values)
    together = x_step == 1 and out_step == 1 and (g == 0 or g_step == 1)
    for task in range(first, last):
        block, piece = divmod(task, p.n_pieces)
        begin = piece * p.piece
        n = min(p.piece, p.size[3] - begin)
        for row in range(block * p.rows, min(rows, (block + 1) * p.rows)):
            x_row = advance(pointer(x, slope), row_offset(p, 0, row) + begin * x_step)
            out_row = advance(pointer(out, slope), row_offset(p, 2, row) + begin * out_step)
            g_row = x_row
            if g != 0:
                g_row = advance(pointer(g, slope), row_offset(p, 1, row) + begin * g_step)
            if together:
                call(function, (out_row, x_row, g_row, n, slope))
                continue
            for i in range(0, n, most):
                many = min(most, n - i)
                _gather(values, advance(x_row, i * x_step), x_step, many)
                g_part = values
                if g != 0:
                    _gather(g_values, advance(g_row, i * g_step), g_step, many)
                    g_part = g_values
                call(function, (values, values, g_part, many, slope))
                _scatter(advance(out_row, i * out_step), values, out_step, many)
    return last - first
