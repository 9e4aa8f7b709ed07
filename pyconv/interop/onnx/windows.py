"""ONNX's convolutions, poolings and un-poolings on pyconv's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    deform_conv2d,
    elu,
    fold,
    hardswish,
    leaky_relu,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    options,
    relu,
    relu6,
    sigmoid,
    silu,
    tanh,
)
from ...algorithm import Array
from ...errors import InvalidProblem
from .nodes import Call, Inputs, Node, NotTaken, floats, operator

__all__ = [
    "CONV",
    "FUSED",
    "TRANSPOSED",
    "Window",
    "activated",
    "conv_settings",
    "conv_shape",
    "exact_convolution",
    "transposed_settings",
    "transposed_window",
    "window_of",
]

CONV = {1: conv1d, 2: conv2d, 3: conv3d}
TRANSPOSED = {1: conv_transpose1d, 2: conv_transpose2d, 3: conv_transpose3d}
_MAX = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}
_AVG = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}
_LP = {1: lp_pool1d, 2: lp_pool2d, 3: lp_pool3d}
_UNPOOL = {1: max_unpool1d, 2: max_unpool2d, 3: max_unpool3d}
_GLOBAL_AVG = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
_GLOBAL_MAX = {1: adaptive_max_pool1d, 2: adaptive_max_pool2d, 3: adaptive_max_pool3d}

#: Domain of nodes that fusions make: Conv and ConvTranspose with an activation, a padding mode and a residual.
FUSED = "pyconv"


class Window(NamedTuple):
    """How a kernel moves over an input; one entry an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Elements that the window covers."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def out(self, spatial: Sequence[int], ceil_mode: bool) -> tuple[int, ...]:
        """Return the output's sizes; a last window that hangs over must not begin in the padding."""
        sizes = []
        for size, reach, stride, pad in zip(spatial, self.reach, self.stride, self.pads, strict=True):
            room = size + sum(pad) - reach
            count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
            if ceil_mode and (count - 1) * stride >= size + pad[0]:
                count -= 1
            sizes.append(count)
        return tuple(sizes)

    def fits(self) -> bool:
        """Whether pyconv's poolings take this padding, which is half of a window at most."""
        return all(2 * max(pad) <= reach for pad, reach in zip(self.pads, self.reach, strict=True))

    def padded(self, x: Array, out: Sequence[int], value: Any) -> Array:
        """Return x with exactly the elements that ``out`` windows an axis cover."""
        widths, crop = [(0, 0), (0, 0)], [slice(None), slice(None)]
        for size, reach, stride, pad, count in zip(x.shape[2:], self.reach, self.stride, self.pads, out, strict=True):
            needed = (count - 1) * stride + reach
            widths.append((pad[0], max(0, needed - size - pad[0])))
            crop.append(slice(0, needed))
        return np.pad(x, widths, constant_values=value)[tuple(crop)]


def _pairs(attributes: Mapping[str, Any], rank: int) -> tuple[tuple[int, int], ...]:
    flat = attributes.get("pads") or (0,) * 2 * rank
    if len(flat) != 2 * rank:
        raise InvalidProblem(f"pads must have {2 * rank} entries, begins and then ends, got {list(flat)}")
    return tuple(zip(flat[:rank], flat[rank:], strict=True))


def window_of(attributes: Mapping[str, Any], spatial: Sequence[int], kernel: Sequence[int] | None = None) -> Window:
    """Return the window of a convolution or pooling over an input of this size.

    Examples
    --------
    >>> window_of({"auto_pad": "SAME_UPPER", "strides": [2]}, (5,), (4,))
    Window(kernel=(4,), stride=(2,), dilation=(1,), pads=((1, 2),))
    """
    rank = len(spatial)
    kernel = tuple(attributes["kernel_shape"]) if kernel is None else tuple(kernel)
    stride = tuple(attributes.get("strides") or (1,) * rank)
    dilation = tuple(attributes.get("dilations") or (1,) * rank)
    word = attributes.get("auto_pad", "NOTSET") or "NOTSET"
    if word == "NOTSET":
        return Window(kernel, stride, dilation, _pairs(attributes, rank))
    if word == "VALID":
        return Window(kernel, stride, dilation, ((0, 0),) * rank)
    if word not in ("SAME_UPPER", "SAME_LOWER"):
        raise InvalidProblem(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, got {word!r}")
    pads = []
    for size, k, s, d in zip(spatial, kernel, stride, dilation, strict=True):
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        pads.append(_halves(total, word == "SAME_UPPER"))
    return Window(kernel, stride, dilation, tuple(pads))


def _halves(total: int, more_at_end: bool) -> tuple[int, int]:
    less = total // 2
    return (less, total - less) if more_at_end else (total - less, less)


def transposed_window(
    attributes: Mapping[str, Any], opset: int, spatial: Sequence[int], kernel: Sequence[int]
) -> tuple[Window, tuple[int, ...]]:
    """Return the window of a transposed convolution, and its output padding.

    With ``output_shape`` or auto_pad the padding is what is left over; before operator set 11 the odd element went to
    the other side. A padding below zero, where more output is asked for than there is, becomes output padding.
    """
    rank = len(spatial)
    stride = tuple(attributes.get("strides") or (1,) * rank)
    dilation = tuple(attributes.get("dilations") or (1,) * rank)
    extra = tuple(attributes.get("output_padding") or (0,) * rank)[:rank]
    wanted = attributes.get("output_shape")
    word = attributes.get("auto_pad", "NOTSET") or "NOTSET"
    pads = _pairs(attributes, rank) if word == "NOTSET" else ((0, 0),) * rank
    if wanted is None and word in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * s for size, s in zip(spatial, stride, strict=True)]
    if wanted is not None:
        more_at_end = (word == "SAME_UPPER") == (opset >= 11)
        totals = [
            s * (size - 1) + e + (k - 1) * d + 1 - target
            for size, s, e, k, d, target in zip(
                spatial, stride, extra, kernel, dilation, list(wanted)[-rank:], strict=True
            )
        ]
        pads = tuple(_halves(max(0, total), more_at_end) for total in totals)
        extra = tuple(e + max(0, -total) for e, total in zip(extra, totals, strict=True))
    return Window(tuple(kernel), stride, dilation, pads), extra


def _rank_of(x: Array, functions: Mapping[int, Any]) -> int:
    if x.ndim - 2 not in functions:
        raise NotTaken(f"{x.ndim - 2} spatial axes")
    return x.ndim - 2


def _given(inputs: Inputs, count: int) -> list[Any]:
    """Return as many inputs, None for those that are left out."""
    return [*inputs, *(None,) * (count - len(inputs))]


def conv_settings(node: Node, x: Array, w: Array) -> dict[str, Any]:
    """Return how pyconv spells the settings of a convolution of x with w, fused or not."""
    window = window_of(node.attributes, x.shape[2:], w.shape[2:])
    return {
        "stride": window.stride,
        "padding": window.pads,
        "dilation": window.dilation,
        "groups": node.get("group", 1),
        "padding_mode": node.get("padding_mode", "zeros"),
        "activation": node.get("activation"),
    }


def conv_shape(node: Node, x: Array, w: Array) -> tuple[int, ...]:
    """Return the shape of a convolution's result."""
    return x.shape[0], w.shape[0], *window_of(node.attributes, x.shape[2:], w.shape[2:]).out(x.shape[2:], False)


@operator("Conv")
@operator("Conv", domain=FUSED)
def _conv(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, w, bias, residual = _given(inputs, 4)
    function = CONV[_rank_of(x, CONV)]
    floats(x, w, bias, residual)
    settings = conv_settings(node, x, w)
    if residual is None or residual.shape == conv_shape(node, x, w):
        return function(x, w, bias, **settings, residual=residual, out=out)
    # a sum that broadcasts is no residual
    activation = settings.pop("activation")
    return activated(function(x, w, bias, **settings) + residual, activation)


def transposed_settings(node: Node, x: Array, w: Array) -> dict[str, Any]:
    """Return how pyconv spells the settings of a transposed convolution, fused or not."""
    window, extra = transposed_window(node.attributes, node.opset, x.shape[2:], w.shape[2:])
    return {
        "stride": window.stride,
        "padding": window.pads,
        "output_padding": extra,
        "groups": node.get("group", 1),
        "dilation": window.dilation,
        "activation": node.get("activation"),
    }


@operator("ConvTranspose")
@operator("ConvTranspose", domain=FUSED)
def _conv_transpose(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, w, bias = _given(inputs, 3)
    rank = _rank_of(x, TRANSPOSED)
    floats(x, w, bias)
    settings = transposed_settings(node, x, w)
    # pyconv takes as much output padding as torch; what is more has seen no x, and holds the bias
    most = [max(s, d) - 1 for s, d in zip(settings["stride"], settings["dilation"], strict=True)]
    extra = settings["output_padding"]
    taken = settings["output_padding"] = tuple(map(min, extra, most))
    if taken == extra:
        return TRANSPOSED[rank](x, w, bias, **settings, out=out)
    activation = settings.pop("activation")
    y = TRANSPOSED[rank](x, w, bias, **settings)
    more = np.pad(y, [(0, 0), (0, 0), *((0, e - t) for e, t in zip(extra, taken, strict=True))])
    if bias is not None:
        outside = np.ones(more.shape[2:], bool)
        outside[tuple(map(slice, y.shape[2:]))] = False
        np.copyto(more, bias.reshape(-1, *(1,) * rank), where=outside)
    return activated(more, activation)


@operator("DeformConv")
def _deform_conv(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, w, offset, bias, mask = _given(inputs, 5)
    if x.ndim != 4:
        raise NotTaken(f"{x.ndim - 2} spatial axes")
    floats(x, w, offset, bias, mask)
    window = window_of(node.attributes, x.shape[2:], w.shape[2:])
    return deform_conv2d(x, offset, w, bias, window.stride, window.pads, window.dilation, mask, out=out)


def _lowest(dtype: np.dtype[Any]) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


@operator("MaxPool")
def _max_pool(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    rank = _rank_of(x, _MAX)
    if x.dtype.name not in ("float16", "float32", "float64") and x.dtype.kind not in "iu":
        raise NotTaken(f"arrays of {x.dtype.name}")
    window, ceil_mode = window_of(node.attributes, x.shape[2:]), bool(node.get("ceil_mode", 0))
    shift: Sequence[int] = (0,) * rank
    source = x
    if not window.fits():
        source = window.padded(x, window.out(x.shape[2:], ceil_mode), _lowest(x.dtype))
        shift = [before for before, _ in window.pads]
        window, ceil_mode = window._replace(pads=((0, 0),) * rank), False
    settings = (window.kernel, window.stride, window.pads, window.dilation, ceil_mode)
    if not node.wants(1):
        return Call(_MAX[rank], (source, *settings))
    y, indices = _MAX[rank](source, *settings, return_indices=True)
    return y, _flat_indices(indices, source.shape[2:], x.shape, shift, bool(node.get("storage_order", 0)))


def _flat_indices(
    indices: Array, plane: Sequence[int], shape: Sequence[int], shift: Sequence[int], column_major: bool
) -> Array:
    """Return indices into planes, perhaps padded ones, as ONNX has them: into the whole tensor x."""
    if column_major or any(shift):
        places = [axis - before for axis, before in zip(np.unravel_index(indices, tuple(plane)), shift, strict=True)]
        # a window of padding alone has no index of its own
        order: Any = "F" if column_major else "C"
        indices = np.ravel_multi_index(tuple(places), tuple(shape[2:]), mode="clip", order=order)
    first = np.arange(math.prod(shape[:2]), dtype=np.int64) * math.prod(shape[2:])
    return indices + first.reshape(*shape[:2], *(1,) * len(plane))


def _window_sums(x: Array, window: Window, out: Sequence[int]) -> Any:
    """Return the sum of each window; dilations are taken."""
    padded = window.padded(x, out, 0)
    rank, (n, c) = len(out), x.shape[:2]
    ones = np.ones((1, 1, *window.kernel), x.dtype)
    sums = CONV[rank](padded.reshape(n * c, 1, *padded.shape[2:]), ones, None, window.stride, 0, window.dilation)
    return sums.reshape(n, c, *sums.shape[2:])


def _counts(spatial: Sequence[int], window: Window, out: Sequence[int], include_pad: bool) -> Any:
    """Return how many elements each window has."""
    total: Any = np.ones(())
    for size, k, s, d, (before, after), count in zip(
        spatial, window.kernel, window.stride, window.dilation, window.pads, out, strict=True
    ):
        places = np.arange(count)[:, None] * s - before + np.arange(k) * d
        low, high = (-before, size + after) if include_pad else (0, size)
        total = np.multiply.outer(total, ((places >= low) & (places < high)).sum(axis=1))
    return total


@operator("AveragePool")
def _average_pool(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    rank = _rank_of(x, _AVG)
    dtype = floats(x)
    window, ceil_mode = window_of(node.attributes, x.shape[2:]), bool(node.get("ceil_mode", 0))
    include = bool(node.get("count_include_pad", 0))
    if max(window.dilation) == 1 and window.fits():
        return Call(_AVG[rank], (x, window.kernel, window.stride, window.pads, ceil_mode, include))
    sizes = window.out(x.shape[2:], ceil_mode)
    counts = _counts(x.shape[2:], window, sizes, include)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (_window_sums(x, window, sizes) / counts).astype(dtype)


@operator("LpPool")
def _lp_pool(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    rank = _rank_of(x, _LP)
    dtype = floats(x)
    window = window_of(node.attributes, x.shape[2:])
    norm = float(node.get("p", 2))
    sizes = window.out(x.shape[2:], bool(node.get("ceil_mode", 0)))
    magnitude = np.abs(x)
    if max(window.dilation) == 1:
        padded = window.padded(magnitude, sizes, 0)
        return _LP[rank](padded, norm, window.kernel, window.stride, out=out)
    powers = np.power(magnitude, norm, dtype=np.result_type(dtype, np.float32))
    return (_window_sums(powers, window, sizes) ** (1 / norm)).astype(dtype)


def _planes(x: Array, functions: Mapping[int, Any]) -> tuple[int, Array]:
    """Return x with a number of spatial axes that is taken."""
    rank = x.ndim - 2
    if rank < 1:
        raise NotTaken("no spatial axis")
    return (rank, x) if rank in functions else (1, x.reshape(*x.shape[:2], -1))


@operator("GlobalAveragePool")
def _global_average_pool(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    floats(x)
    rank, planes = _planes(x, _GLOBAL_AVG)
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return Call(_GLOBAL_AVG[rank], (x, 1)) if planes is x else _GLOBAL_AVG[rank](planes, 1).reshape(shape)


@operator("GlobalMaxPool")
def _global_max_pool(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    floats(x)
    rank, planes = _planes(x, _GLOBAL_MAX)
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return Call(_GLOBAL_MAX[rank], (x, 1)) if planes is x else _GLOBAL_MAX[rank](planes, 1).reshape(shape)


@operator("GlobalLpPool")
def _global_lp_pool(node: Node, inputs: Inputs, out: Array | None) -> Any:
    (x,) = inputs
    assert x is not None
    floats(x)
    rank, planes = _planes(np.abs(x), _LP)
    return _LP[rank](planes, float(node.get("p", 2)), planes.shape[2:]).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


@operator("MaxUnpool")
def _max_unpool(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, indices, wanted = _given(inputs, 3)
    rank = _rank_of(x, _UNPOOL)
    floats(x)
    window = window_of(node.attributes, x.shape[2:])
    usual = tuple(
        (size - 1) * s + k - sum(pads)
        for size, s, k, pads in zip(x.shape[2:], window.stride, window.kernel, window.pads, strict=True)
    )
    # indices count the elements of this plane, whatever the size of the result (onnx.reference, and the node tests)
    plane = math.prod(usual)
    first = np.arange(math.prod(x.shape[:2]), dtype=np.int64).reshape(*x.shape[:2], *(1,) * rank) * plane
    local = indices - first
    if x.size and (local.min() < 0 or local.max() >= plane):
        # an index that points into another plane
        y = np.zeros((*x.shape[:2], *usual), x.dtype)
        np.put(y, indices, x)
    else:
        y = _UNPOOL[rank](x, local, window.kernel, window.stride, [p for p, _ in window.pads], usual)
    if wanted is None or tuple(wanted.tolist()) == y.shape:
        return y
    larger = np.zeros(tuple(wanted.tolist()), x.dtype)
    larger[tuple(map(slice, y.shape))] = y
    return larger


@operator("Col2Im")
def _col2im(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, image, block = inputs
    assert x is not None
    assert image is not None
    assert block is not None
    floats(x)
    spatial, kernel = tuple(image.tolist()), tuple(block.tolist())
    window = window_of(node.attributes, spatial, kernel)
    padded = tuple(size + sum(pads) for size, pads in zip(spatial, window.pads, strict=True))
    crop = tuple(slice(before, before + size) for (before, _), size in zip(window.pads, spatial, strict=True))
    rank = len(spatial)
    if rank <= 2:
        line = (1,) * (2 - rank)
        y = fold(x, line + padded, line + kernel, line + window.dilation, 0, line + window.stride)
        return y.reshape(*y.shape[:2], *padded)[(slice(None), slice(None), *crop)]
    n, c = x.shape[0], x.shape[1] // math.prod(kernel)
    counts = window._replace(pads=((0, 0),) * rank).out(padded, False)
    taps = x.reshape(n, c, *kernel, *counts)
    y = np.zeros((n, c, *padded), x.dtype)
    for tap in np.ndindex(*kernel):
        places = tuple(
            slice(t * d, t * d + (count - 1) * s + 1, s)
            for t, d, s, count in zip(tap, window.dilation, window.stride, counts, strict=True)
        )
        y[(slice(None), slice(None), *places)] += taps[(slice(None), slice(None), *tap)]
    return y[(slice(None), slice(None), *crop)]


def exact_convolution(node: Node, x: Array, w: Array) -> Array:
    """Convolve integers, already without their zero points; the sums are exact.

    float32 holds the integers up to 2^24, float64 those up to 2^53: the narrower one is taken where no sum of
    magnitudes can leave it. Only direct summation will do.
    """
    rank = _rank_of(x, CONV)
    largest = [int(np.abs(array).max(initial=0)) for array in (x, w)]
    bound = largest[0] * largest[1] * math.prod(w.shape[1:])
    dtype = np.float32 if bound < 1 << 24 else np.float64
    window = window_of(node.attributes, x.shape[2:], w.shape[2:])
    with options(accuracy="strict"):
        y = CONV[rank](
            x.astype(dtype), w.astype(dtype), None, window.stride, window.pads, window.dilation, node.get("group", 1)
        )
    return y.astype(np.int64).astype(np.int32)


def _without_zero_point(values: Array, zero_point: Array | None, axis: int | None = None) -> Array:
    wide = values.astype(np.int32)
    if zero_point is None:
        return wide
    zero = zero_point.astype(np.int32)
    if zero.ndim == 1 and zero.size > 1 and axis is not None:
        zero = zero.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return wide - zero


@operator("ConvInteger")
def _conv_integer(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, w, x_zero, w_zero = _given(inputs, 4)
    return exact_convolution(node, _without_zero_point(x, x_zero), _without_zero_point(w, w_zero, 0))


@operator("QLinearConv")
def _q_linear_conv(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = _given(inputs, 9)
    if x.dtype.kind not in "iu" or w.dtype.kind not in "iu":
        raise NotTaken(f"arrays of {x.dtype.name} and {w.dtype.name}")
    sums = exact_convolution(node, _without_zero_point(x, x_zero), _without_zero_point(w, w_zero, 0))
    ones = (1,) * (x.ndim - 2)
    if bias is not None:
        sums = sums + bias.reshape(-1, *ones)
    scale = x_scale * w_scale / y_scale
    scaled = sums * (scale.reshape(-1, *ones) if np.size(scale) > 1 else scale)
    kind = y_zero.dtype if y_zero is not None else x.dtype
    limits = np.iinfo(kind)
    rounded = np.rint(scaled) + (0 if y_zero is None else y_zero.astype(np.int32))
    return np.clip(rounded, limits.min, limits.max).astype(kind)


#: Activations that a last pass may apply, each on its own.
_ACTIVATIONS: dict[str, Any] = {
    "relu": relu, "relu6": relu6, "leaky_relu": leaky_relu, "elu": elu, "sigmoid": sigmoid, "tanh": tanh, "silu": silu,
    "hardswish": hardswish,
}  # fmt: skip


def activated(y: Array, activation: Any, out: Array | None = None) -> Array:
    """Apply an activation, a word or a word and its number."""
    if activation is None:
        return y
    word, *numbers = (activation,) if isinstance(activation, str) else activation
    return _ACTIVATIONS[word](y, *numbers, out=out)  # type: ignore[no-any-return]


@operator("Affine", domain=FUSED)
def _affine(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, scale, shift = inputs
    assert x is not None
    assert scale is not None
    assert shift is not None
    scale, shift = scale.astype(x.dtype, copy=False), shift.astype(x.dtype, copy=False)
    rank = x.ndim - 2
    if rank not in CONV:
        ones = (1,) * rank
        return activated(x * scale.reshape(-1, *ones) + shift.reshape(-1, *ones), node.get("activation"))
    # a depthwise convolution of one tap is one pass over memory, with its activation
    w = scale.reshape(-1, 1, *(1,) * rank)
    return CONV[rank](x, w, shift, groups=len(scale), activation=node.get("activation"), out=out)


@operator("Subsample", domain=FUSED)
def _subsample(node: Node, inputs: Inputs, out: Array | None) -> Call:
    """Every s-th pixel: the largest of windows of one."""
    (x,) = inputs
    assert x is not None
    strides = tuple(node.attributes["strides"])
    return Call(_MAX[len(strides)], (x, 1, strides))
