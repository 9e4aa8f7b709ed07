"""Deformable convolution and its gradients: samples, the matrix product that takes them, and what becomes of columns.

    y[n, o, p] = bias[o] + sum over c, a of  w[o, c, a] m[a, p] x[n, c, s p - pad + d a + offset[a, p]]

Maps come as (pixel, channel). A table says, for each offset group, tap and pixel of the output, where the four pixels
of a sample are and what they weigh: it is made once for all channels of the group, as csrc/deform.inc.c does it, with
whole pixels and fractions taken apart. Samples of a strip of pixels go to col[group][pixel][tap][channel], and
`product` multiplies them with packed weights on the register tiles of implicit_gemm.py. Gradients: columns are the same
product with weights and columns changed; `scatter` adds them to the four pixels of each sample, for some channels a
task; `slopes` sums them over channels, for some pixels a task.

Offsets beyond 5e8 pixels are outside whatever they are. Error: as csrc/deform.inc.c, (K + 16) eps for K products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from .channels import aligned
from .implicit_gemm import ROWS, VECTORS, pixel_tile
from .jit import exact_word, kernel, word
from .simd import VECTOR_BYTES, advance, call, pointer
from .tile import panel_rows, panel_start, panels_of

__all__ = [
    "ROWS",
    "VECTOR_BYTES",
    "aligned",
    "pack_matrix",
    "product",
    "sample",
    "scatter",
    "slopes",
    "tabulate",
    "tiles_of",
]

#: In place of a sample's first pixel: it lies outside.
_OUTSIDE = -1


@exact_word
def _axis(offset: float, place: int, size: int) -> tuple[bool, bool, int, float]:
    """Return whether a sample touches the map, whether it is inside, the pixel before it, and how far behind that."""
    # what is no number compares as false
    if not (offset > -5e8 and offset < 5e8):
        return False, False, 0, 0.0
    whole = np.floor(offset)
    fraction, low = offset - whole, place + int(whole)
    if low < -1 or low >= size:
        return False, False, 0, 0.0
    return True, not (low == -1 and fraction == 0), low, fraction


@kernel
def tabulate(
    offset: Any, mask: Any, places: Any, taps: Any, size: Any, slopes_too: bool, at: Any, weight: Any, part: Any,
    first: int, last: int,
) -> int:  # fmt: skip
    """Fill in pixels ``first`` to ``last`` of a strip; offset (group and tap, 2, pixel), mask (group and tap, pixel).

    places (2, pixel) and taps (2, tap) are added up. at and weight are (group and tap, pixel, 4). part, for slopes, has
    how far a sample is behind its first pixel along h and w, whether it is inside, and its factor.
    """
    height, width = size
    for k in range(offset.shape[0]):
        tap = k % taps.shape[1]
        for p in range(first, last):
            on_h, in_h, h, f = _axis(offset[k, 0, p], places[0, p] + taps[0, tap], height)
            on_w, in_w, w, e = _axis(offset[k, 1, p], places[1, p] + taps[1, tap], width)
            counts = (on_h and on_w) if slopes_too else (in_h and in_w)
            m = mask[k, p] if mask.shape[0] else 1.0
            if slopes_too:
                part[k, p, 0], part[k, p, 1], part[k, p, 2], part[k, p, 3] = f, e, 1.0 if in_h and in_w else 0.0, m
            for corner in range(4):
                row, col = h + corner // 2, w + corner % 2
                exists = counts and row >= 0 and row < height and col >= 0 and col < width
                at[k, p, corner] = row * width + col if exists else _OUTSIDE
                along_h = f if corner // 2 else 1.0 - f
                along_w = e if corner % 2 else 1.0 - e
                weight[k, p, corner] = along_h * along_w * m if exists else 0.0
    return last - first


@kernel
def sample(maps: Any, at: Any, weight: Any, offset_groups: int, col: Any, first: int, last: int) -> int:
    """col[group][pixel][tap][channel] of some pixels."""
    groups, _, taps, each = col.shape
    block = groups * each // offset_groups
    for p in range(first, last):
        for k in range(offset_groups * taps):
            og, tap = divmod(k, taps)
            c = og * block
            while c < (og + 1) * block:
                g = c // each
                end = min((og + 1) * block, (g + 1) * each)
                to = col[g, p, tap]
                for i in range(c, end):
                    to[i - g * each] = 0
                for corner in range(4):
                    where = at[k, p, corner]
                    if where >= 0:
                        factor, pixel = weight[k, p, corner], maps[where]
                        for i in range(c, end):
                            to[i - g * each] += pixel[i] * factor
                c = end
    return last - first


@kernel
def scatter(
    columns: Any, at: Any, weight: Any, offset_groups: int, pixels: int, grad: Any, first: int, last: int
) -> int:
    """Add columns[group][pixel][tap][channel] to the pixels of their samples, for some channels."""
    groups, _, taps, each = columns.shape
    block = groups * each // offset_groups
    for p in range(pixels):
        for k in range(offset_groups * taps):
            og, tap = divmod(k, taps)
            c, stop = max(first, og * block), min(last, (og + 1) * block)
            while c < stop:
                g = c // each
                end = min(stop, (g + 1) * each)
                column = columns[g, p, tap]
                for corner in range(4):
                    where = at[k, p, corner]
                    if where >= 0:
                        factor, pixel = weight[k, p, corner], grad[where]
                        for i in range(c, end):
                            pixel[i] += column[i - g * each] * factor
                c = end
    return last - first


@word
def _dot(column: Any, maps: Any, where: int, c: int, end: int, each: int) -> float:
    """Sum a pixel's channels times column[group][channel]; 0 where there is no pixel."""
    if where < 0:
        return maps.dtype.type(0)
    total = maps[where, c] * column[c // each, c % each]
    for i in range(c + 1, end):
        total += maps[where, i] * column[i // each, i % each]
    return total


@kernel
def slopes(
    columns: Any, maps: Any, at: Any, part: Any, offset_groups: int, d_offset: Any, d_mask: Any, first: int, last: int
) -> int:
    """d_offset (group and tap, 2, pixel) and d_mask (group and tap, pixel) of some pixels; either may be empty."""
    groups, _, taps, each = columns.shape
    block = groups * each // offset_groups
    for p in range(first, last):
        for k in range(offset_groups * taps):
            og, tap = divmod(k, taps)
            column, c, end = columns[:, p, tap], og * block, (og + 1) * block
            a = _dot(column, maps, at[k, p, 0], c, end, each)
            b = _dot(column, maps, at[k, p, 1], c, end, each)
            d = _dot(column, maps, at[k, p, 2], c, end, each)
            e = _dot(column, maps, at[k, p, 3], c, end, each)
            behind_h, behind_w, inside, m = part[k, p, 0], part[k, p, 1], part[k, p, 2], part[k, p, 3]
            if d_offset.shape[0]:
                d_offset[k, 0, p] = ((d - a) * (1 - behind_w) + (e - b) * behind_w) * m
                d_offset[k, 1, p] = ((b - a) * (1 - behind_h) + (e - d) * behind_h) * m
                if at[k, p, 0] < 0 and at[k, p, 1] < 0 and at[k, p, 2] < 0 and at[k, p, 3] < 0:
                    d_offset[k, 0, p] = d_offset[k, 1, p] = 0
            if d_mask.shape[0]:
                value = (a * (1 - behind_w) + b * behind_w) * (1 - behind_h) + (
                    d * (1 - behind_w) + e * behind_w
                ) * behind_h
                d_mask[k, p] = value if inside > 0 else 0
    return last - first


def tiles_of(dtype: Any) -> Any:
    """Return the addresses of the register tiles of ROWS rows, by their vectors."""
    real = types.float32 if dtype.itemsize == 4 else types.float64
    return np.array([pixel_tile(real, ROWS, vectors + 1) for vectors in range(VECTORS)], np.int64)


@kernel
def product(tiles: Any, words: Any, a: Any, w: Any, y: Any, first: int, last: int) -> int:
    """y[vector][row][lane] += a[row][k] times packed w, for some groups of ROWS rows.

    words: a run that begins at 0, then the steps of ROWS rows of a. w and y are of whole vectors.
    """
    k, step = a.shape[1], y.shape[2]
    panels, ld_y = panels_of(y.shape[0], VECTORS), y.shape[1] * step
    zero = y.dtype.type(0)
    for group in range(first, last):
        for q in range(panels.n):
            wide, v = panel_rows(panels, q), panel_start(panels, q)
            call(
                tiles[wide - 1],
                (
                    1, k, pointer(words.ctypes.data, 0), advance(pointer(words.ctypes.data, 0), 1),
                    advance(pointer(a.ctypes.data, zero), group * ROWS * k),
                    advance(pointer(w.ctypes.data, zero), v * k * step),
                    pointer(w.ctypes.data, zero), 0,
                    advance(pointer(y.ctypes.data, zero), v * ld_y + group * ROWS * step), ld_y,
                ),
            )  # fmt: skip
    return last - first


def pack_matrix(w: Any) -> Any:
    """Matrices (..., k, n) -> [...][panel][k][lane], flat for each; lanes beyond n hold zeros."""
    *lead, k, n = w.shape
    step = VECTOR_BYTES // w.itemsize
    vectors = -(-n // step)
    panels = panels_of.py_func(vectors, VECTORS)
    packed = aligned(int(np.prod(lead, dtype=int)) * k * vectors * step, w.dtype).reshape(*lead, k * vectors * step)
    for q in range(panels.n):
        first, wide = panel_start.py_func(panels, q) * step, panel_rows.py_func(panels, q) * step
        to = packed[..., first * k : (first + wide) * k].reshape(*lead, k, wide)
        have = min(wide, n - first)
        to[..., :have] = w[..., first : first + have]
        to[..., have:] = 0
    return packed
