"""channel_sums: sums over images and pixels of each channel: gradients of biases, statistics of batch normalisation.

found[part, c] = sum over n, p of f(x, y), f one of x, (x - mean[c])^2, x (y - mean[c]).

A block has a channel and a part of its elements; a thread takes every THREADS-th of these, in order, and the threads'
sums are joined as a tree in shared memory. The number of parts is the problem's alone (:func:`parts_of`), and whoever
asks adds the parts in order: the same bits every time, and partial sums are short. Neighbouring lanes have neighbouring
pixels; where channels are fastest in memory their loads are c elements apart, which costs a multiple of the traffic.

bytes: x, and y, once. Error (elements / (THREADS parts) + log2 THREADS + parts + 2) eps.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, quotient

__all__ = ["WHAT", "channel_sums", "depth_of", "parts_of"]

#: What is summed.
WHAT = ("values", "squares", "products")
#: A part has at least so many elements, and there are no more blocks than keep a large GPU busy.
_LEAST, _BLOCKS = 4096, 864


def parts_of(channels: int, elements: int) -> int:
    """Return how many parts the elements of a channel are dealt to."""
    return max(1, min(-(-elements // _LEAST), _BLOCKS // max(1, channels)))


def depth_of(channels: int, elements: int) -> int:
    """Return how many roundings a sum has."""
    parts = parts_of(channels, elements)
    return -(-elements // (parts * THREADS)) + 7 + parts + 2


def channel_sums(real: Any, what: str) -> Any:
    """Return the kernel for a type of sums and a summand.

    ``sizes`` are channels; d, h, w; images; parts. ``steps`` are of x and y. ``mean`` is one of a channel, of the sums'
    type.
    """
    squares, products = what == "squares", what == "products"

    def kernel(sizes: Any, steps: Any, x: Any, y: Any, mean: Any, found: Any) -> None:
        channels, d, h, width, images, parts = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        joined = cuda.shared.array(THREADS, real)
        part = quotient(cuda.blockIdx.x, channels)
        channel = int32(cuda.blockIdx.x - part * channels)
        thread = int32(cuda.threadIdx.x)
        elements = int32(images * d * h * width)
        each = quotient(int32(elements + parts - 1), parts)
        end = min(int32((part + 1) * each), elements)
        middle = mean[channel] if squares or products else real(0)
        total = real(0)
        i = int32(part * each + thread)
        while i < end:
            row = quotient(i, width)
            plane = quotient(row, h)
            image = quotient(plane, d)
            at_w, at_h, at_d = int32(i - row * width), int32(row - plane * h), int32(plane - image * d)
            value = load(x, int32(x0 + image * x_n + channel * x_c + at_d * x_d + at_h * x_h + at_w * x_w))
            if squares:
                value = (value - middle) * (value - middle)
            if products:
                other = load(y, int32(y0 + image * y_n + channel * y_c + at_d * y_d + at_h * y_h + at_w * y_w))
                value = value * (other - middle)
            total += value
            i = int32(i + THREADS)
        joined[thread] = total
        cuda.syncthreads()
        half = int32(THREADS // 2)
        while half > 0:
            if thread < half:
                joined[thread] += joined[int32(thread + half)]
            cuda.syncthreads()
            half = int32(half // 2)
        if thread == 0:
            found[int32(part * channels + channel)] = joined[0]

    return kernel
