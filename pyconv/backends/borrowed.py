"""Operations that run on the convolution kernels of a backend, under the kernels' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Borrowed"]


@dataclass(frozen=True, slots=True)
class Borrowed:
    """An operation by a kernel of ordinary convolution, whose family, type and backend are its own."""

    op: str
    kernel: Any  # an algorithm

    @property
    def id(self) -> str:
        """Return the kernel's id with another operation."""
        return f"{self.op}.{self.kernel.id.partition('.')[2]}"

    @property
    def family(self) -> str:
        """Return the kernel's family."""
        return str(self.kernel.family)

    @property
    def dtype(self) -> str:
        """Return the element type."""
        return str(self.kernel.dtype)

    @property
    def backend(self) -> str:
        """Return the kernel's backend."""
        return str(self.kernel.backend)

    @property
    def preferred(self) -> bool:
        """Whether "auto" may take it."""
        return bool(self.kernel.preferred)

    @property
    def runs_here(self) -> bool:
        """Whether this processor has its instruction set."""
        return bool(getattr(self.kernel, "runs_here", True))

    @property
    def isa(self) -> str:
        """Return the instruction set, of kernels that have one."""
        return str(self.kernel.isa)

    @property
    def kernel_name(self) -> str:
        """Return the name of the kernel that runs last."""
        return str(self.kernel.kernel_name)
