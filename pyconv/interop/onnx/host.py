"""Whatever pyconv has no function for: single nodes on onnx.reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from .nodes import Node
from .oprun import new_ops

__all__ = ["HostNode"]


class HostNode:
    """A node that onnx.reference computes; the nodes of its graphs are pyconv's again where they can be."""

    def __init__(self, node: Node, opsets: Mapping[str, int]) -> None:
        self._names = dict.fromkeys(name for name in (*node.inputs, *node.captured) if name)
        self._outputs = [name for name in node.outputs if name]
        self._all = node.outputs
        self._opsets = dict(opsets)
        self._proto = onnx.NodeProto()
        self._proto.CopyFrom(node.proto)
        # the graph may have other names for its inputs by now
        del self._proto.input[:]
        self._proto.input.extend(node.inputs)
        self._evaluator: Any = None

    def _prepare(self, values: Mapping[str, Any]) -> Any:
        """Return an evaluator of this node for values of these types."""
        graph = onnx.GraphProto(name=self._proto.name or self._proto.op_type)
        graph.node.append(self._proto)
        for name in self._names:
            value = graph.input.add(name=name)
            found = values[name]
            if isinstance(found, np.ndarray) and found.dtype.kind != "O":
                value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(found.dtype)
                for size in found.shape:
                    value.type.tensor_type.shape.dim.add(dim_value=size)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._outputs)
        return ReferenceEvaluator(graph, opsets=self._opsets, new_ops=new_ops)

    def __call__(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the results, None for an output without a name."""
        if self._evaluator is None:
            self._evaluator = self._prepare(values)
        found = self._evaluator.run(self._outputs, {name: values[name] for name in self._names})
        named = dict(zip(self._outputs, found, strict=True))
        return tuple(named.get(name) for name in self._all)
