"""conv_winograd_f<m>x3: 3x3 convolutions of stride 1 by minimal filtering, in four launches.

    y = A^T [ sum over c of (G w[c] G^T) * (B^T x[c] B) ] A + bias + residual      (Lavin and Gray 2016, section 4)

An output tile of m x m costs alpha x alpha multiplications a channel instead of 9 m m, alpha = m + 2: 2.25 times fewer
for F(2,3), 4 times for F(4,3). The matrices are winograd_matrices.py's.

    weights   w[o][c]                 -> G w G^T         -> u[xi][group][c][o], rows a multiple of four, zeros behind
    input     x[n][c], tiles of it    -> B^T x B         -> v[xi][group][c][tile]
    product   m[xi][group] = u[xi][group]^T v[xi][group]    implicit_gemm.py: a 1x1 convolution of alpha^2 groups
    output    m[xi][group][o][tile]   -> A^T m A, epilogue -> y[n][o]

A thread of the transforms has one tile of one channel, alpha^2 values in registers; neighbouring lanes have
neighbouring tiles, so that v and m pass in whole lines, and the rows of neighbouring tiles of x overlap in L1. The
tiles of all images are one row, its length a multiple of four: the product copies both its operands by 16 bytes.

flops: 2 alpha^2 c_in c_out a tile, and the transforms. bytes: x and y once, v and m twice: alpha^2 / m^2 values for
each of x and y, 4 for F(2,3) and 2.25 for F(4,3), in the type of the sums.

u is transformed in float64 and rounded once. Error: winograd_matrices.error_factor. Where an output of a tile is not
finite, the tile is summed again by the definition: NaN and infinities are where direct summation has them. (None is
missed: for each tap and output some point q has A^T[i][q] G[q][j] B^T[q][i + j] != 0.)
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import cuda, float64, int32

from ..winograd_matrices import Variant, matrices
from . import THREADS
from .activation import activation
from .memory import load, quotient, store

__all__ = ["input_tiles", "output_tiles", "row_of_tiles", "transforms", "weight_tiles"]


def row_of_tiles(tiles: int) -> int:
    """Return the length of a row of tiles: a multiple of four, for copies of 16 bytes."""
    return -(-tiles // 4) * 4


@cache
def transforms(variant: Variant, real: Any) -> tuple[Any, Any, Any]:
    """Return the device functions that turn values of an array in place, those at ``at``, ``at + step`` and so on.

    taps: 3 -> G g; points: alpha -> B^T d; outputs: alpha -> A^T m. Rows of a pair of points, p and -p, share their
    halves: what belongs to even powers, and what belongs to odd ones.
    """
    found = matrices(variant)
    g, bt, power = ([[float(v) for v in row] for row in rows] for rows in (found.g, found.bt, found.at))
    g00, (_, g11, g12), b00, b02 = g[0][0], g[1], bt[0][0], bt[0][2]
    g10, b11, b12, a11 = g[1][0], bt[1][1], bt[1][2], power[1][1]
    last = bt[variant.alpha - 1]
    l1, l3 = last[1], last[3]

    def taps4(v: Any, at: Any, step: Any) -> None:
        t0, t1, t2 = v[at], v[at + step], v[at + 2 * step]
        even, odd = t0 * real(g10) + t2 * real(g12), t1 * real(g11)
        v[at], v[at + step], v[at + 2 * step], v[at + 3 * step] = t0 * real(g00), even + odd, even - odd, t2

    def points4(v: Any, at: Any, step: Any) -> None:
        d0, d1, d2, d3 = v[at], v[at + step], v[at + 2 * step], v[at + 3 * step]
        even, odd = d2 * real(b12), d1 * real(b11)
        v[at], v[at + step] = d0 * real(b00) + d2 * real(b02), even + odd
        v[at + 2 * step], v[at + 3 * step] = even - odd, d1 * real(l1) + d3 * real(l3)

    def outputs4(v: Any, at: Any, step: Any) -> None:
        m0, m1, m2, m3 = v[at], v[at + step], v[at + 2 * step], v[at + 3 * step]
        v[at], v[at + step] = m0 + (m1 + m2), (m1 - m2) * real(a11) + m3

    functions = taps4, points4, outputs4
    if variant.alpha == 6:
        (g30, g31, g32), b04, b13, b14 = g[3], bt[0][4], bt[1][3], bt[1][4]
        _, b31, b32, b33, b34, _ = bt[3]
        l5, a13, a21, a23, a31, a33 = last[5], power[1][3], power[2][1], power[2][3], power[3][1], power[3][3]

        def taps6(v: Any, at: Any, step: Any) -> None:
            t0, t1, t2 = v[at], v[at + step], v[at + 2 * step]
            even, odd = t0 * real(g10) + t2 * real(g12), t1 * real(g11)
            far_even, far_odd = t0 * real(g30) + t2 * real(g32), t1 * real(g31)
            v[at], v[at + step], v[at + 2 * step] = t0 * real(g00), even + odd, even - odd
            v[at + 3 * step], v[at + 4 * step], v[at + 5 * step] = far_even + far_odd, far_even - far_odd, t2

        def points6(v: Any, at: Any, step: Any) -> None:
            d0, d1, d2 = v[at], v[at + step], v[at + 2 * step]
            d3, d4, d5 = v[at + 3 * step], v[at + 4 * step], v[at + 5 * step]
            even, odd = d2 * real(b12) + d4 * real(b14), d1 * real(b11) + d3 * real(b13)
            far_even, far_odd = d2 * real(b32) + d4 * real(b34), d1 * real(b31) + d3 * real(b33)
            v[at] = d0 * real(b00) + d2 * real(b02) + d4 * real(b04)
            v[at + step], v[at + 2 * step] = even + odd, even - odd
            v[at + 3 * step], v[at + 4 * step] = far_even + far_odd, far_even - far_odd
            v[at + 5 * step] = d1 * real(l1) + d3 * real(l3) + d5 * real(l5)

        def outputs6(v: Any, at: Any, step: Any) -> None:
            m0, m1, m2 = v[at], v[at + step], v[at + 2 * step]
            m3, m4, m5 = v[at + 3 * step], v[at + 4 * step], v[at + 5 * step]
            even, odd, far_even, far_odd = m1 + m2, m1 - m2, m3 + m4, m3 - m4
            v[at], v[at + step] = m0 + even + far_even, odd * real(a11) + far_odd * real(a13)
            v[at + 2 * step] = even * real(a21) + far_even * real(a23)
            v[at + 3 * step] = odd * real(a31) + far_odd * real(a33) + m5

        functions = taps6, points6, outputs6
    taps, points, outputs = (cuda.jit(function, device=True, inline=True) for function in functions)
    return taps, points, outputs


def weight_tiles(variant: Variant, transposed: bool) -> Any:
    """Return the kernel of the weights' transform; a thread has one input and one output channel.

    ``sizes`` are c_in, c_out (each in a group), groups, rows of u. Weights are (c_out, c_in, 3, 3), or, of a transposed
    convolution, (c_in, c_out, 3, 3) with the taps in reverse.
    """
    taps, _, _ = transforms(variant, float64)
    alpha = variant.alpha
    values = alpha * alpha

    def kernel(sizes: Any, w: Any, u: Any) -> None:
        c_in, c_out, groups, rows = sizes
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < groups * c_in * rows:
            v = cuda.local.array(values, float64)
            channel = quotient(task, rows)
            o = int32(task - channel * rows)
            group = quotient(channel, c_in)
            c = int32(channel - group * c_in)
            first = int32(((group * c_in + c) * c_out + o) * 9 if transposed else ((group * c_out + o) * c_in + c) * 9)
            for i in range(3):
                for j in range(3):
                    value = float64(0)
                    if o < c_out:
                        tap = 8 - (i * 3 + j) if transposed else i * 3 + j
                        value = float64(load(w, int32(first + tap)))
                    v[i * alpha + j] = value
            for j in range(3):
                taps(v, j, alpha)
            for i in range(alpha):
                taps(v, i * alpha, 1)
            for q in range(values):
                store(u, int32(q * (groups * c_in * rows) + task), v[q])

    return kernel


def input_tiles(real: Any, variant: Variant) -> Any:
    """Return the kernel of the input's transform; a thread has one tile of one channel.

    ``sizes`` are n, channels, h, w of x, rows and columns of tiles, the padding before, the length of a row of tiles.
    ``steps`` are of x. Tiles that fill up the row are zeros.
    """
    _, points, _ = transforms(variant, real)
    alpha, m = variant.alpha, variant.m
    values = alpha * alpha

    def kernel(sizes: Any, steps: Any, x: Any, found: Any) -> None:
        n, channels, h, width, rows, columns, ph, pw, pitch = sizes
        x0, x_n, x_c, _, x_h, x_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < channels * pitch:
            v = cuda.local.array(values, real)
            channel = quotient(task, pitch)
            tile = int32(task - channel * pitch)
            above = quotient(tile, columns)
            image = quotient(above, rows)
            i_h, i_w = int32((above - image * rows) * m - ph), int32((tile - above * columns) * m - pw)
            is_tile = image < n
            start = int32(x0 + image * x_n + channel * x_c) if is_tile else int32(0)
            for i in range(alpha):
                at_h = int32(i_h + i)
                inside = is_tile and at_h >= 0 and at_h < h
                from_row = int32(start + at_h * x_h) if inside else int32(0)
                for j in range(alpha):
                    at_w = int32(i_w + j)
                    value = real(0)
                    if inside and at_w >= 0 and at_w < width:
                        value = load(x, int32(from_row + at_w * x_w))
                    v[i * alpha + j] = value
            for j in range(alpha):
                points(v, j, alpha)
            for i in range(alpha):
                points(v, i * alpha, 1)
            for q in range(values):
                store(found, int32(q * (channels * pitch) + task), v[q])

    return kernel


def output_tiles(
    real: Any, variant: Variant, name: str | None, has_bias: bool, has_residual: bool, transposed: bool
) -> Any:
    """Return the kernel of the output's transform with its epilogue; a thread has one tile of one channel.

    ``sizes`` are n, c_in, c_out (each in a group), groups, h, w of x and of the output, rows and columns of tiles, the
    padding before, the length of a row of tiles. ``steps`` are of x, residual and out. x and w are read where a tile
    has to be summed again; of a transposed convolution there are no products with what lies outside x.
    """
    _, _, outputs = transforms(variant, real)
    activate = activation(name, real)
    alpha, m = variant.alpha, variant.m
    values = alpha * alpha

    @cuda.jit(device=True, inline=True)
    def finish(total: Any, first: Any, slope: Any, residual: Any, of_residual: Any, out: Any, to: Any) -> None:
        total += first
        if has_residual:
            total += load(residual, of_residual)
        store(out, to, activate(total, slope))

    def kernel(
        sizes: Any, steps: Any, slope: Any, products: Any, x: Any, w: Any, bias: Any, residual: Any, out: Any
    ) -> None:
        n, c_in, c_out, groups, h, width, h_out, w_out, rows, columns, ph, pw, pitch = sizes
        x0, x_n, x_c, _, x_h, x_w, r0, r_n, r_c, _, r_h, r_w, y0, y_n, y_c, _, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        channel = quotient(task, pitch)
        tile = int32(task - channel * pitch)
        above = quotient(tile, columns)
        image = quotient(above, rows)
        if channel < groups * c_out and image < n:
            v = cuda.local.array(values, real)
            p_h, p_w = int32((above - image * rows) * m), int32((tile - above * columns) * m)
            for q in range(values):
                v[q] = load(products, int32(q * (groups * c_out * pitch) + task))
            for j in range(alpha):
                outputs(v, j, alpha)
            for i in range(m):
                outputs(v, i * alpha, 1)
            first = load(bias, channel) if has_bias else real(0)
            of_residual = int32(r0 + image * r_n + channel * r_c + p_h * r_h + p_w * r_w) if has_residual else int32(0)
            to = int32(y0 + image * y_n + channel * y_c + p_h * y_h + p_w * y_w)
            finite = True
            for i in range(m):
                for j in range(m):
                    finite = finite and v[i * alpha + j] - v[i * alpha + j] == real(0)
            if finite:
                for i in range(m):
                    for j in range(m):
                        if p_h + i < h_out and p_w + j < w_out:
                            finish(
                                v[i * alpha + j], first, slope, residual, int32(of_residual + i * r_h + j * r_w),
                                out, int32(to + i * y_h + j * y_w),
                            )  # fmt: skip
            else:
                group = quotient(channel, c_out)
                start = int32(x0 + image * x_n + group * c_in * x_c)
                for i in range(min(m, h_out - p_h)):
                    for j in range(min(m, w_out - p_w)):
                        total = real(0)
                        for c in range(c_in):
                            here = int32((group * c_in + c) * c_out + channel - group * c_out)
                            from_w = int32(here * 9 + 8 if transposed else (channel * c_in + c) * 9)
                            for a in range(9):
                                b = quotient(int32(a), 3)
                                at_h, at_w = int32(p_h + i - ph + b), int32(p_w + j - pw + a - b * 3)
                                inside = at_h >= 0 and at_h < h and at_w >= 0 and at_w < width
                                value = real(0)
                                if inside:
                                    value = load(x, int32(start + c * x_c + at_h * x_h + at_w * x_w))
                                if inside or not transposed:
                                    total += value * load(w, int32(from_w - a if transposed else from_w + a))
                        finish(
                            total, first, slope, residual, int32(of_residual + i * r_h + j * r_w),
                            out, int32(to + i * y_h + j * y_w),
                        )  # fmt: skip

    return kernel
