"""Resizing by sums of neighbours, maps sampled at places, affine grids; and their gradients.

    out[a, o, b] = sum over the taps i of output o of  w[o, i] x[a, i, b]                     (one axis of a resizing)
    out[p, c]    = sum over taps i_d, i_h, i_w of point p of  w_d w_h w_w x[i_d, i_h, i_w, c]       (a map at places)

A resizing goes axis by axis, with the tables of pyconv/backends/sampling.py; csrc/sample_separable.inc.c keeps rows in
between, this one whole arrays. Maps come with channels last, so that the innermost loops run over neighbours, and
points with the tables of the definition; an element that weighs nothing is not read.

Tasks are some outputs of an axis, some points, or for the gradient of the maps some channels: each element is written
by one task.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel

__all__ = [
    "affine_backward",
    "affine_forward",
    "grid_backward_grid",
    "grid_backward_x",
    "grid_forward",
    "resample_axis",
]


@kernel
def resample_axis(x: Any, begin: Any, index: Any, weight: Any, first: int, last: int, out: Any) -> int:
    """Fill rows first .. last of out[a, o, b], counted over a and o; return how many there were."""
    outputs, inner = out.shape[1], out.shape[2]
    for row in range(first, last):
        a, o = row // outputs, row % outputs
        to = out[a, o]
        to[:] = 0
        for t in range(begin[o], begin[o + 1]):
            share, source = weight[t], x[a, index[t]]
            for b in range(inner):
                to[b] += source[b] * share
    return last - first


@kernel
def grid_forward(x: Any, index: Any, weight: Any, taps: Any, first: int, last: int, out: Any) -> int:
    """Fill out[p, c] for points first .. last from x[d, h, w, c]; tables are [axis, tap, p], taps their counts."""
    channels = out.shape[1]
    for p in range(first, last):
        to = out[p]
        to[:] = 0
        for a in range(taps[0]):
            for b in range(taps[1]):
                down = weight[0, a, p] * weight[1, b, p]
                for e in range(taps[2]):
                    share = down * weight[2, e, p]
                    if share == 0:
                        continue
                    pixel = x[index[0, a, p], index[1, b, p], index[2, e, p]]
                    for c in range(channels):
                        to[c] += pixel[c] * share
    return last - first


@kernel
def grid_backward_x(grad: Any, index: Any, weight: Any, taps: Any, first: int, last: int, g: Any) -> int:
    """Add channels first .. last of g[p, c] to grad[d, h, w, c], point after point."""
    for p in range(g.shape[0]):
        given = g[p, first:last]
        for a in range(taps[0]):
            for b in range(taps[1]):
                down = weight[0, a, p] * weight[1, b, p]
                for e in range(taps[2]):
                    share = down * weight[2, e, p]
                    if share == 0:
                        continue
                    pixel = grad[index[0, a, p], index[1, b, p], index[2, e, p], first:last]
                    for c in range(last - first):
                        pixel[c] += given[c] * share
    return last - first


@kernel
def grid_backward_grid(
    x: Any, index: Any, weight: Any, slope: Any, taps: Any, g: Any, first: int, last: int, out: Any
) -> int:
    """Fill out[p, axis] for points first .. last, the axes in the order x, y, z."""
    channels, rank = g.shape[1], out.shape[1]
    for p in range(first, last):
        given = g[p]
        for along in range(rank):
            out[p, along] = 0
        for a in range(taps[0]):
            for b in range(taps[1]):
                for e in range(taps[2]):
                    pixel = x[index[0, a, p], index[1, b, p], index[2, e, p]]
                    d, h, w = weight[0, a, p], weight[1, b, p], weight[2, e, p]
                    for along in range(rank):
                        share = d * h * slope[2, e, p]
                        if along == 1:
                            share = d * slope[1, b, p] * w
                        elif along == 2:
                            share = slope[0, a, p] * h * w
                        if share == 0:
                            continue
                        total = share * 0
                        for c in range(channels):
                            total += pixel[c] * given[c]
                        out[p, along] += total * share
    return last - first


@kernel
def affine_forward(theta: Any, along: Any, first: int, last: int, out: Any) -> int:
    """Fill rows first .. last of out[n, d, h, w, j]; along: the coordinates of d, h and w."""
    depth, height, width, rank = out.shape[1:]
    for row in range(first, last):
        n, d, h = row // (depth * height), row // height % depth, row % height
        for j in range(rank):
            line = theta[n, j]
            same = np.float64(line[1]) * along[1][h] + np.float64(line[rank])
            if rank == 3:
                same += np.float64(line[2]) * along[0][d]
            slope = np.float64(line[0])
            for w in range(width):
                out[n, d, h, w, j] = along[2][w] * slope + same
    return last - first


@kernel
def affine_backward(g: Any, along: Any, first: int, last: int, out: Any) -> int:
    """Fill out[n, j, k] for images first .. last; sums are float64, row after row."""
    depth, height, width, rank = g.shape[1:]
    sums = np.empty((3, 4))
    for n in range(first, last):
        sums[:] = 0
        for d in range(depth):
            for h in range(height):
                for j in range(rank):
                    total, by_x = 0.0, 0.0
                    for w in range(width):
                        value = np.float64(g[n, d, h, w, j])
                        total += value
                        by_x += value * along[2][w]
                    sums[j, 0] += by_x
                    sums[j, 1] += total * along[1][h]
                    if rank == 3:
                        sums[j, 2] += total * along[0][d]
                    sums[j, rank] += total
        for j in range(rank):
            for k in range(rank + 1):
                out[n, j, k] = sums[j, k]
    return last - first
