"""Borders that are not zeros: x with its border, and the gradient of that.

pad: whole[n, c, j] = x[n, c, m(j - before)] along each axis, m the element that a place outside x is read from
(pyconv.problem.pad_index). Convolutions over such a border are convolutions of ``whole`` without one.
fold: dx[n, c, i] = sum over j with m(j - before) = i of whole[n, c, j], the element's own place first, then those of
the border in order.

A thread has one element of what is written, neighbouring lanes neighbouring ones along w. ``fold`` asks of every place
in the border along an axis whether it was read from the element: 1 + before + after questions. Any amount of border.
bytes: both arrays once. pad is exact; fold adds in the type of the sums, error prod(1 + before + after) eps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, quotient, store
from .pool import place

__all__ = ["fold", "pad", "read_from"]


@cache
def read_from(mode: str) -> Any:
    """Return the device function of (index, size) that says which element a place along an axis is read from."""
    replicate, circular, reflect = mode == "replicate", mode == "circular", mode == "reflect"

    def element(index: Any, size: Any) -> Any:
        if replicate or size == 1:
            return int32(min(max(index, 0), size - 1))
        period = int32(size if circular else 2 * size - 2 if reflect else 2 * size)
        # modulo, of negative numbers too
        at = int32(index if index >= 0 else -1 - index)
        at = int32(at - quotient(at, period) * period)
        at = at if index >= 0 else int32(period - 1 - at)
        if at < size:
            return at
        return int32(period - at if reflect else period - 1 - at)

    return cuda.jit(element, device=True, inline=True)


def pad(mode: str) -> Any:
    """Return the kernel that writes x with its border.

    ``sizes`` are n, c; d, h, w of x; those with the border; the border before. ``steps`` are of x.
    """
    element = read_from(mode)

    def kernel(sizes: Any, steps: Any, x: Any, whole: Any) -> None:
        n, c, d, h, width, d_all, h_all, w_all, pd, ph, pw = sizes
        x0, x_n, x_c, x_d, x_h, x_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_all * h_all * w_all:
            image, channel, z, y, e = place(task, c, d_all, h_all, w_all, False)
            i_d, i_h = element(int32(z - pd), d), element(int32(y - ph), h)
            i_w = element(int32(e - pw), width)
            store(whole, task, load(x, int32(x0 + image * x_n + channel * x_c + i_d * x_d + i_h * x_h + i_w * x_w)))

    return kernel


def fold(real: Any, mode: str) -> Any:
    """Return the kernel that adds each place of the border to the element that it was read from.

    ``sizes`` are n, c; d, h, w of the result; those with the border; the border before. ``steps`` are of the result.
    """
    element = read_from(mode)

    def kernel(sizes: Any, steps: Any, whole: Any, out: Any) -> None:
        n, c, d, h, width, d_all, h_all, w_all, pd, ph, pw = sizes
        y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, i_d, i_h, i_w = place(task, c, d, h, width, False)
            total = real(0)
            for a in range(1 + d_all - d):
                # the element's own place, then those before it, then those behind
                z = int32(pd + i_d if a == 0 else a - 1 if a <= pd else d + a - 1)
                if element(int32(z - pd), d) == i_d:
                    for b in range(1 + h_all - h):
                        y = int32(ph + i_h if b == 0 else b - 1 if b <= ph else h + b - 1)
                        if element(int32(y - ph), h) == i_h:
                            from_row = int32((((image * c + channel) * d_all + z) * h_all + y) * w_all)
                            for o in range(1 + w_all - width):
                                e = int32(pw + i_w if o == 0 else o - 1 if o <= pw else width + o - 1)
                                if element(int32(e - pw), width) == i_w:
                                    total += load(whole, int32(from_row + e))
            store(out, int32(y0 + image * y_n + channel * y_c + i_d * y_d + i_h * y_h + i_w * y_w), total)

    return kernel
