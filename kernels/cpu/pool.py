"""pool_separable: maxima, averages and norms of windows; pool_spread: the gradients of averages and norms.

    out[n, c, p] = join over a of x[n, c, s p - before + d a], the taps inside x only; one, two or three axes.

A row of outputs is the rows of x under its windows, joined in whole vectors into v, and v's columns joined into the
row; csrc/pool.inc.c has the reasons. Windows of more than POOL_TAPS neighbouring columns are made by doubling, and
planes of short rows are one long row. Arrays whose channels are fastest in memory have ``inner`` elements in place of
one. Rows are joined kh by kh here, without the C kernel's blocks of rows for tall windows.

``total`` is None for maxima and anything else for sums: what is compiled depends on its type alone.

A norm is the root of a sum: elements are raised to its power as their rows are loaded. pool_spread's norms compute the
slopes of all outputs that a tile of grad_x meets first (csrc/pool_norm.inc.c has the formula).

flops: kd kh + kw an output at most; moved: x and the output once. Error: one rounding for each addition, division and
multiplication of a power, and of the root.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .jit import kernel, word
from .simd import (
    absolute,
    across,
    advance,
    constant,
    join,
    joined,
    joined_pairs,
    lanes,
    least,
    load,
    load_part,
    load_part_or,
    pointer,
    splat_tile,
    store,
    store_part,
    zero,
)
from .tile import AXIS, STRIDES, clear_over, copy, integers

__all__ = ["POOL", "POOL_TAPS", "Columns", "Taps", "columns_of", "pool_box", "pool_separable", "pool_spread", "taps_of"]

#: Divisors up to this are looked at for powers of two.
_MOST_TAPS = float(1 << 52)
#: Taps that are joined in registers; more are joined by doubling.
POOL_TAPS = 8

#: What the kernels know of a pooling problem; csrc/pyconv.h's pc_pool has what each number is.
POOL = np.dtype(
    [
        *((name, np.int64) for name in ("item_bytes", "n", "c", "inner")),
        *((name, AXIS) for name in "dhw"),
        ("after", integers("d", "h", "w")),
        *((name, np.int64) for name in ("adaptive", "scatter", "include_pad", "signs", "own_indices")),
        *((name, np.float64) for name in ("divisor", "norm", "power")),
        *((name, STRIDES) for name in ("ld_x", "ld_out", "ld_idx", "ld_forward")),
        *((name, np.int64) for name in ("h_tile", "w_tile", "inner_tile", "n_h_tiles", "n_w_tiles", "n_tasks")),
        *((name, np.int64) for name in ("whole_from", "whole_to", "plane_pitch", "lines", "batch")),
        # elements of scratch, one after the other, and what all of it takes
        *((name, np.int64) for name in ("v_elems", "y_elems", "level_elems", "n_levels", "apart_elems", "q_elems")),
        ("scratch_bytes", np.int64),
    ]
)


class Taps(NamedTuple):
    """Taps of an output along one axis that lie in x; ``all`` of them count for an average that counts the border."""

    first: int
    n: int
    step: int
    all: int


class Columns(NamedTuple):
    """A run of indices of one axis."""

    first: int
    n: int


class PoolBox(NamedTuple):
    """A task: rows h0 .. h1 and n columns from w0 on of the outputs of one plane."""

    image: int
    c: int
    d: int
    h0: int
    h1: int
    w0: int
    n: int


class Rows(NamedTuple):
    """Rows that are treated alike: how far apart they are in x, in v, and in the outputs.

    Behind each there is ``ld_room`` less to write over than behind the row before it.
    """

    n: int
    ld_x: int
    ld_v: int
    ld_y: int
    ld_room: int


#: One row by itself.
ALONE = Rows(1, 0, 0, 0, 0)


@word
def taps_of(a: Any, after: int, adaptive: int, o: int) -> Taps:
    """Return output o's taps."""
    if adaptive:
        whole, rest = a.size // a.out, a.size % a.out
        first = o * whole + o * rest // a.out
        n = (o + 1) * whole - -(o + 1) * rest // a.out - first
        return Taps(first, n, 1, n)
    start = o * a.stride - a.pad
    skip = -(start // a.dilation) if start < 0 else 0
    end = min(a.k, (a.size - 1 - start) // a.dilation + 1 if start < a.size else 0)
    padded = min(start + a.k, a.size + after) - start if a.dilation == 1 else a.k
    return Taps(start + skip * a.dilation, max(0, end - skip), a.dilation, padded)


@word
def _is_whole(p: Any, h_out: int) -> bool:
    """Whether no row under the windows of a row of outputs is missing."""
    begin = h_out * p.h.stride - p.h.pad
    return not p.adaptive and begin >= 0 and begin + (p.h.k - 1) * p.h.dilation < p.h.size


@word
def pool_box(p: Any, task: int) -> PoolBox:
    """Return where a task's outputs are."""
    rest, w_tile = divmod(task, p.n_w_tiles)
    rest, h_tile = divmod(rest, p.n_h_tiles)
    rest, d = divmod(rest, p.d.out)
    image, c = divmod(rest, p.c)
    h0, w0 = h_tile * p.h_tile, w_tile * p.w_tile
    return PoolBox(image, c, d, h0, min(p.h.out, h0 + p.h_tile), w0, min(p.w_tile, p.w.out - w0))


@word
def columns_of(p: Any, w0: int, n: int) -> Columns:
    """Return the columns of x that the outputs [w0, w0 + n) of a row read; they may begin before x."""
    if p.adaptive:
        a, b = taps_of(p.w, 0, 1, w0), taps_of(p.w, 0, 1, w0 + n - 1)
        return Columns(a.first, b.first + b.n - a.first)
    return Columns(w0 * p.w.stride - p.w.pad, (n - 1) * p.w.stride + (p.w.k - 1) * p.w.dilation + 1)


@word
def _covering(a: Any, adaptive: int, i: int) -> Columns:
    """Return the outputs whose windows hold index i."""
    if adaptive:
        first, end = i * a.out // a.size, -(-(i + 1) * a.out // a.size)
    else:
        last = i + a.pad - a.k + 1
        first, end = -(-last // a.stride) if last > 0 else 0, (i + a.pad) // a.stride + 1
    first = min(first, a.out)
    return Columns(first, max(0, min(end, a.out) - first))


@word
def _nothing(p: Any, total: Any) -> Any:
    """Return what joins begin with."""
    if total is None:
        return least(p)
    return zero(p)


@word
def _fill(v: Any, n: int, value: Any) -> None:
    """v[0..n) = value, and up to a vector more."""
    some = splat_tile(v, 1, 1, value)
    for i in range(0, n, lanes(v)):
        store(v, i, some)


@word
def raised(v: Any, power: int, size: int) -> Any:
    """Return the vector's x^power, or |x|^power where ``size`` says so, for a whole power."""
    if size:
        v = absolute(v)
    if power == 2:
        return v * v
    found, started = v, False
    while power:
        if power & 1:
            found = found * v if started else v
            started = True
        v = v * v
        power >>= 1
    return found


@word
def _add_powers(row: Any, n: int, v: Any, power: float) -> None:
    """v[0..n) += the powers of a row: x^power, or |x|^-power for a power below 0."""
    step, size = lanes(v), abs(power)
    if size % 1 == 0:
        for i in range(0, n, step):
            store(v, i, join(load(v, i), raised(load_part(row, i, n - i), int(size), power < 0), 0))
    else:
        for i in range(n):
            v[i] += constant(v[i], math.pow(abs(float(row[i])), size))


@word
def _window_rows(x: Any, ld: Any, d: Taps, h: Taps, n: int, v: Any, total: Any, power: float, rows: Rows) -> None:
    """v[0..n) = the rows under the windows of one row of outputs joined, what is behind as joins begin with.

    The same for each of several rows, whose windows are as tall and begin some rows of x further down.
    """
    step = lanes(v)
    nothing = _nothing(v, total)
    x = advance(x, d.first * ld.d + h.first * ld.h)
    ld_d, ld_h = d.step * ld.d, h.step * ld.h
    none = splat_tile(v, 1, 1, nothing)
    for _ in range(rows.n):
        i = 0
        if d.n * h.n == 0:
            _fill(v, n, nothing)
            i = n
        elif total is not None and power != 0:
            clear_over(v, n)
            for a in range(d.n):
                for b in range(h.n):
                    _add_powers(advance(x, a * ld_d + b * ld_h), n, v, power)
            i = n
        elif d.n == 1 and h.n == 1:
            while i + step <= n:
                store(v, i, load(x, i))
                i += step
        elif d.n == 1 and h.n == 2:
            while i + step <= n:
                store(v, i, joined(advance(x, i), ld_h, 2, total))
                i += step
        elif d.n == 1 and h.n == 3:
            while i + step <= n:
                store(v, i, joined(advance(x, i), ld_h, 3, total))
                i += step
        while i < n:
            found = load_part_or(x, i, n - i, none)
            for b in range(1, d.n * h.n):
                found = join(found, load_part_or(x, i + b // h.n * ld_d + b % h.n * ld_h, n - i, none), total)
            store(v, i, found)
            i += step
        x, v = advance(x, rows.ld_x), advance(v, rows.ld_v)


@word
def _store_row(y: Any, i: int, n: int, room: int, v: Any) -> None:
    """y[i..n) = v, of which ``room`` elements behind n may be written."""
    if i + lanes(y) <= n + room:
        store(y, i, v)
    else:
        store_part(y, i, v, n - i)


@word
def _doubled(v: Any, n: int, k: int, step: int, level: Any, pitch: int, y: Any, room: int, total: Any) -> None:
    """y[i] = every window of k columns, by those of 2, 4, 8 ... in turn, each in one of the levels behind the first.

    A maximum takes two windows that overlap; a sum those of k's binary digits, lowest first, kept in the first level.
    """
    vector, width, taken, started = lanes(v), 1, 0, False
    begin, to = v, advance(level, pitch)
    while True:
        last = 2 * width > k
        if total is not None and k & width:
            for i in range(0, n, vector):
                some = load(begin, i + taken * step)
                some = join(load(level, i), some, total) if started else some
                if last:
                    _store_row(y, i, n, room, some)
                else:
                    store(level, i, some)
            started = True
            taken += width
        if last:
            break
        for i in range(0, n + (k - 2 * width) * step, vector):
            store(to, i, join(load(begin, i), load(begin, i + width * step), total))
        begin, to, width = to, advance(to, pitch), 2 * width
    if total is None:
        for i in range(0, n, vector):
            _store_row(y, i, n, room, join(load(begin, i), load(begin, i + (k - width) * step), total))


@word
def _dense(v: Any, n: int, k: int, step: int, level: Any, pitch: int, y: Any, room: int, total: Any) -> None:
    """y[i] = the join over a < k of v[i + a step], i < n; ``room`` elements behind them may be written."""
    vector = lanes(v)
    if k > POOL_TAPS:
        _doubled(v, n, k, step, level, pitch, y, room, total)
    elif k == 2:
        for i in range(0, n, vector):
            _store_row(y, i, n, room, joined(advance(v, i), step, 2, total))
    elif k == 3:
        for i in range(0, n, vector):
            _store_row(y, i, n, room, joined(advance(v, i), step, 3, total))
    elif k == 5:
        for i in range(0, n, vector):
            _store_row(y, i, n, room, joined(advance(v, i), step, 5, total))
    else:
        for i in range(0, n, vector):
            found = load(v, i)
            for a in range(1, k):
                found = join(found, load(v, i + a * step), total)
            _store_row(y, i, n, room, found)


@word
def _run(v: Any, n: int, step: int, total: Any) -> Any:
    """Return one window of n elements joined."""
    vector = lanes(v)
    if step != 1 or n < vector:
        found = v[0]
        for i in range(step, n * step, step):
            if total is None:
                other = v[i]
                if not (found >= other or found != found):
                    found = other
            else:
                found += v[i]
        return found
    none = splat_tile(v, 1, 1, _nothing(v, total))
    joint = load(v, 0)
    for i in range(vector, n, vector):
        joint = join(joint, load_part_or(v, i, n - i, none), total)
    return across(joint, total)


@word
def _columns(
    p: Any, v: Any, begin: int, w0: int, n: int, level: Any, y: Any, room: int, total: Any, rows: Rows
) -> None:  # fmt: skip
    """y[o][c] = the columns of output w0 + o of v[column][c] joined, o < n; v begins with column ``begin``.

    The same for each row; ``room`` elements behind the first may be written.
    """
    k, stride, step = p.w.k, p.w.stride, p.w.dilation * p.inner
    if p.adaptive or (stride != 1 and not (stride == 2 and step == 1 and (k == 2 or k == 3))):
        _columns_apart(p, v, begin, w0, n, y, total, rows)
        return
    for _ in range(rows.n):
        if stride == 1:
            _dense(v, n * p.inner, k, step, level, p.level_elems, y, room, total)
        elif k == 2:
            for i in range(0, n, lanes(v)):
                _store_row(y, i, n, room, joined_pairs(advance(v, 2 * i), 2, total))
        else:
            for i in range(0, n, lanes(v)):
                _store_row(y, i, n, room, joined_pairs(advance(v, 2 * i), 3, total))
        v, y, room = advance(v, rows.ld_v), advance(y, rows.ld_y), room - rows.ld_room


@word
def _columns_apart(p: Any, v: Any, begin: int, w0: int, n: int, y: Any, total: Any, rows: Rows) -> None:
    """Join the columns of each output by themselves, row after row: their windows are found once."""
    k, stride, inner = p.w.k, p.w.stride, p.inner
    step, vector = p.w.dilation * inner, lanes(v)
    for o in range(n):
        first, taps = o * stride, k
        if p.adaptive:
            t = taps_of(p.w, 0, 1, w0 + o)
            first, taps = t.first - begin, t.n
        at, to = advance(v, first * inner), advance(y, o * inner)
        for _ in range(rows.n):
            if inner == 1:
                to[0] = _run(at, taps, step, total)
            else:
                for c in range(0, inner, vector):
                    found = load(at, c)
                    for a in range(1, taps):
                        found = join(found, load(at, c + a * step), total)
                    store_part(to, c, found, inner - c)
            at, to = advance(at, rows.ld_v), advance(to, rows.ld_y)


@word
def _divide(v: Any, y: Any, n: int, divisor: float) -> None:
    """y[0..n) = v[0..n) / divisor; by a power of two times its inverse, which is as exact."""
    whole = int(divisor) if 1 <= divisor <= _MOST_TAPS else 0
    step, inverse = lanes(y), whole == divisor and whole & (whole - 1) == 0
    some = splat_tile(y, 1, 1, constant(y[0], 1 / divisor if inverse else divisor))
    i = 0
    while i + step <= n:
        store(y, i, load(v, i) * some if inverse else load(v, i) / some)
        i += step
    if i < n:
        rest = load_part(v, i, n - i)
        store_part(y, i, rest * some if inverse else rest / some, n - i)


@word
def _divide_each(v: Any, y: Any, n: int, divisors: Any, times: float) -> None:
    """y[0..n) = v[0..n) / (divisors[0..n) times), both whole numbers."""
    step, i, some = lanes(y), 0, splat_tile(y, 1, 1, constant(y[0], times))
    while i + step <= n:
        store(y, i, load(v, i) / (load(divisors, i) * some))
        i += step
    if i < n:
        store_part(y, i, load_part(v, i, n - i) / (load(divisors, i) * some), n - i)


@word
def _whole_sums(p: Any, y: Any, w0: int, n: int, d: Taps, h: Taps) -> None:
    """Scale sums of windows that hang over the end to those of whole ones."""
    rows = d.n * h.n / (p.d.k * p.h.k)
    whole = min(n, max(0, p.whole_to - w0))
    if rows != 1:
        _divide(y, y, whole * p.inner, rows)
    for o in range(whole, n):
        t = taps_of(p.w, 0, 0, w0 + o)
        _divide(advance(y, o * p.inner), advance(y, o * p.inner), p.inner, rows * t.n / p.w.k)


@word
def _roots(y: Any, n: int, norm: float) -> None:
    """y[i] = y[i]^(1 / norm)."""
    if norm == 2:
        for i in range(n):
            y[i] = math.sqrt(y[i])
    elif norm != 1:
        for i in range(n):
            y[i] = constant(y[i], math.pow(float(y[i]), 1 / norm))


@word
def _norms(p: Any, y: Any, w0: int, n: int, d: Taps, h: Taps) -> None:
    """Turn a row of sums into one of norms."""
    _whole_sums(p, y, w0, n, d, h)
    _roots(y, n * p.inner, p.norm)


@word
def _divisors(p: Any, w0: int, n: int, to: Any) -> None:
    """to[o][c] = what the average of output w0 + o divides by for each row, o < n, and up to a vector more."""
    lo = hi = n  # between them windows are whole
    if not p.adaptive:
        lo = min(n, max(0, p.whole_from - w0))
        hi = min(n, max(lo, p.whole_to - w0))
    o = 0
    while o < n:
        count, run = p.w.k, hi - lo
        if o != lo or run == 0:
            t = taps_of(p.w, p.after.w, p.adaptive, w0 + o)
            count, run = t.all if p.include_pad else t.n, 1
        _fill(advance(to, o * p.inner), run * p.inner, constant(to[0], float(max(1, count))))
        o += run


@word
def _finish(p: Any, v: Any, y: Any, w0: int, n: int, d: Taps, h: Taps, divisors: Any, rows: Rows) -> None:
    """Make rows y of averages, or of norms, of rows v of sums; these may be the same."""
    all_whole = not p.adaptive and p.whole_from <= w0 and w0 + n <= p.whole_to
    times = float(max(1, d.all * h.all if p.include_pad else d.n * h.n))
    one_run = rows.n == 1 or rows.ld_v == rows.ld_y == n * p.inner
    if p.norm == 0 and one_run and (p.divisor != 0 or all_whole):
        _divide(v, y, rows.n * n * p.inner, p.divisor if p.divisor != 0 else times * p.w.k)
        return
    for _ in range(rows.n):
        if p.norm != 0:
            copy(y, v, n * p.inner)
            _norms(p, y, w0, n, d, h)
        elif p.divisor != 0:
            _divide(v, y, n * p.inner, p.divisor)
        else:
            _divide_each(v, y, n * p.inner, divisors, times)
        v, y = advance(v, rows.ld_v), advance(y, rows.ld_y)


@word
def _plane(p: Any, x: Any, d: Taps, padded: Any, divisors: Any, out: Any, total: Any) -> None:
    """Pool a plane of short rows, stride 1: with the border between the rows it is one long row.

    The border behind a row is that before the next.
    """
    v = advance(padded, p.v_elems)
    level = advance(v, p.v_elems)
    pitch, n = p.plane_pitch, p.h.out * p.plane_pitch
    room, one = lanes(v), Taps(0, 1, 1, 1)
    _fill(padded, p.v_elems, _nothing(v, total))
    if d.n:
        row, to = advance(x, d.first * p.ld_x.d), advance(padded, p.h.pad * pitch + p.w.pad)
        _window_rows(row, p.ld_x, one, one, p.w.size, to, total, p.power, Rows(p.h.size, p.ld_x.h, pitch, 0, 0))
    _dense(padded, n + (p.w.k - 1) * p.w.dilation, p.h.k, pitch * p.h.dilation, level, p.v_elems, v, room, total)
    _dense(v, n, p.w.k, p.w.dilation, level, p.v_elems, padded, room, total)
    if total is None:
        for h_out in range(p.h.out):
            copy(advance(out, h_out * p.ld_out.h), advance(padded, h_out * pitch), p.w.out)
        return
    h_out = 0
    while h_out < p.h.out:
        rows, whole = 1, _is_whole(p, h_out)
        while whole and h_out + rows < p.h.out and _is_whole(p, h_out + rows):
            rows += 1
        row, to, h = advance(padded, h_out * pitch), advance(out, h_out * p.ld_out.h), taps_of(p.h, p.after.h, 0, h_out)
        _finish(p, row, to, 0, p.w.out, d, h, divisors, Rows(rows, 0, pitch, p.ld_out.h, 0))
        h_out += rows


@word
def _lines(p: Any, x: Any, n: int, v: Any, out: Any, total: Any) -> None:
    """Pool rows of which each is one window, a vector of them at a time."""
    for first in range(0, n, lanes(v)):
        rows = min(lanes(v), n - first)
        for i in range(rows):
            v[i] = _run(advance(x, (first + i) * p.h.stride * p.ld_x.h), p.w.k, 1, total)
        if total is not None:
            if p.norm != 0:
                _roots(v, rows, p.norm)
            else:
                _divide(v, v, rows, p.divisor if p.divisor != 0 else float(p.w.k))
        for i in range(rows):
            out[(first + i) * p.ld_out.h] = v[i]


@word
def _power_sums(
    p: Any, ld: Any, x: Any, columns: Columns, w0: int, n: int, d: Taps, h: Taps, v: Any, level: Any, sums: Any,
    other: Any,
) -> bool:  # fmt: skip
    """sums[0..n) = sums of x^power over windows; where any are negative, ``other`` those of |x|^power, and True."""
    inside = max(0, min(p.w.size, columns.first + columns.n) - columns.first) * p.inner
    _window_rows(x, ld, d, h, inside, v, 0, p.power, ALONE)
    _columns(p, v, columns.first, w0, n, level, sums, lanes(v), 0, ALONE)
    negative = False
    if p.signs:
        for i in range(n * p.inner):
            negative |= sums[i] < 0
    if negative:
        _window_rows(x, ld, d, h, inside, v, 0, -p.power, ALONE)
        _columns(p, v, columns.first, w0, n, level, other, lanes(v), 0, ALONE)
    return negative


@word
def _signed_rows(p: Any, x: Any, box: PoolBox, v: Any, out: Any) -> None:
    """Take the norms of rows whose sums may be negative."""
    sums = advance(v, p.v_elems)
    other = advance(sums, p.y_elems)
    level = advance(other, p.y_elems)
    columns, d, n = columns_of(p, box.w0, box.n), taps_of(p.d, 0, 0, box.d), box.n * p.inner
    clear_over(v, p.v_elems)
    for h_out in range(box.h0, box.h1):
        h = taps_of(p.h, 0, 0, h_out)
        if _power_sums(p, p.ld_x, x, columns, box.w0, box.n, d, h, v, level, sums, other):
            for i in range(n):
                if sums[i] < 0:
                    sums[i] = other[i]
        _norms(p, sums, box.w0, box.n, d, h)
        copy(advance(out, (h_out - box.h0) * p.ld_out.h), sums, n)


@kernel
def pool_separable(params: Any, first: int, last: int, x: int, out: int, scratch: int, like: Any, total: Any) -> int:
    """Compute tasks first .. last; arrays by address, ``like`` of their type. Returns how many tasks were done."""
    p = params[0]
    v = pointer(scratch, like)
    level = advance(v, p.batch * p.v_elems)
    divisors = advance(v, p.scratch_bytes // p.item_bytes - p.y_elems)
    for task in range(first, last):
        box = pool_box(p, task)
        columns = columns_of(p, box.w0, box.n)
        left = max(0, -columns.first)
        begin = columns.first + left
        length = max(0, min(p.w.size, columns.first + columns.n) - begin) * p.inner
        source = advance(pointer(x, like), box.image * p.ld_x.n + box.c * p.ld_x.c + begin * p.inner)
        ld, target = p.ld_out, pointer(out, like)
        target = advance(target, box.image * ld.n + box.c * ld.c + box.d * ld.d + box.h0 * ld.h + box.w0 * p.inner)
        d = taps_of(p.d, p.after.d, p.adaptive, box.d)
        if total is not None and p.norm == 0 and p.divisor == 0:
            _divisors(p, box.w0, box.n, divisors)
        if p.plane_pitch:
            _plane(p, source, d, v, divisors, target, total)
            continue
        if p.lines:
            lines = advance(source, d.first * p.ld_x.d + box.h0 * p.h.stride * p.ld_x.h)
            _lines(p, lines, box.h1 - box.h0, v, target, total)
            continue
        if total is not None and p.signs:
            _signed_rows(p, source, box, v, target)
            continue
        # (the border right of x before each row of it: whole vectors of a row may reach over it)
        _fill(v, p.batch * p.v_elems, _nothing(v, total))
        one_run = ld.h == box.n * p.inner
        for row in range(box.h0, box.h1, p.batch):
            # several rows of v, all of them before any of their columns: a processor is slow to read what it has just
            # written in other pieces
            end = min(row + p.batch, box.h1)
            whole = _is_whole(p, row) and _is_whole(p, end - 1)
            n = end - row if whole else 1
            # rows of a task that follow each other: one may write over the next, which is written later
            rows = Rows(end - row, 0, p.v_elems, ld.h, ld.h if one_run else 0)
            for h_out in range(row, end, n):
                h = taps_of(p.h, p.after.h, p.adaptive, h_out)
                middle = advance(v, (h_out - row) * p.v_elems + left * p.inner)
                alike = Rows(n, p.h.stride * p.ld_x.h, p.v_elems, 0, 0)
                _window_rows(source, p.ld_x, d, h, length, middle, total, p.power, alike)
            to, room = advance(target, (row - box.h0) * ld.h), (box.h1 - 1 - row) * rows.ld_room
            _columns(p, v, columns.first, box.w0, box.n, level, to, room, total, rows)
            if total is not None:
                for h_out in range(row, end, n):
                    h = taps_of(p.h, p.after.h, p.adaptive, h_out)
                    to = advance(target, (h_out - box.h0) * ld.h)
                    _finish(p, to, to, box.w0, box.n, d, h, divisors, Rows(n, 0, ld.h, ld.h, 0))
    return last - first


@word
def _count(p: Any, a: Any, after: int, o: int) -> int:
    """Return what an average of output o divides by along one axis."""
    t = taps_of(a, after, p.adaptive, o)
    return 1 if p.divisor != 0 else max(1, t.all if p.include_pad else t.n)


@word
def _spread_columns(p: Any, v: Any, apart: Any, level: Any, to: Any) -> None:
    """to[i] = the sum of v's columns whose windows cover column i, to its end and no further.

    ``apart`` holds zeros but where earlier calls put what this one overwrites.
    """
    inner, k, stride = p.inner, p.w.k, p.w.stride
    if p.adaptive:
        for i in range(p.w.size * inner):
            to[i] = zero(to)
        for o in range(p.w.out):
            t = taps_of(p.w, 0, 1, o)
            for i in range(t.first, t.first + t.n):
                for j in range(inner):
                    to[i * inner + j] += v[o * inner + j]
        return
    # output o begins to count for the columns from o * stride - pad on: k - 1 places before them in ``apart``
    begin = k - 1 - p.w.pad
    n = min(p.w.out, (p.w.size + k - 2 - begin) // stride + 1)
    if stride == 1:
        copy(advance(apart, begin * inner), v, n * inner)
    elif inner == 1:
        for o in range(n):
            apart[begin + o * stride] = v[o]
    else:
        for o in range(n):
            copy(advance(apart, (begin + o * stride) * inner), advance(v, o * inner), inner)
    _dense(apart, p.w.size * inner, k, inner, level, p.level_elems, to, 0, 0)


@word
def _spread_sums(p: Any, g: Any, d: Columns, h: Columns, v: Any, y: Any) -> None:
    """V = the rows of grad_output whose windows cover one row of grad_x, each over what its outputs divide by."""
    n = p.w.out * p.inner
    same, count = True, 1
    for a in range(d.first, d.first + d.n):
        for b in range(h.first, h.first + h.n):
            some = _count(p, p.d, p.after.d, a) * _count(p, p.h, p.after.h, b)
            same &= (a == d.first and b == h.first) or some == count
            if a == d.first and b == h.first:
                count = some
    if same:
        _window_rows(g, p.ld_out, Taps(d.first, d.n, 1, d.n), Taps(h.first, h.n, 1, h.n), n, v, 0, 0.0, ALONE)
    else:
        clear_over(v, n)
        for a in range(d.first, d.first + d.n):
            for b in range(h.first, h.first + h.n):
                _window_rows(g, p.ld_out, Taps(a, 1, 1, 1), Taps(b, 1, 1, 1), n, y, 0, 0.0, ALONE)
                _divide(y, y, n, float(_count(p, p.d, p.after.d, a) * _count(p, p.h, p.after.h, b)))
                for i in range(n):
                    v[i] += y[i]
        count = 1
    rows = p.divisor if p.divisor != 0 else float(count)
    o = 0
    while o < p.w.out:  # runs of columns that divide by one number
        columns, begin = _count(p, p.w, p.after.w, o), o
        if p.divisor != 0:
            o = p.w.out
        elif o >= p.whole_from and not p.adaptive:
            o = max(o, min(p.whole_to, p.w.out))
        while o < p.w.out and _count(p, p.w, p.after.w, o) == columns:
            o += 1
        _divide(advance(v, begin * p.inner), advance(v, begin * p.inner), (o - begin) * p.inner, rows * columns)


@word
def _slopes(p: Any, sums: Any, g: Any, d: Taps, h: Taps, q: Any) -> None:
    """q[i] = g[i] y^(1 - norm) of y^norm = sums[i], which are lost; 0 where y is 0."""
    n = p.w.out * p.inner
    _whole_sums(p, sums, 0, p.w.out, d, h)
    _roots(sums, n, p.norm)
    for i in range(n):
        y = sums[i]
        if p.norm == 2:
            q[i] = g[i] / y
        elif p.norm == 1:
            q[i] = g[i]
        else:
            q[i] = g[i] * constant(y, math.pow(float(y), 1 - p.norm))
        if y == 0:
            q[i] = zero(q)
    _whole_sums(p, q, 0, p.w.out, d, h)


@word
def _slope_rows(
    p: Any, x: Any, g: Any, d: Columns, h: Columns, v: Any, level: Any, sums: Any, q: Any, other_at: int
) -> bool:  # fmt: skip
    """Fill the rows of q of all outputs of some rows and depths, ``q_elems`` apart.

    Those of outputs whose sums are of |x|^norm are ``other_at`` further on, and True says that there are any.
    """
    other = advance(sums, p.y_elems)
    columns, n = columns_of(p, 0, p.w.out), p.w.out * p.inner
    any_negative = False
    clear_over(v, p.v_elems)
    for a in range(d.n):
        for b in range(h.n):
            row = advance(q, (a * h.n + b) * p.q_elems)
            d_taps, h_taps = taps_of(p.d, 0, 0, d.first + a), taps_of(p.h, 0, 0, h.first + b)
            negative = _power_sums(p, p.ld_forward, x, columns, 0, p.w.out, d_taps, h_taps, v, level, sums, other)
            given = advance(g, (d.first + a) * p.ld_out.d + (h.first + b) * p.ld_out.h)
            if p.signs:
                for i in range(n):  # each sum in one of the two, a zero in the other
                    if sums[i] < 0:
                        sums[i] = zero(sums)
                    else:
                        other[i] = zero(sums)
                _slopes(p, other, given, d_taps, h_taps, advance(row, other_at))
                any_negative |= negative
            _slopes(p, sums, given, d_taps, h_taps, row)
    return any_negative


@word
def _times_slopes(p: Any, x: Any, y: Any, size: int, to: Any) -> None:
    """to[i] += y[i] times the slope of x[i]^norm over norm, or of |x[i]|^norm with ``size``."""
    n, less = p.w.size * p.inner, p.norm - 1
    if less == 0 or (less == 1 and not size):
        for i in range(n):
            to[i] += y[i] * x[i] if less == 1 else y[i]
        return
    odd = less % 2 == 1
    signed = size or less % 1 != 0
    for i in range(n):
        value = float(x[i])
        slope = math.pow(abs(value), less)
        if (signed or odd) and value < 0:
            slope = -slope
        if value == 0:
            slope = 0.0
        to[i] += y[i] * constant(y[i], slope)


@kernel
def pool_spread(params: Any, first: int, last: int, g: int, forward: int, out: int, scratch: int, like: Any) -> int:
    """Compute tasks first .. last of grad_x, ``out``; ``forward`` is the forward call's x where norms need it."""
    p = params[0]
    v = pointer(scratch, like)
    level = advance(v, p.v_elems)
    y = advance(level, p.n_levels * p.level_elems)
    apart = advance(y, (2 if p.norm != 0 else 1) * p.y_elems)
    q = advance(apart, p.apart_elems)
    for task in range(first, last):
        rest, tile = divmod(task, p.n_h_tiles)
        rest, d_in = divmod(rest, p.d.size)
        image, c = divmod(rest, p.c)
        h0 = tile * p.h_tile
        h1 = min(p.h.size, h0 + p.h_tile)
        given = advance(pointer(g, like), image * p.ld_out.n + c * p.ld_out.c)
        target = advance(pointer(out, like), image * p.ld_x.n + c * p.ld_x.c + d_in * p.ld_x.d)
        d = _covering(p.d, p.adaptive, d_in)
        begin, end = _covering(p.h, p.adaptive, h0), _covering(p.h, p.adaptive, h1 - 1)
        h = Columns(begin.first, end.first + end.n - begin.first)
        other_at = d.n * h.n * p.q_elems
        source = advance(pointer(forward, like), image * p.ld_forward.n + c * p.ld_forward.c)
        any_negative = False
        if p.norm != 0:
            any_negative = _slope_rows(p, source, given, d, h, v, level, y, q, other_at)
        clear_over(apart, p.apart_elems)
        before = Columns(-1, 0)
        for h_in in range(h0, h1):
            rows, to = _covering(p.h, p.adaptive, h_in), advance(target, h_in * p.ld_x.h)
            if p.norm == 0:
                if rows.first == before.first and rows.n == before.n:  # the same windows as the row before
                    copy(to, advance(to, -p.ld_x.h), p.w.size * p.inner)
                    continue
                before = rows
                _spread_sums(p, given, d, rows, v, y)
                _spread_columns(p, v, apart, level, to)
                continue
            for i in range(p.w.size * p.inner):
                to[i] = zero(to)
            for part in range(2 if any_negative else 1):
                clear_over(v, p.w.out * p.inner)
                for a in range(d.n):
                    for b in range(rows.first - h.first, rows.first - h.first + rows.n):
                        slopes = advance(q, part * other_at + (a * h.n + b) * p.q_elems)
                        for i in range(p.w.out * p.inner):
                            v[i] += slopes[i]
                _spread_columns(p, v, apart, level, y)
                _times_slopes(p, advance(source, d_in * p.ld_forward.d + h_in * p.ld_forward.h), y, part, to)
    return last - first
