"""lowering_im2col: the windows of images as columns of a matrix; lowering_col2im: such columns summed into images.

    column[n, (c kh + i) kw + j, p w_out + q] = x[n, c, p s_h - pad_h + i d_h, q s_w - pad_w + j d_w], zero outside
    image[n, c, h, w] = sum over (i, j) of column[n, (c kh + i) kw + j, p w_out + q] where h = p s_h - pad_h + i d_h
                        and w = q s_w - pad_w + j d_w

csrc/lowering.inc.c has the reasons. Here a vector is loaded through its tap's mask, and so is never one that begins
before the array or ends behind it; the masks are numbers, 1 where an element counts, and made once for all tasks of a
call that have the same columns.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    add_masked,
    advance,
    call,
    constant,
    lanes,
    load,
    load_rows,
    pointer,
    splat_tile,
    store,
    store_rows,
    transpose,
    zero,
)
from .tile import copy, grid_axis, tap_offsets, tile_loader

__all__ = ["link_im2col", "lowering_col2im", "lowering_im2col"]


@word
def _box(p: Any, task: int, height: int, width: int) -> Any:
    """Return image, first channel, channels, first row, rows, first column and columns of a task."""
    rest, w_index = divmod(task, p.n_w_tiles)
    rest, h_index = divmod(rest, p.n_h_tiles)
    n, c_index = divmod(rest, p.n_m_blocks)
    c0, h0, w0 = c_index * p.c_block, h_index * p.h_tile, w_index * p.w_tile
    return n, c0, min(p.c_block, p.c_in - c0), h0, min(p.h_tile, height - h0), w0, min(p.w_tile, width - w0)


@word
def _put_rows(dst: Any, src: Any, rows: int, cols: int, pitch: int, ld: int) -> None:
    """Copy rows x cols elements, rows ``pitch`` apart in src, to rows ``ld`` apart."""
    step = lanes(dst)
    if pitch == cols == ld:
        copy(dst, src, rows * cols)
        return
    # these leave room for a vector in rows of their own
    free = max(0, rows - (step + cols - 1) // cols) if ld == cols else 0
    for r in range(free):
        for i in range(0, cols, step):
            store(dst, r * ld + i, load(src, r * pitch + i))
    for r in range(free, rows):
        copy(advance(dst, r * ld), advance(src, r * pitch), cols)


@once
def _turner(real: types.Float) -> int:
    """Return the address of the function that takes neighbouring channels apart, into planes."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def turn_apart(src: Any, ld: int, n_lanes: int, pixels: int, planes: Any, ld_plane: int) -> None:
        """planes[lane][pixel] = src[pixel ld + lane], for so many lanes."""
        done = 0
        if n_lanes == step and pixels >= step:
            for first in range(0, pixels, step):
                base = min(first, pixels - step)
                tile = transpose(load_rows(advance(src, base * ld), ld, step, 1))
                store_rows(advance(planes, base), ld_plane, tile)
            done = pixels
        for pixel in range(done, pixels):
            for lane in range(n_lanes):
                planes[lane * ld_plane + pixel] = src[pixel * ld + lane]

    n, p = types.intp, types.CPointer(real)
    return c_function(turn_apart, p, n, n, n, p, n)


@word
def _load_turned(params: Any, x: Any, box: Any, planes: Any, tile: Any) -> None:
    """Fill a task's tile from channels that are neighbours in memory, a vector of them at a time."""
    p, turned, step = params[0], params[1], lanes(x)
    _, _, n_c, h0, rows, w0, cols = box
    h, w = h0 * p.h.stride - p.h.pad, w0 * p.w.stride - p.w.pad
    top = min(p.h.size, max(0, h))
    bottom = max(top, min(p.h.size, h + (rows - 1) * p.h.stride + (p.h.k - 1) * p.h.dilation + 1))
    gh, gw = grid_axis(p.h, p.h.k, rows), grid_axis(p.w, p.w.k, cols)
    plane = gh.phases * gw.phases * gh.length * gw.length
    for c in range(0, n_c, step):
        n_lanes = min(step, n_c - c)
        for r in range(bottom - top):
            src = advance(x, c + (top + r) * p.ld_x.h)
            call(p.transform_in, (src, p.ld_x.w, n_lanes, p.w.size, advance(planes, r * p.w.size), turned.ld_x.c))
        # row 0 of the planes is the image's row `top`
        image = advance(planes, -top * p.w.size)
        arguments = (turned, image, 0, h, w, 0, n_lanes, p.h.k, p.w.k, rows, cols, advance(tile, c * plane))
        call(p.load_tile, arguments)


@kernel
def lowering_im2col(params: Any, first: int, last: int, x: int, out: int, scratch: int, like: Any) -> int:
    """Compute tasks first .. last; arrays by address, ``like`` is of the element type."""
    p = params[0]
    taps, tile = p.h.k * p.w.k, pointer(scratch, like)
    off = pointer(scratch + p.integers_bytes, 0)
    for task in range(first, last):
        box = _box(p, task, p.h.out, p.w.out)
        n, c0, n_c, h0, rows, w0, cols = box
        image = advance(pointer(x, like), n * p.ld_x.n + c0 * p.ld_x.c)
        to = advance(pointer(out, like), n * p.ld_out.n + c0 * taps * p.ld_out.c + h0 * p.w.out + w0)
        if p.in_place:
            for c in range(n_c):
                for a in range(taps):
                    i, j = divmod(a, p.w.k)
                    row = h0 * p.h.stride + i * p.h.dilation
                    src = advance(image, c * p.ld_x.c + row * p.ld_x.h + w0 + j * p.w.dilation)
                    dst = advance(to, (c * taps + a) * p.ld_out.c)
                    _put_rows(dst, src, rows, cols, p.h.stride * p.ld_x.h, p.w.out)
            continue
        gh, gw = grid_axis(p.h, p.h.k, rows), grid_axis(p.w, p.w.k, cols)
        plane = gh.phases * gw.phases * gh.length * gw.length
        tap_offsets(gh, gw, p.h.k, p.w.k, off)
        if p.panel_elems:
            _load_turned(params, image, box, advance(tile, p.tile_elems), tile)
        else:
            h, w = h0 * p.h.stride - p.h.pad, w0 * p.w.stride - p.w.pad
            call(p.load_tile, (p, image, 0, h, w, 0, n_c, p.h.k, p.w.k, rows, cols, tile))
        for c in range(n_c):
            for a in range(taps):
                dst = advance(to, (c * taps + a) * p.ld_out.c)
                _put_rows(dst, advance(tile, c * plane + off[a]), rows, cols, gw.length, p.w.out)
    return last - first


def link_im2col(params: Any, real: types.Float) -> None:
    """Write the functions that the kernel calls into both records."""
    params["load_tile"] = 0 if params[0]["in_place"] else tile_loader(real)
    params["transform_in"] = _turner(real) if params[0]["panel_elems"] else 0


@word
def _phase_of(w: Any, j: int) -> int:
    """Return the phase of all pixels that tap j holds."""
    return (j * w.dilation - w.pad) % w.stride


@word
def _taps(p: Any, phases: int, begin: Any, off: Any, at: Any) -> None:
    """Order the taps of each phase: where they begin, their windows and, with rows of the matrix, their elements."""
    if p.rows > 1:
        begin[0], begin[1] = 0, p.h.k * p.w.k
        for a in range(p.h.k * p.w.k):
            i, j = divmod(a, p.w.k)
            off[a] = (p.h.pad - i * p.h.dilation) * p.w.out + p.w.pad - j * p.w.dilation
            at[a] = a * p.ld_out.c + off[a]
        return
    for r in range(phases + 1):
        begin[r] = 0
    for j in range(p.w.k):
        r = _phase_of(p.w, j)
        if r < phases:
            begin[r] += 1
    end = 0
    for r in range(phases):
        end += begin[r]
        begin[r] = end
    begin[phases] = end
    for j in range(p.w.k - 1, -1, -1):
        r = _phase_of(p.w, j)
        if r < phases:
            begin[r] -= 1  # from the end of the phase's places; its begin when all are filled
            a = begin[r]
            off[a] = (r + p.w.pad - j * p.w.dilation) // p.w.stride
            at[a] = j * p.ld_out.c + off[a]


@word
def _masks(p: Any, w0: int, width: int, n: int, off: Any, masks: Any) -> None:
    """masks[tap][column] = 1 where a pixel has a window that the tap holds it in, else 0."""
    none, one = zero(masks), constant(zero(masks), 1.0)
    if p.rows == 1:
        for a in range(n):
            for i in range(width):
                column = w0 + i + off[a]
                masks[a * width + i] = one if 0 <= column < p.w.out else none
        return
    for a in range(n):
        i, j = divmod(a, p.w.k)
        h, w = divmod(w0, p.w.size)
        for pixel in range(width):
            row, column = h + p.h.pad - i * p.h.dilation, w + p.w.pad - j * p.w.dilation
            holds = h < p.h.size and 0 <= row < p.h.out and 0 <= column < p.w.out
            masks[a * width + pixel] = one if holds else none
            w += 1
            if w == p.w.size:
                h, w = h + 1, 0


@word
def _rows_of(p: Any, h: int, live: Any) -> int:
    """Find the taps i and rows of windows that hold row h of the image, in pairs; return how many."""
    if p.rows > 1:
        live[0] = live[1] = 0
        return 1
    n, row, i = 0, h + p.h.pad, 0
    while i < p.h.k and row >= 0:
        window = row if p.h.stride == 1 else row // p.h.stride
        if window < p.h.out and window * p.h.stride == row:
            live[2 * n], live[2 * n + 1] = i, window
            n += 1
        i += 1
        row -= p.h.dilation
    return n


@word
def _sums(
    p: Any, from_: Any, live: Any, n_live: int, at: Any, a0: int, a1: int, masks: Any, width: int, sums: Any
) -> Any:
    """Return sums and what the taps a0 .. a1 of every row of windows add to them."""
    for i in range(n_live):
        row = live[2 * i] * p.w.k * p.ld_out.c + live[2 * i + 1] * p.w.out
        for a in range(a0, a1):
            sums = add_masked(sums, from_, row + at[a], masks, a * width)
    return sums


@word
def _put_pixels(p: Any, y: Any, phases: int, width: int, w0: int, cols: int, out: Any) -> None:
    """Hand a row of sums to a row of pixels; of phase r there are as many as the row has pixels r, r + phases, ..."""
    stride = 1 if phases == 1 else p.w.stride
    pixels = min(cols * stride, p.w.size * p.rows - w0 * stride)
    out = advance(out, w0 * stride * p.ld_x.w)
    if stride == 1 and p.ld_x.w == 1:
        copy(out, y, pixels)
    elif stride == 2 and p.ld_x.w == 1:
        for i in range(pixels // 2):
            out[2 * i] = y[i]
            out[2 * i + 1] = y[width + i]
        if pixels % 2:
            out[pixels - 1] = y[pixels // 2]
    else:
        for phase in range(phases):
            for i in range((pixels - phase + stride - 1) // stride):
                out[(phase + i * stride) * p.ld_x.w] = y[phase * width + i]


@kernel
def lowering_col2im(params: Any, first: int, last: int, columns: int, out: int, scratch: int, like: Any) -> int:
    """Compute tasks first .. last; arrays by address, ``like`` is of the element type."""
    p = params[0]
    phases, taps = 1 if p.rows > 1 else min(p.w.stride, p.w.size), p.h.k * p.w.k
    n_taps = taps if p.rows > 1 else p.w.k
    masks = pointer(scratch, like)
    y, step = advance(masks, p.tile_elems), lanes(masks)
    begin = pointer(scratch + p.integers_bytes, 0)
    off = advance(begin, phases + 1)
    at = advance(off, n_taps)
    live = advance(at, n_taps)
    _taps(p, phases, begin, off, at)
    masked = -1
    for task in range(first, last):
        height, width = p.h.size // p.rows, (p.w.size * p.rows + p.w.stride - 1) // p.w.stride
        n, c0, n_c, h0, rows, w0, cols = _box(p, task, height, width)
        width = (cols + step - 1) // step * step
        if masked != w0:
            _masks(p, w0, width, begin[phases], off, masks)
            masked = w0
        image = advance(pointer(out, like), n * p.ld_x.n + c0 * p.ld_x.c + h0 * p.ld_x.h)
        # one channel after the other, or one row after the other where channels are neighbours
        inner = n_c if p.ld_x.c == 1 else rows
        for u in range(n_c * rows):
            c, h = (u % inner, u // inner) if p.ld_x.c == 1 else (u // inner, u % inner)
            from_ = advance(pointer(columns, like), n * p.ld_out.n + (c0 + c) * taps * p.ld_out.c + w0)
            n_live = _rows_of(p, h0 + h, live)
            for phase in range(phases):
                a0, a1, i = begin[phase], begin[phase + 1], 0
                row = advance(y, phase * width)
                while i + 4 * step <= width:
                    none = splat_tile(y, 1, 4, zero(y))
                    here, mask = advance(from_, i), advance(masks, i)
                    store_rows(advance(row, i), 0, _sums(p, here, live, n_live, at, a0, a1, mask, width, none))
                    i += 4 * step
                while i < width:
                    none = splat_tile(y, 1, 1, zero(y))
                    here, mask = advance(from_, i), advance(masks, i)
                    store_rows(advance(row, i), 0, _sums(p, here, live, n_live, at, a0, a1, mask, width, none))
                    i += step
            _put_pixels(p, y, phases, width, w0, cols, advance(image, c * p.ld_x.c + h * p.ld_x.h))
    return last - first
