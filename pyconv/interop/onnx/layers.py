"""ONNX's normalisations, activations and matrix products on pyconv's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import (
    batch_norm,
    batch_norm_stats,
    elu,
    hardswish,
    leaky_relu,
    linear,
    local_response_norm,
    pixel_shuffle,
    pixel_unshuffle,
    relu,
    sigmoid,
    silu,
    tanh,
)
from ...algorithm import Array
from .nodes import Call, Inputs, Node, NotTaken, floats, operator
from .windows import FUSED, activated

__all__: list[str] = []

_PLAIN = {"Relu": relu, "Sigmoid": sigmoid, "Tanh": tanh, "HardSwish": hardswish}


@operator(*_PLAIN)
def _activation(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    floats(x)
    return Call(_PLAIN[node.op_type], (x,))


@operator("LeakyRelu")
def _leaky_relu(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    floats(x)
    return Call(leaky_relu, (x, float(node.get("alpha", 0.01))))


@operator("Elu")
def _elu(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    floats(x)
    return Call(elu, (x, float(node.get("alpha", 1.0))))


@operator("Swish")
def _swish(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    floats(x)
    if float(node.get("alpha", 1.0)) != 1.0:
        raise NotTaken("alpha other than 1")
    return Call(silu, (x,))


@operator("BatchNormalization")
def _batch_normalization(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, scale, bias, mean, var = inputs
    assert x is not None
    assert mean is not None
    assert var is not None
    kinds = [array.dtype for array in inputs if array is not None]
    if any(kind.name not in ("float16", "float32", "float64") for kind in kinds):
        raise NotTaken(f"arrays of {', '.join(sorted({kind.name for kind in kinds}))}")
    wide = np.result_type(*kinds)
    values, scale, bias = (None if a is None else a.astype(wide, copy=False) for a in (x, scale, bias))
    assert values is not None
    if node.opset < 9 and not node.get("spatial", 1):
        # statistics of each element: every element is a channel
        values = values.reshape(len(values), -1)
        scale, bias, mean, var = (None if a is None else a.reshape(-1) for a in (scale, bias, mean, var))
        assert mean is not None
        assert var is not None
    eps = float(node.get("epsilon", 1e-5))
    training = bool(node.get("training_mode", 0)) if node.opset >= 14 else node.opset < 7 and not node.get("is_test", 0)
    if node.opset < 14 and node.wants(1):
        training = True
    target = out if wide == x.dtype and values is x else None
    if not training:
        y = batch_norm(values, mean.astype(wide), var.astype(wide), scale, bias, False, 0.1, eps, out=target)
        return y.reshape(x.shape).astype(x.dtype, copy=False)
    y = batch_norm(values, None, None, scale, bias, True, 0.1, eps, out=target)
    own_mean, own_var = batch_norm_stats(values)
    momentum = float(node.get("momentum", 0.9))
    running = [
        (old * momentum + own.astype(old.dtype) * (1 - momentum)).astype(old.dtype)
        for old, own in ((mean, own_mean), (var, own_var))
    ]
    results = (y.reshape(x.shape).astype(x.dtype, copy=False), *running)
    if node.opset < 14:
        results = (*results, own_mean.astype(mean.dtype), own_var.astype(var.dtype))
    return results[: max(1, len(node.outputs))]


@operator("InstanceNormalization")
def _instance_normalization(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, scale, bias = inputs
    assert x is not None
    assert scale is not None
    assert bias is not None
    floats(x, scale, bias)
    n, c = x.shape[:2]
    # each plane is a channel of one image
    planes = x.reshape(1, n * c, *x.shape[2:])
    eps = float(node.get("epsilon", 1e-5))
    return batch_norm(planes, None, None, np.tile(scale, n), np.tile(bias, n), True, 0.1, eps).reshape(x.shape)


@operator("LRN")
def _lrn(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    floats(x)
    size = node.attributes["size"]
    settings = (size, float(node.get("alpha", 1e-4)), float(node.get("beta", 0.75)), float(node.get("bias", 1.0)))
    if size % 2:
        return Call(local_response_norm, (x, *settings))
    # of an even window ONNX has one more channel after, pyconv one more before
    return np.flip(local_response_norm(np.flip(x, 1), *settings), 1)


@operator("Gemm")
def _gemm(node: Node, inputs: Inputs, out: Array | None) -> Array:
    a, b, c = [*inputs, None][:3]
    assert a is not None
    assert b is not None
    floats(a, b)
    if node.get("transA", 0):
        a = a.T
    w = b if node.get("transB", 0) else b.T
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    if alpha != 1.0:
        w = w * np.asarray(alpha, w.dtype)
    if c is not None and beta != 1.0:
        c = c * np.asarray(beta, c.dtype)
    if c is not None and c.dtype == a.dtype and c.shape in ((w.shape[0],), (1, w.shape[0])):
        return linear(a, w, c.reshape(-1), out=out)
    y = linear(a, w, out=out)
    return y if c is None else np.add(y, c, out=y)


@operator("Linear", domain=FUSED)
def _linear(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, w, bias = [*inputs, None][:3]
    floats(x, w, bias)
    return activated(linear(x, w, bias, out=out), node.get("activation"))


@operator("MatMul")
def _mat_mul(node: Node, inputs: Inputs, out: Array | None) -> Any:
    a, b = inputs
    assert a is not None
    assert b is not None
    floats(a, b)
    if b.ndim == 2 and a.ndim >= 1:
        return linear(a, b.T, out=out)
    return np.matmul(a, b)


@operator("DepthToSpace")
def _depth_to_space(node: Node, inputs: Inputs, out: Array | None) -> Array:
    (x,) = inputs
    assert x is not None
    floats(x)
    block = node.attributes["blocksize"]
    if node.get("mode", "DCR") == "CRD":
        return pixel_shuffle(x, block, out=out)
    # depth, column, row: channels are (block, block, c), pixel_shuffle's are (c, block, block)
    n, c, h, w = x.shape
    turned = x.reshape(n, block * block, c // (block * block), h, w).swapaxes(1, 2).reshape(x.shape)
    return pixel_shuffle(turned, block, out=out)


@operator("SpaceToDepth")
def _space_to_depth(node: Node, inputs: Inputs, out: Array | None) -> Array:
    (x,) = inputs
    assert x is not None
    floats(x)
    block = node.attributes["blocksize"]
    y = pixel_unshuffle(x, block)
    if node.get("mode", "DCR") == "CRD":
        return y
    n, c, h, w = y.shape
    return y.reshape(n, c // (block * block), block * block, h, w).swapaxes(1, 2).reshape(y.shape)
