"""The operators on tensors that convnets need beside their layers, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from ...algorithm import Array
from .nodes import Call, Inputs, Node, NotTaken, operator

__all__: list[str] = []

_BINARY: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Equal": np.equal, "Less": np.less, "Greater": np.greater,
    "LessOrEqual": np.less_equal, "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or,
    "Xor": np.logical_xor,
}  # fmt: skip
_UNARY: dict[str, Callable[..., Any]] = {
    "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Abs": np.abs, "Neg": np.negative, "Floor": np.floor,
    "Ceil": np.ceil, "Not": np.logical_not, "Reciprocal": np.reciprocal,
}  # fmt: skip
_VARIADIC: dict[str, Callable[..., Any]] = {"Sum": np.add, "Max": np.maximum, "Min": np.minimum}
_REDUCE: dict[str, Callable[..., Any]] = {
    "ReduceMean": np.mean, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod,
}  # fmt: skip


def _is_ordinary(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of NumPy's own numbers; bfloat16 and the narrow floats come from elsewhere."""
    return dtype.kind in "biuf" and dtype.isbuiltin == 1


def _ordinary(*arrays: Any) -> None:
    """Leave strings, bfloat16 and the narrow types to onnx.reference."""
    for array in arrays:
        if array is not None and not (isinstance(array, np.ndarray) and _is_ordinary(array.dtype)):
            raise NotTaken("not a plain number")


def _integers(values: Any) -> list[int]:
    """Return an attribute or an input as integers."""
    return [int(value) for value in np.asarray(values).reshape(-1)]


def _fits(out: Array | None, *arrays: Array | None) -> Array | None:
    """Return where a ufunc may write: an array of the result's type."""
    return out if out is not None and all(array is None or array.dtype == out.dtype for array in arrays) else None


def _legacy_broadcast(node: Node, a: Array, b: Array) -> Array:
    """Return b as operator sets before 7 broadcast it: along ``axis``, where ``broadcast`` says so."""
    if node.opset >= 7 or not node.get("broadcast", 0) or node.get("axis") is None:
        return b
    return b.reshape(*b.shape, *(1,) * (a.ndim - node.attributes["axis"] - b.ndim))


@operator(*_BINARY, compiled=False)
def _binary(node: Node, inputs: Inputs, out: Array | None) -> Any:
    a, b = inputs
    _ordinary(a, b)
    assert a is not None
    assert b is not None
    b = _legacy_broadcast(node, a, b)
    function = _BINARY[node.op_type]
    target = _fits(out, a, b)
    return function(a, b) if target is None else Call(function, (a, b))


@operator("Div", compiled=False)
def _div(node: Node, inputs: Inputs, out: Array | None) -> Any:
    a, b = inputs
    _ordinary(a, b)
    assert a is not None
    assert b is not None
    b = _legacy_broadcast(node, a, b)
    if a.dtype.kind == "f":
        target = _fits(out, a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(a, b, out=target)
    # towards zero, as in C
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


@operator("Pow", compiled=False)
def _pow(node: Node, inputs: Inputs, out: Array | None) -> Any:
    a, b = inputs
    _ordinary(a, b)
    assert a is not None
    assert b is not None
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.power(a, _legacy_broadcast(node, a, b)).astype(a.dtype, copy=False)


@operator(*_UNARY, compiled=False)
def _unary(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    _ordinary(x)
    assert x is not None
    if node.op_type == "Reciprocal" and x.dtype.kind != "f":
        raise NotTaken("integers")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _UNARY[node.op_type](x).astype(bool if node.op_type == "Not" else x.dtype, copy=False)


@operator(*_VARIADIC, "Mean", compiled=False)
def _variadic(node: Node, inputs: Inputs, out: Array | None) -> Any:
    _ordinary(*inputs)
    function = _VARIADIC.get(node.op_type, np.add)
    first = inputs[0]
    assert first is not None
    if len(inputs) == 1:
        return first.copy()
    target = _fits(out, *inputs)
    total = function(first, inputs[1], out=target)
    for other in inputs[2:]:
        total = function(total, other, out=target)
    return total if node.op_type != "Mean" else (total / len(inputs)).astype(first.dtype)


@operator("Clip", compiled=False)
def _clip(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, low, high = [*inputs, None, None][:3]
    _ordinary(x, low, high)
    assert x is not None
    if node.opset < 11:
        low, high = (None if node.get(name) is None else np.asarray(node.get(name), x.dtype) for name in ("min", "max"))
    y = x
    if low is not None:
        y = np.maximum(y, low, out=_fits(out, x, low))
    if high is not None:
        y = np.minimum(y, high, out=_fits(out, x, high))
    return y if y is not x else x.copy()


@operator("HardSigmoid", compiled=False)
def _hard_sigmoid(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    _ordinary(x)
    assert x is not None
    alpha, beta = (np.asarray(node.get(name, value), x.dtype) for name, value in (("alpha", 0.2), ("beta", 0.5)))
    y = np.multiply(x, alpha, out=_fits(out, x))
    return np.clip(np.add(y, beta, out=y), 0, 1, out=y)


@operator("PRelu", compiled=False)
def _p_relu(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, slope = inputs
    _ordinary(x, slope)
    assert x is not None
    assert slope is not None
    if node.opset < 7 and slope.ndim == 1 and slope.size > 1:
        slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x < 0, x * slope, x).astype(x.dtype, copy=False)


@operator("Softmax", "LogSoftmax", compiled=False)
def _softmax(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    _ordinary(x)
    assert x is not None
    if not x.size:
        return x.copy()
    if node.opset >= 13:
        axes: tuple[int, ...] = (node.get("axis", -1),)
    else:
        # operator sets before 13 flattened x to a matrix at this axis
        first = node.get("axis", 1)
        axes = tuple(range(first % max(1, x.ndim), x.ndim))
    if x.dtype.kind != "f" or (out is not None and out.dtype != x.dtype):
        raise NotTaken(f"{node.op_type} of {x.dtype}")
    return Call(_softmax_along, (x, axes, node.op_type == "LogSoftmax"))


def _softmax_along(x: Array, axes: tuple[int, ...], logarithm: bool, out: Array | None = None) -> Array:
    """Return softmax over some axes, or its logarithm; ufuncs alone, for after a network no cache holds NumPy."""
    shifted = np.subtract(x, np.maximum.reduce(x, axes, keepdims=True), out=out)
    powers = np.exp(shifted) if logarithm else np.exp(shifted, out=shifted)
    sums = np.add.reduce(powers, axes, keepdims=True)
    if logarithm:
        return np.subtract(shifted, np.log(sums), out=shifted)
    return np.divide(powers, sums, out=powers)


@operator(*_REDUCE, compiled=False)
def _reduce(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, given = [*inputs, None][:2]
    _ordinary(x)
    assert x is not None
    axes = node.get("axes") if given is None else _integers(given)
    if x.dtype.kind not in "f" and node.op_type == "ReduceMean":
        raise NotTaken("integers")
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return x.copy()
        axes = list(range(x.ndim))
    if node.op_type in ("ReduceMax", "ReduceMin") and not x.size:
        raise NotTaken("nothing to compare")
    y = _REDUCE[node.op_type](x, axis=tuple(axes), keepdims=bool(node.get("keepdims", 1)))
    return np.asarray(y, x.dtype)


@operator("ArgMax", "ArgMin", compiled=False)
def _arg(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    _ordinary(x)
    assert x is not None
    axis, function = node.get("axis", 0), np.argmax if node.op_type == "ArgMax" else np.argmin
    if node.get("select_last_index", 0):
        y = x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis)
    else:
        y = function(x, axis=axis)
    return np.asarray(np.expand_dims(y, axis) if node.get("keepdims", 1) else y, np.int64)


@operator("TopK", compiled=False)
def _top_k(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, count = [*inputs, None][:2]
    _ordinary(x)
    assert x is not None
    if x.dtype.kind != "f":
        raise NotTaken("integers")
    k = int(node.attributes["k"] if count is None else np.asarray(count).reshape(-1)[0])
    axis = node.get("axis", -1)
    # the first of equals comes first
    order = np.argsort(-x if node.get("largest", 1) else x, axis=axis, kind="stable")
    index = np.take(order, range(k), axis=axis)
    return np.take_along_axis(x, index, axis=axis), index.astype(np.int64)


@operator("Concat", compiled=False)
def _concat(node: Node, inputs: Inputs, out: Array | None) -> Any:
    _ordinary(*inputs)
    parts = [part for part in inputs if part is not None]
    return np.concatenate(parts, axis=node.get("axis", 1), out=_fits(out, *parts))


@operator("Reshape", compiled=False)
def _reshape(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, wanted = [*inputs, None][:2]
    assert x is not None
    shape = _integers(node.attributes["shape"] if wanted is None else wanted)
    if not node.get("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


@operator("Flatten", compiled=False)
def _flatten(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", compiled=False)
def _transpose(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    return x.transpose(node.get("perm"))


@operator("Squeeze", compiled=False)
def _squeeze(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, given = [*inputs, None][:2]
    assert x is not None
    axes = node.get("axes") if given is None else _integers(given)
    return np.squeeze(x, None if axes is None else tuple(axes))


@operator("Unsqueeze", compiled=False)
def _unsqueeze(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, given = [*inputs, None][:2]
    assert x is not None
    return np.expand_dims(x, tuple(node.attributes["axes"] if given is None else _integers(given)))


@operator("Identity", compiled=False)
def _identity(node: Node, inputs: Inputs, out: Array | None) -> Any:
    return (inputs[0],)


@operator("Dropout", compiled=False)
def _dropout(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, _, training = [*inputs, None, None][:3]
    assert x is not None
    if training is not None and bool(training):
        raise NotTaken("training")
    if not node.wants(1):
        return x
    # before operator set 10 the mask had the type of x
    return x, np.ones(x.shape, bool if node.opset >= 10 else x.dtype)


@operator("Shape", compiled=False)
def _shape(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    return np.array(np.shape(x)[node.get("start", 0) : node.get("end")], np.int64)


@operator("Size", compiled=False)
def _size(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    return np.array(np.size(x), np.int64)  # type: ignore[arg-type]


@operator("Constant", compiled=False)
def _constant(node: Node, inputs: Inputs, out: Array | None) -> Any:
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_floats", np.float32),
                        ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
        if node.get(name) is not None:
            return np.asarray(node.get(name), dtype)
    raise NotTaken("strings or a sparse tensor")


@operator("ConstantOfShape", compiled=False)
def _constant_of_shape(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (shape,) = inputs
    value = node.get("value")
    fill = np.zeros(1, np.float32) if value is None else value
    _ordinary(fill)
    return np.full(tuple(_integers(shape)), fill.reshape(-1)[0], fill.dtype)


@operator("Cast", compiled=False)
def _cast(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    _ordinary(x)
    assert x is not None
    to = node.attributes["to"]
    if isinstance(to, str):
        to = onnx.TensorProto.DataType.Value(to)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))
    if not _is_ordinary(dtype):
        raise NotTaken(f"to {dtype.name}")
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(dtype)


@operator("Expand", compiled=False)
def _expand(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, wanted = inputs
    assert x is not None
    return x * np.ones((), x.dtype) if wanted is None else np.broadcast_to(
        x, np.broadcast_shapes(x.shape, tuple(_integers(wanted)))
    ).copy()  # fmt: skip


@operator("Tile", compiled=False)
def _tile(node: Node, inputs: Inputs, out: Array | None) -> Any:
    if node.opset < 6:
        raise NotTaken("tiles and axis")
    x, repeats = inputs
    assert x is not None
    return np.tile(x, _integers(repeats))


@operator("Where", compiled=False)
def _where(node: Node, inputs: Inputs, out: Array | None) -> Any:
    condition, a, b = inputs
    _ordinary(condition, a, b)
    assert condition is not None
    return np.where(condition, a, b)  # type: ignore[arg-type]


@operator("Range", compiled=False)
def _range(node: Node, inputs: Inputs, out: Array | None) -> Any:
    _ordinary(*inputs)
    start, limit, delta = (np.asarray(value).reshape(-1)[0] for value in inputs)
    count = max(0, math.ceil((float(limit) - float(start)) / float(delta)))
    return (start + np.arange(count) * delta).astype(start.dtype)


@operator("Gather", compiled=False)
def _gather(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, indices = inputs
    assert x is not None
    assert indices is not None
    return np.take(x, indices, axis=node.get("axis", 0))


@operator("Slice", compiled=False)
def _slice(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x = inputs[0]
    assert x is not None
    if node.opset < 10:
        starts, ends, axes, steps = node.attributes["starts"], node.attributes["ends"], node.get("axes"), None
    else:
        given = [None if value is None else _integers(value) for value in inputs[1:]]
        starts, ends, axes, steps = [*given, None, None][:4]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    window = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        # an end far below zero, going backwards, means past the first element
        stop = None if step < 0 and end < -size else end
        window[axis] = slice(start, stop, step)
    return x[tuple(window)]


@operator("Split", compiled=False)
def _split(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, given = [*inputs, None][:2]
    assert x is not None
    axis, count = node.get("axis", 0), len(node.outputs)
    sizes = node.get("split") if given is None else _integers(given)
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = [min(each, x.shape[axis] - i * each) for i in range(count)]
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


@operator("Pad", compiled=False)
def _pad(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, given, value, axes = [*inputs, None, None, None][:4]
    _ordinary(x)
    assert x is not None
    pads = _integers(node.get("pads", node.get("paddings")) if given is None else given)
    fill = node.get("value", 0.0) if value is None or not value.size else value.reshape(-1)[0]
    chosen = [axis % x.ndim for axis in _integers(axes)] if axes is not None else list(range(x.ndim))
    widths, crop = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for axis, before, after in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
        widths[axis] = (max(0, before), max(0, after))
        crop[axis] = slice(max(0, -before), x.shape[axis] - max(0, -after))
    mode = node.get("mode", "constant")
    settings = {"constant_values": np.asarray(fill).astype(x.dtype)} if mode == "constant" else {}
    return np.pad(x[tuple(crop)], widths, mode, **settings)
