"""conv_implicit_gemm: dense convolution as a matrix product whose left operand is never lowered.

    y[p][o] = bias[o] + sum over (chunk, a, b, c) of x[h(p) + a][w(p) + b][c] w[chunk][a][b][c][o]

Output channels are in the lanes and any ROWS pixels are the rows of a register tile, each by its own offset in the
input tile: neither ragged rows of pixels nor strides cost anything. The input tile holds ``depth`` channels of a pixel
side by side, [chunk][row][column][channel] with as many as there are lanes, or what is left of c_in: one row of the
kernel is then one run of kw depth neighbours (where the dilation is 1), broadcast element by element.

Loops of a task (one image, output depth, group, tile of output pixels, block of output channels):

    reduction block of chunks           a panel of weights for it is some 50 KiB: L1 and L2
      turn the input tile               channels.py; L2
      panel of output channels
        rows of pixels                  accumulators in registers; sums of earlier blocks are added at the end

and at last the sums, y[vector][pixel][lane], are turned into rows of pixels. A depth tap is more channels.

flops: 2 n c_out h_out w_out c_in kd kh kw; moved: x once for each block of output channels, the weights once for each
tile of pixels, y once, and both turned within L2. The order of every sum is csrc/implicit_gemm.inc.c's: chains of one
reduction block that are then added up.
Error: (K + 2) eps for K products, the bias and the residual.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from .channels import aligned, channels_loader, channels_storer
from .gemm import max_rows, max_vectors
from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    add_gathered,
    add_tiles,
    advance,
    call,
    lanes,
    load,
    load_integers,
    load_planes,
    load_rows,
    pointer,
    splat_tile,
    store,
    store_planes,
    zero,
)
from .tile import RELU, clear_over, cut_sizes, map_index, panel_rows, panel_start, panels_of, task_box

__all__ = ["ROWS", "VECTORS", "chunks_alike", "conv_implicit_gemm", "input_tile", "link_implicit_gemm", "pack_chunks"]

#: Pixels of a register tile, and vectors of output channels; the same registers as gemm.py's narrow tile.
ROWS = max_rows()
VECTORS = max_vectors(ROWS)


class InputTile(NamedTuple):
    """Rows x columns of pixels, in chunks of at most as many channels as there are lanes."""

    rows: int
    cols: int
    #: rows of x between rows of the tile: those that no tap reads are left out
    row_step: int
    #: rows of the tile between output rows
    row_stride: int
    #: of one row of the kernel: one run of kw taps, or kw runs of one
    runs_in_row: int
    taps_in_run: int
    #: of one depth tap, of all
    chunks: int
    n_chunks: int


@word
def input_tile(conv: Any, step: int, h_tile: int, w_tile: int) -> InputTile:
    """Return the tile of so many outputs, for ``step`` lanes."""
    h, w = conv.h, conv.w
    row_stride = 1 if h.k == 1 else h.stride
    chunks = (conv.c_in + step - 1) // step
    return InputTile(
        (h_tile - 1) * row_stride + (h.k - 1) * h.dilation + 1,
        (w_tile - 1) * w.stride + (w.k - 1) * w.dilation + 1,
        h.stride if h.k == 1 else 1,
        row_stride,
        1 if w.dilation == 1 else w.k,
        w.k if w.dilation == 1 else 1,
        chunks,
        chunks * conv.d.k,
    )


@word
def chunks_alike(conv: Any, step: int, i: int) -> int:
    """Return how many chunks from i on hold as many channels as it does.

    A reduction block is of one depth, so that the pixels of its tile keep one distance.
    """
    chunks, whole = (conv.c_in + step - 1) // step, conv.c_in // step
    if chunks == whole or whole == 0:
        return chunks * conv.d.k - i
    return whole - i % chunks if i % chunks < whole else 1


@once
def pixel_tile(real: types.Float, rows: int, vectors: int) -> int:
    """Return the address of the register tile of one shape."""
    width = vectors * VECTOR_BYTES * 8 // real.bitwidth

    def tile(
        n_runs: int, run_length: int, runs: Any, pixels: Any, x: Any, w: Any, bias: Any, is_first: int,
        y: Any, ld_y: int,
    ) -> None:  # fmt: skip
        """y[vector][pixel][lane] = the bias (in the first block) or y + the sum over runs of neighbours in the tile."""
        acc, at = splat_tile(y, rows, vectors, zero(y)), load_integers(pixels, rows)
        for r in range(n_runs):
            start = advance(x, runs[r])
            for i in range(run_length):
                acc = add_gathered(acc, start, i, at, w, i * width)
            w = advance(w, run_length * width)
        earlier = load_rows(bias, 0, rows, vectors) if is_first else load_planes(y, ld_y, rows, vectors)
        store_planes(y, ld_y, add_tiles(acc, earlier))

    n, i, p = types.intp, types.CPointer(types.int64), types.CPointer(real)
    return c_function(tile, n, n, i, i, p, p, p, n, p, n)


@word
def load_chunk(p: Any, x: Any, d_in: int, depth: int, h: int, w: int, s: InputTile, turned: Any, tile: Any) -> None:
    """Fill one chunk of the input tile, [row][column][depth]; ``turned`` holds one that does not fill its lanes."""
    step, pixels = lanes(tile), s.rows * s.cols
    d = map_index(d_in, p.d.size, p.padding_mode)
    if d < 0:
        clear_over(tile, pixels * depth)
        return
    turn_to = tile if depth == step else turned
    call(p.load_tile, (p, advance(x, d * p.ld_x.d), depth, h, w, s.rows, s.cols, s.row_step, turn_to))
    if depth != step:
        for i in range(pixels):  # in the order of the addresses, so that what is too much is overwritten
            store(tile, i * depth, load(turned, i * step))


@kernel
def conv_implicit_gemm(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    tile = pointer(scratch, slope)
    turned = advance(tile, p.tile_elems)
    y = advance(turned, p.panel_elems)
    start = advance(y, p.part_elems)
    offsets = pointer(scratch + p.integers_bytes, 0)
    runs = advance(offsets, p.h_tile * p.w_tile)
    step, taps = lanes(tile), p.h.k * p.w.k
    all_vectors, k_all = (p.c_out + step - 1) // step, p.c_in * p.d.k * taps
    panels = panels_of(all_vectors, VECTORS)
    rectify = int(p.activation == RELU and not p.residual)
    for task in range(first, last):
        n, g, d_out, h0, w0, h_tile, w_tile, q0 = task_box(p, task)
        m0 = g * p.c_out
        q1 = min(panels.n, q0 + p.m_block)
        n_pixels, first_vector = h_tile * w_tile, panel_start(panels, q0)
        groups, ld_y = panels_of(n_pixels, ROWS), n_pixels * step
        s = input_tile(p, step, h_tile, w_tile)
        image = advance(pointer(x, slope), n * p.ld_x.n + g * p.c_in * p.ld_x.c)
        weights = advance(pointer(packed, slope), g * all_vectors * step * k_all)
        h, w = h0 * p.h.stride - p.h.pad, w0 * p.w.stride - p.w.pad

        c0 = 0
        while c0 < s.n_chunks:
            n_c = min(p.c_block, chunks_alike(p, step, c0))
            # channels of all chunks before this block
            before = c0 // s.chunks * p.c_in + c0 % s.chunks * step
            depth = min(step, p.c_in - c0 % s.chunks * step)
            for c in range(n_c):
                tap, chunk = divmod(c0 + c, s.chunks)
                d_in = d_out * p.d.stride - p.d.pad + tap * p.d.dilation
                to = advance(tile, c * s.rows * s.cols * depth)
                load_chunk(p, advance(image, chunk * step * p.ld_x.c), d_in, depth, h, w, s, turned, to)
            for row in range(h_tile):
                for col in range(w_tile):
                    offsets[row * w_tile + col] = (row * s.row_stride * s.cols + col * p.w.stride) * depth
            n_runs = 0
            for c in range(n_c):
                for a in range(p.h.k):
                    for b in range(s.runs_in_row):
                        runs[n_runs] = ((c * s.rows + a * p.h.dilation) * s.cols + b * p.w.dilation) * depth
                        n_runs += 1
            for q in range(q0, q1):
                vectors, v = panel_rows(panels, q), panel_start(panels, q)
                operand = advance(weights, (v * p.c_in * p.d.k + before * vectors) * taps * step)
                if c0 == 0:
                    for lane in range(vectors * step):
                        m = v * step + lane
                        start[lane] = pointer(bias, slope)[m0 + m] if bias != 0 and m < p.c_out else zero(tile)
                for group in range(groups.n):
                    pixel = panel_start(groups, group)
                    call(
                        p.tiles[(panel_rows(groups, group) - 1) * VECTORS + vectors - 1],
                        (
                            n_runs, s.taps_in_run * depth, runs, advance(offsets, pixel), tile, operand,
                            start, int(c0 == 0), advance(y, (v - first_vector) * ld_y + pixel * step), ld_y,
                        ),
                    )  # fmt: skip
            c0 += n_c

        for v in range(first_vector, panel_start(panels, q1 - 1) + panel_rows(panels, q1 - 1)):
            sums, n_lanes = advance(y, (v - first_vector) * ld_y), min(step, p.c_out - v * step)
            box = (n, m0 + v * step, d_out, h0, w0, h_tile, w_tile, 1)
            call(p.finish, (p, sums, n_lanes, 1, *box, rectify, pointer(out, slope), pointer(residual, slope), slope))
    return last - first


def link_implicit_gemm(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    step = VECTOR_BYTES * 8 // real.bitwidth
    panels = panels_of.py_func(-(-int(p["c_out"]) // step), VECTORS)
    heights, widths = (cut_sizes(int(p[axis]["out"]), int(p[f"{axis}_tile"])) for axis in "hw")
    for h_tile, w_tile in product(heights, widths):
        groups = panels_of.py_func(h_tile * w_tile, ROWS)
        all_rows = {groups.rows, groups.rows - (groups.tall < groups.n)}
        for rows, vectors in product(all_rows, {panels.rows, panels.rows - (panels.tall < panels.n)}):
            p["tiles"][(rows - 1) * VECTORS + vectors - 1] = pixel_tile(real, rows, vectors)
    p["load_tile"], p["finish"] = channels_loader(real), channels_storer(real)


def pack_chunks(w: Any, groups: int) -> Any:
    """Weights (groups c_out, c_in, d, ...) -> [group][panel][d][chunk][tap][channel of the chunk][lane], flat.

    A chunk has as many channels as a vector has lanes, or what is left; lanes beyond c_out hold zeros.
    """
    c_out, c_in, depth, step = w.shape[0] // groups, *w.shape[1:3], VECTOR_BYTES // w.itemsize
    whole, vectors = c_in // step, -(-c_out // step)
    w = w.reshape(groups, c_out, c_in, depth, -1)
    taps = w.shape[-1]
    if c_out % step:
        padded = np.zeros((groups, vectors * step, *w.shape[2:]), dtype=w.dtype)
        padded[:, :c_out] = w
        w = padded
    packed = aligned(w.size, w.dtype)
    panels = panels_of.py_func(vectors, VECTORS)
    split, k_all = panels.tall * panels.rows * step, c_in * depth * taps
    by_group = packed.reshape(groups, -1)
    for part, width, to in (
        (w[:, :split], panels.rows * step, by_group[:, : split * k_all]),
        (w[:, split:], (panels.rows - 1) * step, by_group[:, split * k_all :]),
    ):
        if part.size:
            # [group][panel][lane][channel][d][tap] -> [group][panel][d][channel, tap in the chunks' order][lane]
            of = part.reshape(groups, -1, width, c_in, depth, taps).transpose(0, 1, 4, 3, 5, 2)
            rows = to.reshape(groups, -1, depth, c_in * taps, width)
            for chunks, first, last in ((whole, 0, whole * step), (1, whole * step, c_in)):
                if first < last:
                    each = (last - first) // chunks
                    from_ = of[:, :, :, first:last].reshape(*of.shape[:3], chunks, each, taps, width)
                    into = rows[:, :, :, first * taps : last * taps].reshape(*of.shape[:3], chunks, taps, each, width)
                    into[...] = from_.swapaxes(-2, -3)
    return packed
