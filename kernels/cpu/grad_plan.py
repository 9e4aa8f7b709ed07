"""How a gradient of weights or bias is cut into blocks, strips and parts: csrc/grad_plan.c.

Every cut decides the order of sums, so it is a function of the problem and the register tile alone, never of the number
of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import grad_direct, grad_pairwise, grad_winograd
from .grad_direct import CHANNEL_TILES, CUT, GRAD, IN_PLACE, ROWS, SIZES
from .simd import VECTOR_BYTES
from .tile import Axis, Strides, grid_axis

__all__ = ["Gradient", "plan_gradient"]

STRIP_PIXELS = 160  # three vectors of them are 30 KiB: L1, beside what the rows read
BLOCK_BYTES = 256 * 1024  # a block's sums, and as much for a strip of x: L2 holds both beside dY
BLOCK_VECTORS = 12
TASKS = 16  # what keeps 2, 4 and 8 threads evenly busy
WINOGRAD_TILES = 32  # of a strip
WINOGRAD_BYTES = 640 * 1024  # the sums of a block
PLANAR_BYTES = 24 * 1024  # pixels in the lanes: a strip of every channel of a block, in L1
PLANAR_CHANNELS = 8
PLANAR_PIXELS = 4096  # a part's sums are a vector for each tap
PART_PIXELS = 256  # a part's sums are written and read once: that is to be little beside their making

_span_of, _grid_axis = grad_direct.span_of.py_func, grid_axis.py_func


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _round_up(a: int, b: int) -> int:
    return _ceil_div(a, b) * b


def _even(count: int, most: int) -> tuple[int, int]:
    """Return the size of equal pieces of at most ``most``, and how many there are."""
    n = max(1, _ceil_div(count, max(1, most)))
    each = max(1, _ceil_div(count, n))
    return each, max(1, _ceil_div(count, each))


def _even_units(count: int, most: int, unit: int) -> tuple[int, int]:
    """Return the same in whole units."""
    each = _even(_ceil_div(count, unit), most // unit)[0] * unit
    return min(each, max(1, count)), max(1, _ceil_div(count, each))


def _stays_inside(axis: Axis) -> bool:
    """Whether no tap of any output leaves x."""
    return axis.pad == 0 and (axis.out - 1) * axis.stride + (axis.k - 1) * axis.dilation < axis.size


@dataclass(slots=True)
class Gradient:
    """The gradient of a convolution's weights, or of its bias, as the kernels see it; strides in elements.

    ``ld_out`` is that of the output's gradient, ``ld_w`` the result's, n and c its output and input channels; that of
    a bias is written along ``ld_w.n``. What begins with 0 is the cut's.
    """

    item_bytes: int
    n: int
    groups: int
    c_in: int
    c_out: int
    d: Axis
    h: Axis
    w: Axis
    ld_x: Strides
    ld_out: Strides
    ld_w: Strides
    padding_mode: int
    h_out: int = 0
    w_out: int = 0
    h_tile: int = 0
    w_tile: int = 0
    images: int = 0
    n_h_tiles: int = 0
    n_w_tiles: int = 0
    n_strips: int = 0
    m_block: int = 0
    c_block: int = 0
    kh_block: int = 0
    n_m_blocks: int = 0
    n_c_blocks: int = 0
    n_kh_blocks: int = 0
    n_blocks: int = 0
    parts: int = 1
    tile_order: int = 0
    tile_elems: int = 0
    y_elems: int = 0
    block_elems: int = 0
    n_xi: int = 0
    m: int = 0
    ld_v: int = 0
    ld_z: int = 0
    ld_m: int = 0
    shared_bytes: int = 0
    scratch_bytes: int = 0
    integers_bytes: int = 0
    n_tasks: int = 0

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return VECTOR_BYTES // self.item_bytes

    @property
    def vectors(self) -> int:
        """Vectors of output channels."""
        return _ceil_div(self.c_out, self.lanes)

    @property
    def rows(self) -> int:
        """Rows of a block's product."""
        return self.c_block * self.d.k * self.kh_block * self.w.k

    def record(self, tile_h: Axis, tile_w: Axis) -> Any:
        """Return the array of one GRAD that the kernels take; x is loaded into tiles of these axes."""
        params = np.zeros(1, dtype=GRAD)
        for name in (*SIZES, *"dhw", "ld_x", "ld_out", "ld_w", "padding_mode", *CUT):
            params[name] = getattr(self, name)
        x, y = params["from_x"], params["from_y"]
        x["d"], x["h"], x["w"], x["ld_x"], x["padding_mode"] = self.d, tile_h, tile_w, self.ld_x, self.padding_mode
        for name in "dhw":
            out = getattr(self, name).out
            y[name] = Axis(size=out, out=out)
        y["ld_x"] = self.ld_out
        params["into"]["ld_out"] = Strides(0, self.ld_w.n, self.ld_w.d, self.ld_w.h, self.ld_w.w)
        return params

    def elementwise(self) -> Any:
        """Return the record for tiles that are read element by element, so that they have one phase."""
        h = _span_of(self.h, self.kh_block, self.h_tile, True)
        w = _span_of(self.w, self.w.k, self.w_tile, self.tile_order == ROWS)
        return self.record(self.h._replace(stride=h.every), self.w._replace(stride=w.every))

    def fold_plane(self) -> None:
        """1 x 1, stride 1, no border, planes that are one run in every array: the plane is one long row."""
        h, w = self.h, self.w
        if any(axis.k != 1 or axis.stride != 1 or axis.pad or axis.out != axis.size for axis in (h, w)):
            return
        if h.size == 1 or any(ld.h != w.size * ld.w for ld in (self.ld_x, self.ld_out)):
            return
        self.w = w._replace(size=w.size * h.size, out=w.size * h.size)
        self.h = h._replace(size=1, out=1)

    def cut_strips(self, pixels: int, m: int = 1) -> None:
        """Cut strips of about so many pixels, or tiles of m x m of them."""
        self.h_out, self.w_out, self.images = _ceil_div(self.h.out, m), _ceil_div(self.w.out, m), 1
        self.h_tile, self.w_tile = 1, self.w_out
        if 2 * self.w_out >= 3 * pixels:
            self.w_tile = _ceil_div(self.w_out, _ceil_div(self.w_out, pixels))
        else:
            most = max(1, min(self.h_out, pixels // self.w_out))
            self.h_tile = _ceil_div(self.h_out, _ceil_div(self.h_out, most))
            if self.h_tile == self.h_out:
                together = max(1, min(self.n, pixels // (self.w_out * self.h_out)))
                self.images = _ceil_div(max(1, self.n), _ceil_div(max(1, self.n), together))
        self.n_h_tiles, self.n_w_tiles = _ceil_div(self.h_out, self.h_tile), _ceil_div(self.w_out, self.w_tile)
        self.n_strips = _ceil_div(self.n, self.images) * self.d.out * self.n_h_tiles * self.n_w_tiles

    def share(self) -> None:
        """Fill in what follows from the number of parts."""
        part_bytes = self.n_blocks * self.block_elems * self.item_bytes
        self.shared_bytes = _round_up(self.parts * part_bytes + 64, 64) if self.parts > 1 else 0
        self.n_tasks = self.n_blocks * self.parts

    def split_parts(self, max_scratch_bytes: int, least: int) -> None:
        """Few blocks: parts, where a part is worth its sums."""
        pixels = self.n * self.d.out * self.h_out * self.w_out
        part_bytes = self.n_blocks * self.block_elems * self.item_bytes
        self.parts = 1
        if self.n_blocks < TASKS and part_bytes > 0:
            wanted = min(_ceil_div(TASKS, self.n_blocks), pixels // least)
            self.parts = max(1, min(wanted, self.n_strips, 4 * max_scratch_bytes // part_bytes - 1))
        self.share()

    def fill_direct(self) -> None:
        """Fill in what follows from the blocks, strips and parts of a direct sum."""
        by_rows = self.tile_order == ROWS
        h = _span_of(self.h, self.kh_block, self.h_tile, True)
        w = _span_of(self.w, self.w.k, self.w_tile, by_rows)
        channels = self.c_block if by_rows else _round_up(self.c_block, self.lanes)
        self.n_blocks = self.groups * self.n_m_blocks * self.n_c_blocks * self.n_kh_blocks
        self.y_elems = self.m_block * self.images * self.h_tile * self.w_tile * self.lanes
        self.tile_elems = 0
        if self.tile_order != IN_PLACE:
            self.tile_elems = _round_up(self.images * channels * self.d.k * h.length * w.length + self.lanes, 16)
        self.block_elems = self.m_block * self.rows * self.lanes
        self.place_integers(self.rows)
        self.share()

    def place_integers(self, count: int) -> None:
        """Fill in where a worker's integers lie, behind its tiles and its own sums, and so all that it needs."""
        own = 0 if self.parts > 1 else self.block_elems
        self.integers_bytes = _round_up((self.y_elems + self.tile_elems + own + self.lanes) * self.item_bytes, 64)
        self.scratch_bytes = _round_up(self.integers_bytes + 8 * count, 64)


def _plan_direct(g: Gradient, max_scratch_bytes: int) -> Any:
    g.fold_plane()
    most = max_scratch_bytes // 2
    by_channels = g.ld_x.c == 1 and g.c_in > 1 and g.ld_x.w != 1
    short_rows = g.w.size < 3 * g.lanes <= 3 * min(g.c_in, g.h.size * g.w.size)
    g.tile_order = CHANNEL_TILES if by_channels else ROWS
    if not by_channels and all(map(_stays_inside, (g.d, g.h, g.w))):
        g.tile_order = IN_PLACE
    elif short_rows and g.ld_x.w == 1 and g.ld_x.h == g.w.size:  # turned plane by plane, not copied row by row
        g.tile_order = CHANNEL_TILES
    unit = g.lanes if g.tile_order == CHANNEL_TILES else 1
    g.kh_block, g.n_kh_blocks = _even(g.h.k, g.h.k)
    g.m_block, g.n_m_blocks = _even(g.vectors, BLOCK_VECTORS)
    g.c_block, g.n_c_blocks = _even(g.c_in, g.c_in)
    pixels = STRIP_PIXELS
    g.cut_strips(pixels)
    # the sums of a block and its tile of x within their share of L2; none larger than the scratch there is
    while True:
        g.fill_direct()
        roomy = g.scratch_bytes <= most
        if roomy and max(g.block_elems, g.tile_elems) * g.item_bytes <= BLOCK_BYTES:
            break
        if g.c_block > unit:
            g.c_block, g.n_c_blocks = _even_units(g.c_in, g.c_block // 2, unit)
        elif g.c_block > 1 and not roomy and g.m_block <= 3:
            g.c_block, g.n_c_blocks = _even(g.c_in, g.c_block // 2)
        elif g.m_block > 3 or (not roomy and g.m_block > 1):
            g.m_block, g.n_m_blocks = _even(g.vectors, g.m_block // 2)
        elif roomy:
            break
        elif g.kh_block > 1:
            g.kh_block, g.n_kh_blocks = _even(g.h.k, g.kh_block // 2)
        elif pixels > 1:
            pixels //= 2
            g.cut_strips(pixels)
        else:
            return None
    g.split_parts(max_scratch_bytes, PART_PIXELS)
    while g.n_blocks * g.parts < TASKS // 2 and g.rows >= 64 and g.c_block > unit:
        g.c_block, g.n_c_blocks = _even_units(g.c_in, g.c_block // 2, unit)
        g.n_blocks = g.groups * g.n_m_blocks * g.n_c_blocks * g.n_kh_blocks
    g.fill_direct()
    return g.elementwise() if g.scratch_bytes <= most else None


def _plan_winograd(g: Gradient, alpha: int, max_scratch_bytes: int) -> Any:
    """Winograd: the sums of both sides' points, a block as square as it goes, and two strips of tiles in scratch."""
    m, xi, line, lanes = alpha - 2, alpha * alpha, 64 // g.item_bytes, g.lanes
    g.n_xi, g.m = xi, m
    g.kh_block, g.n_kh_blocks = _even(g.h.k, g.h.k)
    tiles, sums = WINOGRAD_TILES, WINOGRAD_BYTES // (xi * g.item_bytes)
    while True:
        g.cut_strips(tiles, m)
        side = lanes  # of a square block
        while (side + lanes) * (side + lanes) * g.d.k <= sums:
            side += lanes
        g.m_block, g.n_m_blocks = _even(g.vectors, max(1, min(g.vectors, side // lanes)))
        g.c_block, _ = _even(g.c_in, max(lanes, sums // (g.m_block * lanes * g.d.k) // lanes * lanes))
        if g.c_block < g.c_in:
            g.c_block = _round_up(g.c_block, lanes)
        g.n_c_blocks = _ceil_div(g.c_in, g.c_block)
        g.n_blocks = g.groups * g.n_m_blocks * g.n_c_blocks
        rows, strip = g.c_block * g.d.k, g.images * g.h_tile * g.w_tile
        g.ld_v = strip * _round_up(g.c_block, lanes) * g.d.k + line
        g.ld_z = strip * g.m_block * lanes + line
        g.ld_m = rows * g.m_block * lanes + line
        g.block_elems = g.m_block * g.rows * lanes
        # the sums of taps lie where the strips were
        g.y_elems = max(xi * (g.ld_v + g.ld_z), g.block_elems)
        height, width = g.h_tile * m, g.w_tile * m
        g.tile_elems = max((height + 2 + alpha) * (width + 2), (height + alpha) * width) * lanes
        g.integers_bytes = _round_up((xi * g.ld_m + g.y_elems + g.tile_elems) * g.item_bytes, 64)
        g.scratch_bytes = _round_up(g.integers_bytes + 8 * rows, 64)
        if g.scratch_bytes <= max_scratch_bytes // 2:
            break
        if g.m_block > 1 or g.c_block > lanes:
            sums //= 2
        elif tiles > 1:
            tiles //= 2
        else:
            return None
    g.split_parts(max_scratch_bytes, 4 * WINOGRAD_TILES)
    return g.record(g.h, g.w)


def _plan_planar(g: Gradient, max_scratch_bytes: int) -> Any:
    """Pixels in the lanes: a strip of every channel of a block in L1."""
    most, pixels = max_scratch_bytes // 2, PLANAR_BYTES // g.item_bytes // 2
    g.kh_block, g.n_kh_blocks = _even(g.h.k, g.h.k)
    g.m_block, g.n_m_blocks = _even(g.c_out, PLANAR_CHANNELS)
    g.c_block, g.n_c_blocks = _even(g.c_in, PLANAR_CHANNELS)
    while True:
        g.cut_strips(pixels)
        if g.images > 1:  # planes follow each other in no tile
            g.images, g.n_strips = 1, g.n * g.d.out * g.n_h_tiles * g.n_w_tiles
        h, w = _grid_axis(g.h, g.h.k, g.h_tile), _grid_axis(g.w, g.w.k, g.w_tile)
        x = g.c_block * g.d.k * h.phases * w.phases * h.length * w.length
        g.n_blocks = g.groups * g.n_m_blocks * g.n_c_blocks
        g.y_elems = g.m_block * (_round_up(g.h_tile * w.length, g.lanes) + g.lanes)
        g.tile_elems = _round_up(x + 2 * g.lanes, 16)
        g.block_elems = g.m_block * g.rows * g.lanes
        g.place_integers(g.rows)
        roomy = g.scratch_bytes <= most
        if roomy and (g.y_elems + g.tile_elems) * g.item_bytes <= PLANAR_BYTES:
            break
        if pixels > 4 * g.lanes:
            pixels //= 2
        elif g.c_block > 1:
            g.c_block, g.n_c_blocks = _even(g.c_in, g.c_block // 2)
        elif g.m_block > 1:
            g.m_block, g.n_m_blocks = _even(g.c_out, g.m_block // 2)
        elif roomy:
            break
        elif pixels > 1:
            pixels //= 2
        else:
            return None
    g.split_parts(max_scratch_bytes, PLANAR_PIXELS)
    return g.record(g.h, g.w)


def _plan_channels(g: Gradient, max_scratch_bytes: int) -> Any:
    """Depthwise, channels in the lanes."""
    pixels, vectors = 2 * STRIP_PIXELS, _ceil_div(g.groups, g.lanes)
    g.kh_block, g.n_kh_blocks = _even(g.h.k, g.h.k)
    g.c_block = g.n_m_blocks = g.n_c_blocks = g.m_block = 1
    if g.ld_out.c == g.ld_x.c == 1:
        g.m_block, _ = _even(vectors, 4)
    g.n_blocks = _ceil_div(vectors, g.m_block)
    g.block_elems = g.m_block * g.rows * g.lanes
    while True:
        g.cut_strips(pixels)
        h, w = _span_of(g.h, g.h.k, g.h_tile, True), _span_of(g.w, g.w.k, g.w_tile, False)
        g.y_elems = g.images * g.h_tile * g.w_tile * g.lanes
        g.tile_elems = g.images * g.d.k * h.length * w.length * g.lanes
        g.place_integers(g.rows)
        if g.scratch_bytes <= max_scratch_bytes // 2:
            break
        if pixels == 1:
            return None
        pixels //= 2
    g.split_parts(max_scratch_bytes, PART_PIXELS)
    return g.elementwise()


def _plan_bias(g: Gradient) -> Any:
    by_channels = g.ld_out.c == 1 and g.c_out > 1 and g.ld_out.w != 1
    g.m_block = grad_pairwise.VECTORS * g.lanes if by_channels else 1
    g.n_blocks = _ceil_div(g.c_out, g.m_block)
    if g.n_blocks < TASKS:
        g.parts = max(1, min(_ceil_div(TASKS, max(1, g.n_blocks)), g.n * g.d.out * g.h.out))
    g.shared_bytes = _round_up((g.parts * g.c_out + g.lanes) * g.item_bytes, 64)
    g.n_tasks = g.n_blocks * g.parts
    return g.record(g.h, g.w)


def plan_gradient(g: Gradient, family: str, max_scratch_bytes: int) -> Any:
    """Return the GRAD record of a family, or None where the scratch is too little."""
    if family == "pairwise":
        return _plan_bias(g)
    if family.startswith("winograd"):
        return _plan_winograd(g, grad_winograd.alpha_of(family), max_scratch_bytes)
    if family == "planar":
        return _plan_planar(g, max_scratch_bytes)
    if family == "depthwise-channels":
        return _plan_channels(g, max_scratch_bytes)
    return _plan_direct(g, max_scratch_bytes)
