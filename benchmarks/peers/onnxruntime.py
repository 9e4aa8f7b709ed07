"""ONNX Runtime's CPU provider: all graph optimisations, constant weights, input and output bound to memory."""

from __future__ import annotations

from benchmarks.peers import Array, Job, Prepared, fastest, missing
from benchmarks.shapes import Layer


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

    return refuses(layer) if dtype == "float32" else "its CPU provider has Conv in float32 only"


def prepare(job: Job) -> Prepared:
    """Return the faster of ``run_with_iobinding`` and ``run``."""
    import onnxruntime

    from benchmarks.peers._onnx_model import model_of

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model_of(job), options, providers=["CPUExecutionProvider"])
    x = job.arrays[job.layer.inputs[0]]
    forms = [Prepared(lambda: session.run(None, {"x": x}), "run")]
    outs = job.empty()
    if outs:
        binding = session.io_binding()
        x_value = onnxruntime.OrtValue.ortvalue_from_numpy(x)
        out_values = [onnxruntime.OrtValue.ortvalue_from_numpy(out) for out in outs]
        binding.bind_ortvalue_input("x", x_value)
        for output, value in zip(session.get_outputs(), out_values, strict=True):
            binding.bind_ortvalue_output(output.name, value)

        def bound() -> tuple[Array, ...]:
            session.run_with_iobinding(binding)
            # For a CPU value this is a view, not a copy.
            return tuple(value.numpy() for value in out_values)

        forms.insert(0, Prepared(bound, "run_with_iobinding"))
    return fastest(forms)
