"""SciPy: the best of ``fftconvolve``, ``oaconvolve``, ``correlate2d`` and ``ndimage.correlate``, looped over planes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmarks.peers import Array, Job, Prepared, fastest, missing
from benchmarks.shapes import Convolution, Layer

#: Pairs of planes beyond which a loop over planes is no use of SciPy that anybody would make.
MAX_PLANES = 64
#: Products beyond which the direct methods take seconds and cannot be the best.
MAX_DIRECT = 2e8


def available() -> str | None:
    """Return why SciPy cannot be used here, or None."""
    return missing("scipy")


def version() -> str:
    """Return SciPy's version."""
    import scipy

    return str(scipy.__version__)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why SciPy cannot do the layer, or None."""
    if not isinstance(layer, Convolution) or layer.operation != "conv":
        return "measured with convolutions only"
    if dtype == "float16":
        return "SciPy has no convolution of float16"
    if max(*layer.stride, *layer.dilation) > 1:
        return "SciPy has neither strides nor dilation"
    if any(p not in {0, (k - 1) // 2} or (p and k % 2 == 0) for p, k in zip(layer.padding, layer.kernel, strict=True)):
        return 'SciPy has the paddings "valid" and "same" only'
    planes = layer.n * layer.c_out * layer.c_in // layer.groups
    return None if planes <= MAX_PLANES else f"it would loop over {planes} pairs of planes"


def _methods(layer: Convolution) -> dict[str, Callable[[Array, Array], Array]]:
    """Return functions (plane, kernel) -> correlation with the layer's padding, zeros outside."""
    from scipy import ndimage, signal

    mode = "same" if layer.out_spatial == layer.spatial else "valid"
    flip = (slice(None, None, -1),) * layer.rank
    methods: dict[str, Callable[[Array, Array], Array]] = {
        "fftconvolve": lambda plane, kernel: signal.fftconvolve(plane, kernel[flip], mode=mode),
        "oaconvolve": lambda plane, kernel: signal.oaconvolve(plane, kernel[flip], mode=mode),
    }
    if math.prod(layer.out_spatial) * math.prod(layer.kernel) <= MAX_DIRECT:
        if layer.rank == 2:
            methods["correlate2d"] = lambda plane, kernel: signal.correlate2d(plane, kernel, mode=mode)
        else:
            methods["correlate"] = lambda plane, kernel: signal.correlate(plane, kernel, mode=mode, method="direct")
        if mode == "same":
            methods["ndimage.correlate"] = lambda plane, kernel: ndimage.correlate(plane, kernel, mode="constant")
    return methods


def prepare(job: Job) -> Prepared:
    """Return the fastest method, with as many FFT workers as there are threads."""
    import scipy.fft

    layer, (out,) = job.layer, job.empty()
    assert isinstance(layer, Convolution)
    x, w, bias = (job.arrays.get(name) for name in layer.inputs)
    assert x is not None
    assert w is not None
    per_group_in, per_group_out = layer.c_in // layer.groups, layer.c_out // layer.groups

    def looped(name: str, method: Callable[[Array, Array], Array]) -> Prepared:
        def run() -> Array:
            with scipy.fft.set_workers(job.threads):
                for image in range(layer.n):
                    for o in range(layer.c_out):
                        first = o // per_group_out * per_group_in
                        y = out[image, o]
                        y[...] = method(x[image, first], w[o, 0])
                        for c in range(1, per_group_in):
                            y += method(x[image, first + c], w[o, c])
                        if bias is not None:
                            y += bias[o]
            if job.activation == "relu":
                np.maximum(out, 0, out=out)
            return out

        return Prepared(run, name)

    return fastest(looped(name, method) for name, method in _methods(layer).items())
