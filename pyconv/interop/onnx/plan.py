"""A run that is planned for one combination of input shapes: steps on fixed memory.

The first run is traced: every node is computed, and its results say what their shapes are. A value is *fixed* when its
shape depends on those of the inputs alone, and *known* when its elements do too (what Shape says, and what is made of
it). Fixed values get memory of their own, planned so that values which are not needed at the same time share it; views
of them are made once. A Concat whose parts are made by other nodes is no step at all: the parts are written to where
they belong. What depends on data, as the boxes that are left by a suppression, is computed anew in each run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...algorithm import Array
from ...prepare import bind
from .graph import Graph, run_node
from .host import HostNode
from .layer import Layer
from .nodes import OPERATORS, Call, Node, evaluate
from .profile import Profile
from .windows import FUSED

__all__ = ["Plan", "trace"]

#: Inputs whose elements say how large the result is; of other nodes in the table only the shapes of inputs do.
_SIZES = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Resize": (1, 2, 3), "Upsample": (1,),
    "ConstantOfShape": (0,), "Pad": (1, 3), "Range": (0, 1, 2), "Split": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
    "MaxUnpool": (2,), "Col2Im": (1, 2), "AffineGrid": (1,), "TopK": (1,), **{f"Reduce{word}": (1,) for word in
    ("Mean", "Sum", "Max", "Min", "Prod")},
}  # fmt: skip
#: Nodes in the table whose result's size depends on elements.
_OPEN = {"NonMaxSuppression"}
#: Nodes whose results are views of their first input, where its memory allows it.
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Identity", "Dropout"}
_RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
#: Bytes that the start of a buffer is a multiple of.
_ALIGNMENT = 64


class _Fixed(NamedTuple):
    """A value whose shape is known before the run."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Once:
    """A step that may find out, when it first runs, how it is done from then on."""

    def __init__(self, first: Callable[[], Callable[[], Any] | None]) -> None:
        self._first = first
        self._then: Callable[[], Any] | None = None

    def __call__(self) -> None:
        if self._then is not None:
            self._then()
            return
        self._then = self._first()
        if self._then is not None:
            self._then()


class _Step(NamedTuple):
    """What is done for a node: a function without arguments, and what a profile says of it."""

    call: Callable[[], Any]
    op: str
    name: str
    shape: tuple[int, ...]


def trace(
    graph: Graph, layers: Mapping[int, Layer], hosts: dict[int, HostNode], feeds: Mapping[str, Any]
) -> tuple[Plan, dict[str, Any]]:
    """Run a network once; return the plan for runs with inputs of these shapes, and the outputs."""
    values: dict[str, Any] = dict(graph.constants) | dict(feeds)
    fixed = {name: _Fixed(v.shape, v.dtype) for name, v in values.items() if _is_plain(v)}
    known = dict(graph.constants)
    last = {name: i for i, node in enumerate(graph.nodes) for name in (*node.inputs, *node.captured)}
    wanted = {value.name for value in graph.outputs}
    open_nodes = set()
    for i, node in enumerate(graph.nodes):
        results, by_host = _compute(node, values, layers, hosts, graph)
        named = {name: result for name, result in zip(node.outputs, results, strict=False) if name}
        values |= named
        shapes_alone = node.op_type in ("Shape", "Size") and node.inputs[0] in fixed
        if not by_host and (shapes_alone or all(name in known for name in node.inputs if name)):
            known |= named
        if by_host or not _is_fixed(node, fixed, known, graph.packed) or not all(map(_is_plain, named.values())):
            open_nodes.add(i)
        else:
            fixed |= {name: _Fixed(v.shape, v.dtype) for name, v in named.items()}
        for name in {*node.inputs, *node.captured, *node.outputs}:
            if last.get(name, -1) <= i and name not in wanted:
                values.pop(name, None)
    outputs = {}
    for value in graph.outputs:
        found = values[value.name]
        outputs[value.name] = found.copy() if isinstance(found, np.ndarray) else found
    return Plan(graph, layers, hosts, fixed, known, open_nodes, feeds), outputs


def _is_plain(value: Any) -> bool:
    """Whether a value may lie in planned memory: an array of anything but objects, as strings are."""
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _compute(
    node: Node, values: Mapping[str, Any], layers: Mapping[int, Layer], hosts: dict[int, HostNode], graph: Graph
) -> tuple[tuple[Any, ...], bool]:
    """Return a node's results, and whether onnx.reference made them."""
    layer = layers.get(id(node))
    if layer is not None:
        return (layer(tuple(map(values.get, node.inputs))),), False
    results = run_node(node, values, hosts, graph.opsets)
    return results, id(node) in hosts


def _is_fixed(node: Node, fixed: Mapping[str, _Fixed], known: Mapping[str, Any], packed: set[str]) -> bool:
    """Whether the shapes of a node's results depend on the shapes of the network's inputs alone."""
    if (node.domain, node.op_type) not in OPERATORS or node.op_type in _OPEN or node.captured:
        return False
    sizes = {node.inputs[i] for i in _SIZES.get(node.op_type, ()) if i < len(node.inputs) and node.inputs[i]}
    return sizes <= known.keys() and all(name in fixed or name in packed for name in node.inputs if name)


class Plan:
    """The steps of a run, and the memory that they work on."""

    def __init__(
        self,
        graph: Graph,
        layers: Mapping[int, Layer],
        hosts: dict[int, HostNode],
        fixed: Mapping[str, _Fixed],
        known: Mapping[str, Any],
        open_nodes: set[int],
        feeds: Mapping[str, Any],
    ) -> None:
        self._graph, self._layers, self._hosts = graph, layers, hosts
        self._nodes = [
            (i, node)
            for i, node in enumerate(graph.nodes)
            if i in open_nodes or not all(name in known for name in node.outputs if name)
        ]
        self._inputs = [name for name in feeds if name in fixed and name not in known]
        #: Every value that is there before a run; those of open nodes come and go.
        self._values: dict[str, Any] = dict(known)
        layout = _Layout(self._nodes, open_nodes, fixed, known, self._inputs)
        self._memory = layout.fill({value.name for value in graph.outputs}, self._values)
        self._open = [name for i, node in self._nodes if i in open_nodes for name in node.outputs if name]
        self._steps = [
            _Step(
                self._open_step(node) if i in open_nodes else self._fixed_step(node, layout),
                node.op_type if node.domain in ("", FUSED) else f"{node.domain}.{node.op_type}",
                node.name,
                fixed[node.outputs[0]].shape if node.outputs[0] in fixed else (),
            )
            for i, node in self._nodes
            if i in open_nodes or not layout.is_done(node)
        ]

    @property
    def bytes(self) -> int:
        """Bytes of the memory that all fixed values share."""
        return self._memory

    def run(self, feeds: Mapping[str, Any], wanted: Sequence[str], profile: Profile | None = None) -> list[Any]:
        """Run with inputs of the shapes that this was planned for."""
        values = self._values
        for name, array in feeds.items():
            if name in self._inputs:
                np.copyto(values[name], array)
            else:
                values[name] = array
        if profile is None:
            for step in self._steps:
                step.call()
        else:
            for step in self._steps:
                start = time.perf_counter()
                step.call()
                profile.add(step.op, step.name, step.shape, time.perf_counter() - start)
        results = [values[name].copy() if isinstance(values[name], np.ndarray) else values[name] for name in wanted]
        for name in self._open:
            values.pop(name, None)
        return results

    def _open_step(self, node: Node) -> Callable[[], Any]:
        values, layers, hosts, graph = self._values, self._layers, self._hosts, self._graph

        def step() -> None:
            results, _ = _compute(node, values, layers, hosts, graph)
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    values[name] = result

        return step

    def _fixed_step(self, node: Node, layout: _Layout) -> Callable[[], Any]:
        inputs = tuple(map(self._values.get, node.inputs))
        outs = [self._values[name] if name else None for name in node.outputs]
        layer = self._layers.get(id(node))
        if layer is not None:
            assert outs[0] is not None
            return layer.bind(inputs, outs[0])

        if node.op_type == "Concat":
            return self._copies(node, layout)

        if node.op_type in _RESHAPES and outs[0] is not None and outs[0].size:
            # what could be no view is a copy, in the order of the input's elements
            source = self._values[node.inputs[0]]
            target = outs[0].reshape(source.shape)
            if np.may_share_memory(target, outs[0]):
                return partial(np.copyto, target, source)
        entry = OPERATORS[node.domain, node.op_type]

        def step() -> Callable[[], Any] | None:
            results = entry.function(node, inputs, outs[0])
            if isinstance(results, Call):
                arrays = [a for a in results.arguments if isinstance(a, np.ndarray)]
                if outs[0] is not None and all(any(a is b for b in inputs) for a in arrays):
                    return bind(results.function, *results.arguments, out=outs[0], **results.settings)
                results = results.run(outs[0])
            for out, result in zip(outs, results if isinstance(results, tuple) else (results,), strict=False):
                if out is not None and result is not out:
                    np.copyto(out, result)
            return None

        return _Once(step)

    def _copies(self, node: Node, layout: _Layout) -> Callable[[], Any]:
        """Return a function that copies those parts of a Concat that are not made where it wants them."""
        whole, axis, pairs = self._values[node.outputs[0]], node.get("axis", 1), []
        offset = 0
        for name in node.inputs:
            part = self._values[name]
            window = [slice(None)] * whole.ndim
            window[axis] = slice(offset, offset + part.shape[axis])
            offset += part.shape[axis]
            if not layout.is_part(name, node.outputs[0]):
                pairs.append((whole[tuple(window)], part))

        def step() -> None:
            for target, part in pairs:
                np.copyto(target, part)

        return step


class _Layout:
    """Where each fixed value lies: in a buffer of its own, as a view of another value, or as a part of a Concat."""

    def __init__(
        self,
        nodes: Sequence[tuple[int, Node]],
        open_nodes: set[int],
        fixed: Mapping[str, _Fixed],
        known: Mapping[str, Any],
        inputs: Sequence[str],
    ) -> None:
        self._nodes, self._open, self._fixed = nodes, open_nodes, fixed
        self._inputs = inputs
        made = {name for i, node in nodes if i not in open_nodes for name in node.outputs if name}
        self._made = made - known.keys()
        self._parts = self._placed_parts()
        #: Arrays over memory that is never touched: they say which results can be views.
        self._shapes: dict[str, Array] = {}
        self._root_of: dict[str, str] = {}
        for name in (*inputs, *self._roots()):
            self._shapes[name] = np.empty(fixed[name].shape, fixed[name].dtype)
            self._root_of[name] = name
        self._views: set[str] = set()
        for name in self._parts:
            self._place(name)
        self._find_views(known)

    def _roots(self) -> list[str]:
        return [name for name in self._made if name not in self._parts]

    def _placed_parts(self) -> dict[str, tuple[str, int]]:
        """Return the values that are written where a Concat wants them: the Concat's value, and the first index."""
        placed: dict[str, tuple[str, int]] = {}
        makers = {name: node for i, node in self._nodes if i not in self._open for name in node.outputs if name}
        # the last Concat first, so that a part which is a Concat itself takes its own parts along
        for i, node in reversed(self._nodes):
            if node.op_type != "Concat" or i in self._open:
                continue
            axis, offset = node.get("axis", 1), 0
            for name in node.inputs:
                maker = makers.get(name)
                if (
                    maker is not None
                    and name in self._made
                    and name not in placed
                    and maker.op_type not in _VIEWS
                    and name in self._fixed
                    and self._fixed[name].dtype == self._fixed[node.outputs[0]].dtype
                    and list(node.inputs).count(name) == 1
                ):
                    placed[name] = node.outputs[0], offset
                offset += self._fixed[name].shape[axis]
        return placed

    def _place(self, name: str) -> None:
        """Make a part's array, after that of the Concat it belongs to."""
        if name in self._shapes:
            return
        whole, offset = self._parts[name]
        self._place(whole)
        axis = next(node.get("axis", 1) for _, node in self._nodes if whole in node.outputs)
        window = [slice(None)] * self._shapes[whole].ndim
        window[axis] = slice(offset, offset + self._fixed[name].shape[axis])
        self._shapes[name] = self._shapes[whole][tuple(window)]
        self._root_of[name] = self._root_of[whole]

    def _find_views(self, known: Mapping[str, Any]) -> None:
        for i, node in self._nodes:
            if i in self._open or node.op_type not in _VIEWS or node.inputs[0] not in self._shapes:
                continue
            source = self._shapes[node.inputs[0]]
            results = evaluate(node, (source, *(known.get(name) for name in node.inputs[1:])))
            if not all(np.may_share_memory(source, result) for result in results) or not source.size:
                continue
            for name, result in zip(node.outputs, results, strict=True):
                if name:
                    self._shapes[name] = result
                    self._root_of[name] = self._root_of[node.inputs[0]]
                    self._views.add(name)

    def is_part(self, name: str, whole: str) -> bool:
        """Whether a value is made where a Concat wants it."""
        return name in self._parts and self._parts[name][0] == whole

    def is_done(self, node: Node) -> bool:
        """Whether a node leaves nothing to do: its results are views, or its parts are in place."""
        if node.op_type == "Concat":
            return all(self.is_part(name, node.outputs[0]) for name in node.inputs)
        return all(name in self._views for name in node.outputs if name)

    def fill(self, wanted: set[str], values: dict[str, Any]) -> int:
        """Give every value its array; return the bytes of the memory under them."""
        first: dict[str, int] = dict.fromkeys(self._inputs, -1)
        last: dict[str, int] = {}
        for i, node in self._nodes:
            for name in (*node.inputs, *node.captured, *node.outputs):
                root = self._root_of.get(name)
                if root is not None:
                    first.setdefault(root, i)
                    last[root] = i
        end = len(self._graph_order())
        for name in (*wanted, *self._inputs):
            if name in self._root_of:
                last[self._root_of[name]] = end
        sizes = {root: max(1, self._shapes[root].nbytes) for root in first}
        offsets, total = _offsets({root: (first[root], last.get(root, end), sizes[root]) for root in first})
        memory = np.empty(total + _ALIGNMENT, np.uint8)
        start = -memory.__array_interface__["data"][0] % _ALIGNMENT
        for name, shape in self._shapes.items():
            root = self._root_of[name]
            if root not in offsets:
                continue
            delta = shape.__array_interface__["data"][0] - self._shapes[root].__array_interface__["data"][0]
            values[name] = np.ndarray(shape.shape, shape.dtype, memory, start + offsets[root] + delta, shape.strides)
        return total

    def _graph_order(self) -> range:
        return range(self._nodes[-1][0] + 1 if self._nodes else 0)


def _offsets(lives: Mapping[str, tuple[int, int, int]]) -> tuple[dict[str, int], int]:
    """Return where each buffer begins, and how much memory there is: the largest first, each as low as it goes.

    ``lives`` has (first step, last step, bytes) of each; two that live at the same time do not overlap.
    """
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[str, int] = {}
    for name, (first, last, size) in sorted(lives.items(), key=lambda item: -item[1][2]):
        rounded = math.ceil(size / _ALIGNMENT) * _ALIGNMENT
        at = 0
        for start, stop, other_first, other_last in sorted(placed):
            if other_first <= last and first <= other_last:
                if at + rounded <= start:
                    break
                at = max(at, stop)
        placed.append((at, at + rounded, first, last))
        offsets[name] = at
    return offsets, max((stop for _, stop, _, _ in placed), default=0)
