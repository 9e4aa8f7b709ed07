"""Pooling: maxima with or without their indices, averages, and the gradients of both; one to three axes.

max: out[n, c, o] = max over a of x[n, c, s o - pad + d a], the taps that lie in x; of equal ones the first, or the last
NaN. avg: their sum over the window's count. Gradients: that of a maximum goes to the element that its index names,
that of an average in equal parts to its window.

A thread has one element of what is written. Gradients are gathered: an element of x adds what the windows that hold it
have for it, in the order of its taps (highest output first), so that there are no atomics and the sum has the same bits
every time. ``grad_max_anywhere`` is for indices that lie outside their windows: an element looks through its plane's
indices; ``check_indices`` says whether that is needed. Neighbouring lanes have neighbours in memory: along w, or
channels where ``channels_last``.

A window's loads overlap with its neighbours' and come from L1. flops: one comparison or addition a tap; bytes: x and
out once. Sums in float32, of float64 in float64; error (taps + 4) eps.
"""

from __future__ import annotations

import math
from typing import Any

from numba import cuda, int32, int64

from .memory import load, quotient, store

__all__ = [
    "ELSEWHERE",
    "INSIDE",
    "OUTSIDE",
    "THREADS",
    "avg_pool",
    "blocks_pool",
    "check_indices",
    "grad_avg",
    "grad_max",
    "grad_max_anywhere",
    "max_pool",
]

THREADS = 128
#: What indices may be: each in its own window, some in another place of their plane, some in no place of it.
INSIDE, ELSEWHERE, OUTSIDE = 0, 1, 2


def blocks_pool(elements: int) -> int:
    """Return the size of the grid for so many elements to write."""
    return -(-elements // THREADS)


@cuda.jit(device=True, inline=True)
def place(task: Any, c: Any, d: Any, h: Any, w: Any, channels_last: Any) -> Any:
    """Return n, c, d, h, w of an element, given its number in memory order."""
    if channels_last:
        pixel = quotient(task, c)
        channel = int32(task - pixel * c)
        row = quotient(pixel, w)
        plane = quotient(row, h)
        image = quotient(plane, d)
        return image, channel, int32(plane - image * d), int32(row - plane * h), int32(pixel - row * w)
    row = quotient(task, w)
    plane = quotient(row, h)
    volume = quotient(plane, d)
    image = quotient(volume, c)
    return (
        image,
        int32(volume - image * c),
        int32(plane - volume * d),
        int32(row - plane * h),
        int32(task - row * w),
    )


@cuda.jit(device=True, inline=True)
def begin(start: Any, dilation: Any) -> Any:
    """Return the first tap's place that is not in front of x."""
    if start >= 0:
        return start
    return int32(start + quotient(int32(dilation - 1 - start), dilation) * dilation)


@cuda.jit(device=True, inline=True)
def count_of(start: Any, k: Any, size: Any, after: Any, include_pad: Any) -> Any:
    """Return how many elements of an axis an average counts."""
    if include_pad:
        return int32(min(start + k, size + after) - start)
    return int32(max(0, min(size, start + k) - max(start, 0)))


def max_pool(real: Any, indexed: bool, channels_last: bool) -> Any:
    """Return the kernel of maxima.

    ``sizes`` are n, c; d, h, w of x; of the window; of the output; strides, dilations, padding before. ``steps`` are
    where the first element lies and the strides (n, c, d, h, w), of x, out and indices.
    """

    def kernel(sizes: Any, steps: Any, x: Any, out: Any, indices: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w, i0, i_n, i_c, i_d, i_h, i_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, channels_last)
            start_d, start_h, start_w = int32(p_d * sd - pd), int32(p_h * sh - ph), int32(p_w * sw - pw)
            first_d, first_h, first_w = begin(start_d, dd), begin(start_h, dh), begin(start_w, dw)
            end_d, end_h = min(d, start_d + kd * dd), min(h, start_h + kh * dh)
            end_w = min(width, start_w + kw * dw)
            best, found = real(-math.inf), False
            # of a window without elements: the place inside x that is nearest
            near_d, near_h = min(first_d, d - 1), min(first_h, h - 1)
            at = int32((near_d * h + near_h) * width + min(first_w, width - 1))
            plane = int32(x0 + image * x_n + channel * x_c)
            z = first_d
            while z < end_d:
                y = first_h
                while y < end_h:
                    row = int32(plane + z * x_d + y * x_h)
                    e = first_w
                    while e < end_w:
                        value = load(x, int32(row + e * x_w))
                        if not found or value > best or value != value:
                            best, found = value, True
                            if indexed:
                                at = int32((z * h + y) * width + e)
                        e = int32(e + dw)
                    y = int32(y + dh)
                z = int32(z + dd)
            store(out, int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w), best)
            if indexed:
                indices[int32(i0 + image * i_n + channel * i_c + p_d * i_d + p_h * i_h + p_w * i_w)] = int64(at)

    return kernel


def avg_pool(real: Any, include_pad: bool, divided: bool, channels_last: bool) -> Any:
    """Return the kernel of averages; ``divisor`` is what ``divided`` ones divide by instead of their count.

    ``sizes`` are those of max_pool without dilations, and the padding after; ``steps`` are of x and out.
    """

    def kernel(sizes: Any, steps: Any, divisor: Any, x: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, pd, ph, pw, qd, qh, qw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, channels_last)
            start_d, start_h, start_w = int32(p_d * sd - pd), int32(p_h * sh - ph), int32(p_w * sw - pw)
            total = real(0)
            plane = int32(x0 + image * x_n + channel * x_c)
            for z in range(max(0, start_d), min(d, start_d + kd)):
                for y in range(max(0, start_h), min(h, start_h + kh)):
                    row = int32(plane + z * x_d + y * x_h)
                    for e in range(max(0, start_w), min(width, start_w + kw)):
                        total += load(x, int32(row + e * x_w))
            counted = divisor
            if not divided:
                in_d = count_of(start_d, kd, d, qd, include_pad)
                in_h = count_of(start_h, kh, h, qh, include_pad)
                in_w = count_of(start_w, kw, width, qw, include_pad)
                counted = real(in_d) * real(in_h) * real(in_w)
            average = total / counted if counted != real(0) else real(0)
            store(out, int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w), average)

    return kernel


def grad_avg(real: Any, include_pad: bool, divided: bool, channels_last: bool) -> Any:
    """Return the kernel of an average's gradient; ``steps`` are of grad_output and of the gradient."""

    def kernel(sizes: Any, steps: Any, divisor: Any, grad_output: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, pd, ph, pw, qd, qh, qw = sizes
        g0, g_n, g_c, g_d, g_h, g_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, at_d, at_h, at_w = place(task, c, d, h, width, channels_last)
            total = real(0)
            plane = int32(g0 + image * g_n + channel * g_c)
            # windows that hold the element: s o <= at + pad < s o + k
            last_d, last_h = quotient(int32(at_d + pd), sd), quotient(int32(at_h + ph), sh)
            last_w = quotient(int32(at_w + pw), sw)
            z = min(last_d, d_out - 1)
            while z >= 0 and z * sd + kd > at_d + pd:
                in_d = count_of(int32(z * sd - pd), kd, d, qd, include_pad)
                y = min(last_h, h_out - 1)
                while y >= 0 and y * sh + kh > at_h + ph:
                    in_h = count_of(int32(y * sh - ph), kh, h, qh, include_pad)
                    e = min(last_w, w_out - 1)
                    while e >= 0 and e * sw + kw > at_w + pw:
                        counted = divisor
                        if not divided:
                            in_w = count_of(int32(e * sw - pw), kw, width, qw, include_pad)
                            counted = real(in_d) * real(in_h) * real(in_w)
                        total += load(grad_output, int32(plane + z * g_d + y * g_h + e * g_w)) / counted
                        e = int32(e - 1)
                    y = int32(y - 1)
                z = int32(z - 1)
            store(out, int32(y0 + image * y_n + channel * y_c + at_d * y_d + at_h * y_h + at_w * y_w), total)

    return kernel


def grad_max(real: Any, channels_last: bool) -> Any:
    """Return the kernel of a maximum's gradient, where each index lies in its window.

    ``sizes`` are those of max_pool; ``steps`` are of grad_output, indices and the gradient.
    """

    def kernel(sizes: Any, steps: Any, grad_output: Any, indices: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes
        g0, g_n, g_c, g_d, g_h, g_w, i0, i_n, i_c, i_d, i_h, i_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, at_d, at_h, at_w = place(task, c, d, h, width, channels_last)
            own = int64(int32((at_d * h + at_h) * width + at_w))
            total = real(0)
            from_g = int32(g0 + image * g_n + channel * g_c)
            from_i = int32(i0 + image * i_n + channel * i_c)
            for a in range(kd):
                z = int32(at_d + pd - a * dd)
                p_d = quotient(max(z, 0), sd)
                if z >= 0 and p_d * sd == z and p_d < d_out:
                    for b in range(kh):
                        y = int32(at_h + ph - b * dh)
                        p_h = quotient(max(y, 0), sh)
                        if y >= 0 and p_h * sh == y and p_h < h_out:
                            for e in range(kw):
                                t = int32(at_w + pw - e * dw)
                                p_w = quotient(max(t, 0), sw)
                                holds = t >= 0 and p_w * sw == t and p_w < w_out
                                if holds and indices[int32(from_i + p_d * i_d + p_h * i_h + p_w * i_w)] == own:
                                    total += load(grad_output, int32(from_g + p_d * g_d + p_h * g_h + p_w * g_w))
            store(out, int32(y0 + image * y_n + channel * y_c + at_d * y_d + at_h * y_h + at_w * y_w), total)

    return kernel


def grad_max_anywhere(real: Any, channels_last: bool) -> Any:
    """Return the kernel of a maximum's gradient, wherever in their planes the indices point; as grad_max."""

    def kernel(sizes: Any, steps: Any, grad_output: Any, indices: Any, out: Any) -> None:
        n, c, d, h, width = sizes[:5]
        d_out, h_out, w_out = sizes[8:11]
        g0, g_n, g_c, g_d, g_h, g_w, i0, i_n, i_c, i_d, i_h, i_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, at_d, at_h, at_w = place(task, c, d, h, width, channels_last)
            own = int64(int32((at_d * h + at_h) * width + at_w))
            total = real(0)
            from_g = int32(g0 + image * g_n + channel * g_c)
            from_i = int32(i0 + image * i_n + channel * i_c)
            for p_d in range(d_out):
                for p_h in range(h_out):
                    for p_w in range(w_out):
                        if indices[int32(from_i + p_d * i_d + p_h * i_h + p_w * i_w)] == own:
                            total += load(grad_output, int32(from_g + p_d * g_d + p_h * g_h + p_w * g_w))
            store(out, int32(y0 + image * y_n + channel * y_c + at_d * y_d + at_h * y_h + at_w * y_w), total)

    return kernel


def check_indices(channels_last: bool) -> Any:
    """Return the kernel that raises found[0] to INSIDE, ELSEWHERE or OUTSIDE.

    ``sizes`` are those of max_pool; ``steps`` are of the indices.
    """

    def kernel(sizes: Any, steps: Any, indices: Any, found: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes
        i0, i_n, i_c, i_d, i_h, i_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, channels_last)
            index = indices[int32(i0 + image * i_n + channel * i_c + p_d * i_d + p_h * i_h + p_w * i_w)]
            # compared in 64 bits, before anything is cut off
            if index < 0 or index >= int64(d) * h * width:
                cuda.atomic.max(found, 0, OUTSIDE)
            else:
                at = int32(index)
                row = quotient(at, width)
                plane = quotient(row, h)
                z = int32(plane - (p_d * sd - pd))
                y = int32(row - plane * h - (p_h * sh - ph))
                e = int32(at - row * width - (p_w * sw - pw))
                inside = z >= 0 and y >= 0 and e >= 0
                if inside:
                    a, b, g = quotient(z, dd), quotient(y, dh), quotient(e, dw)
                    inside = a * dd == z and b * dh == y and g * dw == e and a < kd and b < kh and g < kw
                if not inside:
                    cuda.atomic.max(found, 0, ELSEWHERE)

    return kernel
