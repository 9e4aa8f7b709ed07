"""Regions of interest: boxes on maps, each cut into bins; what becomes of a bin; the gradient with respect to the maps.

out[k, c, o] = the mean of bin o's samples, or their maximum, each sum w_z w_y w_x x[image_k, channel, z, y, x] of the
pixels beside it. A bin of roi_pool or ps_roi_pool is a window of whole pixels, each a sample of weight one. "ps": each
bin has channels of x for itself. pyconv/reference.py has the places of samples (roi_axis); they are computed in float64
here as there, and only samples that may lie on the map are visited, so that a box of any size takes a bounded time.

Forward a thread has one element of the output; neighbouring lanes have neighbouring bins. Where a maximum's gradient is
to follow, ``forward`` notes which sample or pixel it was. The gradient is gathered: a thread has one row of one map of
the gradient, goes through the boxes on its image that reach the row, and adds what their bins have for it, box by box:
the same bits every time. Rows lie in scratch of the sums' type; ``sum_parts`` stores them.

flops: two for each pixel of a sample; bytes: the output and, from the caches, the pixels. Error (terms + 8) eps for
bins of so many terms.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, float64, int32, int64

from . import THREADS
from .memory import load, quotient, store
from .pool import place

__all__ = ["axis", "check_boxes", "forward", "grad_max", "grad_mean"]

#: Whole numbers up to here are exact in float64, and numbers beyond are whole.
_WHOLE = 2.0**53
#: The most samples that a call may ask for, of a bin along one axis.
_MOST_SAMPLES = 4096
_LIMIT = 1e9


@cache
def axis(kind: str, aligned: bool) -> tuple[Any, Any, Any]:
    """Return the device functions that know the bins of an axis.

    ends(low, high, scale) -> where a box begins and ends on the map, pixels that it reaches to lie one farther at most.
    bin_of(low, high, scale, size, bins, o, ratio) -> base, step, count, number of the first sample, samples to visit.
    sample(base, step, count, s, size) -> pixels of sample s (0, 1, 2), the first of them, the second's weight.
    """
    position_sensitive = kind == "ps_roi_align"
    shift = 0.5 if aligned or position_sensitive else 0.0
    stretched = not aligned and not position_sensitive
    pooled = kind == "roi_pool"

    def floor(value: Any) -> Any:
        return value if abs(value) >= _WHOLE else float64(math.floor(value))

    def ceil(value: Any) -> Any:
        return value if abs(value) >= _WHOLE else float64(math.ceil(value))

    floor, ceil = cuda.jit(floor, device=True, inline=True), cuda.jit(ceil, device=True, inline=True)

    def align_ends(low: Any, high: Any, scale: Any) -> Any:
        start, end = low * scale - shift, high * scale - shift
        if stretched:
            end = start + max(end - start, float64(1))
        return min(start, end), max(start, end)

    def align_bin(low: Any, high: Any, scale: Any, size: Any, bins: Any, o: Any, ratio: Any) -> Any:
        start, end = low * scale - shift, high * scale - shift
        length = end - start
        if stretched:
            length = max(length, float64(1))
        step = length / float64(bins)
        count = float64(ratio) if ratio > 0 else ceil(step)
        base = start + float64(o) * step
        first, last = float64(0), count - float64(1)
        if step != float64(0):
            one, other = (float64(-1) - base) * count / step, (float64(size) - base) * count / step
            first = max(first, floor(min(one, other)) - float64(2))
            last = min(last, ceil(max(one, other)) + float64(2))
        visits = last - first + float64(1)
        most = float64(4) * float64(size) + float64(16 + _MOST_SAMPLES)
        # what is no number is none
        visits = float64(0) if not visits > float64(0) else most if visits > most else visits
        return base, step, max(count, float64(0)), first, int32(visits)

    def align_sample(base: Any, step: Any, count: Any, s: Any, size: Any) -> Any:
        at = base + (s + float64(0.5)) * step / count
        if not (at >= float64(-1) and at <= float64(size)):
            return int32(0), int32(0), float64(0)
        at = max(at, float64(0))
        pixel = int32(at)
        if pixel >= size - 1:
            return int32(1), int32(size - 1), float64(0)
        rest = at - float64(pixel)
        return int32(1) if rest == float64(0) else int32(2), pixel, rest

    def rounded(corner: Any) -> Any:
        near = int32(math.floor(min(abs(corner), float64(_LIMIT)) + float64(0.5)))
        return near if corner >= float64(0) else int32(-near)

    rounded = cuda.jit(rounded, device=True, inline=True)

    def window_ends(low: Any, high: Any, scale: Any) -> Any:
        start, end = float64(rounded(low * scale)), float64(rounded(high * scale))
        return min(start, end), max(start, end) + float64(1)

    def window_bin(low: Any, high: Any, scale: Any, size: Any, bins: Any, o: Any, ratio: Any) -> Any:
        start, end = rounded(low * scale), rounded(high * scale)
        pixels = int64(max(int64(1), int64(end) - int64(start) + int64(pooled)))
        limit = int64(size) if pooled else int64(size - 1)
        first = int64(start) + int64(o) * pixels // int64(bins)
        last = int64(start) + (int64(o + 1) * pixels + int64(bins - 1)) // int64(bins)
        first, last = min(max(first, int64(0)), limit), min(max(last, int64(0)), limit)
        visits = int32(max(int64(0), last - first))
        return float64(first), float64(0), float64(visits), float64(0), visits

    def window_sample(base: Any, step: Any, count: Any, s: Any, size: Any) -> Any:
        return int32(1), int32(base + s), float64(0)

    found = (align_ends, align_bin, align_sample)
    if not kind.endswith("align"):
        found = (window_ends, window_bin, window_sample)
    return tuple(cuda.jit(function, device=True, inline=True) for function in found)  # type: ignore[return-value]


@cuda.jit(device=True, inline=True)
def corner(boxes: Any, at: Any) -> Any:
    """Return a number of a box in float64."""
    return float64(load(boxes, int32(at)))


def check_boxes(rank: int, has_image: bool) -> Any:
    """Return the kernel that looks for boxes that no map has.

    found[0] is raised to 2 (boxes - k) + 1 where box k is on an image that is not there, to 2 (boxes - k) where a
    corner is not finite or lies too far away: the first box decides. ``sizes`` are boxes and images; ``steps`` are
    where the first number lies, and the strides.
    """
    numbers, first = 2 * rank, 1 if has_image else 0

    def kernel(sizes: Any, steps: Any, farthest: Any, boxes: Any, found: Any) -> None:
        count, images = sizes
        b0, b_k, b_i = steps
        k = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if k < count:
            row = int32(b0 + k * b_k)
            if has_image:
                image = corner(boxes, row)
                if not (image >= float64(0) and image < float64(images)) or image != float64(int32(image)):
                    cuda.atomic.max(found, 0, int32(2 * (count - k) + 1))
            for i in range(numbers):
                if not abs(corner(boxes, row + (first + i) * b_i)) <= farthest:
                    cuda.atomic.max(found, 0, int32(2 * (count - k)))

    return kernel


def forward(
    real: Any, kind: str, join: str, rank: int, aligned: bool, has_image: bool, channels_last: bool, notes: bool
) -> Any:
    """Return the kernel of one operation.

    ``sizes`` are boxes, c_out, slices; d, h, w of x; bins along d, h, w; the sampling ratio. ``steps`` are of x and
    out, ``box_steps`` of the boxes. Where ``notes``, ``at`` and ``weight`` get what a maximum was, in the output's
    order: the pixel and its weight, or the number of the sample among those visited; -1 for none.
    """
    _, bin_of, sample = axis(kind, aligned)
    mean, by_sample = join == "mean", join == "max sample"
    pairs = kind.endswith("align") and join == "max pixel"
    first_number, solid = 1 if has_image else 0, rank == 3

    def kernel(
        sizes: Any, steps: Any, box_steps: Any, scale: Any, x: Any, boxes: Any, out: Any, at: Any, weight: Any
    ) -> None:
        n_boxes, c_out, slices, d, h, width, bins_d, bins_h, bins_w, ratio = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        b0, b_k, b_i = box_steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n_boxes * c_out * bins_d * bins_h * bins_w:
            k, channel, o_d, o_h, o_w = place(task, c_out, bins_d, bins_h, bins_w, channels_last)
            row = int32(b0 + k * b_k)
            image = int32(corner(boxes, row)) if has_image else int32(0)
            row = int32(row + first_number * b_i)
            base_w, step_w, count_w, first_w, visits_w = bin_of(
                corner(boxes, row), corner(boxes, row + rank * b_i), scale, width, bins_w, o_w, ratio
            )
            base_h, step_h, count_h, first_h, visits_h = bin_of(
                corner(boxes, row + b_i), corner(boxes, row + (rank + 1) * b_i), scale, h, bins_h, o_h, ratio
            )
            base_d, step_d, count_d, first_d, visits_d = float64(0), float64(0), float64(1), float64(0), int32(1)
            if solid:
                base_d, step_d, count_d, first_d, visits_d = bin_of(
                    corner(boxes, row + 2 * b_i), corner(boxes, row + 5 * b_i), scale, d, bins_d, o_d, ratio
                )
            total = count_d * count_h * count_w
            of_x = int32(channel * slices)
            if slices > 1:
                of_x = int32(of_x + (o_d * bins_h + o_h) * bins_w + o_w)
            plane = int32(x0 + image * x_n + of_x * x_c)
            best, found, which = real(0), real(0), int64(-1)
            best_weight = real(0)
            is_first = False
            if not mean:
                # whether all samples lie on the map, each between two pixels where single ones are compared
                on_map, whole = float64(1), True
                n_d, n_h, n_w = int32(0), int32(0), int32(0)
                for i in range(visits_w):
                    taps, _, _ = sample(base_w, step_w, count_w, first_w + float64(i), width)
                    n_w = int32(n_w + 1) if taps > 0 else n_w
                    whole = whole and (taps == 2 or taps == 0)
                for i in range(visits_h):
                    taps, _, _ = sample(base_h, step_h, count_h, first_h + float64(i), h)
                    n_h = int32(n_h + 1) if taps > 0 else n_h
                    whole = whole and (taps == 2 or taps == 0)
                if solid:
                    for i in range(visits_d):
                        taps, _, _ = sample(base_d, step_d, count_d, first_d + float64(i), d)
                        n_d = int32(n_d + 1) if taps > 0 else n_d
                        whole = whole and (taps == 2 or taps == 0)
                else:
                    n_d = int32(1)
                on_map = float64(n_d) * float64(n_h) * float64(n_w)
                is_first = on_map >= total and total != float64(0) and (whole or not pairs)
                best = real(-math.inf) if is_first else real(0)
            for i_d in range(visits_d):
                taps_d, z, high_d = int32(1), int32(0), float64(0)
                if solid:
                    taps_d, z, high_d = sample(base_d, step_d, count_d, first_d + float64(i_d), d)
                if by_sample:
                    for i_h in range(visits_h if taps_d > 0 else int32(0)):
                        taps_h, y, high_h = sample(base_h, step_h, count_h, first_h + float64(i_h), h)
                        for i_w in range(visits_w if taps_h > 0 else int32(0)):
                            taps_w, e, high_w = sample(base_w, step_w, count_w, first_w + float64(i_w), width)
                            if taps_w > 0:
                                value = real(0)
                                for a in range(taps_d):
                                    of_d = high_d if a == 1 else float64(1) - high_d
                                    for b in range(taps_h):
                                        of_h = of_d * (high_h if b == 1 else float64(1) - high_h)
                                        line = int32(plane + (z + a) * x_d + (y + b) * x_h)
                                        for g in range(taps_w):
                                            factor = real(of_h * (high_w if g == 1 else float64(1) - high_w))
                                            value += load(x, int32(line + (e + g) * x_w)) * factor
                                if is_first or value > best or value != value:
                                    best, is_first = value, False
                                    which = (int64(i_d) * int64(visits_h) + int64(i_h)) * int64(visits_w) + int64(i_w)
                else:
                    # pixels of each axis one after the other: a maximum is the first of equal ones
                    for a in range(taps_d):
                        of_d = high_d if a == 1 else float64(1) - high_d
                        for i_h in range(visits_h):
                            taps_h, y, high_h = sample(base_h, step_h, count_h, first_h + float64(i_h), h)
                            for b in range(taps_h):
                                of_h = of_d * (high_h if b == 1 else float64(1) - high_h)
                                line = int32(plane + (z + a) * x_d + (y + b) * x_h)
                                for i_w in range(visits_w):
                                    taps_w, e, high_w = sample(base_w, step_w, count_w, first_w + float64(i_w), width)
                                    for g in range(taps_w):
                                        factor = real(of_h * (high_w if g == 1 else float64(1) - high_w))
                                        value = load(x, int32(line + (e + g) * x_w)) * factor
                                        if mean:
                                            found += value
                                        elif is_first or value > best or value != value:
                                            best, is_first, best_weight = value, False, factor
                                            which = (int64(z + a) * int64(h) + int64(y + b)) * int64(width) + int64(
                                                e + g
                                            )
            if mean:
                best = found / real(total) if total != float64(0) else real(0)
            store(out, int32(y0 + k * y_n + channel * y_c + o_d * y_d + o_h * y_h + o_w * y_w), best)
            if notes:
                to = int32((((k * c_out + channel) * bins_d + o_d) * bins_h + o_h) * bins_w + o_w)
                at[to], weight[to] = which, best_weight

    return kernel


def grad_mean(real: Any, kind: str, rank: int, aligned: bool, has_image: bool) -> Any:
    """Return the kernel of a mean's gradient: rows of the maps, which begin as zeros.

    ``sizes`` are boxes, images, c_out, slices; d, h, w of x; bins; the sampling ratio. ``steps`` are of grad_output;
    ``found`` is (n, c, d, h, w) in order.
    """
    ends, bin_of, sample = axis(kind, aligned)
    first_number, solid = 1 if has_image else 0, rank == 3

    def kernel(sizes: Any, steps: Any, box_steps: Any, scale: Any, grad_output: Any, boxes: Any, found: Any) -> None:
        n_boxes, images, c_out, slices, d, h, width, bins_d, bins_h, bins_w, ratio = sizes
        g0, g_n, g_c, g_d, g_h, g_w = steps
        b0, b_k, b_i = box_steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < images * c_out * slices * d * h:
            image, of_x, z, y, _ = place(task, int32(c_out * slices), d, h, int32(1), False)
            channel = quotient(of_x, slices)
            mine = int32(of_x - channel * slices)
            to = int32(task * width)
            for k in range(n_boxes):
                row = int32(b0 + k * b_k)
                if not has_image or int32(corner(boxes, row)) == image:
                    row = int32(row + first_number * b_i)
                    low_h, high_h = corner(boxes, row + b_i), corner(boxes, row + (rank + 1) * b_i)
                    low_w, high_w = corner(boxes, row), corner(boxes, row + rank * b_i)
                    begin, end = ends(low_h, high_h, scale)
                    reached = float64(y) >= begin - float64(1) and float64(y) <= end + float64(1)
                    for o_h in range(bins_h if reached else int32(0)):
                        base, step, count_h, first, visits = bin_of(low_h, high_h, scale, h, bins_h, o_h, ratio)
                        of_h = float64(0)
                        for i in range(visits):
                            taps, at, high = sample(base, step, count_h, first + float64(i), h)
                            if taps > 0 and at == y:
                                of_h += float64(1) - high
                            if taps == 2 and at + 1 == y:
                                of_h += high
                        for o_d in range(bins_d if of_h != float64(0) else int32(0)):
                            of_d, count_d = float64(1), float64(1)
                            if solid:
                                base, step, count_d, first, visits = bin_of(
                                    corner(boxes, row + 2 * b_i), corner(boxes, row + 5 * b_i), scale, d, bins_d, o_d,
                                    ratio,
                                )  # fmt: skip
                                of_d = float64(0)
                                for i in range(visits):
                                    taps, at, high = sample(base, step, count_d, first + float64(i), d)
                                    if taps > 0 and at == z:
                                        of_d += float64(1) - high
                                    if taps == 2 and at + 1 == z:
                                        of_d += high
                            for o_w in range(bins_w if of_d != float64(0) else int32(0)):
                                number = int32((o_d * bins_h + o_h) * bins_w + o_w)
                                if slices == 1 or number == mine:
                                    base, step, count_w, first, visits = bin_of(
                                        low_w, high_w, scale, width, bins_w, o_w, ratio
                                    )
                                    g = load(
                                        grad_output,
                                        int32(g0 + k * g_n + channel * g_c + o_d * g_d + o_h * g_h + o_w * g_w),
                                    )
                                    factor = of_h * of_d / (count_d * count_h * count_w)
                                    for i in range(visits):
                                        taps, at, high = sample(base, step, count_w, first + float64(i), width)
                                        if taps > 0:
                                            found[int32(to + at)] += g * real(factor * (float64(1) - high))
                                        if taps == 2:
                                            found[int32(to + at + 1)] += g * real(factor * high)

    return kernel


def grad_max(real: Any, kind: str, join: str, rank: int, aligned: bool, has_image: bool) -> Any:
    """Return the kernel of a maximum's gradient, from what ``forward`` has noted; sizes and steps as in grad_mean."""
    ends, bin_of, sample = axis(kind, aligned)
    first_number, solid, by_sample = 1 if has_image else 0, rank == 3, join == "max sample"

    def kernel(
        sizes: Any, steps: Any, box_steps: Any, scale: Any, grad_output: Any, boxes: Any, at: Any, weight: Any,
        found: Any,
    ) -> None:  # fmt: skip
        n_boxes, images, c_out, _, d, h, width, bins_d, bins_h, bins_w, ratio = sizes
        g0, g_n, g_c, g_d, g_h, g_w = steps
        b0, b_k, b_i = box_steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < images * c_out * d * h:
            image, channel, z, y, _ = place(task, c_out, d, h, int32(1), False)
            to = int32(task * width)
            own = int64(z) * int64(h) + int64(y)
            for k in range(n_boxes):
                row = int32(b0 + k * b_k)
                if not has_image or int32(corner(boxes, row)) == image:
                    row = int32(row + first_number * b_i)
                    low_h, high_h = corner(boxes, row + b_i), corner(boxes, row + (rank + 1) * b_i)
                    begin, end = ends(low_h, high_h, scale)
                    reached = float64(y) >= begin - float64(1) and float64(y) <= end + float64(1)
                    number = int32((k * c_out + channel) * bins_d * bins_h * bins_w)
                    for o in range(bins_d * bins_h * bins_w if reached else int32(0)):
                        which = at[int32(number + o)]
                        o_row = quotient(o, bins_w)
                        o_d = quotient(o_row, bins_h)
                        o_w, o_h = int32(o - o_row * bins_w), int32(o_row - o_d * bins_h)
                        from_g = int32(g0 + k * g_n + channel * g_c + o_d * g_d + o_h * g_h + o_w * g_w)
                        if not by_sample:
                            if which >= 0:
                                in_row = int32(which // int64(width))
                                if in_row == own:
                                    e = int32(which - int64(in_row) * width)
                                    found[int32(to + e)] += load(grad_output, from_g) * weight[int32(number + o)]
                        elif which >= 0:
                            base_w, step_w, count_w, first_w, visits_w = bin_of(
                                corner(boxes, row), corner(boxes, row + rank * b_i), scale, width, bins_w, o_w, ratio
                            )
                            base_h, step_h, count_h, first_h, visits_h = bin_of(
                                low_h, high_h, scale, h, bins_h, o_h, ratio
                            )
                            rest = which // int64(visits_w)
                            i_w = int32(which - rest * int64(visits_w))
                            i_d = int32(rest // int64(visits_h))
                            i_h = int32(rest - int64(i_d) * int64(visits_h))
                            of_d = float64(1)
                            if solid:
                                base, step, count, first, _ = bin_of(
                                    corner(boxes, row + 2 * b_i), corner(boxes, row + 5 * b_i), scale, d, bins_d, o_d,
                                    ratio,
                                )  # fmt: skip
                                taps, pixel, high = sample(base, step, count, first + float64(i_d), d)
                                of_d = float64(1) - high if pixel == z else float64(0)
                                of_d = high if taps == 2 and pixel + 1 == z else of_d
                            taps, pixel, high = sample(base_h, step_h, count_h, first_h + float64(i_h), h)
                            of_h = float64(1) - high if pixel == y else float64(0)
                            of_h = high if taps == 2 and pixel + 1 == y else of_h
                            if of_d != float64(0) and of_h != float64(0):
                                taps, e, high = sample(base_w, step_w, count_w, first_w + float64(i_w), width)
                                g = load(grad_output, from_g)
                                found[int32(to + e)] += g * real(of_d * of_h * (float64(1) - high))
                                if taps == 2:
                                    found[int32(to + e + 1)] += g * real(of_d * of_h * high)

    return kernel
