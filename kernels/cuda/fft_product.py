"""multiply_spectra: sums of products of spectra, a complex matrix product of its own for every frequency.

    y[o, p, f] = sum over t of w[o, t, f] x[t, p, f],   p a pair of tiles, t a term, both of one group

Frequencies are innermost in memory, as transforms leave them. A block has ``f`` of them, BM output channels and BN
pairs: two stages of shared memory, filled by ``cp.async`` a complex number at a time (runs of f of them, 64 bytes),
while the other is multiplied. In shared memory each frequency has its own matrices, 4 elements beyond a multiple of 32
apart: lanes are frequencies first, and their 128-bit loads (two complex numbers) meet no bank twice.

A thread holds TM x TN complex sums of one frequency: (TM + TN) / 2 loads for 4 TM TN FMAs, 16 FMAs a load at 4 x 4.
Registers: 2 TM TN sums, 2 (TM + TN) values, addresses. Shared memory: 2 f (2 BK (BM + BN) + 8) values, 25 KB in
float32. flops: 8 c_out terms pairs points. Sums run over t in order; error: backends/fft.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import cuda, int32

from .memory import commit_copies, copy2_async, load4, quotient, store2, wait_copies, wait_older_copies

__all__ = ["TILES", "Tile", "blocks_multiply", "multiply_spectra"]


class Tile(NamedTuple):
    """Frequencies, output channels, pairs and terms of a block at a time; channels and pairs of a thread."""

    f: int
    bm: int
    bn: int
    bk: int
    tm: int
    tn: int

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return self.f * (self.bm // self.tm) * (self.bn // self.tn)


#: The largest first, by the bytes of a real number; 64 bytes of frequencies each.
TILES = {
    4: (Tile(8, 16, 32, 4, 4, 4), Tile(8, 8, 8, 4, 2, 2)),
    8: (Tile(4, 16, 32, 4, 4, 4), Tile(4, 16, 16, 4, 2, 4)),
}


def blocks_multiply(tile: Tile, points: int, c_out: int, pairs: int, groups: int) -> int:
    """Return the size of the grid."""
    return -(-points // tile.f) * -(-c_out // tile.bm) * -(-pairs // tile.bn) * groups


def multiply_spectra(real: Any, tile: Tile) -> Any:
    """Return the kernel for a type and a tile.

    ``sizes`` are points, c_out and terms of a group, pairs. ``w`` is (group, c_out, term, point), ``x`` (group, term,
    pair, point), ``y`` (group, c_out, pair, point). Blocks that follow each other read the same x.
    """
    f, bm, bn, bk, tm, tn = tile
    threads, across = tile.threads, bn // tn
    a_copies, b_copies = -(-f * bk * bm // threads), -(-f * bk * bn // threads)
    a_pitch, b_pitch = 2 * bk * bm + 4, 2 * bk * bn + 4
    a_stage, b_stage = f * a_pitch, f * b_pitch
    a_size, b_size, sums, a_values, b_values = 2 * a_stage, 2 * b_stage, 2 * tm * tn, 2 * tm, 2 * tn

    def kernel(sizes: Any, w: Any, x: Any, y: Any) -> None:
        points, c_out, terms, pairs = sizes
        a_tile = cuda.shared.array(a_size, real)
        b_tile = cuda.shared.array(b_size, real)
        acc = cuda.local.array(sums, real)
        a = cuda.local.array(a_values, real)
        b = cuda.local.array(b_values, real)
        parts = quotient(int32(c_out + bm - 1), bm)
        rest = quotient(cuda.blockIdx.x, parts)
        first_row = int32((cuda.blockIdx.x - rest * parts) * bm)
        columns = quotient(int32(pairs + bn - 1), bn)
        rest_2 = quotient(rest, columns)
        first_pair = int32((rest - rest_2 * columns) * bn)
        runs = quotient(int32(points + f - 1), f)
        group = quotient(rest_2, runs)
        first_f = int32((rest_2 - group * runs) * f)
        thread = int32(cuda.threadIdx.x)
        place = quotient(thread, f)
        lane = int32(thread - place * f)
        t_m = quotient(place, across)
        m_0, n_0 = int32(t_m * tm), int32((place - t_m * across) * tn)
        is_point = first_f + lane < points
        for i in range(sums):
            acc[i] = real(0)
        chunks = quotient(int32(terms + bk - 1), bk)
        for chunk in range(chunks + 1):
            # fill one stage ...
            if chunk < chunks:
                into, first_t = int32(chunk & 1), int32(chunk * bk)
                # (threads are a multiple of f: each copies one frequency)
                for i in range(a_copies):
                    item = quotient(int32(thread + i * threads), f)
                    k = quotient(item, bm)
                    m = int32(item - k * bm)
                    if k < bk:
                        ok = is_point and first_row + m < c_out and first_t + k < terms
                        row = int32((group * c_out + first_row + m) * terms + first_t + k)
                        at = int32(2 * (row * points + first_f + lane)) if ok else int32(0)
                        copy2_async(a_tile, int32(into * a_stage + lane * a_pitch + 2 * item), w, at, ok)
                for i in range(b_copies):
                    item = quotient(int32(thread + i * threads), f)
                    k = quotient(item, bn)
                    n = int32(item - k * bn)
                    if k < bk:
                        ok = is_point and first_pair + n < pairs and first_t + k < terms
                        row = int32((group * terms + first_t + k) * pairs + first_pair + n)
                        at = int32(2 * (row * points + first_f + lane)) if ok else int32(0)
                        copy2_async(b_tile, int32(into * b_stage + lane * b_pitch + 2 * item), x, at, ok)
            commit_copies()
            # ... and multiply the one before
            if chunk > 0:
                wait_older_copies()
                cuda.syncthreads()
                of = int32((chunk - 1) & 1)
                a_at = int32(of * a_stage + lane * a_pitch + 2 * m_0)
                b_at = int32(of * b_stage + lane * b_pitch + 2 * n_0)
                for _ in range(bk):
                    for i in range(0, 2 * tm, 4):
                        a[i], a[i + 1], a[i + 2], a[i + 3] = load4(a_tile, int32(a_at + i))
                    for j in range(0, 2 * tn, 4):
                        b[j], b[j + 1], b[j + 2], b[j + 3] = load4(b_tile, int32(b_at + j))
                    for i in range(tm):
                        re, im = a[2 * i], a[2 * i + 1]
                        minus = -im
                        for j in range(tn):
                            at = 2 * (i * tn + j)
                            acc[at] += re * b[2 * j]
                            acc[at] += minus * b[2 * j + 1]
                            acc[at + 1] += re * b[2 * j + 1]
                            acc[at + 1] += im * b[2 * j]
                    a_at, b_at = int32(a_at + 2 * bm), int32(b_at + 2 * bn)
                cuda.syncthreads()
        wait_copies()
        for i in range(tm):
            for j in range(tn):
                o, p = int32(first_row + m_0 + i), int32(first_pair + n_0 + j)
                if is_point and o < c_out and p < pairs:
                    row = int32((group * c_out + o) * pairs + p)
                    at = 2 * (i * tn + j)
                    store2(y, int32(2 * (row * points + first_f + lane)), acc[at], acc[at + 1])

    return kernel
