"""grad_winograd_f<m>x3: the gradient of the weights of 3 x 3 kernels with stride 1, by minimal filtering.

    dW = G^T [ sum over tiles of (B^T x B) * (A dY A^T) ] G

with the matrices of the forward F(m, 3), whose bilinear form this is, read for another of its three arguments (Lavin
and Gray 2016, section 4; winograd_matrices.py): a tile of m x m pixels of dY and of alpha x alpha of x costs alpha^2
multiplications for each pair of channels instead of 9 m^2.

A task is a block of input channels x output channels, and a part of the strips of tiles:

    x strip   -> B^T x B   -> v[xi][tile][channel]
    dY strip  -> A dY A^T  -> z[xi][vector][tile][lane]
    product   m[xi][vector][channel][lane] += v z for each of the alpha^2 points: the register tile of grad_direct.py,
              tiles in the place of pixels

and, when the strips are done, G^T m G -> the block's sums, which go the way of grad_direct's. A depth tap is one more
input channel. Both transforms are done again for each block of the other side; a square block makes that least.

flops: 2 alpha^2 / m^2 c_in c_out a pixel, and the transforms. The order of every sum is csrc/grad_winograd.inc.c's.
Error: winograd_matrices.gradient_error_factor. What comes out not finite is summed again by the definition.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from ..winograd_matrices import VARIANTS
from .channels import channels_loader, channels_storer
from .grad_direct import (
    SUM,
    Block,
    Strip,
    add_parts,
    block_of,
    grad_again,
    link_products,
    n_gathered,
    product,
    rows_of,
    store_block,
    strip_of,
    sums_at,
)
from .jit import c_function, kernel, once, word
from .simd import (
    VECTOR_BYTES,
    add_defects,
    advance,
    call,
    lanes,
    load,
    load_rows,
    pointer,
    points_of_outputs,
    splat_tile,
    stack,
    store,
    store_rows,
    taps_of,
    zero,
)
from .tile import clear_over, cut_sizes, map_index
from .winograd import input_transform

__all__ = ["alpha_of", "grad_winograd", "link_grad_winograd", "n_gathered"]

#: Taps along each axis.
_TAPS = 3


def alpha_of(family: str) -> int:
    """Return the points along each axis of a variant."""
    return VARIANTS[family.removeprefix("winograd-")].alpha


@once
def output_points(real: types.Float, alpha: int) -> int:
    """Return the address of A dY A^T of rows of tiles, for one vector of channels."""
    step, m = VECTOR_BYTES * 8 // real.bitwidth, alpha - _TAPS + 1

    def transform(y: Any, n_rows: int, n_cols: int, z: Any, ld_xi: int) -> None:
        """y[row][column] are vectors, with room for alpha rows behind them."""
        width = n_cols * m
        turned = advance(y, n_rows * m * width * step)
        for r in range(n_rows):
            rows = advance(y, r * m * width * step)
            for c in range(width):
                column = load_rows(advance(rows, c * step), width * step, m, 1)
                store_rows(advance(turned, c * step), width * step, points_of_outputs(column, alpha))
            for c in range(n_cols):
                for i in range(alpha):
                    row = load_rows(advance(turned, (i * width + c * m) * step), step, m, 1)
                    store_rows(advance(z, i * alpha * ld_xi), ld_xi, points_of_outputs(row, alpha))
                z = advance(z, step)

    n, p = types.intp, types.CPointer(real)
    return c_function(transform, p, n, n, p, n)


@once
def tap_sums(real: types.Float, alpha: int) -> int:
    """Return the address of c[row][tap][lane] = G^T m G of m[xi][row][lane]."""
    step, vectors = VECTOR_BYTES * 8 // real.bitwidth, alpha * _TAPS

    def transform(n_rows: int, m: Any, ld_m: int, c: Any) -> None:
        half = stack(c, vectors)
        for _ in range(n_rows):
            for j in range(alpha):
                column = load_rows(advance(m, j * ld_m), alpha * ld_m, alpha, 1)
                store_rows(advance(half, j * _TAPS * step), step, taps_of(column, _TAPS))
            for i in range(_TAPS):
                row = load_rows(advance(half, i * step), _TAPS * step, alpha, 1)
                store_rows(c, step, taps_of(row, _TAPS))
                c = advance(c, _TAPS * step)
            m = advance(m, step)

    n, p = types.intp, types.CPointer(real)
    return c_function(transform, n, p, n, p)


@word
def load_strip(p: Any, b: Block, s: Strip, m: int, x: Any, y: Any, v: Any, z: Any, local: Any) -> None:
    """Load and transform a strip of both sides, in tiles of m x m pixels."""
    step, ld, ly = lanes(v), p.ld_x, p.ld_out
    tiles, strip = s.rows * s.cols, p.images * p.h_tile * p.w_tile
    chunks = (b.n_c + step - 1) // step
    each = chunks * p.d.k * step
    h, w, rows, cols = s.h * m, s.w * m, s.rows * m, s.cols * m
    in_rows, in_cols = rows + 2, cols + 2
    turned = advance(local, in_rows * in_cols * step)
    for i in range(s.images):
        image = advance(x, (s.n + i) * ld.n + (b.g * p.c_in + b.c0) * ld.c)
        for item in range(p.d.k * chunks):
            tap, c = item // chunks, item % chunks * step
            d = map_index(s.d * p.d.stride - p.d.pad + tap * p.d.dilation, p.d.size, p.padding_mode)
            if d < 0:
                clear_over(local, in_rows * in_cols * step)
            else:
                window = (h - p.h.pad, w - p.w.pad, in_rows, in_cols, 1)
                source = advance(image, d * ld.d + c * ld.c)
                call(p.load_channels, (p.from_x, source, min(step, b.n_c - c), *window, local))
            to = advance(v, i * tiles * each + item * step)
            call(p.transform_x, (local, in_cols, turned, s.rows, s.cols, m, m, 1, to, each, p.ld_v))
        for j in range(b.n_m):
            o = (b.m0 + j) * step
            source = advance(y, (s.n + i) * ly.n + (b.g * p.c_out + o) * ly.c + s.d * ly.d)
            call(p.load_channels, (p.from_y, source, min(step, p.c_out - o), h, w, rows, cols, 1, local))
            call(p.transform_y, (local, s.rows, s.cols, advance(z, (j * strip + i * tiles) * step), p.ld_z))


@word
def mend(p: Any, b: Block, o: int, c: Any, n_lanes: int, x: Any, y: Any) -> None:
    """Sum again what is not finite of c[row][lane], output channels from o of the group on."""
    step, found = lanes(c), stack(c, 1)
    defects = splat_tile(c, 1, 1, zero(c))
    for r in range(rows_of(p, b)):
        defects = add_defects(defects, load(c, r * step))
    store(found, 0, defects)
    broken = False
    for lane in range(n_lanes):
        broken |= found[lane] != zero(c)
    if not broken:
        return
    for r in range(rows_of(p, b)):
        rest, w = divmod(r, p.w.k)
        rest, h = divmod(rest, p.h.k)
        channel, d = divmod(rest, p.d.k)
        for lane in range(n_lanes):
            value = c[r * step + lane]
            if value - value != zero(c):
                c[r * step + lane] = grad_again(p, x, y, b.g, o + lane, b.c0 + channel, d, h, w)


@kernel
def grad_winograd(
    params: Any, first: int, last: int, x: int, y: int, out: int, scratch: int, shared: int, like: Any, stage: int
) -> int:
    """Do tasks first .. last of a stage: blocks of all parts (SUM), or vectors of all blocks (GATHER).

    Arrays by address; ``like`` has their type. Returns how many tasks were done.
    """
    p = params[0]
    from_x, from_y, to = pointer(x, like), pointer(y, like), pointer(out, like)
    m = pointer(scratch, like)
    n_xi, tile = p.n_xi, p.m
    v = advance(m, n_xi * p.ld_m)
    z, local = advance(v, n_xi * p.ld_v), advance(v, p.y_elems)
    off = pointer(scratch + p.integers_bytes, 0)
    step, strip_tiles = lanes(m), p.images * p.h_tile * p.w_tile
    for task in range(first, last):
        if stage == SUM:
            part, block = divmod(task, p.n_blocks)
        else:
            part, block = 0, task // p.m_block
        b = block_of(p, step, block)
        c, n_sums = sums_at(p, part, block, v, shared), rows_of(p, b) * step
        begin, end = 0, b.n_m
        if stage == SUM:
            chunks, rows = (b.n_c + step - 1) // step, b.n_c * p.d.k
            for r in range(rows):
                channel, tap = divmod(r, p.d.k)
                off[r] = tap * chunks * step + channel
            first_strip, last_strip = part * p.n_strips // p.parts, (part + 1) * p.n_strips // p.parts
            for strip in range(first_strip, last_strip):
                s = strip_of(p, strip)
                load_strip(p, b, s, tile, from_x, from_y, v, z, local)
                tiles, each, add = s.images * s.rows * s.cols, chunks * p.d.k * step, int(strip > first_strip)
                for xi in range(n_xi):
                    at, from_z = advance(v, xi * p.ld_v), advance(z, xi * p.ld_z)
                    sums = advance(m, xi * p.ld_m)
                    product(
                        p, 1, 1, tiles, at, off, 0, 0, each, from_z, strip_tiles * step, sums, b.n_m, rows, add
                    )  # fmt: skip
            for j in range(b.n_m):
                call(p.transform_sums, (rows, advance(m, j * rows * step), p.ld_m, advance(c, j * n_sums)))
            if p.parts > 1:
                continue
        else:
            begin = task % p.m_block
            end = min(begin + 1, b.n_m)
        for j in range(begin, end):
            sums, o = advance(c, j * n_sums), (b.m0 + j) * step
            if stage != SUM:
                add_parts(p, sums, n_sums)
            n_lanes = min(step, p.c_out - o)
            mend(p, b, o, sums, n_lanes, from_x, from_y)
            store_block(p, b, b.g * p.c_out + o, sums, n_lanes, to)
    return last - first


def link_grad_winograd(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    alpha = int(p["m"]) + _TAPS - 1
    link_products(p, real, {n_c * int(p["d"]["k"]) for n_c in cut_sizes(int(p["c_in"]), int(p["c_block"]))})
    p["load_channels"], p["store"] = channels_loader(real), channels_storer(real)
    p["transform_x"], p["transform_y"] = input_transform(real, alpha, alpha), output_points(real, alpha)
    p["transform_sums"] = tap_sums(real, alpha)
