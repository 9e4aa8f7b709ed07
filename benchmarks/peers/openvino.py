"""OpenVINO's CPU plugin: latency hint, float32 arithmetic, tensors that share memory with the arrays."""

from __future__ import annotations

import numpy as np

from benchmarks.peers import Array, Prepared, missing
from benchmarks.shapes import Layer


def available() -> str | None:
    """Return why OpenVINO cannot be used here, or None; the model is built with onnx."""
    return missing("openvino") or missing("onnx")


def version() -> str:
    """Return OpenVINO's version."""
    import openvino

    return str(openvino.__version__)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why OpenVINO cannot do the layer, or None."""
    from benchmarks.peers._onnx_model import refuses

    return refuses(layer) if dtype == "float32" else "its CPU plugin computes in float32 whatever the model says"


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, dtype: str
) -> Prepared:
    """Compile the model and bind x and an output array to one infer request."""
    import openvino

    from benchmarks.peers._onnx_model import conv_model

    core = openvino.Core()
    model = core.read_model(conv_model(layer, w, bias, activation, dtype))
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            # Without the hint a processor with bfloat16 arithmetic computes in it.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        },
    )
    request = compiled.create_infer_request()
    out = np.empty(layer.out_shape, dtype=dtype)
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(out, shared_memory=True))

    def run() -> Array:
        request.infer()
        return out

    return Prepared(run, "infer")
