"""What is left of an FFT convolution where NVIDIA's cuFFT transforms the tiles: making them, and cutting outputs out.

``gather_tiles`` writes pairs of tiles of x as complex numbers, (term of every group, pair, point), zeros where x ends;
``spread_weights`` puts taps into tiles that are zero, (output channel, term, point). The library transforms both where
they lie, fft_product.py multiplies, the library transforms back, and ``cut_outputs`` takes each output from its tile
and has the epilogue. Tiles may have any size, whole planes too.

A thread has one point, tap or output. Each is memory's work: 8 bytes a point, and x or the output once.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .fft_tiles import begin_of, finisher, point_of
from .memory import load, quotient, store, store2

__all__ = ["cut_outputs", "gather_tiles", "spread_weights"]


def gather_tiles(real: Any) -> Any:
    """Return the kernel that makes pairs of tiles of x; ``lengths`` are a tile's, ``steps`` x's."""

    def kernel(elements: Any, sizes: Any, lengths: Any, steps: Any, x: Any, tiles: Any) -> None:
        n_d, n_h, n_w = lengths
        d, h, width = sizes[3:6]
        sd, sh, sw = sizes[12:15]
        first, all_tiles, pairs = sizes[36:39]
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            row = quotient(task, n_w)
            slab = quotient(row, n_h)
            item = quotient(slab, n_d)
            term = quotient(item, pairs)
            j_d, j_h = int32((slab - item * n_d) * sd), int32((row - slab * n_h) * sh)
            j_w = int32((task - row * n_w) * sw)
            for half in range(2):
                value = real(0)
                tile = int32(first + 2 * (item - term * pairs) + half)
                if tile < all_tiles:
                    begin_d, begin_h, begin_w, start = begin_of(sizes, steps, term, tile)
                    at_d, at_h, at_w = int32(begin_d + j_d), int32(begin_h + j_h), int32(begin_w + j_w)
                    if at_d >= 0 and at_d < d and at_h >= 0 and at_h < h and at_w >= 0 and at_w < width:
                        value = load(x, int32(start + at_d * steps[3] + at_h * steps[4] + at_w * steps[5]))
                store(tiles, int32(2 * task + half), value)

    return kernel


def spread_weights(real: Any) -> Any:
    """Return the kernel that puts taps, (c_out, c_in, kd, kh, kw) in order and times a scale, into their tiles."""

    def kernel(elements: Any, sizes: Any, lengths: Any, scale: Any, w: Any, tiles: Any) -> None:
        n_d, n_h, n_w = lengths
        terms = int32(sizes[21] * sizes[22] * sizes[23])
        taps = int32(sizes[6] * sizes[7] * sizes[8])
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            channel = quotient(task, taps)
            term, point = point_of(sizes, int32(task - channel * taps), n_d, n_h, n_w)
            at = int32(2 * ((channel * terms + term) * (n_d * n_h * n_w) + point))
            store2(tiles, at, load(w, task) * scale, real(0))

    return kernel


def cut_outputs(real: Any, name: str | None, has_bias: bool, has_residual: bool) -> Any:
    """Return the kernel that takes outputs from their tiles, for an epilogue; ``steps`` are of x, residual and out."""
    finish = finisher(real, name, has_bias, has_residual)

    def kernel(
        elements: Any, sizes: Any, lengths: Any, steps: Any, slope: Any, tiles: Any,
        x: Any, w: Any, bias: Any, residual: Any, out: Any,
    ) -> None:  # fmt: skip
        n_d, n_h, n_w = lengths
        d_out, h_out, w_out = sizes[9:12]
        tiles_d, tiles_h, tiles_w, each_d, each_h, each_w = sizes[30:36]
        first, _, pairs = sizes[36:39]
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            row = quotient(task, w_out)
            slab = quotient(row, h_out)
            plane = quotient(slab, d_out)
            image = quotient(plane, int32(sizes[0] * sizes[2]))
            channel = int32(plane - image * (sizes[0] * sizes[2]))
            p_d, p_h, p_w = int32(slab - plane * d_out), int32(row - slab * h_out), int32(task - row * w_out)
            t_d, t_h, t_w = quotient(p_d, each_d), quotient(p_h, each_h), quotient(p_w, each_w)
            tile = int32(((image * tiles_d + t_d) * tiles_h + t_h) * tiles_w + t_w - first)
            if tile >= 0 and tile < 2 * pairs:
                pair = quotient(tile, 2)
                j_d, j_h, j_w = int32(p_d - t_d * each_d), int32(p_h - t_h * each_h), int32(p_w - t_w * each_w)
                point = int32((((channel * pairs + pair) * n_d + j_d) * n_h + j_h) * n_w + j_w)
                found = load(tiles, int32(2 * point + tile - 2 * pair))
                finish(sizes, steps, slope, channel, image, p_d, p_h, p_w, found, x, w, bias, residual, out)

    return kernel
