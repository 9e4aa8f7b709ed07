"""Pooling: maxima with or without their indices, averages, their gradients, un-pooling; one to three axes.

max: out[n, c, o] = max over a of x[n, c, s o - pad + d a], the taps that lie in x; of equal ones the first, or the last
NaN. avg: their sum over the window's count. Gradients: that of a maximum goes to the element that its index names,
that of an average in equal parts to its window.

A thread has one element of what is written. Gradients are gathered: an element of x adds what the windows around it
have for it, in the order of the outputs, so that no sum depends on the order of threads. Of adaptive pooling window o
begins at floor(o size / out) and ends before ceil((o + 1) size / out). ``grad_max_anywhere`` is for indices that lie
outside their windows: an element looks through its plane's indices; ``check_indices`` says whether that is needed.
Neighbouring lanes have neighbours in memory: along w, or channels where ``channels_last``.

Un-pooling notes the last element that goes to each place, by an atomic maximum, and fetches it from there.

A window's loads overlap with its neighbours' and come from L1. flops: one comparison or addition a tap; bytes: x and
out once. Sums in float32, of float64 in float64; error (taps + 4) eps.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, int32, int64

from . import THREADS
from .memory import load, quotient, store

__all__ = [
    "ELSEWHERE",
    "INSIDE",
    "OUTSIDE",
    "avg_pool",
    "check_indices",
    "grad_avg",
    "grad_max",
    "grad_max_anywhere",
    "grad_unpool",
    "max_pool",
    "unpool",
    "unpool_owners",
    "windows",
]

#: What indices may be: each in its own window, some in another place of their plane, some in no place of it.
INSIDE, ELSEWHERE, OUTSIDE = 0, 1, 2


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


@cache
def windows(adaptive: bool) -> tuple[Any, Any]:
    """Return the device functions that know the windows of an axis: that of an output, and those around an element.

    window(o, size, k, out, stride, pad) -> first element, elements (k taps where it is not adaptive)
    around(i, size, k, out, stride, pad, dilation) -> first and last output whose window reaches over element i
    """

    def window(o: Any, size: Any, k: Any, out: Any, stride: Any, pad: Any) -> Any:
        return int32(o * stride - pad), k

    def around(i: Any, size: Any, k: Any, out: Any, stride: Any, pad: Any, dilation: Any) -> Any:
        at, reach = int32(i + pad), int32((k - 1) * dilation + 1)
        first = int32(quotient(int32(at - reach), stride) + 1) if at >= reach else int32(0)
        return first, min(quotient(at, stride), int32(out - 1))

    def adaptive_window(o: Any, size: Any, k: Any, out: Any, stride: Any, pad: Any) -> Any:
        start = quotient(int32(o * size), out)
        return start, int32(quotient(int32((o + 1) * size + out - 1), out) - start)

    def adaptive_around(i: Any, size: Any, k: Any, out: Any, stride: Any, pad: Any, dilation: Any) -> Any:
        return quotient(int32(i * out), size), int32(quotient(int32((i + 1) * out + size - 1), size) - 1)

    found = (adaptive_window, adaptive_around) if adaptive else (window, around)
    return tuple(cuda.jit(function, device=True, inline=True) for function in found)


def max_pool(real: Any, indexed: bool, channels_last: bool, adaptive: bool) -> Any:
    """Return the kernel of maxima.

    ``sizes`` are n, c; d, h, w of x; of the window; of the output; strides, dilations, padding before. ``steps`` are
    where the first element lies and the strides (n, c, d, h, w), of x, out and indices.
    """
    window, _ = windows(adaptive)

    def kernel(sizes: Any, steps: Any, x: Any, out: Any, indices: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w, i0, i_n, i_c, i_d, i_h, i_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, channels_last)
            start_d, taps_d = window(p_d, d, kd, d_out, sd, pd)
            start_h, taps_h = window(p_h, h, kh, h_out, sh, ph)
            start_w, taps_w = window(p_w, width, kw, w_out, sw, pw)
            first_d, first_h, first_w = begin(start_d, dd), begin(start_h, dh), begin(start_w, dw)
            end_d, end_h = min(d, start_d + taps_d * dd), min(h, start_h + taps_h * dh)
            end_w = min(width, start_w + taps_w * dw)
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


def avg_pool(real: Any, include_pad: bool, divided: bool, channels_last: bool, adaptive: bool) -> Any:
    """Return the kernel of averages; ``divisor`` is what ``divided`` ones divide by instead of their count.

    ``sizes`` are those of max_pool without dilations, and the padding after; ``steps`` are of x and out.
    """
    window, _ = windows(adaptive)

    def kernel(sizes: Any, steps: Any, divisor: Any, x: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, pd, ph, pw, qd, qh, qw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d_out * h_out * w_out:
            image, channel, p_d, p_h, p_w = place(task, c, d_out, h_out, w_out, channels_last)
            start_d, taps_d = window(p_d, d, kd, d_out, sd, pd)
            start_h, taps_h = window(p_h, h, kh, h_out, sh, ph)
            start_w, taps_w = window(p_w, width, kw, w_out, sw, pw)
            total = real(0)
            plane = int32(x0 + image * x_n + channel * x_c)
            for z in range(max(0, start_d), min(d, start_d + taps_d)):
                for y in range(max(0, start_h), min(h, start_h + taps_h)):
                    row = int32(plane + z * x_d + y * x_h)
                    for e in range(max(0, start_w), min(width, start_w + taps_w)):
                        total += load(x, int32(row + e * x_w))
            counted = divisor
            if not divided:
                in_d = count_of(start_d, taps_d, d, qd, include_pad)
                in_h = count_of(start_h, taps_h, h, qh, include_pad)
                in_w = count_of(start_w, taps_w, width, qw, include_pad)
                counted = real(in_d) * real(in_h) * real(in_w)
            average = total / counted if counted != real(0) else real(0)
            store(out, int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w), average)

    return kernel


def grad_avg(real: Any, include_pad: bool, divided: bool, channels_last: bool, adaptive: bool) -> Any:
    """Return the kernel of an average's gradient; ``steps`` are of grad_output and of the gradient."""
    window, around = windows(adaptive)

    def kernel(sizes: Any, steps: Any, divisor: Any, grad_output: Any, out: Any) -> None:
        n, c, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, pd, ph, pw, qd, qh, qw = sizes
        g0, g_n, g_c, g_d, g_h, g_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, at_d, at_h, at_w = place(task, c, d, h, width, channels_last)
            total = real(0)
            plane = int32(g0 + image * g_n + channel * g_c)
            first_d, last_d = around(at_d, d, kd, d_out, sd, pd, int32(1))
            first_h, last_h = around(at_h, h, kh, h_out, sh, ph, int32(1))
            first_w, last_w = around(at_w, width, kw, w_out, sw, pw, int32(1))
            for z in range(first_d, last_d + 1):
                start_d, taps_d = window(z, d, kd, d_out, sd, pd)
                in_d = count_of(start_d, taps_d, d, qd, include_pad)
                for y in range(first_h, last_h + 1):
                    start_h, taps_h = window(y, h, kh, h_out, sh, ph)
                    in_h = count_of(start_h, taps_h, h, qh, include_pad)
                    row = int32(plane + z * g_d + y * g_h)
                    for e in range(first_w, last_w + 1):
                        counted = divisor
                        if not divided:
                            start_w, taps_w = window(e, width, kw, w_out, sw, pw)
                            in_w = count_of(start_w, taps_w, width, qw, include_pad)
                            counted = real(in_d) * real(in_h) * real(in_w)
                        total += load(grad_output, int32(row + e * g_w)) / counted
            store(out, int32(y0 + image * y_n + channel * y_c + at_d * y_d + at_h * y_h + at_w * y_w), total)

    return kernel


def grad_max(real: Any, channels_last: bool, adaptive: bool) -> Any:
    """Return the kernel of a maximum's gradient, where each index lies in its window.

    ``sizes`` are those of max_pool; ``steps`` are of grad_output, indices and the gradient.
    """
    _, around = windows(adaptive)

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
            first_d, last_d = around(at_d, d, kd, d_out, sd, pd, dd)
            first_h, last_h = around(at_h, h, kh, h_out, sh, ph, dh)
            first_w, last_w = around(at_w, width, kw, w_out, sw, pw, dw)
            z = first_d
            while z <= last_d:
                y = first_h
                while y <= last_h:
                    row_i, row_g = int32(from_i + z * i_d + y * i_h), int32(from_g + z * g_d + y * g_h)
                    e = first_w
                    while e <= last_w:
                        if indices[int32(row_i + e * i_w)] == own:
                            total += load(grad_output, int32(row_g + e * g_w))
                        e = int32(e + 1)
                    y = int32(y + 1)
                z = int32(z + 1)
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


def check_indices(channels_last: bool, adaptive: bool) -> Any:
    """Return the kernel that raises found[0] to INSIDE, ELSEWHERE or OUTSIDE.

    ``sizes`` are those of max_pool; ``steps`` are of the indices.
    """
    window, _ = windows(adaptive)

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
                start_d, taps_d = window(p_d, d, kd, d_out, sd, pd)
                start_h, taps_h = window(p_h, h, kh, h_out, sh, ph)
                start_w, taps_w = window(p_w, width, kw, w_out, sw, pw)
                z, y, e = int32(plane - start_d), int32(row - plane * h - start_h), int32(at - row * width - start_w)
                inside = z >= 0 and y >= 0 and e >= 0
                if inside:
                    a, b, g = quotient(z, dd), quotient(y, dh), quotient(e, dw)
                    inside = a * dd == z and b * dh == y and g * dw == e and a < taps_d and b < taps_h and g < taps_w
                if not inside:
                    cuda.atomic.max(found, 0, ELSEWHERE)

    return kernel


def unpool_owners() -> Any:
    """Return the kernel that notes at each element of the large planes the last element that goes there, from 0 on.

    ``sizes`` are the elements of all small planes, of a small plane and of a large one; the larger number wins,
    whatever the order of threads. found[0] is raised to OUTSIDE where an index lies outside its plane. ``steps`` are of
    the indices, ``shape`` are c; d, h, w of the small planes.
    """

    def kernel(sizes: Any, shape: Any, steps: Any, indices: Any, owners: Any, found: Any) -> None:
        elements, small, large = sizes
        c, d, h, width = shape
        i0, i_n, i_c, i_d, i_h, i_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            index = indices[int32(i0 + image * i_n + channel * i_c + z * i_d + y * i_h + e * i_w)]
            if index < 0 or index >= large:
                cuda.atomic.max(found, 0, OUTSIDE)
            else:
                cuda.atomic.max(owners, int32(quotient(task, small) * large + int32(index)), task)

    return kernel


def unpool(real: Any) -> Any:
    """Return the kernel that fetches each element of the large planes from its owner; zero where there is none.

    ``large`` and ``small`` are c; d, h, w of the planes, ``elements`` those of all large ones; ``steps`` are of x and
    out.
    """

    def kernel(elements: Any, large: Any, small: Any, steps: Any, owners: Any, x: Any, out: Any) -> None:
        c, d, h, width = large
        c_small, d_small, h_small, w_small = small
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            owner, value = owners[task], real(0)
            if owner >= 0:
                image, channel, z, y, e = place(owner, c_small, d_small, h_small, w_small, False)
                value = load(x, int32(x0 + image * x_n + channel * x_c + z * x_d + y * x_h + e * x_w))
            image, channel, z, y, e = place(task, c, d, h, width, False)
            store(out, int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w), value)

    return kernel


def grad_unpool(real: Any) -> Any:
    """Return the kernel that fetches grad_output at each index; indices outside are noted as in unpool_owners.

    ``large`` and ``small`` are c; d, h, w of the planes; ``steps`` are of grad_output, indices and the gradient.
    """

    def kernel(
        elements: Any, large: Any, small: Any, steps: Any, grad_output: Any, indices: Any, found: Any, out: Any
    ) -> None:
        _, d, h, width = large
        c, d_small, h_small, w_small = small
        g0, g_n, g_c, g_d, g_h, g_w, i0, i_n, i_c, i_d, i_h, i_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            image, channel, z, y, e = place(task, c, d_small, h_small, w_small, False)
            index = indices[int32(i0 + image * i_n + channel * i_c + z * i_d + y * i_h + e * i_w)]
            to = int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w)
            if index < 0 or index >= int64(d) * h * width:
                cuda.atomic.max(found, 0, OUTSIDE)
            else:
                at = int32(index)
                row = quotient(at, width)
                plane = quotient(row, h)
                at = int32(plane * g_d + (row - plane * h) * g_h + (at - row * width) * g_w)
                store(out, to, load(grad_output, int32(g0 + image * g_n + channel * g_c + at)))

    return kernel
