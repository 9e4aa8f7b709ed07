"""How windows are spread out into columns and summed back, for whichever backend: what a task is, and its scratch.

All is a function of the problem, the strides and the scratch limit, never of the number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from .. import cost
from ..algorithm import Call
from ..cost import Machine
from ..problem import ITEM_BYTES, ConvProblem, LoweringProblem
from . import layers
from .plain import Plain

__all__ = ["BYTES_PER_THREAD", "FAMILIES", "TURNED", "Cut", "Lowering", "cut", "is_empty", "takes"]

#: The family of each operation's kernel.
FAMILIES = {"unfold": "im2col", "fold": "col2im"}
#: Bytes moved below which a call stays on the caller's thread: waking another costs microseconds.
BYTES_PER_THREAD = 128 << 10
#: A tile of images, or a task's masks: what stays in L1 or close to it.
_TILE_BYTES = 48 << 10
_MASK_BYTES = 16 << 10
#: Of the matrix, in one task: enough to hide what its start costs, few enough for threads to share.
_TASK_BYTES = 128 << 10
#: Channels that are turned together where they are neighbours in memory: as many as the longest vector has lanes.
TURNED = 16
#: Fewer neighbouring channels than this are read one by one.
_FEW = 8


@dataclass(frozen=True, slots=True)
class Lowering(Plain):
    """What the kernels of all backends answer alike."""

    op: str
    dtype: str

    @property
    def family(self) -> str:
        """Return "im2col" or "col2im"."""
        return FAMILIES[self.op]

    def error_bound(self, problem: LoweringProblem) -> float:
        """Return the bound of sums of as many terms as a pixel has; nothing for what only moves."""
        return layers.error_bound(problem)

    def estimate(self, problem: LoweringProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.pool_seconds(problem, machine)


class Cut(NamedTuple):
    """A kernel's blocking, by the names that the kernels have for it."""

    c_block: int
    h_tile: int
    w_tile: int
    n_m_blocks: int
    n_h_tiles: int
    n_w_tiles: int
    n_tasks: int
    in_place: bool
    rows: int
    tile_elems: int
    panel_elems: int
    scratch_bytes: int


def takes(call: Call) -> bool:
    """Whether the columns of the matrix are neighbours in memory; where they are not, a copy's are."""
    problem = call.problem
    strides = call.strides("x" if problem.fold else "out")
    assert strides is not None
    return problem.columns_shape[2] == 1 or strides[2] == ITEM_BYTES[problem.dtype]


def is_empty(problem: LoweringProblem) -> bool:
    """Whether there is nothing to read, and zeros at most to write."""
    return 0 in problem.conv.x_shape


def cut(call: Call, lanes: int, limit: int) -> Cut | None:
    """Cut a call into tasks whose scratch is within the limit; None where none is that small."""
    return _cut_fold(call, lanes, limit) if call.problem.fold else _cut_unfold(call, limit)


def _elements(call: Call, name: str) -> tuple[int, ...]:
    strides = call.strides(name)
    assert strides is not None
    return tuple(stride // ITEM_BYTES[call.problem.dtype] for stride in strides)


def _even(extent: int, most: int) -> int:
    """Return the size of equal parts of at most ``most``."""
    parts = max(1, -(-extent // max(1, most)))
    return -(-extent // parts)


def _round_up(count: int, to: int) -> int:
    return -(-count // to) * to


def _finished(
    conv: ConvProblem,
    sizes: tuple[int, int],
    tiles: tuple[int, int, int],
    in_place: bool,
    elems: tuple[int, int],
    integers: int,
    real: int,
    rows: int = 1,
) -> Cut:
    """Return the cut of planes of these sizes into tiles of so many channels, rows and columns."""
    counts = [-(-size // tile) for size, tile in zip((conv.c_in, *sizes), tiles, strict=True)]
    scratch = _round_up(_round_up(sum(elems) * real, 64) + 8 * integers, 64)
    return Cut(
        c_block=tiles[0],
        h_tile=tiles[1],
        w_tile=tiles[2],
        n_m_blocks=counts[0],
        n_h_tiles=counts[1],
        n_w_tiles=counts[2],
        n_tasks=conv.n * math.prod(counts),
        in_place=in_place,
        rows=rows,
        tile_elems=elems[0],
        panel_elems=elems[1],
        scratch_bytes=scratch,
    )


def _grid(kernel: int, stride: int, dilation: int, outputs: int) -> int:
    """Return the elements of an axis of a tile: csrc/pyconv.h's pc_grid_axis."""
    phases = min(kernel, stride // math.gcd(stride, dilation))
    return phases * (outputs + (kernel - 1) * dilation // stride)


def _tile(conv: ConvProblem, rows: int, cols: int) -> int:
    return _grid(conv.kernel[0], conv.stride[0], conv.dilation[0], rows) * _grid(
        conv.kernel[1], conv.stride[1], conv.dilation[1], cols
    )


def _cut_unfold(call: Call, limit: int) -> Cut | None:
    problem, conv = call.problem, call.problem.conv
    real = max(4, ITEM_BYTES[conv.dtype])
    x = _elements(call, "x")
    (h_out, w_out), c = conv.out_spatial, conv.c_in
    no_border = all(pads == (0, 0) for pads in conv.padding)
    pitch = x[2] * conv.stride[0]
    in_place = no_border and conv.dtype != "f16" and conv.stride[1] == 1 == x[3] and (h_out == 1 or pitch >= w_out)
    per_channel = problem.taps * ITEM_BYTES[conv.dtype]  # for each window
    if in_place:
        h_tile, w_tile = h_out, w_out
        if per_channel * h_out * w_out > 2 * _TASK_BYTES:
            h_tile = _even(h_out, _TASK_BYTES // (per_channel * w_out))
        c_block = _even(c, _TASK_BYTES // (per_channel * h_tile * w_tile)) if h_tile == h_out else 1
        return _finished(conv, (h_out, w_out), (c_block, h_tile, w_tile), True, (0, 0), 0, real)
    turned = x[1] == 1 != x[3] and c >= _FEW
    found = _cut_tiles(problem, turned, real)
    if turned and found.scratch_bytes > limit:
        found = _cut_tiles(problem, False, real)
    return found if found.scratch_bytes <= limit else None


def _cut_tiles(problem: LoweringProblem, turned: bool, real: int) -> Cut:
    """Cut a call whose images are copied into tiles, by way of planes where neighbouring channels are turned."""
    conv = problem.conv
    (h_out, w_out), c = conv.out_spatial, conv.c_in
    channels = min(TURNED, c) if turned else 1

    def elems(rows: int, cols: int) -> tuple[int, int]:
        planes = 0
        if turned:
            reach = (rows - 1) * conv.stride[0] + (conv.kernel[0] - 1) * conv.dilation[0] + 1
            planes = TURNED * (min(conv.spatial[0], reach) * conv.spatial[1] + TURNED)
        return _round_up(channels * _tile(conv, rows, cols) + TURNED, TURNED), planes

    budget = _TILE_BYTES * (8 if turned else 1) // real
    h_tile, w_tile = h_out, w_out
    while sum(elems(h_tile, w_tile)) > budget and h_tile > 1:
        h_tile = _even(h_out, h_tile // 2)
    while sum(elems(h_tile, w_tile)) > budget and w_tile > 64:
        w_tile = _even(w_out, w_tile // 2)
    if not turned and h_tile == h_out and w_tile == w_out:
        per_channel = math.prod(problem.columns_shape[2:]) * problem.taps * ITEM_BYTES[conv.dtype]
        channels = _even(c, min(budget // elems(h_tile, w_tile)[0], _TASK_BYTES // per_channel))
    tiles = channels, h_tile, w_tile
    return _finished(conv, (h_out, w_out), tiles, False, elems(h_tile, w_tile), problem.taps, real)


def _cut_fold(call: Call, lanes: int, limit: int) -> Cut | None:
    problem, conv = call.problem, call.problem.conv
    real = max(4, ITEM_BYTES[conv.dtype])
    columns, out = _elements(call, "x"), _elements(call, "out")
    (height, width), (kh, kw) = conv.spatial, conv.kernel
    step = conv.stride[1]
    joined = 1
    plane = height * width
    if (
        conv.stride == (1, 1)
        and conv.out_spatial[1] == width
        and out[3] == 1
        and (height == 1 or out[2] == width)
        and kh * kw * _round_up(plane, lanes) * real <= _MASK_BYTES
        and problem.columns_shape[2] < 1 << 30
    ):
        joined, height, width, kw = height, 1, plane, kh * kw
    phases, length = min(step, width), -(-width // step)
    rows, n_columns = problem.columns_shape[1:]
    no_gaps = (conv.n == 1 or columns[0] == rows * n_columns) and (rows == 1 or columns[1] == n_columns)
    vectors = min(-(-length // lanes), max(1, _MASK_BYTES // (kw * lanes * real)))
    w_tile = min(length, _round_up(_even(length, vectors * lanes), lanes))
    vectors = -(-w_tile // lanes)
    per_row = -(-problem.taps * conv.out_spatial[1] // conv.stride[0]) * joined * ITEM_BYTES[conv.dtype]
    h_tile = _even(height, max(1, _TASK_BYTES // per_row)) if per_row * height > 2 * _TASK_BYTES else height
    channels = 1
    if out[1] == 1 != out[3]:
        channels = min(TURNED, conv.c_in)
    elif h_tile == height:
        channels = _even(conv.c_in, _TASK_BYTES // (per_row * height))
    elems = kw * vectors * lanes, (phases + (2 if step == 2 else 0) + 1) * vectors * lanes
    integers = phases + 1 + 2 * kw + 2 * kh
    found = _finished(conv, (height, length), (channels, h_tile, w_tile), no_gaps, elems, integers, real, joined)
    return found if found.scratch_bytes <= limit else None
