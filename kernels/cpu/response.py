"""layers_response: local response normalisation across channels, and its gradient.

    D[c] = k + alpha sum of x[j]^2, j in [c - before, c + after];  y[c] = x[c] / D[c]^beta
    gx[i] = g[i] / D[i]^beta - 2 alpha beta x[i] sum of T[c], c in [i - after, i + before];  T[c] = g x D^(-beta - 1)

A tile of x lies in scratch with zeros around its channels, and a window's sum is a sum of shifted vectors of it: by
whole rows where pixels are neighbours (a tile is channels x pixels), by single elements where channels are (pixels x
channels, ``pixels``). csrc/response.inc.c has the reasons, flops and error. Powers of a quarter, a half, three quarters
and one are square roots, others are libm's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .elementwise import LOOPS, row_offset
from .jit import kernel, word
from .math import root
from .simd import advance, constant, lanes, load, load_rows, pointer, splat_tile, store, store_rows, zero
from .tile import copy

__all__ = ["RESPONSE", "layers_response"]

#: csrc/pyconv.h's pc_response; wide arrays: x, grad_output, out.
RESPONSE = np.dtype(
    [
        *((name, np.int64) for name in ("channels", "before", "after", "pixels", "gradient")),
        *LOOPS,
        ("c_step", np.int64, (3,)),
        *((name, np.float64) for name in ("k", "alpha", "beta")),
        *((name, np.int64) for name in ("c_block", "piece", "n_c_blocks", "n_pieces")),
        # the tile in scratch: rows ``pitch`` apart, elements in all
        *((name, np.int64) for name in ("pitch", "elems")),
    ]
)


class Tile(NamedTuple):
    """A task: channels [c0, c0 + n_c) of n elements of a run."""

    row: int
    start: int
    n: int
    c0: int
    n_c: int


@word
def _power(d: Any, n: int, beta: float, positive: bool) -> None:
    """d[:n] = d^beta; n is a multiple of the lanes."""
    if beta == 1:
        return
    if positive and beta in (0.25, 0.5, 0.75):
        for i in range(0, n, lanes(d)):
            half = root(load(d, i))
            if beta == 0.25:
                half = root(half)
            elif beta == 0.75:
                half = half * root(half)
            store(d, i, half)
    else:
        for i in range(n):
            d[i] = constant(d[i], math.pow(np.float64(d[i]), beta))


@word
def _window_sums(sums: Any, v: Any, step: int, width: int, n: int) -> None:
    """sums[i] = sum of v[i + j step], j in [0, width); n is a multiple of the lanes."""
    many, i = lanes(v), 0
    while i + 4 * many <= n:
        four = splat_tile(v, 1, 4, zero(v))
        for j in range(width):
            four = four + load_rows(advance(v, i + j * step), 0, 1, 4)
        store_rows(advance(sums, i), 0, four)
        i += 4 * many
    while i < n:
        one = splat_tile(v, 1, 1, zero(v))
        for j in range(width):
            one = one + load(v, i + j * step)
        store(sums, i, one)
        i += many


@word
def _clear(v: Any, n: int) -> None:
    """v[:n] = 0; n is a multiple of the lanes."""
    none = splat_tile(v, 1, 1, zero(v))
    for i in range(0, n, lanes(v)):
        store(v, i, none)


@word
def _read(p: Any, t: Tile, array: int, src: Any, lead: int, tile: Any) -> None:
    """Lay channels of an array from c0 - lead on into rows of a tile, as many as fit, zeros where there are none."""
    src = advance(src, row_offset(p, array, t.row) + t.start * p.step[array, 3])
    _clear(tile, p.elems)
    first, end = max(0, t.c0 - lead), min(p.channels, t.c0 + t.n_c + lead)
    at = first - (t.c0 - lead)
    if p.pixels:
        for i in range(t.n):
            copy(advance(tile, i * p.pitch + at), advance(src, i * p.step[array, 3] + first), end - first)
    else:
        for c in range(end - first):
            copy(advance(tile, (at + c) * p.pitch), advance(src, (first + c) * p.c_step[array]), t.n)


@word
def _own_rows(p: Any, t: Tile, lead: int, step: int, terms: Any) -> None:
    """Clear T where there is no channel: 0 / 0 is no zero. T begins ``before`` channels later than the tile."""
    begin = max(0, max(0, lead - t.c0) - p.before) * step
    end = max(0, p.channels - (t.c0 - lead) - p.before) * step
    length = p.pitch if p.pixels else p.elems
    for r in range(t.n if p.pixels else 1):
        row = advance(terms, r * p.pitch)
        for i in range(begin):
            row[i] = zero(row)
        for i in range(end, length):
            row[i] = zero(row)


@word
def _gradient(p: Any, t: Tile, lead: int, step: int, n: int, positive: bool, x: Any, squares: Any, d: Any, g: Any,
              terms: Any) -> None:  # fmt: skip
    """terms[i] = the gradient of the channel ``after`` after that of d[i]."""
    many, width = lanes(x), p.before + p.after + 1
    for i in range(0, n, many):
        store(squares, i, load(d, i))
    _power(squares, n, p.beta, positive)
    _clear(terms, p.elems)
    own = p.before * step
    for i in range(0, n, many):
        product = load(g, own + i) * load(x, own + i)
        store(terms, i, product / (load(squares, i) * load(d, i)))
    _own_rows(p, t, lead, step, terms)
    _window_sums(d, terms, step, width, n)
    shift = p.after * step  # from the channel of a sum's first T to its own, whose window begins ``after`` before it
    factor = constant(x[0], 2 * p.alpha * p.beta)
    for i in range(0, n - -(-shift // many) * many, many):
        quotient = load(g, own + shift + i) / load(squares, shift + i)
        store(terms, i, quotient - factor * load(x, own + shift + i) * load(d, i))


@kernel
def layers_response(params: Any, first: int, last: int, x_at: int, g_at: int, out: int, scratch: int, like: Any) -> int:
    """Compute tasks first .. last; arrays by address, g_at 0 without a gradient. Returns how many tasks were done."""
    p = params[0]
    width, step = p.before + p.after + 1, 1 if p.pixels else p.pitch
    # a gradient's windows of windows begin before + after channels earlier
    lead = width - 1 if p.gradient else max(p.before, p.after)
    x = pointer(scratch, like)
    many = lanes(x)
    squares, d = advance(x, p.elems), advance(x, 2 * p.elems)
    n = p.elems - -(-(width - 1) * step // many) * many - many
    positive = p.k >= 0 and p.alpha >= 0
    alpha, k = constant(like, p.alpha), constant(like, p.k)
    for task in range(first, last):
        blocks, piece = divmod(task, p.n_pieces)
        row, c_block = divmod(blocks, p.n_c_blocks)
        start, c0 = piece * p.piece, c_block * p.c_block
        t = Tile(row, start, min(p.piece, p.size[3] - start), c0, min(p.c_block, p.channels - c0))
        _read(p, t, 0, pointer(x_at, like), lead, x)
        for i in range(0, p.elems, many):
            store(squares, i, load(x, i) * load(x, i))
        _window_sums(d, squares, step, width, n)  # d[i] belongs to the channel ``before`` after i's
        for i in range(0, n, many):
            store(d, i, load(d, i) * alpha + k)
        result, result_lead = squares, lead - p.before  # rows of the result before the tile's first
        if p.gradient:
            g, result = advance(x, 3 * p.elems), advance(x, 4 * p.elems)
            _read(p, t, 1, pointer(g_at, like), lead, g)
            _gradient(p, t, lead, step, n, positive, x, squares, d, g, result)
            result_lead -= p.after
        else:
            _power(d, n, p.beta, positive)
            for i in range(0, n, many):
                store(result, i, load(x, p.before * step + i) / load(d, i))
        target = advance(pointer(out, like), row_offset(p, 2, t.row) + t.start * p.step[2, 3])
        if p.pixels:
            for i in range(t.n):
                pixel = advance(target, i * p.step[2, 3] + t.c0)
                copy(pixel, advance(result, i * p.pitch + result_lead), t.n_c)
        else:
            for c in range(t.n_c):
                plane = advance(target, (t.c0 + c) * p.c_step[2])
                copy(plane, advance(result, (c + result_lead) * p.pitch), t.n)
    return last - first
