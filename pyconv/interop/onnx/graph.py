"""ONNX models as lists of nodes, with what does not depend on the inputs computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from .host import HostNode
from .nodes import OPERATORS, Node, NotTaken, evaluate

__all__ = ["Graph", "ValueType", "fold_constants", "load", "run_node"]

#: What gives another result each time.
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
#: Constants larger than this are made in each run, unless they are smaller than what they are made of.
_MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a model says of an input or output: name, NumPy's type, lengths with None or a word where they are open."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None

    @classmethod
    def of(cls, value: Any) -> ValueType:
        """Return what a ValueInfoProto says."""
        tensor = value.type.tensor_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else None
        if not tensor.HasField("shape"):
            return cls(value.name, dtype, None)
        dims = tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None
            for d in tensor.shape.dim
        )
        return cls(value.name, dtype, dims)


@dataclass(slots=True)
class Graph:
    """A model's main graph: its nodes in an order in which they can run, and the values that are known."""

    nodes: list[Node]
    constants: dict[str, Any]
    inputs: list[ValueType]
    outputs: list[ValueType]
    opsets: dict[str, int]
    #: Constants that only packed layers use; their elements are the layers'.
    packed: set[str] = field(default_factory=set)

    def uses(self) -> Counter[str]:
        """Return how often each value is used, as an output of the graph too."""
        found = Counter(name for node in self.nodes for name in (*node.inputs, *node.captured))
        found.update(value.name for value in self.outputs)
        return found


def load(model: Any) -> Graph:
    """Read a model: a path, the bytes of a file, or an onnx.ModelProto; its functions are written out.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    try:
        if isinstance(model, bytes):
            proto = onnx.load_model_from_string(model)
        elif isinstance(model, (str, Path)):
            proto = onnx.load(str(model))
        else:
            proto = model
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        graph = proto.graph
    except Exception as error:
        # onnx raises its parser's own errors, which have no common base but this
        what = f"{len(model)} bytes" if isinstance(model, bytes) else model
        raise ValueError(f"{str(what)[:200]} is no ONNX model that can be read: {error}") from error
    opsets = {entry.domain: entry.version for entry in proto.opset_import} or {"": 1}
    opsets.setdefault("", opsets.get("ai.onnx", onnx.defs.onnx_opset_version()))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return Graph(
        [Node.of(node, opsets) for node in graph.node],
        constants,
        [ValueType.of(value) for value in graph.input if value.name not in constants],
        [ValueType.of(value) for value in graph.output],
        opsets,
    )


def _array(value: Any) -> Any:
    """Return NumPy's scalars as arrays without axes."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def run_node(node: Node, values: Mapping[str, Any], hosts: dict[int, HostNode], opsets: Mapping[str, int]) -> Any:
    """Return a node's results: pyconv's, or else onnx.reference's."""
    inputs = tuple(values[name] if name else None for name in node.inputs)
    if (node.domain, node.op_type) in OPERATORS:
        try:
            return tuple(map(_array, evaluate(node, inputs)))
        except NotTaken:
            if node.proto is None:
                raise
    key = id(node)
    if key not in hosts:
        hosts[key] = HostNode(node, opsets)
    return tuple(map(_array, hosts[key](values)))


def _branch(node: Node, condition: Any) -> tuple[list[Any], list[Any], list[str]]:
    """Return the nodes, initializers and outputs of the branch of an If that is taken."""
    word = "then_branch" if bool(np.asarray(condition).reshape(-1)[0]) else "else_branch"
    graph = next(attribute.g for attribute in node.proto.attribute if attribute.name == word)
    return list(graph.node), list(graph.initializer), [value.name for value in graph.output]


def fold_constants(graph: Graph) -> None:
    """Compute what does not depend on the inputs, and leave out what does nothing.

    Nodes whose inputs are all known are run; an If whose condition is known becomes its branch; Identity and Dropout
    become other names for their inputs; what nobody uses goes.
    """
    constants, hosts = graph.constants, dict[int, HostNode]()
    final = {value.name for value in graph.outputs}
    same: dict[str, str] = {}
    used = graph.uses()
    todo, kept = list(reversed(graph.nodes)), []
    while todo:
        node = todo.pop()
        if any(name in same for name in node.inputs):
            node = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        if node.op_type == "If" and node.inputs[0] in constants and node.proto is not None:
            nodes, initializers, names = _branch(node, constants[node.inputs[0]])
            constants |= {tensor.name: numpy_helper.to_array(tensor) for tensor in initializers}
            pairs = list(zip(names, node.outputs, strict=True))
            branch = [Node.of(proto, graph.opsets) for proto in nodes]
            used.update(name for inner in branch for name in (*inner.inputs, *inner.captured))
            used.update(names)
            ends = [_identity(graph, inner, outer) for inner, outer in pairs if outer]
            todo += reversed([*branch, *ends])
            continue
        known = all(name in constants for name in (*node.inputs, *node.captured) if name)
        if known and node.op_type not in _RANDOM:
            results = run_node(node, constants, hosts, graph.opsets)
            size = sum(getattr(result, "nbytes", 0) for result in results)
            if size <= max(_MOST_BYTES, sum(getattr(constants[name], "nbytes", 0) for name in node.inputs if name)) or (
                node.op_type in ("Constant", "ConstantOfShape")
            ):
                constants |= dict(zip(node.outputs, results, strict=False))
                continue
        silent = node.op_type == "Identity" or (
            node.op_type == "Dropout"
            and not any(used[name] for name in node.outputs[1:])
            and (len(node.inputs) < 3 or _is_false(node, constants))
        )
        if silent and node.outputs[0] not in final:
            same[node.outputs[0]] = node.inputs[0]
            continue
        kept.append(node)
    graph.nodes = kept
    # a graph inside a node cannot be told of new names
    for name in {name for node in kept for name in node.captured if name in same}:
        first = next(i for i, node in enumerate(kept) if name in node.captured)
        kept.insert(first, _identity(graph, same[name], name))
    drop_unused(graph)


def _identity(graph: Graph, source: str, name: str) -> Node:
    """Return a node that gives a value another name."""
    return Node.of(onnx.helper.make_node("Identity", [source], [name]), graph.opsets)


def _is_false(node: Node, constants: Mapping[str, Any]) -> bool:
    """Whether a Dropout is known not to train."""
    flag = node.inputs[2]
    return not flag or (flag in constants and not bool(constants[flag]))


def drop_unused(graph: Graph) -> None:
    """Leave out nodes and constants that no output depends on."""
    needed = {value.name for value in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if any(name in needed for name in node.outputs):
            needed.update(name for name in (*node.inputs, *node.captured) if name)
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.constants = {name: value for name, value in graph.constants.items() if name in needed}
