"""Ourselves: weights packed by ``pyconv.prepare``, the output array reused (as onnxruntime's and OpenVINO's are)."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import Array, Prepared, missing
from benchmarks.shapes import BoxLayer, Layer

HAS_BOXES = True


def available() -> str | None:
    """Return why pyconv cannot be used here, or None."""
    return missing("pyconv")


def version() -> str:
    """Return pyconv's version and the instruction set in use."""
    import pyconv

    return f"{pyconv.__version__} ({pyconv.info().isa or 'no C kernels'})"


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why pyconv cannot do the layer, or None: every layer and every dtype are its job."""
    return None


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, dtype: str
) -> Prepared:
    """Pack the weights for the algorithm that ``pyconv.explain`` names."""
    import pyconv

    pyconv.set_options(threads=threads)
    out = np.empty(layer.out_shape, dtype=dtype)
    if isinstance(layer, BoxLayer):
        return _boxes(layer, x, w, bias, out)
    if layer.pooling:
        pool = getattr(pyconv, f"{layer.pooling}_pool{layer.rank}d")
        window = (layer.kernel, layer.stride, layer.padding)
        return Prepared(lambda: np.asarray(pool(x, *window, out=out)), pyconv.explain(pool, x, *window).algorithm)
    function = getattr(pyconv, f"conv{layer.rank}d")
    settings: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "activation": activation,
    }
    convolve = pyconv.prepare(function, w, bias, **settings)
    return Prepared(
        run=lambda: convolve(x, out=out),
        form=pyconv.explain(function, x, w, bias, **settings).algorithm,
    )


def _boxes(layer: BoxLayer, x: Array, boxes: Array, g: Array | None, out: Array) -> Prepared:
    """Return the operation on boxes, or its gradient."""
    import pyconv

    where: Any = pyconv.grad if layer.gradient else pyconv
    function = getattr(where, layer.function)
    arguments: list[Any] = [x, boxes, layer.kernel, 1 / layer.shrink]
    if layer.function != "roi_pool":
        arguments.append(layer.ratio)
    if layer.function == "roi_align":
        arguments.append(True)
    if layer.gradient:
        arguments.insert(0, g)
    algorithm = pyconv.explain(function, *arguments).algorithm

    def run() -> Array:
        result = function(*arguments, out=out)
        return np.asarray(result[0] if layer.gradient else result)

    return Prepared(run, algorithm)
