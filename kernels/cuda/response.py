"""Local response normalisation across channels, and its gradient.

y_c = x_c / b_c^beta, b_c = k + scale sum over j of x_j^2, from ``before`` channels ahead of c to ``after`` behind it,
scale being alpha over the window's nominal size. With g = grad_output the gradient is g_c / b_c^beta - 2 scale beta x_c
sum over j of g_j x_j / (b_j^beta b_j), j from ``after`` ahead of c to ``before`` behind it: ``shares`` leaves the terms
of that sum in scratch, in float64 for float64 and in float32 else.

A thread has one element and sums its window anew, in the order of channels; neighbouring lanes have neighbouring
pixels, and what windows share comes from the caches. flops: two a channel of the window and a power (libdevice, 4 ulp);
bytes: x and y once, of the gradient x and the terms twice. Error (2 window + 16) eps.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, store
from .pool import place

__all__ = ["forward", "grad_x", "shares"]


@cache
def base_of(real: Any) -> Any:
    """Return the device function that sums the squares of a window and makes b of them."""

    def base(x: Any, at: Any, step: Any, channel: Any, c: Any, before: Any, after: Any, numbers: Any) -> Any:
        total = real(0)
        j = max(int32(channel - before), int32(0))
        while j <= channel + after and j < c:
            value = load(x, int32(at + j * step))
            total += value * value
            j = int32(j + 1)
        return numbers[2] + numbers[0] * total

    return cuda.jit(base, device=True, inline=True)


def forward(real: Any) -> Any:
    """Return the kernel; ``sizes`` are n, c; d, h, w; before, after. ``numbers`` are scale, beta, k."""
    base = base_of(real)

    def kernel(sizes: Any, steps: Any, scale: Any, beta: Any, k: Any, x: Any, out: Any) -> None:
        n, c, d, h, width, before, after = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            at = int32(x0 + image * x_n + z * x_d + y * x_h + e * x_w)
            found = base(x, at, x_c, channel, c, before, after, (scale, beta, k))
            value = load(x, int32(at + channel * x_c)) / real(math.pow(found, beta))
            store(out, int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w), value)

    return kernel


def shares(real: Any) -> Any:
    """Return the kernel of the terms g x / (b^beta b), in order; ``steps`` are of grad_output and x."""
    base = base_of(real)

    def kernel(sizes: Any, steps: Any, scale: Any, beta: Any, k: Any, grad_output: Any, x: Any, terms: Any) -> None:
        n, c, d, h, width, before, after = sizes
        g0, g_n, g_c, g_d, g_h, g_w, x0, x_n, x_c, x_d, x_h, x_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            at = int32(x0 + image * x_n + z * x_d + y * x_h + e * x_w)
            found = base(x, at, x_c, channel, c, before, after, (scale, beta, k))
            g = load(grad_output, int32(g0 + image * g_n + channel * g_c + z * g_d + y * g_h + e * g_w))
            terms[task] = g * load(x, int32(at + channel * x_c)) / (real(math.pow(found, beta)) * found)

    return kernel


def grad_x(real: Any) -> Any:
    """Return the kernel of the gradient from the terms; ``steps`` are of grad_output, x and the result."""
    base = base_of(real)

    def kernel(
        sizes: Any, steps: Any, scale: Any, beta: Any, k: Any, grad_output: Any, x: Any, terms: Any, out: Any
    ) -> None:
        n, c, d, h, width, before, after = sizes
        g0, g_n, g_c, g_d, g_h, g_w, x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            at = int32(x0 + image * x_n + z * x_d + y * x_h + e * x_w)
            found = base(x, at, x_c, channel, c, before, after, (scale, beta, k))
            g = load(grad_output, int32(g0 + image * g_n + channel * g_c + z * g_d + y * g_h + e * g_w))
            # the windows that this channel is in
            pixels = int32(d * h * width)
            total = real(0)
            j = max(int32(channel - after), int32(0))
            while j <= channel + before and j < c:
                total += terms[int32(task + (j - channel) * pixels)]
                j = int32(j + 1)
            own = g / real(math.pow(found, beta))
            value = load(x, int32(at + channel * x_c))
            result = own - real(2) * scale * beta * value * total
            store(out, int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w), result)

    return kernel
