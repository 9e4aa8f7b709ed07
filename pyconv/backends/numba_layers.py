"""The Numba kernels of the small layers as algorithms: the twins of csrc/'s elementwise, channelwise, response ...

Not for float16, which Numba does not compute with on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np

from ..algorithm import Array, Call, Packed, Runner, Support
from ..kernels.cpu import channelwise, dot, elementwise, nearest, response, simd, threads, tile
from ..kernels.cpu import math as vector_math
from ..problem import ITEM_BYTES, ElementwiseProblem, LinearProblem, NormProblem, ResizeProblem, ResponseProblem
from . import layers, linear, numba_cpu
from .plain import OnNumba

__all__ = ["algorithms"]

_REAL: dict[str, Any] = {"f32": numba.float32, "f64": numba.float64}
#: A zero of each type that arrays may have.
_ZERO: dict[str, Any] = {"f32": np.float32(0), "f64": np.float64(0)}


class _Stage(NamedTuple):
    """Tasks that may run side by side; those of the next stage need all of them done."""

    #: called with (first, last, arrays, shared scratch, own scratch), returns how many tasks it did
    kernel: Callable[[int, int, list[int], int, int], int]
    tasks: int


def _record(dtype: np.dtype[Any], fields: dict[str, Any]) -> Any:
    """Return the array of one record that a kernel takes."""
    params = np.zeros(1, dtype)
    for name in dtype.names or ():
        params[name] = fields[name]
    return params


def _elementwise(problem: ElementwiseProblem, cut: layers.Cut) -> list[_Stage]:
    params = _record(elementwise.ELEMENTWISE, cut.fields)
    kind = tile.ACTIVATIONS.index(problem.activation)
    slope = _ZERO[problem.dtype].dtype.type(problem.slope)
    function = vector_math.elementwise(_REAL[problem.dtype], kind, int(problem.gradient))

    def tasks(first: int, last: int, arrays: list[int], shared: int, own: int) -> Any:
        return elementwise.layers_elementwise(params, first, last, *arrays[:3], function, slope)

    return [_Stage(tasks, cut.n_tasks)]


_NORMS = {
    "infer": channelwise.INFER,
    "train": channelwise.TRAIN,
    "stats": channelwise.STATS,
    "grad-infer": channelwise.GRAD_INFER,
    "grad-train": channelwise.GRAD_TRAIN,
}


def _channelwise(problem: NormProblem | LinearProblem, cut: layers.Cut) -> list[_Stage]:
    what = _NORMS[problem.kind] if isinstance(problem, NormProblem) else channelwise.CHANNEL_SUM
    params = _record(channelwise.CHANNELWISE, {**cut.fields, "what": what})
    like = _ZERO[problem.dtype]
    n_channel_tasks = -(-cut.fields["channels"] // channelwise.CHANNELS_OF_A_TASK)

    def sums(of_g: int | None) -> _Stage:
        def tasks(first: int, last: int, a: list[int], shared: int, own: int) -> Any:
            return channelwise.channelwise_sums(params, first, last, *a[:2], shared, of_g, like)

        return _Stage(tasks, cut.fields["n_tasks"])

    def moments(first: int, last: int, a: list[int], shared: int, own: int) -> Any:
        return channelwise.channelwise_moments(params, first, last, *a[2:6], *a[7:9], shared, like)

    def products(first: int, last: int, a: list[int], shared: int, own: int) -> Any:
        return channelwise.channelwise_products(params, first, last, *a[7:9], shared, like)

    def mapped(of_x: int | None, of_g: int | None) -> _Stage:
        def tasks(first: int, last: int, a: list[int], shared: int, own: int) -> Any:
            x, g = a[0] if of_x == 0 else a[1], a[1] if of_g == 0 else a[0]
            return channelwise.channelwise_map(params, first, last, x, g, a[6], shared, of_x, of_g, like)

        return _Stage(tasks, cut.fields["n_apply_tasks"])

    if not isinstance(problem, NormProblem):
        return [sums(None), _Stage(products, n_channel_tasks)]
    stages = [sums(None)] if problem.own else []
    stages.append(_Stage(moments, n_channel_tasks))
    if problem.kind == "grad-train" or (problem.gradient and (problem.weight or problem.bias)):
        stages += [sums(0), _Stage(products, n_channel_tasks)]
    if problem.kind != "stats" and problem.wants_x:
        stages.append(mapped(None if problem.kind == "grad-infer" else 0, 0 if problem.gradient else None))
    return stages


def _response(problem: ResponseProblem, cut: layers.Cut) -> list[_Stage]:
    params, like = _record(response.RESPONSE, cut.fields), _ZERO[problem.dtype]

    def tasks(first: int, last: int, arrays: list[int], shared: int, own: int) -> Any:
        return response.layers_response(params, first, last, *arrays[:3], own, like)

    return [_Stage(tasks, cut.n_tasks)]


def _nearest(problem: ResizeProblem, cut: layers.Cut) -> list[_Stage]:
    tables = cut.fields["at"]
    fields = {**cut.fields, "at": [numba_cpu.address(table) for table in tables]}
    params, like = _record(nearest.NEAREST, fields), _ZERO[problem.dtype]

    def tasks(first: int, last: int, arrays: list[int], shared: int, own: int, keep: Any = tables) -> Any:
        if problem.gradient:
            return nearest.layers_nearest_gradient(params, first, last, *arrays[:2], own, like)
        return nearest.layers_nearest(params, first, last, *arrays[:2], like)

    return [_Stage(tasks, cut.n_tasks)]


def _dot(problem: LinearProblem, cut: layers.Cut) -> list[_Stage]:
    params, like = _record(dot.DOT, cut.fields), _ZERO[problem.dtype]

    def tasks(first: int, last: int, arrays: list[int], shared: int, own: int) -> Any:
        return dot.layers_dot(params, first, last, *arrays[:4], like)

    return [_Stage(tasks, cut.n_tasks)]


_STAGES: dict[str, Callable[[Any, layers.Cut], list[_Stage]]] = {
    "elementwise": _elementwise,
    "channelwise": _channelwise,
    "response": _response,
    "nearest": _nearest,
    "dot": _dot,
}


@dataclass(frozen=True, slots=True)
class NumbaLayer(OnNumba, layers.Layer):
    """A kernel of the small layers, for one operation."""

    unit: ClassVar[str] = "layers"

    backend: str = "numba"
    preferred: bool = True

    #: waking another thread, which hands Python's lock over, costs some fifty microseconds
    bytes_per_thread: ClassVar[int] = 1 << 20
    flops_per_thread: ClassVar[int] = 2_000_000

    def supports(self, problem: Any) -> Support:
        """Whether the kernel is for it."""
        return Support(self.fits(problem))

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return the addresses of weights and bias, contiguous, and the arrays; linear layers have them."""
        kept = [None if a is None else np.require(a, requirements=["C", "A"]) for a in weights]
        return [numba_cpu.address(a) for a in kept], kept

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, cut = call.problem, self.cut(call)
        if cut is None:
            return layers.elsewhere
        stages, name, item = _STAGES[self.family](problem, cut), self.kernel_name, ITEM_BYTES[self.dtype]
        places, weighted, most = layers.places(problem, self.family), self.family == "dot", self.threads(call, cut)
        size, shared = cut.scratch_bytes, cut.shared_bytes

        def run(packed: Packed, *given: Array | None) -> bool:
            arrays = [a for a in given if a is not None]
            at = [0] * layers.SLOTS
            for slot, place, _ in places:
                at[slot] = numba_cpu.address(arrays[place])
            if weighted:
                at[1 : 1 + len(packed[0])] = packed[0]
            if any(address % item for address in at):
                return False
            memory = numba_cpu.scratch(shared + size * most)
            scratch = numba_cpu.address(memory)
            for stage in stages:
                shares = min(most, stage.tasks)

                def work(share: int, first: int, last: int, stage: _Stage = stage) -> Any:
                    return stage.kernel(first, last, at, scratch, scratch + shared + share * size)

                threads.run_tasks(name, stage.tasks, shares, work)
            numba_cpu.note_kernel(name)
            return True

        return run


def algorithms(convolutions: Iterable[Any]) -> Iterator[NumbaLayer | linear.Linear]:
    """Every kernel of the small layers, for each operation that it serves."""
    for dtype in _ZERO:
        for family in _STAGES:
            for op in layers.OPERATIONS[family]:
                yield NumbaLayer(op, family, dtype, simd.VECTOR_BYTES // ITEM_BYTES[dtype])
    yield from linear.algorithms(convolutions)
