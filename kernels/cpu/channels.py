"""Arrays of any strides into and out of pixels of as many channels as a vector has lanes: [row][column][lane].

Kernels that keep channels in the lanes never meet a ragged row. What they pay is one transpose in registers of lanes x
lanes pixels each way, unless channels are fastest in memory already. A window is columns w, w + 1 ... of every
``every``-th row from h on; it may reach beyond the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from .jit import c_function, once
from .simd import (
    VECTOR_BYTES,
    add_tiles,
    advance,
    call,
    load,
    load_part,
    load_rows,
    load_rows_capped,
    relu,
    store,
    store_first_rows,
    store_part,
    store_rows,
    store_wrapped,
    transpose,
)
from .tile import RECORD, ZEROS, clear_over, map_index, place_in

__all__ = ["aligned", "channels_loader", "channels_storer"]


def aligned(size: int, dtype: Any) -> Any:
    """Return a fresh array of so many elements that starts at a multiple of a cache line."""
    memory = np.empty(size * dtype.itemsize + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size * dtype.itemsize].view(dtype)


@once
def channels_loader(real: types.Float) -> int:
    """Return the address of the function that turns a window of channels into tile[row][column][lane]."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def load_channels(
        p: Any, x: Any, n_lanes: int, h: int, w: int, rows: int, cols: int, every: int, tile: Any
    ) -> None:
        """tile[r][c][lane] = x[lane][h + r every][w + c], border included; spare lanes repeat the last channel."""
        ld_c, ld_w, mode = p.ld_x.c, p.ld_x.w, p.padding_mode
        ld_h, pitch = p.ld_x.h * every, cols * step
        top, left = min(rows, (max(0, -h) + every - 1) // every), min(cols, max(0, -w))
        bottom = max(top, min(rows, (max(0, p.h.size - h) + every - 1) // every))
        right = max(left, min(cols, p.w.size - w))
        height, width = bottom - top, right - left
        source = advance(x, (h + top * every) * p.ld_x.h + (w + left) * ld_w)
        inside = advance(tile, top * pitch + left * step)
        # Rows that follow each other are one run of pixels; the last vectors of a run are turned once more at its end.
        n_runs, pixels = (1, height * width) if ld_h == width else (height, width)
        if ld_w == 1 and pixels >= step:
            for run in range(n_runs):
                src, dst = advance(source, run * ld_h), advance(inside, run * pitch)
                row, col = 0, 0
                for first in range(0, pixels, step):
                    base = first
                    if first + step > pixels:
                        base = pixels - step
                        row, col = base // width, base % width
                    v = transpose(load_rows_capped(advance(src, base), ld_c, step, n_lanes))
                    to = advance(dst, row * pitch + col * step)
                    if col + step <= width:
                        store_rows(to, step, v)
                    else:
                        store_wrapped(to, v, col, width, pitch - width * step)
                    col += step
                    while col >= width:
                        row, col = row + 1, col - width
        else:
            for r in range(height):
                for c in range(width):
                    src, dst = advance(source, r * ld_h + c * ld_w), advance(inside, r * pitch + c * step)
                    if ld_c == 1 and n_lanes == step:
                        store(dst, 0, load(src, 0))
                    elif ld_c == 1:
                        store(dst, 0, load_part(src, 0, n_lanes))
                    else:
                        for i in range(step):
                            dst[i] = src[min(i, n_lanes - 1) * ld_c]
        if height == rows and width == cols:
            return
        if mode == ZEROS:
            clear_over(tile, top * pitch)
            for r in range(top, bottom):
                row = advance(tile, r * pitch)
                clear_over(row, left * step)
                clear_over(advance(row, right * step), (cols - right) * step)
            clear_over(advance(tile, bottom * pitch), (rows - bottom) * pitch)
            return
        for r in range(rows):
            from_h = map_index(h + r * every, p.h.size, mode)
            from_row, off_row = divmod(from_h - h, every)
            row_is_here = off_row == 0 and top <= from_row < bottom
            for c in range(cols):
                if top <= r < bottom and left <= c < right:
                    continue
                from_w = map_index(w + c, p.w.size, mode)
                dst = advance(tile, r * pitch + c * step)
                if row_is_here and left <= from_w - w < right:
                    store(dst, 0, load(tile, from_row * pitch + (from_w - w) * step))
                else:
                    src = advance(x, from_h * p.ld_x.h + from_w * ld_w)
                    for i in range(step):
                        dst[i] = src[min(i, n_lanes - 1) * ld_c]

    n, p = types.intp, types.CPointer(real)
    return c_function(load_channels, RECORD, p, n, n, n, n, n, n, p)


@once
def channels_storer(real: types.Float) -> int:
    """Return the address of the epilogue of y[row][column][lane]."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def store_channels(
        p: Any, y: Any, n_lanes: int, ld_m: int, n: int, m: int, d: int, h: int, w: int, rows: int, cols: int,
        every: int, rectify: int, out: Any, residual: Any, slope: Any,
    ) -> None:  # fmt: skip
        """Take a window of output channels m, m + ld_m ... of all groups through the epilogue; y is overwritten."""
        if p.phases.count:
            if p.activate != 0:
                call(p.activate, (y, rows * cols * step, slope))
            elif rectify:
                for i in range(rows * cols):
                    store(y, i * step, relu(load(y, i * step)))
            call(p.store_box, (p, y, n_lanes, ld_m, n, m, d, h, w, rows, cols, every, out))
            return
        if p.residual:
            # No element twice: the residual may be ``out`` itself, but all of it is read before ``out`` is written.
            ld_c, ld_h, ld_w = p.ld_res.c * ld_m, p.ld_res.h * every, p.ld_res.w
            source = advance(residual, place_in(p.ld_res, n, m, d, h, w))
            n_runs, pixels = (1, rows * cols) if ld_h == cols * ld_w else (rows, cols)
            for run in range(n_runs):
                src, dst, i = advance(source, run * ld_h), advance(y, run * cols * step), 0
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
            call(p.activate, (y, rows * cols * step, slope))
        ld_c, ld_h, ld_w = p.ld_out.c * ld_m, p.ld_out.h * every, p.ld_out.w
        target = advance(out, place_in(p.ld_out, n, m, d, h, w))
        n_runs, pixels = (1, rows * cols) if ld_h == cols * ld_w else (rows, cols)
        for run in range(n_runs):
            src, dst = advance(y, run * cols * step), advance(target, run * ld_h)
            if rectify:
                for i in range(pixels):
                    store(src, i * step, relu(load(src, i * step)))
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

    n, p = types.intp, types.CPointer(real)
    return c_function(store_channels, RECORD, p, *[n] * 11, p, p, real)
