"""conv_transposed: a transposed convolution of one to three axes, or a convolution's gradient with respect to x.

y[n, g m + o, p] = act(bias[o] + sum of w[g c_in + c, o, a] x[n, g c_in + c, i] over a, c, i with s i + d a - before =
p).

Gathered: a thread has one output pixel of one image and OUTPUTS output channels of one group, and sums what reaches
them. Of an axis, the taps that meet an element of x are those whose d a has the residue of p + before modulo s: the
first is looked for, and each next one is s / gcd(s, d) further, so that no time goes to the others. Only products of
elements of x exist, and none of a zero between them: infinite weights make no NaN where the definition has none.

Neighbouring lanes have neighbouring pixels; with stride 1 their loads of x are neighbours, with stride s every s-th
lane shares them. Weights are the same address for lanes of one residue.

flops: 2 n c_in c_out p kd kh kw, p the pixels of x. Sums run over (kd, kh, kw, c) in order; error (K + 2) eps.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from .activation import activation
from .direct import OUTPUTS, task
from .memory import load, quotient, store

__all__ = ["conv_transposed", "first_tap"]


@cuda.jit(device=True, inline=True)
def first_tap(at: Any, stride: Any, dilation: Any, step: Any, none: Any) -> Any:
    """Return the first tap a, less than ``step``, with d a = at modulo s; ``none`` where there is none."""
    wanted = int32(at - quotient(at, stride) * stride)
    a, reach = int32(0), int32(0)
    while a < step and reach != wanted:
        reach = int32(reach + dilation)
        reach = int32(reach - quotient(reach, stride) * stride)
        a = int32(a + 1)
    return a if a < step else none


def conv_transposed(real: Any, name: str | None, has_bias: bool) -> Any:
    """Return the kernel for a type of sums and an epilogue.

    ``sizes`` are n, c_in, c_out (each in a group); d, h, w of x; of the kernel; of the output; the strides, dilations,
    steps between taps that meet, the padding before. ``steps`` are of x and out. Weights are (c_in, c_out, kd, kh, kw).
    """
    activate = activation(name, real)

    def kernel(sizes: Any, steps: Any, slope: Any, x: Any, w: Any, bias: Any, out: Any) -> None:
        n, c_in, c_out, d, h, width, kd, kh, kw, d_out, h_out, w_out = sizes[:12]
        sd, sh, sw, dd, dh, dw, td, th, tw, pd, ph, pw = sizes[12:]
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        acc = cuda.local.array(OUTPUTS, real)
        base = cuda.local.array(OUTPUTS, int32)
        group, first, image, p_d, p_h, p_w = task(n, c_out, d_out, h_out, w_out)
        if image < n:
            taps = int32(kd * kh * kw)
            for o in range(OUTPUTS):
                channel = min(int32(first + o), int32(c_out - 1))  # of one too many: the last, not stored
                base[o] = int32((group * c_in * c_out + channel) * taps)
                acc[o] = load(bias, int32(group * c_out + channel)) if has_bias else real(0)
            at_d, at_h, at_w = int32(p_d + pd), int32(p_h + ph), int32(p_w + pw)
            first_h, first_w = first_tap(at_h, sh, dh, th, kh), first_tap(at_w, sw, dw, tw, kw)
            from_group = int32(x0 + image * x_n + group * c_in * x_c)
            a = first_tap(at_d, sd, dd, td, kd)
            while a < kd and a * dd <= at_d:
                i_d = quotient(int32(at_d - a * dd), sd)
                b = first_h if i_d < d else kh
                while b < kh and b * dh <= at_h:
                    i_h = quotient(int32(at_h - b * dh), sh)
                    e = first_w if i_h < h else kw
                    while e < kw and e * dw <= at_w:
                        i_w = quotient(int32(at_w - e * dw), sw)
                        if i_w < width:
                            at = int32(from_group + i_d * x_d + i_h * x_h + i_w * x_w)
                            tap = int32((a * kh + b) * kw + e)
                            for _ in range(c_in):
                                value = load(x, at)
                                for o in range(OUTPUTS):
                                    acc[o] += value * load(w, int32(base[o] + tap))
                                at = int32(at + x_c)
                                tap = int32(tap + c_out * taps)
                        e = int32(e + tw)
                    b = int32(b + th)
                a = int32(a + td)
            for o in range(OUTPUTS):
                if first + o < c_out:
                    channel = int32(group * c_out + first + o)
                    to = int32(y0 + image * y_n + channel * y_c + p_d * y_d + p_h * y_h + p_w * y_w)
                    store(out, to, activate(acc[o], slope))

    return kernel
