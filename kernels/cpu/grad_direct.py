"""grad_direct: the gradient of a convolution's weights, a product of two matrices whose common axis is the pixels.

    dW[o, c, a] = sum over n, p of dY[n, o, p] * x[n, c, s p - before + d a]

Output channels are in the lanes. A strip of dY, some hundred pixels, is turned once to [vector][pixel][lane]; x goes
into a padded tile, or stays where it is if no tap leaves it. A row of the product is one (c, kd, kh, kw): it reads the
tile from an offset of its own, one element a pixel, so any stride and dilation reads the same tile and nothing is
copied kh * kw times. The register tile is MAX_ROWS rows x MAX_VECTORS vectors, for each pixel MAX_VECTORS loads of dY
and MAX_ROWS broadcasts of x; its sums stay in registers for a whole strip and are then added to the block's.

    for each part and block (a task): for each strip of the part: turn dY, load x,
      for each MAX_VECTORS vectors of dY (24 KiB of a strip, in L1): for each MAX_ROWS rows: the register tile

A block's sums and a strip of both arrays share L2. Blocks are tasks; where they are few the strips are dealt to parts,
whose sums are added up in the order of the parts. How many there are depends on the problem alone (grad_plan.py).

flops: 2 c_out c_in kd kh kw for each pixel; moved: dY once for each block of input channels, x once for each block of
output channels, the sums once a strip. The order of every sum is csrc/grad_direct.inc.c's.
Error: (K + 2) eps sum |dY| |x| for K pixels, in practice that of sums of some hundred, of which there are K / hundred.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from .channels import channels_loader, channels_storer
from .gemm import max_rows, max_vectors
from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    add_apart,
    add_tiles,
    advance,
    call,
    lanes,
    load,
    load_integers,
    load_planes,
    pointer,
    splat_tile,
    store,
    store_planes,
    zero,
)
from .tile import AXIS, CONV, STRIDES, clear_over, cut_sizes, map_index, panel_rows, panel_start, panels_of, tile_loader

__all__ = [
    "CHANNEL_TILES",
    "CUT",
    "GATHER",
    "GRAD",
    "IN_PLACE",
    "MAX_ROWS",
    "MAX_VECTORS",
    "ROWS",
    "SIZES",
    "SUM",
    "Block",
    "Strip",
    "add_parts",
    "block_of",
    "grad_again",
    "grad_direct",
    "link_grad_direct",
    "link_products",
    "load_y",
    "n_gathered",
    "panel_shapes",
    "product",
    "rows_of",
    "span_of",
    "store_block",
    "strip_of",
    "sums_at",
]

#: Rows of a register tile, and vectors of output channels; the same registers as gemm.py's narrow tile.
MAX_ROWS = max_rows()
MAX_VECTORS = max_vectors(MAX_ROWS)
#: How x lies in a tile: where it is, rows of a plane, pixels of a vector of channels.
IN_PLACE, ROWS, CHANNEL_TILES = range(3)
#: What a call of a kernel does: the sums of blocks and parts, or what becomes of them when all are there.
SUM, GATHER = range(2)

SIZES = ("n", "groups", "c_in", "c_out")
CUT = (
    # what a plane of the output is counted in; a strip, with more than one image only where it holds them whole
    *("h_out", "w_out", "h_tile", "w_tile", "images", "n_h_tiles", "n_w_tiles", "n_strips"),
    # of a block: output channels (in vectors), input channels, kernel rows
    *("m_block", "c_block", "kh_block", "n_m_blocks", "n_c_blocks", "n_kh_blocks", "n_blocks", "parts"),
    *("tile_order", "tile_elems", "y_elems", "block_elems"),
    # Winograd: points of a tile of m x m pixels; elements of both sides and of their product at one point
    *("n_xi", "m", "ld_v", "ld_z", "ld_m"),
    # of all workers together, of one, and where its integers begin
    *("shared_bytes", "scratch_bytes", "integers_bytes", "n_tasks"),
)
#: csrc/pyconv.h's pc_grad; both arrays as inputs of what loads tiles, and the result as what a storer writes; addresses
#: of the functions that a kernel calls.
GRAD = np.dtype(
    [
        *((name, np.int64) for name in SIZES),
        *((name, AXIS) for name in "dhw"),
        *((name, STRIDES) for name in ("ld_x", "ld_out", "ld_w")),
        *((name, np.int64) for name in ("padding_mode", *CUT)),
        *((name, CONV) for name in ("from_x", "from_y", "into")),
        ("tiles", np.int64, (36,)),
        *((name, np.int64) for name in ("load_channels", "load_tile", "store")),
        *((name, np.int64) for name in ("transform_x", "transform_y", "transform_sums")),
    ]
)
RECORD = numba.from_dtype(GRAD)


class Span(NamedTuple):
    """An axis of a tile that is read element by element: ``length`` elements, ``every``-th ones of x.

    Neighbouring outputs are ``step`` of them apart.
    """

    length: int
    every: int
    step: int


@word
def span_of(axis: Any, taps: int, outputs: int, may_skip: bool) -> Span:
    """Return the axis for so many taps and outputs; what no tap reads is left out only where there is one tap."""
    if axis.k == 1 and may_skip:
        return Span(outputs, axis.stride, 1)
    return Span((outputs - 1) * axis.stride + (taps - 1) * axis.dilation + 1, 1, axis.stride)


class Block(NamedTuple):
    """One block: output channels m0 .. m0 + n_m in vectors, input channels, kernel rows."""

    g: int
    m0: int
    n_m: int
    c0: int
    n_c: int
    kh0: int
    n_kh: int


@word
def block_of(p: Any, step: int, block: int) -> Block:
    """Return the block of this number, for vectors of ``step`` output channels."""
    rest, m = divmod(block, p.n_m_blocks)
    rest, kh = divmod(rest, p.n_kh_blocks)
    g, c = divmod(rest, p.n_c_blocks)
    m0, kh0, c0 = m * p.m_block, kh * p.kh_block, c * p.c_block
    n_m = min(p.m_block, (p.c_out + step - 1) // step - m0)
    return Block(g, m0, n_m, c0, min(p.c_block, p.c_in - c0), kh0, min(p.kh_block, p.h.k - kh0))


@word
def rows_of(p: Any, b: Block) -> int:
    """Return the rows of a block's product: its input channels and taps."""
    return b.n_c * p.d.k * b.n_kh * p.w.k


class Strip(NamedTuple):
    """One strip: images from n on, output depth d, rows and columns."""

    n: int
    images: int
    d: int
    h: int
    rows: int
    w: int
    cols: int


@word
def strip_of(p: Any, strip: int) -> Strip:
    """Return the strip of this number."""
    rest, w = divmod(strip, p.n_w_tiles)
    rest, h = divmod(rest, p.n_h_tiles)
    n, d = divmod(rest, p.d.out)
    n, h, w = n * p.images, h * p.h_tile, w * p.w_tile
    return Strip(n, min(p.images, p.n - n), d, h, min(p.h_tile, p.h_out - h), w, min(p.w_tile, p.w_out - w))


@word
def sums_at(p: Any, part: int, block: int, own: Any, shared: int) -> Any:
    """Return where the sums of one part and block lie: in what all workers share if there are several parts."""
    if p.parts > 1:
        return advance(pointer(shared, zero(own)), (part * p.n_blocks + block) * p.block_elems)
    return own


# ---- the results


@word
def store_block(p: Any, b: Block, o: int, c: Any, n_lanes: int, out: Any) -> None:
    """c[row][lane] -> the result, n_lanes output channels from o on; rows are those of the block."""
    ld, step, slope = p.ld_w, lanes(c), zero(c)
    to = advance(out, o * ld.n + b.c0 * ld.c + b.kh0 * ld.h)
    taps_follow = ld.w == 1 and ld.h == p.w.k
    if taps_follow and b.n_kh == p.h.k and ld.d == p.h.k * p.w.k and ld.c == p.d.k * p.h.k * p.w.k:
        call(p.store, (p.into, c, n_lanes, 1, 0, 0, 0, 0, 0, 1, rows_of(p, b), 1, 0, to, to, slope))
        return
    for i in range(b.n_c * p.d.k):
        at = advance(to, i // p.d.k * ld.c + i % p.d.k * ld.d)
        call(p.store, (p.into, c, n_lanes, 1, 0, 0, 0, 0, 0, b.n_kh, p.w.k, 1, 0, at, at, slope))
        c = advance(c, b.n_kh * p.w.k * step)


@word
def grad_again(p: Any, x: Any, y: Any, g: int, o: int, c: int, a_d: int, a_h: int, a_w: int) -> Any:
    """Return one element of the result by the definition."""
    lx, ly, total = p.ld_x, p.ld_out, zero(x)
    x, y = advance(x, (g * p.c_in + c) * lx.c), advance(y, (g * p.c_out + o) * ly.c)
    for n in range(p.n):
        for d in range(p.d.out):
            d_in = map_index(d * p.d.stride - p.d.pad + a_d * p.d.dilation, p.d.size, p.padding_mode)
            for h in range(p.h.out):
                h_in = map_index(h * p.h.stride - p.h.pad + a_h * p.h.dilation, p.h.size, p.padding_mode)
                for w in range(p.w.out):
                    w_in = map_index(w * p.w.stride - p.w.pad + a_w * p.w.dilation, p.w.size, p.padding_mode)
                    value = zero(x)
                    if d_in >= 0 and h_in >= 0 and w_in >= 0:
                        value = x[n * lx.n + d_in * lx.d + h_in * lx.h + w_in * lx.w]
                    total += y[n * ly.n + d * ly.d + h * ly.h + w * ly.w] * value
    return total


@word
def add_parts(p: Any, c: Any, n: int) -> None:
    """c[:n] += the sums of the other parts, in their order."""
    part = p.n_blocks * p.block_elems
    for i in range(0, n, lanes(c)):
        total = load(c, i)
        for k in range(1, p.parts):
            total = add_tiles(total, load(c, k * part + i))
        store(c, i, total)


# ---- the sums


@once
def product_tile(real: types.Float, rows: int, vectors: int) -> int:
    """Return the address of the register tile of one shape: c[vector][row] (+)= the sums over a strip's pixels."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def tile(
        images: int, n_rows: int, cols: int, x: Any, off: Any, x_image: int, x_row: int, x_step: int,
        y: Any, y_vector: int, c: Any, c_vector: int, add: int,
    ) -> None:  # fmt: skip
        acc, at = splat_tile(c, rows, vectors, zero(c)), load_integers(off, rows)
        for n in range(images):
            for h in range(n_rows):
                row = advance(x, n * x_image + h * x_row)
                for q in range(cols):
                    acc = add_apart(acc, row, q * x_step, at, y, q * step, y_vector)
                y = advance(y, cols * step)
        if add:
            acc = add_tiles(load_planes(c, c_vector, rows, vectors), acc)
        store_planes(c, c_vector, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, n, n, n, p, types.CPointer(types.int64), n, n, n, p, n, p, n, n)


@word
def load_y(p: Any, b: Block, s: Strip, y: Any, y_vector: int, to: Any) -> None:
    """Load the strip of dY: to[vector][pixel][lane], pixels of one image after the other."""
    ld, step = p.ld_out, lanes(to)
    for j in range(b.n_m):
        o = (b.m0 + j) * step
        for i in range(s.images):
            source = advance(y, (s.n + i) * ld.n + (b.g * p.c_out + o) * ld.c + s.d * ld.d)
            target = advance(to, j * y_vector + i * s.rows * s.cols * step)
            call(
                p.load_channels,
                (p.from_y, source, min(step, p.c_out - o), s.h, s.w, s.rows, s.cols, 1, target),
            )


class Source(NamedTuple):
    """Where the rows of a product read x: the steps between images, rows and pixels, of the tile or of x."""

    h: Span
    w: Span
    image: int
    row: int
    step: int
    #: of the tile: one channel, or as many as a vector has
    plane: int
    chunks: int


@word
def source_of(p: Any, b: Block, step: int, off: Any) -> Source:
    """Return the steps, and write each row's offset."""
    order = p.tile_order
    h, w = span_of(p.h, b.n_kh, p.h_tile, True), span_of(p.w, p.w.k, p.w_tile, order == ROWS)
    size = step if order == CHANNEL_TILES else 1
    chunks, plane = (b.n_c + step - 1) // step, h.length * w.length * size
    image = (chunks if order == CHANNEL_TILES else b.n_c) * p.d.k * plane
    row, each = h.step * w.length * size, w.step * size
    if order == IN_PLACE:
        image, row, each = p.ld_x.n, p.h.stride * p.ld_x.h, p.w.stride * p.ld_x.w
    i = 0
    for c in range(b.n_c):
        for d in range(p.d.k):
            for a in range(b.n_kh):
                for e in range(p.w.k):
                    in_h, in_w = a * p.h.dilation, e * p.w.dilation
                    if order == IN_PLACE:
                        in_h += b.kh0 * p.h.dilation
                        ld = p.ld_x
                        off[i] = c * ld.c + d * p.d.dilation * ld.d + in_h * ld.h + in_w * ld.w
                    elif order == ROWS:
                        off[i] = (c * p.d.k + d) * plane + in_h * w.length + in_w
                    else:
                        off[i] = (d * chunks + c // step) * plane + (in_h * w.length + in_w) * step + c % step
                    i += 1
    return Source(h, w, image, row, each, plane, chunks)


@word
def load_x(p: Any, b: Block, s: Strip, source: Source, x: Any, tile: Any) -> Any:
    """Load x for a strip, and return where its first pixel's first tap lies."""
    ld, step = p.ld_x, lanes(tile)
    d0, w0 = s.d * p.d.stride - p.d.pad, s.w * p.w.stride - p.w.pad
    h0 = s.h * p.h.stride - p.h.pad
    x = advance(x, s.n * ld.n + b.g * p.c_in * ld.c)
    if p.tile_order == IN_PLACE:
        return advance(x, b.c0 * ld.c + d0 * ld.d + h0 * ld.h + w0 * ld.w)
    h0 += b.kh0 * p.h.dilation
    rows, cols = source.h.length, source.w.length
    for i in range(s.images):
        to = advance(tile, i * source.image)
        if p.tile_order == ROWS:
            call(p.load_tile, (p.from_x, x, d0, h0, w0, b.c0 * p.d.k, b.n_c * p.d.k, 1, 1, rows, cols, to))
        else:
            for chunk in range(p.d.k * source.chunks):
                tap, c = chunk // source.chunks, chunk % source.chunks * step
                d = map_index(d0 + tap * p.d.dilation, p.d.size, p.padding_mode)
                if d < 0:
                    clear_over(to, source.plane)
                else:
                    image = advance(x, d * ld.d + (b.c0 + c) * ld.c)
                    n_lanes = min(step, b.n_c - c)
                    call(p.load_channels, (p.from_x, image, n_lanes, h0, w0, rows, cols, source.h.every, to))
                to = advance(to, source.plane)
        x = advance(x, ld.n)
    return tile


@word
def product(
    p: Any, images: int, rows: int, cols: int, x: Any, off: Any, x_image: int, x_row: int, x_step: int, y: Any,
    y_vector: int, c: Any, vectors: int, n_rows: int, add: int,
) -> None:  # fmt: skip
    """Add one strip: c[vector][row][lane] (+)= y[vector][pixel][lane] * x[off[row] + pixel]."""
    step = lanes(c)
    if x_row == cols * x_step:  # one long row
        rows, cols = 1, cols * rows
    across, down = panels_of(vectors, MAX_VECTORS), panels_of(n_rows, MAX_ROWS)
    for j in range(across.n):
        vector = panel_start(across, j)
        for i in range(down.n):
            row = panel_start(down, i)
            call(
                p.tiles[(panel_rows(down, i) - 1) * MAX_VECTORS + panel_rows(across, j) - 1],
                (
                    images, rows, cols, x, advance(off, row), x_image, x_row, x_step,
                    advance(y, vector * y_vector), y_vector,
                    advance(c, (vector * n_rows + row) * step), n_rows * step, add,
                ),
            )  # fmt: skip


@kernel
def grad_direct(
    params: Any, first: int, last: int, x: int, y: int, out: int, scratch: int, shared: int, like: Any, stage: int
) -> int:
    """Do tasks first .. last of a stage: blocks of all parts (SUM), or vectors of all blocks (GATHER).

    Arrays by address; ``like`` has their type. Returns how many tasks were done.
    """
    p = params[0]
    from_x, from_y, to = pointer(x, like), pointer(y, like), pointer(out, like)
    y_tile = pointer(scratch, like)
    x_tile = advance(y_tile, p.y_elems)
    own = advance(x_tile, p.tile_elems)
    off = pointer(scratch + p.integers_bytes, 0)
    step = lanes(own)
    y_vector = p.images * p.h_tile * p.w_tile * step
    for task in range(first, last):
        if stage == SUM:
            part, block = divmod(task, p.n_blocks)
        else:
            block, vector = divmod(task, p.m_block)
            part = 0
        b = block_of(p, step, block)
        n_rows = rows_of(p, b)
        c = sums_at(p, part, block, own, shared)
        begin, end = 0, b.n_m
        if stage == SUM:
            source = source_of(p, b, step, off)
            first_strip, last_strip = part * p.n_strips // p.parts, (part + 1) * p.n_strips // p.parts
            for strip in range(first_strip, last_strip):
                s = strip_of(p, strip)
                load_y(p, b, s, from_y, y_vector, y_tile)
                at = load_x(p, b, s, source, from_x, x_tile)
                steps, add = (source.image, source.row, source.step), int(strip > first_strip)
                product(p, s.images, s.rows, s.cols, at, off, *steps, y_tile, y_vector, c, b.n_m, n_rows, add)
            if first_strip == last_strip:
                clear_over(c, b.n_m * n_rows * step)
            if p.parts > 1:
                continue
        else:
            begin, end = vector, min(vector + 1, b.n_m)
            if begin < end:
                add_parts(p, advance(c, vector * n_rows * step), n_rows * step)
        for j in range(begin, end):
            o = (b.m0 + j) * step
            sums, n_lanes = advance(c, j * n_rows * step), min(step, p.c_out - o)
            store_block(p, b, b.g * p.c_out + o, sums, n_lanes, to)
    return last - first


def panel_shapes(counts: set[int], most: int) -> set[int]:
    """Return the sizes of the panels that these counts are dealt to."""
    found = set()
    for count in counts:
        panels = panels_of.py_func(count, most)
        found |= {panels.rows, panels.rows - (panels.tall < panels.n)}
    return found


def n_gathered(p: Any) -> int:
    """Return the tasks of GATHER: vectors of output channels of all blocks."""
    return int(p["n_blocks"]) * int(p["m_block"])


def link_products(p: Any, real: types.Float, counts: set[int]) -> None:
    """Write the register tiles of the products of a cut's blocks, which have so many rows."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    vectors = cut_sizes(-(-int(p["c_out"]) // step), int(p["m_block"]))
    for rows in panel_shapes(counts, MAX_ROWS):
        for across in panel_shapes(vectors, MAX_VECTORS):
            p["tiles"][(rows - 1) * MAX_VECTORS + across - 1] = product_tile(real, rows, across)


def link_grad_direct(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    channels, heights = cut_sizes(int(p["c_in"]), int(p["c_block"])), cut_sizes(int(p["h"]["k"]), int(p["kh_block"]))
    taps = int(p["d"]["k"]) * int(p["w"]["k"])
    link_products(p, real, {n_c * n_kh * taps for n_c in channels for n_kh in heights})
    p["load_channels"], p["store"] = channels_loader(real), channels_storer(real)
    p["load_tile"] = tile_loader(real) if p["tile_order"] == ROWS else 0
