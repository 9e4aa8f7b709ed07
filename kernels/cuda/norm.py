"""Batch normalisation: y = (x - mean) / sqrt(var + eps) * weight + bias a channel, its statistics, and its gradients.

Statistics and the sums of gradients are channel_sums.py's, in float64 whatever x is, about the mean: exact for data far
from zero. ``join`` adds their parts in order. With g = grad_output, s = 1 / sqrt(var + eps), N elements a channel:
grad_bias = sum g, grad_weight = s sum g (x - mean), and grad_x = s weight (g - grad_bias / N - (x - mean) s
grad_weight / N), the latter two terms only where the statistics are x's own.

A thread has one element; the vectors come from the caches. bytes: x once for each pass, y once.
"""

from __future__ import annotations

import math
from typing import Any

from numba import cuda, float64, int32

from . import THREADS
from .memory import load, store
from .pool import place

__all__ = ["grad_vectors", "grad_x", "join", "normalize", "update", "widen"]


def join() -> Any:
    """Return the kernel that adds the parts of each channel's sum and divides it; ``sizes`` are parts and channels."""

    def kernel(sizes: Any, divisor: Any, found: Any, out: Any) -> None:
        parts, channels = sizes
        channel = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if channel < channels:
            total = float64(0)
            for part in range(parts):
                total += found[int32(part * channels + channel)]
            out[channel] = total / divisor

    return kernel


def normalize(real: Any, has_weight: bool, has_bias: bool) -> Any:
    """Return the kernel of the outputs.

    ``sizes`` are n, c; d, h, w. ``steps`` are of x and out, ``vectors`` where the first value lies and the stride of
    mean, var, weight and bias.
    """

    def kernel(
        sizes: Any, steps: Any, vectors: Any, eps: Any, x: Any, mean: Any, var: Any, weight: Any, bias: Any, out: Any
    ) -> None:
        n, c, d, h, width = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        m0, m_c, v0, v_c, w0, w_c, b0, b_c = vectors
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            value = load(x, int32(x0 + image * x_n + channel * x_c + z * x_d + y * x_h + e * x_w))
            # a difference of large numbers, and what it is divided by
            centred = float64(value) - float64(load(mean, int32(m0 + channel * m_c)))
            scale = math.sqrt(float64(load(var, int32(v0 + channel * v_c))) + eps)
            total = real(centred / scale)
            if has_weight:
                total = total * load(weight, int32(w0 + channel * w_c))
            if has_bias:
                total = total + load(bias, int32(b0 + channel * b_c))
            store(out, int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w), total)

    return kernel


def grad_x(real: Any, own: bool, has_weight: bool) -> Any:
    """Return the kernel of x's gradient; ``own``: of statistics that are x's.

    ``steps`` are of grad_output, x and the result, ``vectors`` of mean, var and weight; ``totals`` and ``products`` are
    the sums of g and of g (x - mean), ``count`` the elements of a channel.
    """

    def kernel(
        sizes: Any, steps: Any, vectors: Any, eps: Any, count: Any, grad_output: Any, x: Any, mean: Any, var: Any,
        weight: Any, totals: Any, products: Any, out: Any,
    ) -> None:  # fmt: skip
        n, c, d, h, width = sizes
        g0, g_n, g_c, g_d, g_h, g_w, x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        m0, m_c, v0, v_c, w0, w_c = vectors
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            at = int32(g0 + image * g_n + channel * g_c + z * g_d + y * g_h + e * g_w)
            total = float64(load(grad_output, at))
            scale = float64(1) / math.sqrt(float64(load(var, int32(v0 + channel * v_c))) + eps)
            if own:
                value = load(x, int32(x0 + image * x_n + channel * x_c + z * x_d + y * x_h + e * x_w))
                centred = float64(value) - float64(load(mean, int32(m0 + channel * m_c)))
                total = total - totals[channel] / count - centred * (scale * scale * products[channel] / count)
            total = total * scale
            if has_weight:
                total = total * float64(load(weight, int32(w0 + channel * w_c)))
            store(out, int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w), real(total))

    return kernel


def grad_vectors(real: Any, of_weight: bool, of_bias: bool) -> Any:
    """Return the kernel of the gradients of weight and bias; ``vectors`` are of var and of both results."""

    def kernel(
        channels: Any, vectors: Any, eps: Any, var: Any, totals: Any, products: Any, grad_weight: Any, grad_bias: Any
    ) -> None:
        v0, v_c, w0, w_c, b0, b_c = vectors
        channel = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if channel < channels:
            if of_weight:
                scale = float64(1) / math.sqrt(float64(load(var, int32(v0 + channel * v_c))) + eps)
                store(grad_weight, int32(w0 + channel * w_c), real(products[channel] * scale))
            if of_bias:
                store(grad_bias, int32(b0 + channel * b_c), real(totals[channel]))

    return kernel


def update() -> Any:
    """Return the kernel that updates a running statistic in place: running = rest running + share own.

    ``sizes`` are its values, where the first lies and the stride; ``own`` is x's, in float64.
    """

    def kernel(sizes: Any, rest: Any, share: Any, own: Any, running: Any) -> None:
        channels, start, step = sizes
        channel = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if channel < channels:
            at = int32(start + channel * step)
            store(running, at, rest * float64(load(running, at)) + share * own[channel])

    return kernel


def widen() -> Any:
    """Return the kernel that copies a vector to float64; ``sizes`` are its values, where the first lies, the stride."""

    def kernel(sizes: Any, vector: Any, out: Any) -> None:
        channels, start, step = sizes
        channel = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if channel < channels:
            out[channel] = float64(load(vector, int32(start + channel * step)))

    return kernel
