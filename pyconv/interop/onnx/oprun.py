"""``new_ops``: the operators of onnx.reference that pyconv's kernels compute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
from onnx.reference.op_run import OpRun
from onnx.reference.ops import load_op

# the modules that fill the table of operators
from . import layers, regions, resize, tensors, windows  # noqa: F401
from .nodes import OPERATORS, Node, NotTaken, evaluate

__all__ = ["new_ops"]


class _Compiled(OpRun):
    """An operator of the main domain, with the meaning that the model's operator set gives it."""

    op_domain = ""

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        opset = run_params["opsets"].get("", onnx.defs.onnx_opset_version())
        schema = onnx.defs.get_schema(onnx_node.op_type, opset, "")
        super().__init__(onnx_node, run_params, schema)
        self._opset = opset
        self._node = Node.of(onnx_node, {"": opset})
        self._other: Any = None

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        node = self._node
        if self.has_linked_attribute:
            node = replace(node, attributes=node.attributes | attributes)
        try:
            return evaluate(node, inputs)
        except NotTaken:
            if self._other is None:
                self._other = load_op("", self.onnx_node.op_type, self._opset)(self.onnx_node, self.run_params)
            if self.has_linked_attribute:
                return self._other._run(*inputs, **attributes)  # type: ignore[no-any-return]
            return self._other.run(*inputs)  # type: ignore[no-any-return]


def _classes() -> list[type[OpRun]]:
    return [
        type(name, (_Compiled,), {"__doc__": f"{name} on pyconv's kernels."})
        for (domain, name), entry in OPERATORS.items()
        if not domain and entry.compiled
    ]


#: Classes for ``onnx.reference.ReferenceEvaluator(model, new_ops=new_ops)``.
new_ops: list[type[OpRun]] = _classes()
