"""What lies between arrays of any strides and the register tiles, the same for every convolution kernel.

That is the input tile on the way in, and the epilogue on the way out.

One axis of an input tile, for one block of kernel taps: with stride s and dilation d, tap a of output r reads
s (r + a d / s) + (a d) % s. The tile keeps each residue ("phase") that a tap asks for as a plane of its own, so that
neighbouring outputs read neighbouring elements whatever the stride. Residues come back after ``period`` taps.

    tile[channel][h phase][w phase][h][w], padding included; a slice of depth is one more channel
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from .jit import c_function, once, word
from .simd import (
    VECTOR_BYTES,
    advance,
    call,
    lanes,
    load,
    load_evens_part,
    load_part,
    prefetch,
    splat_tile,
    store,
    store_part,
    zero,
)

__all__ = [
    "ACTIVATIONS",
    "AXIS",
    "CONV",
    "PADDING_MODES",
    "RECORD",
    "SEGMENT_INTEGERS",
    "STRIDES",
    "Axis",
    "Fft",
    "FftAxis",
    "GridAxis",
    "Panels",
    "PhaseAxis",
    "Phases",
    "Strides",
    "TaskBox",
    "Winograd",
    "copy",
    "cut_sizes",
    "finisher",
    "grid_axis",
    "integers",
    "load_row",
    "panel_rows",
    "panel_start",
    "panels_of",
    "place_in",
    "prefetch_out",
    "segments_of",
    "sum_again",
    "tap_offsets",
    "task_box",
    "tile_loader",
    "tile_row",
]

#: A kernel's numbers for these are the positions.
PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
ACTIVATIONS = (None, "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardswish")
ZEROS, REFLECT, REPLICATE, CIRCULAR = range(4)
NONE, RELU, RELU6, LEAKY_RELU, ELU, SIGMOID, TANH, SILU, HARDSWISH = range(9)


class Axis(NamedTuple):
    """One spatial axis: out = (size + pad + pad_after - dilation (k - 1) - 1) // stride + 1; pad_after is implied."""

    size: int = 1
    k: int = 1
    out: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0


class Strides(NamedTuple):
    """Leading dimensions: elements between neighbours along each axis of one array."""

    n: int = 0
    c: int = 0
    d: int = 0
    h: int = 0
    w: int = 0


class PhaseAxis(NamedTuple):
    """Where the results of a transposed convolution lie along one axis; see phases.py."""

    n: int = 1
    stride: int = 1
    step: int = 1
    first: int = 0
    size: int = 1


class Phases(NamedTuple):
    """How many phases each channel of the output array has; none: the results are its elements."""

    count: int = 0
    channels_inner: int = 0
    d: PhaseAxis = PhaseAxis()
    h: PhaseAxis = PhaseAxis()
    w: PhaseAxis = PhaseAxis()


class Winograd(NamedTuple):
    """Sizes of a Winograd transform: tiles of m_h x m_w outputs from a_h x a_w inputs (1 where a kernel has one tap).

    With a dilation of s, every s-th row is an image of its own, and so is every s-th column.
    """

    a_h: int = 1
    a_w: int = 1
    m_h: int = 1
    m_w: int = 1
    #: points of a tile
    n_xi: int = 1
    #: dilations of the transformed axes
    step_h: int = 1
    step_w: int = 1
    #: images, output depths and phases of rows, those fastest; tiles of one phase of a slice
    slices: int = 1
    h_tiles: int = 1
    w_tiles: int = 1
    #: input channels and depth taps of the product; each tap's channels fill whole vectors
    n_k: int = 1
    #: the same for all taps, and output channels, in whole vectors
    c_lanes: int = 1
    m_lanes: int = 1
    #: slices of a block; rows of tiles transformed together
    block_slices: int = 1
    strip: int = 1
    #: elements of the transformed tiles, and of the products, at one point
    ld_v: int = 0
    ld_m: int = 0
    #: items of each stage of a block
    inputs: int = 0
    products: int = 0
    outputs: int = 0
    #: elements of the local scratch in front of the pixels on their way out
    half_elems: int = 0


class FftAxis(NamedTuple):
    """One axis of an FFT convolution. Tap a of output o reads s (o + q) + r - pad, where a dilation = s q + r.

    The taps of each residue r are a (sparse) kernel of stride 1 on every s-th element of x, and each part of such a
    kernel is one more input channel. A tile of n elements gives ``step`` outputs from the taps of one part.
    """

    stride: int = 1
    dilation: int = 1
    #: taps so far apart have the same residue
    period: int = 1
    #: taps of a part; parts of a residue; of all residues
    part: int = 1
    segments: int = 1
    parts: int = 1
    n: int = 1
    step: int = 1
    tiles: int = 1


class Fft(NamedTuple):
    """Sizes of an FFT convolution's transforms."""

    d: FftAxis = FftAxis()
    h: FftAxis = FftAxis()
    w: FftAxis = FftAxis()
    #: whether a tile is n_h n_w neighbours of one row
    line: int = 0
    n_d: int = 1
    n_h: int = 1
    n_w: int = 1
    points: int = 1
    #: axes that are transformed
    along_d: int = 0
    along_h: int = 0
    along_w: int = 0
    #: input channels and parts of the kernel
    n_k: int = 1
    #: of a group, all images; pairs of a block
    tiles: int = 1
    pairs: int = 1
    block_pairs: int = 1
    #: elements between rows, of the real or imaginary half of a tile, of the longest transform, of a pair's spectrum
    pitch: int = 1
    plane: int = 1
    longest: int = 1
    ld_pair: int = 1
    #: elements in front of the spectra of the weights, and where those for the lines begin
    tables: int = 0
    turns: int = 0
    #: passes of each axis, and for each: blocks, m, where its twiddles begin, functions there and back
    n_passes: tuple[int, ...] = (0, 0, 0)
    passes: Any = ((((0,) * 5,) * 4),) * 3


def integers(*names: str) -> np.dtype[Any]:
    """Return a record of integers."""
    return np.dtype([(name, np.int64) for name in names])


AXIS, STRIDES = integers(*Axis._fields), integers(*Strides._fields)
_PHASES = np.dtype(
    [
        *((name, np.int64) for name in Phases._fields[:2]),
        *((name, integers(*PhaseAxis._fields)) for name in Phases._fields[2:]),
    ]
)
_FFT = np.dtype(
    [
        *((name, integers(*FftAxis._fields)) for name in Fft._fields[:3]),
        *((name, np.int64) for name in Fft._fields[3:-2]),
        ("n_passes", np.int64, (3,)),
        ("passes", np.int64, (3, 4, 5)),
    ]
)
#: What the kernels know of a convolution; csrc/pyconv.h's pc_conv and pc_blocking.
CONV = np.dtype(
    [
        *((name, np.int64) for name in ("n", "groups", "c_in", "c_out")),
        *((name, AXIS) for name in "dhw"),
        *((name, STRIDES) for name in ("ld_x", "ld_out", "ld_res")),
        *((name, np.int64) for name in ("padding_mode", "activation", "residual")),
        ("phases", _PHASES),
        # one reduction block: channels x kernel rows x kernel columns
        *((name, np.int64) for name in ("c_block", "kh_block", "kw_block")),
        # one task: output rows, columns, and channels in panels (depthwise: groups)
        *((name, np.int64) for name in ("h_tile", "w_tile", "m_block")),
        *((name, np.int64) for name in ("n_h_tiles", "n_w_tiles", "n_m_blocks", "n_tasks")),
        # a full register tile; whether pixel panels are packed; whether x is its own tile; whether two rows of pixels
        # share what they load
        *((name, np.int64) for name in ("rows", "vectors", "im2col", "in_place", "windows")),
        # scratch of one worker: elements in this order and a register tile, from integers_bytes on integers
        *((name, np.int64) for name in ("tile_elems", "panel_elems", "part_elems", "integers_bytes", "scratch_bytes")),
        # addresses of the functions that the kernel calls
        ("tiles", np.int64, (48,)),
        ("winograd", integers(*Winograd._fields)),
        ("fft", _FFT),
        *((name, np.int64) for name in ("load_tile", "pack_pixels", "reduce", "finish", "activate")),
        *((name, np.int64) for name in ("store_phases", "store_box")),
        *((name, np.int64) for name in ("transform", "transform_in", "transform_out")),
    ]
)


RECORD = numba.from_dtype(CONV)
#: Integers of scratch that hold the segments of one register tile: at most one a lane, four numbers each.
SEGMENT_INTEGERS = 4 * 6 * VECTOR_BYTES // 4


class GridAxis(NamedTuple):
    """One axis of an input tile."""

    stride: int
    dilation: int
    period: int
    phases: int
    length: int


class Panels(NamedTuple):
    """A count dealt to n panels as evenly as possible: ``tall`` of ``rows``, then n - tall of rows - 1."""

    n: int
    tall: int
    rows: int


def cut_sizes(extent: int, size: int) -> set[int]:
    """Return the sizes of the pieces that an extent is cut into: ``size``, and what is left at the end."""
    return {min(extent, size), extent % size or size} if extent else set()


@word
def grid_axis(axis: Any, taps: int, outputs: int) -> GridAxis:
    """Return the tile's axis for so many taps and outputs."""
    a, b = axis.stride, axis.dilation
    while b != 0:
        a, b = b, a % b
    period = axis.stride // a
    return GridAxis(
        axis.stride, axis.dilation, period, min(taps, period), outputs + (taps - 1) * axis.dilation // axis.stride
    )


class TaskBox(NamedTuple):
    """What one task of a dense kernel computes: a tile of output pixels of one image, group and output depth."""

    n: int
    g: int
    d: int
    h0: int
    w0: int
    h_tile: int
    w_tile: int
    #: the first panel of output channels
    q0: int


@word
def task_box(p: Any, task: int) -> TaskBox:
    """Return the task of this number."""
    rest, m_index = divmod(task, p.n_m_blocks)
    rest, w_index = divmod(rest, p.n_w_tiles)
    rest, h_index = divmod(rest, p.n_h_tiles)
    rest, d = divmod(rest, p.d.out)
    n, g = divmod(rest, p.groups)
    h0, w0 = h_index * p.h_tile, w_index * p.w_tile
    h_tile, w_tile = min(p.h_tile, p.h.out - h0), min(p.w_tile, p.w.out - w0)
    return TaskBox(n, g, d, h0, w0, h_tile, w_tile, m_index * p.m_block)


@word
def panels_of(count: int, most: int) -> Panels:
    """Deal ``count`` to panels of at most ``most``."""
    n = max(1, (count + most - 1) // most)
    each = (count + n - 1) // n
    return Panels(n, count - n * (each - 1), each)


@word
def panel_rows(panels: Panels, q: int) -> int:
    """Return the size of panel q."""
    return panels.rows if q < panels.tall else panels.rows - 1


@word
def panel_start(panels: Panels, q: int) -> int:
    """Return what panel q begins with."""
    return q * panels.rows - max(0, q - panels.tall)


@word
def map_index(i: int, n: int, mode: int) -> int:
    """Return where index i of an axis of n elements lies under a padding mode; -1 for a zero."""
    if 0 <= i < n:
        return i
    if mode == ZEROS:
        return -1
    if mode == REPLICATE or n == 1:
        return 0 if i < 0 else n - 1
    if mode == CIRCULAR:
        return i % n
    period = 2 * (n - 1) if mode == REFLECT else 2 * n
    r = i % period
    if r < n:
        return r
    return period - r if mode == REFLECT else period - 1 - r


@word
def copy(dst: Any, src: Any, n: int) -> None:
    """dst[:n] = src[:n]; nothing beyond is touched."""
    step, i = lanes(dst), 0
    while i + step <= n:
        store(dst, i, load(src, i))
        i += step
    if i < n:
        store_part(dst, i, load_part(src, i, n - i), n - i)


@word
def copy_over(dst: Any, src: Any, step: int, n: int) -> None:
    """dst[q] = src[q step] for q < n; up to lanes - 1 elements more may be written."""
    many, q = lanes(dst), 0
    if step == 1:
        while q + many <= n:
            store(dst, q, load(src, q))
            q += many
        if q < n:
            store(dst, q, load_part(src, q, n - q))
    elif step == 2:
        while q < n:
            store(dst, q, load_evens_part(src, 2 * q, 2 * (n - q) - 1))
            q += many
    else:
        while q < n:
            dst[q] = src[q * step]
            q += 1


@word
def clear_over(dst: Any, n: int) -> None:
    """dst[:n] = 0; up to lanes - 1 elements more may be written."""
    none = splat_tile(dst, 1, 1, zero(dst))
    if n > 0:  # apart from the loop, which LLVM turns into a call of memset: most borders are one vector or none
        store(dst, 0, none)
    i = lanes(dst)
    while i < n:
        store(dst, i, none)
        i += lanes(dst)


@word
def pad_row(p: Any, row: Any, t: Any, dst: Any) -> None:
    """dst[q] = row[map(first + q stride)] for q < lo and hi <= q < n, all of them outside the row.

    Up to lanes - 1 elements more may be written behind dst[n].
    """
    if p.padding_mode == ZEROS:
        i = 0
        while i < t.lo:
            store_part(dst, i, splat_tile(dst, 1, 1, zero(dst)), t.lo - i)
            i += lanes(dst)
        clear_over(advance(dst, t.hi), t.n - t.hi)
    else:
        for i in range(t.lo + t.n - t.hi):
            q = i if i < t.lo else i - t.lo + t.hi
            dst[q] = row[map_index(t.first + q * t.stride, p.w.size, p.padding_mode) * p.ld_x.w]


class TileRow(NamedTuple):
    """A row of a tile: which column of x it begins with, how far apart they are, and which elements lie in x."""

    first: int
    stride: int
    lo: int
    hi: int
    n: int


@word
def tile_row(p: Any, first: int, stride: int, n: int) -> TileRow:
    """Return the row of n elements from a column of x on."""
    lo = min(n, max(0, (-first + stride - 1) // stride))
    return TileRow(first, stride, lo, max(lo, min(n, (p.w.size - first + stride - 1) // stride)), n)


@word
def load_row(p: Any, row: Any, t: TileRow, dst: Any) -> None:
    """dst[q] = row[map(first + q stride)], q < n; up to lanes - 1 elements more may be written."""
    inside = advance(row, (t.first + t.lo * t.stride) * p.ld_x.w)
    copy_over(advance(dst, t.lo), inside, t.stride * p.ld_x.w, t.hi - t.lo)
    pad_row(p, row, t, dst)


@once
def tile_loader(real: types.Float) -> int:
    """Return the address of the function that fills an input tile."""
    return c_function(_load_tile, RECORD, types.CPointer(real), *[types.intp] * 9, types.CPointer(real))


def _load_tile(
    p: Any, x: Any, d: int, h: int, w: int, c0: int, n_c: int, n_a: int, n_b: int, h_tile: int, w_tile: int, tile: Any
) -> None:
    """Copy channels c0 .. c0 + n_c of x into the tile of n_a x n_b taps and h_tile x w_tile outputs.

    (d, h, w) is where output (0, 0)'s first tap reads. Rows are written in the order of their addresses, so what is
    written beyond the end of one is overwritten by the next; behind the last row the tile has a vector to spare.
    """
    gh, gw = grid_axis(p.h, n_a, h_tile), grid_axis(p.w, n_b, w_tile)
    plane = gh.phases * gw.phases * gh.length * gw.length
    for c in range(c0, c0 + n_c):
        d_in = map_index(d + c % p.d.k * p.d.dilation, p.d.size, p.padding_mode)
        if d_in < 0:
            clear_over(tile, plane)
            tile = advance(tile, plane)
            continue
        image = advance(x, c // p.d.k * p.ld_x.c + d_in * p.ld_x.d)
        for fh in range(gh.phases):
            for fw in range(gw.phases):
                row = tile_row(p, w + fw * gw.dilation % gw.stride, gw.stride, gw.length)
                h_in = h + fh * gh.dilation % gh.stride
                for _ in range(gh.length):
                    h_from = map_index(h_in, p.h.size, p.padding_mode)
                    if h_from < 0:
                        clear_over(tile, gw.length)
                    else:
                        load_row(p, advance(image, h_from * p.ld_x.h), row, tile)
                    h_in += gh.stride
                    tile = advance(tile, gw.length)


@word
def tap_offsets(gh: GridAxis, gw: GridAxis, n_h: int, n_w: int, off: Any) -> None:
    """Write the offsets within a tile's channel of n_h x n_w taps, row by row."""
    for a in range(n_h):
        for b in range(n_w):
            phase = a % gh.period * gw.phases + b % gw.period
            row = phase * gh.length + a * gh.dilation // gh.stride
            off[a * n_w + b] = row * gw.length + b * gw.dilation // gw.stride


@word
def segments_of(first: int, n_lanes: int, pitch: int, width: int, height: int, segments: Any) -> int:
    """Find the output rows that lanes [0, n_lanes) of a pixel panel belong to: (lane, length, h, w) each.

    Pixel j stands at row j // pitch, column j % pitch of the tile; columns from ``width`` on are nobody's
    (pitch > width where the input tile carries a border). Returns how many segments there are.
    """
    n, lane = 0, 0
    while lane < n_lanes:
        h = (first + lane) // pitch
        w = (first + lane) % pitch
        if h >= height:
            break
        if w < width:
            segments[4 * n] = lane
            segments[4 * n + 1] = min(width - w, n_lanes - lane)
            segments[4 * n + 2] = h
            segments[4 * n + 3] = w
            n += 1
        lane += pitch - w
    return n


@word
def prefetch_out(p: Any, out: Any, rows: int, segments: Any, n_segments: int) -> None:
    """Ask for the lines that a register tile will be written to, so that they arrive while it is computed."""
    if p.ld_out.w != 1 or p.phases.count:
        return
    for s in range(n_segments):
        start = segments[4 * s + 2] * p.ld_out.h + segments[4 * s + 3]
        for i in range(rows):
            for e in range(0, segments[4 * s + 1], 16):
                prefetch(out, start + i * p.ld_out.c + e)


@word
def place_in(ld: Any, n: int, m: int, d: int, h: int, w: int) -> int:
    """Return where an element lies in an array."""
    return n * ld.n + m * ld.c + d * ld.d + h * ld.h + w * ld.w


@once
def finisher(real: types.Float) -> int:
    """Return the address of the epilogue."""
    n, p = types.intp, types.CPointer(real)
    return c_function(_finish, RECORD, p, n, n, types.CPointer(types.int64), n, p, p, *[n] * 5, real)


def _finish(
    p: Any, c: Any, ld_c: int, rows: int, segments: Any, n_segments: int, out: Any, residual: Any, n: int, m: int,
    d: int, h: int, w: int, slope: Any,
) -> None:  # fmt: skip
    """Take one register tile in memory, c[rows][ld_c], through the epilogue.

    Adds the residual, applies the activation and hands each segment to the output. The tile's first channel is m of all
    groups, and segments count from row h and column w.
    """
    if p.phases.count:
        if p.activate != 0:
            call(p.activate, (c, rows * ld_c, slope))
        for s in range(n_segments):
            lane, length = segments[4 * s], segments[4 * s + 1]
            row, col = h + segments[4 * s + 2], w + segments[4 * s + 3]
            call(p.store_phases, (p, advance(c, lane), ld_c, rows, 1, n, m, d, row, col, length, out))
        return
    out = advance(out, place_in(p.ld_out, n, m, d, h, w))
    residual = advance(residual, place_in(p.ld_res, n, m, d, h, w))
    if p.residual:
        for s in range(n_segments):
            from_ = segments[4 * s + 2] * p.ld_res.h + segments[4 * s + 3] * p.ld_res.w
            for i in range(rows):
                to = i * ld_c + segments[4 * s]
                for e in range(segments[4 * s + 1]):
                    c[to + e] += residual[from_ + i * p.ld_res.c + e * p.ld_res.w]
    if p.activate != 0:
        call(p.activate, (c, rows * ld_c, slope))
    for s in range(n_segments):
        src = advance(c, segments[4 * s])
        dst = advance(out, segments[4 * s + 2] * p.ld_out.h + segments[4 * s + 3] * p.ld_out.w)
        if p.ld_out.w == 1:
            for i in range(rows):
                copy(advance(dst, i * p.ld_out.c), advance(src, i * ld_c), segments[4 * s + 1])
        else:
            for e in range(segments[4 * s + 1]):
                for i in range(rows):
                    dst[e * p.ld_out.w + i * p.ld_out.c] = src[i * ld_c + e]


@word
def sum_again(p: Any, x: Any, w: Any, d_out: int, h_out: int, w_out: int, total: Any) -> Any:
    """Return one output by direct summation, from an image's first channel of the group and the weights as they came.

    Once it is NaN it stays so.
    """
    k = 0
    for c in range(p.c_in):
        for a in range(p.d.k):
            d_in = map_index(d_out * p.d.stride - p.d.pad + a * p.d.dilation, p.d.size, p.padding_mode)
            for i in range(p.h.k):
                h_in = map_index(h_out * p.h.stride - p.h.pad + i * p.h.dilation, p.h.size, p.padding_mode)
                for j in range(p.w.k):
                    w_in = map_index(w_out * p.w.stride - p.w.pad + j * p.w.dilation, p.w.size, p.padding_mode)
                    if d_in < 0 or h_in < 0 or w_in < 0:
                        total += w[k] * zero(x)
                    else:
                        total += w[k] * x[c * p.ld_x.c + d_in * p.ld_x.d + h_in * p.ld_x.h + w_in * p.ld_x.w]
                    k += 1
                if total != total:
                    return total
    return total
