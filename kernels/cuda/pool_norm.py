"""Pooling by p-norms and its gradient; one to three axes, whole windows, no padding.

out[n, c, o] = (whole sum over a of x[n, c, s o + a]^p)^(1/p), whole the window's elements over those that lie in x.
Where p is no integer, or the sum is negative, |x| stands for x; for p = 1 the sum keeps its sign (pyconv/reference.py,
norm_of). The gradient of an output with respect to an element of its window is whole (|x| / out)^(p - 1), with the sign
of x where p is even or |x| stands for it, and zero where out is.

A thread has one element of what is written. The gradient is gathered: an element adds what the windows around it have
for it, in their order, from norms that ``lp_pool`` has left in scratch, of which a negative one says that |x| stood
for x. Quotients before powers: neither overflows where the result does not.

flops: p products and a sum a tap, or a power; bytes: x and out once, windows overlap in L1. Powers of small whole p are
products, others libdevice's pow (4 ulp). Error (taps + 3 p + 20) eps of the sum.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, store
from .pool import place, windows

__all__ = ["grad_lp", "lp_pool"]

#: Whole powers up to this one are products.
_MOST_PRODUCTS = 8


@cache
def power_of(real: Any, p: float) -> Any:
    """Return the device function x^p for x >= 0, and for any x where p is a small whole number."""
    products = int(p) if p == int(p) and 0 <= p <= _MOST_PRODUCTS else -1

    def by_products(x: Any) -> Any:
        found = real(1)
        for _ in range(products):
            found *= x
        return found

    def root(x: Any) -> Any:
        return math.sqrt(x)

    def by_power(x: Any) -> Any:
        return real(math.pow(x, real(p)))

    found = by_products if products >= 0 else root if p == 0.5 else by_power
    return cuda.jit(found, device=True, inline=True)


def lp_pool(real: Any, p: float, channels_last: bool, noted: bool) -> Any:
    """Return the kernel of norms; ``noted``: out is scratch in order, and a norm of |x| instead of x is negative.

    ``sizes`` are n, c; d, h, w of x; of the window; of the output; strides. ``steps`` are of x and out.
    """
    power, root = power_of(real, p), power_of(real, 1 / p)
    plain, signed = p == 1, p != 1 and p % 2 == 1
    window, _ = windows(False)

    def kernel(sizes: Any, steps: Any, x: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, channels_last)
            start_d, taps_d = window(p_d, d, kd, d_out, sd, int32(0))
            start_h, taps_h = window(p_h, h, kh, h_out, sh, int32(0))
            start_w, taps_w = window(p_w, width, kw, w_out, sw, int32(0))
            end_d, end_h, end_w = min(d, start_d + taps_d), min(h, start_h + taps_h), min(width, start_w + taps_w)
            plane = int32(x0 + image * x_n + channel * x_c)
            total, absolute = real(0), real(0)
            for z in range(start_d, end_d):
                for y in range(start_h, end_h):
                    row = int32(plane + z * x_d + y * x_h)
                    for e in range(start_w, end_w):
                        value = load(x, int32(row + e * x_w))
                        if plain:
                            total += value
                        else:
                            # of even and broken p, and of odd p with signs
                            size = power(abs(value))
                            absolute += size
                            if signed:
                                total += -size if value < real(0) else size
            there = real((end_d - start_d) * (end_h - start_h) * (end_w - start_w))
            whole = real(kd) * real(kh) * real(kw) / there
            instead = signed and total < real(0)
            if not signed and not plain:
                total = absolute
            if instead:
                total = absolute
            norm = total * whole
            if not plain:
                norm = root(norm)
            if noted:
                out[task] = -norm if instead else norm
            else:
                store(out, int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w), norm)

    return kernel


def grad_lp(real: Any, p: float, channels_last: bool) -> Any:
    """Return the kernel of a norm's gradient; ``steps`` are of grad_output, x, the norms in scratch and the gradient.

    ``sizes`` are those of lp_pool.
    """
    power = power_of(real, p - 1)
    plain, signed = p == 1, p != 1 and p % 2 == 1
    _, around = windows(False)

    def kernel(sizes: Any, steps: Any, grad_output: Any, x: Any, norms: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw = sizes
        g0, g_n, g_c, g_d, g_h, g_w, x0, x_n, x_c, x_d, x_h, x_w = steps[:12]
        q0, q_n, q_c, q_d, q_h, q_w, y0, y_n, y_c, y_d, y_h, y_w = steps[12:]
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, at_d, at_h, at_w = place(task, c, d, h, width, channels_last)
            value = load(x, int32(x0 + image * x_n + channel * x_c + at_d * x_d + at_h * x_h + at_w * x_w))
            size, negative = abs(value), value < real(0)
            total = real(0)
            from_g = int32(g0 + image * g_n + channel * g_c)
            from_q = int32(q0 + image * q_n + channel * q_c)
            first_d, last_d = around(at_d, d, kd, d_out, sd, int32(0), int32(1))
            first_h, last_h = around(at_h, h, kh, h_out, sh, int32(0), int32(1))
            first_w, last_w = around(at_w, width, kw, w_out, sw, int32(0), int32(1))
            for z in range(first_d, last_d + 1):
                in_d = min(d, int32(z * sd + kd)) - z * sd
                for y in range(first_h, last_h + 1):
                    in_h = min(h, int32(y * sh + kh)) - y * sh
                    row_g, row_q = int32(from_g + z * g_d + y * g_h), int32(from_q + z * q_d + y * q_h)
                    for e in range(first_w, last_w + 1):
                        in_w = min(width, int32(e * sw + kw)) - e * sw
                        norm = norms[int32(row_q + e * q_w)]
                        slope = real(kd) * real(kh) * real(kw) / real(in_d * in_h * in_w)
                        if not plain:
                            slope *= power(size / abs(norm))
                            # of odd p only where |x| stood for x
                            if negative and (not signed or norm < real(0)):
                                slope = -slope
                        if norm == real(0) or (not plain and size == real(0)):
                            slope = real(0)
                        total += load(grad_output, int32(row_g + e * g_w)) * slope
            store(out, int32(y0 + image * y_n + channel * y_c + at_d * y_d + at_h * y_h + at_w * y_w), total)

    return kernel
