"""Nodes of ONNX graphs as Python sees them, and the table of functions that compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from ...algorithm import Array

__all__ = [
    "OPERATORS",
    "Call",
    "Function",
    "Node",
    "NotTaken",
    "Operator",
    "attributes_of",
    "evaluate",
    "floats",
    "operator",
]

#: Inputs of a node, None for one that is left out.
Inputs = tuple[Array | None, ...]
#: (node, inputs, where the first result may be put) -> results, or the Call that makes the one result. A function may
#: leave ``out`` alone and return another array.
Function = Callable[["Node", Inputs, Array | None], Any]


class NotTaken(Exception):
    """A form of an operator that pyconv has no kernel for, a type or a number of axes: onnx.reference computes it."""


@dataclass(slots=True)
class Node:
    """A node with the attributes that its operator set gives it, defaults included.

    Attributes
    ----------
    op_type, domain : str
    opset : int
        Version of the operator set that the model imports for this domain.
    attributes : dict
        Strings decoded, tensors as arrays; graphs are left out.
    inputs, outputs : tuple of str
        Names of values, "" for one that is left out.
    proto : onnx.NodeProto or None
        None for a node that was made by a fusion.
    captured : tuple of str
        Values that the node's graphs take from around it.
    """

    op_type: str
    domain: str
    opset: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    name: str = ""
    proto: Any = None
    captured: tuple[str, ...] = ()

    @classmethod
    def of(cls, proto: Any, opsets: Mapping[str, int]) -> Node:
        """Return a node of a model that imports these operator sets."""
        opset = opsets.get(proto.domain, 1)
        return cls(
            proto.op_type, proto.domain, opset, attributes_of(proto, opset), tuple(proto.input), tuple(proto.output),
            proto.name or (proto.output[0] if proto.output else proto.op_type), proto, _captured(proto),
        )  # fmt: skip

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default where neither the node nor its schema has it."""
        found = self.attributes.get(name)
        return default if found is None else found

    def wants(self, index: int) -> bool:
        """Whether anybody asks for an output."""
        return index < len(self.outputs) and bool(self.outputs[index])


def _graphs(proto: Any) -> Iterator[Any]:
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _captured(proto: Any) -> tuple[str, ...]:
    """Return the names that a node's graphs use and do not make."""
    names: dict[str, None] = {}
    for graph in _graphs(proto):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        for node in graph.node:
            used = dict.fromkeys((*node.input, *_captured(node)))
            names |= {name: None for name in used if name and name not in own}
            own.update(node.output)
        names |= {value.name: None for value in graph.output if value.name not in own}
    return tuple(names)


def _value(attribute: Any) -> Any:
    """Return an attribute's value; None for a graph or a reference to a function's attribute."""
    kinds = onnx.AttributeProto
    if attribute.ref_attr_name or attribute.type in (kinds.GRAPH, kinds.GRAPHS):
        return None
    if attribute.type == kinds.TENSOR:
        return numpy_helper.to_array(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type == kinds.STRINGS:
        return [text.decode("utf-8", "replace") for text in value]
    if attribute.type in (kinds.INTS, kinds.FLOATS):
        return list(value)
    return value


@cache
def _defaults(op_type: str, domain: str, opset: int) -> dict[str, Any]:
    """Return the attributes that an operator has without being given them."""
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return {}
    found = {}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            found[name] = _value(attribute.default_value)
    return found


def attributes_of(proto: Any, opset: int) -> dict[str, Any]:
    """Return the attributes of a node, with the defaults of its operator set."""
    given = {attribute.name: _value(attribute) for attribute in proto.attribute}
    return _defaults(proto.op_type, proto.domain, opset) | given


class Call(NamedTuple):
    """What a function of the table returns instead of a result: the one call that makes it, and takes ``out``."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def run(self, out: Array | None) -> Any:
        """Make the call."""
        return self.function(*self.arguments, **self.settings, out=out)


class Operator(NamedTuple):
    """What computes an operator, and whether pyconv's kernels do."""

    function: Function
    compiled: bool


#: By domain and name. What is not here is onnx.reference's to compute.
OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(*names: str, compiled: bool = True, domain: str = "") -> Callable[[Function], Function]:
    """Enter a function into the table; ``compiled`` says that it runs on pyconv's kernels, not on NumPy alone."""

    def enter(function: Function) -> Function:
        for name in names:
            OPERATORS[domain, name] = Operator(function, compiled)
        return function

    return enter


def floats(*arrays: Array | None) -> np.dtype[Any]:
    """Return the one dtype of arrays that kernels for floats take; others are not taken."""
    found: set[np.dtype[Any]] = {array.dtype for array in arrays if array is not None}
    if len(found) != 1 or next(iter(found)).name not in ("float16", "float32", "float64"):
        raise NotTaken(f"arrays of {', '.join(sorted(dtype.name for dtype in found))}")
    return found.pop()


def evaluate(node: Node, inputs: Inputs, out: Array | None = None) -> tuple[Any, ...]:
    """Return a node's results, in the order of its outputs.

    Raises
    ------
    NotTaken
        If the operator is not in the table, or not in this form.
    """
    entry = OPERATORS.get((node.domain, node.op_type))
    if entry is None:
        raise NotTaken(f"{node.op_type} is not in the table")
    results = entry.function(node, inputs, out)
    if isinstance(results, Call):
        return (results.run(out),)
    return results if isinstance(results, tuple) else (results,)
