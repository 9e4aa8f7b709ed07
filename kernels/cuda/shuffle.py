"""Pixels out of channels, and back: large[..., c, h r + i, w r + j] = small[..., (c r + i) r + j, h, w].

Elements are moved, bit by bit, whatever they are. A thread has one element of the array that is written, so that
neighbouring lanes write neighbours; what a warp reads are r runs of the small image, or every r-th element of a row of
the large one, of which the other channels' threads find the rest in the caches. bytes: both images once.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import move, quotient

__all__ = ["AXES", "interleave"]

#: Axes in front of the channels that a kernel knows.
AXES = 3


def interleave(gather: bool, channels_last: bool) -> Any:
    """Return the kernel of a move; ``gather``: the small image is written.

    ``sizes`` are the axes in front, but for the first; channels, rows and columns of what is written; r; the elements.
    ``steps`` are the first element and the strides of all axes of x and of out.
    """

    def kernel(sizes: Any, steps: Any, x: Any, out: Any) -> None:
        second, third, c, h, width, r, elements = sizes
        x0, x_a, x_b, x_g, x_c, x_h, x_w, y0, y_a, y_b, y_g, y_c, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            if channels_last:
                pixel = quotient(task, c)
                row = quotient(pixel, width)
                image = quotient(row, h)
                channel, y, e = int32(task - pixel * c), int32(row - image * h), int32(pixel - row * width)
            else:
                row = quotient(task, width)
                plane = quotient(row, h)
                image = quotient(plane, c)
                channel, y, e = int32(plane - image * c), int32(row - plane * h), int32(task - row * width)
            line = quotient(image, third)
            first = quotient(line, second)
            b, g = int32(line - first * second), int32(image - line * third)
            if gather:
                own = quotient(channel, int32(r * r))
                part = int32(channel - own * (r * r))
                i = quotient(part, r)
                z, u, v = own, int32(y * r + i), int32(e * r + part - i * r)
            else:
                u, v = quotient(y, r), quotient(e, r)
                z = int32((channel * r + y - u * r) * r + e - v * r)
            at = int32(x0 + first * x_a + b * x_b + g * x_g + z * x_c + u * x_h + v * x_w)
            move(out, int32(y0 + first * y_a + b * y_b + g * y_g + channel * y_c + y * y_h + e * y_w), x, at)

    return kernel
