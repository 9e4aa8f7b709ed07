"""linear, its gradients, and preparing it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, LinearProblem
from .arguments import as_array_anywhere
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    Weights,
    as_out,
    bound,
    check_one_dtype,
    check_word,
    run,
)
from .device import DeviceArray, check_one_place
from .host import in_kind_of
from .prepared import PREPARED, given_arrays, kept_weights

__all__ = ["PreparedLinear", "linear", "linear_gradient", "target_on_gpu"]


def _problem_of(argument: str, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> LinearProblem:
    """Check everything and describe it; raises the bare fact."""
    sizes = settings
    names = ("x", "w", "grad_output", "bias")
    dtype = check_one_dtype(arrays, names, FLOATS)
    if not argument:
        x, w, bias = arrays["x"], arrays["w"], arrays["bias"]
        assert x is not None
        assert w is not None
        _check_matrix("w", w[0])
        sizes = (*x[0], w[0][0])
        if w[0][1] != x[0][1]:
            raise InvalidProblem(f"features disagree: a row of x has {x[0][1]}, w expects {w[0][1]}")
        if bias is not None and bias[0] != (w[0][0],):
            raise InvalidProblem(f"bias must have shape ({w[0][0]},), one value an output feature, got {bias[0]}")
    rows, c_in, c_out = sizes
    return LinearProblem(rows, c_in, c_out, argument, arrays.get("bias") is not None, dtype)


def _check_matrix(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise InvalidProblem(f"{name} must have axes (c_out, c_in), got shape {shape}")


def _operation(argument: str, inputs: tuple[str, ...], weights: tuple[str, ...]) -> Operation:
    return Operation(
        name="grad.linear" if argument else "linear",
        rank=0,
        inputs=inputs,
        weights=weights,
        outputs=("out",),
        describe=partial(_problem_of, argument),
        unbatched=False,
    )


_LINEAR = _operation("", ("x",), ("w", "bias"))
#: What a gradient packs, as others pack weights, is grad_output; the other matrix is read where it lies.
_GRADIENTS = {
    "x": _operation("x", ("w",), ("grad_output",)),
    "w": _operation("w", ("x",), ("grad_output",)),
    "bias": _operation("bias", ("grad_output",), ()),
}


def _rows(name: str, array: Any) -> Any:
    """Return an array (..., features) as rows, a view where its strides allow that."""
    if array.ndim == 0:
        raise InvalidProblem(f"{name} must have axes (..., features), got a scalar")
    if isinstance(array, DeviceArray):
        return _device_rows(name, array)
    return array if array.ndim == 2 else array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def _device_rows(name: str, array: Any) -> Any:
    """Return an array in GPU memory as rows, which are not copied."""
    rows = array.as_rows()
    if rows is None:
        raise InvalidProblem(
            f"{name} in GPU memory must have rows in equal steps, got shape {array.shape} with strides "
            f"{array.strides}; copy it to a contiguous array"
        )
    return rows


def target_on_gpu(operation: str, name: str, out: Any, shape: tuple[int, ...], like: Any) -> tuple[Any, Any]:
    """Return an array of this shape in GPU memory, the caller's or a fresh one like another, and its rows."""
    base = like.kind.empty(shape, like.dtype.name, None, like.base) if out is None else out
    target = as_array_anywhere(name, base)
    if target.shape != shape:
        raise InvalidProblem(f"{operation}: {name} must have the output's shape {shape}, got {target.shape}")
    check_one_place({"x": like, name: target})
    return base, _rows(name, target)


def _run(request: Request, shape: tuple[int, ...], out: Any, algorithm: Any, like: Any) -> Array:
    """Run on rows; the result, of the kind of ``like``, or ``out`` has the shape of the call."""
    given: Any = request.inputs[0]
    if isinstance(given, DeviceArray):
        base, on_gpu = target_on_gpu(request.operation.name, "out", out, shape, given)
        run(request, (on_gpu,), algorithm)
        return base  # type: ignore[no-any-return]
    target = as_out(out)
    if target is not None and target.shape != shape:
        raise InvalidProblem(f"{request.operation.name}: out must have the output's shape {shape}, got {target.shape}")
    rows: Array | None = None
    if target is not None:
        rows = target.view()
        try:
            rows.shape = (math.prod(shape[:-1]), shape[-1])
        except AttributeError:  # these strides are no matrix
            rows = None
    result: Array = run(request, (rows,), algorithm)[0]
    if target is None:
        return in_kind_of(like, result.reshape(shape))  # type: ignore[no-any-return]
    if rows is None:
        target[...] = result.reshape(shape)
    return out  # type: ignore[no-any-return]


def _request(x: Any, w: Any, bias: Any = None) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    x, w = as_array_anywhere("x", x), as_array_anywhere("w", w)
    bias = None if bias is None else as_array_anywhere("bias", bias)
    check_one_place({"x": x, "w": w, "bias": bias})
    weights = Weights(w, bias)
    return Request(_LINEAR, (_rows("x", x),), weights, ())


def linear(x: Any, w: Any, bias: Any = None, *, out: Array | None = None, algorithm: str = "auto") -> Array:
    """Multiply rows with a matrix: ``y[..., o] = sum over c of x[..., c] w[o, c] + bias[o]``.

    Parameters
    ----------
    x : (..., c_in) float16, float32 or float64
        Rows, any strides.
    w : (c_out, c_in), the dtype of x
    bias : (c_out,), optional
    out : numpy.ndarray, optional
        Where to put the result; may overlap the inputs.
    algorithm : str
        "auto", a family ("dot" for few rows, "direct", "im2col", "implicit-gemm", "reference") or an id of
        :func:`pyconv.algorithms`.

    Returns
    -------
    (..., c_out), the dtype of x

    Raises
    ------
    InvalidProblem
        Shapes that disagree.
    TypeError
        Not an array, or a dtype that is not taken, or two dtypes.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    Many rows run on the dense kernels of the convolutions, with rows as pixels; weights are packed in each call, or
    once by ``pyconv.prepare(pyconv.linear, w, bias)``. Few rows are bound by reading w, which is then used as it lies.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> w = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    >>> pyconv.linear(np.array([1, 10], dtype=np.float32), w)
    array([21., 43., 65.], dtype=float32)
    >>> pyconv.linear(np.ones((8, 5, 2), np.float32), w, np.ones(3, np.float32)).shape
    (8, 5, 3)
    """
    rows = as_array_anywhere("x", x)
    request = _request(rows, w, bias)
    shape = (*rows.shape[:-1], *request.weights.arrays[0].shape[:1])  # type: ignore[union-attr]
    return _run(request, shape, out, algorithm, x)


def linear_gradient(grad_output: Any, x: Any, w: Any, bias: Any = None) -> tuple[Request, Request, Request | None]:
    """Return the requests of linear's gradients, of rows."""
    grad_output, x = as_array_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    w, bias = as_array_anywhere("w", w), None if bias is None else as_array_anywhere("bias", bias)
    check_one_place({"grad_output": grad_output, "x": x, "w": w, "bias": bias})
    _check_matrix("w", w.shape)
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise InvalidProblem(f"grad.linear: x of shape {x.shape} does not fit w of shape {w.shape}")
    expected = (*x.shape[:-1], w.shape[0])
    if grad_output.shape != expected:
        raise InvalidProblem(
            f"grad.linear: grad_output must have the output's shape {expected}, got {grad_output.shape}"
        )
    keys = {name: (a.shape, (), a.dtype) for name, a in (("x", x), ("w", w), ("grad_output", grad_output))}
    if bias is not None:
        keys["bias"] = (bias.shape, (), bias.dtype)
    check_one_dtype(keys, ("x", "w", "grad_output", "bias"), FLOATS)
    g, rows = _rows("grad_output", grad_output), _rows("x", x)
    sizes = (*rows.shape, w.shape[0])
    return (
        Request(_GRADIENTS["x"], (w,), Weights(g), sizes),
        Request(_GRADIENTS["w"], (rows,), Weights(g), sizes),
        None if bias is None else Request(_GRADIENTS["bias"], (g,), None, sizes),
    )


class PreparedLinear:
    """A linear layer whose weights are packed already; made by :func:`pyconv.prepare`.

    Call it as ``f(x, out=None)``. The weights are copied: later changes to them are not seen.
    """

    __slots__ = ("_algorithm", "_weights")

    def __init__(self, w: Any, bias: Any = None, *, algorithm: str = "auto") -> None:
        check_word("algorithm", algorithm)
        self._weights = kept_weights(w, bias)
        self._algorithm = algorithm

    @property
    def arrays(self) -> tuple[Array | None, ...]:
        """The copies of w and bias."""
        return given_arrays(self._weights)

    def bind(self, x: Array, out: Array) -> Callable[[], object]:
        """Return a function without arguments that does this call again and again, on the same arrays.

        Everything that a call checks and looks up is done once, with the options of now.
        """
        if isinstance(x, np.ndarray) and isinstance(out, np.ndarray) and x.ndim == out.ndim == 2:
            found = bound(Request(_LINEAR, (x,), self._weights, ()), out, self._algorithm)
            if found is not None:
                return found
        return partial(self, x, out)

    def __call__(self, x: Any, out: Array | None = None) -> Array:
        """Multiply rows; the parameters are those of :func:`pyconv.linear`."""
        rows, w = as_array_anywhere("x", x), self._weights.arrays[0]
        assert w is not None
        check_one_place({"x": rows, "w": w})
        request = Request(_LINEAR, (_rows("x", rows),), self._weights, ())
        return _run(request, (*rows.shape[:-1], *w.shape[:1]), out, self._algorithm, x)


REQUESTS[linear] = Explainable(_request, 3)
PREPARED[linear] = PreparedLinear
