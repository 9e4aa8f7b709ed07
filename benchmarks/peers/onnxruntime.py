"""ONNX Runtime's CPU provider: all graph optimisations, constant weights, input and output bound to memory."""

from __future__ import annotations

import numpy as np

from benchmarks.peers import Array, Prepared, fastest, missing
from benchmarks.shapes import BoxLayer, Layer

HAS_BOXES = True


def available() -> str | None:
    """Return why onnxruntime cannot be used here, or None; the model is built with onnx."""
    return missing("onnxruntime") or missing("onnx")


def version() -> str:
    """Return onnxruntime's version."""
    import onnxruntime

    return str(onnxruntime.__version__)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why onnxruntime cannot do the layer, or None."""
    from benchmarks.peers._onnx_model import refuses

    if isinstance(layer, BoxLayer):
        return "has RoiAlign forward only" if layer.gradient or layer.function != "roi_align" else None
    return refuses(layer) if dtype == "float32" else "its CPU provider has Conv in float32 only"


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, dtype: str
) -> Prepared:
    """Return the faster of ``run_with_iobinding`` and ``run``."""
    import onnxruntime

    from benchmarks.peers._onnx_model import boxes_model, conv_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    boxes = isinstance(layer, BoxLayer)
    model = boxes_model(layer, w, dtype) if boxes else conv_model(layer, w, bias, activation, dtype)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    out = np.empty(layer.out_shape, dtype=dtype)
    binding = session.io_binding()
    x_value = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    out_value = onnxruntime.OrtValue.ortvalue_from_numpy(out)
    binding.bind_ortvalue_input("x", x_value)
    binding.bind_ortvalue_output("y", out_value)

    def bound() -> Array:
        session.run_with_iobinding(binding)
        # For a CPU value this is a view, not a copy.
        array: Array = out_value.numpy()
        return array

    def plain() -> Array:
        array: Array = session.run(None, {"x": x})[0]
        return array

    return fastest([Prepared(bound, "run_with_iobinding"), Prepared(plain, "run")])
