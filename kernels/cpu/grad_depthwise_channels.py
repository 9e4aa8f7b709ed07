"""grad_depthwise_channels: the gradient of the weights of a depthwise convolution with one output channel each.

    dW[c, a] = sum over n, p of dY[n, c, p] * x[n, c, s p - before + d a]

Channels are in the lanes: strips of dY and of x, border included, become pixels of a vector of channels (channels.py),
copied where channels are fastest in memory and turned where they are not. TAPS taps are summed in registers over a
strip: for each pixel one load of dY and one of x a tap. A task is some vectors of channels and a part of the strips;
where channels are fastest in memory these vectors share its pages, and dY is read where it is.

flops: 2 kd kh kw for each output; moved: dY and x once. The order of every sum is csrc/grad_depthwise_channels.inc.c's.
Error: (K + 2) eps sum |dY| |x|.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from .channels import channels_loader, channels_storer
from .grad_direct import (
    SUM,
    Block,
    Strip,
    add_parts,
    n_gathered,
    panel_shapes,
    span_of,
    store_block,
    strip_of,
    sums_at,
)
from .jit import c_function, kernel, once, word
from .simd import (
    add_crossed,
    advance,
    call,
    lanes,
    load_integers,
    load_rows,
    pointer,
    store_rows,
)
from .tile import clear_over, map_index, panel_rows, panel_start, panels_of

__all__ = ["TAPS", "grad_depthwise_channels", "link_grad_depthwise_channels", "n_gathered"]

#: Taps that are summed in registers together.
TAPS = 9


@once
def taps_tile(real: types.Float, taps: int) -> int:
    """Return the address of c[tap] += the sums over a strip's pixels."""

    def tile(
        images: int, rows: int, cols: int, y: Any, y_image: int, y_row: int, y_step: int,
        x: Any, off: Any, x_image: int, x_row: int, x_step: int, c: Any,
    ) -> None:  # fmt: skip
        acc, at = load_rows(c, 0, 1, taps), load_integers(off, taps)
        for n in range(images):
            for h in range(rows):
                from_y, from_x = advance(y, n * y_image + h * y_row), advance(x, n * x_image + h * x_row)
                for q in range(cols):
                    acc = add_crossed(acc, from_y, q * y_step, 0, from_x, q * x_step, at)
        store_rows(c, 0, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, n, n, n, p, n, n, n, p, types.CPointer(types.int64), n, n, n, p)


@word
def add_strip(p: Any, s: Strip, channel: int, x: Any, y: Any, off: Any, y_tile: Any, tile: Any, c: Any) -> None:
    """Add one strip of one vector of channels."""
    ly, ld, step = p.ld_out, p.ld_x, lanes(c)
    n_lanes, taps = min(step, p.groups - channel), p.d.k * p.h.k * p.w.k
    h, w = span_of(p.h, p.h.k, p.h_tile, True), span_of(p.w, p.w.k, p.w_tile, False)
    plane = h.length * w.length * step
    source = advance(y, s.n * ly.n + channel * ly.c + s.d * ly.d)
    from_y, y_image, y_row, y_step = y_tile, s.rows * s.cols * step, s.cols * step, step
    in_place = ly.c == 1 and n_lanes == step and ly.w > 0  # each pixel is read once for some taps
    if in_place:
        from_y, y_image, y_row, y_step = advance(source, s.h * ly.h + s.w * ly.w), ly.n, ly.h, ly.w
    h0, w0 = s.h * p.h.stride - p.h.pad, s.w * p.w.stride - p.w.pad
    for i in range(s.images):
        if not in_place:
            to = advance(y_tile, i * y_image)
            window = (s.h, s.w, s.rows, s.cols, 1)
            call(p.load_channels, (p.from_y, advance(source, i * ly.n), n_lanes, *window, to))
        for tap in range(p.d.k):
            d = map_index(s.d * p.d.stride - p.d.pad + tap * p.d.dilation, p.d.size, p.padding_mode)
            to = advance(tile, (i * p.d.k + tap) * plane)
            if d < 0:
                clear_over(to, plane)
            else:
                image = advance(x, (s.n + i) * ld.n + channel * ld.c + d * ld.d)
                call(p.load_channels, (p.from_x, image, n_lanes, h0, w0, h.length, w.length, h.every, to))
    panels = panels_of(taps, TAPS)
    for j in range(panels.n):
        r = panel_start(panels, j)
        call(
            p.tiles[panel_rows(panels, j) - 1],
            (
                s.images, s.rows, s.cols, from_y, y_image, y_row, y_step,
                tile, advance(off, r), p.d.k * plane, h.step * w.length * step, w.step * step, advance(c, r * step),
            ),
        )  # fmt: skip


@kernel
def grad_depthwise_channels(
    params: Any, first: int, last: int, x: int, y: int, out: int, scratch: int, shared: int, like: Any, stage: int
) -> int:
    """Do tasks first .. last of a stage: blocks of all parts (SUM), or vectors of all blocks (GATHER).

    Arrays by address; ``like`` has their type. Returns how many tasks were done.
    """
    p = params[0]
    from_x, from_y, to = pointer(x, like), pointer(y, like), pointer(out, like)
    y_tile = pointer(scratch, like)
    tile = advance(y_tile, p.y_elems)
    own = advance(tile, p.tile_elems)
    off = pointer(scratch + p.integers_bytes, 0)
    step, taps = lanes(own), p.d.k * p.h.k * p.w.k
    h, w = span_of(p.h, p.h.k, p.h_tile, True), span_of(p.w, p.w.k, p.w_tile, False)
    vectors = (p.groups + step - 1) // step
    if stage == SUM:
        for r in range(taps):
            rest, b = divmod(r, p.w.k)
            d, a = divmod(rest, p.h.k)
            off[r] = ((d * h.length + a * p.h.dilation) * w.length + b * p.w.dilation) * step
    for task in range(first, last):
        if stage == SUM:
            part, block = divmod(task, p.n_blocks)
            begin, end = 0, min(p.m_block, vectors - block * p.m_block)
        else:
            part, block = 0, task // p.m_block
            begin = task % p.m_block
            end = min(begin + 1, vectors - block * p.m_block)
        c = sums_at(p, part, block, own, shared)
        if stage == SUM:
            clear_over(c, end * taps * step)
            for strip in range(part * p.n_strips // p.parts, (part + 1) * p.n_strips // p.parts):
                s = strip_of(p, strip)
                for j in range(end):
                    channel = (block * p.m_block + j) * step
                    add_strip(p, s, channel, from_x, from_y, off, y_tile, tile, advance(c, j * taps * step))
            if p.parts > 1:
                continue
        for j in range(begin, end):
            sums, channel = advance(c, j * taps * step), (block * p.m_block + j) * step
            if stage != SUM:
                add_parts(p, sums, taps * step)
            b = Block(channel, 0, 1, 0, 1, 0, p.h.k)  # whose output channels are the groups
            store_block(p, b, channel, sums, min(step, p.groups - channel), to)
    return last - first


def link_grad_depthwise_channels(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    for taps in panel_shapes({int(p["d"]["k"]) * int(p["h"]["k"]) * int(p["w"]["k"])}, TAPS):
        p["tiles"][taps - 1] = taps_tile(real, taps)
    p["load_channels"], p["store"] = channels_loader(real), channels_storer(real)
