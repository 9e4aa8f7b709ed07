"""Transposed convolutions, and gradients with respect to x, by the convolution kernels of a backend.

Each is a few convolutions of stride 1, its parts (:attr:`pyconv.problem.TransposedProblem.parts`), whose results the
kernels of one family store where they belong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import reference
from ..algorithm import Algorithm, Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import ITEM_BYTES, TransposedPart, TransposedProblem, pad_index
from .borrowed import Borrowed

__all__ = ["Transposed", "algorithms", "part_weights"]

#: Families that sum directly: what computes the parts that a family cannot do.
_DIRECT = ("implicit-gemm", "direct", "depthwise", "depthwise-channels")

#: Families with pixels in the lanes: two phases are interleaved for themselves, where others turn channels into rows of
#: pixels anyway; more than two are stored element by element.
_PIXELS_IN_LANES = ("direct", "im2col", "depthwise")
#: Families whose lanes are channels that nothing turns: neighbours in a vector are a plane apart.
_CHANNEL_BY_CHANNEL = ("depthwise-channels", "grouped-channels")
#: Seconds for a result beyond those of an ordinary convolution.
_STORED = {"apart": 0.8e-9, "one by one": 0.45e-9, "interleaved": 0.08e-9, "in vectors": 0.1e-9}


class _Step(NamedTuple):
    """A part and the kernel that computes it."""

    part: TransposedPart
    kernel: Any


@dataclass(frozen=True, slots=True)
class Transposed(Borrowed):
    """A family of convolution kernels at work on the parts of a transposed convolution.

    Parts that the family cannot do (a single tap, for Winograd) are summed directly.
    """

    direct: tuple[Any, ...]  # those of _DIRECT

    def _steps(self, problem: TransposedProblem) -> tuple[_Step, ...]:
        """Return the parts and who computes them, those of the family last; empty where it has no part to do."""
        return _steps_of(self, problem)

    def supports(self, problem: TransposedProblem) -> Support:
        """Whether the family can do one of the parts."""
        if not problem.parts:
            return Support("needs something to sum")
        if self._steps(problem):
            return Support()
        return Support(self.kernel.supports(problem.parts[0].conv).reason)

    def _calls(self, call: Call) -> Iterator[tuple[_Step, Call]]:
        problem = call.problem
        x = call.strides(problem.inputs[0].name)
        out = call.strides("out")
        if problem.padding_mode != "zeros":
            out = _bordered(problem)[1]
        assert x is not None
        assert out is not None
        for step in self._steps(problem):
            yield step, Call(step.part.conv, (("x", x), ("out", out)), call.threads, call.max_workspace)

    def workspace(self, call: Call) -> int | None:
        """Return the largest of the parts', and an image with its border where that has to be folded."""
        largest = 0
        for step, part_call in self._calls(call):
            size = _workspace(step, part_call)
            if size is None:
                return None
            largest = max(largest, size)
        if call.problem.padding_mode == "zeros":
            return largest
        image = math.prod(_bordered(call.problem)[0]) * ITEM_BYTES[self.dtype]
        return largest + image if image <= call.max_workspace else None

    def estimate(self, problem: TransposedProblem, machine: Machine) -> float:
        """Return the sum of the parts, what it takes to store results apart, and to pack the weights of a gradient."""
        steps = self._steps(problem)
        seconds = sum(step.kernel.estimate(step.part.conv, machine) for step in steps)
        stored = sum(_STORED[_way_of(step)] * math.prod(step.part.conv.out_shape) for step in steps)
        packed = 0
        if problem.gradient:  # there they are new each time
            packed = sum(_packed_elements(step) for step in steps)
        return float(seconds) + stored + 0.4e-9 * packed

    def accuracy(self, problem: TransposedProblem) -> str:
        """Return the least strict of the parts'."""
        return str(max((step.kernel.accuracy(step.part.conv) for step in self._steps(problem)), key=_LOOSER.index))

    def error_bound(self, problem: TransposedProblem) -> float:
        """Return the largest of the parts' bounds."""
        border = 0.0
        if problem.padding_mode != "zeros":  # the sums of what is folded are rounded to the arrays' type
            epsilon = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}[problem.dtype]
            border = math.prod(1 + before + after for before, after in problem.padding) * epsilon
        return float(border + max(step.kernel.error_bound(step.part.conv) for step in self._steps(problem)))

    def error_reach(self, problem: TransposedProblem) -> int:
        """Return the largest of the parts' reaches, in elements of x."""
        return int(max(step.kernel.error_reach(step.part.conv) for step in self._steps(problem)))

    def packing(self, problem: TransposedProblem) -> str:
        """Name the parts and their kernels' orders of weights."""
        words = (f"{step.part.conv.kernel}:{step.kernel.packing(step.part.conv)}" for step in self._steps(problem))
        sizes = f"s{problem.stride}p{problem.padding}d{problem.dilation}to{problem.out_spatial}"
        return f"transposed-{sizes}-{problem.channels_last}-{'/'.join(words)}"

    def prepare(self, problem: TransposedProblem, w: Array, bias: Array | None = None) -> Packed:
        """Return the packed weights of every part, and what elements hold that no tap reaches."""
        if not self.kernel.all_finite(w):
            return None, (w.copy(), None if bias is None else bias.copy())
        packed = []
        for part, kernel in self._steps(problem):
            each = bias
            if bias is not None:
                per_group = bias.reshape(problem.groups, -1)
                each = (
                    np.tile(per_group, part.n_phases) if problem.channels_last else np.repeat(per_group, part.n_phases)
                )
                each = np.ascontiguousarray(each.reshape(-1))
            packed.append(kernel.prepare(part.conv, kernel.part_weights(problem, part, w), each))
        return packed, (w, bias)

    def compile(self, call: Call) -> Runner:
        """Return the loop over the parts."""
        problem = call.problem
        steps = []
        for step, part_call in self._calls(call):
            crop = None
            if any(map(sum, step.part.crop)):
                ends = zip(step.part.crop, problem.spatial, strict=True)
                crop = (slice(None), slice(None), *(slice(a, size - b) for (a, b), size in ends))
            steps.append((crop, _compiled(step, part_call)))
        covered = _unfolded(problem).is_covered

        def convolve(packed: Packed, x: Array, out: Array) -> bool:
            parts, (w, bias) = packed
            if parts is None:
                # an infinite weight times a padded zero would be NaN where the definition has no product
                for where, values in reference.conv_transpose_blocks(_unfolded(problem), x, w, bias, _BLOCK_BYTES):
                    with np.errstate(over="ignore", invalid="ignore"):
                        out[where] = values
                return True
            if not covered:
                out[...] = _background(problem, bias)
            return all(
                run(weights, x if crop is None else x[crop], None, out)
                for weights, (crop, run) in zip(parts, steps, strict=True)
            )

        return convolve if problem.padding_mode == "zeros" else _folding(problem, convolve)


def _way_of(step: _Step) -> str:
    """Name the way in which the results of a part are stored."""
    row, pixels_in_lanes = step.part.phases[-1], step.kernel.family in _PIXELS_IN_LANES
    if row.stride > 1 and step.kernel.family in _CHANNEL_BY_CHANNEL:
        return "apart"
    if row.stride > 1 and (row.n == 1 or (row.n > 2 and pixels_in_lanes)):
        return "one by one"
    return "interleaved" if row.n == 2 and pixels_in_lanes else "in vectors"


def _workspace(step: _Step, call: Call) -> int | None:
    """Return the scratch of one part."""
    more = () if step.part.is_plain else (step.part.phases,)
    return step.kernel.workspace(call, *more)  # type: ignore[no-any-return]


def _compiled(step: _Step, call: Call) -> Runner:
    """Return the function that computes one part."""
    more = () if step.part.is_plain else (step.part.phases,)
    return step.kernel.compile(call, *more)  # type: ignore[no-any-return]


def part_weights(problem: TransposedProblem, part: TransposedPart, w: Array) -> Array:
    """Return the weights of a part; see csrc/phases.c. Phases count in the order of the kernels' axes."""
    groups, rank = problem.groups, problem.rank
    kernels = w.reshape(groups, problem.c_in // groups, problem.c_out // groups, *problem.kernel)
    phases = []
    numbers = itertools.product(*(range(axis.n) for axis in part.phases))
    for phase in sorted(numbers, key=lambda phase: sorted(zip(part.conv.kernel_axes, phase, strict=True))):
        starts = zip(part.first_tap, phase, part.tap_step, strict=True)
        taps: Any = (..., *(slice(first + a, None, step) for first, a, step in starts))
        phases.append(np.flip(kernels[taps], tuple(range(-rank, 0))).swapaxes(1, 2))
    axis = 1 if problem.channels_last else 2
    return np.ascontiguousarray(np.stack(phases, axis).reshape(part.conv.w_shape))


def _packed_elements(step: _Step) -> int:
    """Return the weights of a part, in the kernel's order and in its own."""
    conv, variant = step.part.conv, getattr(step.kernel, "variant", None)
    weights = math.prod(conv.w_shape)
    if variant is None:
        return 2 * weights
    taps = math.prod(conv.kernel)
    points = math.prod(variant.alpha if k == variant.r else k for k in conv.kernel)
    return weights * (taps + points) // taps


_LOOSER = ("strict", "standard", "fast")
_BLOCK_BYTES = 16 << 20


@lru_cache(maxsize=1024)
def _steps_of(algorithm: Transposed, problem: TransposedProblem) -> tuple[_Step, ...]:
    own, others = [], []
    for part in _unfolded(problem).parts:
        if algorithm.kernel.supports(part.conv):
            own.append(_Step(part, algorithm.kernel))
            continue
        able = [kernel for kernel in algorithm.direct if kernel.supports(part.conv)]
        if not able:
            return ()
        others.append(_Step(part, _fastest(able, part)))
    return (*others, *own) if own else ()


def _fastest(kernels: list[Any], part: TransposedPart) -> Any:
    machine = Machine.of_lanes(kernels[0].lanes * max(4, ITEM_BYTES[kernels[0].dtype]) // 4)
    return min(kernels, key=lambda kernel: (kernel.estimate(part.conv, machine), kernel.id))


def _unfolded(problem: TransposedProblem) -> TransposedProblem:
    """Return what the parts compute: the problem, or one image of it with its border."""
    return problem if problem.padding_mode == "zeros" else replace(problem.onto_the_border, n=min(1, problem.n))


def _background(problem: TransposedProblem, bias: Array | None) -> Any:
    """Return what elements hold that no tap reaches."""
    if bias is None:
        return reference.activate(np.zeros(()), problem.activation, problem.slope)
    values = reference.activate(bias.astype(np.float64), problem.activation, problem.slope)
    return values.reshape(-1, *(1,) * problem.rank)


def _bordered(problem: TransposedProblem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and byte strides of one image of the result with its border."""
    shape = (1, problem.c_out, *problem.onto_the_border.out_spatial)
    return shape, tuple(ITEM_BYTES[problem.dtype] * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _folding(problem: TransposedProblem, convolve: Runner) -> Runner:
    """Return the function that computes image by image with the border, and adds that where it was read from."""
    shape, _ = _bordered(problem)
    borders = []
    for axis, ((before, after), size) in enumerate(zip(problem.padding, problem.out_spatial, strict=True)):
        outside = (*range(-before, 0), *range(size, size + after))
        pairs = [(before + i, pad_index(i, size, problem.padding_mode)) for i in outside]
        borders.append((axis + 2, slice(before, before + size), pairs))
    inside: Any = (0, slice(None), *(within for _, within, _ in borders))

    def run(packed: Packed, x: Array, out: Array) -> bool:
        whole = np.empty(shape, out.dtype)
        for n in range(problem.n):
            if not convolve(packed, x[n : n + 1], whole):
                return False
            with np.errstate(over="ignore", invalid="ignore"):
                for axis, within, pairs in borders:
                    moved = np.moveaxis(whole, axis, 0)
                    for border, target in pairs:
                        moved[within][target] += moved[border]
            out[n] = whole[inside]
        return True

    return run


def algorithms(kernels: Iterable[Algorithm]) -> Iterator[Transposed]:
    """Yield a transposed convolution and a gradient for each kernel of ordinary convolution."""
    kernels = list(kernels)
    for kernel in kernels:
        direct = tuple(
            k
            for k in kernels
            if k.op == kernel.op and k.dtype == kernel.dtype and k.family in _DIRECT and _isa(k) == _isa(kernel)
        )
        rank = kernel.op[4]
        for op in (f"conv_transpose{rank}d", f"conv{rank}d-grad-x"):
            yield Transposed(op, kernel, direct)


def _isa(kernel: Algorithm) -> str:
    return str(getattr(kernel, "isa", ""))
