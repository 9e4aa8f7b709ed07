"""conv_depthwise: one input channel a group, y[g m + o, p] = act(sum over taps of w[o, tap] x[g, p + tap] + ...).

A task is one image, one output depth, a few groups, a tile of pixels. For each group the input tile is copied once
(padded, phases apart: tile.py), then register tiles of ``rows`` output rows x ``vectors`` vectors along the row sweep
it. With stride 1 along h each loaded vector of input row i serves every output row r with 0 <= i - r < kh:
(rows + kh - 1) kw loads of x for rows kh kw FMAs, so that unaligned loads do not bound it. Rows of a tile are
``dilation`` apart, which makes a dilated kernel a dense one. Other strides take one load a FMA.

flops: 2 n c_out h_out w_out kd kh kw; x, y and the weights pass once. Sums run over (kd, kh, kw) in order.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from .jit import c_function, kernel, once
from .simd import (
    VECTOR_BYTES,
    add_strided,
    add_sweep,
    advance,
    call,
    lanes,
    pointer,
    relu,
    splat_tile,
    store_rows,
    zero,
)
from .tile import (
    RELU,
    SEGMENT_INTEGERS,
    cut_sizes,
    finisher,
    grid_axis,
    panel_rows,
    panel_start,
    panels_of,
    place_in,
    tap_offsets,
    tile_loader,
)

__all__ = ["ROWS", "VECTORS", "conv_depthwise", "link_depthwise"]

#: Output rows a register tile may have (7 fit the 7, 14, 28, 56 rows of the networks), and its most vectors.
ROWS, VECTORS = ((8, 7), 3) if VECTOR_BYTES == 64 else ((4,), 2)
#: In the place of a strip's kernel rows: each output row has its own loads.
STRIDED = -1


@once
def strip(real: types.Float, rows: int, vectors: int, kh_fixed: int) -> int:
    """Return the address of the function of one register tile.

    ``kh_fixed`` is the kernel's rows, 0 for any number from ``rows`` on, or STRIDED; off[] holds the kernel's columns,
    or all its taps where STRIDED.
    """

    def sweep(
        x: Any, n_c: int, ld_c: int, ld_row: int, off: Any, kh: int, kw: int, w: Any, bias: Any, c: Any, ld_out: int,
        rectify: int,
    ) -> None:  # fmt: skip
        acc = splat_tile(c, rows, vectors, bias)
        for channel in range(n_c):
            plane, taps = advance(x, channel * ld_c), advance(w, channel * kh * kw)
            if kh_fixed == STRIDED:
                for k in range(kh * kw):
                    acc = add_strided(acc, taps[k], advance(plane, off[k]), ld_row)
            else:
                acc = add_sweep(acc, taps, kh_fixed, kh, kw, plane, ld_row, off)
        if rectify:
            acc = relu(acc)
        store_rows(c, ld_out, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(sweep, p, n, n, n, types.CPointer(types.int64), n, n, p, real, p, n, n)


@kernel
def conv_depthwise(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    tile = pointer(scratch, slope)
    c_tile = advance(tile, p.tile_elems)
    segments = pointer(scratch + p.integers_bytes, 0)
    off = advance(segments, SEGMENT_INTEGERS)
    n_lanes, rows, k_all = lanes(tile), p.rows, p.d.k * p.h.k * p.w.k
    # Output rows r, r + step, r + 2 step ... make a register tile; the last one may hang over the tile's end.
    reuse = p.h.stride == 1
    step = p.h.dilation if reuse else 1
    span = rows * step
    # Register tiles that would hang over the edge move back inside and compute a few outputs twice, to the same bits,
    # where these go straight to memory.
    rectify = int(p.activation == RELU and not p.residual)
    direct_store = p.ld_out.w == 1 and not p.residual and p.activate == 0 and not p.phases.count
    for task in range(first, last):
        rest, w_index = divmod(task, p.n_w_tiles)
        rest, h_index = divmod(rest, p.n_h_tiles)
        rest, d_out = divmod(rest, p.d.out)
        n, g_index = divmod(rest, p.n_m_blocks)
        h0, w0, g0 = h_index * p.h_tile, w_index * p.w_tile, g_index * p.m_block
        h_tile, w_tile = min(p.h_tile, p.h.out - h0), min(p.w_tile, p.w.out - w0)
        d, h, w = d_out * p.d.stride - p.d.pad, h0 * p.h.stride - p.h.pad, w0 * p.w.stride - p.w.pad
        h_padded = (h_tile + span - 1) // span * span
        gh, gw = grid_axis(p.h, p.h.k, h_padded), grid_axis(p.w, p.w.k, w_tile)
        plane = gh.phases * gw.phases * gh.length * gw.length
        tap_offsets(gh, gw, 1 if reuse else p.h.k, p.w.k, off)
        columns = panels_of((w_tile + n_lanes - 1) // n_lanes, p.vectors)

        for m in range(g0 * p.c_out, min(p.groups, g0 + p.m_block) * p.c_out):
            g = m // p.c_out
            if m == g * p.c_out:
                image = advance(pointer(x, slope), n * p.ld_x.n + g * p.ld_x.c)
                call(p.load_tile, (p, image, d, h, w, 0, p.d.k, p.h.k, p.w.k, h_padded, w_tile, tile))
            y, r = pointer(out, slope), pointer(residual, slope)
            first_y = advance(y, place_in(p.ld_out, n, m, d_out, h0, w0))
            weights = advance(pointer(packed, slope), m * k_all)
            start = pointer(bias, slope)[m] if bias != 0 else zero(tile)
            # row tiles: ``step`` of them, one row apart, for every span of rows
            for row_tile in range((h_tile + span - 1) // span * step):
                r0 = row_tile // step * span + row_tile % step
                if r0 >= h_tile:
                    continue
                if direct_store and step == 1 and h_tile >= rows:
                    r0 = min(r0, h_tile - rows)
                n_rows = min(rows, (h_tile - r0 + step - 1) // step)
                for v in range(columns.n):
                    vectors, col = panel_rows(columns, v), panel_start(columns, v) * n_lanes
                    width = vectors * n_lanes
                    if direct_store and w_tile >= width:
                        col = min(col, w_tile - width)
                    whole = direct_store and n_rows == rows and w_tile - col >= width
                    result, ld_c = c_tile, width
                    if whole:
                        result, ld_c = advance(first_y, r0 * p.ld_out.h + col), step * p.ld_out.h
                    operand = advance(tile, r0 * gw.length + col)
                    call(
                        p.tiles[vectors - 1],
                        (
                            operand, p.d.k, plane, step * gw.length, off, p.h.k, p.w.k, weights, start, result, ld_c,
                            rectify,
                        ),
                    )  # fmt: skip
                    if not whole:
                        for i in range(n_rows):
                            segments[4 * i] = i * width
                            segments[4 * i + 1] = min(width, w_tile - col)
                            segments[4 * i + 2] = r0 + i * step
                            segments[4 * i + 3] = col
                        place = (n, m, d_out, h0, w0)
                        call(p.finish, (p, c_tile, rows * width, 1, segments, n_rows, y, r, *place, slope))
    return last - first


def link_depthwise(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    rows, kh = int(p["rows"]), int(p["h"]["k"])
    kind = STRIDED if p["h"]["stride"] != 1 else kh if kh < rows else 0
    for w_tile in cut_sizes(int(p["w"]["out"]), int(p["w_tile"])):
        columns = panels_of.py_func(-(-w_tile // step), VECTORS)
        for vectors in {columns.rows, columns.rows - (columns.tall < columns.n)}:
            p["tiles"][vectors - 1] = strip(real, rows, vectors, kind)
    p["load_tile"], p["finish"] = tile_loader(real), finisher(real)
