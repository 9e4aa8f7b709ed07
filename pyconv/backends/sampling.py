"""How sampling is cut. Resizing: tables of taps of each axis, which passes come first, tasks and scratch.

For the C and the Numba kernels alike. All is a function of the problem and the strides, never of the number of threads.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..algorithm import Array, Call
from ..problem import ITEM_BYTES, AffineGridProblem, GridSampleProblem, ResizeProblem
from ..reference import resize_taps
from .layers import EPSILON, ROUNDING

__all__ = ["KEPT", "Cut", "Taps", "affine", "along", "error_bound", "grid", "merged", "resample", "taps_of", "terms"]

#: Rows that a worker keeps at most.
KEPT = 16
#: Elements of a task, about: enough to hide what its start costs, few enough for threads to share.
_TASK = 16384
#: Points that a kernel makes a table for at once, and those of a task.
_BLOCK, _POINTS = 128, 4096
#: A map of channels that stays in the second cache.
_MAP_BYTES = 1 << 20
#: Tasks that keep a few threads busy, if the problem has as much work.
_TASKS = 8
_REAL = {"f16": np.float32, "f32": np.float32, "f64": np.float64}
_INTEGER = {"f16": np.int32, "f32": np.int32, "f64": np.int64}


class Taps(NamedTuple):
    """For each output of an axis the elements that it is a sum of, ascending, and their weights; none is zero."""

    begin: Array
    element: Array
    weight: Array

    @property
    def counts(self) -> Array:
        """How many taps each output has."""
        return np.diff(self.begin)

    @property
    def same(self) -> bool:
        """Whether outputs are the elements themselves."""
        n = self.begin.size - 1
        return self.element.size == n and bool((self.element == np.arange(n)).all() and (self.weight == 1).all())

    @property
    def span(self) -> int:
        """Most elements from the first to the last tap of an output, those between them too."""
        some = self.counts > 0
        if not some.any():
            return 1
        return int((self.element[self.begin[1:][some] - 1] - self.element[self.begin[:-1][some]]).max()) + 1


def taps_of(problem: ResizeProblem, axis: int) -> Taps:
    """Return an axis' taps; of the gradient those of its elements, the outputs that they are parts of."""
    index, weight = resize_taps(problem, axis)
    to = np.repeat(np.arange(index.shape[0]), index.shape[1])
    index, weight = index.ravel(), weight.ravel()
    count = problem.out_spatial[axis]
    if problem.gradient:
        to, index, count = index, to, problem.spatial[axis]
    there = weight != 0
    to, index, weight = to[there], index[there], weight[there]
    order = np.lexsort((index, to))
    to, index, weight = to[order], index[order], weight[order]
    # an element that an output takes twice, at an end
    first = np.ones(to.size, bool)
    first[1:] = (np.diff(to) != 0) | (np.diff(index) != 0)
    weight = np.add.reduceat(weight, np.flatnonzero(first)) if to.size else weight
    begin = np.searchsorted(to[first], np.arange(count + 1))
    return Taps(begin.astype(np.int64), index[first].astype(np.int64), weight)


def _even(taps: Taps, size: int) -> tuple[Array, Array]:
    """Return equally many taps for each output: a missing one is half of another, exactly. Those of none weigh 0."""
    counts, most = taps.counts, max(1, int(taps.counts.max(initial=0)))
    slot = np.arange(most)
    there = slot < counts[:, None]
    at = np.minimum(taps.begin[:-1, None] + slot, max(0, taps.element.size - 1))
    index = np.where(there, taps.element[at] if taps.element.size else 0, 0)
    weight = np.where(there, taps.weight[at] if taps.element.size else 0.0, 0.0)
    # an output without taps reads where its neighbours do
    none = counts == 0
    index[none] = np.minimum(np.flatnonzero(none) * size // max(1, counts.size), size - 1)[:, None]
    counts = counts.copy()
    while (short := (counts > 0) & (counts < most)).any():
        more = np.where(short, np.minimum(counts, most - counts), 0)
        source = slot - counts[:, None]
        new = (source >= 0) & (source < more[:, None])
        weight = np.where(slot < more[:, None], weight / 2, weight)
        source = np.where(new, source, slot)
        index, weight = np.take_along_axis(index, source, 1), np.take_along_axis(weight, source, 1)
        counts += more
    return index, weight


class Cut(NamedTuple):
    """A kernel's numbers, arrays that it points to by name, its tasks, and scratch bytes of a worker."""

    fields: dict[str, Any]
    tables: dict[str, Array | None]
    n_tasks: int
    scratch_bytes: int


class _Columns(NamedTuple):
    """Columns by blocks of LANES outputs: where each begins in the output and in x, places and weights of its taps."""

    start: Array
    base: Array
    place: Array
    weight: Array
    taps: int
    vectors: int


def _columns(taps: Taps, size: int, inner: int, lanes: int, permutes: bool) -> _Columns:
    """Return the blocks of a row of ``size`` pixels of ``inner`` neighbouring channels.

    Places are counted from the block's base; where a vector can be permuted and the block's elements lie in few of
    them, these begin there and are read whole.
    """
    index, weight = _even(taps, size)
    index = (index[:, None, :] * inner + np.arange(inner)[:, None]).reshape(-1, index.shape[1])
    weight = np.repeat(weight, inner, axis=0)
    out, most = index.shape
    blocks = -(-out // lanes)
    start = np.minimum(np.arange(blocks) * lanes, max(0, out - lanes))
    of_block = np.minimum(start[:, None] + np.arange(lanes), out - 1)
    index, weight = index[of_block], weight[of_block]  # (block, lane, tap)
    base = index.min(axis=(1, 2))
    vectors = 0
    for some in (2, 4) if permutes else ():
        near = np.minimum(base, max(0, size * inner - some * lanes))
        if (index - near[:, None, None]).max() < some * lanes:
            vectors, base = some, near
            break
    place = np.ascontiguousarray((index - base[:, None, None]).transpose(0, 2, 1))
    return _Columns(start, base, place, np.ascontiguousarray(weight.transpose(0, 2, 1)), most, vectors)


def _elements(call: Call, name: str, item: int) -> tuple[int, ...]:
    strides = call.strides(name)
    assert strides is not None
    return tuple(stride // item for stride in strides)


def _round_up(count: int, to: int) -> int:
    return -(-count // to) * to


def resample(call: Call, lanes: int) -> Cut:
    """Cut a resizing by sums of neighbours, or its gradient."""
    problem: ResizeProblem = call.problem
    item, real = ITEM_BYTES[problem.dtype], max(4, ITEM_BYTES[problem.dtype])
    source = "grad_output" if problem.gradient else "x"
    x, out = _elements(call, source, item), _elements(call, "out", item)
    rank = len(problem.spatial)
    sizes, out_sizes = problem.spatial, problem.out_spatial
    if problem.gradient:
        sizes, out_sizes = out_sizes, sizes
    # channels that are neighbours in both arrays lie in the lanes, or are a part of the row
    inner = problem.c if x[1] == out[1] == 1 < problem.c and not x[-1] == out[-1] == 1 else 1
    # a kept row of many pixels and channels may be larger than the scratch
    if 3 * (max(sizes[-1], out_sizes[-1]) * inner + 4 * lanes) * real * 2 > call.max_workspace // 8:
        inner = 1
    pixels = inner >= lanes
    taps = [taps_of(problem, axis) for axis in range(rank)]
    one = Taps(np.arange(2), np.zeros(1, np.int64), np.ones(1))
    across, rows, columns = [one] * (3 - rank) + taps
    same = columns.same
    tables: dict[str, Any] = {}
    n_taps, vectors, blocks = 0, 0, 0
    counts = columns.counts
    if pixels:
        tables |= {"column_begin": columns.begin, "column_place": columns.element}
        tables["column_weight"] = columns.weight.astype(_REAL[problem.dtype])
        work = float(counts.sum()) * inner / lanes
    else:
        found = _columns(columns, sizes[-1], inner, lanes, lanes * real >= 32)
        n_taps, vectors, blocks = found.taps, found.vectors, found.start.size
        tables |= {"start": found.start, "base": found.base, "column_begin": None}
        tables["column_place"] = found.place.astype(_INTEGER[problem.dtype])
        tables["column_weight"] = found.weight.astype(_REAL[problem.dtype])
        # operations of a tap of LANES outputs: a permutation and an FMA, or an element at a time
        work = float(blocks * n_taps) * ({2: 2, 4: 5}.get(vectors, lanes + 1))
    for name, axis in (("d", across), ("h", rows)):
        tables[f"{name}_begin"], tables[f"{name}_index"] = axis.begin, axis.element
        tables[f"{name}_weight"] = axis.weight.astype(_REAL[problem.dtype])
    tables["empty"] = np.flatnonzero(counts == 0).astype(np.int64)
    in_width, out_width = sizes[-1] * inner, out_sizes[-1] * inner
    h, h_out = (sizes[-2], out_sizes[-2]) if rank > 1 else (1, 1)
    # rows of x that are read at all, once each; and rows of outputs
    read = np.unique(rows.element).size
    combining = float(rows.element.size) / lanes
    columns_first = (
        not same and not rows.same and (read * work + combining * out_width < combining * in_width + h_out * work)
    )
    step, out_step = x[-1], out[-1]
    narrow = real == item
    in_place = narrow and step == inner and in_width >= max(lanes, vectors * lanes)
    out_in_place = narrow and out_step == inner and out_width >= lanes
    in_pitch = _round_up(max(in_width, 4 * lanes), lanes) + lanes
    out_pitch = _round_up(max(out_width, 4 * lanes), lanes) + lanes
    kept_pitch = out_pitch if columns_first else in_pitch
    # the rest: a row of x, one of a plane of it, combined rows, the result
    rest = 2 * in_pitch + max(in_pitch, out_pitch) + out_pitch
    room = max(0, call.max_workspace // 8 // real - rest - lanes) // kept_pitch
    kept = max(1, min(KEPT, rows.span, room))
    n_rows = problem.n * (problem.c // inner if inner else 0) * h_out * (out_sizes[0] if rank == 3 else 1)
    # whole planes where a task has room for one: rows that are kept are made once then
    per_task = max(1, _TASK // max(1, max(in_width * h // max(1, h_out), out_width)))
    if per_task > h_out:
        per_task = per_task // h_out * h_out
    elif per_task < h_out:
        per_task = -(-h_out // -(-h_out // per_task))
    n_tasks = -(-n_rows // per_task)
    zeros, ones = (0,) * (3 - rank), (1,) * (3 - rank)
    fields = {
        "n": problem.n,
        "c": problem.c // inner if inner else 0,
        "inner": inner,
        "in": (*ones, *sizes),
        "out": (*ones, *out_sizes),
        "ld_x": (*x[:2], *zeros, *x[2:]),
        "ld_out": (*out[:2], *zeros, *out[2:]),
        "blocks": blocks,
        "taps": n_taps,
        "vectors": vectors,
        "n_empty": tables["empty"].size,
        "empty_length": inner,
        "columns_same": same,
        "columns_first": columns_first,
        "in_place": in_place,
        "out_in_place": out_in_place,
        "kept": kept,
        "kept_pitch": kept_pitch,
        "in_pitch": in_pitch,
        "out_pitch": out_pitch,
        "rows": per_task,
        "n_tasks": n_tasks,
    }
    scratch = _round_up((kept * kept_pitch + rest) * real + 64, 64)
    fields["scratch_bytes"] = scratch
    return Cut(fields, tables, n_tasks, scratch)


def merged(shape: tuple[int, ...], steps: tuple[int, ...]) -> int | None:
    """Return the step of neighbours in all axes taken as one, or None where they have no one step."""
    step, reach = None, 1
    for size, this in zip(reversed(shape), reversed(steps), strict=True):
        if size == 1:
            continue
        if step is None:
            step = this
        elif this != step * reach:
            return None
        reach *= size
    return 1 if step is None else step


def grid(call: Call, lanes: int) -> Cut | None:
    """Cut a sampling of maps or a gradient of it; None where the strides have no such form, or memory is short."""
    problem: GridSampleProblem = call.problem
    item, real = ITEM_BYTES[problem.dtype], max(4, ITEM_BYTES[problem.dtype])
    large = "out" if problem.argument == "x" else "x"
    x, out = _elements(call, large, item), _elements(call, "grad_output" if problem.argument else "out", item)
    names = ["grid", *(["out"] if problem.argument == "grid" else [])]
    step = merged(problem.out_spatial, out[2:])
    flat = all(merged(problem.grid_shape, _elements(call, name, item)) == 1 for name in names)
    if problem.n * problem.c * problem.points and (step is None or not flat):
        return None
    rank, points, pixels = problem.rank, problem.points, math.prod(problem.spatial)
    sizes = (*(1,) * (3 - rank), *problem.spatial)
    ld = (*x[:2], *(0,) * (3 - rank), *x[2:])
    narrow = real == item
    room = call.max_workspace // 8
    # a table, and one vector for each point of a block twice
    fixed = 64 + 59 * _BLOCK * real + 8 * _BLOCK * 8 + _BLOCK + 2 * _BLOCK * lanes * real + 128
    each = (pixels + 1) * lanes * real
    vectors = 2 if problem.c > lanes and 2 * each <= min(_MAP_BYTES, room - fixed) else 1
    fits = vectors * each <= room - fixed
    in_place = narrow and x[1] == 1 and problem.c >= lanes
    gradient = problem.argument == "x"
    if problem.argument == "grid":
        by_channels = False
    elif gradient:
        by_channels = fits and 4 * problem.c >= lanes
    else:
        near = vectors * each <= 2 * _MAP_BYTES and 2 * problem.c >= lanes and pixels <= 4 * points
        by_channels = fits and (in_place or near or not narrow)
    blocks, band, bands = 1, 1, 1
    if by_channels:
        blocks = -(-problem.c // (vectors * lanes))
        wanted = 1 if gradient else max(1, -(-_TASKS // max(1, problem.n * blocks)))
        chunk = _round_up(max(_BLOCK, -(-points // wanted)), _BLOCK)
        map_bytes = vectors * each
        in_place = in_place and not gradient
    elif gradient:
        # a few channels side by side; bands of rows keep a second thread busy, or fit the scratch
        vectors = 4 if problem.c > 1 and 4 * sizes[2] * real <= room - fixed else 1
        in_place = vectors == 1 and narrow and merged(problem.spatial, x[2:]) == 1
        chunk, blocks = max(1, points), -(-problem.c // vectors)
        rows = sizes[0] * sizes[1]
        if problem.n * blocks == 1 and points >= _POINTS:
            bands = min(2, rows)
        band = -(-rows // bands)
        if not in_place:
            band = min(band, (room - fixed) // (vectors * sizes[2] * real))
            if band < 1:
                return None
        bands = -(-rows // band)
        map_bytes = 0 if in_place else band * vectors * sizes[2] * real
    else:
        in_place = problem.argument == "grid" and in_place and out[1] == 1
        chunk = min(_POINTS, _round_up(max(1, -(-points * problem.n // 16)), _BLOCK))
        map_bytes = 0
    n_chunks = max(1, -(-points // chunk)) if not gradient else 1
    n_tasks = problem.n * blocks * n_chunks * bands
    scratch = _round_up(fixed + map_bytes + 64, 64)
    fields = {
        "n": problem.n,
        "c": problem.c,
        "rank": rank,
        "points": points,
        "taps": problem.taps,
        "align_corners": problem.align_corners,
        "in": sizes,
        "ld_x": ld,
        "ld_out": (*out[:2], step or 1),
        "by_channels": by_channels,
        "in_place": in_place,
        "vectors": vectors,
        "chunk": chunk,
        "n_chunks": n_chunks,
        "band": band,
        "n_bands": bands,
        "n_blocks": blocks,
        "n_tasks": n_tasks,
        "scratch_bytes": scratch,
    }
    return Cut(fields, {}, n_tasks, scratch)


def along(size: int, *, align_corners: bool) -> Array:
    """Return the coordinates of an axis of a grid: from -1 to 1, or half an element less on both sides."""
    i = np.arange(size)
    if align_corners:
        return 2 * i / (size - 1) - 1 if size > 1 else np.zeros(1)
    return (2 * i + 1) / size - 1


def affine(call: Call) -> Cut | None:
    """Cut an affine grid or its gradient; None where an array is not contiguous."""
    problem: AffineGridProblem = call.problem
    item = ITEM_BYTES[problem.dtype]
    for operand in (*problem.inputs, *problem.outputs):
        if 0 not in operand.shape and merged(operand.shape, _elements(call, operand.name, item)) != 1:
            return None
    sizes = (*(1,) * (3 - problem.rank), *problem.spatial)
    tables: dict[str, Any] = {}
    for axis, size in zip("dhw", sizes, strict=True):
        tables[axis] = along(size, align_corners=problem.align_corners)
    n_rows = problem.n * sizes[0] * sizes[1]
    rows = max(1, _TASK // (problem.rank * sizes[2]))
    n_tasks = problem.n if problem.gradient else -(-n_rows // rows)
    fields = {
        "n": problem.n,
        "rank": problem.rank,
        "gradient": problem.gradient,
        "in": sizes,
        "rows": rows,
        "n_tasks": n_tasks,
    }
    return Cut(fields, tables, n_tasks, 0)


def terms(problem: Any) -> int:
    """Return how many roundings one result has, of sums in one order."""
    if isinstance(problem, ResizeProblem):
        return sum(problem.overlap if problem.gradient else problem.taps)
    if isinstance(problem, AffineGridProblem):
        # sums of gradients are float64
        return problem.rank + 1
    if problem.argument == "x":
        return int(problem.points * problem.taps**problem.rank)
    return int(problem.taps * problem.rank) + (problem.c if problem.argument else 0)


def error_bound(problem: Any, dtype: str) -> float:
    """One rounding for each weight, product and sum, and that of the result."""
    return (terms(problem) + 16) * EPSILON[dtype] + ROUNDING[dtype]
