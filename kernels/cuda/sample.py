"""Sampling: resizing by tables of taps, and maps at places of the caller's, each with its gradients.

resample: out[n, c, o] = sum_i weight[o, i] x[n, c, i] along each axis, the taps of each output of an axis in tables
made on the host; of the gradient the tables are the transposed ones, so that it is gathered as well. A thread has one
output.

grid: out[n, c, p] = sum of the elements around place p of the grid, weighted by their distances (bilinear), by Keys'
cubic convolution of a = -0.75 (bicubic), or the nearest. Places are computed step by step in the type of the sums, as
pyconv/reference.py says (grid_taps): products there are not fused with sums (``product``), because rounding decides
which element is nearest. A thread has a point and CHANNELS channels, so that each place is computed once for these.
Gradient of x: a thread has one row of one map, looks at all points of the image and adds those that reach the row, in
their order: no atomics, the same bits every time, and time for every point once a row. Gradient of the grid: a thread
has a point and sums over channels.

flops: two for each element of a sample; bytes: x, from the caches, the grid and the output. Error (terms + 16) eps.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, product, quotient, store
from .pool import place

__all__ = ["CHANNELS", "grad_grid", "grad_x", "grid_forward", "resample", "taps_of"]

#: Channels of a thread.
CHANNELS = 8
_TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}


def resample(real: Any) -> Any:
    """Return the kernel of resizing.

    ``sizes`` are n, c; d, h, w of the output; ``steps`` are of x and out. ``begins`` has where the taps of each output
    of d, h and w begin, one after the other and one more each, ``elements`` and ``weights`` the taps.
    """

    def kernel(sizes: Any, steps: Any, x: Any, begins: Any, elements: Any, weights: Any, out: Any) -> None:
        n, c, d_out, h_out, w_out = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, False)
            plane = int32(x0 + image * x_n + channel * x_c)
            of_h, of_w = int32(d_out + 1 + p_h), int32(d_out + h_out + 2 + p_w)
            first_w, end_w = begins[of_w], begins[int32(of_w + 1)]
            total = real(0)
            i = begins[p_d]
            while i < begins[int32(p_d + 1)]:
                in_plane = real(0)
                from_plane = int32(plane + elements[i] * x_d)
                j = begins[of_h]
                while j < begins[int32(of_h + 1)]:
                    in_row = real(0)
                    row = int32(from_plane + elements[j] * x_h)
                    k = first_w
                    while k < end_w:
                        in_row += weights[k] * load(x, int32(row + elements[k] * x_w))
                        k = int32(k + 1)
                    in_plane += weights[j] * in_row
                    j = int32(j + 1)
                total += weights[i] * in_plane
                i = int32(i + 1)
            store(out, int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w), total)

    return kernel


@cache
def taps_of(real: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    """Return the device function that finds the taps of a coordinate along an axis of ``size`` elements.

    find(coordinate, size, first, index, weight, slope): entries from ``first`` on. An element outside has weight 0.
    """
    taps, inside, reflects = _TAPS[mode], padding_mode != "zeros", padding_mode == "reflection"
    # from here on numbers are whole
    most = 2.0**22

    @cuda.jit(device=True, inline=True)
    def whole(value: Any) -> Any:
        return real(math.floor(value)) if abs(value) < most else value

    @cuda.jit(device=True, inline=True)
    def bounded(at: Any, size: Any) -> Any:
        last, sign = real(size) - real(1), real(1)
        if reflects:
            low = real(0) if align_corners else real(-0.5)
            twice = real(2) * (last if align_corners else real(size))
            away = abs(at - low)
            over = away - product(whole(away / twice), twice)
            flipped = over > twice - over
            sign = real(-1) if (at - low < real(0)) != flipped else real(1)
            at = (twice - over if flipped else over) + low
        slope = sign if at > real(0) and at < last else real(0)
        # what is no number is the first element
        return min(at if at > real(0) else real(0), last), slope

    @cuda.jit(device=True, inline=True)
    def put(element: Any, by: Any, change: Any, size: Any, at: Any, index: Any, weight: Any, slope: Any) -> None:
        there = element >= real(0) and element <= real(size) - real(1)
        index[at] = min(int32(element), int32(size - 1)) if there else int32(0)
        weight[at] = by if there else real(0)
        slope[at] = change if there else real(0)

    def find(coordinate: Any, size: Any, first: Any, index: Any, weight: Any, slope: Any) -> None:
        scale = real(size - 1 if align_corners else size) / real(2)
        at = product(coordinate + real(1), scale)
        if not align_corners:
            at = at - real(0.5)
        change = real(1)
        if inside and taps < 4:
            at, change = bounded(at, size)
        if not inside:
            # farther out there is nothing either
            at = at if at > real(-8) else real(-8)
            at = at if at < real(size) + real(8) else real(size) + real(8)
        low = whole(at)
        part = at - low
        rest = real(1) - part
        if taps == 1:
            half = product(low, real(0.5))
            up = part > real(0.5) or (part == real(0.5) and half != whole(half))
            put(low + real(1) if up else low, real(1), real(0), size, first, index, weight, slope)
        if taps == 2:
            put(low, rest, -scale * change, size, first, index, weight, slope)
            put(low + real(1), part, scale * change, size, first + 1, index, weight, slope)
        if taps == 4:
            a, b = real(-0.75), real(1.25)
            weight[first] = a * part * rest * rest
            weight[first + 1] = rest * (real(1) + part * (real(1) - b * part))
            weight[first + 2] = part * (real(1) + rest * (real(1) - b * rest))
            weight[first + 3] = a * rest * part * part
            slope[first] = scale * (-a * (real(3) * part - real(1)) * rest)
            slope[first + 1] = scale * ((real(3.75) * part - real(4.5)) * part)
            slope[first + 2] = scale * (-(real(3.75) * rest - real(4.5)) * rest)
            slope[first + 3] = scale * (a * (real(3) * rest - real(1)) * part)
            for t in range(4):
                element = low + real(t - 1)
                if inside:
                    element, _ = bounded(element, size)
                put(element, weight[first + t], slope[first + t], size, first + t, index, weight, slope)
                # an element that is met twice has the sum of its weights
                for u in range(4):
                    if inside and u < t and index[first + u] == index[first + t]:
                        weight[first + u] += weight[first + t]
                        slope[first + u] += slope[first + t]
                        weight[first + t], slope[first + t] = real(0), real(0)

    return cuda.jit(find, device=True, inline=True)


def _sizes_of(mode: str, rank: int) -> tuple[int, int, int]:
    """Return taps along an axis, along d, and in all tables together."""
    taps = _TAPS[mode]
    return taps, taps if rank == 3 else 1, 3 * taps


def _finder(real: Any, mode: str, padding_mode: str, align_corners: bool, rank: int) -> Any:
    """Return the device function that finds the taps of a point along d, h and w."""
    find, taps, solid = taps_of(real, mode, padding_mode, align_corners), _TAPS[mode], rank == 3

    def find_all(grid: Any, at: Any, step: Any, d: Any, h: Any, w: Any, index: Any, weight: Any, slope: Any) -> None:
        if solid:
            find(load(grid, int32(at + 2 * step)), d, 0, index, weight, slope)
        else:
            index[0], weight[0], slope[0] = int32(0), real(1), real(0)
        find(load(grid, int32(at + step)), h, taps, index, weight, slope)
        find(load(grid, at), w, 2 * taps, index, weight, slope)

    return cuda.jit(find_all, device=True, inline=True)


def grid_forward(real: Any, mode: str, padding_mode: str, align_corners: bool, rank: int) -> Any:
    """Return the kernel of samples.

    ``sizes`` are n, c; d, h, w of x; of the grid. ``steps`` are of x and out, ``grid_steps`` of the grid: the first
    number, and the strides along n, d, h, w and of a place's numbers.
    """
    find_all = _finder(real, mode, padding_mode, align_corners, rank)
    taps, taps_d, entries = _sizes_of(mode, rank)

    def kernel(sizes: Any, steps: Any, grid_steps: Any, x: Any, grid: Any, out: Any) -> None:
        n, c, d, h, width, d_out, h_out, w_out = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        p0, p_n, p_d, p_h, p_w, p_i = grid_steps
        index = cuda.local.array(entries, int32)
        weight = cuda.local.array(entries, real)
        slope = cuda.local.array(entries, real)
        blocks = quotient(int32(c + CHANNELS - 1), CHANNELS)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * blocks * d_out * h_out * w_out:
            image, block, z, y, e = place(task, blocks, d_out, h_out, w_out, False)
            at = int32(p0 + image * p_n + z * p_d + y * p_h + e * p_w)
            find_all(grid, at, p_i, d, h, width, index, weight, slope)
            channel = int32(block * CHANNELS)
            end = min(c, int32(channel + CHANNELS))
            to = int32(y0 + image * y_n + z * y_d + y * y_h + e * y_w)
            while channel < end:
                from_map = int32(x0 + image * x_n + channel * x_c)
                total = real(0)
                for i in range(taps_d):
                    for j in range(taps):
                        for k in range(taps):
                            by = weight[i] * weight[taps + j] * weight[2 * taps + k]
                            if by != real(0):
                                element = index[i] * x_d + index[taps + j] * x_h + index[2 * taps + k] * x_w
                                total += by * load(x, int32(from_map + element))
                store(out, int32(to + channel * y_c), total)
                channel = int32(channel + 1)

    return kernel


def grad_x(real: Any, mode: str, padding_mode: str, align_corners: bool, rank: int) -> Any:
    """Return the kernel of x's gradient: rows of maps, (n, c, d, h, w) in order, which begin as zeros.

    ``sizes`` are as in grid_forward; ``steps`` are of grad_output.
    """
    find_all = _finder(real, mode, padding_mode, align_corners, rank)
    taps, taps_d, entries = _sizes_of(mode, rank)

    def kernel(sizes: Any, steps: Any, grid_steps: Any, grad_output: Any, grid: Any, found: Any) -> None:
        n, c, d, h, width, d_out, h_out, w_out = sizes
        g0, g_n, g_c, g_d, g_h, g_w = steps
        p0, p_n, p_d, p_h, p_w, p_i = grid_steps
        index = cuda.local.array(entries, int32)
        weight = cuda.local.array(entries, real)
        slope = cuda.local.array(entries, real)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h:
            image, channel, z, y, _ = place(task, c, d, h, int32(1), False)
            to, from_map = int32(task * width), int32(g0 + image * g_n + channel * g_c)
            for point in range(d_out * h_out * w_out):
                row = quotient(point, w_out)
                plane = quotient(row, h_out)
                e, row = int32(point - row * w_out), int32(row - plane * h_out)
                at = int32(p0 + image * p_n + plane * p_d + row * p_h + e * p_w)
                find_all(grid, at, p_i, d, h, width, index, weight, slope)
                of_d, of_h = real(0), real(0)
                for i in range(taps_d):
                    if index[i] == z:
                        of_d += weight[i]
                for j in range(taps):
                    if index[taps + j] == y:
                        of_h += weight[taps + j]
                by = of_d * of_h
                if by != real(0):
                    g = load(grad_output, int32(from_map + plane * g_d + row * g_h + e * g_w))
                    for k in range(taps):
                        of_w = by * weight[2 * taps + k]
                        if of_w != real(0):
                            found[int32(to + index[2 * taps + k])] += of_w * g

    return kernel


def grad_grid(real: Any, mode: str, padding_mode: str, align_corners: bool, rank: int) -> Any:
    """Return the kernel of the grid's gradient; ``steps`` are of x and grad_output, ``out_steps`` of the result."""
    find_all = _finder(real, mode, padding_mode, align_corners, rank)
    taps, taps_d, entries = _sizes_of(mode, rank)
    solid = rank == 3

    def kernel(
        sizes: Any, steps: Any, grid_steps: Any, out_steps: Any, grad_output: Any, x: Any, grid: Any, out: Any
    ) -> None:
        n, c, d, h, width, d_out, h_out, w_out = sizes
        x0, x_n, x_c, x_d, x_h, x_w, g0, g_n, g_c, g_d, g_h, g_w = steps
        p0, p_n, p_d, p_h, p_w, p_i = grid_steps
        y0, y_n, y_d, y_h, y_w, y_i = out_steps
        index = cuda.local.array(entries, int32)
        weight = cuda.local.array(entries, real)
        slope = cuda.local.array(entries, real)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * d_out * h_out * w_out:
            image, _, z, y, e = place(task, int32(1), d_out, h_out, w_out, False)
            at = int32(p0 + image * p_n + z * p_d + y * p_h + e * p_w)
            find_all(grid, at, p_i, d, h, width, index, weight, slope)
            along_d, along_h, along_w = real(0), real(0), real(0)
            for channel in range(c):
                from_map = int32(x0 + image * x_n + channel * x_c)
                part_d, part_h, part_w = real(0), real(0), real(0)
                for i in range(taps_d):
                    for j in range(taps):
                        for k in range(taps):
                            w_d, w_h, w_w = weight[i], weight[taps + j], weight[2 * taps + k]
                            by_d = slope[i] * w_h * w_w
                            by_h, by_w = w_d * slope[taps + j] * w_w, w_d * w_h * slope[2 * taps + k]
                            element = index[i] * x_d + index[taps + j] * x_h + index[2 * taps + k] * x_w
                            value = load(x, int32(from_map + element))
                            if solid and by_d != real(0):
                                part_d += by_d * value
                            if by_h != real(0):
                                part_h += by_h * value
                            if by_w != real(0):
                                part_w += by_w * value
                g = load(grad_output, int32(g0 + image * g_n + channel * g_c + z * g_d + y * g_h + e * g_w))
                along_d += part_d * g
                along_h += part_h * g
                along_w += part_w * g
            to = int32(y0 + image * y_n + z * y_d + y * y_h + e * y_w)
            store(out, to, along_w)
            store(out, int32(to + y_i), along_h)
            if solid:
                store(out, int32(to + 2 * y_i), along_d)

    return kernel
