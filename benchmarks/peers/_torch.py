"""What the two memory orders of the torch peer share.

Weights are constants, so besides ``torch.nn.functional.conv2d`` the form with weights reordered once for oneDNN is
tried (``torch.ops.mkldnn``: what ``torch.compile`` emits for frozen weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.peers import Array, Prepared, fastest
from benchmarks.shapes import Layer

CONVOLUTIONS = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}
MAXIMA = {
    1: torch.nn.functional.max_pool1d,
    2: torch.nn.functional.max_pool2d,
    3: torch.nn.functional.max_pool3d,
}
AVERAGES = {
    1: torch.nn.functional.avg_pool1d,
    2: torch.nn.functional.avg_pool2d,
    3: torch.nn.functional.avg_pool3d,
}
ADAPTIVE = {
    "max": torch.nn.functional.adaptive_max_pool2d,
    "avg": torch.nn.functional.adaptive_avg_pool2d,
}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _pooled(layer: Layer, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return the call of a pooling layer of two axes that is not a plain one."""
    aten, window = torch.ops.aten, (list(layer.kernel), list(layer.stride), list(layer.padding))
    if layer.adaptive:
        adaptive, size = ADAPTIVE[layer.pooling], layer.out_spatial
        return lambda: adaptive(x, size)
    if layer.pooling == "lp":
        return lambda: torch.nn.functional.lp_pool2d(x, 2.0, *window[:2])
    if layer.pooling == "max_indices":
        return lambda: aten.max_pool2d_with_indices(x, *window)[0]
    order = torch.channels_last if not x.is_contiguous() else torch.contiguous_format
    ones = torch.ones(layer.pooled_shape, dtype=x.dtype).contiguous(memory_format=order)
    if layer.pooling == "avg_grad":
        return lambda: aten.avg_pool2d_backward(ones, x, *window, False, True, None)
    indices = aten.max_pool2d_with_indices(x, *window)[1]
    return lambda: aten.max_pool2d_with_indices_backward(ones, x, *window, [1, 1], False, indices)


def _forms(
    layer: Layer, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, activation: str | None, order: Any
) -> Iterator[Prepared]:
    if layer.pooling and (layer.adaptive or layer.pooling not in ("max", "avg")):
        run = _pooled(layer, x)
        yield Prepared(lambda: run().contiguous(memory_format=order).numpy(), layer.pooling)
        return
    if layer.pooling:
        pool = (MAXIMA if layer.pooling == "max" else AVERAGES)[layer.rank]

        def pooled() -> Array:
            y = pool(x, layer.kernel, layer.stride, layer.padding).contiguous(memory_format=order)
            array: Array = y.numpy()
            return array

        yield Prepared(pooled, f"{layer.pooling}_pool{layer.rank}d")
        return
    relu = activation == "relu"
    settings = (list(layer.stride), list(layer.padding), list(layer.dilation))
    convolution = CONVOLUTIONS[layer.rank]

    def call(weights: torch.Tensor) -> Array:
        y = convolution(x, weights, bias, *settings, layer.groups).contiguous(memory_format=order)
        return (y.relu_() if relu else y).numpy()

    yield Prepared(lambda: call(w), f"conv{layer.rank}d")
    if layer.rank in CHANNELS_LAST:
        w_last = w.contiguous(memory_format=CHANNELS_LAST[layer.rank])
        yield Prepared(lambda: call(w_last), f"conv{layer.rank}d, channels-last weights")
    if layer.rank == 2 and x.dtype == torch.float32:
        stride, padding, dilation = settings
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            w, padding, stride, dilation, layer.groups, list(layer.x_shape)
        )

        def prepacked() -> Array:
            y = torch.ops.mkldnn._convolution_pointwise(
                x, packed, bias, padding, stride, dilation, layer.groups, "relu" if relu else "none", [], ""
            )
            array: Array = y.contiguous(memory_format=order).numpy()
            return array

        yield Prepared(prepacked, "oneDNN with reordered weights")


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, *, channels_last: bool
) -> Prepared:
    """Return the fastest form; x comes and y goes in the given memory order."""
    torch.set_num_threads(threads)
    # For the life of the process: every call of the worker is inference.
    torch.inference_mode().__enter__()
    order = CHANNELS_LAST[layer.rank] if channels_last else torch.contiguous_format
    tensors = [None if array is None else torch.from_numpy(array) for array in (x, w, bias)]
    x_tensor, w_tensor, bias_tensor = tensors
    assert x_tensor is not None
    assert w_tensor is not None
    x_tensor = x_tensor.contiguous(memory_format=order)
    return fastest(_forms(layer, x_tensor, w_tensor, bias_tensor, activation, order))
