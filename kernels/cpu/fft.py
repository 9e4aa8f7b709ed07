"""conv_fft: large kernels by tiles in the frequency domain (overlap-save; CS231n's F(w) o F(x)).

    y[m] = F^-1 [ sum over k of F(x[k]) F(w[m][k]) ] + bias + residual,   k an input channel or a part of the kernel

Two tiles share one complex transform, one as its real part and one as its imaginary part: kernels are real, so nothing
has to be separated, and no half of a spectrum is treated apart. Lanes are independent transforms all the way:

    along h (and d)   neighbouring columns, rows read where x lies
    along w           rows, turned by transposes in registers
    product           frequencies

Passes of radix 8, 4 and 3, decimating frequency on the way there and time on the way back, leave the frequencies in
the order of reversed digits; weights are in the same order, so nothing is ever sorted. A line of h * w samples is the
tile of h rows with twiddles between the two axes (Bailey 1990, "FFTs in external or hierarchical memory").

A block is a few pairs of tiles, so that weights are read once for all of them. It goes through forward transforms,
product and inverse transforms on one worker; where fewer blocks than threads are left each stage is shared. Spectra of
weights are made by the same input stage, of images that hold one kernel each.

flops of a pair: (n_k + c_out) 5 N log2 N + 8 N n_k c_out for N points; moved: x and y once, and the spectra of the
weights once for each block. The order of every sum is a function of the problem, and csrc/fft.inc.c's.
Error: backends/fft.py. Whatever is not finite spreads over both tiles: outputs that are not finite are summed again
directly, so NaN and Inf are where direct summation puts them. (None is missed: every pass adds or multiplies, and each
input reaches each output.)
"""

from __future__ import annotations

from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from ..roots import roots
from .channels import aligned
from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    add_complex,
    add_defects,
    add_tiles,
    advance,
    call,
    fourier,
    lanes,
    load,
    load_points,
    load_rows,
    multiply_points,
    pointer,
    splat_tile,
    store,
    store_points,
    store_rows,
    transpose,
    turn_points,
    zero,
)
from .threads import Phase
from .tile import (
    CONV,
    RECORD,
    Axis,
    Fft,
    FftAxis,
    Strides,
    clear_over,
    cut_sizes,
    finisher,
    load_row,
    map_index,
    sum_again,
    tile_row,
)

__all__ = ["MAX_PAIRS", "MAX_ROWS", "SEGMENTS", "conv_fft", "fft_of", "link_fft", "pack_fft", "phases"]

#: Pairs of tiles of a block, for which weights are read once, and output channels of a panel.
MAX_PAIRS, MAX_ROWS = 4, 2
#: Rows of a tile that are handed on together.
SEGMENTS = 64
#: What a share of the work is: items of one stage, or whole blocks.
INPUT, OUTPUT, WHOLE = range(3)
#: Where a pass multiplies by its twiddles; the one of the last residues has none.
PLAIN, IN_FRONT, BEHIND = range(3)
#: Rows and columns of Fft.passes.
_D, _H, _W = range(3)
_BLOCKS, _M, _TWIDDLES, _THERE, _BACK = range(5)


# ---- sizes


def _axis(axis: Axis, n: int, part: int, step: int) -> FftAxis:
    """Return what tiles of n elements and parts of so many taps make of an axis."""
    period = axis.stride // gcd(axis.stride, axis.dilation)
    segments = -(-((axis.k - 1) * axis.dilation // axis.stride + 1) // part)
    outputs = n - part + 1
    # rows of outputs that begin with a vector, where that costs little
    whole = outputs // step * step
    if 16 * whole >= 15 * outputs:
        outputs = whole
    return FftAxis(
        stride=axis.stride,
        dilation=axis.dilation,
        period=period,
        part=part,
        segments=segments,
        parts=segments * min(axis.k, period),
        n=n,
        step=outputs,
        tiles=-(-axis.out // outputs),
    )


def _passes_of(n: int) -> list[tuple[int, int, int]]:
    """Return (radix, blocks, m) of each pass: a radix of 3 first, then 8 and 4; m points lie between those of one."""
    found, blocks = [], 1
    while n > 1:
        # two passes of radix 4 do what a radix 8 and a radix 2 would, so that no power of two needs the latter
        radix = 3 if n % 3 == 0 else 4 if n in (4, 16) else 8
        n //= radix
        found.append((radix, blocks, n))
        blocks *= radix
    return found


def fft_of(n: int, c_in: int, axes: dict[str, Axis], tile: Any, step: int) -> Fft:
    """Return the sizes for n images of c_in channels a group, a tile of backends/fft.py and vectors of ``step``."""
    line = bool(tile.line)
    d = _axis(axes["d"], tile.d, tile.part_d, 1)
    h = _axis(axes["h"], 1 if line else tile.h, tile.part_h, 1)
    w = _axis(axes["w"], tile.h * tile.w if line else tile.w, tile.part_w, step)
    tiles, points = n * d.tiles * h.tiles * w.tiles, tile.d * tile.h * tile.w
    # an odd number of vectors, so that a column of them spreads over the sets of a cache
    pitch = (tile.w // step | 1) * step
    passes, counts, twiddles = np.zeros((3, 4, 5), np.int64), [], 0
    for rows, length in zip(passes, (tile.d, tile.h, tile.w), strict=True):
        found = _passes_of(length)
        counts.append(len(found))
        for row, (radix, blocks, m) in zip(rows, found, strict=False):
            row[:_THERE] = blocks, m, twiddles
            twiddles += 2 * m * (radix - 1) if m > 1 else 0
    turns = -(-twiddles // step) * step
    return Fft(
        d=d,
        h=h,
        w=w,
        line=line,
        n_d=tile.d,
        n_h=tile.h,
        n_w=tile.w,
        points=points,
        along_d=tile.part_d > 1,
        along_h=line or tile.part_h > 1,
        along_w=line or tile.part_w > 1,
        n_k=c_in * d.parts * h.parts * w.parts,
        tiles=tiles,
        pairs=(tiles + 1) // 2,
        pitch=pitch,
        plane=tile.d * tile.h * pitch,
        longest=max(tile.d, tile.h, tile.w) * step,
        ld_pair=2 * (points + step),
        turns=turns,
        tables=turns + (2 * tile.h * (step + tile.w // step) if line else 0),
        n_passes=tuple(counts),
        passes=passes,
    )


# ---- what is compiled once for all problems


@once
def one_pass(real: types.Float, radix: int, twiddled: int) -> int:
    """Return the address of transforms of ``radix`` points m apart, for each of the m residues of each block."""

    def run(
        blocks: int, m: int, twiddles: Any, from_re: Any, from_im: Any, ld_from_re: int, ld_from_im: int,
        to_re: Any, to_im: Any, ld_to_re: int, ld_to_im: int,
    ) -> None:  # fmt: skip
        for block in range(blocks):
            t = twiddles
            for j in range(block * radix * m, block * radix * m + m):
                re, im = advance(from_re, j * ld_from_re), advance(from_im, j * ld_from_im)
                points = load_points(re, m * ld_from_re, im, m * ld_from_im, radix)
                if twiddled == IN_FRONT:
                    points = turn_points(points, t)
                points = fourier(points)
                if twiddled == BEHIND:
                    points = turn_points(points, t)
                re, im = advance(to_re, j * ld_to_re), advance(to_im, j * ld_to_im)
                store_points(re, m * ld_to_re, im, m * ld_to_im, points)
                t = advance(t, 2 * (radix - 1))

    n, p = types.intp, types.CPointer(real)
    return c_function(run, n, n, p, p, p, n, n, p, p, n, n)


@once
def transform(real: types.Float) -> int:
    """Return the address of all passes of a vector of transforms.

    The first reads ``from``, the last writes ``to``, those between are in ``local``, which is in L1. The inverse is not
    divided by n, and is the forward transform with real and imaginary parts exchanged.
    """
    step = VECTOR_BYTES * 8 // real.bitwidth

    def run(
        p: Any, axis: int, inverse: int, tables: Any, from_re: Any, from_im: Any, ld_from_re: int, ld_from_im: int,
        to_re: Any, to_im: Any, ld_to_re: int, ld_to_im: int, local: Any,
    ) -> None:  # fmt: skip
        s = p.fft
        local_re, local_im = local, advance(local, s.longest)
        if inverse:
            from_re, from_im, ld_from_re, ld_from_im = from_im, from_re, ld_from_im, ld_from_re
            to_re, to_im, ld_to_re, ld_to_im = to_im, to_re, ld_to_im, ld_to_re
            local_re, local_im = local_im, local_re
        n = s.n_passes[axis]
        for i in range(n):
            at = n - 1 - i if inverse else i
            re, im, ld_re, ld_im = to_re, to_im, ld_to_re, ld_to_im
            if i < n - 1:
                re, im, ld_re, ld_im = local_re, local_im, step, step
            call(
                s.passes[axis, at, _THERE + inverse],
                (
                    s.passes[axis, at, _BLOCKS], s.passes[axis, at, _M], advance(tables, s.passes[axis, at, _TWIDDLES]),
                    from_re, from_im, ld_from_re, ld_from_im, re, im, ld_re, ld_im,
                ),
            )  # fmt: skip
            from_re, from_im, ld_from_re, ld_from_im = re, im, ld_re, ld_im

    n, p = types.intp, types.CPointer(real)
    return c_function(run, RECORD, n, n, p, p, p, n, n, p, p, n, n, p)


@word
def turn_line(turns: Any, c: int, re: Any, im: Any, ld: int) -> None:
    """Multiply a vector of columns, for a vector of frequencies f, by w^(f column), whose two factors are in turns."""
    step = lanes(re)
    first = load_rows(advance(turns, 2 * (step + c) * step), step, 2, 1)
    for i in range(step):
        root = multiply_points(first, load_rows(advance(turns, 2 * i * step), step, 2, 1))
        to_re, to_im = advance(re, (c * step + i) * ld), advance(im, (c * step + i) * ld)
        store_points(to_re, 0, to_im, 0, multiply_points(load_points(to_re, 0, to_im, 0, 1), root))


@once
def rows_there(real: types.Float) -> int:
    """Return the address of the transform of a plane's rows: a vector of them turned, then vector by vector to z."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def run(p: Any, tables: Any, plane: Any, local: Any, z: Any) -> None:
        s = p.fft
        columns, turns = s.n_w // step, advance(tables, s.turns)
        for _ in range(s.n_d * s.n_h // step):
            re, im, ld = z, advance(z, step), 2 * step
            if s.along_w:
                re, im, ld = local, advance(local, s.longest), step
            for c in range(columns):
                row = advance(plane, c * step)
                store_rows(advance(re, c * step * ld), ld, transpose(load_rows(row, s.pitch, step, 1)))
                row = advance(row, s.plane)
                store_rows(advance(im, c * step * ld), ld, transpose(load_rows(row, s.pitch, step, 1)))
                if s.line:
                    turn_line(turns, c, re, im, ld)
            if s.along_w:
                to_im = advance(z, step)
                call(p.transform, (p, _W, 0, tables, re, im, ld, ld, z, to_im, 2 * step, 2 * step, local))
            plane, z = advance(plane, step * s.pitch), advance(z, 2 * s.n_w * step)
            turns = advance(turns, 2 * (step + columns) * step)

    q = types.CPointer(real)
    return c_function(run, RECORD, q, q, q, q)


@once
def rows_back(real: types.Float) -> int:
    """Return the address of what makes a vector of a plane's rows from that many rows of frequencies."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def run(p: Any, tables: Any, row_block: int, sums: Any, local: Any, plane: Any) -> None:
        s = p.fft
        columns = s.n_w // step
        re, im, ld = sums, advance(sums, step), 2 * step
        if s.along_w:
            to_im = advance(local, s.longest)
            call(p.transform, (p, _W, 1, tables, re, im, ld, ld, local, to_im, step, step, local))
            re, im, ld = local, to_im, step
        turns = advance(tables, s.turns + 2 * row_block * (step + columns) * step)
        for c in range(columns):
            if s.line:  # (real and imaginary parts exchanged)
                turn_line(turns, c, im, re, ld)
            row = advance(plane, row_block * step * s.pitch + c * step)
            store_rows(row, s.pitch, transpose(load_rows(advance(re, c * step * ld), ld, step, 1)))
            row = advance(row, s.plane)
            store_rows(row, s.pitch, transpose(load_rows(advance(im, c * step * ld), ld, step, 1)))

    n, q = types.intp, types.CPointer(real)
    return c_function(run, RECORD, q, n, q, q, q)


@once
def product_tile(real: types.Float, rows: int, pairs: int) -> int:
    """Return the address of sums[m][pair] (+)= sum over k of w[k][m] z[k][pair], complex, for each frequency."""
    step, products = VECTOR_BYTES * 8 // real.bitwidth, rows * pairs

    def run(
        n_f: int, n_k: int, w: Any, ld_w: int, z: Any, ld_k: int, ld_pair: int, sums: Any, ld: int, more: int
    ) -> None:
        for f in range(n_f):
            to = advance(sums, f * 2 * step)
            acc = load_rows(to, ld, products, 2) if more else splat_tile(to, products, 2, zero(to))
            wk, zk = advance(w, f * ld_w), advance(z, f * 2 * step)
            for _ in range(n_k):
                acc = add_complex(acc, wk, zk, ld_pair, pairs)
                wk, zk = advance(wk, rows * 2 * step), advance(zk, ld_k)
            store_rows(to, ld, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(run, n, n, p, n, p, n, n, p, n, n)


# ---- the stages of a block


class Block(NamedTuple):
    """Some pairs of tiles of a group."""

    g: int
    pair: int
    n_pairs: int


@word
def block_of(p: Any, block: int) -> Block:
    """Return the block of this number."""
    s = p.fft
    g, rest = divmod(block, (s.pairs + s.block_pairs - 1) // s.block_pairs)
    pair = rest * s.block_pairs
    return Block(g, pair, min(s.block_pairs, s.pairs - pair))


class Box(NamedTuple):
    """Where a tile's outputs begin, and how many there are; n_d, n_h and n_w are 0 where there is no such tile."""

    n: int
    d: int
    h: int
    w: int
    n_d: int
    n_h: int
    n_w: int


@word
def box_of(p: Any, tile: int) -> Box:
    """Return the outputs of the tile of this number."""
    s = p.fft
    if tile >= s.tiles:
        return Box(0, 0, 0, 0, 0, 0, 0)
    rest, w = divmod(tile, s.w.tiles)
    rest, h = divmod(rest, s.h.tiles)
    n, d = divmod(rest, s.d.tiles)
    d, h, w = d * s.d.step, h * s.h.step, w * s.w.step
    return Box(n, d, h, w, min(s.d.step, p.d.out - d), min(s.h.step, p.h.out - h), min(s.w.step, p.w.out - w))


class Work(NamedTuple):
    """What a worker has: spectra of a block's inputs, sums between reduction blocks, and room for a transform."""

    z: Any
    sums: Any
    planes: Any
    pads: Any
    local: Any
    product: Any
    segments: Any


@word
def work_of(p: Any, own: Any, shared: Any, integers: Any) -> Work:
    """Return where things lie in a worker's scratch, and in the first one's what a block's stages hand on."""
    s = p.fft
    planes = advance(own, p.panel_elems + p.part_elems)
    pads = advance(planes, p.rows * s.block_pairs * 2 * s.plane)
    local = advance(pads, 2 * (s.n_h * s.n_w + lanes(own)))
    return Work(shared, advance(shared, p.panel_elems), planes, pads, local, advance(local, 2 * s.longest), integers)


class Arrays(NamedTuple):
    """Where the arrays are."""

    x: Any
    tables: Any
    bias: Any
    has_bias: bool
    residual: Any
    out: Any


@word
def first_read(axis: Any, s: Any, output: int, part: int) -> int:
    """Return the element of x that a part of the kernel reads first for an output."""
    residue, segment = divmod(part, s.segments)
    return (output + segment * s.part) * s.stride + residue * s.dilation % s.stride - axis.pad


@word
def fetch(p: Any, x: Any, k: int, tile: int, g: int, d: int, pad: Any) -> Any:
    """Return n_h rows of n_w samples of a tile and how far apart they are: where x lies, or copied with the padding."""
    s, o = p.fft, box_of(p, tile)
    rest, part_w = divmod(k, s.w.parts)
    rest, part_h = divmod(rest, s.h.parts)
    c, part_d = divmod(rest, s.d.parts)
    depth = map_index(first_read(p.d, s.d, o.d, part_d) + d * s.d.stride, p.d.size, p.padding_mode)
    if o.n_d == 0 or depth < 0:
        clear_over(pad, s.n_w)
        return pad, 0
    h, first = first_read(p.h, s.h, o.h, part_h), first_read(p.w, s.w, o.w, part_w)
    x = advance(x, o.n * p.ld_x.n + (g * p.c_in + c) * p.ld_x.c + depth * p.ld_x.d)
    inside = first >= 0 and first + s.w.n <= p.w.size and h >= 0 and h + (s.h.n - 1) * s.h.stride < p.h.size
    if inside and p.ld_x.w == 1 and s.w.stride == 1:
        return advance(x, h * p.ld_x.h + first), s.n_w if s.line else s.h.stride * p.ld_x.h
    n, live = min(s.w.n, s.w.step + s.w.part - 1), min(s.h.n, s.h.step + s.h.part - 1)
    row = tile_row(p, first, s.w.stride, n)
    for r in range(s.h.n):
        at = map_index(h + r * s.h.stride, p.h.size, p.padding_mode) if r < live else -1
        to = advance(pad, r * s.w.n)
        if at < 0:
            clear_over(to, s.w.n)
        else:
            load_row(p, advance(x, at * p.ld_x.h), row, to)
            clear_over(advance(to, n), s.w.n - n)
    return pad, s.n_w


@word
def along_depth(p: Any, tables: Any, plane: Any, columns: int, inverse: int, local: Any) -> None:
    """Transform along d, where the plane lies."""
    s = p.fft
    ld = s.n_h * s.pitch
    for h in range(s.n_h):
        for c in range(0, columns, lanes(plane)):
            re = advance(plane, h * s.pitch + c)
            im = advance(re, s.plane)
            call(p.transform, (p, _D, inverse, tables, re, im, ld, ld, re, im, ld, ld, local))


@word
def transform_input(p: Any, b: Block, item: int, k0: int, a: Arrays, t: Work) -> None:
    """Do one item: the spectrum of one channel and part of the kernel, of one pair of tiles."""
    s, step = p.fft, lanes(t.z)
    k, i = divmod(item, b.n_pairs)
    pair, z = b.pair + i, advance(t.z, (k * s.block_pairs + i) * s.ld_pair)
    for d in range(s.n_d):
        re, ld_re = fetch(p, a.x, k0 + k, 2 * pair, b.g, d, t.pads)
        im, ld_im = fetch(p, a.x, k0 + k, 2 * pair + 1, b.g, d, advance(t.pads, s.n_h * s.n_w + step))
        for c in range(0, s.n_w, step):
            from_re, from_im = advance(re, c), advance(im, c)
            to_re = advance(t.planes, d * s.n_h * s.pitch + c)
            to_im = advance(to_re, s.plane)
            if s.along_h:
                call(
                    p.transform,
                    (
                        p, _H, 0, a.tables, from_re, from_im, ld_re, ld_im,
                        to_re, to_im, s.pitch, s.pitch, t.local,
                    ),
                )  # fmt: skip
            else:
                for h in range(s.n_h):
                    store(to_re, h * s.pitch, load(from_re, h * ld_re))
                    store(to_im, h * s.pitch, load(from_im, h * ld_im))
    if s.along_d:
        along_depth(p, a.tables, t.planes, s.n_w, 0, t.local)
    call(p.transform_in, (p, a.tables, t.planes, t.local, z))


@word
def hand_on(p: Any, o: Box, g: int, m: int, d: int, c: int, y: Any, a: Arrays, t: Work, slope: Any) -> None:
    """Hand on a vector of columns of a tile's outputs of one depth: rows of y, counted from column c."""
    s, step = p.fft, lanes(y)
    rows = (o.n_w - c + s.n_w - 1) // s.n_w if s.line else o.n_h
    channel, depth = g * p.c_out + m, o.d + d
    start = a.bias[channel] if a.has_bias else zero(y)
    offset = splat_tile(y, 1, 1, start)
    for first in range(0, rows, SEGMENTS):
        n, defects = min(SEGMENTS, rows - first), splat_tile(y, 1, 1, zero(y))
        for r in range(n):
            v = add_tiles(load(y, r * step), offset)
            store(y, r * step, v)
            defects = add_defects(defects, v)
            before = (first + r) * s.n_w + c if s.line else c
            t.segments[4 * r] = r * step
            t.segments[4 * r + 1] = min(step, o.n_w - before)
            t.segments[4 * r + 2] = 0 if s.line else o.h + first + r
            t.segments[4 * r + 3] = o.w + before
        store(t.product, 0, defects)
        broken = False
        for i in range(step):
            broken |= t.product[i] != zero(y)
        if broken:
            image = advance(a.x, o.n * p.ld_x.n + g * p.c_in * p.ld_x.c)
            k_all = p.c_in * p.d.k * p.h.k * p.w.k
            w = advance(a.tables, s.tables + p.groups * p.c_out * s.n_k * 2 * s.points + channel * k_all)
            for r in range(n):
                for e in range(t.segments[4 * r + 1]):
                    value = y[r * step + e]
                    if value - value != zero(y):
                        h, column = t.segments[4 * r + 2], t.segments[4 * r + 3] + e
                        y[r * step + e] = sum_again(p, image, w, depth, h, column, start)
        place = (o.n, channel, depth, 0, 0)
        call(p.finish, (p, y, n * step, 1, t.segments, n, a.out, a.residual, *place, slope))
        y = advance(y, SEGMENTS * step)


@word
def transform_output(p: Any, g: int, m: int, pair: int, plane: Any, a: Arrays, t: Work, slope: Any) -> None:
    """Take both tiles of a pair out of their plane."""
    s, step = p.fft, lanes(plane)
    first, second = box_of(p, 2 * pair), box_of(p, 2 * pair + 1)
    columns = max(first.n_w, second.n_w)
    if s.line:
        columns = min(columns, s.n_w)
    if s.along_d:
        along_depth(p, a.tables, plane, columns, 1, t.local)
    to_im = advance(t.local, s.longest)
    for d in range(max(first.n_d, second.n_d)):
        for c in range(0, columns, step):
            re = advance(plane, d * s.n_h * s.pitch + c)
            im = advance(re, s.plane)
            if s.along_h:
                call(p.transform, (p, _H, 1, a.tables, re, im, s.pitch, s.pitch, t.local, to_im, step, step, t.local))
            else:
                for h in range(s.n_h):
                    store(t.local, h * step, load(re, h * s.pitch))
                    store(to_im, h * step, load(im, h * s.pitch))
            for half in range(2):
                o = second if half else first
                if d < o.n_d and c < o.n_w:
                    hand_on(p, o, g, m, d, c, to_im if half else t.local, a, t, slope)


@word
def multiply(p: Any, b: Block, item: int, m0: int, k0: int, k1: int, a: Arrays, t: Work, slope: Any) -> None:
    """Do one item: the products of one panel of output channels, and behind the last reduction block their outputs."""
    s, step = p.fft, lanes(t.z)
    m = m0 + item * p.rows
    rows, chunk, last = min(p.rows, p.c_out - m), 2 * s.n_w * step, k1 == s.n_k
    products = rows * b.n_pairs
    w = advance(a.tables, s.tables + b.g * p.c_out * s.n_k * 2 * s.points + k0 * rows * 2 * step)
    for row_block in range(s.n_d * s.n_h // step):
        sums, ld = t.product, chunk
        if p.part_elems > 0:
            sums, ld = advance(t.sums, (m - m0) * b.n_pairs * s.ld_pair + row_block * chunk), s.ld_pair
        call(
            p.tiles[(rows - 1) * MAX_PAIRS + b.n_pairs - 1],
            (
                s.n_w, k1 - k0, advance(w, (row_block * p.c_out + m) * s.n_k * chunk), s.n_k * rows * 2 * step,
                advance(t.z, row_block * chunk), s.block_pairs * s.ld_pair, s.ld_pair, sums, ld, int(k0 > 0),
            ),
        )  # fmt: skip
        if last:
            for i in range(products):
                plane = advance(t.planes, i * 2 * s.plane)
                call(p.transform_out, (p, a.tables, row_block, advance(sums, i * ld), t.local, plane))
    if last:
        for i in range(products):
            row, pair = divmod(i, b.n_pairs)
            transform_output(p, b.g, m + row, b.pair + pair, advance(t.planes, i * 2 * s.plane), a, t, slope)


@kernel
def conv_fft(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any, stage: int, block: int, m0: int, k0: int, shared: int,
) -> int:  # fmt: skip
    """Do blocks first .. last (WHOLE), or items first .. last of one stage of a block, from one channel and term on.

    Arrays by address, bias and residual 0 where there is none. What a stage hands to the next lies in ``scratch``, or
    in ``shared`` where the stage is. The type of ``slope`` is the element type. Returns how many blocks or items were
    done.
    """
    p = params[0]
    s, whole = p.fft, stage == WHOLE
    a = Arrays(
        pointer(x, slope), pointer(packed, slope), pointer(bias, slope), bias != 0, pointer(residual, slope),
        pointer(out, slope),
    )  # fmt: skip
    integers = pointer(scratch + p.integers_bytes, 0)
    t = work_of(p, pointer(scratch, slope), pointer(scratch if whole else shared, slope), integers)
    m_end, k_end = (p.c_out, s.n_k) if whole else (m0 + 1, k0 + 1)
    for task in range(first, last):
        b = block_of(p, task if whole else block)
        for m in range(m0, m_end, p.m_block):
            for k in range(k0, k_end, p.c_block):
                k1 = min(s.n_k, k + p.c_block)
                for now in range(INPUT, WHOLE):
                    item, end = task, task + int(stage == now)
                    if whole:
                        # (spectra stay where all of them are kept)
                        inputs = (k1 - k) * b.n_pairs if m == 0 or p.c_block < s.n_k else 0
                        panels = (min(p.m_block, p.c_out - m) + p.rows - 1) // p.rows
                        item, end = 0, inputs if now == INPUT else panels
                    while item < end:
                        if now == INPUT:
                            transform_input(p, b, item, k, a, t)
                        else:
                            multiply(p, b, item, m, k, k1, a, t, slope)
                        item += 1
    return last - first


def phases(p: Any, n_threads: int) -> list[Phase]:
    """Return how threads share a convolution: whole blocks, and the stages of those that would leave threads idle."""
    s, c_out, rows = p["fft"], int(p["c_out"]), int(p["rows"])
    n_k, pairs, each = (int(s[name]) for name in ("n_k", "pairs", "block_pairs"))
    blocks = -(-pairs // each)
    n_blocks = int(p["groups"]) * blocks
    left = n_blocks % n_threads if -(-c_out // rows) >= n_threads else 0
    found = []
    if left < n_blocks:
        found.append(Phase((WHOLE, 0, 0, 0), n_blocks - left, min(n_threads, n_blocks - left)))
    for block in range(n_blocks - left, n_blocks):
        n_pairs = min(each, pairs - block % blocks * each)
        for m in range(0, c_out, int(p["m_block"])):
            for k in range(0, n_k, int(p["c_block"])):
                inputs = min(int(p["c_block"]), n_k - k) * n_pairs if m == 0 or p["c_block"] < n_k else 0
                panels = -(-min(int(p["m_block"]), c_out - m) // rows)
                for stage, items in ((INPUT, inputs), (OUTPUT, panels)):
                    if items:
                        found.append(Phase((stage, block, m, k), items, min(n_threads, items)))
    return found


def _link_transforms(p: Any, real: types.Float) -> None:
    """Write the functions that the input stage calls into a record."""
    s = p["fft"]
    for axis, name in enumerate("dhw"):
        if s[f"along_{name}"]:
            for i, (radix, _, m) in enumerate(_passes_of(int(s[f"n_{name}"]))):
                s["passes"][axis, i, _THERE] = one_pass(real, radix, BEHIND if m > 1 else PLAIN)
    p["transform"], p["transform_in"] = transform(real), rows_there(real)


def link_fft(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    s = p["fft"]
    _link_transforms(p, real)
    for axis, name in enumerate("dhw"):
        if s[f"along_{name}"]:
            for i, (radix, _, m) in enumerate(_passes_of(int(s[f"n_{name}"]))):
                s["passes"][axis, i, _BACK] = one_pass(real, radix, IN_FRONT if m > 1 else PLAIN)
    for rows in cut_sizes(int(p["c_out"]), int(p["rows"])):
        for pairs in cut_sizes(int(s["pairs"]), int(s["block_pairs"])):
            p["tiles"][(rows - 1) * MAX_PAIRS + pairs - 1] = product_tile(real, rows, pairs)
    p["transform_out"], p["finish"] = rows_back(real), finisher(real)


# ---- weights


def _frequencies(n: int) -> Any:
    """Return the frequency that stands at each position behind a forward transform."""
    position, found = np.arange(n), np.zeros(n, np.int64)
    for _, blocks, m in _passes_of(n):
        found += position // m * blocks
        position %= m
    return found


def _write_tables(s: Fft, packed: Any, step: int) -> None:
    """Write twiddles pass by pass, then those between the axes of a line.

    Those are w^(f r) and w^(f step c) for the frequencies f of a vector of rows, r < step and each vector c of columns.
    """
    at = 0
    for n in (s.n_d, s.n_h, s.n_w):
        for radix, _, m in _passes_of(n):
            if m > 1:
                found = roots(np.multiply.outer(np.arange(m), np.arange(1, radix)), m * radix, packed.dtype)
                packed[at : at + found.size] = found.reshape(-1)
                at += found.size
    if s.line:
        columns = np.r_[np.arange(step), np.arange(0, s.n_w, step)]
        found = roots(np.multiply.outer(columns, _frequencies(s.n_h)), s.points, packed.dtype)
        # [column][row block, lane][part] -> [row block][column][part][lane]
        by_block = found.reshape(len(columns), -1, step, 2).transpose(1, 0, 3, 2)
        packed[s.turns : s.tables] = by_block.reshape(-1)


def _places(axis: Axis, s: FftAxis, n: int) -> tuple[Any, Any]:
    """Return for each tap its part of the kernel and where it stands in that part's tile, turned round.

    A product of spectra then correlates.
    """
    taps = np.arange(axis.k)
    segment, place = np.divmod(taps * axis.dilation // axis.stride, s.part)
    return taps % s.period * s.segments + segment, -place % n


def pack_fft(w: Any, groups: int, axes: dict[str, Axis], tile: Any, real: types.Float) -> Any:
    """Weights (groups c_out, c_in, d, h, w) -> twiddles, their spectra, and as they came, flat.

    [group][row block][panel of channels][frequency][term][channel][real, imaginary][lane]
    """
    c_out, c_in, step = w.shape[0] // groups, w.shape[1], VECTOR_BYTES // w.itemsize
    s = fft_of(1, c_in, axes, tile, step)
    n_spectra = groups * c_out * s.n_k * 2 * s.points
    packed = aligned(s.tables + n_spectra + w.size, w.dtype)
    packed[s.tables + n_spectra :] = w.reshape(-1)
    _write_tables(s, packed, step)

    # each kernel is an image with a channel for each term, which is its own and only tile
    shape = (1, 1, s.points) if s.line else (s.n_d, s.n_h, s.n_w)
    images = {name: Axis(size=n, out=n) for name, n in zip("dhw", shape, strict=True)}
    along = {f"along_{name}": getattr(s, f"along_{name}") for name in "dhw"}
    params = np.zeros(1, dtype=CONV)
    for name, value in {
        "groups": 1, "c_in": s.n_k, "c_out": 1, **images, "rows": 1, "m_block": 1, "c_block": s.n_k,
        "panel_elems": s.n_k * s.ld_pair,
        "ld_x": Strides(c=s.points, d=s.points // s.n_d, h=s.n_w, w=1),
        "fft": fft_of(1, s.n_k, images, tile._replace(part_d=1, part_h=1, part_w=1), step)._replace(**along),
    }.items():  # fmt: skip
        params[name] = value
    _link_transforms(params[0], real)
    scratch = aligned(s.n_k * s.ld_pair + 2 * (s.plane + s.n_h * s.n_w + step + s.longest), w.dtype)
    spectra = scratch[: s.n_k * s.ld_pair].reshape(s.n_k, s.ld_pair)[:, : 2 * s.points]
    spectra = spectra.reshape(s.n_k, -1, s.n_w, 2 * step).transpose(1, 2, 0, 3)

    # along an axis that is not transformed every place has the tap
    lengths = [n if s.line or along[f"along_{name}"] else 1 for name, n in zip("dhw", shape, strict=True)]
    scale = w.dtype.type(1 / np.longdouble(prod(lengths)))
    tiles = np.zeros((c_in, s.d.parts, s.h.parts, s.w.parts, *lengths), w.dtype)
    found = [_places(axes[name], of, n) for name, of, n in zip("dhw", s[:3], lengths, strict=True)]
    _, *places = np.ix_(range(1), *(place for _, place in found))
    where = (*np.ix_(range(c_in), *(part for part, _ in found)), *places)
    each = s.n_k * 2 * s.n_w * step
    by_group = packed[s.tables : s.tables + n_spectra].reshape(groups, -1, c_out * each)
    for channel, kernel_ in enumerate(w):
        g, m = divmod(channel, c_out)
        tiles[where] = kernel_ * scale
        x = np.ascontiguousarray(np.broadcast_to(tiles, (*tiles.shape[:4], *shape)))
        conv_fft(
            params, 0, s.n_k, x.ctypes.data, packed.ctypes.data, 0, 0, 0, scratch.ctypes.data, scale,
            INPUT, 0, 0, 0, scratch.ctypes.data,
        )  # fmt: skip
        first = m - m % MAX_ROWS
        rows = min(MAX_ROWS, c_out - first)
        panel = by_group[g, :, first * each : (first + rows) * each]
        panel.reshape(len(panel), s.n_w, s.n_k, rows, 2 * step)[..., m - first, :] = spectra
    return packed
