"""The custom operators ``torch.ops.pyconv.*``: schemas, shapes without data, gradients, and gradients of these.

Four kinds of operators, by what their gradients are:

* *products* of x and w (convolutions, transposed ones, linear): forward, gradient of x and gradient of w are each linear
  in two arguments, and each the gradient of the others, so that they can be differentiated any number of times;
* *maps*, linear in x (averages, resizing, unfold, RoI means, ...): the gradient is the transposed map, whose gradient is
  the map; any number of times too;
* *maxima*: a map as soon as it is known where they are;
* everything else: the gradient is an operator that cannot be differentiated, and says so.

Settings are one integer for each axis; their number is the rank. ``run`` of an operator computes with tensors that
have memory: what the operator does for torch's dispatcher, and what is called without it where nobody asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import pyconv

from ...errors import Unsupported
from .packs import kept
from .tensors import DIRECT, array_of, call, empty, is_channels_last, stand_in, tensor_of, way_of

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "affine_grid",
    "avg_pool",
    "batch_norm",
    "batch_norm_training",
    "conv",
    "conv_transpose",
    "deform_conv2d",
    "fold",
    "grid_sample",
    "interpolate",
    "linear",
    "local_response_norm",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "nms",
    "pixel_shuffle",
    "pixel_unshuffle",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_pool",
    "unfold",
]

Settings = tuple[Any, ...]
#: torch's own, which nobody has replaced yet: in memory that does not exist they say what the sizes are.
_theirs = {f"{name}{rank}d": getattr(F, f"{name}{rank}d")
           for name in ("conv", "conv_transpose", "max_pool", "max_unpool") for rank in (1, 2, 3)}  # fmt: skip
_interpolate, _unfold, _fold = F.interpolate, F.unfold, F.fold


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of torch's, and what it runs."""

    run: Callable[..., Any]
    op: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call it within a gradient: without the dispatcher where only the result is wanted."""
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        return (self.run if way_of(*tensors) == DIRECT else self.op)(*map(_hashable, arguments))


def _define(
    name: str,
    schema: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Operator:
    """Register an operator; its lists come as lists and are wanted as tuples."""

    def run_tuples(*arguments: Any) -> Any:
        return run(*map(_hashable, arguments))

    definition = torch.library.custom_op(f"pyconv::{name}", run_tuples, mutates_args=(), schema=schema)
    definition.register_fake(fake)
    if backward is not None:
        definition.register_autograd(backward, setup_context=setup)
    return Operator(run, getattr(torch.ops.pyconv, name).default)


def _hashable(argument: Any) -> Any:
    return tuple(argument) if argument.__class__ is list else argument


def _keep(ctx: Any, arguments: Sequence[Any]) -> None:
    """Keep a call's arguments for its gradient, tensors as autograd wants them kept."""
    ctx.kinds = [isinstance(argument, Tensor) for argument in arguments]
    ctx.save_for_backward(*[argument for argument in arguments if isinstance(argument, Tensor)])
    ctx.others = [argument for argument in arguments if not isinstance(argument, Tensor)]


def _kept(ctx: Any) -> list[Any]:
    tensors, others = iter(ctx.saved_tensors), iter(ctx.others)
    return [next(tensors) if is_tensor else next(others) for is_tensor in ctx.kinds]


def _arrays(arguments: Sequence[Any]) -> list[Any]:
    return [array_of(argument) if isinstance(argument, Tensor) else argument for argument in arguments]


def _nones(count: int) -> tuple[None, ...]:
    return (None,) * count


# ---- products ----


def _pairs(padding: Sequence[int], rank: int) -> tuple[Any, ...]:
    """Return the padding as pyconv spells it, from one number an axis or (before, after, before, after, ...)."""
    if len(padding) == rank:
        return tuple(padding)
    return tuple((padding[2 * axis], padding[2 * axis + 1]) for axis in range(rank))


@dataclass(frozen=True, slots=True)
class _Product:
    """What a product's three operators have in common.

    ``names`` are its settings, ``function(settings)`` the function of pyconv, ``shape(x, w, settings)`` a tensor of the
    result's shape, ``channels_last(x, settings)`` whether a result is in that order, and where its channels are.
    """

    names: tuple[str, ...]
    function: Callable[[Settings], str]
    fake: Callable[[Tensor, Tensor, Tensor | None, Settings], Tensor]

    def words(self, settings: Settings) -> tuple[tuple[str, Any], ...]:
        found = dict(zip(self.names, settings, strict=True))
        if "padding" in found:
            found["padding"] = _pairs(found["padding"], len(found["stride"]))
        return tuple(found.items())

    def forward(self, x: Tensor, w: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        function, words = getattr(pyconv, self.function(settings)), self.words(settings)
        w_array, bias_array = array_of(w), None if bias is None else array_of(bias)
        x_array = array_of(x)
        packed = None if x.is_cuda else kept(function, w, bias, w_array, bias_array, words)
        if packed is not None:
            return tensor_of(call(packed, x_array))
        return tensor_of(call(function, x_array, w_array, bias_array, **dict(words)))

    def gradient(self, place: int, grad_output: Tensor, other: Tensor, shape: Sequence[int], *settings: Any) -> Tensor:
        """Return the gradient of x (place 0) or w (1), whose shape is given, from grad_output and the other one."""
        function = getattr(pyconv.grad, self.function(settings))
        g, array = array_of(grad_output), array_of(other)
        this = stand_in(shape, g.dtype)
        x, w = (array, this) if place else (this, array)
        mask = tuple(i == place for i in range(3))
        found = call(function, g, x, w, **dict(self.words(settings)), output_mask=mask)
        return tensor_of(found[place])


def _product(name: str, schema: str, of: _Product, order: Callable[[Tensor, Settings], tuple[int | None, bool]]) -> Operator:
    """Register the three operators of a product; return the one that is called from outside."""
    count = len(of.names)
    more = f", {schema}" if schema else ""

    def fake_forward(x: Tensor, w: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        return empty(x, of.fake(x, w, bias, settings).shape, *order(x, settings))

    def fake_x(grad_output: Tensor, w: Tensor, x_shape: Sequence[Any], *settings: Any) -> Tensor:
        return empty(grad_output, x_shape, *order(grad_output, settings))

    def fake_w(grad_output: Tensor, x: Tensor, w_shape: Sequence[Any], *settings: Any) -> Tensor:
        return empty(grad_output, w_shape, None, False)

    def keep_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, w, bias, *settings = inputs
        wants_x, wants_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if wants_w else None, w if wants_x else None)
        ctx.shapes, ctx.settings, ctx.ndim_w = (x.shape, w.shape), settings, w.ndim

    def keep_pair(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        grad_output, other, shape, *settings = inputs
        ctx.save_for_backward(grad_output, other)
        ctx.settings = settings

    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        (x, w), (x_shape, w_shape) = ctx.saved_tensors, ctx.shapes
        wants_x, wants_w, wants_bias = ctx.needs_input_grad[:3]
        channel = _channel_of(g, ctx.ndim_w)
        others = [axis for axis in range(g.ndim) if axis != channel]
        return (
            gradient_x(g, w, list(x_shape), *ctx.settings) if wants_x else None,
            gradient_w(g, x, list(w_shape), *ctx.settings) if wants_w else None,
            None if not wants_bias else g.sum(others) if others else g,
            *_nones(count),
        )

    def backward_x(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        g, w = ctx.saved_tensors
        wants_g, wants_w = ctx.needs_input_grad[:2]
        return (
            forward(v, w, None, *ctx.settings) if wants_g else None,
            gradient_w(g, v, list(w.shape), *ctx.settings) if wants_w else None,
            *_nones(1 + count),
        )

    def backward_w(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        g, x = ctx.saved_tensors
        wants_g, wants_x = ctx.needs_input_grad[:2]
        return (
            forward(x, v, None, *ctx.settings) if wants_g else None,
            gradient_x(g, v, list(x.shape), *ctx.settings) if wants_x else None,
            *_nones(1 + count),
        )

    forward = _define(
        name, f"(Tensor x, Tensor w, Tensor? bias{more}) -> Tensor", of.forward, fake_forward, keep_forward, backward
    )
    gradient_x = _define(
        f"{name}_grad_x", f"(Tensor grad_output, Tensor w, SymInt[] x_shape{more}) -> Tensor",
        partial(of.gradient, 0), fake_x, keep_pair, backward_x,
    )  # fmt: skip
    gradient_w = _define(
        f"{name}_grad_w", f"(Tensor grad_output, Tensor x, SymInt[] w_shape{more}) -> Tensor",
        partial(of.gradient, 1), fake_w, keep_pair, backward_w,
    )  # fmt: skip
    return forward


def _channel_of(output: Tensor, ndim_w: int) -> int:
    """Return the axis of the channels: the last one of linear, else the one before the spatial axes."""
    return output.ndim - 1 if ndim_w == 2 else output.ndim - ndim_w + 1


def _image_order(x: Tensor, settings: Settings) -> tuple[int, bool]:
    """Return where the channels of x are, and whether they are last in memory; settings[0] has an entry an axis."""
    channel = x.ndim - len(settings[0]) - 1
    return channel, is_channels_last(x, channel)


def _fake_conv(x: Tensor, w: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    stride, padding, dilation, groups = settings
    rank = len(stride)
    if len(padding) != rank:
        pads = [entry for axis in reversed(range(rank)) for entry in padding[2 * axis : 2 * axis + 2]]
        x, padding = torch.nn.functional.pad(x, pads), [0] * rank
    return _theirs[f"conv{rank}d"](x, w, bias, stride, padding, dilation, groups)  # type: ignore[no-any-return]


def _fake_conv_transpose(x: Tensor, w: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    stride, padding, output_padding, groups, dilation = settings
    function = _theirs[f"conv_transpose{len(stride)}d"]
    return function(x, w, bias, stride, padding, output_padding, groups, dilation)  # type: ignore[no-any-return]


conv = _product(
    "conv",
    "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups",
    _Product(("stride", "padding", "dilation", "groups"), lambda settings: f"conv{len(settings[0])}d", _fake_conv),
    _image_order,
)
conv_transpose = _product(
    "conv_transpose",
    "SymInt[] stride, SymInt[] padding, SymInt[] output_padding, SymInt groups, SymInt[] dilation",
    _Product(
        ("stride", "padding", "output_padding", "groups", "dilation"),
        lambda settings: f"conv_transpose{len(settings[0])}d",
        _fake_conv_transpose,
    ),
    _image_order,
)
linear = _product(
    "linear",
    "",
    _Product((), lambda settings: "linear", lambda x, w, bias, settings: x.new_empty((*x.shape[:-1], w.shape[0]))),
    lambda x, settings: (None, False),
)


# ---- maps ----


def _map(
    name: str,
    schema: str,
    function: Callable[[Settings], str],
    fake: Callable[..., Any],
    channel: Callable[[Tensor, Settings], int | None],
    in_order: bool = True,
) -> Operator:
    """Register a map and its transpose; return the map.

    ``schema`` is that of what follows x, tensors among it, and ``function(rest)`` the name in pyconv. ``fake(x, *rest)``
    returns the result's shape, ``channel(x, rest)`` the axis of the channels of x and of the result; where not
    ``in_order``, the result is C-contiguous whatever the order of x.
    """
    count = schema.count(",") + 1

    def run(x: Tensor, *rest: Any) -> Tensor:
        return tensor_of(call(getattr(pyconv, function(rest)), array_of(x), *_arrays(rest)))

    def run_transposed(g: Tensor, x_shape: Sequence[int], last: bool, *rest: Any) -> Tensor:
        array = array_of(g)
        x = stand_in(x_shape, array.dtype, channel(g, rest), last)
        return tensor_of(call(getattr(pyconv.grad, function(rest)), array, x, *_arrays(rest))[0])

    def is_last(x: Tensor, rest: Settings) -> bool:
        axis = channel(x, rest)
        return axis is not None and is_channels_last(x, axis)

    def fake_map(x: Tensor, *rest: Any) -> Tensor:
        return empty(x, fake(x, *rest), channel(x, rest), in_order and is_last(x, rest))

    def fake_transposed(g: Tensor, x_shape: Sequence[Any], last: bool, *rest: Any) -> Tensor:
        return empty(g, x_shape, channel(g, rest), last)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, *rest = inputs
        ctx.shape, ctx.last = x.shape, is_last(x, tuple(rest))
        _keep(ctx, rest)

    def keep_transposed(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _keep(ctx, inputs[3:])

    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return (transposed(g, list(ctx.shape), ctx.last, *_kept(ctx)), *_nones(count))

    def backward_transposed(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        return (forward(v, *_kept(ctx)), *_nones(2 + count))

    forward = _define(name, f"(Tensor x, {schema}) -> Tensor", run, fake_map, keep, backward)
    transposed = _define(
        f"{name}_grad", f"(Tensor grad_output, SymInt[] x_shape, bool channels_last, {schema}) -> Tensor",
        run_transposed, fake_transposed, keep_transposed, backward_transposed,
    )  # fmt: skip
    return forward


def _ranked(name: str, at: int = 0) -> Callable[[Settings], str]:
    """Return how a function's name ends in the number of entries that one of its settings has."""
    return lambda rest: f"{name}{len(rest[at])}d"


def _named(name: str) -> Callable[[Settings], str]:
    return lambda rest: name


def _before_spatial(at: int = 0) -> Callable[[Tensor, Settings], int]:
    return lambda x, rest: x.ndim - len(rest[at]) - 1


def _pooled(x: Tensor, kernel: Settings, stride: Settings, padding: Settings, dilation: Settings, ceil: bool) -> list[Any]:
    return list(_theirs[f"max_pool{len(kernel)}d"](x, kernel, stride, padding, dilation, ceil).shape)


avg_pool = _map(
    "avg_pool",
    "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, bool ceil_mode, bool count_include_pad, "
    "SymInt? divisor_override",
    _ranked("avg_pool"),
    lambda x, kernel, stride, padding, ceil, count, divisor: _pooled(x, kernel, stride, padding, [1] * len(kernel), ceil),
    _before_spatial(),
)
adaptive_avg_pool = _map(
    "adaptive_avg_pool",
    "SymInt[] output_size",
    _ranked("adaptive_avg_pool"),
    lambda x, size: [*x.shape[: x.ndim - len(size)], *size],
    _before_spatial(),
)
max_unpool = _map(
    "max_unpool",
    "Tensor indices, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, SymInt[] output_size",
    _ranked("max_unpool", 1),
    lambda x, indices, kernel, stride, padding, size: [*x.shape[: x.ndim - len(size)], *size],
    _before_spatial(1),
)
interpolate = _map(
    "interpolate",
    "SymInt[]? size, float[]? scale_factor, str mode, bool? align_corners, bool? recompute_scale_factor, bool antialias",
    _named("interpolate"),
    lambda x, *settings: _interpolate(x, *settings).shape,
    lambda x, rest: 1,
)
unfold = _map(
    "unfold",
    "SymInt[] kernel_size, SymInt[] dilation, SymInt[] padding, SymInt[] stride",
    _named("unfold"),
    lambda x, *settings: _unfold(x, *settings).shape,
    # of the map's x; its result has an axis less and no such order
    lambda x, rest: max(0, x.ndim - 3),
    in_order=False,
)
fold = _map(
    "fold",
    "SymInt[] output_size, SymInt[] kernel_size, SymInt[] dilation, SymInt[] padding, SymInt[] stride",
    _named("fold"),
    lambda x, *settings: _fold(x, *settings).shape,
    lambda x, rest: None,
)
pixel_shuffle = _map(
    "pixel_shuffle",
    "SymInt upscale_factor",
    _named("pixel_shuffle"),
    lambda x, r: [*x.shape[:-3], x.shape[-3] // r**2, x.shape[-2] * r, x.shape[-1] * r],
    lambda x, rest: x.ndim - 3,
)
pixel_unshuffle = _map(
    "pixel_unshuffle",
    "SymInt downscale_factor",
    _named("pixel_unshuffle"),
    lambda x, r: [*x.shape[:-3], x.shape[-3] * r**2, x.shape[-2] // r, x.shape[-1] // r],
    lambda x, rest: x.ndim - 3,
)
affine_grid = _map(
    "affine_grid",
    "SymInt[] size, bool align_corners",
    _named("affine_grid"),
    lambda theta, size, corners: [theta.shape[0], *size[2:], len(size) - 2],
    lambda x, rest: None,
)
roi_align = _map(
    "roi_align",
    "Tensor boxes, SymInt[] output_size, float spatial_scale, SymInt sampling_ratio, bool aligned",
    _named("roi_align"),
    lambda x, boxes, size, *_: [boxes.shape[0], x.shape[1], *size],
    lambda x, rest: 1,
)
ps_roi_align = _map(
    "ps_roi_align",
    "Tensor boxes, SymInt[] output_size, float spatial_scale, SymInt sampling_ratio",
    _named("ps_roi_align"),
    lambda x, boxes, size, *_: [boxes.shape[0], x.shape[1] // math.prod(size), *size],
    lambda x, rest: 1,
)
ps_roi_pool = _map(
    "ps_roi_pool",
    "Tensor boxes, SymInt[] output_size, float spatial_scale",
    _named("ps_roi_pool"),
    lambda x, boxes, size, *_: [boxes.shape[0], x.shape[1] // math.prod(size), *size],
    lambda x, rest: 1,
)


# ---- maxima ----


def _maxima(name: str, schema: str, function: Callable[[Settings], str], fake: Callable[..., Any]) -> Operator:
    """Register a pooling that returns (values, indices), and its gradient by these."""
    count = schema.count(",") + 1

    def run(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        values, indices = call(getattr(pyconv, function(rest)), array_of(x), *rest, return_indices=True)
        return tensor_of(values), tensor_of(indices)

    def run_gradient(g: Tensor, indices: Tensor, x_shape: Sequence[int], last: bool, *rest: Any) -> Tensor:
        array = array_of(g)
        x = stand_in(x_shape, array.dtype, _before_spatial()(g, rest), last)
        found = call(getattr(pyconv.grad, function(rest)), array, x, *rest, indices=array_of(indices))
        return tensor_of(found[0])

    def fake_maxima(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        channel, last = _image_order(x, rest)
        values = empty(x, fake(x, *rest), channel, last)
        return values, torch.empty_like(values, dtype=torch.int64)

    def fake_gradient(g: Tensor, indices: Tensor, x_shape: Sequence[Any], last: bool, *rest: Any) -> Tensor:
        return empty(g, x_shape, _before_spatial()(g, rest), last)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, *ctx.settings = inputs
        ctx.shape, ctx.last = x.shape, _image_order(x, tuple(ctx.settings))[1]
        ctx.save_for_backward(output[1])

    def keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.rank = len(inputs[4])

    def backward(ctx: Any, g: Tensor, _: Any) -> tuple[Any, ...]:
        (indices,) = ctx.saved_tensors
        return (gradient(g, indices, list(ctx.shape), ctx.last, *ctx.settings), *_nones(count))

    def backward_gradient(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        (indices,) = ctx.saved_tensors
        found = v.flatten(-ctx.rank).gather(-1, indices.flatten(-ctx.rank)).view(indices.shape)
        return (found, *_nones(3 + count))

    forward = _define(name, f"(Tensor x, {schema}) -> (Tensor, Tensor)", run, fake_maxima, keep, backward)
    gradient = _define(
        f"{name}_grad",
        f"(Tensor grad_output, Tensor indices, SymInt[] x_shape, bool channels_last, {schema}) -> Tensor",
        run_gradient, fake_gradient, keep_gradient, backward_gradient,
    )  # fmt: skip
    return forward


max_pool = _maxima(
    "max_pool",
    "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool ceil_mode",
    _ranked("max_pool"),
    _pooled,
)
adaptive_max_pool = _maxima(
    "adaptive_max_pool",
    "SymInt[] output_size",
    _ranked("adaptive_max_pool"),
    lambda x, size: [*x.shape[: x.ndim - len(size)], *size],
)


# ---- everything else ----


def _once(
    name: str,
    schema: str,
    differentiable: tuple[int, ...],
    function: Callable[[Settings], str],
    fake: Callable[..., Any],
    channel: Callable[[Tensor, Settings], int | None],
    run: Callable[..., Any] | None = None,
    run_gradient: Callable[..., Any] | None = None,
) -> Operator:
    """Register an operator whose gradient has none; return the operator.

    ``schema`` begins with x, ``differentiable`` are the places of the arguments that have a gradient, in pyconv's order;
    ``fake(*arguments)`` returns the first result's shape, and how many vectors of one value a channel follow it.
    """
    count, results = schema.count(",") + 1, len(differentiable)

    def run_plainly(*arguments: Any) -> Tensor:
        return tensor_of(call(getattr(pyconv, function(arguments)), *_arrays(arguments)))

    def run_gradient_plainly(g: Tensor, mask: Sequence[bool], *arguments: Any) -> Any:
        gradient_of = getattr(pyconv.grad, function(arguments))
        return call(gradient_of, array_of(g), *_arrays(arguments), output_mask=tuple(mask))

    def run_any_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> Any:
        found = (run_gradient or run_gradient_plainly)(g, mask, *arguments)
        tensors = [g.new_empty(0) if array is None else tensor_of(array) for array in found if array is not None or results > 1]
        return tensors[0] if results == 1 else tuple(tensors)

    def order(arguments: Settings) -> tuple[int | None, bool]:
        axis = channel(arguments[0], arguments)
        return axis, axis is not None and is_channels_last(arguments[0], axis)

    def fake_forward(*arguments: Any) -> Any:
        shape, vectors = fake(*arguments)
        x = arguments[0]
        first = empty(x, shape, *order(arguments))
        return (first, *(x.new_empty((x.shape[1],)) for _ in range(vectors))) if vectors else first

    def fake_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> Any:
        found = []
        for wanted, place in zip(mask, differentiable, strict=True):
            argument = arguments[place]
            if not wanted or argument is None:
                found.append(g.new_empty(0))
            elif place == 0:
                found.append(empty(g, argument.shape, *order(arguments)))
            else:
                found.append(g.new_empty(argument.shape))
        return found[0] if results == 1 else tuple(found)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _keep(ctx, inputs)

    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Any, ...]:
        arguments = _kept(ctx)
        mask = [ctx.needs_input_grad[place] for place in differentiable]
        found = gradient(g, mask, *arguments)
        answers: list[Any] = [None] * count
        for wanted, place, result in zip(mask, differentiable, (found,) if results == 1 else found, strict=True):
            if wanted:
                answers[place] = result
        return tuple(answers)

    def refuse(ctx: Any, *_: Any) -> None:
        raise Unsupported(
            f"pyconv::{name} has no second derivative; call this part of the program outside of "
            "pyconv.interop.torch.patch(), by torch's own function"
        )

    returns = "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"
    outputs = "(Tensor, Tensor, Tensor)" if name == "batch_norm_training" else "Tensor"
    forward = _define(name, f"({schema}) -> {outputs}", run or run_plainly, fake_forward, keep, backward)
    gradient = _define(
        f"{name}_grad", f"(Tensor grad_output, bool[] output_mask, {schema}) -> {returns}",
        run_any_gradient, fake_gradient, lambda ctx, inputs, output: None, refuse,
    )  # fmt: skip
    return forward


lp_pool = _once(
    "lp_pool",
    "Tensor x, float norm_type, SymInt[] kernel_size, SymInt[] stride, bool ceil_mode",
    (0,),
    _ranked("lp_pool", 2),
    lambda x, p, kernel, stride, ceil: (
        _pooled(x, kernel, stride, [0] * len(kernel), [1] * len(kernel), ceil),
        0,
    ),
    _before_spatial(2),
)
local_response_norm = _once(
    "local_response_norm",
    "Tensor x, SymInt size, float alpha, float beta, float k",
    (0,),
    _named("local_response_norm"),
    lambda x, *_: (x.shape, 0),
    lambda x, rest: 1,
)
grid_sample = _once(
    "grid_sample",
    "Tensor x, Tensor grid, str mode, str padding_mode, bool align_corners",
    (0, 1),
    _named("grid_sample"),
    lambda x, grid, *_: ((*x.shape[:2], *grid.shape[1:-1]), 0),
    lambda x, rest: 1,
)
roi_pool = _once(
    "roi_pool",
    "Tensor x, Tensor boxes, SymInt[] output_size, float spatial_scale",
    (0,),
    _named("roi_pool"),
    lambda x, boxes, size, scale: ((boxes.shape[0], x.shape[1], *size), 0),
    lambda x, rest: 1,
)


def _infer(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return tensor_of(call(pyconv.batch_norm, *_arrays((x, mean, var, weight, bias)), eps=eps))


def _infer_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> tuple[Any, ...]:
    *tensors, eps = arguments
    wants_x, wants_weight, wants_bias = mask
    wants = wants_x, False, False, wants_weight, wants_bias
    found = call(pyconv.grad.batch_norm, array_of(g), *_arrays(tensors), eps=eps, output_mask=wants)
    return found[0], found[3], found[4]


batch_norm = _once(
    "batch_norm",
    "Tensor x, Tensor running_mean, Tensor running_var, Tensor? weight, Tensor? bias, float eps",
    (0, 3, 4),
    _named("batch_norm"),
    lambda x, *_: (x.shape, 0),
    lambda x, rest: 1 if x.ndim > 2 else None,
    _infer,
    _infer_gradient,
)


def _train(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result, and the mean and the unbiased variance of x: statistics that take all of what is new."""
    array = array_of(x)
    mean, var = (stand_in(array.shape[1:2], array.dtype) for _ in range(2))
    mean[...] = var[...] = 0
    y = call(pyconv.batch_norm, array, mean, var, *_arrays((weight, bias)), training=True, momentum=1.0, eps=eps)
    return tensor_of(y), tensor_of(mean), tensor_of(var)


def _train_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> tuple[Any, ...]:
    x, weight, bias, eps = arguments
    wants_x, wants_weight, wants_bias = mask
    wants = wants_x, False, False, wants_weight, wants_bias
    found = call(
        pyconv.grad.batch_norm, array_of(g), array_of(x), None, None, *_arrays((weight, bias)),
        training=True, eps=eps, output_mask=wants,
    )  # fmt: skip
    return found[0], found[3], found[4]


batch_norm_training = _once(
    "batch_norm_training",
    "Tensor x, Tensor? weight, Tensor? bias, float eps",
    (0, 1, 2),
    _named("batch_norm"),
    lambda x, *_: (x.shape, 2),
    lambda x, rest: 1 if x.ndim > 2 else None,
    _train,
    _train_gradient,
)


def _deform(x: Tensor, offset: Tensor, w: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    stride, padding, dilation, mask = rest
    arrays = _arrays((x, offset, w, bias, mask))
    words = ("stride", stride), ("padding", padding), ("dilation", dilation)
    packed = kept(pyconv.deform_conv2d, w, bias, arrays[2], arrays[3], words)
    if packed is not None:
        return tensor_of(call(packed, arrays[0], arrays[1], arrays[4]))
    return tensor_of(call(pyconv.deform_conv2d, *arrays[:4], *rest[:3], arrays[4]))


deform_conv2d = _once(
    "deform_conv2d",
    "Tensor x, Tensor offset, Tensor w, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, Tensor? mask",
    (0, 1, 2, 3, 7),
    _named("deform_conv2d"),
    lambda x, offset, w, *_: ((x.shape[0], w.shape[0], *offset.shape[2:]), 0),
    lambda x, rest: 1,
    _deform,
)


# ---- without gradients ----


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return tensor_of(call(pyconv.nms, array_of(boxes), array_of(scores), iou_threshold))


def _fake_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(),), dtype=torch.int64)


nms = _define("nms", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor", _nms, _fake_nms)
