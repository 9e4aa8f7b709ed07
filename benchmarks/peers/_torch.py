"""What the memory orders of the torch peer share, and torchvision with them.

Everything is called as the layer says; gradients through autograd, with the graph kept, so that nothing of the forward
pass is timed. :data:`FORMS` adds other ways to say the same where the library has them: the kernels of autograd without
autograd, and weights reordered once for oneDNN (``torch.ops.mkldnn``: what ``torch.compile`` emits for frozen weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch

from benchmarks.peers import Array, Job, Prepared, fastest
from benchmarks.shapes import Convolution, Layer
from benchmarks.shapes.conv import Transposed
from benchmarks.shapes.pool import PoolingGradient

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
#: Arrays of four axes that are no images.
NO_IMAGES = ("grid",)
Outputs = tuple[torch.Tensor, ...]
#: Inference mode, while a layer that is no gradient is measured.
_MODE = ExitStack()


@dataclass(frozen=True)
class Call:
    """A job's arrays as tensors, and the order in which images lie and come back."""

    job: Job
    tensors: dict[str, torch.Tensor]
    channels_last: bool

    def ordered(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor in this order, copied only if it has another."""
        last = self.channels_last and tensor.ndim in CHANNELS_LAST
        return tensor.contiguous(memory_format=CHANNELS_LAST[tensor.ndim] if last else torch.contiguous_format)


def _arrays(found: torch.Tensor | Outputs) -> tuple[Array, ...]:
    return tuple(t.numpy() for t in ((found,) if isinstance(found, torch.Tensor) else found) if t is not None)


def _form(call: Callable[[], torch.Tensor | Outputs], name: str) -> Prepared:
    return Prepared(lambda: _arrays(call()), name)


def _forward(call: Call, library: ModuleType) -> Prepared:
    """Return the function as the layer calls it."""
    layer, relu = call.job.layer, call.job.activation == "relu"
    function, arguments, settings = getattr(library, layer.function), layer.arguments(call.tensors), layer.settings

    def run() -> tuple[Array, ...]:
        found = function(*arguments, **settings)
        if relu:
            found = found.relu_()
        return _arrays(tuple(map(call.ordered, found)) if isinstance(found, tuple) else call.ordered(found))

    return Prepared(run, layer.function)


def _backward(call: Call, library: ModuleType) -> Prepared:
    """Return the gradients by autograd; the forward pass is made here, once."""
    layer = call.job.layer
    assert layer.wanted is not None
    with torch.enable_grad():
        # Without a gradient a tensor spares autograd the work for it.
        names = [name for name, want in zip(layer.inputs, layer.wanted, strict=False) if want and name in call.tensors]
        tensors = {name: t.detach().requires_grad_(name in names) for name, t in call.tensors.items()}
        y = getattr(library, layer.function)(*layer.arguments(tensors), **layer.settings)
    inputs = [tensors[name] for name in names]
    return _form(lambda: torch.autograd.grad(y, inputs, call.tensors["g"], retain_graph=True), "autograd")


def _other_order(call: Call) -> Iterator[Prepared]:
    """Yield the function with its weights in the other memory order than x."""
    w = call.tensors["w"]
    if w.ndim in CHANNELS_LAST:
        order = torch.contiguous_format if call.channels_last else CHANNELS_LAST[w.ndim]
        other = replace(call, tensors={**call.tensors, "w": w.contiguous(memory_format=order)})
        form = _forward(other, torch.nn.functional)
        yield replace(form, form=f"{form.form}, weights in the other order")


def _reordered(call: Call) -> Iterator[Prepared]:
    """Yield the operation of oneDNN with its weights reordered."""
    layer, onednn = call.job.layer, torch.ops.mkldnn
    x, w, bias = (call.tensors.get(name) for name in ("x", "w", "bias"))
    after: tuple[Any, ...] = (call.job.activation or "none", [], "")
    sizes: tuple[Any, ...] = ()
    if isinstance(layer, Convolution):
        stride, padding, dilation = (list(sizes) for sizes in layer.geometry[1:])
        if isinstance(layer, Transposed):
            operation, order = onednn._convolution_transpose_pointwise, onednn._reorder_convolution_transpose_weight
            sizes = (padding, list(layer.output_padding), stride, dilation, layer.groups)
        else:
            operation, order = onednn._convolution_pointwise, onednn._reorder_convolution_weight
            sizes = (padding, stride, dilation, layer.groups)
        packed = order(w, *sizes, list(layer.shapes["x"]))
    else:
        operation = onednn._linear_pointwise
        packed = onednn._reorder_linear_weight(w, layer.shapes["x"][0])
    yield _form(lambda: call.ordered(operation(x, packed, bias, *sizes, *after)), "oneDNN with reordered weights")


def _weighted(call: Call) -> Iterator[Prepared]:
    yield from _other_order(call)
    if call.job.dtype == "float32" and call.job.layer.function in ("conv2d", "conv_transpose2d", "linear"):
        yield from _reordered(call)


def _conv_gradients(call: Call) -> Iterator[Prepared]:
    layer, tensors = call.job.layer, call.tensors
    assert isinstance(layer, Convolution)
    geometry = [list(sizes) for sizes in layer.geometry[1:]]
    backward = torch.ops.aten.convolution_backward
    rest = (None, *geometry, False, [0] * layer.rank, layer.groups, list(layer.wanted or ()))
    yield _form(lambda: backward(tensors["g"], tensors["x"], tensors["w"], *rest), "convolution_backward")


def _pool_gradients(call: Call) -> Iterator[Prepared]:
    layer, g, x = call.job.layer, call.tensors["g"], call.tensors["x"]
    assert isinstance(layer, PoolingGradient)
    sizes = [list(size) for size in layer.geometry[:3]]
    aten = torch.ops.aten
    if layer.rank != 2:
        return
    if layer.kind == "avg":
        yield _form(lambda: aten.avg_pool2d_backward(g, x, *sizes, False, True, None), "avg_pool2d_backward")
        return
    indices = aten.max_pool2d_with_indices(x, *sizes)[1]
    backward = aten.max_pool2d_with_indices_backward
    yield _form(lambda: backward(g, x, *sizes, [1, 1], False, indices), "max_pool2d_with_indices_backward")


FORMS: dict[str, Callable[[Call], Iterator[Prepared]]] = {
    "conv": _weighted,
    "conv_transpose": _weighted,
    "linear": _weighted,
    "conv_grad": _conv_gradients,
    "max_pool_grad": _pool_gradients,
    "avg_pool_grad": _pool_gradients,
}


def lacks(layer: Layer, library: ModuleType) -> str | None:
    """Return the reason why a library has no such function, or None."""
    return None if hasattr(library, layer.function) else f"{library.__name__} has no {layer.function}"


def _all(call: Call, library: ModuleType) -> Iterator[Prepared]:
    yield (_forward if call.job.layer.wanted is None else _backward)(call, library)
    if call.job.layer.operation in FORMS:
        yield from FORMS[call.job.layer.operation](call)


def prepare(job: Job, library: ModuleType, *, channels_last: bool = False) -> Prepared:
    """Return the fastest form; images come and go in the given memory order."""
    torch.set_num_threads(job.threads)
    torch.set_grad_enabled(False)
    _MODE.close()
    if job.layer.wanted is None:
        # For as long as this layer is measured: its calls are inference.
        _MODE.enter_context(torch.inference_mode())
    call = Call(job, {name: torch.from_numpy(array) for name, array in job.arrays.items()}, channels_last)
    images = {name: t if name in NO_IMAGES else call.ordered(t) for name, t in call.tensors.items()}
    return fastest(_all(replace(call, tensors=images), library))
