"""layers_nearest: nearest-neighbour resizing along up to three axes, and its gradient.

    out[n, c, o] = x[n, c, at[o]]           gx[n, c, i] = sum of g[n, c, o], o from at[i] up to at[i + 1]

The tables ``at``, one an axis, do not fall, so that an element goes to a run of outputs and its gradient is the sum of
a box. Rows of the output that read the same row of x are copies of the first of them. Along a row: a copy where nothing
changes, each element twice in whole vectors, any other by its table. Arrays whose channels are neighbours are the same
with ``inner`` elements in place of one. The gradient adds the rows of its box in scratch, then neighbours, always in
ascending order.

A task is a number of rows of one plane. Memory: x once, out once and, where rows repeat, once more from the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel, word
from .simd import advance, joined_pairs, lanes, load, pointer, splat_tile, store, store_rows, twice, zero
from .tile import copy

__all__ = ["NEAREST", "layers_nearest", "layers_nearest_gradient"]

#: csrc/pyconv.h's pc_nearest: axes d, h, w; strides n, c, d, h, w; ``at`` holds addresses.
NEAREST = np.dtype(
    [
        *((name, np.int64) for name in ("n", "c", "inner")),
        *((name, np.int64, (3,)) for name in ("in", "out", "at")),
        *((name, np.int64, (5,)) for name in ("ld_x", "ld_out")),
        *((name, np.int64) for name in ("repeat", "rows")),
    ]
)


@word
def _row(p: Any, at: Any, out: Any, x: Any) -> None:
    """Make one row of outputs from one row of x."""
    n, from_step, to_step = p.out[2], p.ld_x[4], p.ld_out[4]
    if p.inner > 1:
        for i in range(n):
            copy(advance(out, i * to_step), advance(x, at[i] * from_step), p.inner)
    elif from_step != 1 or to_step != 1:
        for i in range(n):
            out[i * to_step] = x[at[i] * from_step]
    elif p.repeat == 1:
        copy(out, x, n)
    elif p.repeat == 2:
        many, i = lanes(x), 0
        while i + many <= n // 2:
            store_rows(advance(out, 2 * i), 0, twice(load(x, i)))
            i += many
        while i < n // 2:
            out[2 * i] = x[i]
            out[2 * i + 1] = x[i]
            i += 1
    elif p.repeat > 2:
        for i in range(n // p.repeat):
            for j in range(i * p.repeat, (i + 1) * p.repeat):
                out[j] = x[i]
    else:
        for i in range(n):
            out[i] = x[at[i]]


@kernel
def layers_nearest(params: Any, first: int, last: int, x_at: int, out_at: int, like: Any) -> int:
    """Compute tasks first .. last; arrays by address. Returns how many tasks were done."""
    p = params[0]
    rows = p.out[0] * p.out[1]
    tasks = -(-rows // p.rows)
    at_d, at_h, at_w = pointer(p.at[0], 0), pointer(p.at[1], 0), pointer(p.at[2], 0)
    neighbours = p.ld_out[4] == p.inner
    for task in range(first, last):
        plane, block = divmod(task, tasks)
        image, c = divmod(plane, p.c)
        x = advance(pointer(x_at, like), image * p.ld_x[0] + c * p.ld_x[1])
        out = advance(pointer(out_at, like), image * p.ld_out[0] + c * p.ld_out[1])
        before = -1, -1
        before_out = out
        for row in range(block * p.rows, min(rows, (block + 1) * p.rows)):
            d, h = divmod(row, p.out[1])
            source = at_d[d], at_h[h]
            to = advance(out, d * p.ld_out[2] + h * p.ld_out[3])
            if source == before and neighbours:
                copy(to, before_out, p.out[2] * p.inner)
            else:
                _row(p, at_w, to, advance(x, source[0] * p.ld_x[2] + source[1] * p.ld_x[3]))
            before, before_out = source, to
    return last - first


@word
def _add(sums: Any, row: Any, n: int) -> None:
    """sums[:n] += row[:n]."""
    many, i = lanes(sums), 0
    while i + many <= n:
        store(sums, i, load(sums, i) + load(row, i))
        i += many
    while i < n:
        sums[i] += row[i]
        i += 1


@word
def _join(p: Any, begin: Any, sums: Any, result: Any) -> None:
    """Add the columns of a row of sums that one element went to."""
    inner, width = p.inner, p["in"][2]
    if inner > 1:
        for w in range(width):
            to = advance(result, w * inner)
            if begin[w] == begin[w + 1]:
                for c in range(inner):
                    to[c] = zero(to)
            else:
                copy(to, advance(sums, begin[w] * inner), inner)
            for i in range(begin[w] + 1, begin[w + 1]):
                _add(to, advance(sums, i * inner), inner)
        return
    w = 0
    if p.repeat == 2:
        while w + lanes(sums) <= width:
            store(result, w, joined_pairs(advance(sums, 2 * w), 2, 0))
            w += lanes(sums)
    while w < width:
        total = sums[begin[w]] if begin[w] < begin[w + 1] else zero(sums)
        for i in range(begin[w] + 1, begin[w + 1]):
            total += sums[i]
        result[w] = total
        w += 1


@kernel
def layers_nearest_gradient(
    params: Any, first: int, last: int, g_at: int, out_at: int, scratch: int, like: Any
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address. Returns how many tasks were done."""
    p = params[0]
    rows, inner = p["in"][0] * p["in"][1], p.inner
    tasks, width = -(-rows // p.rows), p.out[2] * inner
    from_d, from_h, from_w = pointer(p.at[0], 0), pointer(p.at[1], 0), pointer(p.at[2], 0)
    # a row of sums, a row of results and room for one more vector behind each
    sums = pointer(scratch, like)
    many = lanes(sums)
    result, none = advance(sums, -(-width // many) * many + many), splat_tile(sums, 1, 1, zero(sums))
    neighbours = p.ld_out[4] == inner
    for task in range(first, last):
        plane, block = divmod(task, tasks)
        image, c = divmod(plane, p.c)
        g = advance(pointer(g_at, like), image * p.ld_out[0] + c * p.ld_out[1])
        out = advance(pointer(out_at, like), image * p.ld_x[0] + c * p.ld_x[1])
        for row in range(block * p.rows, min(rows, (block + 1) * p.rows)):
            d, h = divmod(row, p["in"][1])
            for i in range(0, width, many):
                store(sums, i, none)
            for i in range(from_d[d], from_d[d + 1]):
                for j in range(from_h[h], from_h[h + 1]):
                    given = advance(g, i * p.ld_out[2] + j * p.ld_out[3])
                    if neighbours:
                        _add(sums, given, width)
                    else:
                        for w in range(p.out[2]):
                            _add(advance(sums, w * inner), advance(given, w * p.ld_out[4]), inner)
            _join(p, from_w, sums, result)
            to = advance(out, d * p.ld_x[2] + h * p.ld_x[3])
            if p.ld_x[4] == inner:
                copy(to, result, p["in"][2] * inner)
            else:
                for w in range(p["in"][2]):
                    copy(advance(to, w * p.ld_x[4]), advance(result, w * inner), inner)
    return last - first
