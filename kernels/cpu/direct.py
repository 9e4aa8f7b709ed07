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

from numba.core import types

from .gemm import FROM_MEMORY, FROM_ROWS, FROM_ZERO, max_rows, max_vectors, register_tile
from .im2col import pixel_packer
from .jit import c_function, kernel, once
from .simd import VECTOR_BYTES, advance, call, lanes, pointer
from .tile import (
    RECORD,
    RELU,
    SEGMENT_INTEGERS,
    Axis,
    copy,
    cut_sizes,
    finisher,
    grid_axis,
    panel_rows,
    panel_start,
    panels_of,
    place_in,
    prefetch_out,
    segments_of,
    tap_offsets,
    task_box,
    tile_loader,
)

__all__ = ["RESIDENT_WEIGHT_BYTES", "conv_dense", "link_dense"]

#: A block of weights larger than this does not stay in L2 beside the input tile: it had better be read only once.
RESIDENT_WEIGHT_BYTES = 384 * 1024
_MAX_ROWS, _MAX_VECTORS = max_rows(), max_vectors(1)


@once
def reducer(real: types.Float) -> int:
    """Return the address of the function that does one reduction block."""
    n, p = types.intp, types.CPointer(real)
    return c_function(_reduce, RECORD, p, *[n] * 8, p, n, p, *[n] * 5, p, p, *[n] * 6, real)


def _reduce(
    p: Any, source: Any, plane: int, source_pitch: int, pitch: int, h_tile: int, w_tile: int, n_c: int, n_taps: int,
    k_first: int, weights: Any, has_bias: int, bias: Any, is_first: int, is_last: int, q0: int, q1: int, ld_q: int,
    out: Any, residual: Any, n: int, m0: int, d: int, h0: int, w0: int, scratch: int, slope: Any,
) -> None:  # fmt: skip
    """Add one reduction block (n_c channels x n_taps from product k_first on) to panels q0 .. q1 of one tile."""
    step = lanes(source)
    panels, width = panels_of(p.c_out, p.rows), p.vectors * step
    panel = advance(pointer(scratch, slope), p.tile_elems)
    part = advance(panel, p.panel_elems)
    c_tile = advance(part, p.part_elems)
    segments = pointer(scratch + p.integers_bytes, 0)
    off = advance(segments, SEGMENT_INTEGERS)
    # ReLU rides on the register tile; other activations, and any after a residual, go through the epilogue.
    rectify = int(is_last and p.activation == RELU and not p.residual)
    first_y = advance(out, place_in(p.ld_out, n, m0, d, h0, w0))

    pixels = (h_tile - 1) * pitch + w_tile
    pixel_panels = panels_of((pixels + step - 1) // step, p.vectors)
    weight_bytes = (q1 - q0) * panels.rows * n_c * n_taps * (VECTOR_BYTES // step)
    channels_outer = not p.im2col and weight_bytes > RESIDENT_WEIGHT_BYTES
    n_outer, n_inner = pixel_panels.n, q1 - q0
    if channels_outer:
        n_outer, n_inner = n_inner, n_outer
    if p.in_place and not p.im2col and pixels % step:  # the last vector must not read past the end of x
        start = panel_start(pixel_panels, pixel_panels.n - 1) * step
        for c in range(n_c):
            copy(advance(panel, c * width), advance(source, c * plane + start), pixels - start)

    n_segments = 0
    for u in range(n_outer):
        for v in range(n_inner):
            q, j = q0 + v, u
            if channels_outer:
                q, j = q0 + u, v
            first_pixel, vectors = panel_start(pixel_panels, j) * step, panel_rows(pixel_panels, j)
            n_lanes = min(vectors * step, pixels - first_pixel)
            m, rows = panel_start(panels, q), panel_rows(panels, q)
            a = advance(weights, m * ld_q + k_first * rows)
            if channels_outer or v == 0:
                n_segments = segments_of(first_pixel, n_lanes, pitch, w_tile, h_tile, segments)

            operand, operand_plane, ld_a = advance(source, first_pixel), plane, p.h.k * p.w.k * rows
            operand_c, operand_taps = n_c, n_taps
            if p.im2col:
                if v == 0:
                    arguments = (source, n_c, plane, off, n_taps, source_pitch, segments, n_segments, width, panel)
                    call(p.pack_pixels, arguments)
                # the rows of the panel are the taps of one channel, at multiples of the width
                operand, operand_plane, ld_a = panel, width, rows
                operand_c, operand_taps = n_c * n_taps, 1
            elif p.in_place and n_lanes % step:
                operand, operand_plane = panel, width

            init, start_from = advance(part, ((q - q0) * pixel_panels.n + j) * p.rows * width), FROM_MEMORY
            result, ld_c = init, width
            if is_first:
                init, start_from = advance(bias, m), FROM_ROWS if has_bias else FROM_ZERO
            whole = is_last and n_segments == 1 and segments[1] == vectors * step
            whole = whole and p.ld_out.w == 1 and not p.residual and p.activate == 0 and not p.phases.count
            if whole:
                result = advance(first_y, m * p.ld_out.c + segments[2] * p.ld_out.h + segments[3])
                ld_c = p.ld_out.c
            elif is_last:
                result = c_tile
            if is_last:
                prefetch_out(p, advance(first_y, m * p.ld_out.c), rows, segments, n_segments)
            call(
                p.tiles[(rows - 1) * _MAX_VECTORS + vectors - 1],
                (
                    operand_c, operand_taps, off, operand_plane, operand, a, ld_a, init, start_from, width,
                    result, ld_c, rectify,
                ),
            )  # fmt: skip
            if is_last and not whole:
                place = (n, m0 + m, d, h0, w0)
                call(p.finish, (p, c_tile, width, rows, segments, n_segments, out, residual, *place, slope))


@kernel
def conv_dense(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    tile = pointer(scratch, slope)
    off = advance(pointer(scratch + p.integers_bytes, 0), SEGMENT_INTEGERS)
    taps, n_channels = p.h.k * p.w.k, p.c_in * p.d.k
    for task in range(first, last):
        n, g, d_out, h0, w0, h_tile, w_tile, q0 = task_box(p, task)
        m0 = g * p.c_out
        q1 = min(panels_of(p.c_out, p.rows).n, q0 + p.m_block)
        d = d_out * p.d.stride - p.d.pad

        image = advance(pointer(x, slope), n * p.ld_x.n + g * p.c_in * p.ld_x.c)
        weights = advance(pointer(packed, slope), m0 * n_channels * taps)
        y, r = pointer(out, slope), pointer(residual, slope)

        # (without any channel the sum is empty, but bias and activation still apply)
        for c0 in range(0, max(1, n_channels), p.c_block):
            n_c = min(p.c_block, n_channels - c0)
            for a0 in range(0, p.h.k, p.kh_block):
                n_a = min(p.kh_block, p.h.k - a0)
                h = h0 * p.h.stride - p.h.pad + a0 * p.h.dilation
                for b0 in range(0, p.w.k, p.kw_block):
                    n_b = min(p.kw_block, p.w.k - b0)
                    w = w0 * p.w.stride - p.w.pad + b0 * p.w.dilation
                    gh, gw = grid_axis(p.h, n_a, h_tile), grid_axis(p.w, n_b, w_tile)
                    tap_offsets(gh, gw, n_a, n_b, off)
                    source, plane, source_pitch = tile, gh.phases * gw.phases * gh.length * gw.length, gw.length
                    if p.in_place:  # 1 x 1, one row of pixels: x is its own tile
                        source = advance(image, c0 * p.ld_x.c + d * p.ld_x.d + w0)
                        plane, source_pitch = p.ld_x.c, 0
                    else:
                        call(p.load_tile, (p, image, d, h, w, c0, n_c, n_a, n_b, h_tile, w_tile, tile))
                    is_first = int(c0 == 0 and a0 == 0 and b0 == 0)
                    is_last = int(c0 + n_c >= n_channels and a0 + n_a >= p.h.k and b0 + n_b >= p.w.k)
                    pitch, k_first = w_tile if p.im2col else gw.length, c0 * taps + a0 * p.w.k + b0
                    call(
                        p.reduce,
                        (
                            p, source, plane, source_pitch, pitch, h_tile, w_tile, n_c, n_a * n_b, k_first, weights,
                            int(bias != 0), advance(pointer(bias, slope), m0), is_first, is_last, q0, q1,
                            n_channels * taps, y, r, n, m0, d_out, h0, w0, scratch, slope,
                        ),
                    )  # fmt: skip
    return last - first


def link_dense(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    panels = panels_of.py_func(int(p["c_out"]), _MAX_ROWS)
    all_rows = {panels.rows, panels.rows - (panels.tall < panels.n)}
    w = Axis(*p["w"].item())
    heights, widths = cut_sizes(int(p["h"]["out"]), int(p["h_tile"])), cut_sizes(w.out, int(p["w_tile"]))
    for h_tile, w_tile, n_b in product(heights, widths, cut_sizes(w.k, int(p["kw_block"]))):
        pitch = w_tile if p["im2col"] else grid_axis.py_func(w, n_b, w_tile).length
        pixels = panels_of.py_func(-(-((h_tile - 1) * pitch + w_tile) // step), int(p["vectors"]))
        for rows, vectors in product(all_rows, {pixels.rows, pixels.rows - (pixels.tall < pixels.n)}):
            p["tiles"][(rows - 1) * _MAX_VECTORS + vectors - 1] = register_tile(real, rows, vectors)
    p["load_tile"] = 0 if p["in_place"] else tile_loader(real)
    p["pack_pixels"] = pixel_packer(real) if p["im2col"] else 0
    p["reduce"], p["finish"] = reducer(real), finisher(real)
