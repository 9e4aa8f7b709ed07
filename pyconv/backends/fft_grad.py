"""Gradients of weights by FFT: what a backend's FFT kernel computes, with images and channels exchanged.

``dW[o, c, a] = sum over n, p of dY[n, o, p] x[n, c, s p - before + d a]`` is a convolution of c images of n channels
with o kernels, the planes of dY. Its dilation is s, its stride d, and its outputs are the taps. A sum over some million
pixels for each of some thousand taps is a few transforms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..errors import InvalidProblem
from ..problem import ConvProblem, ConvWeightProblem
from . import fft
from .borrowed import Borrowed
from .plain import Plain

__all__ = ["FFTWeightGradient", "algorithms"]

#: Seconds of a call of one group besides its transforms.
_PER_CALL = 40e-6


@lru_cache(maxsize=256)
def _exchanged(problem: ConvWeightProblem) -> ConvProblem | Support:
    """Return the convolution of one group (of all groups, where there is one image), or why there is none."""
    conv = problem.conv
    if 0 in (conv.n, conv.c_in, conv.c_out) or 0 in conv.w_shape or 0 in conv.out_shape:
        return Support("needs something to sum")
    spatial, padding = [], []
    axes = zip(conv.spatial, conv.out_spatial, conv.stride, conv.kernel, conv.dilation, conv.padding, strict=True)
    for size, out, stride, k, dilation, (before, _) in axes:
        # what lies behind the last window's last tap would make another tap
        after = (out - 1) * stride + (k - 1) * dilation + 1 - size - before
        if after < 0 and conv.padding_mode != "zeros":
            return Support(f"needs windows that reach the end of {problem.large}, or zeros around it")
        if size + min(0, after) < 1:
            return Support(f"needs windows that reach {problem.large}")
        spatial.append(size + min(0, after))
        padding.append((before, max(0, after)))
    groups = conv.groups if conv.n == 1 else 1
    try:
        return replace(
            conv,
            n=conv.c_in // conv.groups,
            c_in=conv.n * groups,
            c_out=conv.c_out // conv.groups * groups,
            groups=groups,
            spatial=tuple(spatial),
            kernel=conv.out_spatial,
            stride=conv.dilation,
            dilation=conv.stride,
            padding=tuple(padding),
            channels_last=False,
        )
    except InvalidProblem as error:
        return Support(str(error))


@dataclass(frozen=True, slots=True)
class FFTWeightGradient(Borrowed, Plain):
    """An FFT kernel of ordinary convolution, of the same rank, at work on a gradient of weights."""

    def _conv(self, problem: ConvWeightProblem) -> ConvProblem:
        conv = _exchanged(problem)
        assert isinstance(conv, ConvProblem)
        return conv

    def supports(self, problem: ConvWeightProblem) -> Support:
        """Whether the kernel can do the convolution that it is."""
        conv = _exchanged(problem)
        return conv if isinstance(conv, Support) else self.kernel.supports(conv)

    def _calls(self, problem: ConvWeightProblem) -> int:
        return problem.conv.groups // self._conv(problem).groups

    def _weights_bytes(self, problem: ConvWeightProblem) -> int:
        """Return what the spectra of dY take, and two copies of it."""
        conv = self._conv(problem)
        tile: fft.Tile = self.kernel.tile(conv)
        spectra = fft.terms(conv, tile) * conv.c_out * 2 * tile.points
        return (spectra + 2 * math.prod(conv.w_shape)) * (8 if conv.dtype == "f64" else 4)

    def _exchanged_call(self, call: Call) -> Call | None:
        """Return the call of the convolution of a group; None where dY's spectra leave no memory for it."""
        problem = call.problem
        conv, large, out = self._conv(problem), call.strides(problem.large), call.strides("out")
        assert large is not None
        assert out is not None
        channels = problem.conv.c_in // problem.conv.groups
        x = (large[1], large[1] * channels if problem.conv.n == 1 else large[0], *large[2:])
        rest = call.max_workspace - self._weights_bytes(problem)
        if rest <= 0:
            return None
        return Call(conv, (("x", x), ("out", (out[1], out[0], *out[2:]))), call.threads, rest)

    def workspace(self, call: Call) -> int | None:
        """Return the kernel's, and the spectra of dY."""
        exchanged = self._exchanged_call(call)
        own = None if exchanged is None else self.kernel.workspace(exchanged)
        return None if own is None else own + self._weights_bytes(call.problem)

    def estimate(self, problem: ConvWeightProblem, machine: Machine) -> float:
        """Return the kernel's seconds, and those of dY's transforms, for each group."""
        conv = self._conv(problem)
        cycles = fft.packing_cycles(conv, self.kernel.tile(conv), self.kernel.lanes)
        packing = cycles * 4 * machine.lanes / (1e9 * machine.gflops)
        return self._calls(problem) * (float(self.kernel.estimate(conv, machine)) + packing + _PER_CALL)

    def accuracy(self, problem: ConvWeightProblem) -> str:
        """Return the kernel's."""
        return str(self.kernel.accuracy(self._conv(problem)))

    def error_bound(self, problem: ConvWeightProblem) -> float:
        """Return the kernel's: relative to sum |dY| max |x|."""
        return float(self.kernel.error_bound(self._conv(problem)))

    def error_reach(self, problem: ConvWeightProblem) -> int:
        """Return the kernel's: everywhere."""
        return int(self.kernel.error_reach(self._conv(problem)))

    def compile(self, call: Call) -> Runner:
        """Return the loop over groups."""
        problem, conv, prepare = call.problem, self._conv(call.problem), self.kernel.prepare
        exchanged = self._exchanged_call(call)
        assert exchanged is not None
        convolve = self.kernel.compile(exchanged)
        calls, folded = self._calls(problem), problem.conv.n == 1
        transposed, channels = problem.transposed, problem.conv.c_in // problem.conv.groups
        read: Any = (..., *(slice(0, size) for size in conv.spatial))

        def run(packed: Packed, grad_output: Array, x: Array, out: Array) -> bool:
            large, small = (grad_output, x) if transposed else (x, grad_output)
            large = large[read]
            # (call, image of the exchanged convolution, its channel, ...)
            if folded:
                images = large.reshape(1, -1, channels, *large.shape[2:]).swapaxes(1, 2)
            else:
                images = np.moveaxis(large.reshape(len(large), calls, channels, *large.shape[2:]), 0, 2)
            kernels = np.ascontiguousarray(small.swapaxes(0, 1)).reshape(calls, *conv.w_shape)
            results = out.reshape(calls, conv.c_out, *out.shape[1:]).swapaxes(1, 2)
            return all(
                convolve(prepare(conv, kernel, None), image, None, result)
                for kernel, image, result in zip(kernels, images, results, strict=True)
            )

        return run


def algorithms(kernels: Iterable[Algorithm]) -> Iterator[FFTWeightGradient]:
    """Yield a gradient of weights, of both kinds of convolution, for each FFT kernel."""
    for kernel in kernels:
        if kernel.family == "fft":
            for function in (kernel.op, kernel.op.replace("conv", "conv_transpose")):
                yield FFTWeightGradient(f"{function}-grad-w", kernel)
