"""Gradients of the small layers: activations, linear, normalisation."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..algorithm import Array
from ..ops import activation, norm
from ..ops.arguments import as_array_anywhere
from ..ops.call import REQUESTS, Explainable, as_out, gradients
from ..ops.device import DeviceArray
from ..ops.host import delivered
from ..ops.linear import linear_gradient, target_on_gpu


def relu(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.relu`: grad_output where x > 0, else 0 (where x is NaN, grad_output).

    Parameters
    ----------
    grad_output : (...), the shape and dtype of x
    x : (...) float16, float32 or float64
        As in the forward call.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may be ``grad_output`` or ``x`` itself.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.relu(np.array([5.0, 6.0, 7.0]), np.array([-1.0, 0.0, 1.0]))[0]
    array([0., 0., 7.])
    """
    requests = activation.gradient("relu", grad_output, x)
    return gradients("grad.relu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def relu6(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.relu6`: grad_output where 0 < x < 6, else 0 (where x is NaN, grad_output).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("relu6", grad_output, x)
    return gradients("grad.relu6", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def leaky_relu(
    grad_output: Any,
    x: Any,
    negative_slope: float = 0.01,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.leaky_relu`: grad_output where x > 0, else negative_slope grad_output.

    The parameters are those of :func:`relu` and of the forward call.
    """
    requests = activation.gradient("leaky_relu", grad_output, x, negative_slope)
    return gradients("grad.leaky_relu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def elu(
    grad_output: Any,
    x: Any,
    alpha: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.elu`: grad_output where x > 0, else alpha exp(x) grad_output.

    The parameters are those of :func:`relu` and of the forward call.
    """
    requests = activation.gradient("elu", grad_output, x, alpha)
    return gradients("grad.elu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def sigmoid(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.sigmoid`: grad_output s (1 - s), s = sigmoid(x).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("sigmoid", grad_output, x)
    return gradients("grad.sigmoid", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def tanh(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.tanh`: grad_output (1 - tanh(x)^2).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("tanh", grad_output, x)
    return gradients("grad.tanh", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def silu(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.silu`: grad_output s (1 + x (1 - s)), s = sigmoid(x).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("silu", grad_output, x)
    return gradients("grad.silu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def hardswish(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.hardswish`: 0 up to -3, all from 3 on, (x / 3 + 1 / 2) of it between.

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("hardswish", grad_output, x)
    return gradients("grad.hardswish", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def linear(
    grad_output: Any,
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of :func:`pyconv.linear`: ``grad_output w``, ``grad_output^T x`` and sums of grad_output.

    Parameters
    ----------
    grad_output : (..., c_out), the dtype of x
    x, w, bias : as in the forward call
    output_mask : (bool, bool, bool), optional
        Which of the gradients are wanted.
    out : (numpy.ndarray or None, ...), optional
        Where to put them; may overlap the inputs.
    algorithm : str or (str, str, str)
        "auto", a family or an id of :func:`pyconv.algorithms`, for all or for each.

    Returns
    -------
    gradients of x, w and bias
        None where not wanted, and for a bias that was not given.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    >>> pyconv.grad.linear(np.array([[1.0, 10.0]]), x, w)
    (array([[53., 64.]]), array([[ 1.,  2.],
           [10., 20.]]), None)
    """
    requests = linear_gradient(grad_output, x, w, bias)
    like: Any = as_array_anywhere("x", x)
    shape = like.shape
    outs = [None, None, None] if out is None else list(out) if isinstance(out, (tuple, list)) else [out]
    if isinstance(like, DeviceArray):
        given = outs[0]
        is_one = not isinstance(output_mask, (tuple, list))
        first = output_mask in (None, True) if is_one else next(iter(output_mask), False)
        if len(shape) != 2 and first:  # written as rows
            given, outs[0] = target_on_gpu("grad.linear", "out", given, shape, like)
        made = gradients("grad.linear", requests, output_mask, tuple(outs), algorithm)
        return (made[0] if len(shape) == 2 or not first else given), made[1], made[2]
    targets = list(map(as_out, outs))
    given = targets[0]
    if given is not None and given.shape == shape and len(shape) != 2:
        targets[0] = None  # computed as rows, and put there when all is done
    found = list(gradients("grad.linear", requests, output_mask, tuple(targets), algorithm))
    gx = found[0]
    if gx is not None and gx.shape != shape:
        found[0] = gx.reshape(shape)
        if given is not None:
            given[...] = found[0]
    return delivered(grad_output, [None if r is None else o for o, r in zip(outs, found, strict=True)], found)


def batch_norm(
    grad_output: Any,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, None, None, Array | None, Array | None]:
    """Return the gradients of :func:`pyconv.batch_norm`, all in one pass after the sums that they share.

    Parameters
    ----------
    grad_output : (n, c, ...), the dtype of x
    x, running_mean, running_var, weight, bias, training, momentum, eps : as in the forward call
        With ``training=True`` the statistics are computed from x again; running_mean, running_var and the values of
        bias do not matter.
    output_mask : (bool, bool, bool, bool, bool), optional
        Which gradients are wanted, in the order of the result.
    out : (numpy.ndarray or None, ...), optional
        Where to put them, in the same order; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    gradients of x, running_mean, running_var, weight and bias
        None for the running statistics, where not wanted, and for a weight or a bias that was not given.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[1.0], [3.0]])
    >>> g = pyconv.grad.batch_norm(np.ones((2, 1)), x, np.zeros(1), np.ones(1), np.ones(1), np.ones(1), eps=0.0)
    >>> g[0].ravel(), g[3], g[4]
    (array([1., 1.]), array([4.]), array([2.]))
    """
    arguments = (grad_output, x, running_mean, running_var, weight, bias, training, momentum, eps)
    return norm.batch_norm_gradient(arguments, output_mask, out, algorithm)  # type: ignore[return-value]


def local_response_norm(
    grad_output: Any,
    x: Any,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.local_response_norm`.

    Parameters
    ----------
    grad_output : (n, c, ...), the shape and dtype of x
    x, size, alpha, beta, k : as in the forward call
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.local_response_norm(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 1, alpha=1.0, beta=1.0)[0]
    array([[[0.]]])
    """
    requests = norm.response_gradient(grad_output, x, size, alpha, beta, k)
    return gradients("grad.local_response_norm", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def _negative_slope_request(grad_output: Any, x: Any, negative_slope: Any = 0.01) -> Any:
    return activation.gradient("leaky_relu", grad_output, x, negative_slope)


def _alpha_request(grad_output: Any, x: Any, alpha: Any = 1.0) -> Any:
    return activation.gradient("elu", grad_output, x, alpha)


REQUESTS.update(
    {f: Explainable(partial(activation.gradient, f.__name__), 2) for f in (relu, relu6, sigmoid, tanh, silu, hardswish)}
)
REQUESTS.update(
    {
        leaky_relu: Explainable(_negative_slope_request, 2),
        elu: Explainable(_alpha_request, 2),
        linear: Explainable(linear_gradient, 4),
        batch_norm: Explainable(norm.explained_gradient, 6),
        local_response_norm: Explainable(norm.response_gradient, 2),
    }
)
