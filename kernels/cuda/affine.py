"""affine_grid and the gradient of its transforms: grid[n, p, j] = sum_k theta[n, j, k] base[p, k].

base[p] are the coordinates of place p from -1 to 1, the last axis first, and a 1 behind them: (2 i - size + 1) / size,
or with corners aligned (2 i - size + 1) / (size - 1), each one quotient of whole numbers, rounded once; 0 on an axis of
one place. In float64 they are computed as the definition has them, with its roundings: a quotient less 1.

forward: a thread has a place of one image. The gradient, theta[n, j, k] = sum_p g[n, p, j] base[p, k]: a block has an
image and a part of its places; a thread takes every THREADS-th of these, in order, for all j and k at once, and the
threads' sums are joined as a tree in shared memory. The number of parts is the problem's alone (channel_sums.parts_of)
and they are added in order (grad_weight.sum_parts): the same bits every time.

flops: 2 rank (rank + 1) a place; bytes: the grid once. Shared memory: rank (rank + 1) THREADS sums, 6 KB in float32 and
three axes. Error (elements / (THREADS parts) + log2 THREADS + parts + 4) eps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import cuda, float64, int32

from . import THREADS
from .memory import load, quotient, store
from .pool import place

__all__ = ["forward", "grad_theta"]


@cache
def coordinate_of(real: Any, align_corners: bool) -> Any:
    """Return the device function that says where place i of an axis lies."""
    as_defined, edge = real == float64, 0 if align_corners else 1

    def coordinate(i: Any, size: Any) -> Any:
        steps = int32(size - 1) if align_corners else size
        if as_defined and steps > 0:
            return real(int32(2 * i + edge)) / real(steps) - real(1)
        return real(int32(2 * i - size + 1)) / real(max(steps, int32(1)))

    return cuda.jit(coordinate, device=True, inline=True)


def forward(real: Any, align_corners: bool, rank: int) -> Any:
    """Return the kernel of the places.

    ``sizes`` are n; d, h, w. ``steps`` are of theta: the first element and the strides (n, j, k); of the grid: the
    first element and the strides (n, d, h, w, j).
    """
    coordinate, solid = coordinate_of(real, align_corners), rank == 3

    def kernel(sizes: Any, steps: Any, theta: Any, out: Any) -> None:
        n, d, h, width = sizes
        t0, t_n, t_j, t_k, y0, y_n, y_d, y_h, y_w, y_j = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * d * h * width:
            image, _, z, y, e = place(task, int32(1), d, h, width, False)
            at_w, at_h = coordinate(e, width), coordinate(y, h)
            to = int32(y0 + image * y_n + z * y_d + y * y_h + e * y_w)
            for j in range(rank):
                at = int32(t0 + image * t_n + j * t_j)
                total = load(theta, at) * at_w + load(theta, int32(at + t_k)) * at_h
                if solid:
                    total += load(theta, int32(at + 2 * t_k)) * coordinate(z, d)
                store(out, int32(to + j * y_j), total + load(theta, int32(at + rank * t_k)))

    return kernel


def grad_theta(real: Any, align_corners: bool, rank: int) -> Any:
    """Return the kernel of the parts' sums, (part, n, j, k) in order.

    ``sizes`` are n; d, h, w; parts. ``steps`` are of grad_output, as those of the grid in forward.
    """
    coordinate, solid, columns = coordinate_of(real, align_corners), rank == 3, rank + 1
    sums = rank * columns
    shared = sums * THREADS

    def kernel(sizes: Any, steps: Any, grad_output: Any, found: Any) -> None:
        n, d, h, width, parts = sizes
        g0, g_n, g_d, g_h, g_w, g_j = steps
        joined = cuda.shared.array(shared, real)
        total = cuda.local.array(sums, real)
        part = quotient(cuda.blockIdx.x, n)
        image = int32(cuda.blockIdx.x - part * n)
        thread = int32(cuda.threadIdx.x)
        places = int32(d * h * width)
        each = quotient(int32(places + parts - 1), parts)
        end = min(int32((part + 1) * each), places)
        for i in range(sums):
            total[i] = real(0)
        p = int32(part * each + thread)
        while p < end:
            row = quotient(p, width)
            plane = quotient(row, h)
            e, y = int32(p - row * width), int32(row - plane * h)
            at_w, at_h = coordinate(e, width), coordinate(y, h)
            at = int32(g0 + image * g_n + plane * g_d + y * g_h + e * g_w)
            for j in range(rank):
                g = load(grad_output, int32(at + j * g_j))
                total[j * columns] += g * at_w
                total[j * columns + 1] += g * at_h
                if solid:
                    total[j * columns + 2] += g * coordinate(plane, d)
                total[j * columns + rank] += g
            p = int32(p + THREADS)
        for i in range(sums):
            joined[int32(i * THREADS + thread)] = total[i]
        cuda.syncthreads()
        half = int32(THREADS // 2)
        while half > 0:
            if thread < half:
                for i in range(sums):
                    to = int32(i * THREADS + thread)
                    joined[to] += joined[int32(to + half)]
            cuda.syncthreads()
            half = int32(half // 2)
        if thread < sums:
            found[int32((part * n + image) * sums + thread)] = joined[int32(thread * THREADS)]

    return kernel
