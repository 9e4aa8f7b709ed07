"""One library with a whole network: ``python -m benchmarks.network_worker PEER``, started by benchmarks.networks.

The requests are those of :mod:`benchmarks.worker`. ``prepare`` has ``{"network": name, "threads": n}`` and answers with
what goes into the last Softmax; ``profile``, of ours alone, has the same and answers with ``{"profile": text}``.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import graphs
from benchmarks.worker import answer, timed_round, wait_until_idle

__all__ = ["PEERS", "Worker", "main"]

#: What a library is given: a model, its input by name, and threads; what it returns: a call without arguments whose
#: result is the output.
Prepare = Callable[[Any, str, Any, int], Callable[[], Any]]


def _pyconv(model: Any, name: str, x: Any, threads: int) -> Callable[[], Any]:
    from pyconv.interop.onnx import InferenceSession

    session = InferenceSession(model, threads=threads)
    return lambda: session.run(None, {name: x})[0]


def _onnxruntime(model: Any, name: str, x: Any, threads: int) -> Callable[[], Any]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {name: x})[0]


def _openvino(model: Any, name: str, x: Any, threads: int) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    # without the second hint a processor with bfloat16 arithmetic computes in it
    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    hints |= {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hints).create_infer_request()
    request.set_input_tensor(0, openvino.Tensor(x, shared_memory=True))

    def run() -> Any:
        request.infer()
        return request.get_output_tensor(0).data

    return run


PEERS: dict[str, Prepare] = {"pyconv": _pyconv, "onnxruntime": _onnxruntime, "openvino": _openvino}


class Worker:
    """The requests, answered for one library."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.run: Callable[[], Any] | None = None

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say whether the library is here, and which version."""
        try:
            library = __import__(self.peer)
        except ImportError as error:
            return {"missing": str(error), "version": None}
        return {"missing": None, "version": str(library.__version__)}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a network ready; answer with its output, as logarithms' arguments, to be compared."""
        model = graphs.light(request["network"])
        name = model.graph.input[0].name
        x = np.random.default_rng(1).standard_normal((1, 3, 224, 224), np.float32)
        check = PEERS[self.peer](graphs.before_softmax(model), name, x, request["threads"])()
        logits = np.array(check, np.float64).reshape(-1).tolist()
        del check
        self.run = PEERS[self.peer](model, name, x, request["threads"])
        for _ in range(2):
            self.run()
        return {"logits": logits, "idle": wait_until_idle()}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run one round."""
        if self.run is None:
            raise RuntimeError("there is nothing to time: send a prepare request first")
        return timed_round(self.run)

    def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Free the network."""
        self.run = None
        return {}

    def profile(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return our table of nodes for a network."""
        from pyconv.interop.onnx import InferenceSession

        model = graphs.light(request["network"])
        x = np.random.default_rng(1).standard_normal((1, 3, 224, 224), np.float32)
        session = InferenceSession(model, threads=request["threads"])
        for _ in range(5):
            session.run(None, {model.graph.input[0].name: x})
        with contextlib.redirect_stdout(io.StringIO()):
            session.run(None, {model.graph.input[0].name: x}, profile=True)
        return {"profile": str(session.profile)}


def main() -> None:
    """Answer for the library that the command names."""
    answer(Worker(sys.argv[1]))


if __name__ == "__main__":
    main()
