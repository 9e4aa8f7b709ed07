"""conv_winograd_f<m>x<r>: stride 1, kernels of r taps along h, w or both, by minimal filtering.

    y = A^T [ sum over c of (G w[c] G^T) * (B^T x[c] B) ] A + bias + residual      (Lavin and Gray 2016, section 4)

An output tile of m x m costs alpha x alpha multiplications a channel instead of m m r r, alpha = m + r - 1. The
matrices are winograd_matrices.py's; along an axis whose kernel has one tap nothing is transformed.

Channels are in the lanes from the first transform to the last, tiles are rows, so no tile count is ragged:

    input     channels of one vector, some rows of tiles -> B^T x B -> v[xi][tile][channel]
    product   m[xi][tile][c_out] = v[xi] u[xi], for each of the alpha^2 points xi
    output    m[xi][tile][c_out] -> A^T m A + bias -> pixels of one vector of channels -> the output (channels.py)

A depth tap of a 3-D kernel is one more input channel; with a dilation of s, every s-th row and column is an image of
its own. A block of tiles goes through the three stages on one worker; where blocks are left over that would leave
threads idle, each stage of these blocks is shared by all threads. u[group][xi][panel][channel][lane] is transformed in
float64 and rounded once; the weights as they came lie behind it.

flops: 2 alpha^2 c_in c_out for each tile, and the transforms; moved: v and m twice, within L2 or L3, and u once for
each block. The order of every sum is a function of the problem, and csrc/winograd.inc.c's.
Error: winograd_matrices.error_factor. Where x, w or an intermediate is not finite whole tiles would become NaN; those
outputs are summed again directly, so NaN and Inf are where direct summation puts them. (No such output is missed: for
each tap and output some point q has A^T[i][q] G[q][j] B^T[q][i + j] != 0.)
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from ..winograd_matrices import ONE, POINTS, Variant, matrices
from .channels import aligned, channels_loader, channels_storer
from .gemm import max_rows, max_vectors
from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    add_defects,
    add_product,
    add_tiles,
    advance,
    call,
    lanes,
    load,
    load_rows,
    outputs_of,
    pointer,
    points_of,
    repeat,
    splat_tile,
    store,
    store_first_rows,
    store_rows,
    zero,
)
from .threads import Phase
from .tile import RELU, clear_over, cut_sizes, map_index, panel_rows, panel_start, panels_of, sum_again

__all__ = [
    "CHAIN",
    "MEETING_CYCLES",
    "VECTORS",
    "conv_winograd",
    "link_winograd",
    "pack_winograd",
    "phases",
]

#: Longest chain of products: the error of a sum of n grows with sqrt(n), that of chains which are then added up with
#: sqrt(CHAIN + n / CHAIN) (Higham 2002, section 4.2).
CHAIN = 40
#: Vectors of output channels of a register tile.
VECTORS = max_vectors(max_rows())
_ROWS, _TALL_ROWS = max_rows(), 14 if VECTOR_BYTES == 64 else max_rows()
#: What it takes to hand a stage's items to other threads and to wait for them, three times.
MEETING_CYCLES = 300_000
#: What a share of the work is: whole blocks, or items of one stage.
INPUT, PRODUCT, OUTPUT, WHOLE = range(4)


@word
def product_rows(vectors: int) -> int:
    """Return the tiles of a register tile: the fewer vectors, the more rows it takes to keep the FMAs busy."""
    return _TALL_ROWS if vectors < VECTORS else _ROWS


@once
def product_tile(real: types.Float, rows: int, vectors: int) -> int:
    """Return the address of c[i][j] = sum over k < n_k of a[i ld_a + k] b[k][j], in chains that are then added up."""
    width = vectors * VECTOR_BYTES * 8 // real.bitwidth

    def tile(n_k: int, a: Any, ld_a: int, b: Any, c: Any, ld_c: int) -> None:
        chains = (n_k + CHAIN - 1) // CHAIN
        for chain in range(chains):
            acc = splat_tile(c, rows, vectors, zero(c))
            for k in range(chain * n_k // chains, (chain + 1) * n_k // chains):
                acc = add_product(acc, a, k, ld_a, b, k * width)
            if chain > 0:
                acc = add_tiles(load_rows(c, ld_c, rows, vectors), acc)
            store_rows(c, ld_c, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, n, p, n, p, p, n)


@once
def input_transform(real: types.Float, alpha_h: int, alpha_w: int) -> int:
    """Return the address of B^T x B of rows of tiles, for the vectors of one vector of channels."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def transform(
        x: Any, cols: int, turned: Any, n_rows: int, n_cols: int, m_h: int, m_w: int, phases: int,
        v: Any, ld_t: int, ld_xi: int,
    ) -> None:  # fmt: skip
        """x[row][column] are vectors; so is ``turned``, which has room for alpha_h rows."""
        for r in range(n_rows):
            rows = advance(x, r * m_h * cols * step)
            if alpha_h > 1:
                for c in range(cols):
                    column = load_rows(advance(rows, c * step), cols * step, alpha_h, 1)
                    store_rows(advance(turned, c * step), cols * step, points_of(column))
                rows = turned
            for c in range(n_cols):
                for phase in range(phases):
                    start = (c * m_w * phases + phase) * step
                    for i in range(alpha_h):
                        points = points_of(load_rows(advance(rows, start), phases * step, alpha_w, 1))
                        store_rows(advance(v, i * alpha_w * ld_xi), ld_xi, points)
                        start += cols * step
                    v = advance(v, ld_t)

    n, p = types.intp, types.CPointer(real)
    return c_function(transform, p, n, p, n, n, n, n, n, p, n, n)


@once
def output_transform(real: types.Float, m_h: int, alpha_h: int, m_w: int, alpha_w: int) -> int:
    """Return the address of A^T m A + bias of rows of tiles, for one vector of channels."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def transform(
        m: Any, ld_t: int, ld_xi: int, n_rows: int, n_cols: int, phases: int, rows: int, cols: int,
        local: Any, y: Any,
    ) -> None:  # fmt: skip
        """y[row][column] are vectors. ``local`` begins with the bias, and ends with NaN where y is not finite."""
        bias = repeat(load(local, 0), m_w, 1)
        defects = splat_tile(y, 1, 1, zero(y))
        half = advance(local, step)
        for r in range(n_rows):
            for c in range(n_cols):
                for phase in range(phases):
                    for j in range(alpha_w):
                        points = load_rows(advance(m, j * ld_xi), alpha_w * ld_xi, alpha_h, 1)
                        store_rows(advance(half, j * step), alpha_w * step, outputs_of(points, m_h))
                    col = c * m_w * phases + phase
                    here = min(m_w, (cols - col + phases - 1) // phases)
                    to = advance(y, (r * m_h * cols + col) * step)
                    for i in range(min(m_h, rows - r * m_h)):
                        points = load_rows(advance(half, i * alpha_w * step), step, alpha_w, 1)
                        outputs = add_tiles(outputs_of(points, m_w), bias)
                        defects = add_defects(defects, outputs)
                        if here == m_w:
                            store_rows(to, phases * step, outputs)
                        else:
                            store_first_rows(to, phases * step, outputs, here)
                        to = advance(to, cols * step)
                    m = advance(m, ld_t)
        store(local, 0, defects)

    n, p = types.intp, types.CPointer(real)
    return c_function(transform, p, n, n, n, n, n, n, n, p, p)


class Block(NamedTuple):
    """The tiles of a block: all of some slices, or a rectangle of one; n_cols counts one phase of the columns."""

    g: int
    slice: int
    n_slices: int
    row: int
    n_rows: int
    col: int
    n_cols: int
    n_tiles: int


@word
def block_of(p: Any, block: int) -> Block:
    """Return where a block lies."""
    s = p.winograd
    rest, col = divmod(block, p.n_w_tiles)
    rest, row = divmod(rest, p.n_h_tiles)
    g, slices = divmod(rest, (s.slices + s.block_slices - 1) // s.block_slices)
    first, row, col = slices * s.block_slices, row * p.h_tile, col * p.w_tile
    n_slices, n_rows = min(s.block_slices, s.slices - first), min(p.h_tile, s.h_tiles - row)
    n_cols = min(p.w_tile, s.w_tiles - col)
    return Block(g, first, n_slices, row, n_rows, col, n_cols, n_slices * n_rows * n_cols * s.step_w)


@word
def stage_items(p: Any, stage: int) -> int:
    """Return how many items a stage of a full block has; smaller blocks leave some empty."""
    s = p.winograd
    return s.inputs if stage == INPUT else s.products if stage == PRODUCT else s.outputs


@word
def transform_input(p: Any, b: Block, item: int, x: Any, v: Any, local: Any) -> None:
    """Do one item: one slice, some rows of tiles, one depth tap, one vector of channels."""
    s, step = p.winograd, lanes(x)
    chunks = (p.c_in + step - 1) // step
    rest, chunk = divmod(item, chunks)
    rest, tap = divmod(rest, p.d.k)
    slice_, strip = divmod(rest, (p.h_tile + s.strip - 1) // s.strip)
    first_row = strip * s.strip
    n_rows = min(s.strip, b.n_rows - first_row)
    if slice_ >= b.n_slices or n_rows <= 0:
        return
    plane, phase = divmod(b.slice + slice_, s.step_h)
    n, d_out = divmod(plane, p.d.out)
    first_tile = (slice_ * b.n_rows + first_row) * b.n_cols * s.step_w
    v = advance(v, first_tile * s.c_lanes + (tap * chunks + chunk) * step)
    d = map_index(d_out * p.d.stride - p.d.pad + tap * p.d.dilation, p.d.size, p.padding_mode)
    if d < 0:
        for xi in range(s.n_xi):
            for t in range(n_rows * b.n_cols * s.step_w):
                clear_over(advance(v, xi * s.ld_v + t * s.c_lanes), step)
        return
    h = (b.row + first_row) * s.m_h * s.step_h + phase - p.h.pad
    w = b.col * s.m_w * s.step_w - p.w.pad
    rows, cols = (n_rows - 1) * s.m_h + s.a_h, ((b.n_cols - 1) * s.m_w + s.a_w) * s.step_w
    c = chunk * step
    image = advance(x, n * p.ld_x.n + d * p.ld_x.d + (b.g * p.c_in + c) * p.ld_x.c)
    call(p.load_tile, (p, image, min(step, p.c_in - c), h, w, rows, cols, s.step_h, local))
    turned = advance(local, rows * cols * step)
    call(
        p.transform_in,
        (local, cols, turned, n_rows, b.n_cols, s.m_h, s.m_w, s.step_w, v, s.c_lanes, s.ld_v),
    )


@word
def multiply(p: Any, b: Block, item: int, u: Any, v: Any, m: Any) -> None:
    """Do one item: one point, one panel of output channels, every tile of the block.

    The panel of u is read once from where it lies and stays in L1 or L2; the rows of v are in L1.
    """
    s, step = p.winograd, lanes(u)
    panels = panels_of(s.m_lanes // step, VECTORS)
    xi, q = divmod(item, panels.n)
    vectors, channel = panel_rows(panels, q), panel_start(panels, q) * step
    runs = panels_of(b.n_tiles, product_rows(vectors))
    u = advance(u, ((b.g * s.n_xi + xi) * s.m_lanes + channel) * s.n_k)
    v, m = advance(v, xi * s.ld_v), advance(m, xi * s.ld_m + channel)
    for run in range(runs.n):
        rows, first = panel_rows(runs, run), panel_start(runs, run)
        call(
            p.tiles[(rows - 1) * VECTORS + vectors - 1],
            (s.n_k, advance(v, first * s.c_lanes), s.c_lanes, u, advance(m, first * s.m_lanes), s.m_lanes),
        )


@word
def transform_output(
    p: Any, b: Block, item: int, x: Any, w: Any, bias: Any, has_bias: bool, m: Any, local: Any, residual: Any, out: Any,
    slope: Any,
) -> None:  # fmt: skip
    """Do one item: one slice, some rows of tiles, one vector of output channels."""
    s, step = p.winograd, lanes(m)
    rest, chunk = divmod(item, s.m_lanes // step)
    slice_, strip = divmod(rest, (p.h_tile + s.strip - 1) // s.strip)
    first_row = strip * s.strip
    n_rows = min(s.strip, b.n_rows - first_row)
    if slice_ >= b.n_slices or n_rows <= 0:
        return
    plane, phase = divmod(b.slice + slice_, s.step_h)
    n, d_out = divmod(plane, p.d.out)
    h, col = (b.row + first_row) * s.m_h * s.step_h + phase, b.col * s.m_w * s.step_w
    rows = min(n_rows * s.m_h, (p.h.out - h + s.step_h - 1) // s.step_h)
    cols = min(b.n_cols * s.m_w * s.step_w, p.w.out - col)
    if rows <= 0:  # a phase with fewer rows than the others
        return
    n_lanes, channel = min(step, p.c_out - chunk * step), b.g * p.c_out + chunk * step
    for lane in range(step):
        local[lane] = bias[channel + lane] if has_bias and lane < n_lanes else zero(local)
    first_tile = (slice_ * b.n_rows + first_row) * b.n_cols * s.step_w
    y = advance(local, s.half_elems)
    call(
        p.transform_out,
        (
            advance(m, first_tile * s.m_lanes + chunk * step), s.m_lanes, s.ld_m, n_rows, b.n_cols, s.step_w,
            rows, cols, local, y,
        ),
    )  # fmt: skip
    for lane in range(n_lanes):
        if local[lane] != zero(local):
            k_all = p.c_in * p.d.k * p.h.k * p.w.k
            image = advance(x, n * p.ld_x.n + b.g * p.c_in * p.ld_x.c)
            weights = advance(w, (channel + lane) * k_all)
            for pixel in range(rows * cols):
                value = y[pixel * step + lane]
                if value - value != zero(y):
                    start = bias[channel + lane] if has_bias else zero(y)
                    r, c = divmod(pixel, cols)
                    y[pixel * step + lane] = sum_again(p, image, weights, d_out, h + r * s.step_h, col + c, start)
    rectify = int(p.activation == RELU and not p.residual)
    box = (n, channel, d_out, h, col, rows, cols, s.step_h)
    call(p.finish, (p, y, n_lanes, 1, *box, rectify, out, residual, slope))


@kernel
def conv_winograd(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any, stage: int, block: int, blocks: int,
) -> int:  # fmt: skip
    """Do blocks first .. last (WHOLE), or items first .. last of one stage of the blocks from ``block`` on.

    Arrays by address, bias and residual 0 where there is none. What a stage hands to the next lies in ``scratch``, or,
    where stages are shared, in as many scratches from ``blocks`` on as there are such blocks. The type of ``slope`` is
    the element type. Returns how many blocks or items were done.
    """
    p = params[0]
    s = p.winograd
    input_, u, y, r = pointer(x, slope), pointer(packed, slope), pointer(out, slope), pointer(residual, slope)
    b_ = pointer(bias, slope)
    w = advance(u, p.groups * s.n_xi * s.m_lanes * s.n_k)
    local = advance(pointer(scratch, slope), p.panel_elems + p.part_elems)
    for task in range(first, last):
        first_stage, last_stage, where, v_at = INPUT, OUTPUT, task, scratch
        first_item, last_item = 0, 0
        if stage != WHOLE:
            index, first_item = divmod(task, stage_items(p, stage))
            first_stage, last_stage, last_item = stage, stage, first_item + 1
            where, v_at = block + index, blocks + index * p.scratch_bytes
        b, v = block_of(p, where), pointer(v_at, slope)
        m = advance(v, p.panel_elems)
        for now in range(first_stage, last_stage + 1):
            if stage == WHOLE:
                last_item = stage_items(p, now)
            for item in range(first_item, last_item):
                if now == INPUT:
                    transform_input(p, b, item, input_, v, local)
                elif now == PRODUCT:
                    multiply(p, b, item, u, v, m)
                else:
                    transform_output(p, b, item, input_, w, b_, bias != 0, m, local, r, y, slope)
    return last - first


def phases(p: Any, real: types.Float, n_threads: int) -> list[Phase]:
    """Return how threads share a convolution: whole blocks, and the stages of those that would leave threads idle."""
    s, step = p["winograd"], VECTOR_BYTES * 8 // real.bitwidth
    slices = -(-int(s["slices"]) // int(s["block_slices"]))
    n_blocks = int(p["groups"]) * slices * int(p["n_h_tiles"]) * int(p["n_w_tiles"])
    left = n_blocks % n_threads
    n_tiles = int(s["block_slices"]) * int(p["h_tile"]) * int(p["w_tile"]) * int(s["step_w"])
    cycles = n_tiles * int(s["n_xi"]) * int(s["n_k"]) * int(s["m_lanes"]) / (2 * step)
    if cycles <= left / n_threads * cycles + MEETING_CYCLES:
        left = 0
    found = []
    if left < n_blocks:
        found.append(Phase((WHOLE, 0), n_blocks - left, min(n_threads, n_blocks - left)))
    if left:
        items = int(s["inputs"]), int(s["products"]), int(s["outputs"])
        for stage, n_items in zip((INPUT, PRODUCT, OUTPUT), items, strict=True):
            found.append(Phase((stage, n_blocks - left), left * n_items, min(n_threads, left * n_items)))
    return found


def link_winograd(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    s, step = p["winograd"], VECTOR_BYTES * 8 // real.bitwidth
    panels = panels_of.py_func(int(s["m_lanes"]) // step, VECTORS)
    extents = (s["slices"], s["block_slices"]), (s["h_tiles"], p["h_tile"]), (s["w_tiles"], p["w_tile"])
    pieces = product(*(cut_sizes(int(extent), int(size)) for extent, size in extents))
    tiles = {prod(sizes) * int(s["step_w"]) for sizes in pieces}
    for vectors in {panels.rows, panels.rows - (panels.tall < panels.n)}:
        for n_tiles in tiles:
            runs = panels_of.py_func(n_tiles, product_rows.py_func(vectors))
            for rows in {runs.rows, runs.rows - (runs.tall < runs.n)}:
                p["tiles"][(rows - 1) * VECTORS + vectors - 1] = product_tile(real, rows, vectors)
    a_h, a_w, m_h, m_w = (int(s[name]) for name in ("a_h", "a_w", "m_h", "m_w"))
    p["load_tile"], p["finish"] = channels_loader(real), channels_storer(real)
    p["transform_in"] = input_transform(real, a_h, a_w)
    p["transform_out"] = output_transform(real, m_h, a_h, m_w, a_w)


def _weight_matrix(variant: Variant, taps: int) -> Any:
    """Return G in float64, each entry the product of two rounded factors as in C; 1 along an axis of one tap."""
    if taps == 1:
        return np.ones((1, 1))
    found = np.zeros((variant.alpha, taps))
    found[-1, -1] = 1
    for q, point in enumerate(POINTS[variant.alpha]):
        power, scale = ONE, float(matrices(variant).g[q][0])
        for j in range(taps):
            found[q, j] = float(power) * scale
            power = power * point
    return found


@kernel
def _transform_weights(
    w: int, packed: int, work: int, g_h: int, g_w: int, groups: int, c_out: int, c_in: int, n_d: int, n_h: int,
    n_w: int, a_h: int, a_w: int, like: Any,
) -> None:  # fmt: skip
    """[group][point][panel][depth tap, channel][lane] = G w G^T; ``work`` has room for two tiles of vectors of doubles.

    Lanes beyond c_out hold zeros, as do the channels that fill a depth tap's last vector but for the last tap's.
    """
    source, to = pointer(w, like), pointer(packed, like)
    left, right = pointer(g_h, 0.0), pointer(g_w, 0.0)
    step = lanes(source)
    inputs, half = pointer(work, 0.0), advance(pointer(work, 0.0), n_h * n_w * step)
    chunk = (c_in + step - 1) // step * step
    n_k, n_xi, m_lanes = (n_d - 1) * chunk + c_in, a_h * a_w, (c_out + step - 1) // step * step
    panels = panels_of(m_lanes // step, VECTORS)
    k_all = c_in * n_d * n_h * n_w
    for g in range(groups):
        for q in range(panels.n):
            width, start = panel_rows(panels, q) * step, panel_start(panels, q) * step
            for m0 in range(start, start + width, step):
                n_lanes = min(step, c_out - m0)
                for k in range(n_k):
                    tap, c = divmod(k, chunk)
                    into = advance(to, (g * n_xi * m_lanes + start) * n_k + k * width + m0 - start)
                    for a in range(n_h * n_w):
                        for i in range(step):
                            from_ = (g * c_out + m0 + i) * k_all + (c * n_d + tap) * n_h * n_w + a
                            inputs[a * step + i] = source[from_] if i < n_lanes and c < c_in else zero(source)
                    for a in range(a_h):
                        for b in range(n_w):
                            _combine(left, a * n_h, n_h, inputs, b * step, n_w * step, half, (a * n_w + b) * step, step)
                    for a in range(a_h):
                        for b in range(a_w):
                            result = (a * a_w + b) * m_lanes * n_k
                            _combine(right, b * n_w, n_w, half, a * n_w * step, step, into, result, step)


@word
def _combine(g: Any, ig: int, taps: int, x: Any, ix: int, ld: int, to: Any, it: int, step: int) -> None:
    """to[it + i] = the sum over r < taps of g[ig + r] x[ix + r ld + i], for i < step."""
    for i in range(step):
        total = 0.0
        for r in range(taps):
            total += g[ig + r] * x[ix + r * ld + i]
        to[it + i] = total


def pack_winograd(w: Any, groups: int, variant: Variant) -> Any:
    """Weights (groups c_out, c_in, d, h, w) -> [group][point][panel][depth tap, channel][lane], then as they came."""
    c_out, c_in, n_d, n_h, n_w = w.shape[0] // groups, *w.shape[1:]
    g_h, g_w = _weight_matrix(variant, n_h), _weight_matrix(variant, n_w)
    step = VECTOR_BYTES // w.itemsize
    n_k, m_lanes = (n_d - 1) * -(-c_in // step) * step + c_in, -(-c_out // step) * step
    n_u = groups * len(g_h) * len(g_w) * m_lanes * n_k
    packed = aligned(n_u + w.size, w.dtype)
    packed[n_u:] = w.reshape(-1)
    work = np.empty((n_h + len(g_h)) * n_w * step)
    _transform_weights(
        w.ctypes.data, packed.ctypes.data, work.ctypes.data, g_h.ctypes.data, g_w.ctypes.data,
        groups, c_out, c_in, n_d, n_h, n_w, len(g_h), len(g_w), w.dtype.type(0),
    )  # fmt: skip
    return packed
