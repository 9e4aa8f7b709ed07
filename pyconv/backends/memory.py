"""Memory for packed weights: what one call has let go of serves the next.

Fresh memory costs a page fault every 4 KiB when it is first written to, and for the weights of one call, as gradients
have them, these take longer than packing.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

from ..algorithm import Array
from ..options import current

__all__ = ["aligned"]

#: Less than this comes from the allocator's own pools.
_LEAST_BYTES = 1 << 16
#: An array may be given memory that is larger by this factor.
_MOST_SPARE = 1.5
_LINE_BYTES = 64


class _Lease:
    """What an array on lent memory has as its base, and with it every view of the array, however it was made.

    It is no array itself: of a chain of arrays numpy keeps only the last one.
    """

    def __init__(self, buffer: Array, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        address = buffer.__array_interface__["data"][0] + start
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}


class _Used:
    """Memory that arrays have let go of, at most the ``max_workspace`` of the call that asks last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Array] = []  # what came back first is first
        # an array may end at any moment, also where the lock is held: that only notes it
        self._back: deque[Array] = deque()
        self._lent: dict[int, tuple[weakref.ref[_Lease], Array]] = {}

    def take(self, n_bytes: int) -> Array:
        """Return a buffer of at least so many bytes, contents arbitrary."""
        with self._lock:
            while self._back:
                self._free.append(self._back.popleft())
            fitting = [i for i, free in enumerate(self._free) if n_bytes <= free.size <= _MOST_SPARE * n_bytes]
            found = self._free.pop(min(fitting, key=lambda i: self._free[i].size)) if fitting else None
            kept = sum(free.size for free in self._free)
            while kept > current().max_workspace:
                kept -= self._free.pop(0).size
        return np.empty(n_bytes, np.uint8) if found is None else found

    def lend(self, buffer: Array, lease: _Lease) -> None:
        """Take the buffer back when the lease ends."""
        ref = weakref.ref(lease, self._return)
        self._lent[id(ref)] = ref, buffer

    def _return(self, ref: weakref.ref[_Lease]) -> None:
        _, buffer = self._lent.pop(id(ref))
        self._back.append(buffer)


_used = _Used()


def aligned(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array, contents arbitrary, that starts at a multiple of a cache line.

    Its memory is used again as soon as the array, its views and cffi's pointers to it have ended.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    n_bytes = math.prod(shape) * dtype.itemsize
    recycled = n_bytes >= _LEAST_BYTES
    buffer = _used.take(n_bytes + _LINE_BYTES) if recycled else np.empty(n_bytes + _LINE_BYTES, np.uint8)
    start = -buffer.__array_interface__["data"][0] % _LINE_BYTES
    if not recycled:
        return np.ndarray(shape, dtype, buffer, start)
    lease = _Lease(buffer, start, shape, dtype)
    _used.lend(buffer, lease)
    return np.asarray(lease)
