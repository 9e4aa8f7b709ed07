"""Drop-ins for ``torch.nn.functional``: its signatures, on pyconv where pyconv takes the call, on torch where not."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

import pyconv

from . import operators as ops
from .kinds import Operator
from .tensors import DIRECT, REFUSALS, THEIRS, Declined, array_of, call, each, tensor_of, way_of

__all__ = [
    f"{name}{rank}d"
    for name in ("adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "conv", "conv_transpose", "lp_pool", "max_pool",
                 "max_unpool")
    for rank in (1, 2, 3)
] + [
    "affine_grid", "batch_norm", "fold", "grid_sample", "interpolate", "linear", "local_response_norm", "pixel_shuffle",
    "pixel_unshuffle", "unfold",
]  # fmt: skip

P = ParamSpec("P")
RANKS = (1, 2, 3)


def drop_in(theirs: Callable[..., Any]) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Make a drop-in of a function that returns ``NotImplemented`` for what is torch's.

    What pyconv refuses goes to torch too, which answers it or refuses it in its own words.
    """

    def decorate(ours: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(ours)
        def function(*arguments: P.args, **settings: P.kwargs) -> Any:
            try:
                found = ours(*arguments, **settings)
            except REFUSALS:
                found = NotImplemented
            return theirs(*arguments, **settings) if found is NotImplemented else found

        return function

    return decorate


def named(name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return the drop-in for a function of ``torch.nn.functional``."""
    ours.__name__ = ours.__qualname__ = name
    ours.__doc__ = f"As ``torch.nn.functional.{name}``."
    return drop_in(getattr(F, name))(ours)


def apply(operator: Operator, tensors: tuple[Any, ...], *arguments: Any) -> Any:
    """Call an operator on the way that these tensors decide."""
    way = way_of(*tensors)
    if way == THEIRS:
        return NotImplemented
    return operator.by(way)(*arguments)


def _padding(padding: Any, weight: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return one number for each axis, or (before, after, before, after, ...) for "same": the odd one at the end."""
    rank = len(stride)
    if padding.__class__ is not str:
        return each("padding", padding, rank)
    if padding == "valid":
        return (0,) * rank
    if padding != "same" or any(step != 1 for step in stride):
        raise Declined('padding is numbers, "valid", or "same" with a stride of 1')
    total = [d * (k - 1) for k, d in zip(weight.shape[2:], dilation, strict=True)]
    return tuple(pad for t in total for pad in (t // 2, t - t // 2))


def _step(stride: Any, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Return the stride of a pooling: that of the kernel where there is none, or an empty one."""
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        return kernel
    return each("stride", stride, len(kernel))


def _conv(rank: int) -> Callable[..., Any]:
    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        way = way_of(input, weight, bias)
        if way == THEIRS or weight.ndim != rank + 2:
            return NotImplemented
        stride, dilation = each("stride", stride, rank), each("dilation", dilation, rank)
        padding = _padding(padding, weight, stride, dilation)
        return ops.conv.by(way)(input, weight, bias, stride, padding, dilation, groups)

    return named(f"conv{rank}d", conv)


def _conv_transpose(rank: int) -> Callable[..., Any]:
    def conv_transpose(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Any:
        if weight.ndim != rank + 2:
            return NotImplemented
        return apply(
            ops.conv_transpose, (input, weight, bias), input, weight, bias, each("stride", stride, rank),
            each("padding", padding, rank), each("output_padding", output_padding, rank), groups,
            each("dilation", dilation, rank),
        )  # fmt: skip

    return named(f"conv_transpose{rank}d", conv_transpose)


def _max_pool(rank: int) -> Callable[..., Any]:
    function = getattr(pyconv, f"max_pool{rank}d")

    def max_pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        way = way_of(input)
        if way == THEIRS:
            return NotImplemented
        kernel = each("kernel_size", kernel_size, rank)
        step = _step(stride, kernel)
        settings = kernel, step, each("padding", padding, rank), each("dilation", dilation, rank), ceil_mode
        if way == DIRECT and not return_indices:
            return tensor_of(call(function, array_of(input), *settings))
        found = ops.max_pool.by(way)(input, *settings)
        return found if return_indices else found[0]

    return named(f"max_pool{rank}d", max_pool)


def _avg_pool(rank: int) -> Callable[..., Any]:
    def pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
    ) -> Any:
        kernel = each("kernel_size", kernel_size, rank)
        step = _step(stride, kernel)
        return apply(
            ops.avg_pool, (input,), input, kernel, step, each("padding", padding, rank), ceil_mode, count_include_pad,
            divisor_override,
        )  # fmt: skip

    def avg_pool1d(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Any:  # fmt: skip
        return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)

    def avg_pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    return named(f"avg_pool{rank}d", avg_pool1d if rank == 1 else avg_pool)


def _lp_pool(rank: int) -> Callable[..., Any]:
    def lp_pool(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        kernel = each("kernel_size", kernel_size, rank)
        step = _step(stride, kernel)
        return apply(ops.lp_pool, (input,), input, float(norm_type), kernel, step, ceil_mode)

    return named(f"lp_pool{rank}d", lp_pool)


def _output_size(input: Tensor, output_size: Any, rank: int) -> tuple[int, ...]:
    """Return one size for each axis; None stands for the input's."""
    if not isinstance(output_size, (tuple, list)):
        output_size = (output_size,) * rank
    spatial = input.shape[-rank:]
    sizes = [size if wanted is None else wanted for wanted, size in zip(output_size, spatial, strict=False)]
    return each("output_size", sizes, rank) if len(output_size) == rank else each("output_size", (), rank)


def _adaptive_avg_pool(rank: int) -> Callable[..., Any]:
    def adaptive_avg_pool(input: Tensor, output_size: Any) -> Any:
        return apply(ops.adaptive_avg_pool, (input,), input, _output_size(input, output_size, rank))

    return named(f"adaptive_avg_pool{rank}d", adaptive_avg_pool)


def _adaptive_max_pool(rank: int) -> Callable[..., Any]:
    function = getattr(pyconv, f"adaptive_max_pool{rank}d")

    def adaptive_max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        way = way_of(input)
        if way == THEIRS:
            return NotImplemented
        size = _output_size(input, output_size, rank)
        if way == DIRECT and not return_indices:
            return tensor_of(call(function, array_of(input), size))
        found = ops.adaptive_max_pool.by(way)(input, size)
        return found if return_indices else found[0]

    return named(f"adaptive_max_pool{rank}d", adaptive_max_pool)


def _max_unpool(rank: int) -> Callable[..., Any]:
    def max_unpool(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Any:
        kernel, pads = each("kernel_size", kernel_size, rank), each("padding", padding, rank)
        step = _step(stride, kernel)
        if output_size is None:
            spatial = input.shape[-rank:]
            size: Any = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(spatial, step, pads, kernel, strict=True)]
        else:
            size = output_size[-rank:] if len(output_size) == rank + 2 else output_size
        return apply(
            ops.max_unpool, (input, indices), input, indices, kernel, step, pads, each("output_size", size, rank)
        )

    return named(f"max_unpool{rank}d", max_unpool)


conv1d, conv2d, conv3d = map(_conv, RANKS)
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose, RANKS)
max_pool1d, max_pool2d, max_pool3d = map(_max_pool, RANKS)
avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool, RANKS)
lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool, RANKS)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg_pool, RANKS)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_adaptive_max_pool, RANKS)
max_unpool1d, max_unpool2d, max_unpool3d = map(_max_unpool, RANKS)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    return apply(ops.linear, (input, weight, bias), input, weight, bias)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if not training:
        if running_mean is None or running_var is None:
            return NotImplemented
        tensors = input, running_mean, running_var, weight, bias
        return apply(ops.batch_norm, tensors, *tensors, eps)
    statistics = [tensor for tensor in (running_mean, running_var) if tensor is not None]
    if not isinstance(momentum, float) or input.numel() == 0 or any(tensor.requires_grad for tensor in statistics):
        return NotImplemented
    if any(tensor.shape != input.shape[1:2] or tensor.dtype != input.dtype for tensor in statistics):
        return NotImplemented
    found = apply(ops.batch_norm_training, (input, weight, bias, *statistics), input, weight, bias, eps)
    if found is NotImplemented:
        return found
    y, *own = found
    with torch.no_grad():
        for running, new in zip((running_mean, running_var), own, strict=True):
            if running is not None:
                running.mul_(1 - momentum).add_(new, alpha=momentum)
    return y


def _local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    return apply(ops.local_response_norm, (input,), input, size, float(alpha), float(beta), float(k))


def _interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    rank = input.ndim - 2
    if size is not None:
        size = each("size", size, rank)
    if scale_factor is not None:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * rank
        scale_factor = tuple(map(float, factors))
    settings = size, scale_factor, mode, align_corners, recompute_scale_factor, antialias
    return apply(ops.interpolate, (input,), input, *settings)


def _grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Any:
    return apply(ops.grid_sample, (input, grid), input, grid, mode, padding_mode, bool(align_corners))


def _affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Any:
    return apply(ops.affine_grid, (theta,), theta, each("size", size, len(size)), bool(align_corners))


def _unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    settings = kernel_size, dilation, padding, stride
    return apply(ops.unfold, (input,), input, *(each("sizes", value, 2) for value in settings))


def _fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    settings = output_size, kernel_size, dilation, padding, stride
    return apply(ops.fold, (input,), input, *(each("sizes", value, 2) for value in settings))


def _pixel_shuffle(input: Tensor, upscale_factor: int) -> Any:
    return apply(ops.pixel_shuffle, (input,), input, upscale_factor)


def _pixel_unshuffle(input: Tensor, downscale_factor: int) -> Any:
    return apply(ops.pixel_unshuffle, (input,), input, downscale_factor)


linear = named("linear", _linear)
batch_norm = named("batch_norm", _batch_norm)
local_response_norm = named("local_response_norm", _local_response_norm)
interpolate = named("interpolate", _interpolate)
grid_sample = named("grid_sample", _grid_sample)
affine_grid = named("affine_grid", _affine_grid)
unfold = named("unfold", _unfold)
fold = named("fold", _fold)
pixel_shuffle = named("pixel_shuffle", _pixel_shuffle)
pixel_unshuffle = named("pixel_unshuffle", _pixel_unshuffle)
