"""layers_interleave: pixels out of channels and back into them (pixel_shuffle, pixel_unshuffle).

    large[n, c, h, i, w, j] = small[n, c, i, j, h, w]          or the other way round

Both images come as views with six axes, of any strides, and as unsigned integers of their size: elements only move.
A line is a row of pixels of the small image, r rows of the large one.
"""

from __future__ import annotations

from typing import Any

from .jit import kernel

__all__ = ["interleave"]


@kernel
def interleave(small: Any, large: Any, gather: bool, first: int, last: int) -> int:
    """Do lines ``first`` to ``last``; return how many."""
    _, c, r, _, h, w = small.shape
    for line in range(first, last):
        n, rest = divmod(line, c * h)
        channel, row = divmod(rest, h)
        if gather:
            for i in range(r):
                for j in range(r):
                    for e in range(w):
                        small[n, channel, i, j, row, e] = large[n, channel, row, i, e, j]
        else:
            for i in range(r):
                for j in range(r):
                    for e in range(w):
                        large[n, channel, row, i, e, j] = small[n, channel, i, j, row, e]
    return last - first
