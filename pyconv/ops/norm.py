"""Normalisation: batch_norm with its statistics, local_response_norm, each with its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, NormProblem, ResponseProblem
from .arguments import as_array, as_array_anywhere, as_first_anywhere, dtype_of, flag, numbers, real
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    as_out,
    check_one_dtype,
    check_word,
    is_channels_last,
    key_of,
    run,
)
from .device import DeviceArray, check_one_place

__all__ = ["batch_norm", "batch_norm_gradient", "batch_norm_stats", "local_response_norm", "response_gradient"]

_VECTORS = ("running_mean", "running_var", "weight", "bias")


def _check_vectors(arrays: Mapping[str, Key | None], channels: int) -> None:
    for name in _VECTORS:
        key = arrays.get(name)
        if key is not None and key[0] != (channels,):
            raise InvalidProblem(f"{name} must have shape ({channels},), one value a channel, got {key[0]}")


def _norm_of(kind: str, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> NormProblem:
    """Check everything and describe it; raises the bare fact."""
    eps, wants, *share = settings
    x, grad_output = arrays["x"], arrays.get("grad_output")
    assert x is not None
    dtype = check_one_dtype(arrays, ("x", "grad_output", *_VECTORS), FLOATS)
    if len(x[0]) < 2:
        raise InvalidProblem(f"x must have axes (n, c, ...), got shape {x[0]}")
    if grad_output is not None and grad_output[0] != x[0]:
        raise InvalidProblem(f"grad_output must have the shape of x, {x[0]}, got {grad_output[0]}")
    _check_vectors(arrays, x[0][1])
    gradient = kind.startswith("grad")
    return NormProblem(
        kind=kind,
        shape=x[0],
        weight=wants[1] if gradient else arrays.get("weight") is not None,
        bias=wants[2] if gradient else arrays.get("bias") is not None,
        eps=eps,
        wants_x=wants[0],
        scaled=gradient and arrays.get("weight") is not None,
        dtype=dtype,
        channels_last=len(x[0]) > 2 and is_channels_last(x),
        updates=(bool(share) and arrays["running_mean"] is not None, bool(share) and arrays["running_var"] is not None),
        momentum=share[0] if share else 0.0,
    )


def _operation(name: str, kind: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Operation:
    return Operation(
        name=name,
        rank=0,
        inputs=inputs,
        weights=(),
        outputs=outputs,
        describe=partial(_norm_of, kind),
        unbatched=False,
    )


_INFER = _operation("batch_norm", "infer", ("x", *_VECTORS), ("out",))
_TRAIN = _operation("batch_norm", "train", ("x", "weight", "bias"), ("out", "mean", "var"))
#: On a GPU, where the running statistics are updated by a kernel.
_TRAIN_IN_PLACE = _operation(
    "batch_norm", "train", ("x", "weight", "bias"), ("out", "mean", "var", "running_mean", "running_var")
)
_STATS = _operation("batch_norm_stats", "stats", ("x",), ("out", "var"))
_SUMS = ("grad_weight", "grad_bias")
#: By (training, whether x's gradient is wanted).
_GRADIENTS = {
    (training, wants_x): _operation(
        "grad.batch_norm",
        "grad-train" if training else "grad-infer",
        ("grad_output", "x", *(() if training else _VECTORS[:2]), "weight"),
        ("out", *_SUMS) if wants_x else ("out", "grad_bias"),
    )
    for training in (False, True)
    for wants_x in (False, True)
}


def _eps_of(eps: Any) -> float:
    return real("eps", eps)


def _optional_array(name: str, value: Any) -> Array | None:
    return None if value is None else as_array_anywhere(name, value)


def _norm_request(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    x, settings = as_first_anywhere("x", x), (_eps_of(eps), (True, False, False))
    scale = _optional_array("weight", weight), _optional_array("bias", bias)
    check_one_place(dict(zip(("x", "weight", "bias"), (x, *scale), strict=True)))
    if flag("training", training):
        return Request(_TRAIN, (x, *scale), None, settings)
    if running_mean is None or running_var is None:
        raise InvalidProblem(
            "batch_norm: running_mean and running_var are needed with training=False; batch_norm_stats(x) computes them"
        )
    statistics = tuple(map(as_array_anywhere, _VECTORS[:2], (running_mean, running_var)))
    check_one_place(dict(zip(("x", *_VECTORS[:2]), (x, *statistics), strict=True)))
    return Request(_INFER, (x, *statistics, *scale), None, settings)


def _stats_request(x: Any) -> Request:
    return Request(_STATS, (as_first_anywhere("x", x),), None, (0.0, (True, False, False)))


def _times(factor: float, values: Array) -> Array:
    """Return a multiple in float64."""
    return np.multiply(values, factor, dtype=np.float64)


def _check_running(name: str, value: Any, x: Array) -> Array | None:
    """Refuse running statistics that cannot be updated in place."""
    if value is None:
        return None
    array = as_array(name, value)
    if dtype_of(name, array.dtype) != dtype_of("x", x.dtype):
        raise TypeError(
            f"batch_norm: all arrays must have one dtype: x is {x.dtype.name}, {name} is {array.dtype.name}; "
            "convert one of them"
        )
    if x.ndim > 1 and array.shape != (x.shape[1],):
        raise InvalidProblem(
            f"batch_norm: {name} must have shape ({x.shape[1]},), one value a channel, got {array.shape}"
        )
    if not array.flags.writeable:
        raise InvalidProblem(f"batch_norm: {name} is read-only, and training=True updates it; pass a writeable array")
    if array.size > 1 and array.strides == (0,):
        raise InvalidProblem(f"batch_norm: {name} has elements that share memory (a stride of 0); pass a plain array")
    return array


def _train_on_gpu(request: Request, share: float, out: Any, running: tuple[Any, Any], algorithm: Any) -> Array:
    """Normalise, and update the running statistics that there are, all in GPU memory."""
    targets = tuple(map(_optional_array, _VECTORS[:2], running))
    check_one_place(dict(zip(("x", *_VECTORS[:2]), (request.inputs[0], *targets), strict=True)))
    if targets == (None, None):
        return run(request, (out, None, None), algorithm)[0]  # type: ignore[no-any-return]
    updating = request._replace(operation=_TRAIN_IN_PLACE, settings=(*request.settings, share))
    return run(updating, (out, None, None, *targets), algorithm)[0]  # type: ignore[no-any-return]


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Normalise each channel: ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    x : (n, c, ...) float16, float32 or float64
        Any number of axes from two on, any strides.
    running_mean, running_var : (c,), the dtype of x
        The statistics to use. With ``training=True`` those of x are used and these are updated **in place**; None
        leaves that out.
    weight, bias : (c,), the dtype of x, optional
    training : bool
        Whether to take mean and variance from x.
    momentum : float
        Share of x's statistics in the updated ones: ``running = (1 - momentum) running + momentum x's``. The variance
        that is stored is the unbiased one (over N - 1), the one that normalises is not (over N), as in torch.
    eps : float
        Added to the variance; >= 0.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("channelwise", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, ...), the dtype of x

    Raises
    ------
    InvalidProblem
        Shapes that disagree, no statistics without training, or training on one value a channel.
    TypeError
        Not an array, or a dtype that is not taken, or two dtypes.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    Variances are sums of squares about the mean of blocks of x, joined in float64: exact for data far from zero, and
    the same bits for any number of threads. A batch without elements gives an empty result and leaves the statistics
    alone.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[1.0, 2.0, 3.0], [10.0, 10.0, 40.0]]])
    >>> pyconv.batch_norm(x, np.array([2.0, 20.0]), np.array([1.0, 100.0]), eps=0.0)
    array([[[-1.,  0.,  1.],
            [-1., -1.,  2.]]])
    >>> mean, var = np.zeros(2), np.ones(2)
    >>> y = pyconv.batch_norm(x, mean, var, training=True, momentum=0.5)
    >>> mean, var
    (array([ 1., 10.]), array([  1. , 150.5]))
    """
    request = _norm_request(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if request.operation is _INFER:
        return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]
    share = real("momentum", momentum)
    source = request.inputs[0]
    assert source is not None
    if isinstance(source, DeviceArray):
        return _train_on_gpu(request, share, out, (running_mean, running_var), algorithm)
    mean, var = (
        _check_running(name, value, source)
        for name, value in (("running_mean", running_mean), ("running_var", running_var))
    )
    y, *statistics = run(request, (out, None, None), algorithm)
    if source.size:
        count = source.size // source.shape[1]
        own_mean, own_var = map(as_array, _VECTORS[:2], statistics)
        with np.errstate(over="ignore", invalid="ignore"):
            for running, own, factor in ((mean, own_mean, share), (var, own_var, share * (count / (count - 1)))):
                if running is not None:
                    running[...] = _times(1 - share, running) + _times(factor, own)
    return y  # type: ignore[no-any-return]


def batch_norm_stats(
    x: Any, *, out: tuple[Array | None, Array | None] | None = None, algorithm: str = "auto"
) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each channel.

    Parameters
    ----------
    x : (n, c, ...) float16, float32 or float64
        Any number of axes from two on, any strides.
    out : (numpy.ndarray, numpy.ndarray), optional
        Where to put them.
    algorithm : str
        "auto", a family ("channelwise", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    mean, var : (c,), the dtype of x
        ``var`` is the mean of ``(x - mean)^2``: N / (N - 1) times it is the unbiased estimate.

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`batch_norm`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.batch_norm_stats(np.array([[1.0, 10.0], [3.0, 40.0]]))
    (array([ 2., 25.]), array([  1., 225.]))
    >>> pyconv.batch_norm_stats(np.float32(1e6) + np.arange(4, dtype=np.float32).reshape(1, 1, 4))[1]
    array([1.25], dtype=float32)
    """
    outs = (None, None) if out is None else out
    if not isinstance(outs, (tuple, list)) or len(outs) != 2:
        raise TypeError(f"out must be a pair (mean, var), got {type(out).__name__}")
    return run(_stats_request(x), tuple(outs), algorithm)


#: The arguments that batch_norm's gradients stand for, in their order.
_ARGUMENTS = ("x", "running_mean", "running_var", "weight", "bias")


def _entries(what: str, value: Any, each: bool) -> tuple[Any, ...]:
    """Return one entry for each array argument; ``each``: a value that is no sequence stands for all."""
    if isinstance(value, (tuple, list)):
        if len(value) != len(_ARGUMENTS):
            raise InvalidProblem(
                f"grad.batch_norm: {what} must have {len(_ARGUMENTS)} entries, for {', '.join(_ARGUMENTS)}, "
                f"got {len(value)}"
            )
        return tuple(value)
    if value is not None and not each:
        raise TypeError(f"{what} must have an entry for each of {', '.join(_ARGUMENTS)}, got {type(value).__name__}")
    return (value,) * len(_ARGUMENTS)


def _gradient_request(
    grad_output: Any,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
    *,
    wants: tuple[bool, bool, bool] = (True, True, True),
) -> Request:
    """Return the one request of all gradients that are wanted: of x, weight and bias."""
    inputs: list[Array | None] = [as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)]
    trains = flag("training", training)
    if not trains:
        if running_mean is None or running_var is None:
            raise InvalidProblem("grad.batch_norm: running_mean and running_var are needed with training=False")
        inputs += map(as_array_anywhere, _VECTORS[:2], (running_mean, running_var))
    if weight is not None:
        weight = as_array_anywhere("weight", weight)
    if bias is not None:
        bias = as_array_anywhere("bias", bias)
        assert inputs[1] is not None
        if inputs[1].ndim > 1 and bias.shape != inputs[1].shape[1:2]:
            raise InvalidProblem(f"grad.batch_norm: bias must have one value a channel of x, got shape {bias.shape}")
        check_one_dtype({"x": key_of(inputs[1]), "bias": key_of(bias)}, ("x", "bias"), FLOATS)
    inputs.append(weight)
    names = ("grad_output", "x", *(() if trains else _VECTORS[:2]), "weight")
    check_one_place({**dict(zip(names, inputs, strict=True)), "bias": bias})
    return Request(_GRADIENTS[trains, wants[0]], tuple(inputs), None, (_eps_of(eps), wants))


def batch_norm_gradient(
    arguments: tuple[Any, ...], output_mask: Any, out: Any, algorithm: Any
) -> tuple[Array | None, ...]:
    """Run what is wanted of batch_norm's gradients, in one pass for all of them."""
    weight, bias = arguments[4], arguments[5]
    mask = _entries("output_mask", (True,) * 5 if output_mask is None else output_mask, each=True)
    wants = bool(mask[0]), bool(mask[3]) and weight is not None, bool(mask[4]) and bias is not None
    results: list[Array | None] = [None] * 5
    request = _gradient_request(*arguments, wants=wants)
    if not any(wants):
        return tuple(results)
    outs = _entries("out", out, each=False)
    words = _entries("algorithm", algorithm, each=True)
    places = [place for place, wanted in zip((0, 3, 4), wants, strict=True) if wanted]
    for word in words:
        check_word("algorithm", word)
    if len({words[place] for place in places}) > 1:
        raise InvalidProblem("grad.batch_norm: one algorithm computes all gradients; give one word, or equal ones")
    for place in places:
        as_out(outs[place])
    targets = tuple(outs[place] if place in places else None for place in (0, 3, 4))
    if wants[0]:
        found = run(request, targets, words[places[0]])
    else:
        found = (None, *run(request, targets[1:], words[places[0]]))
    for place, result in zip((0, 3, 4), found, strict=True):
        if place in places:
            results[place] = result
    return tuple(results)


def explained_gradient(*arguments: Any, **settings: Any) -> Request:
    """Return the request that explain() describes: every gradient at once."""
    found = dict(zip(("weight", "bias"), arguments[4:6], strict=False)) | settings
    wants = True, found.get("weight") is not None, found.get("bias") is not None
    return _gradient_request(*arguments, **settings, wants=wants)


def _response_of(gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> ResponseProblem:
    """Check everything and describe it; raises the bare fact."""
    size, alpha, beta, k = settings
    x, grad_output = arrays["x"], arrays.get("grad_output")
    assert x is not None
    dtype = check_one_dtype(arrays, ("x", "grad_output"), FLOATS)
    if grad_output is not None and grad_output[0] != x[0]:
        raise InvalidProblem(f"grad_output must have the shape of x, {x[0]}, got {grad_output[0]}")
    return ResponseProblem(x[0], size, alpha, beta, k, gradient, dtype, len(x[0]) > 2 and is_channels_last(x))


_RESPONSE, _RESPONSE_GRADIENT = (
    Operation(
        name="grad.local_response_norm" if gradient else "local_response_norm",
        rank=0,
        inputs=("grad_output", "x") if gradient else ("x",),
        weights=(),
        outputs=("out",),
        describe=partial(_response_of, gradient),
        unbatched=False,
    )
    for gradient in (False, True)
)


def _response_settings(size: Any, alpha: Any, beta: Any, k: Any) -> tuple[Any, ...]:
    return numbers("size", size, 1)[0], real("alpha", alpha), real("beta", beta), real("k", k)


def _response_request(x: Any, size: Any, alpha: Any = 1e-4, beta: Any = 0.75, k: Any = 1.0) -> Request:
    return Request(_RESPONSE, (as_first_anywhere("x", x),), None, _response_settings(size, alpha, beta, k))


def response_gradient(
    grad_output: Any, x: Any, size: Any, alpha: Any = 1e-4, beta: Any = 0.75, k: Any = 1.0
) -> tuple[Request]:
    """Return the request of local_response_norm's gradient."""
    arrays = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    check_one_place(dict(zip(("grad_output", "x"), arrays, strict=True)))
    return (Request(_RESPONSE_GRADIENT, arrays, None, _response_settings(size, alpha, beta, k)),)


def local_response_norm(
    x: Any,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Divide each element by a power of what neighbouring channels hold.

    .. math:: y_c = x_c \Big/ \Big(k + \frac{\alpha}{size} \sum_{j = c - \lfloor size / 2 \rfloor}
              ^{c + \lfloor (size - 1) / 2 \rfloor} x_j^2\Big)^\beta

    Parameters
    ----------
    x : (n, c, ...) float16, float32 or float64
        Three axes or more, any strides. Channels outside count as zeros.
    size : int
        Channels of a window; of an even number there is one more before than after.
    alpha, beta, k : float
        As in the formula: alpha is divided by size, as in torch.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("response", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, ...), the dtype of x

    Raises
    ------
    InvalidProblem
        Fewer than three axes, a size below 1, a number that is not finite.
    TypeError, Unsupported, MemoryError
        As :func:`batch_norm`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[1.0], [2.0], [3.0]]])
    >>> pyconv.local_response_norm(x, 3, alpha=3.0, beta=1.0).ravel()
    array([0.16666667, 0.13333333, 0.21428571])
    >>> pyconv.local_response_norm(np.ones((1, 64, 27, 27), np.float32), 5).shape
    (1, 64, 27, 27)
    """
    return run(_response_request(x, size, alpha, beta, k), (out,), algorithm)[0]  # type: ignore[no-any-return]


REQUESTS.update(
    {
        batch_norm: Explainable(_norm_request, 5),
        batch_norm_stats: Explainable(_stats_request, 1),
        local_response_norm: Explainable(_response_request, 1),
    }
)
