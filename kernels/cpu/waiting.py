"""changed: look at a number in memory, without Python's lock, until it is another one or patience ends.

A sleeping thread takes some fifty microseconds to be back on a processor, and Python's lock is one more thing to sleep
for. Who is about to be needed looks instead, and the one who needs it can go on holding the lock: between two looks the
processor only pauses, so that a sibling on the same core loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import kernel

__all__ = ["changed"]

#: Looks after a change, about a microsecond: whoever made it gives Python's lock away meanwhile, and need not be waited
#: for asleep.
_LOOKS_AFTER = 100


@intrinsic  # type: ignore[untyped-decorator]
def _look(_context: Any, at: types.Type) -> tuple[Any, Callable[..., ir.Value]]:
    """Return the 64-bit number at an address as another thread may have just written it, and pause."""

    def generate(_target: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        word = ir.IntType(64)
        found = builder.load_atomic(builder.inttoptr(arguments[0], word.as_pointer()), "acquire", 8)
        if "x86" in builder.module.triple:
            nothing = ir.FunctionType(ir.VoidType(), ())
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), nothing), ())
        return found

    return types.int64(types.int64), generate


@kernel
def changed(at: int, seen: int, looks: int) -> bool:
    """Return whether the number at an address is another than ``seen``, after ``looks`` looks at most."""
    for _ in range(looks):
        if _look(at) != seen:
            for _ in range(_LOOKS_AFTER):
                _look(at)
            return True
    return False
