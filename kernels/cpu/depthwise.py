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

import numpy as np
from numba.core import types

from .jit import c_function, kernel, once, word
from .simd import VECTOR_BYTES, add_strided, add_sweep, advance, call, lanes, pointer, relu, splat_tile, store_rows, zero
from .tile import RELU, cut_sizes, finish, grid_axis, load_tile, panel_rows, panel_start, panels_of, tap_offsets

__all__ = ["ROWS", "VECTORS", "conv_depthwise", "strip_table"]

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


@word
def depthwise_task(
    p: Any, task: int, x: Any, packed: Any, bias: Any, has_bias: bool, residual: Any, out: Any, scratch: int,
    segments: Any, strips: Any, activate: int, slope: Any,
) -> None:  # fmt: skip
    """Compute one task."""
    rest = task
    w_index = rest % p.n_w_tiles
    rest //= p.n_w_tiles
    h_index = rest % p.n_h_tiles
    rest //= p.n_h_tiles
    d_out = rest % p.d.out
    rest //= p.d.out
    g0 = rest % p.n_m_blocks * p.m_block
    n = rest // p.n_m_blocks

    h0, w0 = h_index * p.h_tile, w_index * p.w_tile
    h_tile, w_tile = min(p.h_tile, p.h.out - h0), min(p.w_tile, p.w.out - w0)
    rows, k_all = p.rows, p.d.k * p.h.k * p.w.k
    reuse = p.h.stride == 1
    # Output rows r, r + step, r + 2 step ... make a register tile; the last one may hang over the tile's end.
    step = p.h.dilation if reuse else 1
    span = rows * step
    gh, gw = grid_axis(p.h, p.h.k, (h_tile + span - 1) // span * span), grid_axis(p.w, p.w.k, w_tile)

    tile = pointer(scratch, zero(x))
    c_tile = advance(tile, p.tile_elems)
    off = pointer(scratch + p.scratch_bytes - p.kh_block * p.kw_block * 8, 0)
    tap_offsets(gh, gw, 1 if reuse else p.h.k, p.w.k, off)

    relu_in_tile = p.activation == RELU and not p.residual
    # Register tiles that would hang over the edge move back inside and compute a few outputs twice, to the same bits,
    # where these go straight to memory.
    direct_store = p.ld_out.w == 1 and not p.residual and activate == 0
    columns = panels_of((w_tile + lanes(x) - 1) // lanes(x), p.vectors)

    for g in range(g0, min(p.groups, g0 + p.m_block)):
        load_tile(
            p, advance(x, n * p.ld_x.n + g * p.ld_x.c), d_out * p.d.stride - p.d.pad, h0 * p.h.stride - p.h.pad,
            w0 * p.w.stride - p.w.pad, 0, p.d.k, gh, gw, tile,
        )  # fmt: skip
        for m in range(g * p.c_out, (g + 1) * p.c_out):
            y = advance(
                out, n * p.ld_out.n + m * p.ld_out.c + d_out * p.ld_out.d + h0 * p.ld_out.h + w0 * p.ld_out.w
            )
            r = advance(
                residual, n * p.ld_res.n + m * p.ld_res.c + d_out * p.ld_res.d + h0 * p.ld_res.h + w0 * p.ld_res.w
            )
            start = bias[m] if has_bias else zero(x)
            for base in range(0, h_tile, span):
                for phase in range(min(step, h_tile - base)):
                    r0 = base + phase
                    if direct_store and step == 1 and h_tile >= rows:
                        r0 = min(base, h_tile - rows)
                    n_rows = min(rows, (h_tile - r0 + step - 1) // step)
                    for v in range(columns.n):
                        vectors = panel_rows(columns, v)
                        width = vectors * lanes(x)
                        col = panel_start(columns, v) * lanes(x)
                        if direct_store and w_tile >= width:
                            col = min(col, w_tile - width)
                        n_lanes = min(width, w_tile - col)
                        whole = direct_store and n_rows == rows and n_lanes == width
                        call(
                            strips[vectors - 1],
                            (
                                advance(tile, r0 * gw.length + col), p.d.k, gh.phases * gw.phases * gh.length * gw.length,
                                step * gw.length, off, p.h.k, p.w.k, advance(packed, m * k_all), start,
                                advance(y, r0 * p.ld_out.h + col) if whole else c_tile,
                                step * p.ld_out.h if whole else width, int(relu_in_tile),
                            ),
                        )  # fmt: skip
                        if not whole:
                            for i in range(n_rows):
                                segments[i, 0] = i * width
                                segments[i, 1] = n_lanes
                                segments[i, 2] = r0 + i * step
                                segments[i, 3] = col
                            finish(p, c_tile, rows * width, 1, segments, n_rows, y, r, activate, slope)


@kernel
def conv_depthwise(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    strips: Any, activate: int, slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    segments = np.empty((p.rows, 4), dtype=np.int64)
    for task in range(first, last):
        depthwise_task(
            p, task, pointer(x, slope), pointer(packed, slope), pointer(bias, slope), bias != 0,
            pointer(residual, slope), pointer(out, slope), scratch, segments, strips, activate, slope,
        )  # fmt: skip
    return last - first


def strip_table(p: Any, real: types.Float) -> Any:
    """Return the register tiles that a cut calls, as addresses by vectors - 1; compiles what is missing."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    rows, kh = int(p["rows"]), int(p["h"]["k"])
    kind = STRIDED if p["h"]["stride"] != 1 else kh if kh < rows else 0
    table = np.zeros(VECTORS, dtype=np.int64)
    for w_tile in cut_sizes(int(p["w"]["out"]), int(p["w_tile"])):
        columns = panels_of.py_func(-(-w_tile // step), VECTORS)
        for vectors in {columns.rows, columns.rows - (columns.tall < columns.n)}:
            table[vectors - 1] = strip(real, rows, vectors, kind)
    return table
