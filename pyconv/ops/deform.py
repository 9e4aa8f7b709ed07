"""deform_conv2d, its gradients, and preparing it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, ConvProblem, DeformProblem
from .arguments import as_array_anywhere, as_first_anywhere, numbers, padding_of
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    Weights,
    check_one_dtype,
    check_word,
    exact,
    in_context,
    is_channels_last,
    key_of,
    run,
)
from .conv_grad import bias_request
from .device import check_one_place
from .prepared import PREPARED, kept_weights

__all__ = ["PreparedDeform", "deform_conv2d", "deform_gradient"]

_ARRAYS = ("x", "offset", "w", "bias", "mask")


def _problem_of(
    argument: str, both: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]
) -> DeformProblem:
    """Check everything and describe it; raises the bare fact. ``settings`` end with the keys of x and w."""
    stride_, padding, dilation_, like_x, like_w = settings
    arrays = {"x": like_x, "w": like_w} | {name: key for name, key in arrays.items() if key is not None}
    x, offset, w, mask = (arrays.get(name) for name in ("x", "offset", "w", "mask"))
    assert x is not None
    assert offset is not None
    assert w is not None
    dtype = check_one_dtype(arrays, ("grad_output", *_ARRAYS), FLOATS)
    for name, key, axes in (("x", x, "n, c_in, h, w"), ("w", w, "c_out, c_in / groups, kh, kw")):
        if len(key[0]) != 4:
            raise InvalidProblem(f"{name} must have axes ({axes}), got shape {key[0]}")
    (n, c_in, *spatial), (c_out, each, *kernel) = x[0], w[0]
    stride, dilation = numbers("stride", stride_, 2), numbers("dilation", dilation_, 2)
    for name, values, given in (("stride", stride, stride_), ("dilation", dilation, dilation_)):
        if min(values) < 1:
            raise InvalidProblem(f"{name} must be >= 1, got {given}")
    groups = c_in // each if each else 1
    if groups * each != c_in or (c_in and not groups):
        raise InvalidProblem(f"channels disagree: w is for groups of {each} channels, which do not make up {c_in} of x")
    conv = ConvProblem(
        n=n,
        c_in=c_in,
        c_out=c_out,
        spatial=tuple(spatial),
        kernel=tuple(kernel),
        stride=stride,
        padding=padding_of(padding, 2, tuple(kernel), stride, dilation),
        dilation=dilation,
        groups=groups,
        dtype=dtype,
        channels_last=is_channels_last(x),
        bias=not argument and arrays.get("bias") is not None,
    )
    per_group = 2 * kernel[0] * kernel[1]
    wanted = f"(n, 2 * offset groups * kh * kw, h_out, w_out) = ({n}, a multiple of {per_group}, "
    wanted += f"{', '.join(map(str, conv.out_spatial))})"
    shape = offset[0]
    if len(shape) != 4 or (shape[0], *shape[2:]) != (n, *conv.out_spatial) or shape[1] % per_group or not shape[1]:
        raise InvalidProblem(f"offset must have shape {wanted}, got {shape}")
    offset_groups = shape[1] // per_group
    if c_in % offset_groups:
        raise InvalidProblem(f"offset groups must divide c_in={c_in}; offset {shape} has {offset_groups} of them")
    problem = DeformProblem(conv, offset_groups, mask is not None, argument, both)
    if mask is not None and mask[0] != problem.mask_shape:
        raise InvalidProblem(f"mask must have shape {problem.mask_shape}, as offset {shape} says, got {mask[0]}")
    for name, expected in (("bias", (c_out,)), ("grad_output", conv.out_shape)):
        key = arrays.get(name)
        if key is not None and key[0] != expected:
            raise InvalidProblem(f"{name} must have shape {expected}, got {key[0]}")
    return problem


def _operation(argument: str, inputs: tuple[str, ...], weights: tuple[str, ...], both: bool = False) -> Operation:
    return Operation(
        name="grad.deform_conv2d" if argument else "deform_conv2d",
        rank=2,
        inputs=inputs,
        weights=weights,
        outputs=("out", "grad_mask") if both else ("out",),
        describe=partial(_problem_of, argument, both),
        unbatched=False,
    )


_FORWARD = _operation("", ("x", "offset", "mask"), ("w", "bias"))
_GRADIENT_INPUTS = ("grad_output", "x", "offset", "mask")
_GRADIENTS = {
    "x": _operation("x", ("grad_output", "offset", "mask"), ("w",)),
    "offset": _operation("offset", _GRADIENT_INPUTS, ("w",)),
    "w": _operation("w", _GRADIENT_INPUTS, ()),
    "mask": _operation("mask", _GRADIENT_INPUTS, ("w",)),
}
_BOTH = _operation("offset", _GRADIENT_INPUTS, ("w",), both=True)


def _optional(name: str, value: Any) -> Array | None:
    return None if value is None else as_array_anywhere(name, value)


def _request(
    x: Any,
    offset: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    mask: Any = None,
) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    weights = Weights(as_array_anywhere("w", w), _optional("bias", bias))
    inputs = as_first_anywhere("x", x), as_array_anywhere("offset", offset), _optional("mask", mask)
    check_one_place(dict(zip(_ARRAYS, (*inputs[:2], *weights.arrays, inputs[2]), strict=True)))
    return Request(_FORWARD, inputs, weights, (exact(stride), exact(padding), exact(dilation), None, None))


def deform_conv2d(
    x: Any,
    offset: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    mask: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Convolve images, each tap of the kernel displaced at each output pixel (deformable convolution, v1 and v2).

    .. math:: y_{n,o,p} = b_o + \sum_{c,a} w_{o,c,a}\, m_{n,a,p}\, x_n\big(c,\ s p - p_0 + d a + \delta_{n,a,p}\big)

    where x between pixels is bilinear and outside the map zero.

    Parameters
    ----------
    x : (n, c_in, h, w) float16, float32 or float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    offset : (n, 2 offset_groups kh kw, h_out, w_out), the dtype of x
        Displacements in pixels: of each offset group and tap first along h, then along w. The channels of x are cut
        into as many blocks as there are offset groups.
    w : (c_out, c_in / groups, kh, kw), the dtype of x
        Kernels; its shape says how many groups there are.
    bias : (c_out,), optional
        Added to each output channel.
    stride, dilation : int or (int, int)
        Pixels between neighbouring outputs, and between neighbouring kernel taps.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels added on each side, where no offset says otherwise.
    mask : (n, offset_groups kh kw, h_out, w_out), optional
        A factor for each sample (v2).
    out : numpy.ndarray, optional
        Where to put the result; may overlap the inputs.
    algorithm : str
        "auto", a family ("sampled", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c_out, h_out, w_out), the dtype of x

    Raises
    ------
    InvalidProblem
        Shapes that disagree, or a problem without meaning.
    TypeError
        Not an array, or a dtype that is not taken, or two dtypes.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    A sample counts where -1 < place < size along both axes, as in torchvision; else, and where an offset is NaN, it is
    zero whatever its mask. The result has the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> w = np.ones((1, 1, 1, 1), np.float32)
    >>> half = np.full((1, 2, 4, 4), 0.5, np.float32)
    >>> pyconv.deform_conv2d(x, half, w)[0, 0, 0]
    array([2.5, 3.5, 4.5, 2.5], dtype=float32)
    >>> mask = np.zeros((1, 9, 2, 2), np.float32)
    >>> pyconv.deform_conv2d(x, np.zeros((1, 18, 2, 2), np.float32), np.ones((3, 1, 3, 3), np.float32), mask=mask).shape
    (1, 3, 2, 2)
    """
    request = _request(x, offset, w, bias, stride, padding, dilation, mask)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def deform_gradient(
    grad_output: Any,
    x: Any,
    offset: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    mask: Any = None,
) -> tuple[Request | None, ...]:
    """Return the requests of the gradients of x, offset, w, bias and mask, and that of offset and mask in one."""
    given = {
        "grad_output": as_first_anywhere("grad_output", grad_output),
        "x": as_array_anywhere("x", x),
        "offset": as_array_anywhere("offset", offset),
        "w": as_array_anywhere("w", w),
        "bias": _optional("bias", bias),
        "mask": _optional("mask", mask),
    }
    check_one_place(given)
    keys = {name: key_of(array) for name, array in given.items()}
    like_w = keys["w"]
    assert like_w is not None
    settings = (exact(stride), exact(padding), exact(dilation), keys["x"], (like_w[0], (), like_w[2]))
    try:
        _problem_of("", False, keys, settings)
    except (InvalidProblem, TypeError) as error:
        raise in_context(_GRADIENTS["w"], keys, error) from None
    weights = Weights(given["w"])

    def request(operation: Operation) -> Request:
        inputs = tuple(given[name] for name in operation.inputs)
        return Request(operation, inputs, weights if operation.weights else None, settings)

    return (
        request(_GRADIENTS["x"]),
        request(_GRADIENTS["offset"]),
        request(_GRADIENTS["w"]),
        None if bias is None else bias_request(2, given["grad_output"]),
        None if mask is None else request(_GRADIENTS["mask"]),
        None if mask is None else request(_BOTH),
    )


def _explained(*arguments: Any, **settings: Any) -> tuple[Request | None, ...]:
    return deform_gradient(*arguments, **settings)[:5]


class PreparedDeform:
    """A deformable convolution whose weights are packed already; made by :func:`pyconv.prepare`.

    Call it as ``f(x, offset, mask=None, out=None)``. The weights are copied: later changes to them are not seen.
    """

    __slots__ = ("_algorithm", "_settings", "_weights")

    def __init__(
        self, w: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, *, algorithm: str = "auto"
    ) -> None:
        check_word("algorithm", algorithm)
        self._weights = kept_weights(w, bias)
        self._settings = (exact(stride), exact(padding), exact(dilation), None, None)
        self._algorithm = algorithm

    def __call__(self, x: Any, offset: Any, mask: Any = None, out: Array | None = None) -> Array:
        """Convolve; the parameters are those of :func:`pyconv.deform_conv2d`."""
        inputs = as_first_anywhere("x", x), as_array_anywhere("offset", offset), _optional("mask", mask)
        check_one_place(dict(zip(("x", "offset", "mask", "w"), (*inputs, self._weights.arrays[0]), strict=True)))
        request = Request(_FORWARD, inputs, self._weights, self._settings)
        return run(request, (out,), self._algorithm)[0]  # type: ignore[no-any-return]


REQUESTS[deform_conv2d] = Explainable(_request, 4)
PREPARED[deform_conv2d] = PreparedDeform
EXPLAINED_GRADIENT = Explainable(_explained, 5)
