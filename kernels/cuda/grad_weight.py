"""grad_weight: the gradient of a convolution's weights as C = A B^T, A what windows are made into, B what they see.

dw[g m + o, c, a] = sum over n, p of small[n, g m + o, p] large[n, g c_in + c, s p - before + d a], in each group a
product of (c_out x pixels) and (pixels x c_in taps); zero is what lies outside large.

A block of THREADS threads makes a tile of BM output channels x BN columns (c, a) over a part of the pixels of all
images, BK of them at a time. Both stages come from memory pixel by pixel, neighbouring lanes at neighbouring pixels; a
lane keeps its pixel within a stage, and column by column it has the channel and the tap by division by constants. Rows
of shared memory are PITCH values apart, so that lanes of different pixels store into different banks, and are read in
fours. A thread holds TM x TN sums: 12 values loaded for 32 FMAs.

The pixels are dealt to parts whose number is the problem's alone (:func:`parts_of`): their sums lie in scratch and
``sum_parts`` adds them in order, so that there are no atomics and the same bits every time.

flops: 2 c_out c_in taps pixels n. Shared memory: BK (BM + BN + 8) values, 9 KB in float32.
Sums run over pixels in order within a part; error (pixels + parts + 2) eps.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, load4, quotient, store

__all__ = ["BK", "BM", "BN", "blocks_grad_weight", "grad_weight", "parts_of", "sum_parts"]

BM, BN, BK = 64, 64, 16
TM, TN = 8, 4
#: A multiple of four beyond the tile: stores of 16 neighbouring pixels fall into eight banks, not one.
PITCH = BM + 4
#: A part has at least so many pixels, and there are no more blocks than keep a large GPU busy twice.
_LEAST_PIXELS, _BLOCKS = 256, 432


def tiles(c_out: int, columns: int, groups: int) -> int:
    """Return how many tiles the result has."""
    return -(-c_out // BM) * -(-columns // BN) * groups


def parts_of(c_out: int, columns: int, groups: int, pixels: int) -> int:
    """Return how many parts the pixels of all images are dealt to."""
    return max(1, min(-(-pixels // _LEAST_PIXELS), _BLOCKS // max(1, tiles(c_out, columns, groups))))


def blocks_grad_weight(c_out: int, columns: int, groups: int, parts: int) -> int:
    """Return the size of the grid."""
    return tiles(c_out, columns, groups) * parts


def grad_weight(
    real: Any, window: tuple[int, int, int], stride: tuple[int, int, int], dilation: tuple[int, int, int]
) -> Any:
    """Return the kernel for a type of sums and a window.

    ``sizes`` are n, c_in, c_out (each in a group), groups; d, h, w of large and of small; the padding before; parts.
    ``steps`` are of large and small. Sums go to (part, group, c_out, c_in taps) in order.
    """
    (kd, kh, kw), (sd, sh, sw), (dd, dh, dw) = window, stride, dilation
    taps, per_plane = kd * kh * kw, kh * kw
    across, step = BN // TN, THREADS // BK
    a_size, b_size, sums = BK * PITCH, BK * (BN + 4), TM * TN
    b_pitch = BN + 4

    def kernel(sizes: Any, steps: Any, large: Any, small: Any, found: Any) -> None:
        n, c_in, c_out, groups, d, h, width, d_out, h_out, w_out, pd, ph, pw, parts = sizes
        x0, x_n, x_c, x_d, x_h, x_w, g0, g_n, g_c, g_d, g_h, g_w = steps
        a_tile = cuda.shared.array(a_size, real)
        b_tile = cuda.shared.array(b_size, real)
        acc = cuda.local.array(sums, real)
        a = cuda.local.array(TM, real)
        b = cuda.local.array(TN, real)

        columns = int32(c_in * taps)
        pixels = int32(n * d_out * h_out * w_out)
        across_n, across_m = quotient(int32(columns + BN - 1), BN), quotient(int32(c_out + BM - 1), BM)
        rest = quotient(cuda.blockIdx.x, across_n)
        first_column = int32((cuda.blockIdx.x - rest * across_n) * BN)
        above = quotient(rest, across_m)
        first_row = int32((rest - above * across_m) * BM)
        part = quotient(above, groups)
        group = int32(above - part * groups)
        # whole stages a part
        stages = quotient(int32(pixels + BK - 1), BK)
        each = quotient(int32(stages + parts - 1), parts)
        begin, end = min(int32(part * each), stages), min(int32((part + 1) * each), stages)
        thread = int32(cuda.threadIdx.x)
        other = quotient(thread, BK)
        k = int32(thread - other * BK)
        t_m = quotient(thread, across)
        t_n = int32(thread - t_m * across)
        for i in range(sums):
            acc[i] = real(0)
        for stage in range(begin, end):
            pixel = int32(stage * BK + k)
            is_pixel = pixel < pixels
            row = quotient(pixel, w_out)
            plane = quotient(row, h_out)
            image = quotient(plane, d_out)
            p_w, p_h, p_d = int32(pixel - row * w_out), int32(row - plane * h_out), int32(plane - image * d_out)
            from_small, from_large = int32(0), int32(0)
            if is_pixel:
                from_small = int32(g0 + image * g_n + group * c_out * g_c + p_d * g_d + p_h * g_h + p_w * g_w)
                from_large = int32(x0 + image * x_n + group * c_in * x_c)
            m = other
            while m < BM:
                value = real(0)
                if is_pixel and first_row + m < c_out:
                    value = load(small, int32(from_small + (first_row + m) * g_c))
                a_tile[int32(k * PITCH + m)] = value
                m = int32(m + step)
            j = other
            while j < BN:
                column = int32(first_column + j)
                value = real(0)
                if is_pixel and column < columns:
                    c = quotient(column, taps)
                    tap = int32(column - c * taps)
                    z = quotient(tap, per_plane)
                    y = quotient(int32(tap - z * per_plane), kw)
                    at_d = int32(p_d * sd - pd + z * dd)
                    at_h = int32(p_h * sh - ph + y * dh)
                    at_w = int32(p_w * sw - pw + (tap - z * per_plane - y * kw) * dw)
                    if at_d >= 0 and at_d < d and at_h >= 0 and at_h < h and at_w >= 0 and at_w < width:
                        value = load(large, int32(from_large + c * x_c + at_d * x_d + at_h * x_h + at_w * x_w))
                b_tile[int32(k * b_pitch + j)] = value
                j = int32(j + step)
            cuda.syncthreads()
            for kk in range(BK):
                for i in range(0, TM, 4):
                    a[i], a[i + 1], a[i + 2], a[i + 3] = load4(a_tile, int32(kk * PITCH + (i // 4) * 32 + t_m * 4))
                b[0], b[1], b[2], b[3] = load4(b_tile, int32(kk * b_pitch + t_n * 4))
                for i in range(TM):
                    for jj in range(TN):
                        acc[i * TN + jj] += a[i] * b[jj]
            cuda.syncthreads()
        for i in range(TM):
            o = int32(first_row + (i // 4) * 32 + t_m * 4 + i % 4)
            for jj in range(TN):
                column = int32(first_column + t_n * 4 + jj)
                if o < c_out and column < columns:
                    found[int32(((part * groups + group) * c_out + o) * columns + column)] = acc[i * TN + jj]

    return kernel


def sum_parts(real: Any) -> Any:
    """Return the kernel that adds the parts in their order and stores the sums; a thread an element.

    ``sizes`` are parts; c_out, c_in, kd, kh, kw of the result; ``steps`` are of the result.
    """

    def kernel(sizes: Any, steps: Any, found: Any, out: Any) -> None:
        parts, c_out, c_in, kd, kh, kw = sizes
        y0, y_n, y_c, y_d, y_h, y_w = steps
        elements = int32(c_out * c_in * kd * kh * kw)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            total = real(0)
            for part in range(parts):
                total += found[int32(part * elements + task)]
            row = quotient(task, kw)
            plane = quotient(row, kh)
            volume = quotient(plane, kd)
            o = quotient(volume, c_in)
            at = int32(y0 + o * y_n + (volume - o * c_in) * y_c + (plane - volume * kd) * y_d)
            store(out, int32(at + (row - plane * kh) * y_h + (task - row * kw) * y_w), total)

    return kernel
