"""The problems in an ONNX model: every convolution, transposed convolution and pooling, to be tuned."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, shape_inference

from ...errors import InvalidProblem
from ...problem import DTYPES, ConvProblem, PoolProblem, Problem, TransposedProblem
from .nodes import Node
from .windows import transposed_window, window_of

__all__ = ["problems_of"]


def _fixed(model: Any, size: int) -> None:
    """Give every open axis of the inputs a length: 1 to the first axis, ``size`` to the others."""
    for given in model.graph.input:
        for axis, dim in enumerate(given.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                dim.dim_value = size if axis else 1


def _shapes(graph: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and NumPy's type of each array whose shape is known."""
    found = {t.name: (tuple(t.dims), helper.tensor_dtype_to_np_dtype(t.data_type).name) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        dims = [dim.dim_value for dim in kind.shape.dim]
        if kind.elem_type and dims and all(dims):
            found[value.name] = tuple(dims), helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return found


def _problem(node: Any, shapes: dict[str, tuple[tuple[int, ...], str]], opsets: dict[str, int]) -> Problem | None:
    """Return a node's problem; None where it has none here, or where a shape is not known."""
    known = [shapes.get(name) for name in node.input if name]
    if any(shape is None for shape in known[:1]) or node.output[0] not in shapes:
        return None
    (x, dtype), out = known[0], shapes[node.output[0]][0]  # type: ignore[misc]
    spatial, rank = tuple(x[2:]), len(x) - 2
    word = DTYPES.get(dtype)
    if rank not in (1, 2, 3) or word not in ("f16", "f32", "f64"):
        return None
    found = Node.of(node, opsets)
    weights = node.op_type in ("Conv", "ConvTranspose")
    if weights and known[1] is None:
        return None
    kernel = tuple(known[1][0][2:]) if weights else None  # type: ignore[index]
    groups, bias = found.get("group", 1), len(known) > 2
    if node.op_type == "ConvTranspose":
        window, extra = transposed_window(found.attributes, found.opset, spatial, kernel or ())
        return TransposedProblem(
            x[0], x[1], out[1], spatial, window.kernel, window.stride, window.pads, extra, window.dilation, groups,
            dtype=word, bias=bias,
        )  # fmt: skip
    window = window_of(found.attributes, spatial, kernel)
    if node.op_type == "Conv":
        return ConvProblem(
            x[0], x[1], out[1], spatial, window.kernel, window.stride, window.pads, window.dilation, groups, dtype=word,
            bias=bias,
        )  # fmt: skip
    return PoolProblem(
        "max" if node.op_type == "MaxPool" else "avg", x[0], x[1], spatial, window.kernel, window.stride, window.pads,
        window.dilation, ceil_mode=bool(found.get("ceil_mode", 0)), dtype=word,
    )  # fmt: skip


def problems_of(model: str | Path | Any, size: int = 224) -> list[Problem]:
    """Return the different problems of a model, in the order of its nodes.

    Parameters
    ----------
    model : path or onnx.ModelProto
    size : int
        Length of every open axis of the inputs but the first, which is taken to be the batch, of 1.

    Raises
    ------
    ValueError
        If the model cannot be read.
    """
    try:
        loaded = onnx.ModelProto()
        if isinstance(model, (str, Path)):
            loaded = onnx.load(str(model))
        else:
            loaded.CopyFrom(model)
        _fixed(loaded, size)
        inferred = shape_inference.infer_shapes(loaded, strict_mode=False)
    except Exception as error:
        # onnx raises its parser's own errors, which have no common base but this
        raise ValueError(f"{model} is no ONNX model that can be read: {error}") from error
    shapes = _shapes(inferred.graph)
    opsets = {entry.domain: entry.version for entry in inferred.opset_import}
    wanted = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
    found: dict[Problem, None] = {}
    for node in inferred.graph.node:
        if node.op_type in wanted:
            # a window that this library does not know is nothing to tune
            with contextlib.suppress(InvalidProblem):
                problem = _problem(node, shapes, opsets)
                if problem is not None:
                    found[problem] = None
    return list(found)
