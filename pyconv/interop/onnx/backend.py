"""``onnx.backend.base``'s interface, for onnx's own conformance tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx.backend.base import Backend as _Backend
from onnx.backend.base import BackendRep as _BackendRep
from onnx.backend.base import namedtupledict

from .session import InferenceSession

__all__ = ["Backend", "BackendRep"]


class BackendRep(_BackendRep):
    """A model that is ready to run; made by :meth:`Backend.prepare`."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run with inputs in the model's order, or by name; return the outputs in the model's order."""
        names = self._session.input_names
        feeds = dict(inputs) if isinstance(inputs, dict) else dict(zip(names, _sequence(inputs, names), strict=False))
        return tuple(self._session.run(None, feeds))


def _sequence(inputs: Any, names: Sequence[str]) -> Sequence[Any]:
    """Return the inputs as a sequence; a lone array is the one input."""
    return inputs if isinstance(inputs, (list, tuple)) else (inputs,)


class Backend(_Backend):
    """pyconv as an ONNX backend: ``onnx.backend.test.BackendTest(Backend, __name__)`` runs onnx's tests on it.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from pyconv.interop.onnx import Backend
    >>> node = onnx.helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2])
    >>> Backend.run_node(node, [np.array([[[1, 3, 2]]], np.float32)])[0]
    array([[[3., 3.]]], dtype=float32)
    """

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Return the model ready to run."""
        if not cls.supports_device(device):
            raise ValueError(f"pyconv runs ONNX models on the CPU, not on {device!r}")
        onnx.checker.check_model(model)
        return BackendRep(InferenceSession(model))

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run a single node; ``opset_version`` chooses the operator set, by default the newest."""
        opset = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        names = [name for name in node.input if name]
        graph = onnx.GraphProto(name="node")
        graph.node.append(node)
        graph.input.extend(onnx.ValueInfoProto(name=name) for name in names)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
        opsets = {onnx.helper.make_opsetid(node.domain, opset).domain: opset}
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        )
        found = InferenceSession(model).run(None, dict(zip(names, _sequence(inputs, names), strict=True)))
        fields = [name for name in node.output if name]
        return namedtupledict("Outputs", fields)(*found)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether pyconv runs there: on the CPU."""
        return device.partition(":")[0] == "CPU"
