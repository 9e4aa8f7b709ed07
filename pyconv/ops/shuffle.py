"""pixel_shuffle and pixel_unshuffle, each of which is the other's gradient."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import DTYPES, FLOATS, ShuffleProblem
from .arguments import as_array_anywhere, as_first_anywhere, numbers
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    check_one_dtype,
    exact,
    in_context,
    is_channels_last,
    key_of,
    run,
)
from .device import check_one_place

__all__ = ["pixel_shuffle", "pixel_unshuffle", "shuffle_gradient"]


def _problem_of(gather: bool, word: str, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> ShuffleProblem:
    """Check everything and describe it; raises the bare fact."""
    (factor,) = numbers(word, settings[0], 1)
    x = arrays["x"]
    assert x is not None
    dtype = check_one_dtype(arrays, ("x",), DTYPES.values())
    if factor < 1:
        raise InvalidProblem(f"{word} must be >= 1, got {factor}")
    if len(x[0]) < 3:
        raise InvalidProblem(f"x must have axes (..., c, h, w), got shape {x[0]}")
    *lead, c, h, w = x[0]
    if gather and (h % factor or w % factor):
        raise InvalidProblem(f"h and w must be multiples of {word}={factor}, got {h} and {w}")
    if not gather and c % factor**2:
        raise InvalidProblem(f"c must be a multiple of {word}^2 = {factor**2}, got {c}")
    sizes = (c, h // factor, w // factor) if gather else (c // factor**2, h, w)
    channels_last = len(lead) == 1 and is_channels_last(x)
    return ShuffleProblem(tuple(lead), *sizes, factor, gather, dtype, channels_last)


def _operation(gather: bool, gradient: bool) -> Operation:
    """Return the move; the gradient of one is the other, and errors speak of the function that was called."""
    up = gather == gradient
    name = "pixel_shuffle" if up else "pixel_unshuffle"
    return Operation(
        name=f"grad.{name}" if gradient else name,
        rank=2,
        inputs=("x",),
        weights=(),
        outputs=("out",),
        describe=partial(_problem_of, gather, "upscale_factor" if up else "downscale_factor"),
    )


_OPERATIONS = {
    (gather, gradient): _operation(gather, gradient) for gather in (False, True) for gradient in (False, True)
}


def _request(gather: bool, x: Any, factor: Any) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    return Request(_OPERATIONS[gather, False], (as_first_anywhere("x", x),), None, (exact(factor),))


def _shuffle_request(x: Any, upscale_factor: Any) -> Request:
    return _request(False, x, upscale_factor)


def _unshuffle_request(x: Any, downscale_factor: Any) -> Request:
    return _request(True, x, downscale_factor)


def shuffle_gradient(gather: bool, grad_output: Any, x: Any, factor: Any) -> tuple[Request]:
    """Return the request of a gradient, which is the other move; of x only the shape and the dtype matter."""
    operation = _OPERATIONS[not gather, True]
    grad_output, x = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    check_one_place({"grad_output": grad_output, "x": x})
    check_one_dtype({"grad_output": key_of(grad_output), "x": key_of(x)}, ("grad_output", "x"), FLOATS)
    settings, arrays = (exact(factor),), {"x": key_of(x)}
    try:
        forward = _OPERATIONS[gather, False].describe(arrays, settings)
    except (InvalidProblem, TypeError) as error:
        raise in_context(operation, arrays, error) from None
    expected = forward.outputs[0].shape
    if grad_output.shape != expected:
        raise InvalidProblem(
            f"{operation.name}: grad_output must have the output's shape {expected}, got {grad_output.shape}"
        )
    return (Request(operation, (grad_output,), None, settings),)


def pixel_shuffle(x: Any, upscale_factor: int, *, out: Array | None = None, algorithm: str = "auto") -> Array:
    """Make channels into pixels: ``y[..., c, h r + i, w r + j] = x[..., (c r + i) r + j, h, w]``.

    Parameters
    ----------
    x : (..., c r r, h, w)
        Floats or integers, any strides. A view over channels-last memory gives channels-last results.
    upscale_factor : int
        r, by which rows and columns grow.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("interleave", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (..., c, h r, w r), the dtype of x

    Raises
    ------
    InvalidProblem
        Channels that r r does not divide.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(8, dtype=np.float32).reshape(4, 1, 2)
    >>> pyconv.pixel_shuffle(x, 2)
    array([[[0., 2., 1., 3.],
            [4., 6., 5., 7.]]], dtype=float32)
    >>> pyconv.pixel_shuffle(np.zeros((2, 5, 27, 4, 6), np.uint8), 3).shape
    (2, 5, 3, 12, 18)
    """
    return run(_shuffle_request(x, upscale_factor), (out,), algorithm)[0]  # type: ignore[no-any-return]


def pixel_unshuffle(x: Any, downscale_factor: int, *, out: Array | None = None, algorithm: str = "auto") -> Array:
    """Make pixels into channels, the inverse of :func:`pixel_shuffle`.

    Parameters
    ----------
    x : (..., c, h r, w r)
        Floats or integers, any strides. A view over channels-last memory gives channels-last results.
    downscale_factor : int
        r, which divides rows and columns.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("interleave", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (..., c r r, h, w), the dtype of x

    Raises
    ------
    InvalidProblem
        Rows or columns that r does not divide.
    TypeError, Unsupported, MemoryError
        As :func:`pixel_shuffle`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(8).reshape(1, 2, 4)
    >>> pyconv.pixel_unshuffle(x, 2).tolist()
    [[[0, 2]], [[1, 3]], [[4, 6]], [[5, 7]]]
    >>> bool((pyconv.pixel_shuffle(pyconv.pixel_unshuffle(x, 2), 2) == x).all())
    True
    """
    return run(_unshuffle_request(x, downscale_factor), (out,), algorithm)[0]  # type: ignore[no-any-return]


REQUESTS[pixel_shuffle] = Explainable(_shuffle_request, 1)
REQUESTS[pixel_unshuffle] = Explainable(_unshuffle_request, 1)
