"""grad_planar: the gradient of the weights of convolutions with few channels a group, depthwise ones first.

    dW[o, c, a] = sum over n, p of dY[n, o, p] * x[n, c, s p - before + d a]

Pixels are in the lanes: x lies in the padded tile of the forward kernels, one plane for each residue of the stride
(tile.grid_axis), dY in rows of the same pitch with zeros between them, so that a tap is one offset for all pixels of a
strip. The register tile is R rows of dY x T taps, a vector of partial sums each: R + T loads for R T FMAs. The vectors
are added up over the strips of a task, and their lanes at the very end.

    for each part and block of channels (a task): for each strip: load dY and x (L1),
      for each R rows of dY: for each T rows of (c, kd, kh, kw): the register tile

flops: 2 c_out c_in kd kh kw for each pixel, and those of the gaps; moved: dY and x once for each block of the other.
The order of every sum is csrc/grad_planar.inc.c's. Error: (K / lanes + lanes + 2) eps sum |dY| |x|. What a gap makes
of an infinity is summed again by the definition.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from .grad_direct import SUM, Block, block_of, grad_again, n_gathered, panel_shapes, rows_of, strip_of, sums_at
from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    across,
    add_crossed,
    add_tiles,
    advance,
    call,
    lanes,
    load,
    load_integers,
    load_rows,
    pointer,
    store_rows,
    zero,
)
from .tile import (
    TileRow,
    clear_over,
    cut_sizes,
    grid_axis,
    load_row,
    panel_rows,
    panel_start,
    panels_of,
    tap_offsets,
    tile_loader,
)

__all__ = ["grad_planar", "link_grad_planar", "n_gathered"]

#: Rows of dY, and the most taps beside so many of them: with their sums and a vector of x 32 registers, or 16.
ROWS, MAX_TAPS = 4, 9
_TAPS = (9, 9, 8, 6) if VECTOR_BYTES == 64 else (9, 6, 4, 3)


@word
def taps_beside(rows: int) -> int:
    """Return the most taps of a register tile of so many rows."""
    return _TAPS[rows - 1]


@once
def planar_tile(real: types.Float, rows: int, taps: int) -> int:
    """Return the address of c[row][tap] += y[row] x[off[tap]], whole vectors of pixels."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def tile(n: int, y: Any, ld_y: int, x: Any, off: Any, c: Any, ld_c: int) -> None:
        acc, at = load_rows(c, ld_c, rows, taps), load_integers(off, taps)
        for q in range(0, n, step):
            acc = add_crossed(acc, y, q, ld_y, x, q, at)
        store_rows(c, ld_c, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, n, p, n, p, types.CPointer(types.int64), p, n)


@word
def finish(p: Any, b: Block, row: int, c: Any, x: Any, y: Any, out: Any) -> None:
    """Write the sums of one output channel over all parts, and their lanes, to the result."""
    ld, part, total = p.ld_w, p.n_blocks * p.block_elems, zero(c)
    o = b.m0 + row
    to = advance(out, (b.g * p.c_out + o) * ld.n + b.c0 * ld.c)
    for i in range(rows_of(p, b)):
        found = load(c, i * lanes(c))
        for k in range(1, p.parts):
            found = add_tiles(found, load(c, k * part + i * lanes(c)))
        total = across(found, 0)
        rest, w = divmod(i, p.w.k)
        rest, h = divmod(rest, p.h.k)
        channel, d = divmod(rest, p.d.k)
        if total - total != zero(c):
            total = grad_again(p, x, y, b.g, o, b.c0 + channel, d, h, w)
        to[channel * ld.c + d * ld.d + h * ld.h + w * ld.w] = total


@kernel
def grad_planar(
    params: Any, first: int, last: int, x: int, y: int, out: int, scratch: int, shared: int, like: Any, stage: int
) -> int:
    """Do tasks first .. last of a stage: blocks of all parts (SUM), or output channels of all blocks (GATHER).

    Arrays by address; ``like`` has their type. Returns how many tasks were done.
    """
    p = params[0]
    from_x, from_y, to = pointer(x, like), pointer(y, like), pointer(out, like)
    y_tile = pointer(scratch, like)
    tile = advance(y_tile, p.y_elems)
    own = advance(tile, p.tile_elems)
    off = pointer(scratch + p.integers_bytes, 0)
    ly, ld, step = p.ld_out, p.ld_x, lanes(own)
    gh, gw = grid_axis(p.h, p.h.k, p.h_tile), grid_axis(p.w, p.w.k, p.w_tile)
    plane, taps = gh.phases * gw.phases * gh.length * gw.length, p.h.k * p.w.k
    ld_y = p.y_elems // p.m_block
    if stage == SUM:
        tap_offsets(gh, gw, p.h.k, p.w.k, off)
        for r in range(taps, p.c_block * p.d.k * taps):
            off[r] = off[r - taps] + plane
    for task in range(first, last):
        if stage != SUM:
            b, row = block_of(p, 1, task // p.m_block), task % p.m_block
            if row < b.n_m:
                c = advance(sums_at(p, 0, task // p.m_block, own, shared), row * rows_of(p, b) * step)
                finish(p, b, row, c, from_x, from_y, to)
            continue
        part, block = divmod(task, p.n_blocks)
        b = block_of(p, 1, block)
        n_rows = rows_of(p, b)
        c = sums_at(p, part, block, own, shared)
        clear_over(c, b.n_m * n_rows * step)
        for strip in range(part * p.n_strips // p.parts, (part + 1) * p.n_strips // p.parts):
            s = strip_of(p, strip)
            n = ((s.rows - 1) * gw.length + s.cols + step - 1) // step * step
            for i in range(b.n_m):
                source = advance(from_y, s.n * ly.n + (b.g * p.c_out + b.m0 + i) * ly.c + s.d * ly.d)
                target = advance(y_tile, i * ld_y)
                for h in range(s.h, s.h + s.rows):
                    load_row(p.from_y, advance(source, h * ly.h), TileRow(s.w, 1, 0, s.cols, gw.length), target)
                    target = advance(target, gw.length)
                clear_over(target, step)
            image = advance(from_x, s.n * ld.n + b.g * p.c_in * ld.c)
            d0 = s.d * p.d.stride - p.d.pad
            h0, w0 = s.h * p.h.stride - p.h.pad, s.w * p.w.stride - p.w.pad
            channels = b.n_c * p.d.k
            where = (d0, h0, w0, b.c0 * p.d.k, channels, p.h.k, p.w.k, p.h_tile, p.w_tile)
            call(p.load_tile, (p.from_x, image, *where, tile))
            clear_over(advance(tile, channels * plane), step)
            for i in range(0, b.n_m, ROWS):
                rows = min(ROWS, b.n_m - i)
                panels = panels_of(n_rows, taps_beside(rows))
                for j in range(panels.n):
                    r = panel_start(panels, j)
                    call(
                        p.tiles[(rows - 1) * MAX_TAPS + panel_rows(panels, j) - 1],
                        (
                            n, advance(y_tile, i * ld_y), ld_y, tile, advance(off, r),
                            advance(c, (i * n_rows + r) * step), n_rows * step,
                        ),
                    )  # fmt: skip
        if p.parts == 1:
            for i in range(b.n_m):
                finish(p, b, i, advance(c, i * n_rows * step), from_x, from_y, to)
    return last - first


def link_grad_planar(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    taps = int(p["d"]["k"]) * int(p["h"]["k"]) * int(p["w"]["k"])
    channels = {n_c * taps for n_c in cut_sizes(int(p["c_in"]), int(p["c_block"]))}
    for n_m in cut_sizes(int(p["c_out"]), int(p["m_block"])):
        for rows in cut_sizes(n_m, ROWS):
            for width in panel_shapes(channels, _TAPS[rows - 1]):
                p["tiles"][(rows - 1) * MAX_TAPS + width - 1] = planar_tile(real, rows, width)
    p["load_tile"] = tile_loader(real)
