"""conv_direct_channels: conv_direct with output channels in the lanes and pixels broadcast.

For maps so small that a vector of pixels would be half empty (7 x 7: 49 of 64 lanes), and for results with channels
fastest in memory.

    c[i][v] = init[v] + sum over k = (channel, tap) of x[channel plane + off[tap] + i] w[k][v]

i < rows neighbouring pixels of one output row, read from the same input tile as direct.py's, v < vectors x lanes output
channels: direct.py's register tile with the operands' parts exchanged. Loops of a task (one image, output depth, group,
tile of output pixels, block of output channels):

    reduction block (channels x taps)     its panel of weights about 48 KiB
      copy the input tile                 padded, phases apart: at most half of L2
      panel of channels
        output row, run of its pixels     register tile; the results are turned on their way out

Between reduction blocks partial sums stay in scratch. Sums have the order of conv_direct.

flops: 2 n c_out h_out w_out c_in kd kh kw, no lane idle but for channels beyond a multiple of the lanes. bytes from
memory: x once for each block of output channels, the weights once for each tile, y once.
Error: (K + 2) eps for K products summed in one order, the bias and the residual.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numba.core import types

from .gemm import max_rows, max_vectors
from .jit import c_function, kernel, once
from .simd import VECTOR_BYTES, add_outer, advance, call, lanes, load_rows, pointer, relu, store_rows, zero
from .tile import (
    RECORD,
    RELU,
    copy,
    cut_sizes,
    grid_axis,
    panel_rows,
    panel_start,
    panels_of,
    tap_offsets,
    tile_loader,
)

__all__ = ["PIXELS", "VECTORS", "conv_direct_channels", "link_direct_channels", "pack_channels"]

#: Pixels of a register tile, and vectors of channels; the same registers as gemm.py's narrow tile.
PIXELS = max_rows()
VECTORS = max_vectors(PIXELS)


@once
def pixel_tile(real: types.Float, pixels: int, vectors: int) -> int:
    """Return the address of the register tile of one shape."""
    width = vectors * VECTOR_BYTES * 8 // real.bitwidth

    def tile(
        n_c: int, n_taps: int, off: Any, plane: int, x: Any, w: Any, ld_w: int, init: Any, ld_init: int,
        c: Any, ld_c: int, rectify: int,
    ) -> None:  # fmt: skip
        acc = load_rows(init, ld_init, pixels, vectors)
        for channel in range(n_c):
            for tap in range(n_taps):
                acc = add_outer(acc, x, channel * plane + off[tap], w, channel * ld_w + tap * width)
        if rectify:
            acc = relu(acc)
        store_rows(c, ld_c, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, n, n, types.CPointer(types.int64), n, p, p, n, p, n, p, n, n)


@once
def channels_finisher(real: types.Float) -> int:
    """Return the address of the epilogue of pixels x channels."""
    n, p = types.intp, types.CPointer(real)
    return c_function(_finish_channels, RECORD, p, n, n, n, p, p, real)


def _finish_channels(
    p: Any, c: Any, ld_c: int, pixels: int, channels: int, out: Any, residual: Any, slope: Any
) -> None:
    """Take c[pixel][channel] of neighbouring pixels of one row through the epilogue.

    ``out`` and ``residual`` point at its first pixel and channel.
    """
    if p.residual:
        for i in range(pixels):
            for m in range(channels):
                c[i * ld_c + m] += residual[i * p.ld_res.w + m * p.ld_res.c]
    if p.activate != 0:
        call(p.activate, (c, pixels * ld_c, slope))
    if p.ld_out.c == 1:
        for i in range(pixels):
            copy(advance(out, i * p.ld_out.w), advance(c, i * ld_c), channels)
    else:
        for m in range(channels):
            for i in range(pixels):
                out[m * p.ld_out.c + i * p.ld_out.w] = c[i * ld_c + m]


@kernel
def conv_direct_channels(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    tile = pointer(scratch, slope)
    part = advance(tile, p.tile_elems)
    first_sum = advance(part, p.part_elems)
    c_tile = advance(first_sum, p.panel_elems)
    off = pointer(scratch + p.integers_bytes, 0)
    step = lanes(tile)
    width = p.vectors * step
    taps, n_channels = p.h.k * p.w.k, p.c_in * p.d.k
    all_vectors = (p.c_out + step - 1) // step
    # channels are dealt to panels by whole vectors
    panels = panels_of(all_vectors, p.vectors)
    rectify = int(p.activation == RELU and not p.residual)
    for task in range(first, last):
        rest, m_index = divmod(task, p.n_m_blocks)
        rest, w_index = divmod(rest, p.n_w_tiles)
        rest, h_index = divmod(rest, p.n_h_tiles)
        rest, d_out = divmod(rest, p.d.out)
        n, g = divmod(rest, p.groups)
        h0, w0, m0 = h_index * p.h_tile, w_index * p.w_tile, g * p.c_out
        h_tile, w_tile = min(p.h_tile, p.h.out - h0), min(p.w_tile, p.w.out - w0)
        q0 = m_index * p.m_block
        q1 = min(panels.n, q0 + p.m_block)
        d, w = d_out * p.d.stride - p.d.pad, w0 * p.w.stride - p.w.pad

        image = advance(pointer(x, slope), n * p.ld_x.n + g * p.c_in * p.ld_x.c)
        weights = advance(pointer(packed, slope), g * all_vectors * step * n_channels * taps)
        ld, y = p.ld_out, pointer(out, slope)
        y = advance(y, n * ld.n + m0 * ld.c + d_out * ld.d + h0 * ld.h + w0 * ld.w)
        ld, r = p.ld_res, pointer(residual, slope)
        r = advance(r, n * ld.n + m0 * ld.c + d_out * ld.d + h0 * ld.h + w0 * ld.w)
        # the bias, padded to whole vectors
        for m in range(all_vectors * step):
            first_sum[m] = pointer(bias, slope)[m0 + m] if bias != 0 and m < p.c_out else zero(tile)
        runs = panels_of(w_tile, p.rows)

        # (without any channel the sum is empty, but bias and activation still apply)
        for c0 in range(0, max(1, n_channels), p.c_block):
            n_c = min(p.c_block, n_channels - c0)
            for a0 in range(0, p.h.k, p.kh_block):
                n_a = min(p.kh_block, p.h.k - a0)
                h = h0 * p.h.stride - p.h.pad + a0 * p.h.dilation
                gh, gw = grid_axis(p.h, n_a, h_tile), grid_axis(p.w, p.w.k, w_tile)
                plane = gh.phases * gw.phases * gh.length * gw.length
                tap_offsets(gh, gw, n_a, p.w.k, off)
                call(p.load_tile, (p, image, d, h, w, c0, n_c, n_a, p.w.k, h_tile, w_tile, tile))
                is_first = c0 == 0 and a0 == 0
                is_last = c0 + n_c >= n_channels and a0 + n_a >= p.h.k
                for q in range(q0, q1):
                    vectors, m = panel_rows(panels, q), panel_start(panels, q) * step
                    ld_w = taps * vectors * step
                    operand = advance(weights, m * n_channels * taps + c0 * ld_w + a0 * p.w.k * vectors * step)
                    for row in range(h_tile):
                        for run in range(runs.n):
                            pixels, col = panel_rows(runs, run), panel_start(runs, run)
                            partial = advance(part, (((q - q0) * h_tile + row) * runs.n + run) * p.rows * width)
                            init, ld_init, result, ld_c = partial, width, partial, width
                            if is_first:
                                init, ld_init = advance(first_sum, m), 0
                            if is_last:
                                result, ld_c = c_tile, vectors * step
                            call(
                                p.tiles[(pixels - 1) * VECTORS + vectors - 1],
                                (
                                    n_c, n_a * p.w.k, off, plane, advance(tile, row * gw.length + col), operand, ld_w,
                                    init, ld_init, result, ld_c, int(is_last and rectify),
                                ),
                            )  # fmt: skip
                            if is_last:
                                to = advance(y, m * p.ld_out.c + row * p.ld_out.h + col * p.ld_out.w)
                                add = advance(r, m * p.ld_res.c + row * p.ld_res.h + col * p.ld_res.w)
                                channels = min(vectors * step, p.c_out - m)
                                call(p.finish, (p, c_tile, ld_c, pixels, channels, to, add, slope))
    return last - first


def link_direct_channels(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    panels = panels_of.py_func(-(-int(p["c_out"]) // step), VECTORS)
    for w_tile in cut_sizes(int(p["w"]["out"]), int(p["w_tile"])):
        runs = panels_of.py_func(w_tile, PIXELS)
        all_pixels = {runs.rows, runs.rows - (runs.tall < runs.n)}
        for pixels, vectors in product(all_pixels, {panels.rows, panels.rows - (panels.tall < panels.n)}):
            p["tiles"][(pixels - 1) * VECTORS + vectors - 1] = pixel_tile(real, pixels, vectors)
    p["load_tile"], p["finish"] = tile_loader(real), channels_finisher(real)


def pack_channels(w: Any, groups: int) -> Any:
    """Weights (groups c_out, k) -> [group][panel][k][lane], flat; lanes beyond c_out hold zeros."""
    c_out, k, step = w.shape[0] // groups, w[0].size, VECTOR_BYTES // w.itemsize
    vectors = -(-c_out // step)
    panels = panels_of.py_func(vectors, VECTORS)
    padded = np.zeros((groups, vectors * step, k), dtype=w.dtype)
    padded[:, :c_out] = w.reshape(groups, c_out, k)
    packed = np.empty((groups, vectors * step * k), dtype=w.dtype)
    split = panels.tall * panels.rows * step
    for part, width, to in (
        (padded[:, :split], panels.rows * step, packed[:, : split * k]),
        (padded[:, split:], (panels.rows - 1) * step, packed[:, split * k :]),
    ):
        if part.size:
            to.reshape(groups, -1, k, width)[...] = part.reshape(groups, -1, width, k).transpose(0, 1, 3, 2)
    return packed.reshape(-1)
