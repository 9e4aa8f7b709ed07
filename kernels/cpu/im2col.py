"""conv_im2col: the loops of direct.py with the operand of each pixel panel packed first (the "packing of B" of a GEMM).

panel[k][lane] = x[channel plane + off[tap] + pixel], k = (channel, tap): no lane is wasted on the border of the input
tile, and L1 holds one dense panel. It costs one copy of each operand for every block of output channels.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from .jit import c_function, once
from .simd import advance
from .tile import copy

__all__ = ["pixel_packer"]


@once
def pixel_packer(real: types.Float) -> int:
    """Return the address of the function that packs the pixels of one panel."""
    n, p, integers = types.intp, types.CPointer(real), types.CPointer(types.int64)
    return c_function(_pack_pixels, p, n, n, integers, n, n, integers, n, n, p)


def _pack_pixels(
    source: Any, n_c: int, plane: int, off: Any, n_taps: int, pitch: int, segments: Any, n_segments: int, width: int,
    panel: Any,
) -> None:  # fmt: skip
    """Pack the pixels of ``segments``; lanes outside them keep what they had, and nobody reads the result."""
    for c in range(n_c):
        for k in range(n_taps):
            src = advance(source, c * plane + off[k])
            for s in range(n_segments):
                pixels = advance(src, segments[4 * s + 2] * pitch + segments[4 * s + 3])
                copy(advance(panel, segments[4 * s]), pixels, segments[4 * s + 1])
            panel = advance(panel, width)
