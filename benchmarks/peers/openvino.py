"""OpenVINO's CPU plugin: latency hint, float32 arithmetic, tensors that share memory with the arrays."""

from __future__ import annotations

from benchmarks.peers import Array, Job, Prepared, missing
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


def prepare(job: Job) -> Prepared:
    """Compile the model and bind x and the output arrays to one infer request."""
    import openvino

    from benchmarks.peers._onnx_model import model_of

    core = openvino.Core()
    model = core.read_model(model_of(job))
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": job.threads,
            # Without the hint a processor with bfloat16 arithmetic computes in it.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        },
    )
    request = compiled.create_infer_request()
    outs = job.empty()
    x = job.arrays[job.layer.inputs[0]]
    request.set_input_tensor(0, openvino.Tensor(x, shared_memory=True))
    for number, out in enumerate(outs):
        request.set_output_tensor(number, openvino.Tensor(out, shared_memory=True))

    def run() -> tuple[Array, ...]:
        request.infer()
        return outs or (request.get_output_tensor(0).data,)

    return Prepared(run, "infer")
