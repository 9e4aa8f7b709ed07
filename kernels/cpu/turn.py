"""turn: rows and columns change places, as channels that become fastest in memory, or slowest again.

    target[a, b, j, i] = source[a, b, i, j]

of contiguous targets and of sources whose columns are contiguous. Blocks of a vector's rows and columns change places
in registers; what is left at the edges is moved one by one. A task is a block of columns of one image.
"""

from __future__ import annotations

from typing import Any

from .jit import kernel
from .simd import VECTOR_BYTES, advance, lanes, load_square, pointer, store_rows, transpose

__all__ = ["VECTOR_BYTES", "turn"]


@kernel
def turn(source: int, shape: Any, strides: Any, target: int, like: Any, first: int, last: int) -> int:
    """Do tasks ``first`` to ``last``, of which an image has one for each vector of columns begun; return how many.

    Source and target by address, ``like`` of their type; the source's (a, b, rows, columns), its strides in elements.
    """
    _, n_b, rows, columns = shape
    ld_a, ld_b, ld = strides
    at, to = pointer(source, like), pointer(target, like)
    step = lanes(at)
    blocks = -(-columns // step)
    for task in range(first, last):
        image, block = divmod(task, blocks)
        a, b = divmod(image, n_b)
        j = block * step
        x = advance(at, a * ld_a + b * ld_b + j)
        y = advance(to, (image * columns + j) * rows)
        n, i = min(step, columns - j), 0
        if n == step:
            while i + step <= rows:
                store_rows(advance(y, i), rows, transpose(load_square(advance(x, i * ld), ld)))
                i += step
        for r in range(i, rows):
            for c in range(n):
                y[c * rows + r] = x[r * ld + c]
    return last - first
