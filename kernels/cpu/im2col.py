"""conv_im2col: the loops of direct.py with the operand of each pixel panel packed first (the "packing of B" of a GEMM).

panel[k][lane] = x[channel plane + off[tap] + pixel], k = (channel, tap): no lane is wasted on the border of the input
tile, and L1 holds one dense panel. It costs one copy of each operand for every block of output channels.
"""

from __future__ import annotations

from typing import Any

from .jit import word
from .simd import advance
from .tile import copy

__all__ = ["pack_pixels"]


@word
def pack_pixels(
    source: Any, n_c: int, plane: int, off: Any, n_taps: int, pitch: int, segments: Any, n_segments: int, width: int,
    panel: Any,
) -> None:  # fmt: skip
    """Pack the pixels of ``segments``; lanes outside them keep what they had, and nobody reads the result."""
    for c in range(n_c):
        for k in range(n_taps):
            src = advance(source, c * plane + off[k])
            for s in range(n_segments):
                copy(advance(panel, segments[s, 0]), advance(src, segments[s, 2] * pitch + segments[s, 3]), segments[s, 1])
            panel = advance(panel, width)
