"""Kinds of custom operators, by what their gradients are.

* *products* of x and w (convolutions, transposed ones, linear): forward, gradient of x and gradient of w are each
  linear in two arguments, and each a gradient of the others, so they can be differentiated any number of times;
* *maps*, linear in x (averages, resizing, RoI means, ...): the gradient is the transposed map, and that one's gradient
  is the map;
* *maxima*: a map as soon as it is known where they are;
* everything else: the gradient is an operator that has none, and says so.

Settings are one integer for each axis; their number is the rank. Sizes without data are torch's own arithmetic, on
tensors that have no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

import pyconv

from ...errors import Unsupported
from .packs import kept
from .tensors import DIRECT, RECORDED, Declined, array_of, call, empty, is_channels_last, stand_in, tensor_of, way_of

__all__ = ["Operator", "Product", "Settings", "arrays_of", "define", "linear_map", "maxima", "once", "product"]

Settings = tuple[Any, ...]
#: (axes of x, settings) -> the axis of the channels; None where there is no such thing.
Channel = Callable[[int, Settings], int | None]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of torch's, and what it runs.

    Attributes
    ----------
    run : callable
        Computes with tensors that have memory; what is called where nobody has to see the operator. Sequences of
        settings are tuples.
    record : callable
        The same, and autograd knows of it: half of what the dispatcher's way to Python and back costs.
    op : callable
        ``torch.ops.pyconv.<name>``.
    """

    run: Callable[..., Any]
    record: Callable[..., Any]
    op: Callable[..., Any]

    def by(self, way: int) -> Callable[..., Any]:
        """Return what is to be called on a way that is not torch's own."""
        return self.run if way == DIRECT else self.record if way == RECORDED else self.op

    def __call__(self, *arguments: Any) -> Any:
        """Call it within a gradient, where there is no way back to torch."""
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        try:
            return self.by(way_of(*tensors))(*map(_hashable, arguments))
        except Declined:
            return self.op(*arguments)  # a batch of gradients, which the dispatcher takes apart


def _hashable(argument: Any) -> Any:
    return tuple(argument) if argument.__class__ is list else argument


def define(
    name: str,
    schema: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Operator:
    """Register an operator under a name: what runs, what stands for that without data, and the gradient."""

    def run_hashable(*arguments: Any) -> Any:
        return run(*map(_hashable, arguments))

    definition = torch.library.custom_op(f"pyconv::{name}", run_hashable, mutates_args=(), schema=schema)
    definition.register_fake(fake)
    op = getattr(torch.ops.pyconv, name).default
    definition.register_vmap(partial(_each_alone, op))
    if setup is None or backward is None:
        return Operator(run, run, op)
    definition.register_autograd(backward, setup_context=setup)

    def run_recorded(ctx: Any, *arguments: Any) -> Any:
        output = run(*arguments)
        setup(ctx, arguments, output)
        return output

    # with a setup_context of its own, torch would look up run's signature in every call
    methods = {"forward": staticmethod(run_recorded), "backward": staticmethod(backward)}
    recorded: Any = type(name, (torch.autograd.Function,), methods)
    return Operator(run, recorded.apply, op)


def _each_alone(op: Callable[..., Any], info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
    """Call an operator for each slice of batched tensors: what gradients by ``is_grads_batched`` come to."""
    found = []
    for i in range(info.batch_size):
        slices = [a if d is None else a.select(d, i) for a, d in zip(arguments, in_dims, strict=True)]
        found.append(op(*slices))
    if isinstance(found[0], tuple):
        return tuple(map(torch.stack, zip(*found, strict=True))), (0,) * len(found[0])
    return torch.stack(found), 0


def _save(ctx: Any, arguments: Sequence[Any]) -> None:
    """Keep a call's arguments for its gradient, tensors as autograd wants them kept."""
    ctx.are_tensors = [isinstance(argument, Tensor) for argument in arguments]
    ctx.save_for_backward(*[argument for argument in arguments if isinstance(argument, Tensor)])
    ctx.others = [argument for argument in arguments if not isinstance(argument, Tensor)]


def _saved(ctx: Any) -> list[Any]:
    tensors, others = iter(ctx.saved_tensors), iter(ctx.others)
    return [next(tensors if is_tensor else others) for is_tensor in ctx.are_tensors]


def arrays_of(arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments with arrays for tensors."""
    return [array_of(argument) if isinstance(argument, Tensor) else argument for argument in arguments]


def _nones(count: int) -> tuple[None, ...]:
    return (None,) * count


def _order(x: Tensor, channel: Channel, settings: Settings) -> tuple[int | None, bool]:
    """Return the axis of the channels of x, and whether they are last in memory."""
    axis = channel(x.ndim, settings)
    return axis, axis is not None and is_channels_last(x, axis)


# ---- products ----


def _pairs(padding: Sequence[int], rank: int) -> Settings:
    """Return the padding as pyconv spells it, from one number an axis or (before, after, before, after, ...)."""
    if len(padding) == rank:
        return tuple(padding)
    return tuple((padding[2 * axis], padding[2 * axis + 1]) for axis in range(rank))


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """What a product's three operators have in common.

    Attributes
    ----------
    names : tuple of str
        Its settings, as pyconv's function calls them.
    function : callable
        (settings) -> the name of that function.
    sizes : callable
        (x, w, bias, settings) -> the shape of the result.
    channel : callable
        Where the channels of x, and of the result, are; see :data:`Channel`. None: results are C-contiguous.
    channel_of_bias : callable
        (axes of the result, axes of w) -> the axis along which the bias lies.
    """

    names: tuple[str, ...]
    function: Callable[[Settings], str]
    sizes: Callable[[Tensor, Tensor, Tensor | None, Settings], Sequence[Any]]
    channel: Channel
    channel_of_bias: Callable[[int, int], int]

    def forward(self, x: Tensor, w: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        """Run it, with packed weights if they are worth it."""
        name, words = _spelled(self, settings)
        function = getattr(pyconv, name)
        packed = kept(function, w, bias, words)
        if packed is not None:
            return tensor_of(call(packed, array_of(x)))
        arrays = array_of(x), array_of(w), None if bias is None else array_of(bias)
        return tensor_of(call(function, *arrays, **dict(words)))

    def gradient(self, place: int, grad_output: Tensor, other: Tensor, shape: Sequence[int], *settings: Any) -> Tensor:
        """Return the gradient of x (place 0) or w (1), whose shape is given, from grad_output and the other one."""
        g, array = array_of(grad_output), array_of(other)
        absent = stand_in(shape, g.dtype)
        x, w = (array, absent) if place else (absent, array)
        name, words = _spelled(self, settings)
        mask = tuple(i == place for i in range(3))
        found = call(getattr(pyconv.grad, name), g, x, w, **dict(words), output_mask=mask)
        return tensor_of(found[place])


@lru_cache(maxsize=1024)
def _spelled(of: Product, settings: Settings) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Return the name of pyconv's function, and the settings by name."""
    found = dict(zip(of.names, settings, strict=True))
    if "padding" in found:
        found["padding"] = _pairs(found["padding"], len(found["stride"]))
    return of.function(settings), tuple(found.items())


def product(name: str, schema: str, of: Product) -> Operator:
    """Register the three operators of a product; ``schema`` is that of its settings. Return the forward one."""
    count = len(of.names)
    more = f", {schema}" if schema else ""

    def fake_forward(x: Tensor, w: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        return empty(x, of.sizes(x, w, bias, settings), *_order(x, of.channel, settings))

    def fake_x(grad_output: Tensor, w: Tensor, x_shape: Sequence[Any], *settings: Any) -> Tensor:
        return empty(grad_output, x_shape, *_order(grad_output, of.channel, settings))

    def fake_w(grad_output: Tensor, x: Tensor, w_shape: Sequence[Any], *settings: Any) -> Tensor:
        return empty(grad_output, w_shape, None, False)

    def save_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, w, _, *ctx.settings = inputs
        wants_x, wants_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if wants_w else None, w if wants_x else None)
        ctx.shapes = tuple(x.shape), tuple(w.shape)

    def save_pair(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        grad_output, other, _, *ctx.settings = inputs
        ctx.save_for_backward(grad_output, other)

    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        (x, w), (x_shape, w_shape) = ctx.saved_tensors, ctx.shapes
        wants_x, wants_w, wants_bias = ctx.needs_input_grad[:3]
        others = [axis for axis in range(g.ndim) if axis != of.channel_of_bias(g.ndim, len(w_shape))]
        return (
            gradient_x(g, w, x_shape, *ctx.settings) if wants_x else None,
            gradient_w(g, x, w_shape, *ctx.settings) if wants_w else None,
            None if not wants_bias else g.sum(others) if others else g,
            *_nones(count),
        )

    def backward_x(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        g, w = ctx.saved_tensors
        wants_g, wants_w = ctx.needs_input_grad[:2]
        return (
            forward(v, w, None, *ctx.settings) if wants_g else None,
            gradient_w(g, v, tuple(w.shape), *ctx.settings) if wants_w else None,
            *_nones(1 + count),
        )

    def backward_w(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        g, x = ctx.saved_tensors
        wants_g, wants_x = ctx.needs_input_grad[:2]
        return (
            forward(x, v, None, *ctx.settings) if wants_g else None,
            gradient_x(g, v, tuple(x.shape), *ctx.settings) if wants_x else None,
            *_nones(1 + count),
        )

    forward = define(
        name, f"(Tensor x, Tensor w, Tensor? bias{more}) -> Tensor", of.forward, fake_forward, save_forward, backward
    )
    gradient_x = define(
        f"{name}_grad_x", f"(Tensor grad_output, Tensor w, SymInt[] x_shape{more}) -> Tensor",
        partial(of.gradient, 0), fake_x, save_pair, backward_x,
    )  # fmt: skip
    gradient_w = define(
        f"{name}_grad_w", f"(Tensor grad_output, Tensor x, SymInt[] w_shape{more}) -> Tensor",
        partial(of.gradient, 1), fake_w, save_pair, backward_w,
    )  # fmt: skip
    return forward


# ---- maps ----


def linear_map(
    name: str,
    schema: str,
    function: Callable[[Settings], str],
    sizes: Callable[..., Sequence[Any]],
    channel: Channel,
    in_order: bool = True,
) -> Operator:
    """Register a map and its transpose; return the map.

    ``schema`` is that of what follows x, tensors without gradients among it, and ``function(rest)`` the name in pyconv.
    ``sizes(x, *rest)`` returns the result's shape. Where not ``in_order``, the result is C-contiguous, whatever the
    order of x.
    """
    count = schema.count(",") + 1

    def run(x: Tensor, *rest: Any) -> Tensor:
        return tensor_of(call(getattr(pyconv, function(rest)), array_of(x), *arrays_of(rest)))

    def run_transposed(g: Tensor, x_shape: Sequence[int], last: bool, *rest: Any) -> Tensor:
        array = array_of(g)
        x = stand_in(x_shape, array.dtype, channel(len(x_shape), rest), last)
        return tensor_of(call(getattr(pyconv.grad, function(rest)), array, x, *arrays_of(rest))[0])

    def fake_forward(x: Tensor, *rest: Any) -> Tensor:
        axis, last = _order(x, channel, rest)
        return empty(x, sizes(x, *rest), axis, in_order and last)

    def fake_transposed(g: Tensor, x_shape: Sequence[Any], last: bool, *rest: Any) -> Tensor:
        return empty(g, x_shape, channel(len(x_shape), rest), last)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, *rest = inputs
        ctx.shape, ctx.last = tuple(x.shape), _order(x, channel, tuple(rest))[1]
        _save(ctx, rest)

    def save_transposed(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _save(ctx, inputs[3:])

    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return (transposed(g, ctx.shape, ctx.last, *_saved(ctx)), *_nones(count))

    def backward_transposed(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        return (forward(v, *_saved(ctx)), *_nones(2 + count))

    forward = define(name, f"(Tensor x, {schema}) -> Tensor", run, fake_forward, save, backward)
    transposed = define(
        f"{name}_grad", f"(Tensor grad_output, SymInt[] x_shape, bool channels_last, {schema}) -> Tensor",
        run_transposed, fake_transposed, save_transposed, backward_transposed,
    )  # fmt: skip
    return forward


# ---- maxima ----


def maxima(
    name: str, schema: str, function: Callable[[Settings], str], sizes: Callable[..., Sequence[Any]], channel: Channel
) -> Operator:
    """Register a pooling that returns (values, indices), and its gradient by these; the first setting has the rank."""
    count = schema.count(",") + 1

    def run(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        values, indices = call(getattr(pyconv, function(rest)), array_of(x), *rest, return_indices=True)
        return tensor_of(values), tensor_of(indices)

    def run_gradient(g: Tensor, indices: Tensor, x_shape: Sequence[int], last: bool, *rest: Any) -> Tensor:
        array = array_of(g)
        x = stand_in(x_shape, array.dtype, channel(len(x_shape), rest), last)
        found = call(getattr(pyconv.grad, function(rest)), array, x, *rest, indices=array_of(indices))
        return tensor_of(found[0])

    def fake_forward(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        values = empty(x, sizes(x, *rest), *_order(x, channel, rest))
        return values, torch.empty_like(values, dtype=torch.int64)

    def fake_gradient(g: Tensor, indices: Tensor, x_shape: Sequence[Any], last: bool, *rest: Any) -> Tensor:
        return empty(g, x_shape, channel(len(x_shape), rest), last)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, *ctx.settings = inputs
        ctx.shape, ctx.last = tuple(x.shape), _order(x, channel, tuple(ctx.settings))[1]
        ctx.save_for_backward(output[1])

    def save_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.rank = len(inputs[4])

    def backward(ctx: Any, g: Tensor, _: Any) -> tuple[Any, ...]:
        (indices,) = ctx.saved_tensors
        return (gradient(g, indices, ctx.shape, ctx.last, *ctx.settings), *_nones(count))

    def backward_gradient(ctx: Any, v: Tensor) -> tuple[Any, ...]:
        (indices,) = ctx.saved_tensors
        found = v.flatten(-ctx.rank).gather(-1, indices.flatten(-ctx.rank)).view(indices.shape)
        return (found, *_nones(3 + count))

    forward = define(name, f"(Tensor x, {schema}) -> (Tensor, Tensor)", run, fake_forward, save, backward)
    gradient = define(
        f"{name}_grad",
        f"(Tensor grad_output, Tensor indices, SymInt[] x_shape, bool channels_last, {schema}) -> Tensor",
        run_gradient, fake_gradient, save_gradient, backward_gradient,
    )  # fmt: skip
    return forward


# ---- everything else ----


def once(
    name: str,
    schema: str,
    differentiable: tuple[int, ...],
    function: Callable[[Settings], str],
    sizes: Callable[..., Sequence[Any]],
    channel: Channel,
    run: Callable[..., Any] | None = None,
    run_gradient: Callable[..., Any] | None = None,
    vectors: int = 0,
) -> Operator:
    """Register an operator whose gradient has none; return the operator.

    ``schema`` is that of all arguments, x first; ``differentiable`` are the places of those that have a gradient, in
    the order of pyconv's. ``function(arguments)`` is the name in pyconv, ``sizes(*arguments)`` the shape of the result,
    which so many ``vectors`` of one value a channel follow. ``run`` and ``run_gradient`` are for those whose arguments
    are not pyconv's: the latter takes (grad_output, output_mask, *arguments) and returns arrays, None for one that is
    not wanted.
    """
    count, results = schema.count(",") + 1, len(differentiable)

    def run_plainly(*arguments: Any) -> Tensor:
        return tensor_of(call(getattr(pyconv, function(arguments)), *arrays_of(arguments)))

    def gradient_plainly(g: Tensor, mask: Sequence[bool], *arguments: Any) -> Any:
        gradient_of = getattr(pyconv.grad, function(arguments))
        return call(gradient_of, array_of(g), *arrays_of(arguments), output_mask=tuple(mask))

    def run_any_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> Any:
        found = (run_gradient or gradient_plainly)(g, mask, *arguments)
        tensors = tuple(g.new_empty(0) if array is None else tensor_of(array) for array in found)
        return tensors[0] if results == 1 else tensors

    def fake_forward(*arguments: Any) -> Any:
        x = arguments[0]
        first = empty(x, sizes(*arguments), *_order(x, channel, arguments))
        return (first, *(x.new_empty((x.shape[1],)) for _ in range(vectors))) if vectors else first

    def fake_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> Any:
        found = []
        for wanted, place in zip(mask, differentiable, strict=True):
            argument = arguments[place]
            if not wanted or argument is None:
                found.append(g.new_empty(0))
            elif place == 0:
                found.append(empty(g, argument.shape, *_order(argument, channel, arguments)))
            else:
                found.append(g.new_empty(argument.shape))
        return found[0] if results == 1 else tuple(found)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _save(ctx, inputs)

    def save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Any, ...]:
        mask = [ctx.needs_input_grad[place] for place in differentiable]
        found = gradient(g, mask, *_saved(ctx))
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

    forward = define(name, f"({schema}) -> {_tensors(1 + vectors)}", run or run_plainly, fake_forward, save, backward)
    gradient = define(
        f"{name}_grad", f"(Tensor grad_output, bool[] output_mask, {schema}) -> {_tensors(results)}",
        run_any_gradient, fake_gradient, save_nothing, refuse,
    )  # fmt: skip
    return forward


def _tensors(count: int) -> str:
    return "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
