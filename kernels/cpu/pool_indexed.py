"""pool_indexed: maxima and where they lie; pool_scatter: what goes back there.

    indices[n, c, p] = the offset in x's plane (n, c) of the window's first maximum in the order of (d, h, w); of a
    window with NaN in it, of the last NaN (torch's meaning)

pool_separable's two steps on pairs of a value and an offset, which counts from the window's first row and column and so
fits a lane; csrc/pool_indexed.inc.c has the reasons. Integers are searched one output after the other.

pool_scatter goes through the outputs of one plane in order: each adds to, is put to, or is read from, the element of
the other array that its index names. A plane belongs to one task. Indices from the caller are checked by check_indices
before anything is written.
"""

from __future__ import annotations

from typing import Any

from .jit import kernel, word
from .pool import Taps, columns_of, pool_box, taps_of
from .simd import (
    add_index,
    advance,
    better,
    better_at,
    evens,
    lanes,
    least,
    load,
    load_part_or,
    pointer,
    splat_index,
    splat_tile,
    store,
    store_part,
    zero,
)
from .tile import copy

__all__ = ["ADD", "GET", "PUT", "check_indices", "pool_indexed", "pool_indexed_integers", "pool_scatter"]

#: What pool_scatter does: x[i] += out[o], x[i] = out[o] or out[o] = x[i], where i is o's index.
ADD, PUT, GET = range(3)
#: The offset of columns outside x; windows reach less far, and the sum of both fits 32 bits.
NO_INDEX = 0x3F000000


@word
def _rows_at(p: Any, ld: Any, x: Any, d: Taps, h: Taps, n: int, v: Any, v_at: Any) -> None:
    """v[i], v_at[i] = the greatest of a column's elements, and its offset from the window's first row."""
    step = lanes(v)
    none = splat_tile(v, 1, 1, least(v))
    x = advance(x, d.first * ld.d + h.first * ld.h)
    for i in range(0, n, step):
        best, at = none, splat_index(v_at, NO_INDEX)
        for a in range(d.n):
            for b in range(h.n):
                value = load_part_or(x, i + a * d.step * ld.d + b * h.step * ld.h, n - i, none)
                value_at = splat_index(v_at, (a * d.step * p.h.size + b * h.step) * p.w.size)
                # (of equal ones the first: an offset that no element has gives way to any)
                at, best = better_at(best, at, value, value_at), better(best, at, value, value_at)
        store(v, i, best)
        store(v_at, i, at)
    for i in range(n, -(-n // step) * step):
        v_at[i] = NO_INDEX


@word
def _columns_at(p: Any, v: Any, v_at: Any, begin: int, w0: int, n: int, y: Any, y_at: Any) -> None:
    """Join the columns of a row's windows: values y and offsets y_at of v and v_at."""
    k, stride, inner, dilation = p.w.k, p.w.stride, p.inner, p.w.dilation
    vector, step = lanes(v), dilation * inner
    if not p.adaptive and (stride == 1 or (stride == 2 and inner == 1)):
        for i in range(0, n * inner, vector):
            first = i * stride
            best, at = load(v, first), load(v_at, first)
            if stride == 2:
                best, at = evens(best, load(v, first + vector)), evens(at, load(v_at, first + vector))
            for a in range(1, k):
                tap = first + a * step
                value, value_at = load(v, tap), load(v_at, tap)
                if stride == 2:
                    value, value_at = evens(value, load(v, tap + vector)), evens(value_at, load(v_at, tap + vector))
                value_at = add_index(value_at, a * dilation)
                at, best = better_at(best, at, value, value_at), better(best, at, value, value_at)
            store(y, i, best)
            store(y_at, i, at)
        return
    for o in range(n):
        first, taps = o * stride, k
        if p.adaptive:
            t = taps_of(p.w, 0, 1, w0 + o)
            first, taps = t.first - begin, t.n
        if inner == 1:
            value, index = v[first], v_at[first]
            for a in range(1, taps):
                other, other_at = v[first + a * dilation], v_at[first + a * dilation] + a * dilation
                greater = other > value or (other == value and other_at < index)
                if greater or (other != other and (value == value or other_at > index)):
                    value, index = other, other_at
            y[o], y_at[o] = value, index
            continue
        for c in range(0, inner, vector):  # what is beyond ``inner`` the next column writes again
            best, at = load(v, first * inner + c), load(v_at, first * inner + c)
            for a in range(1, taps):
                tap = first * inner + c + a * step
                value, value_at = load(v, tap), add_index(load(v_at, tap), a * dilation)
                at, best = better_at(best, at, value, value_at), better(best, at, value, value_at)
            store(y, o * inner + c, best)
            store(y_at, o * inner + c, at)


@word
def _row_at(
    p: Any, ld: Any, plane: Any, d_out: int, h_out: int, w0: int, n: int, v: Any, v_at: Any, y: Any, y_at: Any,
    indices: Any,
) -> None:  # fmt: skip
    """One row of maxima in y, and of their indices; where a window holds no element of x, that of the nearest one."""
    columns, inner = columns_of(p, w0, n), p.inner
    left = max(0, -columns.first)
    begin = columns.first + left
    inside = max(0, min(p.w.size, columns.first + columns.n) - begin)
    d, h = taps_of(p.d, 0, p.adaptive, d_out), taps_of(p.h, 0, p.adaptive, h_out)
    at = left * inner
    _rows_at(p, ld, advance(plane, begin * inner), d, h, inside * inner, advance(v, at), advance(v_at, at))
    _columns_at(p, v, v_at, columns.first, w0, n, y, y_at)
    corner = (min(d.first, p.d.size - 1) * p.h.size + min(h.first, p.h.size - 1)) * p.w.size
    for o in range(n):
        first = taps_of(p.w, 0, 1, w0 + o).first if p.adaptive else (w0 + o) * p.w.stride - p.w.pad
        nearest = corner + max(0, min(first, p.w.size - 1))
        for i in range(o * inner, (o + 1) * inner):
            indices[i] = nearest if y_at[i] >= NO_INDEX else corner + first + y_at[i]


@word
def _border(p: Any, v: Any, v_at: Any) -> None:
    """Fill v and v_at with what is outside x, once for all rows of a tile."""
    none = splat_tile(v, 1, 1, least(v))
    for i in range(0, p.v_elems, lanes(v)):
        store(v, i, none)
        store(v_at, i, splat_index(v_at, NO_INDEX))


@kernel
def pool_indexed(
    params: Any, first: int, last: int, x: int, out: int, indices: int, scratch: int, like: Any, integer: Any
) -> int:
    """Compute tasks first .. last; ``integer`` is of the type of offsets, as wide as ``like``."""
    p = params[0]
    v = pointer(scratch, like)
    y = advance(v, 2 * p.v_elems)
    item = p.item_bytes
    v_at = pointer(scratch + p.v_elems * item, integer)
    y_at = pointer(scratch + (2 * p.v_elems + p.y_elems) * item, integer)
    for task in range(first, last):
        box = pool_box(p, task)
        _border(p, v, v_at)
        plane = advance(pointer(x, like), box.image * p.ld_x.n + box.c * p.ld_x.c)
        for h_out in range(box.h0, box.h1):
            ld, to = p.ld_out, pointer(out, like)
            to = advance(to, box.image * ld.n + box.c * ld.c + box.d * ld.d + h_out * ld.h + box.w0 * p.inner)
            ld, at = p.ld_idx, pointer(indices, 0)
            at = advance(at, box.image * ld.n + box.c * ld.c + box.d * ld.d + h_out * ld.h + box.w0 * p.inner)
            _row_at(p, p.ld_x, plane, box.d, h_out, box.w0, box.n, v, v_at, y, y_at, at)
            copy(to, y, box.n * p.inner)
    return last - first


@kernel
def pool_indexed_integers(
    params: Any, first: int, last: int, x: int, out: int, indices: int, scratch: int, like: Any, integer: Any
) -> int:
    """Compute tasks first .. last, one output after the other."""
    p = params[0]
    for task in range(first, last):
        box = pool_box(p, task)
        plane = advance(pointer(x, like), box.image * p.ld_x.n + box.c * p.ld_x.c)
        d = taps_of(p.d, 0, p.adaptive, box.d)
        for h_out in range(box.h0, box.h1):
            h = taps_of(p.h, 0, p.adaptive, h_out)
            to = advance(pointer(out, like), box.image * p.ld_out.n + box.c * p.ld_out.c)
            to = advance(to, box.d * p.ld_out.d + h_out * p.ld_out.h)
            at = advance(pointer(indices, 0), box.image * p.ld_idx.n + box.c * p.ld_idx.c)
            at = advance(at, box.d * p.ld_idx.d + h_out * p.ld_idx.h)
            for o in range(box.w0, box.w0 + box.n):
                w = taps_of(p.w, 0, p.adaptive, o)
                corner = (min(d.first, p.d.size - 1) * p.h.size + min(h.first, p.h.size - 1)) * p.w.size
                for j in range(p.inner):
                    best, index = least(plane), corner + min(w.first, p.w.size - 1)
                    for a in range(d.n):
                        for b in range(h.n):
                            for e in range(w.n):
                                z, y, i = d.first + a * d.step, h.first + b * h.step, w.first + e * w.step
                                value = plane[z * p.ld_x.d + y * p.ld_x.h + i * p.inner + j]
                                if value > best:
                                    best, index = value, (z * p.h.size + y) * p.w.size + i
                    to[o * p.inner + j], at[o * p.inner + j] = best, index
    return last - first


@kernel
def check_indices(params: Any, first: int, last: int, indices: int) -> int:
    """Return how many indices of the tasks' planes lie outside the other array's."""
    p = params[0]
    plane, blocks, bad = p.d.size * p.h.size * p.w.size, -(-p.inner // p.inner_tile), 0
    for task in range(first, last):
        rest, block = divmod(task, blocks)
        image, c = divmod(rest, p.c)
        j0 = block * p.inner_tile
        for d in range(p.d.out):
            for h in range(p.h.out):
                at = image * p.ld_idx.n + c * p.ld_idx.c + d * p.ld_idx.d + h * p.ld_idx.h + j0
                row = advance(pointer(indices, 0), at)
                for o in range(p.w.out):
                    for j in range(min(p.inner_tile, p.inner - j0)):
                        i = row[o * p.inner + j]
                        bad += i < 0 or i >= plane
    return bad


@kernel
def pool_scatter(
    params: Any, first: int, last: int, x: int, out: int, indices: int, forward: int, scratch: int, like: Any,
    integer: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; x: the array of the larger planes, out: of the smaller ones.

    ``indices`` is 0 where the maxima of ``forward`` are looked for, which only floating types do (integer is not None).
    """
    p = params[0]
    inner, columns, blocks = p.inner, p.d.size * p.h.size * p.w.size, -(-p.inner // p.inner_tile)
    for task in range(first, last):
        rest, block = divmod(task, blocks)
        image, c = divmod(rest, p.c)
        j0 = block * p.inner_tile
        n = min(p.inner_tile, inner - j0)
        large = advance(pointer(x, like), image * p.ld_x.n + c * p.ld_x.c + j0)
        if p.scatter != GET:
            none, i = splat_tile(large, 1, 1, zero(large)), 0
            if n == inner:
                while i + lanes(large) <= columns * n:
                    store(large, i, none)
                    i += lanes(large)
                if i < columns * n:
                    store_part(large, i, none, columns * n - i)
            else:
                for i in range(columns):
                    for j in range(n):
                        large[i * inner + j] = zero(large)
        for d in range(p.d.out):
            for h in range(p.h.out):
                at = image * p.ld_out.n + c * p.ld_out.c + d * p.ld_out.d + h * p.ld_out.h + j0
                small = advance(pointer(out, like), at)
                row = pointer(indices, 0)
                if indices != 0:
                    row = advance(row, image * p.ld_idx.n + c * p.ld_idx.c + d * p.ld_idx.d + h * p.ld_idx.h + j0)
                elif integer is not None:
                    v, item = pointer(scratch, like), p.item_bytes
                    y = advance(v, 2 * p.v_elems)
                    v_at = pointer(scratch + p.v_elems * item, integer)
                    y_at = pointer(scratch + (2 * p.v_elems + p.y_elems) * item, integer)
                    row = pointer(scratch + 2 * (p.v_elems + p.y_elems) * item, 0)
                    plane = advance(pointer(forward, like), image * p.ld_forward.n + c * p.ld_forward.c)
                    if d == h == 0 and task == first:
                        _border(p, v, v_at)
                    _row_at(p, p.ld_forward, plane, d, h, 0, p.w.out, v, v_at, y, y_at, row)
                if p.scatter == PUT:
                    for o in range(p.w.out):
                        for j in range(n):
                            large[row[o * inner + j] * inner + j] = small[o * inner + j]
                elif p.scatter == GET:
                    for o in range(p.w.out):
                        for j in range(n):
                            small[o * inner + j] = large[row[o * inner + j] * inner + j]
                else:
                    for o in range(p.w.out):
                        for j in range(n):
                            large[row[o * inner + j] * inner + j] += small[o * inner + j]
    return last - first
