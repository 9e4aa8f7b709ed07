"""What can be said of a network before its inputs' sizes are known: layers that are one pass over memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np

from ...algorithm import Array
from .graph import Graph, drop_unused
from .nodes import Node
from .windows import FUSED

__all__ = ["fuse"]

_CONVOLUTIONS = ("Conv", "ConvTranspose")
#: Operators whose result has the number of axes of their first input.
_SAME_RANK = {
    "Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "HardSwish", "Swish", "Clip", "MaxPool", "AveragePool", "LpPool",
    "LRN", "BatchNormalization", "InstanceNormalization", "Concat", "GlobalAveragePool", "GlobalMaxPool", "Dropout",
    "Identity", "Affine", "Softmax", "Pad", "Upsample", "Resize", "MaxUnpool", "Transpose", "Slice", "Split", "Cast",
}  # fmt: skip
#: Output channels from which on a strided convolution of one tap is worth a copy of its input.
_WORTH_A_COPY = 128
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Pow"}


def fuse(graph: Graph) -> None:
    """Fold batch normalisations into convolutions, and biases, sums and activations into their last pass."""
    _name_activations(graph)
    _pads(graph)
    _linear(graph)
    _affine(graph)
    _epilogues(graph)
    _strided(graph)
    drop_unused(graph)


def _strided(graph: Graph) -> None:
    """Let dense convolutions of one tap and a stride read the pixels that they need in one piece.

    Such a layer spends more on gathering every s-th pixel for each block of output channels than one copy costs.
    """
    nodes = []
    for node in graph.nodes:
        w = graph.constants.get(node.inputs[1]) if node.op_type == "Conv" else None
        strides = node.get("strides") or []
        if (
            not _is_float(w)
            or max(strides, default=1) == 1
            or any(size != 1 for size in w.shape[2:])
            or any(node.get("pads") or [])
            or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
            or node.get("group", 1) != 1
            or w.shape[0] < _WORTH_A_COPY
        ):
            nodes.append(node)
            continue
        kept = f"{node.outputs[0]}:kept"
        nodes.append(Node("Subsample", FUSED, node.opset, {"strides": strides}, node.inputs[:1], (kept,), kept))
        settings = node.attributes | {"strides": [1] * len(strides)}
        nodes.append(replace(node, domain=FUSED, attributes=settings, inputs=(kept, *node.inputs[1:])))
    graph.nodes = nodes


def _ranks(graph: Graph) -> dict[str, int]:
    """Return the number of axes of the values of which it can be said."""
    ranks = {name: np.ndim(value) for name, value in graph.constants.items()}
    ranks |= {value.name: len(value.shape) for value in graph.inputs if value.shape is not None}
    for node in graph.nodes:
        found: int | None = None
        if node.op_type in _CONVOLUTIONS:
            found = ranks.get(node.inputs[1])
        elif node.op_type in _SAME_RANK:
            found = ranks.get(node.inputs[0])
        elif node.op_type in _ELEMENTWISE and all(name in ranks for name in node.inputs):
            found = max(ranks[name] for name in node.inputs)
        if found is not None:
            ranks |= dict.fromkeys(filter(None, node.outputs), found)
    return ranks


def _producers(graph: Graph) -> dict[str, int]:
    return {name: i for i, node in enumerate(graph.nodes) for name in node.outputs if name}


def _scalar(graph: Graph, name: str) -> float | None:
    """Return a constant of one element as a number."""
    value = graph.constants.get(name)
    return float(value.reshape(-1)[0]) if isinstance(value, np.ndarray) and value.size == 1 else None


def _other(node: Node, name: str) -> str:
    """Return the input of a binary operator that is not this one."""
    return node.inputs[1] if node.inputs[0] == name else node.inputs[0]


def _name_activations(graph: Graph) -> None:
    """Give activations that are written in several nodes their names: x sigmoid(x), x hard_sigmoid(x)."""
    uses, makers = graph.uses(), _producers(graph)
    for i, node in enumerate(graph.nodes):
        if node.op_type != "Mul" or len(node.inputs) != 2:
            continue
        for name in node.inputs:
            maker = graph.nodes[makers[name]] if name in makers else None
            if maker is None or uses[name] != 1 or maker.inputs[0] != _other(node, name):
                continue
            hard = maker.op_type == "HardSigmoid" and np.allclose(
                (maker.get("alpha", 0.2), maker.get("beta", 0.5)), (1 / 6, 0.5), rtol=1e-6
            )
            if maker.op_type == "Sigmoid" or hard:
                word = "HardSwish" if hard else "Swish"
                graph.nodes[i] = Node(word, "", node.opset, {}, maker.inputs, node.outputs, node.name)
                break
    drop_unused(graph)


_PAD_MODES = {"constant": "zeros", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pads(graph: Graph) -> None:
    """Let a convolution pad while it loads, instead of a Pad before it."""
    uses, makers = graph.uses(), _producers(graph)
    for i, node in enumerate(graph.nodes):
        if node.op_type != "Conv" or node.domain or node.get("auto_pad", "NOTSET") != "NOTSET":
            continue
        if not _is_float(graph.constants.get(node.inputs[1])):
            continue
        maker = graph.nodes[makers[node.inputs[0]]] if node.inputs[0] in makers else None
        if maker is None or maker.op_type != "Pad" or uses[node.inputs[0]] != 1 or len(maker.inputs) > 3:
            continue
        pads = maker.get("pads") if len(maker.inputs) < 2 else graph.constants.get(maker.inputs[1])
        mode = _PAD_MODES.get(maker.get("mode", "constant"))
        fill = maker.get("value", 0.0)
        if len(maker.inputs) > 2 and maker.inputs[2]:
            fill = _scalar(graph, maker.inputs[2])
        if pads is None or mode is None or (mode == "zeros" and fill != 0):
            continue
        flat = [int(value) for value in np.asarray(pads).reshape(-1)]
        rank = len(flat) // 2
        before, after = flat[:rank], flat[rank:]
        own = list(node.get("pads") or [0] * (2 * (rank - 2)))
        if rank < 3 or any((*before[:2], *after[:2])) or min(flat) < 0 or (mode != "zeros" and any(own)):
            continue
        total = [a + b for a, b in zip(own, (*before[2:], *after[2:]), strict=True)]
        graph.nodes[i] = replace(
            node, domain=FUSED, attributes=node.attributes | {"pads": total, "padding_mode": mode},
            inputs=(maker.inputs[0], *node.inputs[1:]),
        )  # fmt: skip
    drop_unused(graph)


def _linear(graph: Graph) -> None:
    """Turn matrix products with known weights, and the bias that is added to them, into linear layers."""
    constants, uses, makers = graph.constants, graph.uses(), _producers(graph)
    for i, node in enumerate(graph.nodes):
        if node.domain or node.op_type not in ("Gemm", "MatMul"):
            continue
        w = constants.get(node.inputs[1])
        if not _is_float(w) or w.ndim != 2 or node.get("transA", 0):
            continue
        bias = constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        if len(node.inputs) > 2 and node.inputs[2]:
            c_out = w.shape[0 if node.get("transB", 0) else 1]
            if bias is None or bias.dtype != w.dtype or bias.shape not in ((c_out,), (1, c_out)):
                continue
        names = [f"{node.outputs[0]}:w"]
        constants[names[0]] = _scaled(w if node.get("transB", 0) else w.T, float(node.get("alpha", 1.0)))
        if bias is not None:
            names.append(f"{node.outputs[0]}:bias")
            constants[names[1]] = _scaled(bias.reshape(-1), float(node.get("beta", 1.0)))
        graph.nodes[i] = Node("Linear", FUSED, node.opset, {}, (node.inputs[0], *names), node.outputs, node.name)
    for i, node in enumerate(graph.nodes):
        if node.domain or node.op_type != "Add":
            continue
        for name in node.inputs:
            maker = graph.nodes[makers[name]] if name in makers and uses[name] == 1 else None
            bias = constants.get(_other(node, name))
            if maker is None or maker.op_type != "Linear" or len(maker.inputs) > 2 or not _is_float(bias):
                continue
            w = constants[maker.inputs[1]]
            if bias.ndim == 1 and bias.shape == w.shape[:1] and bias.dtype == w.dtype:
                inputs = (*maker.inputs, _other(node, name))
                graph.nodes[i] = replace(maker, inputs=inputs, outputs=node.outputs)
                graph.nodes[makers[name]] = Node("Nothing", FUSED)
                break
    graph.nodes = [node for node in graph.nodes if node.op_type != "Nothing"]
    drop_unused(graph)


def _scaled(values: Array, factor: float) -> Array:
    return values if factor == 1.0 else values * values.dtype.type(factor)


def _is_float(value: Any) -> TypeGuard[Array]:
    """Whether a value is a constant of a type that kernels take."""
    return isinstance(value, np.ndarray) and value.dtype.name in ("float16", "float32", "float64")


def _per_channel(value: Any, rank: int | None) -> Array | None:
    """Return a constant that a tensor of so many axes is combined with as one number a channel; None if it is not."""
    if not _is_float(value) or rank is None or value.ndim > rank:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    return value.reshape(-1) if all(size == 1 for axis, size in enumerate(shape) if axis != 1) else None


def _as_affine(graph: Graph, node: Node, ranks: dict[str, int]) -> tuple[str, Array, Array] | None:
    """Return (x, scale, shift) of a node that is x scale + shift, one number a channel, in float64."""
    constants = graph.constants
    if node.op_type == "BatchNormalization":
        if node.wants(1) or any(name not in constants for name in node.inputs[1:]):
            return None
        trains = node.get("training_mode", 0) if node.opset >= 14 else node.opset < 7 and not node.get("is_test", 0)
        if trains or not node.get("spatial", 1) or not all(_is_float(constants[name]) for name in node.inputs[1:]):
            return None
        weight, bias, mean, var = (constants[name].astype(np.float64) for name in node.inputs[1:])
        scale = weight / np.sqrt(var + float(node.get("epsilon", 1e-5)))
        return node.inputs[0], scale, bias - mean * scale
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or node.opset < 7:
        return None
    names = [name for name in node.inputs if name not in constants]
    if len(names) != 1 or (node.op_type in ("Sub", "Div") and names[0] != node.inputs[0]):
        return None
    value = _per_channel(constants[_other(node, names[0])], ranks.get(names[0]))
    if value is None:
        return None
    number = value.astype(np.float64)
    one, zero = np.ones_like(number), np.zeros_like(number)
    with np.errstate(divide="ignore"):
        scale, shift = {
            "Add": (one, number), "Sub": (one, -number), "Mul": (number, zero), "Div": (one / number, zero),
        }[node.op_type]  # fmt: skip
    return names[0], scale, shift


def _affine(graph: Graph) -> None:
    """Join normalisations and constants of each channel, and fold them into the convolution before them."""
    ranks, uses, makers = _ranks(graph), graph.uses(), _producers(graph)
    for i, node in enumerate(graph.nodes):
        found = _as_affine(graph, node, ranks)
        if found is None or not np.isfinite(found[1]).all():
            continue
        x, scale, shift = found
        before = graph.nodes[makers[x]] if x in makers and uses[x] == 1 else None
        if before is not None and before.op_type in _CONVOLUTIONS and _folded(graph, before, scale, shift, node, i):
            # the convolution stands where the last of its chain stood
            graph.nodes[makers[x]] = Node("Nothing", FUSED)
            continue
        if before is not None and before.op_type == "Affine" and scale.size in (1, before.attributes["scale"].size):
            old_scale, old_shift = before.attributes["scale"], before.attributes["shift"]
            graph.nodes[makers[x]] = Node("Nothing", FUSED)
            x, scale, shift = before.inputs[0], old_scale * scale, old_shift * scale + shift
        elif node.op_type != "BatchNormalization":
            # it may have more channels than x
            continue
        graph.nodes[i] = Node(
            "Affine", FUSED, node.opset, {"scale": scale, "shift": shift}, (x,), node.outputs[:1], node.name
        )
    graph.nodes = [node for node in graph.nodes if node.op_type != "Nothing"]
    for node in graph.nodes:
        if node.op_type == "Affine":
            _settle(graph, node)


def _settle(graph: Graph, node: Node) -> None:
    """Make the numbers of an affine node constants of the graph: weights and bias of a convolution of one tap."""
    for word in ("scale", "shift"):
        name = f"{node.outputs[0]}:{word}"
        graph.constants[name] = node.attributes.pop(word)
        node.inputs = (*node.inputs, name)


def _folded(graph: Graph, before: Node, scale: Array, shift: Array, node: Node, i: int) -> bool:
    """Put a convolution with scaled weights in the place of node i; False where its weights are not known."""
    constants = graph.constants
    w_name = before.inputs[1]
    b_name = before.inputs[2] if len(before.inputs) > 2 else ""
    if w_name not in constants or (b_name and b_name not in constants) or before.get("activation"):
        return False
    w = constants[w_name]
    if not _is_float(w) or not 3 <= w.ndim <= 5:
        return False
    groups = before.get("group", 1)
    c_out = w.shape[0] if before.op_type == "Conv" else w.shape[1] * groups
    if scale.size not in (1, c_out):
        return False
    scale, shift = np.broadcast_to(scale, c_out), np.broadcast_to(shift, c_out)
    if before.op_type == "Conv":
        scaled = w * scale.reshape(-1, *(1,) * (w.ndim - 1))
    else:
        # (c_in, c_out / groups, *kernel): each group of c_in has c_out channels of its own
        by_group = w.reshape(groups, -1, *w.shape[1:]) * scale.reshape(groups, 1, -1, *(1,) * (w.ndim - 2))
        scaled = by_group.reshape(w.shape)
    bias = constants[b_name].astype(np.float64) if b_name else np.zeros(c_out)
    names = f"{node.outputs[0]}:w", f"{node.outputs[0]}:bias"
    constants[names[0]] = scaled.astype(w.dtype)
    constants[names[1]] = (bias * scale + shift).astype(w.dtype)
    graph.nodes[i] = replace(
        before, domain=FUSED, inputs=(before.inputs[0], *names), outputs=node.outputs[:1], name=before.name
    )
    return True


def _activation(graph: Graph, node: Node) -> Any:
    """Return pyconv's word for an activation, or None."""
    word = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish"}.get(node.op_type)
    if word is not None:
        return word
    if node.op_type == "Swish":
        return "silu" if float(node.get("alpha", 1.0)) == 1.0 else None
    if node.op_type == "LeakyRelu":
        return "leaky_relu", float(node.get("alpha", 0.01))
    if node.op_type == "Elu":
        return "elu", float(node.get("alpha", 1.0))
    if node.op_type == "Clip":
        low, high = node.get("min"), node.get("max")
        if node.opset >= 11:
            low, high = (
                _scalar(graph, node.inputs[i]) if len(node.inputs) > i and node.inputs[i] else None for i in (1, 2)
            )
        return "relu6" if low == 0 and high == 6 else None
    return None


def _fusable(graph: Graph, node: Node) -> bool:
    """Whether a node's last pass may take an activation."""
    if node.get("activation") or node.op_type not in (*_CONVOLUTIONS, "Affine", "Linear"):
        return False
    w = graph.constants.get(node.inputs[1])
    return _is_float(w) and (node.op_type not in _CONVOLUTIONS or 3 <= w.ndim <= 5)


def _epilogues(graph: Graph) -> None:
    """Let convolutions add residuals and apply activations in their last pass."""
    uses = graph.uses()
    makers: dict[str, int] = {}
    nodes: list[Node | None] = []

    def maker(name: str) -> Node | None:
        found = nodes[makers[name]] if name in makers and uses[name] == 1 else None
        return found if found is not None and _fusable(graph, found) else None

    for node in graph.nodes:
        made: Node = node
        word = _activation(graph, node)
        before = maker(node.inputs[0]) if node.inputs else None
        if word is not None and before is not None:
            made = replace(
                before, domain=FUSED, attributes=before.attributes | {"activation": word}, outputs=node.outputs
            )
            nodes[makers[node.inputs[0]]] = None
        elif node.op_type in ("Add", "Sum") and len(node.inputs) == 2 and node.inputs[0] != node.inputs[1]:
            for name in _latest_first(node.inputs, makers):
                conv, other = maker(name), _other(node, name)
                if conv is None or conv.op_type != "Conv" or len(conv.inputs) > 3 or other in graph.constants:
                    continue
                inputs = (*conv.inputs, *("",) * (3 - len(conv.inputs)), other)
                made = replace(conv, domain=FUSED, inputs=inputs, outputs=node.outputs)
                nodes[makers[name]] = None
                break
        makers |= dict.fromkeys(filter(None, made.outputs), len(nodes))
        nodes.append(made)
    graph.nodes = [node for node in nodes if node is not None]


def _latest_first(names: tuple[str, ...], makers: dict[str, int]) -> Iterator[str]:
    key: Callable[[str], int] = lambda name: makers.get(name, -1)  # noqa: E731
    return iter(sorted(names, key=key, reverse=True))
