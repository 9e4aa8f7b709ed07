"""How the small layers are cut: axes merged into loops, loops into tasks, and the scratch that they need.

For the C and the Numba kernels alike. Each function returns the fields of a kernel's struct (csrc/pyconv.h), or None
where the arrays' strides have no such form and copies have to be made. All is a function of the problem and the
strides, never of the number of threads.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import cost
from ..algorithm import Array, Call
from ..cost import Machine
from ..problem import (
    ACTIVATIONS,
    ITEM_BYTES,
    ElementwiseProblem,
    LinearProblem,
    LoweringProblem,
    NormProblem,
    ResizeProblem,
    ResponseProblem,
    ShuffleProblem,
    standard_strides,
)
from ..reference import nearest_index
from .plain import Plain

__all__ = [
    "EPSILON",
    "OPERATIONS",
    "ROUNDING",
    "SLOTS",
    "Cut",
    "Layer",
    "channelwise",
    "dot",
    "elementwise",
    "elsewhere",
    "error_bound",
    "interleave",
    "nearest",
    "only_moves",
    "places",
    "response",
    "terms",
]

#: Half a unit in the last place of the arithmetic; float16 is computed in float32 and rounded once, when stored.
EPSILON = {"f16": 2.0**-24, "f32": 2.0**-24, "f64": 2.0**-53}
ROUNDING = {"f16": 2.0**-11, "f32": 0.0, "f64": 0.0}
#: The operations of each family of kernels.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "elementwise": tuple(f"{name}{what}" for name in ACTIVATIONS for what in ("", "-grad-x")),
    "channelwise": (
        "batch_norm",
        "batch_norm_stats",
        "batch_norm-grad-x",
        "batch_norm-grad-weight",
        "linear-grad-bias",
    ),
    "response": ("local_response_norm", "local_response_norm-grad-x"),
    "nearest": ("interpolate", "interpolate-grad-x"),
    "interleave": ("pixel_shuffle", "pixel_unshuffle"),
    "dot": ("linear",),
}
#: Arrays of a kernel, at most.
SLOTS = 9
#: The kernels' order of arrays, by the names of the operations; the first of several that is there.
_ORDER: dict[str, tuple[tuple[str, ...], ...]] = {
    "elementwise": (("x",), ("grad_output",), ("out",)),
    "response": (("x",), ("grad_output",), ("out",)),
    "nearest": (("x", "grad_output"), ("out",)),
    "interleave": (("x",), ("out",)),
    "dot": (("x",), ("w",), ("bias",), ("out",)),
}
_NORM_INPUTS = (("x",), ("grad_output",), ("running_mean",), ("running_var",), ("weight",), ("bias",))
#: Scratch of one worker is at most this share of the call's limit, whatever the number of threads.
_WORKERS_IN_LIMIT = 8
#: Loops that a kernel has, the run among them.
_LOOPS = 4
#: Elements of a task: enough to hide what its start costs, few enough for threads to share.
_TASK = 16384
#: Bytes of a block that is summed while it is in L1, and pixels of one.
_BLOCK_BYTES = 16384
_BLOCK_PIXELS = 256
#: Elements of a tile of local response normalisation; five of them stay in L2.
_TILE = 8192


class Cut(NamedTuple):
    """A kernel's numbers, arrays that they point to, its tasks, and scratch bytes: for all workers, and of each."""

    fields: dict[str, Any]
    n_tasks: int
    shared_bytes: int = 0
    scratch_bytes: int = 0


class _Loops(NamedTuple):
    size: tuple[int, ...]
    step: tuple[tuple[int, ...], ...]  # of each array

    @property
    def rows(self) -> int:
        return math.prod(self.size[:-1])

    @property
    def run(self) -> int:
        return self.size[-1]


def _loops(sizes: tuple[int, ...], steps: list[tuple[int, ...] | None]) -> _Loops | None:
    """Merge the axes of arrays that share a shape; the innermost is where the last array's elements are closest."""
    present = [step for step in steps if step is not None]
    if 0 in sizes:  # strides that carry no meaning
        sizes, present = (0,), [(1,)] * len(present)
    axes = [(size, [step[i] for step in present]) for i, size in enumerate(sizes) if size != 1]
    axes.sort(key=lambda axis: -abs(axis[1][-1]))
    merged: list[tuple[int, list[int]]] = []
    for size, step in axes:
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1], step, strict=True)):
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    if len(merged) > _LOOPS:
        return None
    if not merged:
        merged = [(1, [1] * len(present))]
    merged = [(1, [0] * len(present))] * (_LOOPS - len(merged)) + merged
    of_each = iter(zip(*(step for _, step in merged), strict=True))
    found = tuple((0,) * _LOOPS if given is None else next(of_each) for given in steps)
    return _Loops(tuple(size for size, _ in merged), found)


def _elements(call: Call, name: str, item: int) -> tuple[int, ...] | None:
    strides = call.strides(name)
    return None if strides is None else tuple(stride // item for stride in strides)


def _round_up(count: int, to: int) -> int:
    return -(-count // to) * to


def _pieces(rows: int, run: int, per_element: int, most: int) -> tuple[int, int, int]:
    """Cut rows of a run into stretches of about ``most`` values: rows and elements of one, and pieces of a run."""
    piece = max(1, most // per_element)
    if run <= 2 * piece:
        piece = max(1, run)
    return min(max(1, rows), max(1, most // (piece * per_element))), piece, -(-run // piece)


def elementwise(call: Call) -> Cut | None:
    """Cut an activation or its gradient."""
    problem: ElementwiseProblem = call.problem
    item = ITEM_BYTES[problem.dtype]
    loops = _loops(problem.shape, [_elements(call, name, item) for name in ("x", "grad_output", "out")])
    if loops is None:
        return None
    rows, piece, n_pieces = _pieces(loops.rows, loops.run, 1, _TASK)
    n_tasks = n_pieces * -(-loops.rows // rows)
    fields = {
        "size": loops.size,
        "step": loops.step,
        "gradient": problem.gradient,
        "slope": problem.slope,
        "rows": rows,
        "piece": piece,
        "n_pieces": n_pieces,
        "n_tasks": n_tasks,
    }
    return Cut(fields, n_tasks)


class _Channels(NamedTuple):
    """Arrays of channels: all other axes as loops, the step of a channel in each array, and which are neighbours."""

    loops: _Loops
    c_step: tuple[int, ...]
    pixels: bool


def _by_channels(shape: tuple[int, ...], steps: list[tuple[int, ...] | None]) -> _Channels | None:
    """Take the channels (axis 1) apart; None where neither they nor a run of others are neighbours in every array."""
    if 0 in shape:
        steps = [None if step is None else standard_strides(shape, False, 1) for step in steps]
    rest = [None if step is None else (step[0], *step[2:]) for step in steps]
    loops = _loops((shape[0], *shape[2:]), rest)
    if loops is None:
        return None
    c_step = tuple(0 if step is None else step[1] for step in steps)
    present = [i for i, step in enumerate(steps) if step is not None]
    pixels = all(c_step[i] == 1 for i in present) or shape[1] == 1
    run = all(loops.step[i][-1] == 1 for i in present)
    if not pixels and not run:
        return None
    return _Channels(loops, c_step, pixels and (not run or loops.run < shape[1]))


#: The order of a norm's vectors in a kernel, by the operation's names.
_VECTORS = ("running_mean", "running_var", "weight", "bias")


def channelwise(call: Call, lanes: int) -> Cut | None:
    """Cut a batch normalisation, its statistics, its gradients, or the sum of a linear layer's grad_output."""
    problem: NormProblem | LinearProblem = call.problem
    item, real = ITEM_BYTES[problem.dtype], max(4, ITEM_BYTES[problem.dtype])
    norm = isinstance(problem, NormProblem)
    shape = problem.shape if isinstance(problem, NormProblem) else problem.out_shape
    writes = isinstance(problem, NormProblem) and problem.kind != "stats" and problem.wants_x
    steps = [_elements(call, name, item) for name in ("x", "grad_output", "out")]
    steps = [step if i < 2 or writes else None for i, step in enumerate(steps)]
    form = _by_channels(shape, steps)
    if form is None:
        return None
    loops, channels = form.loops, shape[1]
    names = {operand.name for operand in problem.outputs}
    if not writes:
        results = ("out", "var" if "var" in names else "grad_bias")
    else:
        results = ("mean", "var") if "mean" in names else ("grad_weight", "grad_bias")
    vectors = [_elements(call, name, item) for name in (*(_VECTORS if norm else ("",) * 4), *results)]
    group = 1
    if form.pixels:
        group = 4 * lanes if channels >= 4 * lanes else lanes
        rows, piece, n_pieces = _pieces(loops.rows, loops.run, 1, _BLOCK_PIXELS)
    else:
        rows, piece, n_pieces = _pieces(loops.rows, loops.run, 1, _BLOCK_BYTES // real)
    n_groups, n_blocks = -(-channels // group), n_pieces * -(-loops.rows // rows)
    units = max(1, 2 * _TASK // (rows * piece * group))
    apply_rows, apply_piece, n_apply_pieces = _pieces(
        loops.rows * (1 if form.pixels else channels), loops.run, channels if form.pixels else 1, _TASK
    )
    n_tasks = -(-n_groups * n_blocks // units)
    n_apply_tasks = n_apply_pieces * -(-loops.rows * (1 if form.pixels else channels) // apply_rows)
    shared = _round_up(4 * (_round_up(channels, lanes) + lanes) * real, 64) + 16 * n_groups * n_blocks * group
    copied = piece * group if form.pixels else _round_up(piece, lanes) + lanes if item != real else 0
    shared, scratch = _round_up(shared, 64), _round_up(2 * copied * real + 64, 64)
    fields = {
        "channels": channels,
        "count": loops.rows * loops.run,
        "pixels": form.pixels,
        "size": loops.size,
        "step": loops.step,
        "c_step": form.c_step,
        "vector_step": tuple(0 if step is None else step[0] for step in vectors),
        "eps": problem.eps if isinstance(problem, NormProblem) else 0.0,
        "group": group,
        "n_groups": n_groups,
        "rows": rows,
        "piece": piece,
        "n_pieces": n_pieces,
        "n_blocks": n_blocks,
        "units": units,
        "n_tasks": n_tasks,
        "apply_rows": apply_rows,
        "apply_piece": apply_piece,
        "n_apply_pieces": n_apply_pieces,
        "n_apply_tasks": n_apply_tasks,
        "shared_bytes": shared,
        "scratch_bytes": scratch,
    }
    return Cut(fields, max(n_tasks, n_apply_tasks), shared, scratch)


def response(call: Call, lanes: int) -> Cut | None:
    """Cut a local response normalisation or its gradient."""
    problem: ResponseProblem = call.problem
    item, real = ITEM_BYTES[problem.dtype], max(4, ITEM_BYTES[problem.dtype])
    form = _by_channels(problem.shape, [_elements(call, name, item) for name in ("x", "grad_output", "out")])
    if form is None:
        return None
    before, after = problem.window
    lead = before + after if problem.gradient else max(before, after)
    channels = problem.shape[1]
    loops = form.loops
    if form.pixels:
        c_block, pitch = max(1, channels), channels + 2 * lead
        piece = min(max(1, loops.run), max(1, _TILE // pitch))
        rows, step = piece, 1
    else:
        c_block = min(max(1, channels), max(64, 8 * lead))
        rows = c_block + 2 * lead
        piece = min(max(1, loops.run), max(1, _TILE // rows // lanes) * lanes)
        pitch = step = _round_up(piece, lanes)
    elems = _round_up(rows * pitch, lanes) + _round_up((before + after) * step, lanes) + 2 * lanes
    n_c_blocks, n_pieces = -(-channels // c_block), -(-loops.run // piece)
    n_tasks = n_pieces * n_c_blocks * loops.rows
    scratch = _round_up((5 if problem.gradient else 3) * elems * real, 64)
    fields = {
        "channels": channels,
        "before": before,
        "after": after,
        "pixels": form.pixels,
        "gradient": problem.gradient,
        "size": loops.size,
        "step": loops.step,
        "c_step": form.c_step,
        "k": problem.k,
        "alpha": problem.alpha / problem.size,
        "beta": problem.beta,
        "c_block": c_block,
        "piece": piece,
        "n_c_blocks": n_c_blocks,
        "n_pieces": n_pieces,
        "n_tasks": n_tasks,
        "pitch": pitch,
        "rows": rows,
        "elems": elems,
        "scratch_bytes": scratch,
    }
    return Cut(fields, n_tasks, 0, scratch)


def nearest(call: Call, lanes: int) -> Cut:
    """Cut a nearest-neighbour resizing or its gradient; ``at`` holds its tables."""
    problem: ResizeProblem = call.problem
    item, real = ITEM_BYTES[problem.dtype], max(4, ITEM_BYTES[problem.dtype])
    small, large = ("out", "grad_output") if problem.gradient else ("x", "out")
    x, out = _elements(call, small, item), _elements(call, large, item)
    assert x is not None
    assert out is not None
    rank = len(problem.spatial)
    inner = 1
    if x[1] == out[1] == 1 < problem.c and not x[-1] == out[-1] == 1:
        inner = problem.c
    longest = max(problem.out_spatial[-1], problem.spatial[-1])
    if problem.gradient and 2 * (longest * inner + 2 * lanes) * real > call.max_workspace // _WORKERS_IN_LIMIT:
        inner = 1
    width = problem.out_spatial[-1] * inner
    missing = 3 - rank
    tables = [nearest_index(problem, axis) for axis in range(rank)]
    last = tables[-1]
    repeat = problem.out_spatial[-1] // problem.spatial[-1]
    if repeat * problem.spatial[-1] != problem.out_spatial[-1] or (last != np.arange(last.size) // repeat).any():
        repeat = 0
    if problem.gradient:
        tables = [np.searchsorted(at, np.arange(n + 1)) for at, n in zip(tables, problem.spatial, strict=True)]
    first = np.arange(1 + problem.gradient)
    at: list[Array] = [np.ascontiguousarray(table, np.int64) for table in (*[first] * missing, *tables)]
    ones, zeros = (1,) * missing, (0,) * missing
    sizes = problem.spatial if problem.gradient else problem.out_spatial
    n_rows = math.prod(sizes[:-1])
    rows = min(max(1, n_rows), max(1, _TASK // width))
    c = problem.c // inner if inner else 0
    n_tasks = problem.n * c * -(-n_rows // rows)
    widths = width, problem.spatial[-1] * inner  # a row of sums, and one of results
    scratch = _round_up(sum(_round_up(w, lanes) + lanes for w in widths) * real, 64) if problem.gradient else 0
    fields = {
        "n": problem.n,
        "c": c,
        "inner": inner,
        "in": (*ones, *problem.spatial),
        "out": (*ones, *problem.out_spatial),
        "ld_x": (*x[:2], *zeros, *x[2:]),
        "ld_out": (*out[:2], *zeros, *out[2:]),
        "at": at,
        "repeat": repeat,
        "gradient": problem.gradient,
        "rows": rows,
        "n_tasks": n_tasks,
        "scratch_bytes": scratch,
    }
    return Cut(fields, n_tasks, 0, scratch)


def _one_axis(sizes: tuple[int, ...], step: tuple[int, ...]) -> int | None:
    """Return the step of axes as one, None where they are none."""
    axes = [(size, s) for size, s in zip(sizes, step, strict=True) if size != 1]
    merged = all(s == size * below for (_, s), (size, below) in itertools.pairwise(axes))
    return (axes[-1][1] if axes else 0) if merged else None


def interleave(call: Call, lanes: int) -> Cut | None:
    """Cut a move between channels and pixels."""
    problem: ShuffleProblem = call.problem
    item, ahead = ITEM_BYTES[problem.dtype], len(problem.lead)
    small, large = ("out", "x") if problem.gather else ("x", "out")
    ld = []
    for name in (small, large):
        step = _elements(call, name, item)
        assert step is not None
        first = _one_axis(problem.lead, step[:ahead])
        if first is None:
            return None
        ld.append((first, *step[ahead:]))
    r, n = problem.factor, math.prod(problem.lead)
    channels = all(step[1] == 1 for step in ld) and not all(step[3] == 1 for step in ld)
    lines = n * problem.h if channels else n * problem.c * problem.h * r
    line = problem.w * r * (problem.c * r if channels else 1)
    rows = max(1, _TASK // max(1, line))
    n_tasks = -(-lines // rows)
    fields = {
        "n": n,
        "c": problem.c,
        "h": problem.h,
        "w": problem.w,
        "factor": r,
        "gather": problem.gather,
        "channels": channels,
        "ld_small": ld[0],
        "ld_large": ld[1],
        "rows": rows,
        "n_tasks": n_tasks,
    }
    return Cut(fields, n_tasks)


def dot(call: Call) -> Cut | None:
    """Cut a linear layer of few rows; its weights are contiguous."""
    problem: LinearProblem = call.problem
    item = ITEM_BYTES[problem.dtype]
    x, out = _elements(call, "x", item), _elements(call, "out", item)
    assert x is not None
    assert out is not None
    if problem.c_in > 1 and x[1] != 1:
        return None
    columns = 4 * max(1, _TASK // (4 * max(1, problem.c_in)))
    n_tasks = -(-problem.c_out // columns)
    fields = {
        "m": problem.rows,
        "n": problem.c_out,
        "k": problem.c_in,
        "ld_x": x[0],
        "ld_w": problem.c_in,
        "ld_out": out[0],
        "out_step": out[1],
        "columns": columns,
        "n_tasks": n_tasks,
    }
    return Cut(fields, n_tasks)


def only_moves(problem: Any) -> bool:
    """Whether results are elements of x and zeros, exactly."""
    if isinstance(problem, ShuffleProblem):
        return True
    if isinstance(problem, LoweringProblem):
        return not problem.fold
    return isinstance(problem, ResizeProblem) and problem.is_nearest and not problem.gradient


def terms(problem: Any) -> int:
    """Return how many roundings one result has, by kernels that sum in blocks."""
    if isinstance(problem, LoweringProblem):
        return problem.overlap
    if isinstance(problem, ResizeProblem):
        if problem.is_nearest:
            return math.prod(problem.overlap) if problem.gradient else 0
        return sum(problem.overlap if problem.gradient else problem.taps)
    if isinstance(problem, ResponseProblem):
        return 2 * (sum(problem.window) + 1)
    if isinstance(problem, LinearProblem):
        return problem.reduction
    if isinstance(problem, NormProblem):
        # a block's sum has at least four accumulators of four lanes; the blocks' sums are float64
        return 0 if problem.kind == "infer" else min(problem.count, max(_BLOCK_BYTES // 4 // 16, _BLOCK_PIXELS))
    return 0


def error_bound(problem: Any) -> float:
    """Return the largest error relative to the operation's magnitude (docs/accuracy.md)."""
    if only_moves(problem):
        return 0.0
    return (terms(problem) + 16) * EPSILON[problem.dtype] + ROUNDING[problem.dtype]


def _order_of(problem: Any, family: str) -> tuple[tuple[str, ...], ...]:
    """Return the names of a kernel's arrays, in its order."""
    if family != "channelwise":
        return _ORDER[family]
    if isinstance(problem, LinearProblem) or problem.kind == "stats" or not problem.wants_x:
        return (*_NORM_INPUTS, (), ("out",), ("var", "grad_bias"))
    return (*_NORM_INPUTS, ("out",), ("mean", "grad_weight"), ("var", "grad_bias"))


def places(problem: Any, family: str) -> list[tuple[int, int, str]]:
    """Return, for each array that a call is given, its slot among the kernel's arrays, its position, and its name."""
    names = [a.name for a in (*problem.inputs, *problem.outputs)]
    return [
        (slot, names.index(name), name)
        for slot, wanted in enumerate(_order_of(problem, family))
        for name in wanted
        if name in names
    ]


def elsewhere(packed: Any, *arrays: Array | None) -> bool:
    """Return False: these strides are read and written from copies."""
    return False


@dataclass(frozen=True, slots=True)
class Layer(Plain):
    """A kernel of the small layers, for one operation: what the backends' have in common."""

    op: str
    family: str
    dtype: str
    lanes: int

    #: Bytes moved, and operations, below which a call stays on the caller's thread: waking another costs time.
    bytes_per_thread: ClassVar[int]
    flops_per_thread: ClassVar[int]

    def error_bound(self, problem: Any) -> float:
        """Return the bound of sums in blocks; nothing for what only moves."""
        return error_bound(problem)

    def estimate(self, problem: Any, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        if self.family == "dot":
            return cost.dot_seconds(problem, machine)
        return cost.pool_seconds(problem, machine)

    def fits(self, problem: Any) -> str:
        """Return why the kernel is not for a problem of its operation; empty where it is."""
        if isinstance(problem, ResizeProblem) and not problem.is_nearest:
            return f"is for nearest neighbours, not for mode {problem.mode!r}"
        return ""

    def cut(self, call: Call) -> Cut | None:
        """Return how the kernel cuts a call; None where its arrays' strides do not suit it."""
        if self.family == "elementwise":
            return elementwise(call)
        if self.family == "dot":
            return dot(call)
        cuts = {"channelwise": channelwise, "response": response, "nearest": nearest, "interleave": interleave}
        return cuts[self.family](call, self.lanes)

    def threads(self, call: Call, cut: Cut) -> int:
        """Return how many threads have enough to do."""
        by_memory = (call.max_workspace - cut.shared_bytes) // max(1, cut.scratch_bytes)
        by_work = max(call.problem.bytes // self.bytes_per_thread, call.problem.flops // self.flops_per_thread)
        return int(max(1, min(call.threads, by_memory, by_work, cut.n_tasks)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        cut = self.cut(call)
        if cut is None:
            cut = self.cut(Call.typical(call.problem, call.threads, call.max_workspace))
            assert cut is not None
        if cut.scratch_bytes > call.max_workspace // _WORKERS_IN_LIMIT or cut.shared_bytes > call.max_workspace // 2:
            return None
        return cut.shared_bytes + cut.scratch_bytes * self.threads(call, cut)
