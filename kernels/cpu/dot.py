"""layers_dot: a linear layer of few rows, straight from weights as they are.

    out[m, n] = sum over k of x[m, k] w[n, k] + bias[n]

Four rows of w meet up to DOT_ROWS rows of x in registers, lanes along k; csrc/dot.inc.c has the reasons, flops and
error. Weights pass once for each DOT_ROWS rows of x, from the cache after the first time. Sums across lanes by halves.
A task is a stretch of outputs, for all rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel, word
from .simd import VECTOR_BYTES, across, add_dots, advance, lanes, load, pointer, splat_tile, stack, store_rows, zero

__all__ = ["DOT", "layers_dot"]

WEIGHTS = 4
DOT_ROWS = 4 if VECTOR_BYTES == 64 else 2

#: csrc/pyconv.h's pc_dot.
DOT = np.dtype([(name, np.int64) for name in ("m", "n", "k", "ld_x", "ld_w", "ld_out", "out_step", "columns")])


@word
def _finish(p: Any, x: Any, w: Any, bias: Any, has_bias: bool, out: Any, tile: Any, rows: int, columns: int) -> None:
    """Store a tile's sums, with the products that fill no vector and the bias."""
    many = lanes(x)
    parts = stack(x, 16)
    store_rows(parts, columns * many, tile)
    for i in range(rows):
        for j in range(columns):
            total = across(load(parts, (i * columns + j) * many), 0)
            for k in range(p.k // many * many, p.k):
                total += x[i * p.ld_x + k] * w[j * p.ld_w + k]
            if has_bias:
                total += bias[j]
            out[i * p.ld_out + j * p.out_step] = total


@kernel
def layers_dot(params: Any, first: int, last: int, x_at: int, w_at: int, bias_at: int, out_at: int, like: Any) -> int:
    """Compute tasks first .. last; arrays by address, bias_at 0 for none. Returns how many tasks were done."""
    p = params[0]
    many = lanes(pointer(x_at, like))
    for task in range(first, last):
        n, end = task * p.columns, min(p.n, (task + 1) * p.columns)
        while n < end:
            four = n + WEIGHTS <= end
            w, bias = advance(pointer(w_at, like), n * p.ld_w), advance(pointer(bias_at, like), n)
            m = 0
            while m < p.m:
                x = advance(pointer(x_at, like), m * p.ld_x)
                out = advance(pointer(out_at, like), m * p.ld_out + n * p.out_step)
                if four and m + DOT_ROWS <= p.m:
                    tall = splat_tile(x, DOT_ROWS, WEIGHTS, zero(x))
                    for k in range(0, p.k - many + 1, many):
                        tall = add_dots(tall, advance(x, k), p.ld_x, advance(w, k), p.ld_w)
                    _finish(p, x, w, bias, bias_at != 0, out, tall, DOT_ROWS, WEIGHTS)
                    m += DOT_ROWS
                elif four:
                    flat = splat_tile(x, 1, WEIGHTS, zero(x))
                    for k in range(0, p.k - many + 1, many):
                        flat = add_dots(flat, advance(x, k), p.ld_x, advance(w, k), p.ld_w)
                    _finish(p, x, w, bias, bias_at != 0, out, flat, 1, WEIGHTS)
                    m += 1
                else:
                    one = splat_tile(x, 1, 1, zero(x))
                    for k in range(0, p.k - many + 1, many):
                        one = add_dots(one, advance(x, k), p.ld_x, advance(w, k), p.ld_w)
                    _finish(p, x, w, bias, bias_at != 0, out, one, 1, 1)
                    m += 1
            n += WEIGHTS if four else 1
    return last - first
