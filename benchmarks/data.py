"""Arrays for a layer, the same ones in every process, and how far a library may be from float64."""

from __future__ import annotations

import zlib

import numpy as np

from benchmarks.shapes import Arrays, Layer

__all__ = ["TOLERANCE", "make_arrays"]

#: Largest rms error of the sample, relative to its rms. Direct float32 sums have about 1e-6 and Winograd F(6,3) 3e-6;
#: arithmetic in float16, bfloat16 or TF32 has 2e-4 and more, and is refused. One rounding to float16 has 3e-4.
TOLERANCE = {"float16": 5e-4, "float32": 2e-5, "float64": 1e-12}


def make_arrays(layer: Layer, dtype: str, bias: bool) -> Arrays:
    """Return what the layer makes of a generator seeded by its name."""
    return layer.make(np.random.default_rng(zlib.crc32(layer.name.encode())), dtype, bias=bias)
