"""grid_sample and affine_grid, with their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, GRID_MODES, GRID_PADDING_MODES, AffineGridProblem, GridSampleProblem
from .arguments import as_array_anywhere, as_first_anywhere, flag
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    check_one_dtype,
    check_word,
    exact,
    is_channels_last,
    key_of,
    run,
)
from .device import check_one_place

__all__ = ["affine_grid", "affine_grid_gradient", "grid_sample", "grid_sample_gradient"]


def _sample_of(argument: str, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> GridSampleProblem:
    """Check everything and describe it; raises the bare fact."""
    mode, padding_mode, align_corners, like = settings
    x = like if like is not None else arrays["x"]
    grid = arrays["grid"]
    assert x is not None
    assert grid is not None
    shape, rank = x[0], len(x[0]) - 2
    if rank not in (2, 3):
        raise InvalidProblem(f"x must have axes (n, c, h, w) or (n, c, d, h, w), got shape {shape}")
    if len(grid[0]) != rank + 2 or grid[0][0] != shape[0] or grid[0][-1] != rank:
        wanted = "n, h_out, w_out, 2" if rank == 2 else "n, d_out, h_out, w_out, 3"
        raise InvalidProblem(f"grid must have axes ({wanted}) and the n of x, {shape[0]}, got shape {grid[0]}")
    problem = GridSampleProblem(
        n=shape[0],
        c=shape[1],
        spatial=tuple(shape[2:]),
        out_spatial=tuple(grid[0][1:-1]),
        mode=mode,
        padding_mode=padding_mode,
        align_corners=align_corners,
        argument=argument,
        dtype=check_one_dtype(arrays, ("grad_output", "x", "grid"), FLOATS),
        channels_last=is_channels_last(x),
    )
    given = arrays.get("grad_output")
    if given is not None and given[0] != problem.out_shape:
        raise InvalidProblem(f"grad_output must have the output's shape {problem.out_shape}, got {given[0]}")
    return problem


_SAMPLE = {
    argument: Operation(
        name="grad.grid_sample" if argument else "grid_sample",
        rank=0,
        inputs={"": ("x", "grid"), "x": ("grad_output", "grid"), "grid": ("grad_output", "x", "grid")}[argument],
        weights=(),
        outputs=("out",),
        describe=partial(_sample_of, argument),
        unbatched=False,
    )
    for argument in ("", "x", "grid")
}


def _sample_settings(mode: Any, padding_mode: Any, align_corners: Any) -> tuple[Any, ...]:
    for name, word, words in (("mode", mode, tuple(GRID_MODES)), ("padding_mode", padding_mode, GRID_PADDING_MODES)):
        check_word(name, word)
        if word not in words:
            raise InvalidProblem(f"grid_sample: {name} must be one of {', '.join(words)}, got {word!r}")
    return mode, padding_mode, align_corners is not None and flag("align_corners", align_corners)


def _sample_request(
    x: Any, grid: Any, mode: Any = "bilinear", padding_mode: Any = "zeros", align_corners: Any = False
) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    settings = _sample_settings(mode, padding_mode, align_corners)
    x, grid = as_first_anywhere("x", x), as_array_anywhere("grid", grid)
    check_one_place({"x": x, "grid": grid})
    return Request(_SAMPLE[""], (x, grid), None, (*settings, None))


def grid_sample_gradient(
    grad_output: Any,
    x: Any,
    grid: Any,
    mode: Any = "bilinear",
    padding_mode: Any = "zeros",
    align_corners: Any = False,
) -> tuple[Request, Request]:
    """Return the requests of both gradients; that of x needs of x only what it looks like."""
    settings = _sample_settings(mode, padding_mode, align_corners)
    grad_output, x = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    grid = as_array_anywhere("grid", grid)
    check_one_place({"grad_output": grad_output, "x": x, "grid": grid})
    check_one_dtype({"grad_output": key_of(grad_output), "x": key_of(x)}, ("grad_output", "x"), FLOATS)
    return (
        Request(_SAMPLE["x"], (grad_output, grid), None, (*settings, key_of(x))),
        Request(_SAMPLE["grid"], (grad_output, x, grid), None, (*settings, None)),
    )


def grid_sample(
    x: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Sample maps at places of your choice.

    A coordinate g along an axis of ``size`` elements lies at ``((g + 1) size - 1) / 2`` among them, or with
    align_corners at ``(g + 1) (size - 1) / 2``.

    Parameters
    ----------
    x : (n, c, h, w) or (n, c, d, h, w) float16, float32 or float64
        Maps, any strides. A view over channels-last memory gives channels-last results.
    grid : (n, h_out, w_out, 2) or (n, d_out, h_out, w_out, 3), the dtype of x
        Places, (x, y) or (x, y, z); -1 and 1 are the ends of an axis.
    mode : {"bilinear", "nearest", "bicubic"}
        The elements beside a place by their distances (of volumes eight); the nearest one, the even one of two; or
        four along each of two axes by Keys' cubic convolution of a = -0.75.
    padding_mode : {"zeros", "border", "reflection"}
        What a place outside stands for: zero, the nearest place inside, or the place that it is the mirror image of.
    align_corners : bool, optional
        Whether -1 and 1 are the centres of the outermost elements, or their outer edges; None is False.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x and grid.
    algorithm : str
        "auto", a family ("grid", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, h_out, w_out) or (n, c, d_out, h_out, w_out), the dtype of x

    Raises
    ------
    InvalidProblem
        Shapes that disagree, maps without an element, "bicubic" of volumes, an unknown word.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    Places are computed in the dtype of x (float16 in float32) as torch computes them. No coordinate reads outside x:
    one that is infinite, NaN or too large lies outside; with padding_mode "border" NaN counts as the first element,
    with "reflection" NaN and infinities do, and a bicubic sample there is NaN but for "zeros". An element whose weight
    is zero is no part of a sample, also where it is infinite. ONNX calls the modes linear and cubic. The result has the
    same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 2], [3, 4]]]], dtype=np.float32)
    >>> grid = np.array([[[[-1, -1], [0, 0], [1, 0]]]], dtype=np.float32)
    >>> pyconv.grid_sample(x, grid, align_corners=True)
    array([[[[1. , 2.5, 3. ]]]], dtype=float32)
    >>> pyconv.grid_sample(x, grid, padding_mode="border"), pyconv.grid_sample(x, grid)
    (array([[[[1. , 2.5, 3. ]]]], dtype=float32), array([[[[0.25, 2.5 , 1.5 ]]]], dtype=float32))
    """
    request = _sample_request(x, grid, mode, padding_mode, align_corners)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def _affine_of(gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> AffineGridProblem:
    """Check everything and describe it; raises the bare fact."""
    size, align_corners, like = settings
    theta = like if gradient else arrays["theta"]
    assert theta is not None
    if len(size) not in (4, 5):
        raise InvalidProblem(f"size must be (n, c, h, w) or (n, c, d, h, w), got {size}")
    problem = AffineGridProblem(
        n=size[0],
        spatial=tuple(size[2:]),
        align_corners=align_corners,
        gradient=gradient,
        dtype=check_one_dtype(arrays, ("grad_output", "theta"), FLOATS),
    )
    if theta[0] != problem.theta_shape:
        raise InvalidProblem(f"theta must have shape {problem.theta_shape} for size {size}, got {theta[0]}")
    given = arrays.get("grad_output")
    if given is not None and given[0] != problem.grid_shape:
        raise InvalidProblem(f"grad_output must have the grid's shape {problem.grid_shape}, got {given[0]}")
    return problem


_AFFINE, _AFFINE_GRADIENT = (
    Operation(
        name="grad.affine_grid" if gradient else "affine_grid",
        rank=0,
        inputs=("grad_output" if gradient else "theta",),
        weights=(),
        outputs=("out",),
        describe=partial(_affine_of, gradient),
        unbatched=False,
    )
    for gradient in (False, True)
)


def _affine_settings(size: Any, align_corners: Any) -> tuple[Any, ...]:
    sizes = exact(size)
    if not isinstance(sizes, tuple) or not all(isinstance(entry, int) for entry in sizes):
        raise TypeError(f"size must be 4 or 5 integers, got {size!r}")
    return sizes, align_corners is not None and flag("align_corners", align_corners)


def _affine_request(theta: Any, size: Any, align_corners: Any = False) -> Request:
    return Request(_AFFINE, (as_first_anywhere("theta", theta),), None, (*_affine_settings(size, align_corners), None))


def affine_grid_gradient(grad_output: Any, theta: Any, size: Any, align_corners: Any = False) -> tuple[Request]:
    """Return the request of affine_grid's gradient; only the shape and the dtype of theta matter."""
    settings = _affine_settings(size, align_corners)
    grad_output, theta = as_first_anywhere("grad_output", grad_output), as_array_anywhere("theta", theta)
    check_one_place({"grad_output": grad_output, "theta": theta})
    keys = {"grad_output": key_of(grad_output), "theta": key_of(theta)}
    check_one_dtype(keys, ("grad_output", "theta"), FLOATS)
    return (Request(_AFFINE_GRADIENT, (grad_output,), None, (*settings, key_of(theta))),)


def affine_grid(
    theta: Any,
    size: Any,
    align_corners: bool | None = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the places that affine transforms take a grid to, for :func:`pyconv.grid_sample`.

    ``grid[n, ..., :] = theta[n] @ (x, y, 1)``, or ``(x, y, z, 1)``, of places between -1 and 1.

    Parameters
    ----------
    theta : (n, 2, 3) or (n, 3, 4) float16, float32 or float64
    size : tuple of int
        Of the output of grid_sample: (n, c, h, w) or (n, c, d, h, w).
    align_corners : bool, optional
        Whether the outermost places are -1 and 1, or half an element inside of them; None is False.
    out : numpy.ndarray, optional
        Where to put the result; may overlap theta.
    algorithm : str
        "auto", a family ("affine", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, h, w, 2) or (n, d, h, w, 3), the dtype of theta

    Raises
    ------
    InvalidProblem
        A size below 1, or theta of another shape.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> theta = np.array([[[1, 0, 0.5], [0, 2, 0]]], dtype=np.float32)
    >>> pyconv.affine_grid(theta, (1, 1, 1, 2))
    array([[[[0., 0.],
             [1., 0.]]]], dtype=float32)
    >>> pyconv.affine_grid(theta, (1, 1, 1, 2), align_corners=True)
    array([[[[-0.5,  0. ],
             [ 1.5,  0. ]]]], dtype=float32)
    """
    return run(_affine_request(theta, size, align_corners), (out,), algorithm)[0]  # type: ignore[no-any-return]


REQUESTS[grid_sample] = Explainable(_sample_request, 2)
REQUESTS[affine_grid] = Explainable(_affine_request, 1)
