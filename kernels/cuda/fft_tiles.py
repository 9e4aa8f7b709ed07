"""Where the tiles of an FFT convolution lie, whoever transforms them: device code that its kernels share.

``sizes`` of all these kernels: groups; c_in and c_out of each; d, h, w of x, of the kernel, of the output; the strides,
the dilations, the padding before; along each axis the terms that the taps make, the parts among these (the rest are
residues of the stride), the taps of a part, the tiles, the outputs of a tile; the first tile of the pairs in hand, the
tiles of all images, and how many pairs are in hand. backends/cuda_fft.py makes them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import cuda, int32

from .activation import activation
from .memory import load, quotient, store

__all__ = ["begin_of", "finisher", "point_of", "term_of", "tile_of"]


@cuda.jit(device=True, inline=True)
def term_of(sizes: Any, term: Any) -> Any:
    """Return a term's channel, counted through all groups, and its place among the terms of each axis."""
    terms_d, terms_h, terms_w = sizes[21:24]
    rest = quotient(term, terms_w)
    rest_2 = quotient(rest, terms_h)
    channel = quotient(rest_2, terms_d)
    return (
        channel,
        int32(rest_2 - channel * terms_d),
        int32(rest - rest_2 * terms_h),
        int32(term - rest * terms_w),
    )


@cuda.jit(device=True, inline=True)
def tile_of(sizes: Any, tile: Any) -> Any:
    """Return a tile's image, and its first output along each axis."""
    tiles_d, tiles_h, tiles_w, each_d, each_h, each_w = sizes[30:36]
    rest = quotient(tile, tiles_w)
    rest_2 = quotient(rest, tiles_h)
    image = quotient(rest_2, tiles_d)
    return (
        image,
        int32((rest_2 - image * tiles_d) * each_d),
        int32((rest - rest_2 * tiles_h) * each_h),
        int32((tile - rest * tiles_w) * each_w),
    )


@cuda.jit(device=True, inline=True)
def _begin(first: Any, term: Any, parts: Any, taps: Any, stride: Any, dilation: Any, pad: Any) -> Any:
    """Return where along an axis of x a term of a tile begins: behind its residue, and the parts before its own."""
    residue = quotient(term, parts)
    shift = int32(residue * dilation)
    part = int32(term - residue * parts)
    return int32((first + part * taps) * stride + shift - quotient(shift, stride) * stride - pad)


@cuda.jit(device=True, inline=True)
def begin_of(sizes: Any, steps: Any, term: Any, tile: Any) -> Any:
    """Return where a term of a tile of x begins along d, h and w, and where its channel does in memory."""
    sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes[12:21]
    parts_d, parts_h, parts_w, taps_d, taps_h, taps_w = sizes[24:30]
    channel, term_d, term_h, term_w = term_of(sizes, term)
    image, first_d, first_h, first_w = tile_of(sizes, tile)
    return (
        _begin(first_d, term_d, parts_d, taps_d, sd, dd, pd),
        _begin(first_h, term_h, parts_h, taps_h, sh, dh, ph),
        _begin(first_w, term_w, parts_w, taps_w, sw, dw, pw),
        int32(steps[0] + image * steps[1] + channel * steps[2]),
    )


@cuda.jit(device=True, inline=True)
def _stand(tap: Any, parts: Any, terms: Any, taps: Any, stride: Any, dilation: Any, n: Any) -> Any:
    """Return an axis' term that a tap belongs to, and its place there, turned round so that products correlate."""
    residues = quotient(terms, parts)
    along = quotient(int32(tap * dilation), stride)
    part = quotient(along, taps)
    place = int32(along - part * taps)
    residue = int32(tap - quotient(tap, residues) * residues)
    return int32(residue * parts + part), int32(n - place) if place > 0 else int32(0)


@cuda.jit(device=True, inline=True)
def point_of(sizes: Any, tap: Any, n_d: Any, n_h: Any, n_w: Any) -> Any:
    """Return which of a channel's terms a tap belongs to, and which point of a tile of these lengths it is for."""
    sd, sh, sw, dd, dh, dw = sizes[12:18]
    terms_d, terms_h, terms_w, parts_d, parts_h, parts_w, taps_d, taps_h, taps_w = sizes[21:30]
    kh, kw = sizes[7], sizes[8]
    row = quotient(tap, kw)
    slab = quotient(row, kh)
    d, at_d = _stand(slab, parts_d, terms_d, taps_d, sd, dd, n_d)
    h, at_h = _stand(int32(row - slab * kh), parts_h, terms_h, taps_h, sh, dh, n_h)
    w, at_w = _stand(int32(tap - row * kw), parts_w, terms_w, taps_w, sw, dw, n_w)
    return int32((d * terms_h + h) * terms_w + w), int32((at_d * n_h + at_h) * n_w + at_w)


@cache
def _sum_directly(real: Any) -> Any:
    """Return the device function that sums one output by the definition: what is not finite belongs there."""

    def total_of(sizes: Any, steps: Any, x: Any, w: Any, channel: Any, image: Any, p_d: Any, p_h: Any, p_w: Any) -> Any:
        _, c_in, c_out, d, h, width, kd, kh, kw = sizes[:9]
        sd, sh, sw, dd, dh, dw, pd, ph, pw = sizes[12:21]
        group = quotient(channel, c_out)
        total = real(0)
        tap = int32(channel * c_in * kd * kh * kw)
        for c in range(c_in):
            from_channel = int32(steps[0] + image * steps[1] + (group * c_in + c) * steps[2])
            for a in range(kd):
                at_d = int32(p_d * sd - pd + a * dd)
                for b in range(kh):
                    at_h = int32(p_h * sh - ph + b * dh)
                    for e in range(kw):
                        at_w = int32(p_w * sw - pw + e * dw)
                        value = real(0)
                        if at_d >= 0 and at_d < d and at_h >= 0 and at_h < h and at_w >= 0 and at_w < width:
                            value = load(x, int32(from_channel + at_d * steps[3] + at_h * steps[4] + at_w * steps[5]))
                        total += value * load(w, tap)
                        tap = int32(tap + 1)
        return total

    return cuda.jit(total_of, device=True, inline=True)


@cache
def finisher(real: Any, name: str | None, has_bias: bool, has_residual: bool) -> Any:
    """Return the device function that finishes one output: sums it directly where it is not finite, and stores it."""
    activate, total_of = activation(name, real), _sum_directly(real)

    def finish(
        sizes: Any, steps: Any, slope: Any, channel: Any, image: Any, p_d: Any, p_h: Any, p_w: Any, found: Any,
        x: Any, w: Any, bias: Any, residual: Any, out: Any,
    ) -> None:  # fmt: skip
        total = found
        if found - found != real(0):
            total = total_of(sizes, steps, x, w, channel, image, p_d, p_h, p_w)
        if has_bias:
            total += load(bias, channel)
        if has_residual:
            from_0 = int32(steps[6] + image * steps[7] + channel * steps[8])
            total += load(residual, int32(from_0 + p_d * steps[9] + p_h * steps[10] + p_w * steps[11]))
        to = int32(steps[12] + image * steps[13] + channel * steps[14])
        store(out, int32(to + p_d * steps[15] + p_h * steps[16] + p_w * steps[17]), activate(total, slope))

    return cuda.jit(finish, device=True, inline=True)
