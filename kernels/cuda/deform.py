"""Deformable convolution (v1 and v2) as a product with samples, and its gradients.

y[n, o, p] = bias[o] + sum over c, a of w[o, c, a] columns[n, c, a, p], columns[n, c, a, p] = mask[n, a, p] x at
(n, c, s p - before + d a + offset[n, a, p]), bilinear between pixels, zero where not -1 < place < size
(pyconv/reference.py, deform_corners).

``samples`` makes the columns, in float32 for float16, and products of 1x1 convolutions do the rest: y = w columns,
grad_w = grad_output columns^T, and the columns' gradient w^T grad_output, of which the other gradients are made. A
place is the whole part of an offset, an integer that is added to the tap's, and a fraction: exact, however large the
map is.

samples: a thread has a point (tap and output pixel) and CHANNELS channels of its offset group; neighbouring lanes have
neighbouring pixels. grad_offset: a thread has a point and sums over the group's channels, for both axes and the mask.
grad_x: a thread has a tap and a row of CHANNELS maps, looks at the tap's points on the whole image and adds those that
reach the row, in their order; the taps' sums are parts that are added in order (grad_weight.sum_parts): no atomics, the
same bits every time, and time for every point once a row.

flops: eight a sample of a channel, and the product's; bytes: x from the caches, the columns, kh kw times x, twice.
Error (K + 16) eps for K products; of x's gradient for all points that may meet in a pixel.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, quotient, store

__all__ = ["CHANNELS", "grad_offset", "grad_x", "samples"]

#: Channels of a thread.
CHANNELS = 8
#: Offsets beyond this are off any map whose padded sizes are less than half of it.
_FARTHEST = 2.0**30


@cache
def axis_of(real: Any) -> Any:
    """Return the device function that says where a sample lies along an axis.

    axis(offset, tap's place, size) -> the pixel before it, the fraction behind that, whether it touches the map,
    whether it is inside.
    """

    def axis(offset: Any, base: Any, size: Any) -> Any:
        near = abs(offset) < real(_FARTHEST)
        whole = math.floor(offset) if near else real(0)
        low, part = int32(base + int32(whole)), offset - whole
        touches = near and low >= -1 and low < size
        return low, part, touches, touches and not (low == -1 and part == real(0))

    return cuda.jit(axis, device=True, inline=True)


@cache
def find_of(real: Any) -> Any:
    """Return the device function that finds the four pixels of a sample.

    find(offsets along h and w, taps' places, sizes, strides of x, at, by, up, left) -> whether the sample touches the
    map, whether it is inside. ``at`` are the pixels' places, -1 in ``there`` of none; ``by`` their weights, ``up`` and
    ``left`` how these grow along h and w.
    """
    axis = axis_of(real)

    def find(
        off_h: Any, off_w: Any, base_h: Any, base_w: Any, h: Any, width: Any, x_h: Any, x_w: Any,
        at: Any, there: Any, by: Any, up: Any, left: Any,
    ) -> Any:  # fmt: skip
        low_h, part_h, touches_h, inside_h = axis(off_h, base_h, h)
        low_w, part_w, touches_w, inside_w = axis(off_w, base_w, width)
        on_map = touches_h and touches_w
        for corner in range(4):
            i, j = corner // 2, corner % 2
            y, e = int32(low_h + i), int32(low_w + j)
            exists = on_map and y >= 0 and y < h and e >= 0 and e < width
            there[corner] = int32(1) if exists else int32(0)
            at[corner] = int32(y * x_h + e * x_w) if exists else int32(0)
            of_h = part_h if i == 1 else real(1) - part_h
            of_w = part_w if j == 1 else real(1) - part_w
            by[corner] = of_h * of_w
            up[corner] = of_w if i == 1 else -of_w
            left[corner] = of_h if j == 1 else -of_h
        return on_map, inside_h and inside_w

    return cuda.jit(find, device=True, inline=True)


def samples(real: Any, has_mask: bool) -> Any:
    """Return the kernel of the columns, (n, c, tap, pixel) in order.

    ``sizes`` are n, offset groups, channels of each; h, w; kh, kw; h_out, w_out; strides, dilations, padding before.
    ``steps`` are the first element and the strides (n, c, h, w) of x, offset and mask.
    """
    find = find_of(real)

    def kernel(sizes: Any, steps: Any, x: Any, offset: Any, mask: Any, columns: Any) -> None:
        n, groups, each, h, width, kh, kw, h_out, w_out, sh, sw, dh, dw, ph, pw = sizes
        x0, x_n, x_c, x_h, x_w, o0, o_n, o_c, o_h, o_w, m0, m_n, m_c, m_h, m_w = steps
        at, there = cuda.local.array(4, int32), cuda.local.array(4, int32)
        by, up, left = cuda.local.array(4, real), cuda.local.array(4, real), cuda.local.array(4, real)
        pixels, taps = int32(h_out * w_out), int32(kh * kw)
        blocks = quotient(int32(each + CHANNELS - 1), CHANNELS)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * groups * blocks * taps * pixels:
            rest = quotient(task, pixels)
            pixel = int32(task - rest * pixels)
            above = quotient(rest, taps)
            tap = int32(rest - above * taps)
            line = quotient(above, blocks)
            block = int32(above - line * blocks)
            image = quotient(line, groups)
            group = int32(line - image * groups)
            p = quotient(pixel, w_out)
            q, i = int32(pixel - p * w_out), quotient(tap, kw)
            base_h = int32(p * sh - ph + i * dh)
            base_w = int32(q * sw - pw + (tap - i * kw) * dw)
            point = int32(group * taps + tap)
            of_offset = int32(o0 + image * o_n + 2 * point * o_c + p * o_h + q * o_w)
            off_h, off_w = load(offset, of_offset), load(offset, int32(of_offset + o_c))
            _, inside = find(off_h, off_w, base_h, base_w, h, width, x_h, x_w, at, there, by, up, left)
            factor = real(1)
            if has_mask:
                factor = load(mask, int32(m0 + image * m_n + point * m_c + p * m_h + q * m_w))
            channel = int32(group * each + block * CHANNELS)
            end = int32(group * each + min(each, int32(block * CHANNELS + CHANNELS)))
            while channel < end:
                value = real(0)
                if inside:
                    from_map = int32(x0 + image * x_n + channel * x_c)
                    for corner in range(4):
                        if there[corner] != 0:
                            value += by[corner] * load(x, int32(from_map + at[corner]))
                    value *= factor
                columns[int32(((image * groups * each + channel) * taps + tap) * pixels + pixel)] = value
                channel = int32(channel + 1)

    return kernel


def grad_offset(real: Any, has_mask: bool, of_offset: bool, of_mask: bool) -> Any:
    """Return the kernel of the gradients of offset and mask, or one of them, from that of the columns in scratch.

    ``sizes`` and ``steps`` are those of samples, ``out_steps`` those of both results.
    """
    find = find_of(real)

    def kernel(
        sizes: Any, steps: Any, out_steps: Any, x: Any, offset: Any, mask: Any, columns: Any, grad_offset: Any,
        grad_mask: Any,
    ) -> None:  # fmt: skip
        n, groups, each, h, width, kh, kw, h_out, w_out, sh, sw, dh, dw, ph, pw = sizes
        x0, x_n, x_c, x_h, x_w, o0, o_n, o_c, o_h, o_w, m0, m_n, m_c, m_h, m_w = steps
        y0, y_n, y_c, y_h, y_w, z0, z_n, z_c, z_h, z_w = out_steps
        at, there = cuda.local.array(4, int32), cuda.local.array(4, int32)
        by, up, left = cuda.local.array(4, real), cuda.local.array(4, real), cuda.local.array(4, real)
        sums = cuda.local.array(4, real)
        pixels, taps = int32(h_out * w_out), int32(kh * kw)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * groups * taps * pixels:
            rest = quotient(task, pixels)
            pixel = int32(task - rest * pixels)
            line = quotient(rest, taps)
            tap = int32(rest - line * taps)
            image = quotient(line, groups)
            group = int32(line - image * groups)
            p = quotient(pixel, w_out)
            q, i = int32(pixel - p * w_out), quotient(tap, kw)
            base_h = int32(p * sh - ph + i * dh)
            base_w = int32(q * sw - pw + (tap - i * kw) * dw)
            point = int32(group * taps + tap)
            from_offset = int32(o0 + image * o_n + 2 * point * o_c + p * o_h + q * o_w)
            off_h, off_w = load(offset, from_offset), load(offset, int32(from_offset + o_c))
            on_map, inside = find(off_h, off_w, base_h, base_w, h, width, x_h, x_w, at, there, by, up, left)
            for corner in range(4):
                sums[corner] = real(0)
            if on_map:
                first = int32(group * each)
                for channel in range(first, int32(first + each)):
                    g = columns[int32(((image * groups * each + channel) * taps + tap) * pixels + pixel)]
                    from_map = int32(x0 + image * x_n + channel * x_c)
                    for corner in range(4):
                        if there[corner] != 0:
                            sums[corner] += g * load(x, int32(from_map + at[corner]))
            if of_offset:
                along_h, along_w = real(0), real(0)
                if on_map:
                    for corner in range(4):
                        along_h += sums[corner] * up[corner]
                        along_w += sums[corner] * left[corner]
                    if has_mask:
                        factor = load(mask, int32(m0 + image * m_n + point * m_c + p * m_h + q * m_w))
                        along_h *= factor
                        along_w *= factor
                to = int32(y0 + image * y_n + 2 * point * y_c + p * y_h + q * y_w)
                store(grad_offset, to, along_h)
                store(grad_offset, int32(to + y_c), along_w)
            if of_mask:
                value = real(0)
                if inside:
                    for corner in range(4):
                        value += sums[corner] * by[corner]
                store(grad_mask, int32(z0 + image * z_n + point * z_c + p * z_h + q * z_w), value)

    return kernel


def grad_x(real: Any, has_mask: bool) -> Any:
    """Return the kernel of x's gradient from that of the columns: rows of maps, which begin as zeros.

    Sums go to (tap, n, c, h, w) in order.
    ``sizes`` are those of samples; ``steps`` are of offset and mask.
    """
    axis = axis_of(real)

    def kernel(sizes: Any, steps: Any, offset: Any, mask: Any, columns: Any, found: Any) -> None:
        n, groups, each, h, width, kh, kw, h_out, w_out, sh, sw, dh, dw, ph, pw = sizes
        o0, o_n, o_c, o_h, o_w, m0, m_n, m_c, m_h, m_w = steps
        pixels, taps = int32(h_out * w_out), int32(kh * kw)
        blocks = quotient(int32(each + CHANNELS - 1), CHANNELS)
        rows = int32(n * groups * blocks * h)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < taps * rows:
            tap = quotient(task, rows)
            row = int32(task - tap * rows)
            above = quotient(row, h)
            y = int32(row - above * h)
            line = quotient(above, blocks)
            block = int32(above - line * blocks)
            image = quotient(line, groups)
            group = int32(line - image * groups)
            first = int32(group * each + block * CHANNELS)
            end = int32(group * each + min(each, int32(block * CHANNELS + CHANNELS)))
            i = quotient(tap, kw)
            point = int32(group * taps + tap)
            for pixel in range(pixels):
                p = quotient(pixel, w_out)
                q = int32(pixel - p * w_out)
                at = int32(o0 + image * o_n + 2 * point * o_c + p * o_h + q * o_w)
                low_h, part_h, _, inside_h = axis(load(offset, at), int32(p * sh - ph + i * dh), h)
                if inside_h and (low_h == y or low_h == y - 1):
                    base_w = int32(q * sw - pw + (tap - i * kw) * dw)
                    low_w, part_w, _, inside_w = axis(load(offset, int32(at + o_c)), base_w, width)
                    if inside_w:
                        by = part_h if low_h == y - 1 else real(1) - part_h
                        if has_mask:
                            by *= load(mask, int32(m0 + image * m_n + point * m_c + p * m_h + q * m_w))
                        channel = first
                        while channel < end:
                            plane = int32(image * groups * each + channel)
                            g = by * columns[int32((plane * taps + tap) * pixels + pixel)]
                            to = int32(((tap * n * groups * each + plane) * h + y) * width + low_w)
                            if low_w >= 0:
                                found[to] += g * (real(1) - part_w)
                            if low_w + 1 < width:
                                found[int32(to + 1)] += g * part_w
                            channel = int32(channel + 1)

    return kernel
