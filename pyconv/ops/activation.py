"""The activations on their own: relu, relu6, leaky_relu, elu, sigmoid, tanh, silu, hardswish, and their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import ACTIVATIONS, FLOATS, ElementwiseProblem
from .arguments import as_array_anywhere, as_first_anywhere, real
from .call import REQUESTS, Explainable, Key, Operation, Request, check_one_dtype, is_channels_last, run
from .device import check_one_place

__all__ = [
    "activation_gradient",
    "elu",
    "gradient",
    "hardswish",
    "leaky_relu",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "tanh",
]


def _problem_of(
    activation: str, gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]
) -> ElementwiseProblem:
    """Check everything and describe it; raises the bare fact."""
    (slope,) = settings
    x, grad_output = arrays["x"], arrays.get("grad_output")
    assert x is not None
    dtype = check_one_dtype(arrays, ("grad_output", "x") if gradient else ("x",), FLOATS)
    if grad_output is not None and grad_output[0] != x[0]:
        raise InvalidProblem(f"grad_output must have the shape of x, {x[0]}, got {grad_output[0]}")
    return ElementwiseProblem(
        activation, x[0], slope, gradient, dtype, channels_last=len(x[0]) > 2 and is_channels_last(x)
    )


_FORWARD = {
    name: Operation(
        name=name,
        rank=0,
        inputs=("x",),
        weights=(),
        outputs=("out",),
        describe=partial(_problem_of, name, False),
        unbatched=False,
        in_place=("x",),
    )
    for name in ACTIVATIONS
}
_GRADIENT = {
    name: Operation(
        name=f"grad.{name}",
        rank=0,
        inputs=("grad_output", "x"),
        weights=(),
        outputs=("out",),
        describe=partial(_problem_of, name, True),
        unbatched=False,
        in_place=("grad_output", "x"),
    )
    for name in ACTIVATIONS
}
#: What callers know the slope as.
_SLOPE_NAMES = {"leaky_relu": "negative_slope", "elu": "alpha"}


def _slope(name: str, slope: Any) -> tuple[float]:
    return (0.0 if slope is None else real(_SLOPE_NAMES.get(name, "slope"), slope),)


def _request(name: str, x: Any, slope: Any = None) -> Request:
    return Request(_FORWARD[name], (as_first_anywhere("x", x),), None, _slope(name, slope))


def gradient(name: str, grad_output: Any, x: Any, slope: Any = None) -> tuple[Request]:
    """Return the request of an activation's gradient."""
    arrays = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    check_one_place(dict(zip(("grad_output", "x"), arrays, strict=True)))
    return (Request(_GRADIENT[name], arrays, None, _slope(name, slope)),)


def activation_gradient(
    grad_output: Any, x: Any, activation: str, slope: float = 0.0, *, out: Array | None = None, algorithm: str = "auto"
) -> Array:
    """Return f'(x) grad_output, for an operation that ends in an activation.

    Parameters
    ----------
    grad_output : (...) float16, float32 or float64
    x : (...), the dtype of grad_output
        What the activation was applied to.
    activation, slope
        As :func:`pyconv.ops.arguments.activation_of` returns them.
    out : numpy.ndarray, optional
        Where to put it; may be ``grad_output`` or ``x`` itself.
    """
    return run(gradient(activation, grad_output, x, slope)[0], (out,), algorithm)[0]  # type: ignore[no-any-return]


def relu(
    x: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return 0 below 0, else x, elementwise.

    Parameters
    ----------
    x : (...) float16, float32 or float64
        Any shape, any strides.
    out : numpy.ndarray, optional
        Where to put the result, any strides; may be x itself.
    algorithm : str
        "auto", a family ("elementwise", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (...), the dtype of x
        In the memory order of x, if that is channels-last or C-contiguous.

    Raises
    ------
    InvalidProblem
        An ``out`` of another shape.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    The same arithmetic as in ``conv2d(activation="relu")``, to the last bit; float16 is computed in float32. NaN stays
    NaN.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-2.0, 0.0, 3.0], dtype=np.float32)
    >>> pyconv.relu(x)
    array([0., 0., 3.], dtype=float32)
    >>> pyconv.relu(x, out=x) is x
    True
    """
    return run(_request("relu", x), (out,), algorithm)[0]  # type: ignore[no-any-return]


def relu6(
    x: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return 0 below 0, 6 above 6, else x, elementwise.

    Parameters, results and errors are those of :func:`relu`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-2.0, 3.0, 9.0], dtype=np.float32)
    >>> pyconv.relu6(x)
    array([0., 3., 6.], dtype=float32)
    >>> pyconv.relu6(x, out=x) is x
    True
    """
    return run(_request("relu6", x), (out,), algorithm)[0]  # type: ignore[no-any-return]


def leaky_relu(
    x: Any,
    negative_slope: float = 0.01,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return x, or negative_slope x below 0, elementwise.

    Parameters
    ----------
    x : (...) float16, float32 or float64
    negative_slope : float
        The slope below zero; finite.

    Other parameters, results and errors are those of :func:`relu`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-2.0, 0.0, 3.0])
    >>> pyconv.leaky_relu(x)
    array([-0.02,  0.  ,  3.  ])
    >>> pyconv.leaky_relu(x, out=x) is x
    True
    """
    return run(_request("leaky_relu", x, negative_slope), (out,), algorithm)[0]  # type: ignore[no-any-return]


def elu(
    x: Any,
    alpha: float = 1.0,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return x, or alpha (exp(x) - 1) below 0, elementwise.

    Parameters
    ----------
    x : (...) float16, float32 or float64
    alpha : float
        Minus the limit at -infinity; finite.

    Other parameters, results and errors are those of :func:`relu`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-np.inf, 0.0, 3.0])
    >>> pyconv.elu(x)
    array([-1.,  0.,  3.])
    >>> pyconv.elu(x, out=x) is x
    True
    """
    return run(_request("elu", x, alpha), (out,), algorithm)[0]  # type: ignore[no-any-return]


def sigmoid(
    x: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return 1 / (1 + exp(-x)), elementwise.

    Parameters, results and errors are those of :func:`relu`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-np.inf, 0.0, np.inf])
    >>> pyconv.sigmoid(x)
    array([0. , 0.5, 1. ])
    >>> pyconv.sigmoid(x, out=x) is x
    True
    """
    return run(_request("sigmoid", x), (out,), algorithm)[0]  # type: ignore[no-any-return]


def tanh(
    x: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the hyperbolic tangent, elementwise.

    Parameters, results and errors are those of :func:`relu`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-np.inf, 0.0, np.inf])
    >>> pyconv.tanh(x)
    array([-1.,  0.,  1.])
    >>> pyconv.tanh(x, out=x) is x
    True
    """
    return run(_request("tanh", x), (out,), algorithm)[0]  # type: ignore[no-any-return]


def silu(
    x: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return x / (1 + exp(-x)), elementwise.

    Parameters, results and errors are those of :func:`relu`.

    NaN at -infinity, as in torch.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([0.0, 100.0])
    >>> pyconv.silu(x)
    array([  0., 100.])
    >>> pyconv.silu(x, out=x) is x
    True
    """
    return run(_request("silu", x), (out,), algorithm)[0]  # type: ignore[no-any-return]


def hardswish(
    x: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return 0 below -3, x above 3, x (x + 3) / 6 between, elementwise.

    Parameters, results and errors are those of :func:`relu`.

    0 at -infinity, where the product x relu6(x + 3) / 6 would be NaN.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([-4.0, 0.0, 3.0])
    >>> pyconv.hardswish(x)
    array([0., 0., 3.])
    >>> pyconv.hardswish(x, out=x) is x
    True
    """
    return run(_request("hardswish", x), (out,), algorithm)[0]  # type: ignore[no-any-return]


def _alpha_request(x: Any, alpha: Any = 1.0) -> Request:
    return _request("elu", x, alpha)


def _negative_slope_request(x: Any, negative_slope: Any = 0.01) -> Request:
    return _request("leaky_relu", x, negative_slope)


_WITHOUT_SLOPE = (relu, relu6, sigmoid, tanh, silu, hardswish)
REQUESTS.update({f: Explainable(partial(_request, f.__name__), 1) for f in _WITHOUT_SLOPE})
REQUESTS.update({elu: Explainable(_alpha_request, 1), leaky_relu: Explainable(_negative_slope_request, 1)})
