"""unfold and fold: the windows of images as columns of a matrix (im2col), and images as sums of such columns (col2im).

unfold: out[n, (c kh + i) kw + j, p w_out + q] = x[n, c, s p - before + d i, s q - before + d j], zero outside: elements
are moved, bit by bit. fold: out[n, c, y, x] = sum over i, j of the column that has this pixel at tap (i, j), if there
is one: gathered, in the order of taps, so that there are no atomics and the same bits every time.

A thread has one element of what is written; neighbouring lanes have neighbouring windows of a tap, or neighbouring
pixels, whose columns are neighbours too where the stride is 1. bytes: unfold reads x from the caches and writes kh kw
times as much; fold the other way round. Error (taps + 16) eps, sums in float32, of float64 in float64.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, move, quotient, store
from .pool import place

__all__ = ["fold", "unfold"]


def unfold() -> Any:
    """Return the kernel that spreads windows out.

    ``sizes`` are c; h, w of the images; kh, kw; h_out, w_out; strides, dilations, padding before; the elements of out.
    ``steps`` are the images' first element and strides (n, c, h, w), and the columns' (n, row, column).
    """

    def kernel(sizes: Any, steps: Any, x: Any, out: Any) -> None:
        c, h, width, kh, kw, h_out, w_out, sh, sw, dh, dw, ph, pw, elements = sizes
        x0, x_n, x_c, x_h, x_w, y0, y_n, y_r, y_p = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            windows, taps = int32(h_out * w_out), int32(kh * kw)
            line = quotient(task, windows)
            column = int32(task - line * windows)
            p = quotient(column, w_out)
            image = quotient(line, int32(c * taps))
            row = int32(line - image * (c * taps))
            channel = quotient(row, taps)
            tap = int32(row - channel * taps)
            i = quotient(tap, kw)
            y = int32(p * sh - ph + i * dh)
            e = int32((column - p * w_out) * sw - pw + (tap - i * kw) * dw)
            to = int32(y0 + image * y_n + row * y_r + column * y_p)
            if y >= 0 and y < h and e >= 0 and e < width:
                move(out, to, x, int32(x0 + image * x_n + channel * x_c + y * x_h + e * x_w))
            else:
                store(out, to, 0)

    return kernel


def fold(real: Any) -> Any:
    """Return the kernel that sums columns into the images that they are windows of; sizes and steps as in unfold.

    The last of ``sizes`` are the elements of the images.
    """

    def kernel(sizes: Any, steps: Any, columns: Any, out: Any) -> None:
        c, h, width, kh, kw, h_out, w_out, sh, sw, dh, dw, ph, pw, elements = sizes
        y0, y_n, y_c, y_h, y_w, x0, x_n, x_r, x_p = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            image, channel, _, y, e = place(task, c, int32(1), h, width, False)
            from_row = int32(x0 + image * x_n + channel * (kh * kw) * x_r)
            total = real(0)
            for i in range(kh):
                up = int32(y + ph - i * dh)
                p = quotient(max(up, 0), sh)
                if up >= 0 and p * sh == up and p < h_out:
                    for j in range(kw):
                        left = int32(e + pw - j * dw)
                        q = quotient(max(left, 0), sw)
                        if left >= 0 and q * sw == left and q < w_out:
                            total += load(columns, int32(from_row + (i * kw + j) * x_r + (p * w_out + q) * x_p))
            store(out, int32(y0 + image * y_n + channel * y_c + y * y_h + e * y_w), total)

    return kernel
