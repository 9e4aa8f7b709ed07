"""conv_fft: large kernels by tiles in the frequency domain (overlap-save), each tile in a block's shared memory.

    y[o] = F^-1 [ sum over t of F(x[t]) F(w[o][t]) ] + bias + residual,   t an input channel and a part of the kernel

Four kernels: ``input_spectra`` and ``weight_spectra`` transform tiles, fft_product.py's sums over t for each frequency,
``outputs`` transforms back and has the epilogue. Where a group has one input channel nothing is summed, and
``conv_fft`` goes from x to the output without a spectrum of either in memory.

Two tiles share one complex transform, one as its real part and one as its imaginary part: kernels are real, so nothing
has to be separated. Passes of radix 8 and 4 are done in place, frequency decimated on the way there and time on the way
back: frequencies stay in the order of reversed digits, in which the weights' are too, and nothing is ever sorted. On
the way back the parts are exchanged, which makes the forward code the inverse one. A thread has one butterfly of a
pass in registers (two or four of large tiles, one after the other); between passes is one barrier. Lanes are columns
along d and h, rows along w. Every row begins one element later than it would (a line's every 32nd element does), so
that lanes read different banks but for two passes of a line, which take two to four turns.

What a stride leaves out and what a long kernel has too much of are more terms: residues of the stride, and parts of the
kernel (backends/fft.py). Twiddles come from a table, rounded once.

Spectra are complex, (row, point): transforms read and write them in order. Shared memory: two values a point and the
rows' one more, 33 KB at 64 x 64 in float32. flops: 5 N log2 N a transform of N points; from memory 2 N values a
transform each way, which is the limit of these kernels. Error: backends/fft.py. What is not finite spreads over both
tiles: outputs that are not finite are summed again directly, so NaN and Inf are where direct summation puts them.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, int32

from ..roots import roots
from .fft_tiles import begin_of, finisher, point_of, tile_of
from .memory import load, load2, quotient, store2

__all__ = [
    "Lengths",
    "conv_fft",
    "input_spectra",
    "outputs",
    "plan",
    "radices",
    "table",
    "weight_spectra",
]

#: Points of a block with small tiles: it takes several.
_POINTS = 1024


class Lengths(NamedTuple):
    """Points of a tile along d, h and w; each one of FFT_LENGTHS."""

    d: int
    h: int
    w: int

    @property
    def points(self) -> int:
        """Return the complex numbers of a tile."""
        return self.d * self.h * self.w

    @property
    def tiles(self) -> int:
        """Return the tiles of a block."""
        return max(1, _POINTS // self.points)

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return 256 if self.points > _POINTS else 128

    @property
    def run(self) -> int:
        """Return after how many elements of shared memory one is left out."""
        return self.w if 16 <= self.w < self.points else 32

    @property
    def plane(self) -> int:
        """Return the elements of shared memory that the real parts of a block's tiles take."""
        points = self.tiles * self.points
        return points + points // self.run


def radices(n: int) -> tuple[int, ...]:
    """Return the radices of a transform's passes."""
    eights, rest = divmod(n.bit_length() - 1, 3)
    fours = (0, 2, 1)[rest]
    return (8,) * (eights - (rest == 1)) + (4,) * fours


def _passes(n: int) -> list[tuple[int, int]]:
    """Return each pass' radix, and how far apart the points of its butterflies lie."""
    found, m = [], n
    for radix in radices(n):
        m //= radix
        found.append((radix, m))
    return found


def table(lengths: Lengths, dtype: Any) -> Any:
    """Return the twiddles of all passes, flat: for each length, pass, power of the root and point a complex number."""
    found = [np.zeros((0, 2), dtype)]
    for n in sorted(set(lengths)):
        for radix, m in _passes(n):
            if m > 1:
                powers = np.multiply.outer(np.arange(1, radix), np.arange(m))
                found.append(roots(powers, radix * m, dtype).reshape(-1, 2))
    return np.concatenate(found).reshape(-1)


def _places_in_table(lengths: Lengths) -> dict[tuple[int, int], int]:
    """Return where in the table each pass of each length begins."""
    found, at = {}, 0
    for n in sorted(set(lengths)):
        for number, (radix, m) in enumerate(_passes(n)):
            found[n, number] = at
            at += (radix - 1) * m if m > 1 else 0
    return found


def plan(lengths: Lengths) -> Any:
    """Return the passes of a transform, flat, as kernels read them: ten numbers each, of sizes their logarithms.

    Whether the radix is 8; of a butterfly's number: where the row's bits begin and which they are, those of its place
    in the row, those of the column; then log2 of the row's length, of the columns, of how far apart its points lie;
    where its twiddles begin in the table.
    """
    found, at = [], _places_in_table(lengths)
    for axis, n in enumerate(lengths):
        inner = math.prod(lengths[axis + 1 :])
        rows = lengths.tiles * lengths.points // (n * inner)
        for number, (radix, m) in enumerate(_passes(n)):
            groups = n // radix
            # lanes along rows where columns are none: rows begin in different banks
            across = inner == 1 and rows >= 16
            row, group = (1, rows) if across else (inner * groups, inner)
            fields = _log(row), rows - 1, _log(group), groups - 1, inner - 1, _log(n), _log(inner), _log(m)
            found.append((int(radix == 8), *fields, at[n, number]))
    return np.array(found, np.int32).reshape(-1)


def _log(n: int) -> int:
    """Return log2 of a power of two."""
    return n.bit_length() - 1


@cuda.jit(device=True, inline=True)
def _fourier4(a: Any, ai: Any, b: Any, bi: Any, c: Any, ci: Any, d: Any, di: Any) -> Any:
    """Return the transform of four points, real and imaginary parts in turn."""
    p, pi, q, qi = a + c, ai + ci, a - c, ai - ci
    r, ri, s, si = b + d, bi + di, b - d, bi - di
    return p + r, pi + ri, q + si, qi - s, p - r, pi - ri, q - si, qi + s


@cache
def _fourier8(real: Any) -> Any:
    """Return the device function that transforms eight points."""
    half = math.sqrt(0.5)

    def fourier(
        a: Any, ai: Any, b: Any, bi: Any, c: Any, ci: Any, d: Any, di: Any,
        e: Any, ei: Any, f: Any, fi: Any, g: Any, gi: Any, h: Any, hi: Any,
    ) -> Any:  # fmt: skip
        # the second half is turned by roots: u by (1 - i), v by (-1 - i), both times sqrt(1/2)
        u, ui, v, vi = b - f, bi - fi, d - h, di - hi
        k = real(half)
        p0, p0i, p1, p1i, p2, p2i, p3, p3i = _fourier4(a + e, ai + ei, b + f, bi + fi, c + g, ci + gi, d + h, di + hi)
        q0, q0i, q1, q1i, q2, q2i, q3, q3i = _fourier4(
            a - e, ai - ei, (u + ui) * k, (ui - u) * k, ci - gi, g - c, (vi - v) * k, (-vi - v) * k
        )
        return p0, p0i, q0, q0i, p1, p1i, q1, q1i, p2, p2i, q2, q2i, p3, p3i, q3, q3i

    return cuda.jit(fourier, device=True, inline=True)


@cuda.jit(device=True, inline=True)
def _turn3(b: Any, bi: Any, c: Any, ci: Any, d: Any, di: Any, table: Any, at: Any, m: Any) -> Any:
    """Return three complex numbers times their twiddles."""
    p, pi = load2(table, int32(2 * at))
    q, qi = load2(table, int32(2 * (at + m)))
    r, ri = load2(table, int32(2 * (at + 2 * m)))
    return b * p - bi * pi, b * pi + bi * p, c * q - ci * qi, c * qi + ci * q, d * r - di * ri, d * ri + di * r


@cuda.jit(device=True, inline=True)
def _turn4(e: Any, ei: Any, f: Any, fi: Any, g: Any, gi: Any, h: Any, hi: Any, table: Any, at: Any, m: Any) -> Any:
    """Return the other four of eight complex numbers times their twiddles."""
    p, pi = load2(table, int32(2 * (at + 3 * m)))
    q, qi = load2(table, int32(2 * (at + 4 * m)))
    r, ri = load2(table, int32(2 * (at + 5 * m)))
    s, si = load2(table, int32(2 * (at + 6 * m)))
    return (
        e * p - ei * pi, e * pi + ei * p, f * q - fi * qi, f * qi + fi * q,
        g * r - gi * ri, g * ri + gi * r, h * s - hi * si, h * si + hi * s,
    )  # fmt: skip


@cache
def _transform(real: Any, lengths: Lengths, back: bool) -> Any:
    """Return the device function (plane, table, plan, thread) of all passes; a barrier before and behind each.

    One loop for all of them: the code of one pass of each radix is some hundred instructions, that of all would leave
    the instruction cache.
    """
    passes = sum(len(radices(n)) for n in lengths)
    threads, run, size = lengths.threads, lengths.run, lengths.plane
    turns4, turns8 = (lengths.tiles * lengths.points // (radix * threads) for radix in (4, 8))
    # real parts, and imaginary ones; the other way round on the way back
    re_0, im_0 = (size, 0) if back else (0, size)
    fourier8 = _fourier8(real)
    first, last = back, not back
    has_fours, has_eights = (any(radix in radices(n) for n in lengths) for radix in (4, 8))

    def transform(plane: Any, table: Any, plan: Any, thread: Any) -> None:
        for number in range(passes):
            of = int32(10 * (passes - 1 - number)) if back else int32(10 * number)
            row_0, rows, group_0, groups = plan[of + 1], plan[of + 2], plan[of + 3], plan[of + 4]
            columns, log_n, log_inner, log_m = plan[of + 5], plan[of + 6], plan[of + 7], plan[of + 8]
            m = int32(1 << log_m)
            step = int32(m << log_inner)
            e1, e2, e3 = (
                int32(step + quotient(step, run)),
                int32(2 * step + quotient(int32(2 * step), run)),
                int32(3 * step + quotient(int32(3 * step), run)),
            )
            cuda.syncthreads()
            if has_eights and plan[of] == 1:
                e4 = int32(4 * step + quotient(int32(4 * step), run))
                for i in range(turns8):
                    item = int32(i * threads + thread)
                    group = int32((item >> group_0) & groups)
                    j = int32(group & (m - 1))
                    start = int32(((((item >> row_0) & rows) << log_n) + ((group - j) << 3) + j) << log_inner)
                    point = int32(start + (item & columns))
                    re = int32(point + quotient(point, run) + re_0)
                    im, t = int32(re - re_0 + im_0), int32(plan[of + 9] + j)
                    re_4, im_4 = int32(re + e4), int32(im + e4)
                    a, ai, b, bi = plane[re], plane[im], plane[int32(re + e1)], plane[int32(im + e1)]
                    c, ci, d, di = (
                        plane[int32(re + e2)], plane[int32(im + e2)], plane[int32(re + e3)], plane[int32(im + e3)]
                    )  # fmt: skip
                    e, ei, f, fi = plane[re_4], plane[im_4], plane[int32(re_4 + e1)], plane[int32(im_4 + e1)]
                    g, gi, h, hi = (
                        plane[int32(re_4 + e2)], plane[int32(im_4 + e2)],
                        plane[int32(re_4 + e3)], plane[int32(im_4 + e3)],
                    )  # fmt: skip
                    if first and m > 1:
                        b, bi, c, ci, d, di = _turn3(b, bi, c, ci, d, di, table, t, m)
                        e, ei, f, fi, g, gi, h, hi = _turn4(e, ei, f, fi, g, gi, h, hi, table, t, m)
                    a, ai, b, bi, c, ci, d, di, e, ei, f, fi, g, gi, h, hi = fourier8(
                        a, ai, b, bi, c, ci, d, di, e, ei, f, fi, g, gi, h, hi
                    )
                    if last and m > 1:
                        b, bi, c, ci, d, di = _turn3(b, bi, c, ci, d, di, table, t, m)
                        e, ei, f, fi, g, gi, h, hi = _turn4(e, ei, f, fi, g, gi, h, hi, table, t, m)
                    plane[re], plane[im] = a, ai
                    plane[int32(re + e1)], plane[int32(im + e1)] = b, bi
                    plane[int32(re + e2)], plane[int32(im + e2)] = c, ci
                    plane[int32(re + e3)], plane[int32(im + e3)] = d, di
                    plane[re_4], plane[im_4] = e, ei
                    plane[int32(re_4 + e1)], plane[int32(im_4 + e1)] = f, fi
                    plane[int32(re_4 + e2)], plane[int32(im_4 + e2)] = g, gi
                    plane[int32(re_4 + e3)], plane[int32(im_4 + e3)] = h, hi
            if has_fours and plan[of] == 0:
                for i in range(turns4):
                    item = int32(i * threads + thread)
                    group = int32((item >> group_0) & groups)
                    j = int32(group & (m - 1))
                    start = int32(((((item >> row_0) & rows) << log_n) + ((group - j) << 2) + j) << log_inner)
                    point = int32(start + (item & columns))
                    re = int32(point + quotient(point, run) + re_0)
                    im, t = int32(re - re_0 + im_0), int32(plan[of + 9] + j)
                    a, ai, b, bi = plane[re], plane[im], plane[int32(re + e1)], plane[int32(im + e1)]
                    c, ci, d, di = (
                        plane[int32(re + e2)], plane[int32(im + e2)], plane[int32(re + e3)], plane[int32(im + e3)]
                    )  # fmt: skip
                    if first and m > 1:
                        b, bi, c, ci, d, di = _turn3(b, bi, c, ci, d, di, table, t, m)
                    a, ai, b, bi, c, ci, d, di = _fourier4(a, ai, b, bi, c, ci, d, di)
                    if last and m > 1:
                        b, bi, c, ci, d, di = _turn3(b, bi, c, ci, d, di, table, t, m)
                    plane[re], plane[im] = a, ai
                    plane[int32(re + e1)], plane[int32(im + e1)] = b, bi
                    plane[int32(re + e2)], plane[int32(im + e2)] = c, ci
                    plane[int32(re + e3)], plane[int32(im + e3)] = d, di
        cuda.syncthreads()

    return cuda.jit(transform, device=True, inline=True)


@cache
def _fill(real: Any, lengths: Lengths) -> Any:
    """Return the device function that loads a block's pairs of tiles of x into shared memory."""
    points, run, size, threads = lengths.points, lengths.run, lengths.plane, lengths.threads
    loads = lengths.tiles * points // threads
    n_h, n_w = lengths.h, lengths.w

    def fill(sizes: Any, steps: Any, begins: Any, x: Any, plane: Any, thread: Any) -> None:
        d, h, width = sizes[3:6]
        sd, sh, sw = sizes[12:15]
        for i in range(loads):
            at = int32(i * threads + thread)
            tile = quotient(at, points)
            row = quotient(at, n_w)
            slab = quotient(row, n_h)
            j_d = int32((slab - tile * (points // (n_h * n_w))) * sd)
            j_h, j_w = int32((row - slab * n_h) * sh), int32((at - row * n_w) * sw)
            to = int32(at + quotient(at, run))
            for half in range(2):
                begin = int32(8 * tile + 4 * half)
                value = real(0)
                from_channel = begins[int32(begin + 3)]
                at_d, at_h = int32(begins[begin] + j_d), int32(begins[int32(begin + 1)] + j_h)
                at_w = int32(begins[int32(begin + 2)] + j_w)
                inside = at_d >= 0 and at_d < d and at_h >= 0 and at_h < h and at_w >= 0 and at_w < width
                if inside and from_channel >= 0:
                    value = load(x, int32(from_channel + at_d * steps[3] + at_h * steps[4] + at_w * steps[5]))
                plane[int32(to + half * size)] = value

    return cuda.jit(fill, device=True, inline=True)


def input_spectra(real: Any, lengths: Lengths) -> Any:
    """Return the kernel that transforms pairs of tiles of x into (term of every group, pair, point).

    ``steps`` are x's; a block has a few neighbouring items.
    """
    points, run, size, threads = lengths.points, lengths.run, lengths.plane, lengths.threads
    tiles = lengths.tiles
    stores, whole, corners = tiles * points // threads, 2 * size, 8 * tiles
    fill, transform = _fill(real, lengths), _transform(real, lengths, False)

    def kernel(sizes: Any, steps: Any, x: Any, table: Any, plan: Any, spectra: Any) -> None:
        plane = cuda.shared.array(whole, real)
        begins = cuda.shared.array(corners, int32)
        thread = int32(cuda.threadIdx.x)
        first, all_tiles, pairs = sizes[36:39]
        items = int32(sizes[0] * sizes[1] * sizes[21] * sizes[22] * sizes[23] * pairs)
        first_item = int32(cuda.blockIdx.x * tiles)
        if thread < 2 * tiles:
            own = quotient(thread, 2)
            item = int32(first_item + own)
            term = quotient(item, pairs)
            tile = int32(first + 2 * (item - term * pairs) + thread - 2 * own)
            at = int32(4 * thread)
            begins[at], begins[int32(at + 1)], begins[int32(at + 2)], begins[int32(at + 3)] = 0, 0, 0, -1
            if item < items and tile < all_tiles:
                begins[at], begins[int32(at + 1)], begins[int32(at + 2)], begins[int32(at + 3)] = begin_of(
                    sizes, steps, term, tile
                )
        cuda.syncthreads()
        fill(sizes, steps, begins, x, plane, thread)
        transform(plane, table, plan, thread)
        for i in range(stores):
            at = int32(i * threads + thread)
            if first_item + quotient(at, points) < items:
                of = int32(at + quotient(at, run))
                store2(spectra, int32(2 * (first_item * points + at)), plane[of], plane[int32(of + size)])

    return kernel


def weight_spectra(real: Any, lengths: Lengths) -> Any:
    """Return the kernel that transforms kernels into (output channel, term, point), times a scale.

    The scale is one over the points, which neither transform divides by. w is (c_out, c_in, kd, kh, kw) in order.
    """
    points, run, size, threads = lengths.points, lengths.run, lengths.plane, lengths.threads
    tiles = lengths.tiles
    stores, whole = tiles * points // threads, 2 * size
    clears = -(-whole // threads)
    n_d, n_h, n_w = lengths
    transform = _transform(real, lengths, False)

    def kernel(sizes: Any, scale: Any, w: Any, table: Any, plan: Any, spectra: Any) -> None:
        plane = cuda.shared.array(whole, real)
        thread = int32(cuda.threadIdx.x)
        taps = int32(sizes[6] * sizes[7] * sizes[8])
        per_channel = int32(sizes[21] * sizes[22] * sizes[23])
        terms = int32(sizes[1] * per_channel)
        items = int32(sizes[0] * sizes[2] * terms)
        first_item = int32(cuda.blockIdx.x * tiles)
        for i in range(clears):
            at = int32(i * threads + thread)
            if at < whole:
                plane[at] = real(0)
        cuda.syncthreads()
        for tile in range(tiles):
            item = int32(first_item + tile)
            if item < items:
                channel = quotient(item, terms)
                term = int32(item - channel * terms)
                c = quotient(term, per_channel)
                own = int32(term - c * per_channel)
                of_channel = int32((channel * sizes[1] + c) * taps)
                tap = thread
                while tap < taps:
                    of_tap, point = point_of(sizes, tap, n_d, n_h, n_w)
                    if of_tap == own:
                        at = int32(tile * points + point)
                        plane[int32(at + quotient(at, run))] = load(w, int32(of_channel + tap)) * scale
                    tap = int32(tap + threads)
        transform(plane, table, plan, thread)
        for i in range(stores):
            at = int32(i * threads + thread)
            if first_item + quotient(at, points) < items:
                of = int32(at + quotient(at, run))
                store2(spectra, int32(2 * (first_item * points + at)), plane[of], plane[int32(of + size)])

    return kernel


@cache
def _hand_on(real: Any, lengths: Lengths, name: str | None, has_bias: bool, has_residual: bool) -> Any:
    """Return the device function that hands the outputs of a block's pairs of tiles on, from shared memory."""
    points, run, size, threads = lengths.points, lengths.run, lengths.plane, lengths.threads
    loads = lengths.tiles * points // threads
    depth, n_h, n_w = lengths
    finish = finisher(real, name, has_bias, has_residual)

    def hand_on(
        sizes: Any, steps: Any, slope: Any, begins: Any, first_item: Any, plane: Any, thread: Any,
        x: Any, w: Any, bias: Any, residual: Any, out: Any,
    ) -> None:  # fmt: skip
        d_out, h_out, w_out = sizes[9:12]
        each_d, each_h, each_w = sizes[33:36]
        pairs = sizes[38]
        for i in range(loads):
            at = int32(i * threads + thread)
            tile = quotient(at, points)
            row = quotient(at, n_w)
            slab = quotient(row, n_h)
            j_d = int32(slab - tile * depth)
            j_h, j_w = int32(row - slab * n_h), int32(at - row * n_w)
            if j_d < each_d and j_h < each_h and j_w < each_w:
                channel = quotient(int32(first_item + tile), pairs)
                of = int32(at + quotient(at, run))
                for half in range(2):
                    begin = int32(8 * tile + 4 * half)
                    image = begins[begin]
                    p_d = int32(begins[int32(begin + 1)] + j_d)
                    p_h, p_w = int32(begins[int32(begin + 2)] + j_h), int32(begins[int32(begin + 3)] + j_w)
                    if image >= 0 and p_d < d_out and p_h < h_out and p_w < w_out:
                        found = plane[int32(of + half * size)]
                        finish(sizes, steps, slope, channel, image, p_d, p_h, p_w, found, x, w, bias, residual, out)

    return cuda.jit(hand_on, device=True, inline=True)


@cuda.jit(device=True, inline=True)
def _set_outputs(sizes: Any, begins: Any, thread: Any, item: Any, items: Any) -> None:
    """Note which tile of the output each half of an item is; image -1: none."""
    first, all_tiles, pairs = sizes[36:39]
    tile = int32(first + 2 * (item - quotient(item, pairs) * pairs) + (thread & 1))
    at = int32(4 * thread)
    begins[at], begins[int32(at + 1)], begins[int32(at + 2)], begins[int32(at + 3)] = -1, 0, 0, 0
    if item < items and tile < all_tiles:
        begins[at], begins[int32(at + 1)], begins[int32(at + 2)], begins[int32(at + 3)] = tile_of(sizes, tile)


def outputs(real: Any, lengths: Lengths, name: str | None, has_bias: bool, has_residual: bool) -> Any:
    """Return the kernel that transforms (output channel, pair, point) back, with an epilogue.

    ``steps`` are of x, residual and out.
    """
    points, run, size, threads = lengths.points, lengths.run, lengths.plane, lengths.threads
    tiles = lengths.tiles
    loads, whole, corners = tiles * points // threads, 2 * size, 8 * tiles
    transform = _transform(real, lengths, True)
    hand_on = _hand_on(real, lengths, name, has_bias, has_residual)

    def kernel(
        sizes: Any, steps: Any, slope: Any, spectra: Any, table: Any, plan: Any,
        x: Any, w: Any, bias: Any, residual: Any, out: Any,
    ) -> None:  # fmt: skip
        plane = cuda.shared.array(whole, real)
        begins = cuda.shared.array(corners, int32)
        thread = int32(cuda.threadIdx.x)
        items = int32(sizes[0] * sizes[2] * sizes[38])
        first_item = int32(cuda.blockIdx.x * tiles)
        if thread < 2 * tiles:
            _set_outputs(sizes, begins, thread, int32(first_item + quotient(thread, 2)), items)
        for i in range(loads):
            at = int32(i * threads + thread)
            to = int32(at + quotient(at, run))
            re, im = real(0), real(0)
            if first_item + quotient(at, points) < items:
                re, im = load2(spectra, int32(2 * (first_item * points + at)))
            plane[to], plane[int32(to + size)] = re, im
        transform(plane, table, plan, thread)
        hand_on(sizes, steps, slope, begins, first_item, plane, thread, x, w, bias, residual, out)

    return kernel


def conv_fft(real: Any, lengths: Lengths, name: str | None, has_bias: bool, has_residual: bool) -> Any:
    """Return the kernel of groups that have one term: an item is a pair of tiles and an output channel.

    ``steps`` are of x, residual and out; ``weights`` are weight_spectra's.
    """
    points, run, size, threads = lengths.points, lengths.run, lengths.plane, lengths.threads
    tiles = lengths.tiles
    products, whole, corners = tiles * points // threads, 2 * size, 8 * tiles
    fill, there, back = _fill(real, lengths), _transform(real, lengths, False), _transform(real, lengths, True)
    hand_on = _hand_on(real, lengths, name, has_bias, has_residual)

    def kernel(
        sizes: Any, steps: Any, slope: Any, weights: Any, table: Any, plan: Any,
        x: Any, w: Any, bias: Any, residual: Any, out: Any,
    ) -> None:  # fmt: skip
        plane = cuda.shared.array(whole, real)
        begins = cuda.shared.array(corners, int32)
        of_outputs = cuda.shared.array(corners, int32)
        thread = int32(cuda.threadIdx.x)
        pairs = sizes[38]
        items = int32(sizes[0] * sizes[2] * pairs)
        first_item = int32(cuda.blockIdx.x * tiles)
        if thread < 2 * tiles:
            item = int32(first_item + quotient(thread, 2))
            channel = quotient(item, pairs)
            _set_outputs(sizes, of_outputs, thread, item, items)
            at = int32(4 * thread)
            begins[at], begins[int32(at + 1)], begins[int32(at + 2)], begins[int32(at + 3)] = 0, 0, 0, -1
            if of_outputs[at] >= 0:
                tile = int32(sizes[36] + 2 * (item - channel * pairs) + (thread & 1))
                begins[at], begins[int32(at + 1)], begins[int32(at + 2)], begins[int32(at + 3)] = begin_of(
                    sizes, steps, quotient(channel, sizes[2]), tile
                )
        cuda.syncthreads()
        fill(sizes, steps, begins, x, plane, thread)
        there(plane, table, plan, thread)
        for i in range(products):
            at = int32(i * threads + thread)
            tile = quotient(at, points)
            if first_item + tile < items:
                channel = quotient(int32(first_item + tile), pairs)
                c, s = load2(weights, int32(2 * (channel * points + at - tile * points)))
                to = int32(at + quotient(at, run))
                also = int32(to + size)
                re, im = plane[to], plane[also]
                plane[to], plane[also] = re * c - im * s, re * s + im * c
        back(plane, table, plan, thread)
        hand_on(sizes, steps, slope, of_outputs, first_item, plane, thread, x, w, bias, residual, out)

    return kernel
