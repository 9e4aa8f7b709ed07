"""conv_direct: any convolution of one to three axes with zeros around it, float16, float32 or float64.

y[n, g m + o, p] = act(bias[o] + residual + sum over c, a of w[g m + o, c, a] x[n, g c_in + c, s p - pad + d a]).

A thread has one output pixel of one image and OUTPUTS output channels of one group, so that each x it loads serves as
many FMAs. Neighbouring lanes have neighbouring pixels: their loads of x are neighbours too (stride 1), and their
weights are the same address, one transaction a warp. Blocks that follow each other have the same channels.

Sizes are arguments, not constants: one compilation for each type and epilogue serves every shape, and the general
kernel is the one that is met first. What lies outside x counts as zero and is multiplied all the same, so that infinite
weights give NaN where the definition does.

flops: 2 n c_out p_out c_in kd kh kw; loads: 1 + OUTPUTS values for OUTPUTS FMAs, x from L1 or L2 for the most part.
Sums run over (c, kd, kh, kw) in order in float32, or float64 for float64; error (K + 2) eps.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .activation import activation
from .memory import load, quotient, store

__all__ = ["OUTPUTS", "blocks_direct", "conv_direct", "task"]

#: Output channels of a thread: four accumulators hide an FMA's latency together with four warps a scheduler.
OUTPUTS = 4


def blocks_direct(pixels: int, c_out: int, groups: int) -> int:
    """Return the size of the grid for so many output pixels and so many output channels in each group."""
    return -(-pixels // THREADS) * -(-c_out // OUTPUTS) * groups


@cuda.jit(device=True, inline=True)
def task(n: Any, c_out: Any, d_out: Any, h_out: Any, w_out: Any) -> Any:
    """Return a thread's group, the first of its output channels in that, its image and its place; no image is image n.

    Blocks that follow each other have other pixels of the same channels.
    """
    pixels = int32(n * d_out * h_out * w_out)
    across = quotient(int32(pixels + THREADS - 1), THREADS)
    part = quotient(cuda.blockIdx.x, across)
    parts = quotient(int32(c_out + OUTPUTS - 1), OUTPUTS)
    group = quotient(part, parts)
    pixel = int32((cuda.blockIdx.x - part * across) * THREADS + cuda.threadIdx.x)
    row = quotient(pixel, w_out)
    plane = quotient(row, h_out)
    image = quotient(plane, d_out)
    return (
        group,
        int32((part - group * parts) * OUTPUTS),
        image,
        int32(plane - image * d_out),
        int32(row - plane * h_out),
        int32(pixel - row * w_out),
    )


def conv_direct(real: Any, name: str | None, has_bias: bool, has_residual: bool) -> Any:
    """Return the kernel for a type of sums and an epilogue.

    ``sizes`` are n, c_in, c_out (each in a group); d, h, w of x; of the kernel; of the output; the strides, the
    dilations, the padding before. ``steps`` are where the first element lies and the strides (n, c, d, h, w), of x,
    residual and out. Weights are (c_out, c_in, kd, kh, kw) in order.
    """
    activate = activation(name, real)

    def kernel(sizes: Any, steps: Any, slope: Any, x: Any, w: Any, bias: Any, residual: Any, out: Any) -> None:
        n, c_in, c_out, d, h, width, kd, kh, kw, d_out, h_out, w_out, sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, r0, r_n, r_c, r_d, r_h, r_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        acc = cuda.local.array(OUTPUTS, real)
        base = cuda.local.array(OUTPUTS, int32)
        group, first, image, p_d, p_h, p_w = task(n, c_out, d_out, h_out, w_out)
        if image < n:
            taps = int32(c_in * kd * kh * kw)
            for o in range(OUTPUTS):
                channel = int32(group * c_out + min(first + o, c_out - 1))  # of one too many: the last, not stored
                base[o] = int32(channel * taps)
                acc[o] = load(bias, channel) if has_bias else real(0)
            i_d, i_h, i_w = int32(p_d * sd - pd), int32(p_h * sh - ph), int32(p_w * sw - pw)
            tap = int32(0)
            for c in range(c_in):
                from_channel = int32(x0 + image * x_n + (group * c_in + c) * x_c)
                for a in range(kd):
                    at_d = int32(i_d + a * dd)
                    for b in range(kh):
                        at_h = int32(i_h + b * dh)
                        inside = at_d >= 0 and at_d < d and at_h >= 0 and at_h < h
                        from_row = int32(from_channel + at_d * x_d + at_h * x_h) if inside else int32(0)
                        for e in range(kw):
                            at_w = int32(i_w + e * dw)
                            value = real(0)
                            if inside and at_w >= 0 and at_w < width:
                                value = load(x, int32(from_row + at_w * x_w))
                            for o in range(OUTPUTS):
                                acc[o] += value * load(w, int32(base[o] + tap))
                            tap = int32(tap + 1)
            for o in range(OUTPUTS):
                if first + o < c_out:
                    channel = int32(group * c_out + first + o)
                    total = acc[o]
                    if has_residual:
                        total += load(
                            residual,
                            int32(r0 + image * r_n + channel * r_c + p_d * r_d + p_h * r_h + p_w * r_w),
                        )
                    to = int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w)
                    store(out, to, activate(total, slope))

    return kernel
