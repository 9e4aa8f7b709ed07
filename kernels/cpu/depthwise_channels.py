"""conv_depthwise_channels: conv_depthwise with channels in the lanes.

For maps whose rows do not fill a vector and for channels-last memory.

A task is one image, one output depth and as many groups as a vector has lanes. Its whole plane is turned into
tile[d][h][w][lane], padded (runs of pixels by transposes in registers), the weights are taps[tap][lane]. A register
tile is up to PIXELS neighbouring output pixels, or half as many of two rows, where one row has too few accumulators to
hide the latency of an FMA: every FMA takes a vector of the tile straight from memory, and one vector of weights serves
them all. 3x3, 5x5 and 7x7 with stride 1 or 2 have windows where there are 32 registers: two output rows at a time, a
loaded pixel serving all their products. The results y[pixel][lane] are turned back on their way out.

flops: those of depthwise.py, no lane idle but for groups beyond a multiple of the lanes; moved besides x and y: both
once more, within L2. The order of each sum is depthwise.py's.
Error: (K + 2) eps for K products summed in one order, the bias and the residual.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from .channels import aligned, channels_loader, channels_storer
from .jit import c_function, kernel, once
from .simd import (
    VECTOR_BYTES,
    add_shared,
    add_window,
    advance,
    call,
    lanes,
    load,
    pointer,
    relu,
    repeat,
    store_rows,
    zero,
)
from .tile import RELU, Axis, clear_over, map_index, panel_rows, panel_start, panels_of

__all__ = [
    "PAIR_PIXELS",
    "PIXELS",
    "WINDOWS",
    "conv_depthwise_channels",
    "has_windows",
    "link_depthwise_channels",
    "pack_lanes",
    "window_tile",
]

#: Most pixels of a register tile of one row, and of each row where it has two: with the weights they fit 16 registers.
PIXELS, PAIR_PIXELS = 14, 7
#: Whether there are the registers for windows: the accumulators of two rows of PAIR_PIXELS, and the taps of two rows.
WINDOWS = VECTOR_BYTES == 64


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
def window_tile(real: types.Float, k: int, stride: int, pixels: int, group: int) -> int:
    """Return the address of the sums of k x k taps for ``pixels`` pixels of each of two output rows.

    With a ``group`` of channels the planes are the channels of each lane's group, in turn: x is shifted by a lane for
    each, and reads as many elements behind the last pixel.
    """
    step = VECTOR_BYTES * 8 // real.bitwidth

    def tile(x: Any, ld_in: int, n_d: int, ld_d: int, w: Any, init: Any, y: Any, ld_y: int, rectify: int) -> None:
        acc = repeat(load(init, 0), 2, pixels)
        for d in range(n_d):
            row = advance(x, d * ld_d)
            for _ in range(stride):
                acc = add_window(acc, row, w, k, stride, 1, 0, group)
                row, w = advance(row, ld_in), advance(w, k * step)
            for _ in range(k - stride):
                acc = add_window(acc, row, w, k, stride, 1, 1, group)
                row, w = advance(row, ld_in), advance(w, k * step)
            lower = w
            for _ in range(stride):
                acc = add_window(acc, row, lower, k, stride, 0, 1, group)
                row, lower = advance(row, ld_in), advance(lower, k * step)
        if rectify:
            acc = relu(acc)
        store_rows(y, ld_y, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, p, n, n, n, p, p, p, n, n)


def has_windows(h: Axis, w: Axis) -> bool:
    """Whether there are windows for the kernel, and pixels for them."""
    same = h.k == w.k and h.stride == w.stride and h.dilation == w.dilation == 1
    return WINDOWS and same and w.k in (3, 5, 7) and w.stride <= 2 and w.out >= 4


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
    runs = panels_of(p.w.out, PAIR_PIXELS if p.windows else PIXELS)
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
                window = (-p.h.pad, -p.w.pad, p.h_tile, p.w_tile, 1)
                call(p.load_tile, (p, image, n_lanes, *window, advance(tile, a * plane)))
        for o in range(p.c_out):
            m = g0 * p.c_out + o
            for lane in range(step):
                start[lane] = zero(tile)
                if bias != 0 and lane < n_lanes:
                    start[lane] = pointer(bias, slope)[m + lane * p.c_out]
            weights = advance(pointer(packed, slope), (block * p.c_out + o) * k_all * step)
            h = 0
            while h < p.h.out:
                pair = runs.rows <= PAIR_PIXELS and h + 1 < p.h.out
                for v in range(runs.n):
                    pixels, col = panel_rows(runs, v), panel_start(runs, v)
                    operand = advance(tile, (h * p.h.stride * p.w_tile + col * p.w.stride) * step)
                    if pair and p.windows:
                        call(
                            p.tiles[PIXELS + PAIR_PIXELS + pixels - 1],
                            (
                                operand, p.w_tile * step, p.d.k, plane, weights,
                                start, advance(y, (h * p.w.out + col) * step), p.w.out * step, rectify,
                            ),
                        )  # fmt: skip
                        continue
                    call(
                        p.tiles[(PIXELS if pair else 0) + pixels - 1],
                        (
                            operand, p.w.stride * step, p.h.stride * p.w_tile * step, off, taps, p.d.k, plane, weights,
                            start, advance(y, (h * p.w.out + col) * step), p.w.out * step, rectify,
                        ),
                    )  # fmt: skip
                h += 2 if pair else 1
            box = (n, m, d_out, 0, 0, p.h.out, p.w.out, 1)
            call(p.finish, (p, y, n_lanes, p.c_out, *box, 0, pointer(out, slope), pointer(residual, slope), slope))
    return last - first


def link_depthwise_channels(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    h_out, w_out, unit = int(p["h"]["out"]), int(p["w"]["out"]), int(p["w"]["stride"]) == 1
    windows, k, stride = (int(n) for n in (p["windows"], p["h"]["k"], p["h"]["stride"]))
    runs = panels_of.py_func(w_out, PAIR_PIXELS if windows else PIXELS)
    for pixels in {runs.rows, runs.rows - (runs.tall < runs.n)}:
        if runs.rows > PAIR_PIXELS or h_out % 2:
            p["tiles"][pixels - 1] = pixel_tile(real, 1, pixels, unit)
        if windows and h_out > 1:
            p["tiles"][PIXELS + PAIR_PIXELS + pixels - 1] = window_tile(real, k, stride, pixels, 1)
        elif runs.rows <= PAIR_PIXELS and h_out > 1:
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
    packed = aligned(padded.size, w.dtype)
    packed.reshape(blocks, c_out, k_all, step)[...] = padded.reshape(blocks, step, c_out, k_all).transpose(0, 2, 3, 1)
    return packed
