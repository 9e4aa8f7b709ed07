"""What the pooling kernels have in common, whichever backend they are of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..algorithm import Array, Call, Runner, Support
from ..problem import AXES, FLOATS, ITEM_BYTES, PoolProblem, UnpoolProblem

__all__ = [
    "BYTES_PER_THREAD",
    "Described",
    "PoolAxis",
    "bad_index",
    "clear",
    "describe",
    "elsewhere",
    "error_bound",
    "operations",
    "places",
    "supports",
    "takes",
]

#: Offsets inside a window have to fit 32 bits, beside one that is none.
_MAX_REACH = 0x3F000000
#: Bytes moved below which a call stays on the caller's thread: waking another costs some microseconds.
BYTES_PER_THREAD = 96 << 10


@dataclass(frozen=True, slots=True)
class PoolAxis:
    """One spatial axis."""

    size: int = 1
    k: int = 1
    out: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True)
class Described:
    """A call as the kernels see it: three spatial axes, and for each role an array's strides and end in elements."""

    n: int
    c: int
    inner: int  # elements of a column: channels, where these are fastest in memory, and then c is 1
    d: PoolAxis
    h: PoolAxis
    w: PoolAxis
    adaptive: bool
    strides: dict[str, dict[str, int]]
    ends: dict[str, int]
    include_pad: bool = True
    divisor: float = 0.0
    norm: float = 0.0
    power: float = 0.0
    own_indices: bool = False

    @property
    def signs(self) -> bool:
        """Whether a sum of powers may be negative, and is to be another one then."""
        return self.power % 2 == 1


def supports(problem: PoolProblem | UnpoolProblem, family: str) -> Support:
    """Whether a family can do a problem."""
    if isinstance(problem, UnpoolProblem):
        return Support()
    if family == "separable" and problem.indices:
        return Support("finds no indices")
    if family == "indexed" and not problem.indices:
        return Support("is for maxima with their indices")
    if (family == "indexed" and problem.dtype in FLOATS) or (family == "scatter" and not problem.indices):
        steps = [math.prod(problem.spatial[i + 1 :]) for i in range(problem.rank)]
        windows = problem.kernel if problem.adaptive is None else problem.spatial
        reach = sum(k * d * step for k, d, step in zip(windows, problem.dilation, steps, strict=True))
        if reach >= _MAX_REACH:
            return Support("needs windows that reach less than 2^30 elements")
    return Support()


def error_bound(problem: PoolProblem | UnpoolProblem, epsilon: float) -> float:
    """One rounding for each addition, multiplication of a power and division; nothing for what only moves.

    That of norms is of the sums that they are roots of; of their gradient it is that of the windows' sums as well.
    """
    if isinstance(problem, UnpoolProblem) or (problem.kind == "max" and not problem.gradient):
        return 0.0
    more = 0.0 if problem.kind != "lp" else 3 * problem.norm + (problem.window if problem.gradient else 0)
    return (problem.overlap + more + 4) * epsilon


def operations(family: str, dtype: str) -> list[str]:
    """Return the operations that a family serves for an element type."""
    found: list[str] = []
    for rank in (1, 2, 3):
        maxima = [f"max_pool{rank}d", f"adaptive_max_pool{rank}d"]
        sums = [f"avg_pool{rank}d", f"adaptive_avg_pool{rank}d", f"lp_pool{rank}d"]
        floating = dtype in FLOATS
        found += {
            "separable": maxima + (sums if floating else []),
            "indexed": maxima,
            "spread": [f"{op}-grad-x" for op in sums],
            "scatter": [
                f"max_unpool{rank}d",
                *(f"{op}-grad-x" for op in (f"max_unpool{rank}d", *maxima) if floating),
            ],
        }[family]
    return found


def takes(call: Call, family: str) -> bool:
    """Whether the strides of each array are those that every kernel needs: it is read and written from copies if not.

    The elements of a row, or of its pixels, are neighbours in memory; a plane that indices point into is one run.
    """
    problem = call.problem
    for role, name in _roles(call).items():
        item = 8 if role == "indices" else ITEM_BYTES[problem.dtype]
        whole = role == "x" and family == "scatter"
        if not (_plane_is_plain if whole else _row_is_plain)(call, name, item, problem.channels_last):
            return False
    return True


def places(call: Call) -> list[int]:
    """Return where the arrays of roles x, out, indices and forward stand in a runner's arguments, -1 for none."""
    names = _roles(call)
    order = [a.name for a in (*call.problem.inputs, *call.problem.outputs)]
    return [order.index(names[role]) if role in names else -1 for role in ("x", "out", "indices", "forward")]


def _roles(call: Call) -> dict[str, str]:
    return {role: name for role, name in call.problem.roles.items() if call.strides(name) is not None}


def _row_is_plain(call: Call, name: str, item: int, channels_last: bool) -> bool:
    strides, shape = call.strides(name), call.shape(name)
    assert strides is not None
    if channels_last:
        return (shape[1] == 1 or strides[1] == item) and (shape[-1] == 1 or strides[-1] == shape[1] * item)
    return shape[-1] == 1 or strides[-1] == item


def _plane_is_plain(call: Call, name: str, item: int, channels_last: bool) -> bool:
    strides, shape = call.strides(name), call.shape(name)
    assert strides is not None
    step = item * (shape[1] if channels_last else 1)
    for size, stride in zip(reversed(shape[2:]), reversed(strides[2:]), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return not channels_last or shape[1] == 1 or strides[1] == item


def describe(call: Call) -> Described:
    """Return the call in the kernels' terms."""
    problem = call.problem
    flat = _flat(call, problem)
    inner = problem.c if problem.channels_last else 1
    rank = 1 if flat else problem.rank
    spatial = (math.prod(problem.spatial),) if flat else problem.spatial
    out_spatial = (1,) if flat else problem.out_spatial
    kernel, stride, padding, dilation, adaptive = _windows(problem, spatial, out_spatial)
    axes = {name: PoolAxis() for name in "dhw"}
    for i, name in enumerate(AXES[rank]):
        axes[name] = PoolAxis(spatial[i], kernel[i], out_spatial[i], stride[i], dilation[i], *padding[i])
    strides: dict[str, dict[str, int]] = {}
    ends: dict[str, int] = {}
    for role, name in _roles(call).items():
        size = 8 if role == "indices" else ITEM_BYTES[problem.dtype]
        elements = [s // size for s in call.strides(name) or ()]
        reach = zip(call.shape(name), elements, strict=True)
        ends[role] = 1 + sum((n - 1) * s for n, s in reach if s > 0 and n > 0)
        strides[role] = {"n": elements[0], "c": 0 if problem.channels_last else elements[1]}
        if not flat:
            strides[role] |= dict(zip(AXES[problem.rank], elements[2:], strict=True))
    more: dict[str, Any] = {}
    if isinstance(problem, PoolProblem):
        more = {"include_pad": problem.count_include_pad, "divisor": float(problem.divisor or 0)}
        more |= {"norm": problem.norm, "power": _power_of(problem.norm)}
        more["own_indices"] = problem.gradient and problem.kind == "max" and not problem.indices
    n, c = problem.n, problem.c // inner if inner else 0
    if flat and not problem.indices and all(_is_one_run(n, c, step) for step in strides.values()):
        # planes of one row each: they are the rows of one plane
        axes["h"] = PoolAxis(size=n * c, out=n * c)
        for step in strides.values():
            step["h"] = step["c"] if c > 1 else step["n"]
        n = c = 1
    d, h, w = (axes[name] for name in "dhw")
    return Described(n, c, inner, d, h, w, adaptive, strides, ends, **more)


def _power_of(norm: float) -> float:
    """Return what elements are raised to: -p for |x|^p, p where x^p has a meaning for any x, 0 for x itself."""
    return 0.0 if norm == 1 else norm if norm % 1 == 0 else -norm


def _flat(call: Call, problem: PoolProblem | UnpoolProblem) -> bool:
    """Whether one window covers whole planes, each a run of memory: then it is one row."""
    if isinstance(problem, UnpoolProblem) or problem.gradient or problem.channels_last or problem.rank == 1:
        return False
    whole = problem.adaptive is not None or problem.kernel == problem.spatial
    one = all(size == 1 for size in problem.out_spatial) and all(pad == (0, 0) for pad in problem.padding)
    return whole and one and _plane_is_plain(call, "x", ITEM_BYTES[problem.dtype], False)


def _is_one_run(n: int, c: int, strides: dict[str, int]) -> bool:
    """Whether all channels of all images lie equally far apart."""
    return n == 1 or c == 1 or strides["n"] == c * strides["c"]


def _windows(
    problem: PoolProblem | UnpoolProblem, spatial: tuple[int, ...], out_spatial: tuple[int, ...]
) -> tuple[Any, Any, Any, Any, bool]:
    """Return kernel, stride, padding, dilation and whether windows differ in size."""
    rank = len(spatial)
    ones, none = (1,) * rank, ((0, 0),) * rank
    if isinstance(problem, UnpoolProblem):
        return ones, ones, none, ones, False
    if problem.adaptive is None and len(spatial) == problem.rank:
        return problem.kernel, problem.stride, problem.padding, problem.dilation, False
    if all(size % out == 0 for size, out in zip(spatial, out_spatial, strict=True)):
        sizes = tuple(size // out for size, out in zip(spatial, out_spatial, strict=True))
        return sizes, sizes, none, ones, False
    return ones, ones, none, ones, True


def elsewhere(packed: Any, *arrays: Array | None) -> bool:
    """Return False: these strides are read and written from copies."""
    return False


def clear(n_outputs: int) -> Runner:
    """Return what there is to do where x or the output is empty: the rest of the results is zero."""

    def run(packed: Any, *arrays: Array | None) -> bool:
        for out in arrays[len(arrays) - n_outputs :]:
            if out is not None:
                out[...] = 0
        return True

    return run


def bad_index(problem: PoolProblem | UnpoolProblem) -> str:
    """Return what is wrong with an index that no plane has."""
    return f"{problem.op}: an index lies outside its plane of {math.prod(problem.spatial)} elements"
