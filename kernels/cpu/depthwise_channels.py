"""conv_depthwise_channels: conv_depthwise with channels in the lanes.

For maps whose rows do not fill a vector and for channels-last memory.

A task is one image, one output depth and as many groups as a vector has lanes. Its whole plane is turned into
tile[d][h][w][lane], padded (runs of pixels by transposes in registers), the weights are taps[tap][lane]. A register
tile is up to PIXELS neighbouring output pixels, or half as many of two rows, where one row has too few accumulators to
hide the latency of an FMA: every FMA takes a vector of the tile straight from memory, and one vector of weights serves
them all. The results y[pixel][lane] are turned back on their way out.

flops: those of depthwise.py, no lane idle but for groups beyond a multiple of the lanes; moved besides x and y: both
once more, within L2. The order of each sum is depthwise.py's.
Error: (K + 2) eps for K products summed in one order, the bias and the residual.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from .jit import c_function, kernel, once
from .simd import (
    VECTOR_BYTES,
    add_shared,
    add_tiles,
    advance,
    call,
    lanes,
    load,
    load_part,
    load_rows,
    load_rows_capped,
    pointer,
    relu,
    repeat,
    store,
    store_first_rows,
    store_part,
    store_rows,
    store_wrapped,
    transpose,
    zero,
)
from .tile import RECORD, RELU, ZEROS, clear_over, map_index, panel_rows, panel_start, panels_of

__all__ = ["PIXELS", "conv_depthwise_channels", "link_depthwise_channels", "pack_lanes"]

#: Most pixels of a register tile of one row, and of each row where it has two: with the weights they fit 16 registers.
PIXELS, PAIR_PIXELS = 14, 7


@once
def pixel_tile(real: types.Float, rows: int, pixels: int, unit: bool) -> int:
    """Return the address of the register tile of one shape; ``unit``: pixels read neighbouring vectors."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def tile(
        x: Any, ld_pixel: int, ld_row: int, off: Any, n_taps: int, n_d: int, ld_d: int, w: Any, init: Any, y: Any,
        ld_y: int, rectify: int,
    ) -> None:  # fmt: skip
        acc = repeat(load(init, 0), rows, pixels)
        distance = step if unit else ld_pixel
        for d in range(n_d):
            plane, taps = advance(x, d * ld_d), advance(w, d * n_taps * step)
            for k in range(n_taps):
                acc = add_shared(acc, load(taps, k * step), advance(plane, off[k]), ld_row, distance)
        if rectify:
            acc = relu(acc)
        store_rows(y, ld_y, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, p, n, n, types.CPointer(types.int64), n, n, n, p, p, p, n, n)


@once
def channels_loader(real: types.Float) -> int:
    """Return the address of the function that turns a plane of channels into tile[h][w][lane], border included."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def load_channels(p: Any, x: Any, n_lanes: int, tile: Any) -> None:
        h_in, w_in, top, left, h_tile, w_tile = p.h.size, p.w.size, p.h.pad, p.w.pad, p.h_tile, p.w_tile
        ld_c, ld_h, ld_w, mode = p.ld_x.c, p.ld_x.h, p.ld_x.w, p.padding_mode
        inside = advance(tile, (top * w_tile + left) * step)
        # Rows that follow each other are one run of pixels; the last vectors of a run are turned once more at its end.
        n_runs, pixels = (1, h_in * w_in) if ld_h == w_in else (h_in, w_in)
        if ld_w == 1 and pixels >= step:
            for run in range(n_runs):
                for first in range(0, pixels, step):
                    base = min(first, pixels - step)
                    v = transpose(load_rows_capped(advance(x, run * ld_h + base), ld_c, step, n_lanes))
                    h, w = run + base // w_in, base % w_in
                    store_wrapped(advance(inside, (h * w_tile + w) * step), v, w, w_in, (w_tile - w_in) * step)
        else:
            for h in range(h_in):
                for w in range(w_in):
                    src, dst = advance(x, h * ld_h + w * ld_w), advance(inside, (h * w_tile + w) * step)
                    if ld_c == 1 and n_lanes == step:
                        store(dst, 0, load(src, 0))
                    elif ld_c == 1:
                        store(dst, 0, load_part(src, 0, n_lanes))
                    else:
                        for i in range(step):
                            dst[i] = src[min(i, n_lanes - 1) * ld_c]
        if mode == ZEROS:
            clear_over(tile, top * w_tile * step)
            for h in range(top, top + h_in):
                row = advance(tile, h * w_tile * step)
                clear_over(row, left * step)
                clear_over(advance(row, (left + w_in) * step), (w_tile - left - w_in) * step)
            clear_over(advance(tile, (top + h_in) * w_tile * step), (h_tile - top - h_in) * w_tile * step)
            return
        for h in range(h_tile):
            row = advance(inside, map_index(h - top, h_in, mode) * w_tile * step)
            within = top <= h < top + h_in
            for w in range(w_tile):
                if not within or w < left or w >= left + w_in:
                    v = load(row, map_index(w - left, w_in, mode) * step)
                    store(tile, (h * w_tile + w) * step, v)

    return c_function(load_channels, RECORD, types.CPointer(real), types.intp, types.CPointer(real))


@once
def channels_storer(real: types.Float) -> int:
    """Return the address of the epilogue of y[pixel][lane]."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def store_channels(p: Any, y: Any, n_lanes: int, ld_m: int, out: Any, residual: Any, slope: Any) -> None:
        """Take output channels ``ld_m`` apart through the epilogue; ``out`` and ``residual`` point at the first one."""
        h_out, w_out = p.h.out, p.w.out
        if p.residual:
            # No element twice: the residual may be ``out`` itself, but all of it is read before ``out`` is written.
            ld_c, ld_h, ld_w = p.ld_res.c * ld_m, p.ld_res.h, p.ld_res.w
            n_runs, pixels = (1, h_out * w_out) if ld_h == w_out * ld_w else (h_out, w_out)
            for run in range(n_runs):
                src, dst, i = advance(residual, run * ld_h), advance(y, run * w_out * step), 0
                if ld_c == 1 and n_lanes == step:
                    while i < pixels:
                        store(dst, i * step, add_tiles(load(dst, i * step), load(src, i * ld_w)))
                        i += 1
                elif ld_w == 1:
                    while i + step <= pixels:
                        block = advance(dst, i * step)
                        v = transpose(load_rows_capped(advance(src, i), ld_c, step, n_lanes))
                        store_rows(block, step, add_tiles(load_rows(block, step, step, 1), v))
                        i += step
                while i < pixels:
                    for lane in range(n_lanes):
                        dst[i * step + lane] += src[i * ld_w + lane * ld_c]
                    i += 1
        if p.activate != 0:
            call(p.activate, (y, h_out * w_out * step, slope))
        ld_c, ld_h, ld_w = p.ld_out.c * ld_m, p.ld_out.h, p.ld_out.w
        n_runs, pixels = (1, h_out * w_out) if ld_h == w_out * ld_w else (h_out, w_out)
        for run in range(n_runs):
            src, dst = advance(y, run * w_out * step), advance(out, run * ld_h)
            if ld_c == 1 and n_lanes == step:
                for i in range(pixels):
                    store(dst, i * ld_w, load(src, i * step))
            elif ld_c == 1:
                for i in range(pixels):
                    store_part(dst, i * ld_w, load(src, i * step), n_lanes)
            elif ld_w == 1 and pixels >= step:
                for first in range(0, pixels, step):
                    base = min(first, pixels - step)
                    v = transpose(load_rows(advance(src, base * step), step, step, 1))
                    store_first_rows(advance(dst, base), ld_c, v, n_lanes)
            else:
                for lane in range(n_lanes):
                    for i in range(pixels):
                        dst[lane * ld_c + i * ld_w] = src[i * step + lane]

    n, pointer_type = types.intp, types.CPointer(real)
    return c_function(store_channels, RECORD, pointer_type, n, n, pointer_type, pointer_type, real)


@kernel
def conv_depthwise_channels(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    tile = pointer(scratch, slope)
    y = advance(tile, p.tile_elems)
    start = advance(y, p.panel_elems)
    off = pointer(scratch + p.integers_bytes, 0)
    step = lanes(tile)
    taps = p.h.k * p.w.k
    k_all, plane = p.d.k * taps, p.h_tile * p.w_tile * step
    runs = panels_of(p.w.out, PIXELS)
    rectify = int(p.activation == RELU and not p.residual)
    for a in range(p.h.k):
        for b in range(p.w.k):
            off[a * p.w.k + b] = (a * p.h.dilation * p.w_tile + b * p.w.dilation) * step
    for task in range(first, last):
        rest, block = divmod(task, p.n_m_blocks)
        n, d_out = divmod(rest, p.d.out)
        g0 = block * step
        n_lanes = min(step, p.groups - g0)
        for a in range(p.d.k):
            d = map_index(d_out * p.d.stride - p.d.pad + a * p.d.dilation, p.d.size, p.padding_mode)
            if d < 0:
                clear_over(advance(tile, a * plane), plane)
            else:
                image = advance(pointer(x, slope), n * p.ld_x.n + g0 * p.ld_x.c + d * p.ld_x.d)
                call(p.load_tile, (p, image, n_lanes, advance(tile, a * plane)))
        for o in range(p.c_out):
            m = g0 * p.c_out + o
            for lane in range(step):
                start[lane] = zero(tile)
                if bias != 0 and lane < n_lanes:
                    start[lane] = pointer(bias, slope)[m + lane * p.c_out]
            weights = advance(pointer(packed, slope), (block * p.c_out + o) * k_all * step)
            h = 0
            while h < p.h.out:
                pair = p.w.out <= PAIR_PIXELS and h + 1 < p.h.out
                for v in range(runs.n):
                    pixels, col = panel_rows(runs, v), panel_start(runs, v)
                    operand = advance(tile, (h * p.h.stride * p.w_tile + col * p.w.stride) * step)
                    call(
                        p.tiles[(PIXELS if pair else 0) + pixels - 1],
                        (
                            operand, p.w.stride * step, p.h.stride * p.w_tile * step, off, taps, p.d.k, plane, weights,
                            start, advance(y, (h * p.w.out + col) * step), p.w.out * step, rectify,
                        ),
                    )  # fmt: skip
                h += 2 if pair else 1
            ld, to = p.ld_out, pointer(out, slope)
            to = advance(to, n * ld.n + m * ld.c + d_out * ld.d)
            ld, r = p.ld_res, pointer(residual, slope)
            r = advance(r, n * ld.n + m * ld.c + d_out * ld.d)
            call(p.finish, (p, y, n_lanes, p.c_out, to, r, slope))
    return last - first


def link_depthwise_channels(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    h_out, w_out, unit = int(p["h"]["out"]), int(p["w"]["out"]), int(p["w"]["stride"]) == 1
    runs = panels_of.py_func(w_out, PIXELS)
    for pixels in {runs.rows, runs.rows - (runs.tall < runs.n)}:
        if w_out > PAIR_PIXELS or h_out % 2:
            p["tiles"][pixels - 1] = pixel_tile(real, 1, pixels, unit)
        if w_out <= PAIR_PIXELS and h_out > 1:
            p["tiles"][PIXELS + pixels - 1] = pixel_tile(real, 2, pixels, unit)
    p["load_tile"], p["finish"] = channels_loader(real), channels_storer(real)


def pack_lanes(w: Any, groups: int) -> Any:
    """Weights (groups c_out, taps) -> [block of groups][output channel of a group][tap][lane], flat.

    A block has as many groups as a vector has lanes; lanes beyond the groups hold zeros.
    """
    c_out, k_all, step = w.shape[0] // groups, w[0].size, VECTOR_BYTES // w.itemsize
    blocks = -(-groups // step)
    padded = np.zeros((blocks * step, c_out, k_all), dtype=w.dtype)
    padded[:groups] = w.reshape(groups, c_out, k_all)
    return padded.reshape(blocks, step, c_out, k_all).transpose(0, 2, 3, 1).reshape(-1)
