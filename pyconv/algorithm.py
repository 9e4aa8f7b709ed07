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
    from .problem import Problem

__all__ = ["Algorithm", "Array", "Call", "Packed", "Runner", "Support"]

Array = np.ndarray[Any, Any]
Packed = Any
#: run(packed, *inputs, *outputs): everything but the arrays is bound already; they come in the operation's order, None
#: for one that is not there, and ``packed`` is None where the operation has no weights. Returns False, having done
#: nothing, where an array's address or strides do not suit the kernel; the caller then hands over copies, aligned and
#: in the problem's own memory order, and those it takes.
Runner = Callable[..., bool]


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


@dataclass(frozen=True, slots=True)
class Call:
    """A problem with the memory it is met in: byte strides of each array by its name, threads and scratch allowed."""

    problem: Any  # a Problem; of which kind, its algorithms know
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    threads: int
    max_workspace: int

    def strides(self, name: str) -> tuple[int, ...] | None:
        """Return the byte strides of an array, None where the call has none of this name."""
        return dict(self.arrays).get(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return next(a.shape for a in (*self.problem.inputs, *self.problem.outputs) if a.name == name)

    @classmethod
    def typical(cls, problem: Problem, threads: int, max_workspace: int) -> Call:
        """Return the call on fresh arrays in the problem's memory order."""
        arrays = tuple((a.name, a.fresh_strides) for a in (*problem.inputs, *problem.outputs))
        return cls(problem, arrays, threads, max_workspace)


class Algorithm(Protocol):
    """Instances are constants without state, registered once by their backend.

    A problem is of the kind that the operation has (``ConvProblem`` for ``conv2d``).
    """

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
        """Return the element type of x: f16, f32, f64, or an integer's."""

    @property
    def backend(self) -> str:
        """Return c, numba or numpy."""

    @property
    def preferred(self) -> bool:
        """Whether "auto" may take it: it runs here, on the instruction set in use."""

    def supports(self, problem: Any) -> Support:
        """Whether it can do the problem, or why not; cheap, total, never raises."""

    def workspace(self, call: Call) -> int | None:
        """Scratch bytes of all threads together; None where the limit of the call is too small for it."""

    def estimate(self, problem: Any, machine: Machine) -> float:
        """Return seconds, for a nominal number of threads."""

    def accuracy(self, problem: Any) -> str:
        """Return the strictest ``options(accuracy=)`` that lets "auto" take it: "strict", "standard" or "fast"."""

    def error_bound(self, problem: Any) -> float:
        """Largest error of an output, relative to the magnitude that the operation names.

        That of a convolution is sum |x| |w| + |bias| + |residual|, before the activation; for |x| take the largest
        within :meth:`error_reach`. That of a problem without weights is the same with every |w| = 1.
        """

    def error_reach(self, problem: Any) -> int:
        """Return how many pixels around each tap of an output's window the bound looks for the largest |x|."""

    @property
    def prepare(self) -> Callable[..., Packed]:
        """prepare(problem, *weights): these in the order the kernel wants; one packing for all calls of its word.

        Asked only of operations that have weights, with as many as these have; None for one that is not given.
        """

    def packing(self, problem: Any) -> str:
        """Name the order of the packed weights; equal words mean equal contents."""

    def compile(self, call: Call) -> Runner:
        """Return the function that does the call; only for problems it supports."""
