"""How a pooling problem is cut into tasks, and what a worker's scratch holds: csrc/pool_plan.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .pool import POOL, POOL_TAPS
from .simd import VECTOR_BYTES
from .tile import Axis, Strides

__all__ = ["Pool", "plan_pool"]

ROW_BYTES = 16 * 1024  # a row of v in L1, beside the rows that it is joined from
SLOPE_BYTES = 256 * 1024  # rows of a norm's slopes, in L2
SHORT_ROW = 5  # vectors: shorter rows are joined as one long one ...
PLANE_BYTES = 20 * 1024  # ... as long as their plane stays in L1
TASKS = 32  # that keep a few threads busy, if the problem has as much work
PIXEL_BYTES = 64  # of channels that a task of pool_scatter takes


@dataclass(frozen=True, slots=True)
class Pool:
    """A pooling problem as the kernels see it: three spatial axes, strides in elements."""

    item_bytes: int
    n: int
    c: int
    inner: int
    d: Axis
    h: Axis
    w: Axis
    after: tuple[int, int, int]
    adaptive: bool
    scatter: int
    include_pad: bool
    signs: bool
    own_indices: bool
    divisor: float
    norm: float
    power: float
    ld_x: Strides
    ld_out: Strides
    ld_idx: Strides
    ld_forward: Strides

    def record(self, cut: dict[str, Any]) -> Any:
        """Return the array of one POOL that the kernels take."""
        params = np.zeros(1, dtype=POOL)
        for name in self.__slots__:
            params[name] = getattr(self, name)
        for name, value in cut.items():
            params[name] = value
        return params


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _round_up(a: int, b: int) -> int:
    return _ceil_div(a, b) * b


def _columns(pool: Pool, n: int) -> int:
    """Columns of x under n neighbouring outputs of a row, at most."""
    w = pool.w
    if pool.adaptive:
        return min(w.size, n * (w.size // w.out) + _ceil_div(n * (w.size % w.out), w.out) + 2)
    return (n - 1) * w.stride + (w.k - 1) * w.dilation + 1


def plan_pool(pool: Pool, role: str, max_scratch_bytes: int) -> Any:
    """Return the record for "separable", "indexed", "scatter" or "spread"; None where the limit is too small."""
    w, inner, item = pool.w, pool.inner, pool.item_bytes
    lanes = VECTOR_BYTES // item
    before, after = (0, pool.after[2]) if pool.include_pad else (w.pad, 0)
    whole = w.size + after + w.pad >= w.k
    cut: dict[str, Any] = {
        "whole_from": _ceil_div(before, w.stride),
        "whole_to": (w.size + after + w.pad - w.k) // w.stride + 1 if whole else 0,
        "batch": 1,
    }
    w_tile = w.out
    if role in ("separable", "indexed"):
        room = max(1, ROW_BYTES // (item * inner))
        if _columns(pool, w.out) > room:
            reach = w.size // w.out + 2 if pool.adaptive else (w.k - 1) * w.dilation + 1
            step = w.size // w.out + 1 if pool.adaptive else w.stride
            wanted = max(1, lanes // inner, (room - reach) // step)
            w_tile = _ceil_div(w.out, _ceil_div(w.out, wanted))
    cut["w_tile"], cut["n_w_tiles"] = w_tile, _ceil_div(w.out, w_tile)
    own = pool.own_indices
    cut["inner_tile"] = inner if inner == 1 or own else min(inner, PIXEL_BYTES // item)
    slack = 3 * lanes
    row = _round_up(_columns(pool, w_tile) * inner, lanes) + slack
    out_row = _round_up(w_tile * inner, lanes) + lanes
    doubling = not pool.adaptive and w.k > POOL_TAPS and (role == "spread" or w.stride == 1)
    levels = w.k.bit_length() + 1 if doubling else 0
    if role in ("indexed", "scatter"):
        cut |= {"v_elems": row, "y_elems": out_row}
        elems = 0 if role == "scatter" and not own else 2 * (row + out_row)
        if role == "scatter" and own:
            elems += w.out * inner * 8 // item + lanes
    elif role == "spread":
        found = _plan_spread(pool, cut, row, levels, max_scratch_bytes)
        return None if found is None else pool.record(found)
    else:
        cut |= {"v_elems": row, "y_elems": out_row, "level_elems": row if levels else 0, "n_levels": levels}
        alone = w.out == inner == pool.h.k == pool.d.k == w.dilation == 1 and not pool.adaptive and w.pad == 0
        cut["lines"] = alone and w.k <= w.size and pool.power == 0
        cut["batch"] = 1 if pool.signs else max(1, min(8, ROW_BYTES // 2 // (item * row)))
        elems = cut["batch"] * row + levels * row + (2 * out_row if pool.signs else 0)
        elems = _plan_plane(pool, cut, elems, max_scratch_bytes - out_row * item) + out_row
    cut["scratch_bytes"] = elems * item
    if cut["scratch_bytes"] > max_scratch_bytes:
        return None
    if role == "scatter":
        cut |= {"n_tasks": pool.n * pool.c * _ceil_div(inner, cut["inner_tile"]), "h_tile": 1, "n_h_tiles": 1}
        return pool.record(cut)
    planes = pool.n * pool.c * pool.d.out * cut["n_w_tiles"]
    _cut_rows(cut, pool.h.out, planes, pool.h.out if cut.get("plane_pitch") else 4)
    return pool.record(cut)


def _cut_rows(cut: dict[str, Any], height: int, planes: int, least: int) -> None:
    """Cut planes into tiles of rows, no smaller than so many: a tile reads the rows over its end once more."""
    tiles = max(1, _ceil_div(TASKS, max(1, planes)))
    cut["h_tile"] = min(height, max(least, _ceil_div(height, tiles)))
    cut["n_h_tiles"] = _ceil_div(height, cut["h_tile"])
    cut["n_tasks"] = planes * cut["n_h_tiles"]


def _plan_plane(pool: Pool, cut: dict[str, Any], elems: int, max_scratch_bytes: int) -> int:
    """Return the scratch; of whole planes of short rows, where these fit."""
    h, w, item = pool.h, pool.w, pool.item_bytes
    lanes = VECTOR_BYTES // item
    pitch = w.size + max(w.pad, pool.after[2])
    plane = _round_up((h.size + h.pad + pool.after[1] + 1) * pitch + w.k * w.dilation, lanes) + 3 * lanes
    widest = max(h.k, w.k)
    levels = widest.bit_length() + 1 if widest > POOL_TAPS else 0
    alike = not pool.adaptive and not pool.signs and pool.inner == 1 and pool.d.k == 1
    short = h.stride == w.stride == 1 and h.out > 1 and w.size < SHORT_ROW * lanes
    fits = plane * item <= PLANE_BYTES and (2 + levels) * plane * item <= max_scratch_bytes
    if not (alike and short and fits):
        return elems
    cut |= {"plane_pitch": pitch, "v_elems": plane, "level_elems": plane, "batch": 1, "w_tile": w.out, "n_w_tiles": 1}
    return (2 + levels) * plane


def _plan_spread(
    pool: Pool, cut: dict[str, Any], row: int, levels: int, max_scratch_bytes: int
) -> dict[str, Any] | None:
    """Return the cut of a gradient; a norm's has as many rows a task as leave the slopes that it needs in L2."""
    h, w, inner, item = pool.h, pool.w, pool.inner, pool.item_bytes
    lanes = VECTOR_BYTES // item
    cut["v_elems"] = _round_up(w.out * inner, lanes) + lanes
    cut["y_elems"] = _round_up(max(w.out, w.size) * inner, lanes) + 2 * lanes
    cut["apart_elems"] = 0 if pool.adaptive else _round_up((w.size + w.k - 1) * inner, lanes) + 3 * lanes
    cut |= {"level_elems": cut["apart_elems"], "n_levels": levels}
    planes = pool.n * pool.c * pool.d.size
    _cut_rows(cut, h.size, planes, 4)
    slope_bytes = rows = 0
    if pool.norm:
        cut["v_elems"] = max(row, cut["v_elems"])
        cut["level_elems"] = max(row, cut["level_elems"])
        cut["q_elems"] = _round_up(w.out * inner, lanes) + lanes
        depths = min(pool.d.out, _ceil_div(pool.d.k, pool.d.stride))
        slope_bytes = depths * (1 + pool.signs) * cut["q_elems"] * item
    fixed = cut["v_elems"] + levels * cut["level_elems"] + (2 if pool.norm else 1) * cut["y_elems"] + cut["apart_elems"]
    room = min(SLOPE_BYTES, max_scratch_bytes - fixed * item)
    while pool.norm:
        rows = min(h.out, (cut["h_tile"] + h.k - 2) // h.stride + 1)  # of outputs
        if cut["h_tile"] == 1 or rows * slope_bytes <= room:
            break
        cut["h_tile"] = max(1, cut["h_tile"] // 2)
    cut["n_h_tiles"] = _ceil_div(h.size, cut["h_tile"])
    cut["n_tasks"] = planes * cut["n_h_tiles"]
    cut["scratch_bytes"] = fixed * item + rows * slope_bytes
    return cut if cut["scratch_bytes"] <= max_scratch_bytes else None
