"""The register tile that every dense kernel is built on.

    c[i][j] = init[i][j] + sum over k = (channel, tap) of a[k][i] x[channel plane + off[tap] + j]

i < rows output channels (broadcast from the packed weights a), j < vectors x lanes neighbouring pixels. With one tap
and plane = the width of a packed panel this is the inner kernel of a GEMM; with off[] the taps of a kernel it is a
direct convolution that reads its shifted operand from the input tile itself, so no element is copied kh kw times. The
sum runs over k in order, in one accumulator per output: the order is a function of the problem alone.

Registers: rows x vectors accumulators, the vectors of x, one broadcast: 8 x 3 of 32 registers with AVX-512 (or 4 x 6
where there are few output channels), 6 x 2 (2 x 4) of 16 elsewhere. The loads of x are unaligned. Each shape of tile is
compiled when a problem first asks for it.
Error: |c - exact| <= (K + 1) eps sum |a| |x|, eps half a unit in the last place (Higham 2002, eq. 3.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from .jit import c_function, once
from .simd import VECTOR_BYTES, add_outer, load_rows, relu, splat_rows, splat_tile, store_rows, zero
from .tile import panels_of

__all__ = ["FROM_MEMORY", "FROM_ROWS", "FROM_ZERO", "max_rows", "max_vectors", "pack_panels", "register_tile"]

#: What the sums begin with: 0, init[i] for the whole row (a bias), or init[i][j].
FROM_ZERO, FROM_ROWS, FROM_MEMORY = range(3)

_ROWS, _VECTORS, _WIDE_ROWS, _WIDE_VECTORS = (8, 3, 4, 6) if VECTOR_BYTES == 64 else (6, 2, 2, 4)


def max_rows() -> int:
    """Output channels of the tallest tile."""
    return _ROWS


def max_vectors(rows: int) -> int:
    """Vectors of the widest tile of so many rows."""
    return _WIDE_VECTORS if rows <= _WIDE_ROWS else _VECTORS


@once
def register_tile(real: types.Float, rows: int, vectors: int) -> int:
    """Return the address of the tile function of one shape."""

    def tile(
        n_c: int, n_taps: int, off: Any, plane: int, x: Any, a: Any, ld_a: int, init: Any, start: int, ld_init: int,
        c: Any, ld_c: int, rectify: int,
    ) -> None:  # fmt: skip
        if start == FROM_ZERO:
            acc = splat_tile(c, rows, vectors, zero(c))
        elif start == FROM_ROWS:
            acc = splat_rows(init, rows, vectors)
        else:
            acc = load_rows(init, ld_init, rows, vectors)
        for channel in range(n_c):
            for tap in range(n_taps):
                acc = add_outer(acc, a, channel * ld_a + tap * rows, x, channel * plane + off[tap])
        if rectify:
            acc = relu(acc)
        store_rows(c, ld_c, acc)

    n, p = types.intp, types.CPointer(real)
    return c_function(tile, n, n, types.CPointer(types.int64), n, p, p, n, p, n, n, p, n, n)


def pack_panels(w: Any, groups: int) -> Any:
    """Weights (groups c_out, k) -> [group][panel][k][row of the panel], flat."""
    c_out, k = w.shape[0] // groups, w[0].size
    panels = panels_of.py_func(c_out, _ROWS)
    w = w.reshape(groups, c_out, k)
    packed = np.empty((groups, c_out * k), dtype=w.dtype)
    split = panels.tall * panels.rows
    for part, rows, to in (
        (w[:, :split], panels.rows, packed[:, : split * k]),
        (w[:, split:], panels.rows - 1, packed[:, split * k :]),
    ):
        if part.size:
            to.reshape(groups, -1, k, rows)[...] = part.reshape(groups, -1, rows, k).transpose(0, 1, 3, 2)
    return packed.reshape(-1)
