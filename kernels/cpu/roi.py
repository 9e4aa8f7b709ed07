"""Boxes on maps: bins of samples or of whole pixels, their gradients, and boxes among themselves.

    out[k, c, o] = join over the samples s of bin o of box k of  sum over the pixels i of s of w[s, i] x[image k, c, i]

The same tables of pixels and weights an axis as csrc/roi_plan.c makes, in float64 and without fused multiplication, so
that the samples are the same ones. Maps come as (slice, image, d, h, w, channel), bins as (box, bin, channel): the
innermost loops run over neighbouring channels, which is what LLVM makes whole vectors of. A pixel's weights are
multiplied and its bin added to once for each pixel; the C kernels reduce rows first.

A task of the forward kernel is some boxes, of the gradient's some channels: each element is written by one task.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import exact_word, kernel

__all__ = [
    "ALIGN",
    "MAX_PIXEL",
    "MAX_SAMPLE",
    "MEAN",
    "POOL",
    "PS_ALIGN",
    "PS_POOL",
    "nms",
    "roi_backward",
    "roi_forward",
]

ALIGN, PS_ALIGN, POOL, PS_POOL = range(4)
MEAN, MAX_PIXEL, MAX_SAMPLE = range(3)
#: Corners of windows of whole pixels are clipped here before they become integers.
_FAR = 1e9


@exact_word
def _near(value: float) -> float:
    return min(max(value, -_FAR), _FAR)


@exact_word
def _rounded(value: float) -> int:
    return int(np.floor(value + 0.5)) if value >= 0 else -int(np.floor(-value + 0.5))


@exact_word
def align_axis(
    rule: int, join: int, ratio: int, aligned: bool, scale: float, size: int, bins: int, low: float, high: float,
    begin: Any, index: Any, weight: Any, zero: Any,
) -> None:  # fmt: skip
    """Fill in the samples of one axis: the two pixels of each, those of a mean's bin folded together."""
    offset = 0.5 if aligned or rule == PS_ALIGN else 0.0
    start, end = low * scale - offset, high * scale - offset
    length = end - start
    if not aligned and rule == ALIGN and not length >= 1.0:
        length = 1.0
    step = length / bins
    count = float(ratio) if ratio else np.ceil(step)
    n = 0
    for o in range(bins):
        begin[o] = n
        base = start + o * step
        first, last = 0.0, count - 1
        if step > 0:
            first = max(first, np.floor((-1.0 - base) * count / step) - 2)
            last = min(last, np.ceil((size - base) * count / step) + 2)
        elif step < 0:
            first = max(first, np.floor((size - base) * count / step) - 2)
            last = min(last, np.ceil((-1.0 - base) * count / step) + 2)
        inside, missing = 0.0, False
        visits = int(min(last - first + 1, 4.0 * size + 16 + ratio)) if last >= first else 0
        for v in range(visits):
            at = base + (first + v + 0.5) * step / count
            if not (at >= -1.0 and at <= size):
                continue
            inside += 1
            at = max(at, 0.0)
            lo = int(at)
            if lo >= size - 1:
                lo, at = size - 1, float(size - 1)
            f = at - lo
            if join == MEAN:
                for side in range(2 if f > 0 else 1):
                    share = (f if side else 1.0 - f) / count
                    found = -1
                    for i in range(max(begin[o], n - 3), n):
                        if index[i] == lo + side:
                            found = i
                    if found >= 0:
                        weight[found] += share
                    else:
                        index[n], weight[n] = lo + side, share
                        n += 1
            elif join == MAX_SAMPLE:
                # halves of one pixel make the sample that it is alone in
                index[n], weight[n] = lo, 1.0 - f if f > 0 else 0.5
                index[n + 1], weight[n + 1] = lo + 1 if f > 0 else lo, f if f > 0 else 0.5
                n += 2
            else:
                index[n], weight[n] = lo, 1.0 - f
                n += 1
                if f > 0:
                    index[n], weight[n] = lo + 1, f
                    n += 1
                else:
                    missing = True
        zero[o] = missing or inside < count or not count > 0
    begin[bins] = n


@exact_word
def pool_axis(
    rule: int, scale: float, size: int, bins: int, low: float, high: float, begin: Any, index: Any, weight: Any,
    zero: Any,
) -> None:  # fmt: skip
    """Fill in windows of whole pixels; the last row and column are out of reach of position-sensitive ones."""
    start, end = _rounded(_near(low * scale)), _rounded(_near(high * scale))
    pixels, limit = max(1, end - start + (1 if rule == POOL else 0)), size if rule == POOL else size - 1
    n = 0
    for o in range(bins):
        begin[o] = n
        first = min(max(start + o * pixels // bins, 0), limit)
        last = min(max(start + ((o + 1) * pixels + bins - 1) // bins, 0), limit)
        for i in range(first, last):
            index[n], weight[n] = i, 1.0 if rule == POOL else 1.0 / (last - first)
            n += 1
        zero[o] = last <= first
    begin[bins] = n


@exact_word
def make_tables(
    box: Any, rank: int, words: Any, scale: float, sizes: Any, bins: Any, begin: Any, index: Any, weight: Any, zero: Any
) -> None:
    """Fill in d, h and w of a box; words are its rule, join, ratio and whether it is aligned."""
    rule, join, ratio, aligned = words
    for axis in range(3):
        corner = 3 - axis
        if corner > rank:
            begin[axis, 0], zero[axis, 0] = 0, False
            index[axis, 0] = index[axis, 1] = 0
            weight[axis, 0], weight[axis, 1] = 1.0, 0.0
            begin[axis, 1] = 2 if join == MAX_SAMPLE else 1
        elif rule in (ALIGN, PS_ALIGN):
            align_axis(
                rule, join, ratio, aligned != 0, scale, sizes[axis], bins[axis], box[corner], box[rank + corner],
                begin[axis], index[axis], weight[axis], zero[axis],
            )  # fmt: skip
        else:
            pool_axis(
                rule, scale, sizes[axis], bins[axis], box[corner], box[rank + corner], begin[axis], index[axis],
                weight[axis], zero[axis],
            )  # fmt: skip


@exact_word
def _least(array: Any) -> float:
    """Return the least positive number: what has a weight keeps one, so that an infinity stays one."""
    return float(np.nextafter(array.dtype.type(0), array.dtype.type(1)))


@kernel
def roi_forward(
    maps: Any, boxes: Any, rank: int, words: Any, scale: float, bins: Any, most: int, first: int, last: int, out: Any
) -> int:
    """Compute boxes first .. last, out[box, bin, channel]; return how many there were."""
    join, slices, channels = words[1], maps.shape[0], maps.shape[-1]
    sizes = np.array(maps.shape[2:5])
    longest = max(bins)
    begin, zero = np.empty((3, longest + 1), np.int64), np.empty((3, longest), np.bool_)
    index, weight = np.empty((3, most), np.int64), np.empty((3, most))
    value = np.empty(channels, maps.dtype)
    planes = 2 if rank == 3 else 1
    least = _least(maps)
    for k in range(first, last):
        image = int(boxes[k, 0])
        if image < 0:
            continue
        make_tables(boxes[k], rank, words, scale, sizes, bins, begin, index, weight, zero)
        number = 0
        for od in range(bins[0]):
            for oh in range(bins[1]):
                for ow in range(bins[2]):
                    to = out[k, number]
                    x = maps[number if slices > 1 else 0, image]
                    number += 1
                    to[:] = 0
                    if join == MEAN:
                        for a in range(begin[0, od], begin[0, od + 1]):
                            for b in range(begin[1, oh], begin[1, oh + 1]):
                                for e in range(begin[2, ow], begin[2, ow + 1]):
                                    share = maps.dtype.type(max(weight[0, a] * weight[1, b] * weight[2, e], least))
                                    pixel = x[index[0, a], index[1, b], index[2, e]]
                                    for c in range(channels):
                                        to[c] += pixel[c] * share
                        continue
                    missing = zero[0, od] or zero[1, oh] or zero[2, ow]
                    to[:] = 0 if missing else -np.inf
                    step = 2 if join == MAX_SAMPLE else 1
                    for a in range(begin[0, od], begin[0, od + 1], step):
                        for b in range(begin[1, oh], begin[1, oh + 1], step):
                            for e in range(begin[2, ow], begin[2, ow + 1], step):
                                value[:] = 0
                                for i in range(planes if step == 2 else 1):
                                    for j in range(step):
                                        for m in range(step):
                                            share = maps.dtype.type(
                                                max(weight[0, a + i] * weight[1, b + j] * weight[2, e + m], least)
                                            )
                                            pixel = x[index[0, a + i], index[1, b + j], index[2, e + m]]
                                            for c in range(channels):
                                                value[c] += pixel[c] * share
                                for c in range(channels):
                                    if value[c] > to[c] or value[c] != value[c]:
                                        to[c] = value[c]
    return last - first


@kernel
def roi_backward(
    maps: Any, boxes: Any, rank: int, words: Any, scale: float, bins: Any, most: int, first: int, last: int, g: Any,
    grad: Any,
) -> int:  # fmt: skip
    """Add to grad[slice, image, d, h, w, channel], channels first .. last, of all boxes; return how many there were."""
    join, slices, channels = words[1], grad.shape[0], last - first
    sizes = np.array(grad.shape[2:5])
    longest = max(bins)
    begin, zero = np.empty((3, longest + 1), np.int64), np.empty((3, longest), np.bool_)
    index, weight = np.empty((3, most), np.int64), np.empty((3, most))
    value, best = np.empty(channels, grad.dtype), np.empty(channels, grad.dtype)
    at = np.empty((channels, 3), np.int64)
    planes = 2 if rank == 3 else 1
    least = _least(grad)
    for k in range(boxes.shape[0]):
        image = int(boxes[k, 0])
        if image < 0:
            continue
        make_tables(boxes[k], rank, words, scale, sizes, bins, begin, index, weight, zero)
        number = 0
        for od in range(bins[0]):
            for oh in range(bins[1]):
                for ow in range(bins[2]):
                    given = g[k, number, first:last]
                    to = grad[number if slices > 1 else 0, image]
                    number += 1
                    if join == MEAN:
                        for a in range(begin[0, od], begin[0, od + 1]):
                            for b in range(begin[1, oh], begin[1, oh + 1]):
                                for e in range(begin[2, ow], begin[2, ow + 1]):
                                    share = grad.dtype.type(max(weight[0, a] * weight[1, b] * weight[2, e], least))
                                    pixel = to[index[0, a], index[1, b], index[2, e], first:last]
                                    for c in range(channels):
                                        pixel[c] += given[c] * share
                        continue
                    x = maps[0, image]
                    missing = zero[0, od] or zero[1, oh] or zero[2, ow]
                    best[:] = 0 if missing else -np.inf
                    at[:, 0] = -1
                    fresh = not missing
                    step = 2 if join == MAX_SAMPLE else 1
                    for a in range(begin[0, od], begin[0, od + 1], step):
                        for b in range(begin[1, oh], begin[1, oh + 1], step):
                            for e in range(begin[2, ow], begin[2, ow + 1], step):
                                value[:] = 0
                                for i in range(planes if step == 2 else 1):
                                    for j in range(step):
                                        for m in range(step):
                                            share = grad.dtype.type(
                                                max(weight[0, a + i] * weight[1, b + j] * weight[2, e + m], least)
                                            )
                                            pixel = x[index[0, a + i], index[1, b + j], index[2, e + m], first:last]
                                            for c in range(channels):
                                                value[c] += pixel[c] * share
                                for c in range(channels):
                                    if fresh or value[c] > best[c] or value[c] != value[c]:
                                        best[c] = value[c]
                                        at[c, 0], at[c, 1], at[c, 2] = a, b, e
                                fresh = False
                    for c in range(channels):
                        if at[c, 0] < 0:
                            continue
                        for i in range(planes if step == 2 else 1):
                            for j in range(step):
                                for m in range(step):
                                    a, b, e = at[c, 0] + i, at[c, 1] + j, at[c, 2] + m
                                    share = grad.dtype.type(max(weight[0, a] * weight[1, b] * weight[2, e], least))
                                    to[index[0, a], index[1, b], index[2, e], first + c] += given[c] * share
    return last - first


@kernel
def nms(corners: Any, runs: Any, threshold: float, first: int, last: int, keep: Any) -> int:
    """Mark in keep[] the boxes of runs first .. last that no better one overlaps by more; return how many runs."""
    x1, y1, x2, y2 = corners[0], corners[1], corners[2], corners[3]
    for run in range(first, last):
        begin, end = runs[run], runs[run + 1]
        keep[begin:end] = 1
        for i in range(begin, end):
            if not keep[i]:
                continue
            left, top, right, bottom = x1[i], y1[i], x2[i], y2[i]
            area = (right - left) * (bottom - top)
            for j in range(i + 1, end):
                w = (x2[j] if x2[j] < right else right) - (x1[j] if x1[j] > left else left)
                h = (y2[j] if y2[j] < bottom else bottom) - (y1[j] if y1[j] > top else top)
                inter = (w if w > 0 else 0.0) * (h if h > 0 else 0.0)
                other = (x2[j] - x1[j]) * (y2[j] - y1[j])
                if inter / (area + other - inter) > threshold:
                    keep[j] = 0
    return last - first
