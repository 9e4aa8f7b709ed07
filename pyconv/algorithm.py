"""What an algorithm is: a constant that answers for itself.

Whether it can do a problem, how fast, how exactly, with how much memory; and it turns the problem into a function of
arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from .cost import Machine
    from .problem import ConvProblem

__all__ = ["Algorithm", "Array", "Call", "Packed", "Runner", "Support", "standard_strides"]

Array = np.ndarray[Any, Any]
Packed = Any
#: run(x, packed, residual, out): everything but the arrays is bound already. Returns False, having done nothing,
#: where an array's address does not suit the kernel (the caller then hands over a copy).
Runner = Callable[[Array, Packed, "Array | None", Array], bool]


@dataclass(frozen=True, slots=True)
class Support:
    """Truthy for yes; otherwise it carries the reason why not.

    Examples
    --------
    >>> bool(Support()), bool(Support("needs stride 1")), Support("needs stride 1").reason
    (True, False, 'needs stride 1')
    """

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


def standard_strides(shape: tuple[int, ...], channels_last: bool, item_bytes: int) -> tuple[int, ...]:
    """Byte strides of a fresh array of this shape, channels (axis 1) first or last in memory."""
    order = [0, *range(2, len(shape)), 1] if channels_last else range(len(shape))
    strides, step = [0] * len(shape), item_bytes
    for axis in reversed(order):
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


@dataclass(frozen=True, slots=True)
class Call:
    """A problem with the memory it is met in: byte strides of each array, threads and scratch allowed."""

    problem: ConvProblem
    x_strides: tuple[int, ...]
    out_strides: tuple[int, ...]
    residual_strides: tuple[int, ...] | None
    threads: int
    max_workspace: int

    @classmethod
    def typical(cls, problem: ConvProblem, threads: int, max_workspace: int) -> Call:
        """Return the call on fresh arrays in the problem's memory order."""
        from .problem import ITEM_BYTES

        def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
            return standard_strides(shape, problem.channels_last, ITEM_BYTES[problem.dtype])

        out = strides(problem.out_shape)
        return cls(problem, strides(problem.x_shape), out, out if problem.residual else None, threads, max_workspace)


class Algorithm(Protocol):
    """Instances are constants without state, registered once by their backend."""

    @property
    def id(self) -> str:
        """op.family.dtype@backend[-isa], for example ``conv2d.direct.f32@c-avx512``."""

    @property
    def op(self) -> str:
        """Return the operation, for example ``conv2d``."""

    @property
    def family(self) -> str:
        """Return the algorithm's family, for example ``direct``."""

    @property
    def dtype(self) -> str:
        """Return the element type: f16, f32 or f64."""

    @property
    def backend(self) -> str:
        """Return c, numba or numpy."""

    @property
    def preferred(self) -> bool:
        """Whether "auto" may take it: it runs here, on the instruction set in use."""

    def supports(self, problem: ConvProblem) -> Support:
        """Whether it can do the problem, or why not; cheap, total, never raises."""

    def workspace(self, call: Call) -> int | None:
        """Scratch bytes of all threads together; None where the limit of the call is too small for it."""

    def estimate(self, problem: ConvProblem, machine: Machine) -> float:
        """Return seconds, for a nominal number of threads."""

    def accuracy(self, problem: ConvProblem) -> str:
        """Return the strictest ``options(accuracy=)`` that lets "auto" take it: "strict", "standard" or "fast"."""

    def error_bound(self, problem: ConvProblem) -> float:
        """Largest error of an output before its activation, relative to sum |x| |w| + |bias| + |residual|.

        For |x| take the largest within :meth:`error_reach`.
        """

    def error_reach(self, problem: ConvProblem) -> int:
        """Return how many pixels around each tap of an output's window the bound looks for the largest |x|."""

    def prepare(self, problem: ConvProblem, w: Array, bias: Array | None) -> Packed:
        """Weights in the order the kernel wants, and the bias; shared by calls with the same ``packing`` word."""

    def packing(self, problem: ConvProblem) -> str:
        """Name the order of the packed weights; equal words mean equal contents."""

    def compile(self, call: Call) -> Runner:
        """Return the function that does the call; only for problems it supports."""
