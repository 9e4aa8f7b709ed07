"""grad_pairwise: the gradient of a convolution's bias, db[o] = sum over n, p of dY[n, o, p].

Where the elements of a row are neighbours, pixels are in the lanes and a task is a channel; where channels are fastest
in memory these are, VECTORS vectors of them a task. Blocks of BLOCK vectors are summed one after the other and then
pairwise, as a counter in binary carries: two sums of 2^i blocks become one of 2^(i + 1). Where there are few channels
the images or rows are dealt to parts, summed in their order.

moved: dY once. The order of every sum is csrc/grad_pairwise.inc.c's.
Error: (BLOCK + 2 log2 K + parts) eps sum |dY| at most (Higham 2002, section 4.2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba.core import types

from .grad_direct import SUM
from .jit import kernel, word
from .simd import (
    across,
    add_tiles,
    advance,
    lanes,
    load,
    load_part,
    pointer,
    splat_tile,
    stack,
    store,
    store_part,
    zero,
)

__all__ = ["VECTORS", "grad_pairwise", "link_grad_pairwise", "n_gathered"]

#: Vectors that are summed one after the other; vectors of channels of a task.
BLOCK, VECTORS = 16, 4
#: Sums of 2^i blocks that there may be.
_LEVELS = 48


@word
def add_block(levels: Any, count: int, block: Any) -> None:
    """Add the sum of block number ``count``; levels[i] is that of 2^i blocks where bit i of the count is set."""
    i = 0
    while count >> i & 1:
        block = add_tiles(load(levels, i * lanes(levels)), block)
        i += 1
    store(levels, i * lanes(levels), block)


@word
def total_of(levels: Any, count: int) -> Any:
    """Return the sum of ``count`` blocks, one at least."""
    i = 0
    while not count >> i & 1:
        i += 1
    total = load(levels, i * lanes(levels))
    i += 1
    while count >> i:
        if count >> i & 1:
            total = add_tiles(load(levels, i * lanes(levels)), total)
        i += 1
    return total


class Rows(NamedTuple):
    """Rows of pixels that are neighbours in memory, from the first image to the last."""

    n: int
    d: int
    h: int
    w: int


@word
def rows_of(p: Any) -> Rows:
    """Return the rows of dY."""
    n, d, h, w = p.n, p.d.out, p.h.out, p.w.out
    if h == 1 or p.ld_out.h == w * p.ld_out.w:
        h, w = 1, w * h
        if d == 1 or p.ld_out.d == w * p.ld_out.w:
            d, w = 1, w * d
    return Rows(n, d, h, w)


@word
def row_at(p: Any, rows: Rows, row: int, y: Any) -> Any:
    """Return where a row begins."""
    rest, h = divmod(row, rows.h)
    n, d = divmod(rest, rows.d)
    return advance(y, h * p.ld_out.h + d * p.ld_out.d + n * p.ld_out.n)


@word
def sum_channels(p: Any, rows: Rows, first: int, last: int, y: Any, n_c: int, sums: Any) -> None:
    """sums[:n_c] = the sums of as many neighbouring channels over some rows."""
    step = lanes(y)
    levels = stack(y, _LEVELS)
    for c in range(0, n_c, step):
        acc, pixels, n = splat_tile(y, 1, 1, zero(y)), 0, n_c - c
        for row in range(first, last):
            at = advance(row_at(p, rows, row, y), c)
            for w in range(rows.w):
                acc = add_tiles(acc, load(at, w * p.ld_out.w) if n >= step else load_part(at, w * p.ld_out.w, n))
                pixels += 1
                if pixels % BLOCK == 0:
                    add_block(levels, pixels // BLOCK - 1, acc)
                    acc = splat_tile(y, 1, 1, zero(y))
        add_block(levels, pixels // BLOCK, acc)
        store_part(sums, c, total_of(levels, pixels // BLOCK + 1), n)


@word
def sum_pixels(p: Any, rows: Rows, first: int, last: int, y: Any) -> Any:
    """Return the sum of one channel over some rows."""
    step, ld = lanes(y), p.ld_out.w
    levels, some = stack(y, _LEVELS), stack(y, 1)
    none = splat_tile(y, 1, 1, zero(y))
    a, b, c, d, vectors = none, none, none, none, 0
    for row in range(first, last):
        at, w = row_at(p, rows, row, y), 0
        while w < rows.w:
            if ld == 1 and w + 4 * step <= rows.w:
                a, b = add_tiles(a, load(at, w)), add_tiles(b, load(at, w + step))
                c, d = add_tiles(c, load(at, w + 2 * step)), add_tiles(d, load(at, w + 3 * step))
                w += 4 * step
            else:
                n = min(step, rows.w - w)
                if ld == 1:
                    a = add_tiles(a, load_part(at, w, n))
                else:
                    for i in range(step):
                        some[i] = at[(w + i) * ld] if i < n else zero(y)
                    a = add_tiles(a, load(some, 0))
                w += n
            vectors += 1
            if vectors % (BLOCK // 4) == 0:
                add_block(levels, vectors // (BLOCK // 4) - 1, add_tiles(add_tiles(a, b), add_tiles(c, d)))
                a, b, c, d = none, none, none, none
    add_block(levels, vectors // (BLOCK // 4), add_tiles(add_tiles(a, b), add_tiles(c, d)))
    return across(total_of(levels, vectors // (BLOCK // 4) + 1), 0)


@kernel
def grad_pairwise(
    params: Any, first: int, last: int, x: int, y: int, out: int, scratch: int, shared: int, like: Any, stage: int
) -> int:
    """Do tasks first .. last of a stage: blocks of channels of all parts (SUM), or the sums of these (GATHER).

    Arrays by address; ``like`` has their type. Returns how many tasks were done.
    """
    p = params[0]
    from_y, to, sums = pointer(y, like), pointer(out, like), pointer(shared, like)
    rows = rows_of(p)
    n_rows = rows.n * rows.d * rows.h
    for task in range(first, last):
        if stage != SUM:
            total = sums[task]
            for part in range(1, p.parts):
                total += sums[part * p.c_out + task]
            to[task * p.ld_w.n] = total
            continue
        part, block = divmod(task, p.n_blocks)
        begin, end = part * n_rows // p.parts, (part + 1) * n_rows // p.parts
        channel = block * p.m_block
        at, into = advance(from_y, channel * p.ld_out.c), advance(sums, part * p.c_out + channel)
        if p.m_block > 1:
            sum_channels(p, rows, begin, end, at, min(p.m_block, p.c_out - channel), into)
        else:
            into[0] = sum_pixels(p, rows, begin, end, at)
    return last - first


def n_gathered(p: Any) -> int:
    """Return the tasks of GATHER: channels."""
    return int(p["c_out"])


def link_grad_pairwise(p: Any, real: types.Float) -> None:
    """Do nothing: the kernel calls no functions."""
