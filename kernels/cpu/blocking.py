"""How a convolution is cut into tasks, tiles and reduction blocks; csrc/blocking.c with fewer candidates.

It is found by trying sensible tile sizes and counting, for each, the cycles of the slowest of NOMINAL_THREADS threads.
The counts need to rank cuts of one kernel, not to predict seconds. Where the order of a sum depends on the cut, the cut
is a function of the problem and the register tile alone, never of the number of threads; the implicit GEMM sums in one
order whatever the cut, and is cut for the threads that will run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import depthwise, depthwise_channels, fft, gemm, implicit_gemm, tile, winograd
from .direct import RESIDENT_WEIGHT_BYTES
from .simd import VECTOR_BYTES
from .tile import CONV, Axis, Phases, Strides, Winograd

__all__ = [
    "Conv",
    "plan_dense",
    "plan_depthwise",
    "plan_depthwise_channels",
    "plan_fft",
    "plan_grouped_channels",
    "plan_implicit_gemm",
    "plan_winograd",
]

NOMINAL_THREADS = 8  # cuts that balance on 8 balance on 1, 2 and 4
MIN_TASK_CYCLES = 12000  # less than this is not worth handing to another thread
TILE_BYTES = 320 * 1024  # input tile: half of a small L2, the weights and sums take the rest
PART_BYTES = 1024 * 1024  # partial sums: streamed, L2 or L3
DIRECT_K = 576  # reduction block: 8 rows of it are 18 KiB, in L1 beside the tile's lines
WINOGRAD_TILES = 64  # tiles of small images in one block: eight register tiles
WINOGRAD_STRIP_BYTES = 32 * 1024  # rows of tiles transformed together: L1
WINOGRAD_BLOCK_BYTES = 1280 * 1024  # transformed tiles and products of a block: L2 and little beyond
WINOGRAD_L3_BYTES = 4 * 1024 * 1024  # the same in one thread's part of L3
WINOGRAD_FAR_BYTES = 20 * 1024 * 1024  # transformed weights that no L3 holds beside everything else
IM2COL_K = 256  # a packed panel of 192 bytes a step: 48 KiB
IMPLICIT_K = 1280  # the longer the fewer sums pass through memory; longer still gains nothing

_grid_axis, _panels_of = tile.grid_axis.py_func, tile.panels_of.py_func
_input_tile = implicit_gemm.input_tile.py_func


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution as the kernels see it: three spatial axes, channels a group, strides in elements."""

    n: int
    groups: int
    c_in: int
    c_out: int
    d: Axis
    h: Axis
    w: Axis
    ld_x: Strides
    ld_out: Strides
    ld_res: Strides
    padding_mode: int
    activation: int
    residual: bool
    threads: int  # that will run it; only a kernel whose every bit is the same for any cut may ask
    phases: Phases  # of a part of a transposed convolution, whose ld_out is that of the whole

    def record(self, cut: dict[str, Any]) -> Any:
        """Return the array of one CONV that the kernels take."""
        params = np.zeros(1, dtype=CONV)
        for name in self.__slots__:
            if name != "threads":
                params[name] = getattr(self, name)
        for name, value in cut.items():
            params[name] = value
        return params


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _round_up(a: int, b: int) -> int:
    return _ceil_div(a, b) * b


def _sizes(extent: int, parts: tuple[int, ...], sizes: tuple[int, ...]) -> list[int]:
    """Tile sizes worth trying: equal parts of the extent, and some fixed ones."""
    extent = max(1, extent)
    return sorted({_ceil_div(extent, part) for part in parts if part <= extent} | {s for s in sizes if s < extent})


def _threads(cycles: float) -> int:
    return int(min(NOMINAL_THREADS, max(1, cycles // MIN_TASK_CYCLES)))


def _folded(conv: Conv) -> Conv | None:
    """Return the image as one long row: 1 x 1, stride 1, no padding, rows that follow each other in every array."""
    h, w = conv.h, conv.w
    if conv.phases.count:  # its rows lie apart
        return None
    if any(axis.k != 1 or axis.stride != 1 or axis.pad or axis.out != axis.size for axis in (h, w)):
        return None
    if conv.d.k != 1 or conv.d.pad or (conv.d.out - 1) * conv.d.stride >= conv.d.size or conv.ld_x.w != 1:
        return None
    if h.size == 1:
        return conv
    others = (conv.ld_out, conv.ld_res) if conv.residual else (conv.ld_out,)
    if conv.ld_x.h != w.size or any(ld.h != w.size * ld.w for ld in others):
        return None
    return replace(conv, h=h._replace(size=1, out=1), w=w._replace(size=w.size * h.size, out=w.size * h.size))


def _step_cycles(rows: int, vectors: int) -> float:
    """One step of a register tile, by its FMAs, its loads or the latency of an accumulator, whichever is longest.

    Two FMAs and two loads a cycle; loads of x cross a line and count twice.
    """
    return max(rows * vectors / 2, rows / 2 + vectors, 4.0) if vectors else 0.0


def _try_dense(
    conv: Conv, lanes: int, im2col: bool, in_place: bool, kh_block: int, kw_block: int, h_tile: int, w_tile: int,
    m_block: int, max_scratch_bytes: int,
) -> tuple[float, dict[str, Any]] | None:  # fmt: skip
    """Return (cycles, cut), or None where it does not fit."""
    item = VECTOR_BYTES // lanes
    most = gemm.max_rows()
    panels = _panels_of(conv.c_out, most)
    max_vectors = gemm.max_vectors(panels.rows)
    width = lanes * max_vectors
    channels, taps = max(1, conv.c_in * conv.d.k), kh_block * kw_block
    split_taps = kh_block < conv.h.k or kw_block < conv.w.k
    # Channels in equal blocks of about the target; split taps take one channel at a time in im2col, where the weights
    # of a block must be one run.
    target = max(1, (IM2COL_K if im2col else DIRECT_K) // taps)
    c_block = 1 if im2col and split_taps else _ceil_div(channels, _ceil_div(channels, target + target // 4))
    n_h, n_w, n_m = _ceil_div(conv.h.out, h_tile), _ceil_div(conv.w.out, w_tile), _ceil_div(panels.n, m_block)
    n_tasks = conv.n * conv.d.out * conv.groups * n_h * n_w * n_m

    gh, gw = _grid_axis(conv.h, kh_block, h_tile), _grid_axis(conv.w, kw_block, w_tile)
    n_blocks = _ceil_div(channels, c_block) * _ceil_div(conv.h.k, kh_block) * _ceil_div(conv.w.k, kw_block)
    k_block = c_block * taps
    pitch = w_tile if im2col else gw.length
    pixels = (h_tile - 1) * pitch + w_tile
    whole_vectors = _ceil_div(pixels, lanes)
    pixel_panels = _panels_of(whole_vectors, max_vectors)

    tile_elems = 0 if in_place else _round_up(c_block * gh.phases * gw.phases * gh.length * gw.length + lanes, 16)
    panel_elems = k_block * width if im2col else c_block * width if in_place else 0
    part_elems = m_block * pixel_panels.n * panels.rows * width if n_blocks > 1 else 0
    elements = tile_elems + panel_elems + part_elems + panels.rows * width
    integers_bytes = _round_up(elements * item, 64)
    scratch_bytes = _round_up(integers_bytes + (tile.SEGMENT_INTEGERS + taps) * 8, 64)
    if scratch_bytes > max_scratch_bytes:
        return None

    steps = pixel_panels.tall * _step_cycles(panels.rows, pixel_panels.rows)
    steps += (pixel_panels.n - pixel_panels.tall) * _step_cycles(panels.rows, pixel_panels.rows - 1)
    cycles = steps * m_block * n_blocks * k_block
    cycles += m_block * pixel_panels.n * n_blocks * 60 + m_block * panels.rows * (whole_vectors * 4 + h_tile * 12)
    if not in_place:
        copied_rows = n_blocks * c_block * gh.phases * gw.phases * gh.length
        cycles += copied_rows * (24 + gw.length / lanes * (4 if conv.w.stride == 1 else 16))
    if im2col:
        cycles += n_blocks * k_block * (h_tile * 8 + whole_vectors * 3)
    # weights come from L3 or beyond where they do not fit, half hidden behind the arithmetic
    block_bytes = m_block * panels.rows * k_block * item
    if panels.n * panels.rows * n_blocks * k_block * item > RESIDENT_WEIGHT_BYTES:
        reads = pixel_panels.n if im2col or block_bytes <= RESIDENT_WEIGHT_BYTES else 1
        cycles += block_bytes * n_blocks * reads / 16
    cycles += 300
    # beyond the budgets every re-read comes from further away
    if tile_elems * item > TILE_BYTES:
        cycles *= 1.25
    if part_elems * item > PART_BYTES:
        cycles *= 1.25
    return cycles * _ceil_div(n_tasks, _threads(cycles * n_tasks)), {
        "c_block": c_block,
        "kh_block": kh_block,
        "kw_block": kw_block,
        "h_tile": h_tile,
        "w_tile": w_tile,
        "m_block": m_block,
        "n_h_tiles": n_h,
        "n_w_tiles": n_w,
        "n_m_blocks": n_m,
        "n_tasks": n_tasks,
        "rows": panels.rows,
        "vectors": max_vectors,
        "im2col": im2col,
        "in_place": in_place,
        "tile_elems": tile_elems,
        "panel_elems": panel_elems,
        "part_elems": part_elems,
        "integers_bytes": integers_bytes,
        "scratch_bytes": scratch_bytes,
    }


def _best(cuts: Iterator[tuple[float, dict[str, Any]] | None]) -> dict[str, Any] | None:
    found = min((cut for cut in cuts if cut is not None), key=lambda cut: cut[0], default=None)
    return None if found is None else found[1]


def plan_dense(conv: Conv, item_bytes: int, im2col: bool, max_scratch_bytes: int) -> Any:
    """Return the CONV record of a direct or im2col convolution, or None where the scratch is too little for any."""
    lanes = VECTOR_BYTES // item_bytes
    folded = _folded(conv)
    conv = folded or conv
    panels = _panels_of(conv.c_out, gemm.max_rows())
    width = lanes * gemm.max_vectors(panels.rows)
    h_tiles = _sizes(conv.h.out, (1, 2, 3, 4, 6, 8, 12, 16), (1, 2, 4, 8, 16))
    far = conv.w.out > 4 * width
    w_tiles = _sizes(conv.w.out, (1, 2, 4, 8) if far else (1,), tuple(width << i for i in range(6)))
    m_blocks = sorted({_ceil_div(panels.n, parts) for parts in (1, 2, 4, 8, 16, 32)})
    m_blocks = [m for m in m_blocks if m == panels.n or m * panels.rows >= 16]
    # A kernel too large for one block is cut by rows, then along the row.
    kh_block, kw_block = conv.h.k, conv.w.k
    while True:
        kh_options = {kh_block}
        if im2col and kh_block * kw_block > IM2COL_K:
            kh_options = {max(1, min(kh_block, IM2COL_K // kw_block))}
        elif conv.h.dilation > 2 * conv.h.stride:
            kh_options.add(1)
        cut = _best(
            _try_dense(conv, lanes, im2col, folded is not None, kh, kw_block, h, w, m, max_scratch_bytes)
            for kh in sorted(kh_options)
            for h in h_tiles
            for w in w_tiles
            for m in m_blocks
        )
        if cut is not None:
            return conv.record(cut)
        if kh_block > 1:
            kh_block = _ceil_div(kh_block, 2)
        elif kw_block > 1:
            kw_block = _ceil_div(kw_block, 2)
        else:
            return None


def _try_depthwise(
    conv: Conv, lanes: int, rows: int, h_tile: int, w_tile: int, max_scratch_bytes: int
) -> tuple[float, dict[str, Any]] | None:
    """Return (cycles, cut), or None where it does not fit."""
    item = VECTOR_BYTES // lanes
    reuse = conv.h.stride == 1
    span = rows * (conv.h.dilation if reuse else 1)
    gh = _grid_axis(conv.h, conv.h.k, _round_up(h_tile, span))
    gw = _grid_axis(conv.w, conv.w.k, w_tile)
    taps = conv.h.k * conv.w.k
    tile_elems = _round_up(conv.d.k * gh.phases * gw.phases * gh.length * gw.length + lanes, 16)
    elements = tile_elems + rows * depthwise.VECTORS * lanes
    integers_bytes = _round_up(elements * item, 64)
    scratch_bytes = _round_up(integers_bytes + (tile.SEGMENT_INTEGERS + taps) * 8, 64)
    if scratch_bytes > max_scratch_bytes:
        return None
    row_tiles, vectors = _round_up(h_tile, span) // rows, _ceil_div(w_tile, lanes)
    loads = (rows + conv.h.k - 1) / (rows * conv.h.k) if reuse else 1
    cycles = row_tiles * conv.c_out * rows * vectors * (conv.d.k * taps * (0.5 + loads / 2) + 4)
    cycles += row_tiles * conv.c_out * 60
    copied_rows = conv.d.k * gh.phases * gw.phases * gh.length
    cycles += copied_rows * (14 + gw.length / lanes * (2 if conv.w.stride == 1 else 12))
    if scratch_bytes > TILE_BYTES:
        cycles *= 1.25
    # groups to a task: as many as keep eight threads busy, of at least MIN_TASK_CYCLES
    n_h, n_w = _ceil_div(conv.h.out, h_tile), _ceil_div(conv.w.out, w_tile)
    spatial = conv.n * conv.d.out * n_h * n_w
    wanted = max(1, _ceil_div(4 * NOMINAL_THREADS, max(1, spatial)))
    m_block = min(conv.groups, max(1, conv.groups // wanted, int(MIN_TASK_CYCLES / cycles)))
    n_m = _ceil_div(conv.groups, m_block)
    return (cycles * m_block + 300) * _ceil_div(spatial * n_m, _threads(cycles * spatial * conv.groups)), {
        "kh_block": conv.h.k,
        "kw_block": conv.w.k,
        "h_tile": h_tile,
        "w_tile": w_tile,
        "m_block": m_block,
        "n_h_tiles": n_h,
        "n_w_tiles": n_w,
        "n_m_blocks": n_m,
        "n_tasks": spatial * n_m,
        "rows": rows,
        "vectors": depthwise.VECTORS,
        "tile_elems": tile_elems,
        "integers_bytes": integers_bytes,
        "scratch_bytes": scratch_bytes,
    }


def plan_depthwise(conv: Conv, item_bytes: int, max_scratch_bytes: int) -> Any:
    """Return the CONV record of a depthwise convolution, or None where the scratch is too little for any."""
    lanes = VECTOR_BYTES // item_bytes
    far = conv.w.out > 12 * lanes
    w_tiles = _sizes(conv.w.out, (1, 2, 3, 4, 8) if far else (1,), tuple(lanes * 3 << i for i in range(5)))
    cut = _best(
        _try_depthwise(conv, lanes, rows, h, w, max_scratch_bytes)
        for rows in depthwise.ROWS
        for h in _sizes(
            conv.h.out,
            (1,),
            tuple(rows * (conv.h.dilation if conv.h.stride == 1 else 1) << i for i in range(5)),
        )
        for w in w_tiles
    )
    return None if cut is None else conv.record(cut)


def _whole_planes(conv: Conv, item_bytes: int, n_m_blocks: int, max_scratch_bytes: int) -> Any:
    """Return the CONV record of tasks of a whole plane of a vector of channels, or None."""
    lanes = VECTOR_BYTES // item_bytes
    # all that a window reads, and all of x, so that what the border repeats is there
    h_tile, w_tile = (
        max((axis.out - 1) * axis.stride + (axis.k - 1) * axis.dilation + 1, axis.pad + axis.size)
        for axis in (conv.h, conv.w)
    )
    tile_elems, panel_elems = conv.d.k * h_tile * w_tile * lanes, conv.h.out * conv.w.out * lanes
    integers_bytes = _round_up((tile_elems + panel_elems + lanes) * item_bytes, 64)
    scratch_bytes = _round_up(integers_bytes + conv.h.k * conv.w.k * 8, 64)
    if scratch_bytes > max_scratch_bytes:
        return None
    cut = {
        "h_tile": h_tile,
        "w_tile": w_tile,
        "n_m_blocks": n_m_blocks,
        "n_tasks": conv.n * conv.d.out * n_m_blocks,
        "windows": depthwise_channels.has_windows(conv.h, conv.w),
        "tile_elems": tile_elems,
        "panel_elems": panel_elems,
        "integers_bytes": integers_bytes,
        "scratch_bytes": scratch_bytes,
    }
    return conv.record(cut)


def plan_depthwise_channels(conv: Conv, item_bytes: int, max_scratch_bytes: int) -> Any:
    """Return the CONV record with channels in the lanes, or None where the scratch is too little for whole planes."""
    return _whole_planes(conv, item_bytes, _ceil_div(conv.groups * item_bytes, VECTOR_BYTES), max_scratch_bytes)


def plan_grouped_channels(conv: Conv, item_bytes: int, max_scratch_bytes: int) -> Any:
    """Return the CONV record of groups in the lanes, or None where the scratch is too little for whole planes."""
    n_m_blocks = _ceil_div(conv.groups * conv.c_out * item_bytes, VECTOR_BYTES)
    return _whole_planes(conv, item_bytes, n_m_blocks, max_scratch_bytes)


def _winograd_of(conv: Conv, alpha: int, lanes: int) -> Winograd:
    """Return the sizes of the transform that do not depend on the cut."""
    (a_h, m_h, step_h), (a_w, m_w, step_w) = (
        (alpha, alpha - axis.k + 1, axis.dilation) if axis.k > 1 else (1, 1, 1) for axis in (conv.h, conv.w)
    )
    chunk = _round_up(conv.c_in, lanes)
    return Winograd(
        a_h=a_h,
        a_w=a_w,
        m_h=m_h,
        m_w=m_w,
        n_xi=a_h * a_w,
        step_h=step_h,
        step_w=step_w,
        slices=conv.n * conv.d.out * step_h,
        h_tiles=_ceil_div(_ceil_div(conv.h.out, step_h), m_h),
        w_tiles=_ceil_div(_ceil_div(conv.w.out, step_w), m_w),
        n_k=(conv.d.k - 1) * chunk + conv.c_in,
        c_lanes=conv.d.k * chunk,
        m_lanes=_round_up(conv.c_out, lanes),
    )


def _turn_cycles(lanes: int, rows: int, width: int, whole_width: int, channels_last: bool) -> float:
    """Cycles to turn rows of ``width`` pixels of a window into pixels of channels or back, one vector of channels."""
    if channels_last:
        return rows * width * 2.0
    if width >= whole_width:
        rows, width = 1, rows * width
    each = width * lanes if width < lanes else _round_up(width, lanes) * 5
    return rows * (each + 30.0)


def _slowest(cycles: float, n_blocks: int, threads: int) -> float:
    """Cycles of so many threads that share blocks of ``cycles`` each as winograd.phases says."""
    whole, left = divmod(n_blocks, threads)
    return whole * cycles + (min(cycles, left / threads * cycles + winograd.MEETING_CYCLES) if left else 0)


def _try_winograd(
    conv: Conv, s: Winograd, lanes: int, h_tile: int, w_tile: int, max_scratch_bytes: int
) -> tuple[float, dict[str, Any]] | None:
    """Return (cycles, cut), or None where it does not fit."""
    item = VECTOR_BYTES // lanes
    n_h, n_w = _ceil_div(s.h_tiles, h_tile), _ceil_div(s.w_tiles, w_tile)
    each = h_tile * w_tile * s.step_w
    block_slices = max(1, min(s.slices, WINOGRAD_TILES // each)) if n_h == n_w == 1 else 1
    tiles = block_slices * each
    # one line more, so that the points of a tile do not meet in one set of the cache
    ld_v, ld_m = tiles * s.c_lanes + 64 // item, tiles * s.m_lanes + 64 // item
    in_columns = ((w_tile - 1) * s.m_w + s.a_w) * s.step_w
    strip = max(1, min(h_tile, WINOGRAD_STRIP_BYTES // (in_columns * s.m_h * lanes * item)))
    in_rows = (strip - 1) * s.m_h + s.a_h
    out_rows, out_columns = strip * s.m_h, w_tile * s.m_w * s.step_w
    half = (1 + s.m_h * s.a_w) * lanes
    turned = s.a_h if s.a_h > 1 else 0
    panel_elems, part_elems = s.n_xi * ld_v, s.n_xi * ld_m
    tile_elems = max((in_rows + turned) * in_columns * lanes, half + out_rows * out_columns * lanes)
    scratch_bytes = _round_up((panel_elems + part_elems + tile_elems) * item, 64)
    if scratch_bytes > max_scratch_bytes:
        return None

    panels = _panels_of(s.m_lanes // lanes, winograd.VECTORS)
    runs = _panels_of(tiles, gemm.max_rows())
    steps = 0.0
    for n_panels, vectors in ((panels.tall, panels.rows), (panels.n - panels.tall, panels.rows - 1)):
        steps += n_panels * runs.tall * _step_cycles(runs.rows, vectors)
        steps += n_panels * (runs.n - runs.tall) * _step_cycles(runs.rows - 1, vectors)
    u_bytes, vm_bytes = s.n_xi * s.n_k * s.m_lanes * item, (panel_elems + part_elems) * item
    cycles = s.n_xi * (steps * s.n_k + panels.n * runs.n * 40.0)
    if u_bytes > RESIDENT_WEIGHT_BYTES:
        cycles = max(cycles, u_bytes / 20)
    strips = block_slices * _ceil_div(h_tile, strip)
    in_vectors, out_vectors = s.c_lanes / lanes, s.m_lanes / lanes
    turn = _turn_cycles(lanes, in_rows, in_columns, conv.w.size, conv.ld_x.c == 1)
    cycles += strips * in_vectors * (turn + turned * strip * in_columns * 2)
    turn = _turn_cycles(lanes, out_rows, min(out_columns, conv.w.out), conv.w.out, conv.ld_out.c == 1)
    cycles += strips * out_vectors * turn + tiles * s.n_xi * (in_vectors * 2.5 + out_vectors * 2)
    # u streams in behind the arithmetic, from memory more slowly than that; so do v and m from L3, unless the blocks
    # of all threads outgrow it
    if u_bytes > RESIDENT_WEIGHT_BYTES:
        cycles += u_bytes / (8 if u_bytes > WINOGRAD_FAR_BYTES else 100)
    if vm_bytes > WINOGRAD_BLOCK_BYTES:
        cycles += vm_bytes / (12 if vm_bytes > WINOGRAD_L3_BYTES else 40)
    n_blocks = conv.groups * _ceil_div(s.slices, block_slices) * n_h * n_w
    sizes = s._replace(
        block_slices=block_slices,
        strip=strip,
        ld_v=ld_v,
        ld_m=ld_m,
        inputs=strips * conv.d.k * _ceil_div(conv.c_in, lanes),
        products=s.n_xi * panels.n,
        outputs=strips * s.m_lanes // lanes,
        half_elems=half,
    )
    cycles += 300
    counted = sum(n * _slowest(cycles, n_blocks, n) for n in (1, 2, _threads(cycles * n_blocks)))
    return counted, {
        "h_tile": h_tile,
        "w_tile": w_tile,
        "n_h_tiles": n_h,
        "n_w_tiles": n_w,
        "n_tasks": max(n_blocks, s.n_xi),
        "panel_elems": panel_elems,
        "part_elems": part_elems,
        "tile_elems": tile_elems,
        "scratch_bytes": scratch_bytes,
        "winograd": sizes,
    }


def plan_winograd(conv: Conv, item_bytes: int, alpha: int, max_scratch_bytes: int) -> Any:
    """Return the CONV record of a Winograd convolution, or None where the scratch is too little for any."""
    lanes = VECTOR_BYTES // item_bytes
    s = _winograd_of(conv, alpha, lanes)
    cut = _best(
        _try_winograd(conv, s, lanes, h, w, max_scratch_bytes)
        for h in _sizes(s.h_tiles, tuple(range(1, 17)), (1, 2, 3, 4, 6, 8))
        for w in _sizes(s.w_tiles, (1, 2, 3, 4), (8, 16, 32, 64))
    )
    return None if cut is None else conv.record(cut)


def _try_implicit(
    conv: Conv, lanes: int, h_tile: int, w_tile: int, m_block: int, max_scratch_bytes: int
) -> tuple[float, dict[str, Any]] | None:
    """Return (cycles, cut), or None where it does not fit."""
    item, most = VECTOR_BYTES // lanes, implicit_gemm.VECTORS
    s = _input_tile(conv, lanes, h_tile, w_tile)
    all_vectors, taps = _ceil_div(conv.c_out, lanes), conv.h.k * conv.w.k
    depth, n_pixels, window = min(lanes, conv.c_in), h_tile * w_tile, s.rows * s.cols
    panels, groups = _panels_of(all_vectors, most), _panels_of(n_pixels, implicit_gemm.ROWS)
    c_block = _ceil_div(s.n_chunks, _ceil_div(s.n_chunks, max(1, IMPLICIT_K // (taps * depth))))
    n_h, n_w, n_m = _ceil_div(conv.h.out, h_tile), _ceil_div(conv.w.out, w_tile), _ceil_div(panels.n, m_block)
    n_tasks = conv.n * conv.d.out * conv.groups * n_h * n_w * n_m

    vectors = min(all_vectors, m_block * most)
    tile_elems = _round_up(c_block * window * depth + lanes, 16)
    panel_elems = window * lanes if conv.c_in % lanes else 0
    part_elems = vectors * n_pixels * lanes
    integers_bytes = _round_up((tile_elems + panel_elems + part_elems + most * lanes) * item, 64)
    scratch_bytes = _round_up(integers_bytes + (n_pixels + c_block * conv.h.k * s.runs_in_row) * 8, 64)
    if scratch_bytes > max_scratch_bytes:
        return None

    blocks, k_all = _ceil_div(s.n_chunks, c_block), conv.c_in * conv.d.k * taps
    widest = min(most, all_vectors)
    full = vectors / widest
    steps = groups.tall * _step_cycles(groups.rows, widest)
    steps += (groups.n - groups.tall) * _step_cycles(groups.rows - 1, widest)
    cycles = steps * full * k_all + m_block * groups.n * blocks * 60 + full * k_all / 8
    cycles += s.n_chunks * _turn_cycles(lanes, s.rows, s.cols, conv.w.size, conv.ld_x.c == 1)
    cycles += vectors * _turn_cycles(lanes, h_tile, w_tile, conv.w.out, conv.ld_out.c == 1)
    cycles += n_pixels * 2 * blocks + (window * s.n_chunks * 2 if conv.c_in % lanes else 0)
    weight_bytes = full * most * VECTOR_BYTES * k_all
    if weight_bytes > RESIDENT_WEIGHT_BYTES:
        cycles += weight_bytes / 80
    if (tile_elems + part_elems) * item > 2 * TILE_BYTES:
        cycles *= 1.2
    cycles += 300
    useful = max(1, min(conv.threads, int(cycles * n_tasks / MIN_TASK_CYCLES)))
    return cycles * _ceil_div(n_tasks, useful), {
        "c_block": c_block,
        "h_tile": h_tile,
        "w_tile": w_tile,
        "m_block": m_block,
        "n_h_tiles": n_h,
        "n_w_tiles": n_w,
        "n_m_blocks": n_m,
        "n_tasks": n_tasks,
        "tile_elems": tile_elems,
        "panel_elems": panel_elems,
        "part_elems": part_elems,
        "integers_bytes": integers_bytes,
        "scratch_bytes": scratch_bytes,
    }


def plan_implicit_gemm(conv: Conv, item_bytes: int, max_scratch_bytes: int) -> Any:
    """Return the CONV record of an implicit GEMM, or None where the scratch is too little for any."""
    lanes = VECTOR_BYTES // item_bytes
    conv = _folded(conv) or conv
    n_panels = _panels_of(_ceil_div(conv.c_out, lanes), implicit_gemm.VECTORS).n
    h_tiles = _sizes(conv.h.out, tuple(range(1, 9)), (1, 2, 3, 4, 6, 8, 14, 16, 32))
    far = conv.w.out > 32
    w_tiles = _sizes(conv.w.out, tuple(range(1, 9)) if far else (1,), (8, 16, 32, 48, 64, 96, 128, 256))
    cut = _best(
        _try_implicit(conv, lanes, h, w, m, max_scratch_bytes)
        for h in h_tiles
        for w in w_tiles
        for m in sorted({_ceil_div(n_panels, parts) for parts in (1, 2, 4, 8, 16, 32)})
    )
    return None if cut is None else conv.record(cut)


def plan_fft(conv: Conv, item_bytes: int, fft_tile: Any, max_scratch_bytes: int) -> Any:
    """Return the CONV record of an FFT convolution, or None where the scratch is too little.

    The tile is backends/fft.py's; what the scratch decides is how many pairs of tiles are in hand at once, and of these
    how many terms and output channels. No sum depends on it.
    """
    lanes = VECTOR_BYTES // item_bytes
    s = fft.fft_of(conv.n, conv.c_in, {"d": conv.d, "h": conv.h, "w": conv.w}, fft_tile, lanes)
    rows = min(fft.MAX_ROWS, conv.c_out)
    pairs = 1 if s.n_k * conv.c_out == 1 else fft.MAX_PAIRS
    pairs = _ceil_div(s.pairs, _ceil_div(s.pairs, pairs))  # blocks of one size
    while True:
        fixed = rows * pairs * (2 * s.plane + 2 * s.n_w * lanes) + 2 * (s.n_h * s.n_w + lanes) + 2 * s.longest
        room = (max_scratch_bytes - 4 * 8 * fft.SEGMENTS) // item_bytes - fixed
        each = pairs * s.ld_pair
        c_block, m_block = s.n_k, conv.c_out
        if room < s.n_k * each:  # sums wait in memory between reduction blocks, half of what there is
            m_block = min(conv.c_out, max(rows, room // 2 // each // rows * rows))
            c_block = min(s.n_k, (room - m_block * each) // each)
        part_elems = m_block * each if c_block < s.n_k else 0
        if c_block > 0 and c_block * each + part_elems <= room:
            break
        if pairs == 1:
            return None
        pairs = _ceil_div(pairs, 2)
    n_tasks = conv.groups * _ceil_div(s.pairs, pairs)
    if n_tasks < 2:  # stages are shared
        n_tasks = max(s.n_k * pairs, _ceil_div(conv.c_out, rows))
    integers_bytes = _round_up((fixed + c_block * each + part_elems) * item_bytes, 8)
    return conv.record(
        {
            "c_block": c_block,
            "m_block": m_block,
            "n_tasks": n_tasks,
            "rows": rows,
            "panel_elems": c_block * each,
            "part_elems": part_elems,
            "integers_bytes": integers_bytes,
            "scratch_bytes": _round_up(integers_bytes + 4 * 8 * fft.SEGMENTS, 64),
            "fft": s._replace(block_pairs=pairs),
        }
    )
