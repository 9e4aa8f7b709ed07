"""conv_depthwise: one input channel a group, windows of up to MAX_ROWS rows; zeros around.

y[n, g m + o, p] = act(bias + residual + sum over a of w[g m + o, a] x[n, g, s p - pad + d a]).

A thread has ROWS output rows of one column and one output channel. For each column of the kernel it loads the
(ROWS - 1) s_h + (kh - 1) d_h + 1 rows that these outputs see, once, into registers, and uses each for every (row, tap)
that meets there: (ROWS + kh - 1) kw loads for ROWS kh kw FMAs where stride and dilation are 1, 2.6 FMAs a load for 7x7
and 2 for 3x3. Neighbouring lanes have neighbouring columns, so these loads are neighbours. Weights are the same address
for a warp. The kernel's rows, its strides and dilations along h are constants, because registers are picked by number.

flops: 2 n c_out p_out kd kh kw. Memory decides: x and y pass once, 8 bytes for 2 kh kw flops.
Sums run over (kd, kw, kh) in order; error (K + 2) eps.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .activation import activation
from .memory import load, quotient, store

__all__ = ["MAX_ROWS", "MAX_SPAN", "ROWS", "blocks_depthwise", "conv_depthwise", "span_of"]

#: Output rows of a thread.
ROWS = 4
#: Kernel rows, and rows of x that a thread holds: more of them do not unroll, and would lie in memory.
MAX_ROWS, MAX_SPAN = 7, 16


def span_of(kh: int, stride: int, dilation: int) -> int:
    """Return the rows of x that a thread sees."""
    return (ROWS - 1) * stride + (kh - 1) * dilation + 1


def blocks_depthwise(n: int, c_out: int, out: tuple[int, int, int]) -> int:
    """Return the size of the grid for n images, all output channels and the output's d, h, w."""
    d_out, h_out, w_out = out
    return -(-(n * c_out * d_out * -(-h_out // ROWS) * w_out) // THREADS)


def conv_depthwise(
    real: Any, kh: int, stride: int, dilation: int, name: str | None, has_bias: bool, has_residual: bool
) -> Any:
    """Return the kernel for a type of sums, a kernel's rows with their stride and dilation, and an epilogue.

    ``sizes`` are n, groups, c_out in a group; d, h, w of x; kd, kw; the output's d, h, w; strides and dilations along
    d and w; the padding before. ``steps`` are as in conv_direct.
    """
    activate = activation(name, real)
    span = span_of(kh, stride, dilation)

    def kernel(sizes: Any, steps: Any, slope: Any, x: Any, w: Any, bias: Any, residual: Any, out: Any) -> None:
        n, groups, multiplier, d, h, width, kd, kw, d_out, h_out, w_out, sd, sw, dd, dw, pd, ph, pw = sizes
        x0, x_n, x_c, x_d, x_h, x_w, r0, r_n, r_c, r_d, r_h, r_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        acc = cuda.local.array(ROWS, real)
        column = cuda.local.array(span, real)
        strips = quotient(int32(h_out + ROWS - 1), ROWS)
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * groups * multiplier * d_out * strips * w_out:
            rest = quotient(task, w_out)
            p_w = int32(task - rest * w_out)
            above = quotient(rest, strips)
            p_h = int32((rest - above * strips) * ROWS)
            plane = quotient(above, d_out)
            p_d = int32(above - plane * d_out)
            image = quotient(plane, int32(groups * multiplier))
            channel = int32(plane - image * groups * multiplier)
            start = int32(x0 + image * x_n + quotient(channel, multiplier) * x_c)
            first = load(bias, channel) if has_bias else real(0)
            for r in range(ROWS):
                acc[r] = first
            i_h = int32(p_h * stride - ph)
            for a in range(kd):
                at_d = int32(p_d * sd - pd + a * dd)
                for e in range(kw):
                    at_w = int32(p_w * sw - pw + e * dw)
                    inside = at_d >= 0 and at_d < d and at_w >= 0 and at_w < width
                    from_column = int32(start + at_d * x_d + at_w * x_w) if inside else int32(0)
                    for i in range(span):
                        at_h = int32(i_h + i)
                        value = real(0)
                        if inside and at_h >= 0 and at_h < h:
                            value = load(x, int32(from_column + at_h * x_h))
                        column[i] = value
                    for b in range(kh):
                        tap = load(w, int32(((channel * kd + a) * kh + b) * kw + e))
                        for r in range(ROWS):
                            acc[r] += tap * column[r * stride + b * dilation]
            for r in range(ROWS):
                at = int32(p_h + r)
                if at < h_out:
                    total = acc[r]
                    if has_residual:
                        total += load(
                            residual, int32(r0 + image * r_n + channel * r_c + p_d * r_d + at * r_h + p_w * r_w)
                        )
                    to = int32(y0 + image * y_n + channel * y_c + p_d * y_d + at * y_h + p_w * y_w)
                    store(out, to, activate(total, slope))

    return kernel
