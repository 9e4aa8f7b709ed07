"""conv_direct and conv_im2col: dense convolution, y[o, p] = act(sum over k of w[o, k] x[k, p] + bias[o] + res[o, p]).

Loops of a task (one image, output depth, group, tile of output pixels, block of output channels):

    reduction block (channels x taps)     so that a panel of weights is about 16 KiB: L1
      copy the input tile                 padded, phases apart: at most half of L2
      panel of pixels x panel of channels either may be the outer loop: the larger operand is read once
        register tile                     gemm.py

Between reduction blocks partial sums stay in scratch; after the last one the tile goes through the epilogue.

direct numbers the pixels of a tile by the *input* tile's pitch: the operand of tap (a, b) is then the tile shifted by
one constant, and nothing is ever lowered. It pays with a few lanes at the end of each row that belong to nobody
((kw - 1) of w_out + kw - 1). im2col numbers output pixels only and packs them (im2col.py).

flops: 2 n c_out h_out w_out c_in kd kh kw. bytes from memory: x once for each block of output channels, the weights
once for each tile, y once.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numba.core import types

from .gemm import FROM_MEMORY, FROM_ROWS, FROM_ZERO, max_rows, max_vectors, register_tile
from .im2col import pack_pixels
from .jit import kernel, word
from .simd import VECTOR_BYTES, advance, call, lanes, pointer, zero
from .tile import (
    RELU,
    Axis,
    copy,
    cut_sizes,
    finish,
    grid_axis,
    load_tile,
    panel_rows,
    panel_start,
    panels_of,
    prefetch_out,
    segments_of,
    tap_offsets,
)

__all__ = ["RESIDENT_WEIGHT_BYTES", "conv_dense", "tile_table"]

#: A block of weights larger than this does not stay in L2 beside the input tile: it had better be read only once.
RESIDENT_WEIGHT_BYTES = 384 * 1024


@word
def dense_task(
    p: Any, task: int, x: Any, packed: Any, bias: Any, has_bias: bool, residual: Any, out: Any, scratch: int,
    segments: Any, tiles: Any, activate: int, slope: Any,
) -> None:  # fmt: skip
    """Compute one task."""
    step = lanes(x)
    panels = panels_of(p.c_out, p.rows)
    width = p.vectors * step

    rest = task
    m_index = rest % p.n_m_blocks
    rest //= p.n_m_blocks
    w_index = rest % p.n_w_tiles
    rest //= p.n_w_tiles
    h_index = rest % p.n_h_tiles
    rest //= p.n_h_tiles
    d_out = rest % p.d.out
    rest //= p.d.out
    g = rest % p.groups
    n = rest // p.groups

    h0, w0 = h_index * p.h_tile, w_index * p.w_tile
    h_tile, w_tile = min(p.h_tile, p.h.out - h0), min(p.w_tile, p.w.out - w0)
    q0 = m_index * p.m_block
    q1 = min(panels.n, q0 + p.m_block)
    taps, n_channels = p.h.k * p.w.k, p.c_in * p.d.k
    k_all, m0 = n_channels * taps, g * p.c_out

    tile = pointer(scratch, zero(x))
    panel = advance(tile, p.tile_elems)
    part = advance(panel, p.panel_elems)
    c_tile = advance(part, p.part_elems)
    off = pointer(scratch + p.scratch_bytes - p.kh_block * p.kw_block * 8, 0)

    x = advance(x, n * p.ld_x.n + g * p.c_in * p.ld_x.c)
    packed = advance(packed, m0 * k_all)
    bias = advance(bias, m0)
    out = advance(
        out, n * p.ld_out.n + m0 * p.ld_out.c + d_out * p.ld_out.d + h0 * p.ld_out.h + w0 * p.ld_out.w
    )
    residual = advance(
        residual, n * p.ld_res.n + m0 * p.ld_res.c + d_out * p.ld_res.d + h0 * p.ld_res.h + w0 * p.ld_res.w
    )
    # ReLU rides on the register tile; other activations, and any after a residual, go through the epilogue.
    relu_in_tile = p.activation == RELU and not p.residual

    c0 = 0
    while c0 == 0 or c0 < n_channels:  # without any channel the sum is empty, but bias and activation still apply
        n_c = min(p.c_block, n_channels - c0)
        for a0 in range(0, p.h.k, p.kh_block):
            n_a = min(p.kh_block, p.h.k - a0)
            for b0 in range(0, p.w.k, p.kw_block):
                n_b = min(p.kw_block, p.w.k - b0)
                is_first = c0 == 0 and a0 == 0 and b0 == 0
                is_last = c0 + n_c >= n_channels and a0 + n_a >= p.h.k and b0 + n_b >= p.w.k
                gh, gw = grid_axis(p.h, n_a, h_tile), grid_axis(p.w, n_b, w_tile)
                tap_offsets(gh, gw, n_a, n_b, off)
                if p.in_place:  # 1 x 1, one row of pixels: x is its own tile
                    source = advance(x, c0 * p.ld_x.c + d_out * p.d.stride * p.ld_x.d + w0)
                    plane, source_pitch = p.ld_x.c, 0
                else:
                    d = d_out * p.d.stride - p.d.pad
                    h = h0 * p.h.stride - p.h.pad + a0 * p.h.dilation
                    w = w0 * p.w.stride - p.w.pad + b0 * p.w.dilation
                    load_tile(p, x, d, h, w, c0, n_c, gh, gw, tile)
                    source = tile
                    plane, source_pitch = gh.phases * gw.phases * gh.length * gw.length, gw.length

                pitch = w_tile if p.im2col else gw.length
                pixels = (h_tile - 1) * pitch + w_tile
                pixel_panels = panels_of((pixels + step - 1) // step, p.vectors)
                weights = (q1 - q0) * panels.rows * n_c * n_a * n_b
                channels_outer = not p.im2col and weights * VECTOR_BYTES // step > RESIDENT_WEIGHT_BYTES
                n_outer = q1 - q0 if channels_outer else pixel_panels.n
                n_inner = pixel_panels.n if channels_outer else q1 - q0
                if p.in_place and not p.im2col and pixels % step:  # the last vector must not read past the end of x
                    start = panel_start(pixel_panels, pixel_panels.n - 1) * step
                    for c in range(n_c):
                        copy(advance(panel, c * width), advance(source, c * plane + start), pixels - start)

                n_segments = 0
                for u in range(n_outer):
                    for v in range(n_inner):
                        q, j = (q0 + u, v) if channels_outer else (q0 + v, u)
                        first_pixel = panel_start(pixel_panels, j) * step
                        vectors = panel_rows(pixel_panels, j)
                        n_lanes = min(vectors * step, pixels - first_pixel)
                        rows, m = panel_rows(panels, q), panel_start(panels, q)
                        a = advance(packed, m * k_all + (c0 * taps + a0 * p.w.k + b0) * rows)
                        if channels_outer or v == 0:
                            n_segments = segments_of(first_pixel, n_lanes, pitch, w_tile, h_tile, segments)

                        operand, operand_plane, ld_a = advance(source, first_pixel), plane, taps * rows
                        operand_c, operand_taps = n_c, n_a * n_b
                        if p.im2col:
                            if v == 0:
                                pack_pixels(
                                    source, n_c, plane, off, n_a * n_b, source_pitch, segments, n_segments, width, panel
                                )
                            # one "channel" whose taps are the rows of the panel
                            operand, operand_plane, ld_a = panel, width, rows
                            operand_c, operand_taps = n_c * n_a * n_b, 1
                        elif p.in_place and n_lanes % step:
                            operand, operand_plane = panel, width

                        partial = advance(part, ((q - q0) * pixel_panels.n + j) * p.rows * width)
                        start_from = FROM_MEMORY
                        init = partial
                        if is_first:
                            start_from = FROM_ROWS if has_bias else FROM_ZERO
                            init = advance(bias, m)
                        whole = (
                            is_last and n_segments == 1 and segments[0, 1] == vectors * step and p.ld_out.w == 1
                            and not p.residual and activate == 0
                        )  # fmt: skip
                        result, ld_c = (c_tile if is_last else partial), width
                        if whole:
                            result = advance(
                                out, m * p.ld_out.c + segments[0, 2] * p.ld_out.h + segments[0, 3]
                            )
                            ld_c = p.ld_out.c
                        if is_last:
                            prefetch_out(p, advance(out, m * p.ld_out.c), rows, segments, n_segments)
                        call(
                            tiles[rows - 1, vectors - 1],
                            (
                                operand_c, operand_taps, off, operand_plane, operand, a, ld_a, init, start_from, width,
                                result, ld_c, int(is_last and relu_in_tile),
                            ),
                        )  # fmt: skip
                        if is_last and not whole:
                            finish(
                                p, c_tile, width, rows, segments, n_segments, advance(out, m * p.ld_out.c),
                                advance(residual, m * p.ld_res.c), activate, slope,
                            )  # fmt: skip
        c0 += max(1, n_c)


@kernel
def conv_dense(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    tiles: Any, activate: int, slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    segments = np.empty((p.vectors * lanes(pointer(x, slope)), 4), dtype=np.int64)
    for task in range(first, last):
        dense_task(
            p, task, pointer(x, slope), pointer(packed, slope), pointer(bias, slope), bias != 0,
            pointer(residual, slope), pointer(out, slope), scratch, segments, tiles, activate, slope,
        )  # fmt: skip
    return last - first


def tile_table(p: Any, real: types.Float) -> Any:
    """Return the register tiles that a cut calls, as addresses by (rows - 1, vectors - 1); compiles what is missing."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    panels = panels_of.py_func(int(p["c_out"]), max_rows())
    table = np.zeros((max_rows(), max_vectors(1)), dtype=np.int64)
    all_rows = {panels.rows, panels.rows - (panels.tall < panels.n)}
    w = Axis(*p["w"].item())
    for h_tile, w_tile, n_b in product(
        cut_sizes(int(p["h"]["out"]), int(p["h_tile"])), cut_sizes(w.out, int(p["w_tile"])), cut_sizes(w.k, int(p["kw_block"]))
    ):
        pitch = w_tile if p["im2col"] else grid_axis.py_func(w, n_b, w_tile).length
        pixels = panels_of.py_func(-(-((h_tile - 1) * pitch + w_tile) // step), int(p["vectors"]))
        for rows, vectors in product(all_rows, {pixels.rows, pixels.rows - (pixels.tall < pixels.n)}):
            table[rows - 1, vectors - 1] = register_tile(real, rows, vectors)
    return table
