"""conv_implicit_gemm: convolution as C = A B, A the weights (c_out x K), B what windows see (K x pixels).

K = c_in kd kh kw. B is never in memory: each of its elements is fetched from x when its tile is filled, and what lies
outside x is zero.

A block of (BM / TM) (BN / TN) threads makes a tile of BM output channels x BN pixels of all images, BK steps of K at a
time. Two stages of shared memory: while one is multiplied, ``cp.async`` fills the other, so that no register waits for
memory; one barrier before a stage is read, and one before it is filled again. A's rows come in 16-byte copies from
weights packed as (group, k, c_out rounded up to a multiple of four); B's elements one by one, neighbouring lanes at
neighbouring pixels, each with its own test for the border. A thread keeps its BN column: its pixel's place is computed
once, and k gives the channel and the tap by division by constants. Elements of float16 cannot be copied one by one:
they are loaded into registers before a stage is multiplied, and stored as float32 behind it.

A thread holds TM x TN sums. For each k it loads TM + TN values in 128-bit loads and does TM TN FMAs: 16 values for 64
at 8 x 8. Its rows are fours that lie BM / (TM / 4) apart, its columns likewise, so that a warp's loads of 16 bytes fall
into different banks, or are the same address.

With ``tensor``, the same product by tensor cores, its operands rounded to tf32 (10 bits of mantissa): a warp makes 8 TM
output channels x 4 TN pixels by ``mma`` of 16 x 8 x 8. Lane 4 g + t holds the sums of rows g and g + 8 and columns 2 t
and 2 t + 1 of each, and reads A at k = t and t + 4: rows of shared memory are 8 values longer than the tile, so that
the 32 lanes read 32 banks. Error 2^-10 + (K + 2) 2^-23.

Registers: TM TN sums, TM + TN values, addresses. Shared memory: 2 BK (BM + BN) values, 16 KB at 128 x 128 x 8 float32.
flops: 2 c_out pixels K; from memory at least K (c_out pixels / BN + pixels c_out / BM) values pass L2.
Sums run over (c, kd, kh, kw) in order; error (K + 2) eps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import cuda, int32

from . import THREADS
from .activation import activation
from .memory import (
    commit_copies,
    copy4_async,
    copy_async,
    load,
    load4,
    mma_tf32,
    quotient,
    store,
    tf32,
    wait_copies,
    wait_older_copies,
    within,
)

__all__ = [
    "LONG_ACTIVATIONS",
    "MOST_SUMS",
    "TENSOR_TILES",
    "TILES",
    "Tile",
    "blocks_implicit_gemm",
    "conv_implicit_gemm",
    "pack_weights",
    "packed_rows",
]


class Tile(NamedTuple):
    """Sizes of a block's tile, and of a thread's."""

    bm: int
    bn: int
    bk: int
    tm: int
    tn: int

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return (self.bm // self.tm) * (self.bn // self.tn)

    @property
    def blocks(self) -> int:
        """Return the blocks of float32 that are to fit a multiprocessor's registers, of which it has 64 K."""
        return 512 // self.threads if self.threads > 128 else 4


#: By name, the largest first; both keep every thread busy with whole copies.
TILES = {"128x128": Tile(128, 128, 8, 8, 8), "64x64": Tile(64, 64, 8, 8, 4), "32x128": Tile(32, 128, 8, 8, 4)}
#: Those of tensor cores.
TENSOR_TILES = {"128x128": Tile(128, 128, 16, 8, 8), "64x64": Tile(64, 64, 16, 4, 8), "32x128": Tile(32, 128, 16, 4, 8)}
#: Where a column of B begins that has no pixel: no tap reaches into x from there.
NOWHERE = -(1 << 31)
#: Activations whose code is long: with one, or a residual, a thread with more sums than this keeps them in memory.
LONG_ACTIVATIONS, MOST_SUMS = ("elu", "sigmoid", "tanh", "silu", "hardswish"), 32


def packed_rows(c_out: int) -> int:
    """Return the output channels of a group in packed weights: a multiple of four, for copies of 16 bytes."""
    return -(-c_out // 4) * 4


def blocks_implicit_gemm(tile: Tile, pixels: int, c_out: int, groups: int) -> int:
    """Return the size of the grid."""
    return -(-pixels // tile.bn) * -(-c_out // tile.bm) * groups


def pack_weights() -> Any:
    """Return the kernel that turns (groups c_out, K) into (groups, K, rows), zeros where there is no channel.

    A thread an element; ``sizes`` are c_out, K, rows, groups.
    """

    def kernel(sizes: Any, w: Any, packed: Any) -> None:
        c_out, reduction, rows, groups = sizes
        i = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if i < groups * reduction * rows:
            step = quotient(i, rows)
            o = int32(i - step * rows)
            group = quotient(step, reduction)
            k = int32(step - group * reduction)
            if o < c_out:
                store(packed, i, load(w, int32((group * c_out + o) * reduction + k)))
            else:
                store(packed, i, 0)

    return kernel


def conv_implicit_gemm(
    real: Any,
    window: tuple[int, int, int],
    stride: tuple[int, int, int],
    dilation: tuple[int, int, int],
    tile: Tile,
    name: str | None,
    has_bias: bool,
    has_residual: bool,
    tensor: bool = False,
    by_fours: bool = False,
    half: bool = False,
) -> Any:
    """Return the kernel for a type, a window, a tile and an epilogue, on tensor cores or not.

    ``sizes`` are n, c_in, c_out (each in a group); d, h, w of x and of the output; the padding before; the rows of
    packed weights. ``steps`` are as in conv_direct. With ``by_fours`` B's columns come in copies of four too: the
    window is one tap of stride 1, a channel's pixels are neighbours and a multiple of four, and each channel begins at
    a multiple of 16 bytes. With ``half`` x is float16, and packed weights are of the sums' type.
    """
    activate = activation(name, real)
    (kd, kh, kw), (sd, sh, sw), (dd, dh, dw) = window, stride, dilation
    taps = kd * kh * kw
    bm, bn, bk, tm, tn = tile
    threads = tile.threads
    across = bn // tn
    # a thread's copies: groups of four along A's rows, single elements along B's columns
    a_quads = bm // 4
    a_copies = -(-(bk * a_quads) // threads)
    b_step = threads // bn
    b_copies = bk // b_step
    b_quads = bn // 4
    b_wide_copies = -(-(bk * b_quads) // threads)
    # a thread's rows and columns are fours, so far apart; of tensor cores row i is 16 (i // 2) + 8 (i % 2)
    m_apart, n_apart = (16, 8) if tensor else (bm // max(1, tm // 4), bn // max(1, tn // 4))
    m_run, n_run = (2, 2) if tensor else (4, 4)
    m_next = 8 if tensor else 1
    a_pitch, b_pitch = (bm + 8, bn + 8) if tensor else (bm, bn)
    a_stage, b_stage = bk * a_pitch, bk * b_pitch
    a_size, b_size, sums = 2 * a_stage, 2 * b_stage, tm * tn
    a_values, b_values = (2 * tm, tn) if tensor else (tm, tn)
    warps_across = bn // (4 * tn)

    def kernel(sizes: Any, steps: Any, slope: Any, x: Any, w: Any, bias: Any, residual: Any, out: Any) -> None:
        n, c_in, c_out, d, h, width, d_out, h_out, w_out, pd, ph, pw, rows = sizes
        x0, x_n, x_c, x_d, x_h, x_w, r0, r_n, r_c, r_d, r_h, r_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        a_tile = cuda.shared.array(a_size, real)
        b_tile = cuda.shared.array(b_size, real)
        acc = cuda.local.array(sums, real)
        a = cuda.local.array(a_values, real)
        b = cuda.local.array(b_values, real)
        staged = cuda.local.array(b_copies, real)

        pixels = int32(n * d_out * h_out * w_out)
        columns = quotient(int32(pixels + bn - 1), bn)
        part = quotient(cuda.blockIdx.x, columns)
        first_pixel = int32((cuda.blockIdx.x - part * columns) * bn)
        parts = quotient(int32(c_out + bm - 1), bm)
        group = quotient(part, parts)
        first_row = int32((part - group * parts) * bm)
        thread = int32(cuda.threadIdx.x)
        reduction = int32(c_in * taps)
        plane_pixels = int32(d_out * h_out * w_out)

        # the pixel whose column of B this thread fills
        b_k = quotient(thread, bn)
        b_n = int32(thread - b_k * bn)
        pixel = int32(first_pixel + b_n)
        row_ = quotient(pixel, w_out)
        plane_ = quotient(row_, h_out)
        image_ = quotient(plane_, d_out)
        i_w = int32((pixel - row_ * w_out) * sw - pw)
        i_h = int32((row_ - plane_ * h_out) * sh - ph)
        i_d = int32((plane_ - image_ * d_out) * sd - pd)
        # of one tap along d only its pixels are asked whether it lies in x; nothing does of a column without a pixel
        is_column = pixel < pixels and (kd > 1 or within(i_d, d))
        i_h = i_h if is_column else int32(NOWHERE)
        from_image = int32(0)
        if is_column:
            from_image = int32(x0 + image_ * x_n + group * c_in * x_c + (0 if kd > 1 else i_d * x_d))

        for i in range(sums):
            acc[i] = real(0)
        # the thread's first row and column in the tile; of tensor cores also those that it reads
        if tensor:
            warp = quotient(thread, 32)
            lane = int32(thread - warp * 32)
            g = quotient(lane, 4)
            t = int32(lane - g * 4)
            warp_m = quotient(warp, warps_across)
            m_read = int32(warp_m * (8 * tm) + g)
            n_read = int32((warp - warp_m * warps_across) * (4 * tn) + g)
            m_0, n_0 = m_read, int32(n_read - g + 2 * t)
        else:
            t_m = quotient(thread, across)
            m_0, n_0 = int32(t_m * 4), int32((thread - t_m * across) * 4)
            m_read, n_read, t = m_0, n_0, int32(0)

        chunks = quotient(int32(reduction + bk - 1), bk)
        for chunk in range(chunks + 1):
            # fill one stage ...
            if chunk < chunks:
                into = int32(chunk & 1)
                first_k = int32(chunk * bk)
                for i in range(a_copies):
                    item = int32(thread + i * threads)
                    k = quotient(item, a_quads)
                    m = int32((item - k * a_quads) * 4)
                    if k < bk:
                        ok = int32(first_k + k) < reduction and int32(first_row + m) < rows
                        at = int32((group * reduction + first_k + k) * rows + first_row + m) if ok else int32(0)
                        copy4_async(a_tile, int32(into * a_stage + k * a_pitch + m), w, at, ok)
                if by_fours:
                    for i in range(b_wide_copies):
                        item = int32(thread + i * threads)
                        k = quotient(item, b_quads)
                        column = int32((item - k * b_quads) * 4)
                        if k < bk:
                            pixel = int32(first_pixel + column)
                            image = quotient(pixel, plane_pixels)
                            ok = int32(first_k + k) < reduction and pixel < pixels
                            at = int32(0)
                            if ok:
                                of_channel = int32(x0 + image * x_n + (group * c_in + first_k + k) * x_c)
                                at = int32(of_channel + pixel - image * plane_pixels)
                            copy4_async(b_tile, int32(into * b_stage + k * b_pitch + column), x, at, ok)
                else:
                    for i in range(b_copies):
                        kk = int32(b_k + i * b_step)
                        k = int32(first_k + kk)
                        c = quotient(k, taps)
                        tap = int32(k - c * taps)
                        # not asked of axes with one tap: that a tap is less than the taps, the compiler does not know
                        plane = quotient(tap, kh * kw) if kd > 1 else int32(0)
                        tap = int32(tap - plane * (kh * kw))
                        row = quotient(tap, kw) if kh > 1 else int32(0)
                        at_h, at_w = int32(i_h + row * dh), int32(i_w + (tap - row * kw) * dw)
                        inside = k < reduction and within(at_h, h) and within(at_w, width)
                        at = int32(0)
                        if kd > 1:
                            at_d = int32(i_d + plane * dd)
                            inside = inside and within(at_d, d)
                            if inside:
                                at = int32(from_image + c * x_c + at_d * x_d + at_h * x_h + at_w * x_w)
                        elif inside:
                            at = int32(from_image + c * x_c + at_h * x_h + at_w * x_w)
                        if half:
                            staged[i] = load(x, at) if inside else real(0)
                        else:
                            copy_async(b_tile, int32(into * b_stage + kk * b_pitch + b_n), x, at, inside)
            commit_copies()
            # ... and multiply the one before
            if chunk > 0:
                wait_older_copies()
                cuda.syncthreads()
                of = int32((chunk - 1) & 1)
                if tensor:
                    for k in range(0, bk, 8):
                        for i in range(0, 2 * tm, 4):
                            # rows i and i + 8 of the next 16, at k and k + 4
                            at = int32(of * a_stage + (k + t) * a_pitch + m_read + i * 4)
                            a[i], a[i + 1] = tf32(a_tile[at]), tf32(a_tile[int32(at + 8)])
                            at = int32(at + 4 * a_pitch)
                            a[i + 2], a[i + 3] = tf32(a_tile[at]), tf32(a_tile[int32(at + 8)])
                        for j in range(0, tn, 2):
                            at = int32(of * b_stage + (k + t) * b_pitch + n_read + j * 4)
                            b[j], b[j + 1] = tf32(b_tile[at]), tf32(b_tile[int32(at + 4 * b_pitch)])
                        for i in range(0, tm, 2):
                            for j in range(0, tn, 2):
                                p, q = i * tn + j, (i + 1) * tn + j
                                acc[p], acc[p + 1], acc[q], acc[q + 1] = mma_tf32(
                                    a[2 * i], a[2 * i + 1], a[2 * i + 2], a[2 * i + 3], b[j], b[j + 1],
                                    acc[p], acc[p + 1], acc[q], acc[q + 1],
                                )  # fmt: skip
                else:
                    for k in range(bk):
                        for i in range(0, tm, 4):
                            at = int32(of * a_stage + k * a_pitch + (i // 4) * m_apart + m_0)
                            a[i], a[i + 1], a[i + 2], a[i + 3] = load4(a_tile, at)
                        for j in range(0, tn, 4):
                            at = int32(of * b_stage + k * b_pitch + (j // 4) * n_apart + n_0)
                            b[j], b[j + 1], b[j + 2], b[j + 3] = load4(b_tile, at)
                        for i in range(tm):
                            for j in range(tn):
                                acc[i * tn + j] += a[i] * b[j]
                cuda.syncthreads()
            if half and chunk < chunks:
                for i in range(b_copies):
                    b_tile[int32((chunk & 1) * b_stage + (b_k + i * b_step) * b_pitch + b_n)] = staged[i]
        wait_copies()

        if has_bias:
            for i in range(tm):
                o = int32(first_row + m_0 + (i // m_run) * m_apart + (i % m_run) * m_next)
                a[i] = load(bias, int32(group * c_out + o)) if o < c_out else real(0)
        # places first, then stores: a body that is short enough to unroll keeps the sums in registers
        to = cuda.local.array(tn, int32)
        of_residual = cuda.local.array(tn, int32)
        for j in range(tn):
            pixel = int32(first_pixel + n_0 + (j // n_run) * n_apart + j % n_run)
            row = quotient(pixel, w_out)
            plane = quotient(row, h_out)
            image = quotient(plane, d_out)
            p_w, p_h, p_d = int32(pixel - row * w_out), int32(row - plane * h_out), int32(plane - image * d_out)
            to[j] = int32(y0 + image * y_n + p_d * y_d + p_h * y_h + p_w * y_w) if pixel < pixels else int32(-1)
            if has_residual:
                of_residual[j] = int32(r0 + image * r_n + p_d * r_d + p_h * r_h + p_w * r_w) if pixel < pixels else 0
        for i in range(tm):
            o = int32(first_row + m_0 + (i // m_run) * m_apart + (i % m_run) * m_next)
            channel = int32(group * c_out + o)
            for j in range(tn):
                if o < c_out and to[j] != -1:
                    total = acc[i * tn + j]
                    if has_bias:
                        total += a[i]
                    if has_residual:
                        total += load(residual, int32(of_residual[j] + channel * r_c))
                    store(out, int32(to[j] + channel * y_c), activate(total, slope))

    return kernel
