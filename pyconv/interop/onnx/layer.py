"""Layers whose weights are known: packed once, and called on whatever comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import linear, prepare
from ...algorithm import Array
from .nodes import Inputs, Node, NotTaken, evaluate, floats
from .windows import CONV, FUSED, TRANSPOSED, activated, conv_settings, conv_shape, transposed_settings

__all__ = ["Layer", "layer_of"]

#: What :func:`pyconv.prepare` returns.
Prepared = Callable[..., Array]


class Layer:
    """A convolution, transposed convolution, affine or linear node with constant weights.

    ``layer(inputs, out)`` computes it, with its weights packed; ``bind(inputs, out)`` returns a function that does so
    again and again, on the same arrays.
    """

    def __init__(self, node: Node, w: Array, bias: Array | None) -> None:
        self._node = node
        self._w, self._bias = w, bias
        self._prepared: dict[Any, Prepared] = {}

    def _call(self, x: Array) -> Prepared:
        """Return the prepared call for inputs like x."""
        node = self._node
        rank = x.ndim - 2
        if node.op_type == "Linear":
            key: Any = x.dtype
        elif rank not in CONV:
            raise NotTaken(f"{rank} spatial axes")
        elif node.op_type == "Affine":
            key = rank, x.dtype
        else:
            settings = (conv_settings if node.op_type == "Conv" else transposed_settings)(node, x, self._w)
            key = tuple(settings.values())
        found = self._prepared.get(key)
        if found is None:
            if node.op_type == "Linear":
                found = prepare(linear, self._w, self._bias)
            elif node.op_type == "Affine":
                w = self._w.astype(x.dtype).reshape(-1, 1, *(1,) * rank)
                bias = None if self._bias is None else self._bias.astype(x.dtype)
                found = prepare(CONV[rank], w, bias, groups=len(w), activation=node.get("activation"))
            else:
                functions = CONV if node.op_type == "Conv" else TRANSPOSED
                found = prepare(functions[rank], self._w, self._bias, **settings)
            self._prepared[key] = found
            if node.op_type != "Affine":
                # the prepared call has a copy, which is enough
                self._w, self._bias = found.arrays  # type: ignore[attr-defined]
        return found

    def __call__(self, inputs: Inputs, out: Array | None = None) -> Array:
        """Compute the node; the weights among the inputs are not looked at."""
        node, x = self._node, inputs[0]
        residual = inputs[3] if len(inputs) > 3 else None
        assert x is not None
        try:
            if residual is None or residual.shape == conv_shape(node, x, self._w):
                floats(x, *(() if node.op_type == "Affine" else (self._w,)))
                call = self._call(x)
                if node.op_type == "Linear":
                    y = call(x, out=out)
                    return activated(y, node.get("activation"), y)
                return call(x, out=out) if residual is None else call(x, out=out, residual=residual)
        except NotTaken:
            pass
        return evaluate(node, (x, self._w, self._bias, *inputs[3:]), out)[0]  # type: ignore[no-any-return]

    def bind(self, inputs: Inputs, out: Array) -> Callable[[], Any]:
        """Return a function that computes the node into ``out``, from these arrays, whenever it is called."""
        x = inputs[0]
        residual = inputs[3] if len(inputs) > 3 else None
        assert x is not None
        bound = getattr(self._call(x), "bind", None)
        broadcasts = residual is not None and not (residual.shape == out.shape == conv_shape(self._node, x, self._w))
        if bound is None or broadcasts:
            return lambda: np.copyto(out, y) if (y := self(inputs, out)) is not out else None
        found: Callable[[], Any] = bound(x, out) if residual is None else bound(x, out, residual)
        activation = self._node.get("activation")
        if self._node.op_type != "Linear" or activation is None:
            return found

        def both() -> None:
            found()
            activated(out, activation, out)

        return both


def layer_of(node: Node, constants: Mapping[str, Any]) -> Layer | None:
    """Return a node as a layer, where its weights are known."""
    if node.op_type not in ("Conv", "ConvTranspose", "Affine", "Linear") or node.domain not in ("", FUSED):
        return None
    if any(name and name not in constants for name in node.inputs[1:3]):
        return None
    w = constants[node.inputs[1]]
    bias = constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    if not isinstance(w, np.ndarray) or w.dtype.name not in ("float16", "float32", "float64"):
        return None
    if node.op_type == "ConvTranspose":
        # output padding that pyconv has no word for depends on no input
        extra = node.get("output_padding") or []
        if node.get("output_shape") is not None or any(extra):
            return None
    return Layer(node, w, bias)
