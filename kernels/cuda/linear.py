"""dot: a product of two matrices by sums along rows, for few rows; transpose: a matrix's copy with its axes turned.

out[m, j] = sum_k a[m, k] b[j, k] + bias[j].

dot: a block has one j and ROWS rows m. Its threads take every THREADS-th k, so that neighbouring lanes read neighbours
of b's row, each once for ROWS sums; the threads' sums are joined as a tree in shared memory, all rows at once. That is
for layers of which reading b is the work: many rows are the implicit GEMM's, as pixels of a 1x1 convolution, which
packs b for every call. Any strides, so it also has the sums without terms, of which the others know nothing.

transpose: out[g, j, i] = a[g, i, j] in order, in the type of out, a thread an element; of weights, whose gradients of x
are products with them turned.

dot: flops 2 rows c_in c_out; bytes b once for ROWS rows, a from the caches. Shared memory: ROWS THREADS sums, 4 KB in
float32. Error (K / THREADS + log2 THREADS + 2) eps.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .memory import load, quotient, store

__all__ = ["ROWS", "blocks_dot", "dot", "transpose"]

#: Rows of a block: loads of b are this many times fewer than products.
ROWS = 8


def blocks_dot(rows: int, columns: int) -> int:
    """Return the size of the grid."""
    return -(-rows // ROWS) * columns


def dot(real: Any, has_bias: bool) -> Any:
    """Return the kernel.

    ``sizes`` are the rows of a, those of b, and the terms of a sum; ``steps`` where the first element lies and the
    strides of a, b and out; of the bias, which is one for each row of b, the last two.
    """
    sums = ROWS * THREADS

    def kernel(sizes: Any, steps: Any, a: Any, b: Any, bias: Any, out: Any) -> None:
        rows, columns, terms = sizes
        a0, a_m, a_k, b0, b_j, b_k, y0, y_m, y_j, v0, v_j = steps
        joined = cuda.shared.array(sums, real)
        total = cuda.local.array(ROWS, real)
        from_row = cuda.local.array(ROWS, int32)
        group = quotient(cuda.blockIdx.x, columns)
        j = int32(cuda.blockIdx.x - group * columns)
        first = int32(group * ROWS)
        thread = int32(cuda.threadIdx.x)
        for i in range(ROWS):
            total[i] = real(0)
            # of rows that are not there, the last one is summed and not stored
            from_row[i] = int32(a0 + min(int32(first + i), int32(rows - 1)) * a_m)
        k = thread
        while k < terms:
            value = load(b, int32(b0 + j * b_j + k * b_k))
            for i in range(ROWS):
                total[i] += load(a, int32(from_row[i] + k * a_k)) * value
            k = int32(k + THREADS)
        for i in range(ROWS):
            joined[int32(i * THREADS + thread)] = total[i]
        cuda.syncthreads()
        half = int32(THREADS // 2)
        while half > 0:
            if thread < half:
                for i in range(ROWS):
                    at = int32(i * THREADS + thread)
                    joined[at] += joined[int32(at + half)]
            cuda.syncthreads()
            half = int32(half // 2)
        row = int32(first + thread)
        if thread < ROWS and row < rows:
            found = joined[int32(thread * THREADS)]
            if has_bias:
                found += load(bias, int32(v0 + j * v_j))
            store(out, int32(y0 + row * y_m + j * y_j), found)

    return kernel


def transpose() -> Any:
    """Return the kernel; ``sizes`` are the matrices, rows and columns of a, ``steps`` its first element and strides."""

    def kernel(sizes: Any, steps: Any, a: Any, out: Any) -> None:
        groups, rows, columns = sizes
        a0, a_g, a_i, a_j = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < groups * rows * columns:
            line = quotient(task, rows)
            group = quotient(line, columns)
            i, j = int32(task - line * rows), int32(line - group * columns)
            store(out, task, load(a, int32(a0 + group * a_g + i * a_i + j * a_j)))

    return kernel
