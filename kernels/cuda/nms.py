"""Non-maximum suppression: boxes in falling order of their scores, of which those stay that no better one overlaps.

``ranks`` counts for each box how many are better, which is its place in the order: of equal scores the first is better,
a NaN is better than any number. ``overlaps`` has a thread for each box and each BITS boxes behind it, and a bit where
intersection over union exceeds the threshold: in float64, no product fused with a sum (``product``), as the definition
has it. ``greedy`` is one block that goes through the boxes in order: a box without a mark stays, and marks those that
its bits name; marks lie in shared memory.

Operations: k^2 comparisons and k^2 / 2 overlaps; memory k^2 / BITS words of 8 bytes. Exact.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, float64, int32, int64

from . import MOST_BOXES, THREADS
from .memory import load, product, quotient

__all__ = ["BITS", "greedy", "overlaps", "ranks"]

#: Boxes of a word.
BITS = 32
_WORDS = MOST_BOXES // BITS


def ranks() -> Any:
    """Return the kernel that puts the number of each box at its place; ``steps`` are of the scores: start, stride."""

    def kernel(boxes: Any, steps: Any, scores: Any, order: Any) -> None:
        s0, s_k = steps
        i = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if i < boxes:
            own = load(scores, int32(s0 + i * s_k))
            own_is_nan = own != own
            better = int32(0)
            for j in range(boxes):
                other = load(scores, int32(s0 + j * s_k))
                is_nan = other != other
                equal = other == own or (is_nan and own_is_nan)
                if (equal and j < i) or (is_nan and not own_is_nan) or other > own:
                    better = int32(better + 1)
            order[better] = i

    return kernel


def overlaps(has_classes: bool) -> Any:
    """Return the kernel of the bits: (box, word) in the boxes' order.

    ``sizes`` are boxes and words of a row; ``steps`` start and strides of the boxes, ``class_steps`` of the classes.
    """

    def kernel(
        sizes: Any, steps: Any, class_steps: Any, threshold: Any, boxes: Any, classes: Any, order: Any, found: Any
    ) -> None:
        count, words = sizes
        b0, b_k, b_i = steps
        c0, c_k = class_steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < count * words:
            i = quotient(task, words)
            word = int32(task - i * words)
            bits = int64(0)
            row = int32(b0 + order[i] * b_k)
            x1, y1 = float64(load(boxes, row)), float64(load(boxes, int32(row + b_i)))
            x2, y2 = float64(load(boxes, int32(row + 2 * b_i))), float64(load(boxes, int32(row + 3 * b_i)))
            area = product(x2 - x1, y2 - y1)
            own = classes[int32(c0 + order[i] * c_k)] if has_classes else 0
            for bit in range(BITS):
                j = int32(word * BITS + bit)
                if j > i and j < count and (not has_classes or classes[int32(c0 + order[j] * c_k)] == own):
                    row = int32(b0 + order[j] * b_k)
                    u1, v1 = float64(load(boxes, row)), float64(load(boxes, int32(row + b_i)))
                    u2, v2 = float64(load(boxes, int32(row + 2 * b_i))), float64(load(boxes, int32(row + 3 * b_i)))
                    low_x, low_y = max(x1, u1), max(y1, v1)
                    high_x, high_y = min(x2, u2), min(y2, v2)
                    width = high_x - low_x if high_x > low_x else float64(0)
                    height = high_y - low_y if high_y > low_y else float64(0)
                    common = product(width, height)
                    # what is no number suppresses nothing
                    if common / (area + product(u2 - u1, v2 - v1) - common) > threshold:
                        bits = bits | (int64(1) << int64(bit))
            found[task] = bits

    return kernel


def greedy() -> Any:
    """Return the kernel of one block that writes the boxes that stay, and how many they are."""

    def kernel(sizes: Any, steps: Any, bits: Any, order: Any, out: Any, count: Any) -> None:
        boxes, words = sizes
        y0, y_k = steps
        marks = cuda.shared.array(_WORDS, int64)
        thread = int32(cuda.threadIdx.x)
        word = thread
        while word < words:
            marks[word] = int64(0)
            word = int32(word + THREADS)
        cuda.syncthreads()
        kept = int32(0)
        for i in range(boxes):
            at = int32(i // BITS)
            stays = (marks[at] >> int64(i - at * BITS)) & int64(1) == int64(0)
            cuda.syncthreads()
            if stays:
                word = int32(at + thread)
                while word < words:
                    marks[word] = marks[word] | bits[int32(i * words + word)]
                    word = int32(word + THREADS)
                if thread == 0:
                    out[int32(y0 + kept * y_k)] = int64(order[i])
                kept = int32(kept + 1)
            cuda.syncthreads()
        if thread == 0:
            count[0] = int64(kept)

    return kernel
