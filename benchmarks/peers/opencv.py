"""OpenCV: ``filter2D`` for the filters of one plane, and its DNN module, whichever is faster."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers import Array, Job, Prepared, fastest, missing
from benchmarks.shapes import FILTERS, Convolution, Layer


def available() -> str | None:
    """Return why OpenCV cannot be used here, or None; the DNN module's model is built with onnx."""
    return missing("cv2") or missing("onnx")


def version() -> str:
    """Return OpenCV's version."""
    import cv2

    return str(cv2.__version__)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why OpenCV cannot do the layer, or None."""
    if not isinstance(layer, Convolution) or layer.operation != "conv":
        return "measured with convolutions only"
    if _is_plane_filter(layer):
        return None
    return None if dtype == "float32" else "its DNN module computes in float32"


def _is_plane_filter(layer: Convolution) -> bool:
    """Say whether ``filter2D`` can do it: planes filtered one by one, sizes kept, stride 1."""
    one_by_one = layer.rank == 2 and layer.groups == layer.c_in == layer.c_out
    return one_by_one and max(*layer.stride, *layer.dilation) == 1 and layer.out_spatial == layer.spatial


def _forms(job: Job) -> Iterator[Prepared]:
    import cv2

    layer = job.layer
    assert isinstance(layer, Convolution)
    x, w, plain = job.arrays["x"], job.arrays["w"], "bias" not in job.arrays and job.activation is None
    if layer.bench_class in FILTERS and _is_plane_filter(layer) and plain:
        (out,) = job.empty()
        planes = [(x[i, c], w[c, 0], out[i, c]) for i in range(layer.n) for c in range(layer.c_in)]

        def filtered() -> Array:
            for plane, kernel, result in planes:
                cv2.filter2D(plane, -1, kernel, dst=result, borderType=cv2.BORDER_CONSTANT)
            return out

        yield Prepared(filtered, "filter2D")
    if job.dtype == "float32":
        from benchmarks.peers._onnx_model import model_of

        model = np.frombuffer(model_of(job), dtype=np.uint8)
        for engine in ("ENGINE_CLASSIC", "ENGINE_NEW"):
            net = _read(model, engine)
            if net is not None:
                yield Prepared(partial(_infer, net, x), f"dnn {engine.lower()}")


def _infer(net: Any, x: Array) -> Array:
    net.setInput(x)
    y: Array = net.forward()
    return y


def _read(model: Array, engine: str) -> Any:
    """Return the network, or None where this version has no such engine or the engine no such layer."""
    import cv2

    if not hasattr(cv2.dnn, engine):
        return None
    try:
        return cv2.dnn.readNetFromONNX(model, getattr(cv2.dnn, engine))
    except cv2.error:
        return None


def prepare(job: Job) -> Prepared:
    """Return the fastest of ``filter2D`` and the DNN engines."""
    import cv2

    cv2.setNumThreads(job.threads)
    return fastest(_forms(job))
