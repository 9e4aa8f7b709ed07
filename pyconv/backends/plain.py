"""What an algorithm answers that sums directly and packs nothing; it says itself only what it does otherwise."""

from __future__ import annotations

from typing import Any, ClassVar

from ..algorithm import Array, Packed, Support

__all__ = ["OnC", "OnNumba", "Plain"]


class Plain:
    """The answers of direct sums over arrays where they lie."""

    __slots__ = ()

    def supports(self, problem: Any) -> Support:
        """Return yes."""
        return Support()

    def accuracy(self, problem: Any) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: Any) -> int:
        """Return 0."""
        return 0

    def packing(self, problem: Any) -> str:
        """Return "plain": weights, where there are any, are read as they are."""
        return "plain"

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return nothing, as for an operation without weights."""
        return None


class OnC(Plain):
    """A C kernel on one instruction set, as ``unit_family_dtype__isa``."""

    __slots__ = ()

    #: The first word of the kernel's name.
    unit: ClassVar[str]
    op: str
    dtype: str
    isa: str
    runs_here: bool

    @property
    def id(self) -> str:
        """Return op.family.dtype@c-isa."""
        return f"{self.op}.{self.family}.{self.dtype}@c-{self.isa}"  # type: ignore[attr-defined]

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run."""
        return f"{self.unit}_{self.family.replace('-', '_')}_{self.dtype}__{self.isa}"  # type: ignore[attr-defined]

    def supports(self, problem: Any) -> Support:
        """Whether the kernel runs here."""
        return Support("" if self.runs_here else f"this processor does not have {self.isa}")


class OnNumba(Plain):
    """A Numba kernel, as ``unit_family_dtype__numba``."""

    __slots__ = ()

    #: The first word of the kernel's name.
    unit: ClassVar[str]
    op: str
    dtype: str

    @property
    def id(self) -> str:
        """Return op.family.dtype@numba."""
        return f"{self.op}.{self.family}.{self.dtype}@numba"  # type: ignore[attr-defined]

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run."""
        return f"{self.unit}_{self.family.replace('-', '_')}_{self.dtype}__numba"  # type: ignore[attr-defined]
