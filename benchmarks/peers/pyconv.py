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
    if layer.pooling and (layer.adaptive or layer.pooling not in ("max", "avg")):
        return _pooled(layer, x, out)
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


def _pooled(layer: Layer, x: Array, out: Array) -> Prepared:
    """Return a pooling layer that is not a plain one; gradients are those for ones."""
    import pyconv

    kind, _, more = layer.pooling.partition("_")
    window = (layer.kernel, layer.stride, layer.padding)
    forward = getattr(pyconv, f"{'adaptive_' if layer.adaptive else ''}{kind}_pool{layer.rank}d")
    backward = getattr(pyconv.grad, f"{kind}_pool{layer.rank}d")
    ones = np.ones(layer.pooled_shape, dtype=x.dtype)
    if layer.adaptive:
        size = layer.out_spatial
        return Prepared(lambda: np.asarray(forward(x, size, out=out)), pyconv.explain(forward, x, size).algorithm)
    if kind == "lp":
        norm = (2.0, *window[:2])
        return Prepared(lambda: np.asarray(forward(x, *norm, out=out)), pyconv.explain(forward, x, *norm).algorithm)
    if more == "indices":
        both = (out, np.empty(layer.pooled_shape, np.int64))
        form = pyconv.explain(forward, x, *window, return_indices=True).algorithm
        return Prepared(lambda: np.asarray(forward(x, *window, return_indices=True, out=both)[0]), form)
    saved: dict[str, Any] = {}
    if kind == "max":
        saved = {"indices": forward(x, *window, return_indices=True)[1]}
    form = pyconv.explain(backward, ones, x, *window, **saved).algorithm
    return Prepared(lambda: np.asarray(backward(ones, x, *window, **saved, out=out)[0]), form)
